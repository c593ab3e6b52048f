//! Overload: an engine stands still while the twelve hours are published, so that nothing is settled, and then goes on.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::process::{Guard, program};
use super::replay::{EVENTS, check};
use super::services::Services;
use super::table::Row;
use super::{Bench, Result};

const SUBSCRIPTION: &str = "events-consumer";
const PATIENCE: Duration = Duration::from_secs(120);

/// How far the process grows, and where the backlog is meanwhile.
pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = without(bench, "redis", "Redis")?;
    rows.extend(without(bench, "mariadb", "history")?);
    Ok(rows)
}

fn without(bench: &Bench, engine: &str, name: &str) -> Result<Vec<Row>> {
    let services = bench.services()?;
    let (directory, round) = (tempfile::tempdir()?, format!("bench-overload-{engine}"));
    let mut command = program(directory.path());
    services.configure(&mut command, &round);
    if engine == "mariadb" {
        services.create_database(&round)?;
        services.configure_history(&mut command, &round)?;
    }
    command.args(["replay", "--exit", "--speed", "max"]).args(bench.hours()?).stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = Guard::spawn(&mut command)?;
    let published = |child: &mut Guard, at_least: u64| -> Result<()> {
        loop {
            if child.look()?.is_some() || begun.elapsed() > PATIENCE {
                return Err("not everything was published".into());
            }
            // There is no topic before the first message.
            let stats = services.topic(&round).unwrap_or_default();
            if stats["msgInCounter"].as_u64().unwrap_or(0) >= at_least {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    published(&mut child, EVENTS / 20)?;
    let pause = Pause::of(services, engine)?;
    published(&mut child, EVENTS)?;
    // Whatever the workers still take, they have taken by then.
    std::thread::sleep(Duration::from_secs(5));
    child.look()?;
    let (unsettled, full_mb) = (unsettled(&services.topic(&round)?)?, child.peak_mb());
    drop(pause);
    let used = child.finish(PATIENCE)?;
    let mut stats = program(directory.path());
    services.configure(&mut stats, &round);
    check(&mut stats)?;
    Ok(vec![
        Row::goal(
            format!("not settled when {name} stood still while all was published, and settled behind it"),
            format!("{unsettled} of {EVENTS} events"),
            ">= half",
            unsettled >= EVENTS / 2,
        ),
        Row::goal(
            "peak memory of the process by then, and in all",
            format!("{full_mb:.0} MB, {:.0} MB", used.peak_mb),
            "<= 300 MB",
            used.peak_mb <= 300.0,
        ),
    ])
}

/// Messages that were published and are not settled. Pulsar's own backlog counts entries.
fn unsettled(topic: &serde_json::Value) -> Result<u64> {
    let subscription = &topic["subscriptions"][SUBSCRIPTION];
    let counts = [&topic["msgInCounter"], &subscription["msgOutCounter"], &subscription["unackedMessages"]];
    let [published, delivered, held] = counts.map(serde_json::Value::as_u64);
    let settled = delivered.zip(held).map(|(delivered, held)| delivered.saturating_sub(held));
    let unsettled = published.zip(settled).map(|(published, settled)| published.saturating_sub(settled));
    unsettled.ok_or_else(|| "Pulsar does not say what is settled".into())
}

/// An engine stands still as long as this lives.
struct Pause<'a>(&'a Services, &'a str);

impl<'a> Pause<'a> {
    fn of(services: &'a Services, engine: &'a str) -> Result<Self> {
        services.signal(engine, "STOP")?;
        Ok(Self(services, engine))
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        let _ = self.0.signal(self.1, "CONT");
    }
}
