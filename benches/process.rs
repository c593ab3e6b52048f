//! The built program as a process, and what the system says of processes.

use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use super::Result;

/// Ticks in which `/proc` counts processor time, a second: fixed on Linux.
const TICKS: f64 = 100.0;

/// The program on free ports of loopback, with its data in `directory`. `PULSEHUB_BENCH_PROGRAM` names another build of it,
/// to compare with.
pub fn program(directory: &Path) -> Command {
    let built = || env!("CARGO_BIN_EXE_pulsehub").into();
    let mut command = Command::new(std::env::var_os("PULSEHUB_BENCH_PROGRAM").unwrap_or_else(built));
    command
        .current_dir(directory)
        .env_remove("GITHUB_TOKEN")
        .env("PULSEHUB__SERVER__HOST", "127.0.0.1")
        .env("PULSEHUB__SERVER__PORT", "0")
        .env("PULSEHUB__ADMIN__PORT", "0")
        .env("PULSEHUB__STORAGE__PATH", directory.join("data"));
    command
}

/// A figure of `/proc/<pid>/status`, in 10⁶ bytes.
pub fn memory_mb(pid: u32, field: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Processor time that a process has used, in seconds.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: f64 = fields.nth(11)?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

/// A process that ends with its owner, also when a measurement fails.
pub struct Guard {
    child: Child,
    started: Instant,
    peak_mb: f64,
    cpu_seconds: f64,
}

/// What a process used.
pub struct Used {
    /// From its start to its end.
    pub seconds: f64,
    /// The peak of resident memory, in 10⁶ bytes.
    pub peak_mb: f64,
    /// Processor time, up to some milliseconds before the end.
    pub cpu_seconds: f64,
}

impl Guard {
    /// Starts it.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.spawn()?;
        Ok(Self { child, started: Instant::now(), peak_mb: 0.0, cpu_seconds: 0.0 })
    }

    /// Its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Looks at what it uses; its status when it has ended.
    pub fn look(&mut self) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        let pid = self.child.id();
        self.peak_mb = self.peak_mb.max(memory_mb(pid, "VmHWM").unwrap_or(0.0));
        self.cpu_seconds = self.cpu_seconds.max(cpu_seconds(pid).unwrap_or(0.0));
        Ok(None)
    }

    /// Waits until it ends well, for `patience` at most.
    pub fn finish(mut self, patience: Duration) -> Result<Used> {
        let status = loop {
            if let Some(status) = self.look()? {
                break status;
            }
            if self.started.elapsed() > patience {
                return Err(format!("the program did not end within {patience:?}").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let seconds = self.started.elapsed().as_secs_f64();
        if !status.success() {
            return Err(format!("the program ended with {status}").into());
        }
        Ok(Used { seconds, peak_mb: self.peak_mb, cpu_seconds: self.cpu_seconds })
    }

    /// The peak of resident memory so far, in 10⁶ bytes.
    pub fn peak_mb(&self) -> f64 {
        self.peak_mb
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
