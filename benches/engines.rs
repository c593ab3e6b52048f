//! The twelve hours through real engines: the built program, from its start to its end, on Pulsar and Redis, and on
//! MariaDB too where history is written.

use std::process::Stdio;
use std::time::Duration;

use super::process::{Guard, Used, program};
use super::replay::{EVENTS, check};
use super::services::Services;
use super::table::Row;
use super::{Bench, Result, median};

const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(120);

/// Without history.
pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let measured = Measured::of(bench, false)?;
    let goal = Row::goal(
        "the twelve hours through Pulsar and Redis, settled",
        measured.rate(),
        ">= 20,000 events/s",
        measured.events_per_second() >= 20_000.0,
    );
    Ok(vec![goal, Row::figure("processor seconds for 100,000 of them", measured.processor(2))])
}

/// With it.
pub fn history_rows(bench: &Bench) -> Result<Vec<Row>> {
    let measured = Measured::of(bench, true)?;
    let goal = Row::goal(
        "the twelve hours through Pulsar, Redis and history (MariaDB), settled",
        measured.rate(),
        ">= 12,000 events/s",
        measured.events_per_second() >= 12_000.0,
    );
    Ok(vec![goal, Row::figure("processor seconds for 100,000 of them", measured.processor(3))])
}

struct Measured {
    rounds: Vec<Used>,
    /// Of each engine: Pulsar, Redis, MariaDB.
    engines: Vec<[f64; 3]>,
}

impl Measured {
    fn of(bench: &Bench, history: bool) -> Result<Self> {
        let services = bench.services()?;
        let (mut rounds, mut engines) = (Vec::new(), Vec::new());
        for index in 0..ROUNDS {
            let name = format!("bench-{}-{index}", if history { "history" } else { "engines" });
            let before = services.cpu_seconds()?;
            rounds.push(round(bench, services, &name, history)?);
            let mut used = services.cpu_seconds()?;
            used.iter_mut().zip(before).for_each(|(used, before)| *used -= before);
            engines.push(used);
        }
        Ok(Self { rounds, engines })
    }

    fn events_per_second(&self) -> f64 {
        EVENTS as f64 / median(self.rounds.iter().map(|round| round.seconds).collect())
    }

    fn rate(&self) -> String {
        let slowest = self.rounds.iter().map(|round| round.seconds).fold(0.0, f64::max);
        format!("{:.0} events/s (slowest {:.0})", self.events_per_second(), EVENTS as f64 / slowest)
    }

    fn processor(&self, engines: usize) -> String {
        let share = 100_000.0 / EVENTS as f64;
        let own = median(self.rounds.iter().map(|round| round.cpu_seconds).collect()) * share;
        let mut text = format!("pulsehub {own:.1}");
        for (index, name) in ["Pulsar", "Redis", "MariaDB"].iter().enumerate().take(engines) {
            let used = median(self.engines.iter().map(|used| used[index]).collect()) * share;
            text += &format!(", {name} {used:.1}");
        }
        text
    }
}

fn round(bench: &Bench, services: &Services, name: &str, history: bool) -> Result<Used> {
    let directory = tempfile::tempdir()?;
    let command = || -> Result<_> {
        let mut command = program(directory.path());
        services.configure(&mut command, name);
        if history {
            services.configure_history(&mut command, name)?;
        }
        Ok(command)
    };
    if history {
        services.create_database(name)?;
    }
    let mut replay = command()?;
    replay.args(["replay", "--exit", "--speed", "max"]).args(bench.hours()?).stderr(Stdio::null());
    let used = Guard::spawn(&mut replay)?.finish(PATIENCE)?;
    check(&mut command()?)?;
    if history {
        let verified = command()?.args(["verify", "--year", "2016"]).output()?;
        if !verified.status.success() {
            return Err(format!("history: {}", String::from_utf8_lossy(&verified.stdout)).into());
        }
    }
    Ok(used)
}
