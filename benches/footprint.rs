//! The built program at rest: how soon it serves, and the memory that it holds.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Result, median};

const ROUNDS: usize = 5;

/// What was measured.
pub struct Footprint {
    /// From the process's start to the first answer, the median.
    pub start_ms: f64,
    /// Resident memory after some seconds without events, in 10⁶ bytes.
    pub rest_mb: f64,
}

/// The program on free ports of loopback, with its data in `directory`.
pub fn program(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulsehub"));
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

/// Ends a process also when a measurement fails.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program with no source several times.
pub fn run() -> Result<Footprint> {
    let (mut starts, mut rest_mb) = (Vec::new(), 0.0_f64);
    for round in 0..ROUNDS {
        let directory = tempfile::tempdir()?;
        let started = Instant::now();
        let mut command = program(directory.path());
        command.env("PULSEHUB__DISABLE__PRODUCER", "true").arg("run").stderr(Stdio::piped());
        let mut child = Guard(command.spawn()?);
        let log = child.0.stderr.take().ok_or("no log")?;
        let mut lines = BufReader::new(log).lines();
        let address = loop {
            let line = lines.next().ok_or("the program ended")??;
            if let Some((_, rest)) = line.split_once("serving ws://") {
                break rest.split('/').next().unwrap_or_default().to_owned();
            }
        };
        std::net::TcpStream::connect(&address)?;
        starts.push(started.elapsed().as_secs_f64() * 1e3);
        // Once is enough for what changes slowly.
        if round == 0 {
            std::thread::sleep(Duration::from_secs(5));
            rest_mb = memory_mb(child.0.id(), "VmRSS").ok_or("no memory figures")?;
        }
    }
    Ok(Footprint { start_ms: median(starts), rest_mb })
}
