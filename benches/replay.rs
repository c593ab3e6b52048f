//! The whole pipeline on the recorded hours: the built program, from its start to its end.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{Result, median};

const ROUNDS: usize = 7;

/// What the rounds showed.
pub struct Replay {
    /// The median round.
    pub events_per_second: f64,
    /// The slowest round.
    pub slowest: f64,
    /// The largest peak of resident memory, in 10⁶ bytes.
    pub peak_mb: f64,
}

/// Replays into an empty directory, several times.
pub fn run(hours: &[PathBuf]) -> Result<Replay> {
    let (mut rates, mut peak_mb) = (Vec::new(), 0.0_f64);
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir()?;
        let started = Instant::now();
        let mut child = super::footprint::program(directory.path())
            .args(["replay", "--exit", "--speed", "max"])
            .args(hours)
            .stderr(Stdio::null())
            .spawn()?;
        let status = loop {
            if let Some(peak) = super::footprint::memory_mb(child.id(), "VmHWM") {
                peak_mb = peak_mb.max(peak);
            }
            if let Some(status) = child.try_wait()? {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let seconds = started.elapsed().as_secs_f64();
        if !status.success() {
            return Err(format!("the replay ended with {status}").into());
        }
        rates.push(check(directory.path())? as f64 / seconds);
    }
    let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(Replay { events_per_second: median(rates), slowest, peak_mb })
}

/// The known answers, so that no figure comes from a run that counted wrong. Returns the number of events.
fn check(directory: &std::path::Path) -> Result<u64> {
    let output: std::process::Output =
        super::footprint::program(directory).args(["stats", "--year", "2016"]).output()?;
    let stats: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let day = &stats["daily"]["2016-01-01"];
    let right = day["event"] == 5_041 && day["dev"] == 2_440 && stats["sum"]["additions"] == 1_107_911;
    if right { Ok(143_714) } else { Err(format!("the replay counted wrong: {stats}").into()) }
}
