//! The whole pipeline on the recorded hours: the built program on its embedded stores, from its start to its end.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::{Guard, program};
use super::table::Row;
use super::{Bench, Result, limit, median};

/// Distinct events of the twelve hours.
pub const EVENTS: u64 = 143_714;

const ROUNDS: usize = 7;
const PATIENCE: Duration = Duration::from_secs(60);

/// Replays into an empty directory, several times.
pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let limit = limit::events_per_second(bench.hours()?)?;
    let (mut rates, mut peak_mb) = (Vec::new(), 0.0_f64);
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir()?;
        let mut command = program(directory.path());
        command.args(["replay", "--exit", "--speed", "max"]).args(bench.hours()?).stderr(Stdio::null());
        let used = Guard::spawn(&mut command)?.finish(PATIENCE)?;
        peak_mb = peak_mb.max(used.peak_mb);
        check(&mut program(directory.path()))?;
        rates.push(EVENTS as f64 / used.seconds);
    }
    let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let rate = median(rates);
    Ok(vec![
        Row::goal(
            "replay of the twelve 2016 hours, gzip to durable counters",
            format!("{rate:.0} events/s (slowest {slowest:.0})"),
            ">= 100,000 events/s",
            rate >= 100_000.0,
        ),
        Row::figure("gunzip and typed parse alone, one thread: the limit", format!("{limit:.0} events/s")),
        Row::figure("replay / limit", format!("{:.2}", rate / limit)),
        Row::goal("peak memory during the replay", format!("{peak_mb:.0} MB"), "<= 200 MB", peak_mb <= 200.0),
    ])
}

/// Asks the program `command` for the known answers, so that no figure comes from a run that counted wrong.
pub fn check(command: &mut Command) -> Result<()> {
    let output = command.args(["stats", "--year", "2016"]).output()?;
    let stats: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let day = &stats["daily"]["2016-01-01"];
    let right = day["event"] == 5_041 && day["dev"] == 2_440 && stats["sum"]["additions"] == 1_107_911;
    if right { Ok(()) } else { Err(format!("the events were counted wrong: {stats}").into()) }
}
