//! More workers: twice the consumers in a process, and a second process, against one process with four consumers.
//!
//! All read the same backlog, each round by a subscription of its own. The rate is that of settling, from the first
//! settled message seen to the last: neither a start nor the wait for the disk is in it.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::process::{Guard, program};
use super::replay::{EVENTS, check};
use super::services::{Services, get};
use super::table::Row;
use super::{Bench, Result, median};

const ROUNDS: usize = 5;
const TOPIC: &str = "bench-scaling";
const PATIENCE: Duration = Duration::from_secs(90);

/// Processes, and consumers in each.
#[derive(Clone, Copy)]
struct Setup {
    processes: usize,
    consumers: usize,
}

const BASE: Setup = Setup { processes: 1, consumers: 4 };
const EIGHT: Setup = Setup { processes: 1, consumers: 8 };
const TWO: Setup = Setup { processes: 2, consumers: 4 };

/// Pairs in turn, so that what else the machine does meets both.
pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let services = bench.services()?;
    publish(bench, services)?;
    let mut rows = Vec::new();
    for (what, setup) in [("twice the consumers (4 to 8)", EIGHT), ("a second worker process", TWO)] {
        let (mut ratios, mut rates) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let name = |setup: Setup| {
                format!("bench-{}x{}-{}-{round}", setup.processes, setup.consumers, rows.len())
            };
            // The first of a pair may have it easier, or harder.
            let (base, other) = if round % 2 == 0 {
                let base = consume(services, BASE, &name(BASE))?;
                (base, consume(services, setup, &name(setup))?)
            } else {
                let other = consume(services, setup, &name(setup))?;
                (consume(services, BASE, &name(BASE))?, other)
            };
            ratios.push(other / base);
            rates.push(base);
        }
        let (ratio, rate) = (median(ratios.clone()), median(rates));
        ratios.sort_by(f64::total_cmp);
        rows.push(Row::goal(
            format!("{what}: throughput against one process with 4 consumers"),
            format!("{ratio:.2} ({:.2} to {:.2}) of {rate:.0} events/s", ratios[0], ratios[ROUNDS - 1]),
            ">= 0.95",
            ratio >= 0.95,
        ));
    }
    Ok(rows)
}

/// Puts the twelve hours on the topic. The configured subscription is never read, so that they stay.
fn publish(bench: &Bench, services: &Services) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut command = program(directory.path());
    services.configure(&mut command, TOPIC);
    command
        // With it the program would wait for its workers.
        .env_remove("PULSEHUB__PULSAR__ADMINURL")
        .args(["replay", "--exit", "--speed", "max", "--roles", "poll"])
        .args(bench.hours()?)
        .stderr(Stdio::null());
    Guard::spawn(&mut command)?.finish(PATIENCE)?;
    Ok(())
}

/// Reads all of the topic as `setup` says; events a second.
fn consume(services: &Services, setup: Setup, name: &str) -> Result<f64> {
    let directory = tempfile::tempdir()?;
    let command = |process: usize| {
        let mut command = program(&directory.path().join(process.to_string()));
        services.configure(&mut command, name);
        command
            .current_dir(directory.path())
            .env("PULSEHUB__PULSAR__CONSUMER__TOPIC", TOPIC)
            .env("PULSEHUB__PULSAR__CONSUMER__NAME", name)
            .env("PULSEHUB__PULSAR__CONSUMER__CONCURRENCY", setup.consumers.to_string());
        command
    };
    let mut workers = Vec::new();
    for process in 0..setup.processes {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = command(process);
        command.env("PULSEHUB__ADMIN__PORT", port.to_string());
        command.args(["run", "--roles", "work,serve"]).stderr(Stdio::null());
        workers.push((Guard::spawn(&mut command)?, format!("127.0.0.1:{port}")));
    }
    let begun = Instant::now();
    let mut first: Option<(Instant, u64)> = None;
    let seconds = loop {
        let mut settled = 0;
        for (worker, admin) in &mut workers {
            if let Some(status) = worker.look()? {
                return Err(format!("a worker ended with {status}").into());
            }
            // It may not listen yet.
            settled += get(admin, "/metrics").ok().and_then(|text| counter(&text)).unwrap_or(0);
        }
        if settled >= EVENTS {
            let (since, before) = first.ok_or("everything came at once")?;
            break since.elapsed().as_secs_f64() * EVENTS as f64 / (EVENTS - before) as f64;
        }
        if settled > 0 && first.is_none() {
            first = Some((Instant::now(), settled));
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("only {settled} events were settled within {PATIENCE:?}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    drop(workers);
    check(&mut command(0))?;
    Ok(EVENTS as f64 / seconds)
}

fn counter(metrics: &str) -> Option<u64> {
    let line = metrics.lines().find(|line| line.starts_with("pulsehub_events_applied_total"))?;
    line.rsplit_once(' ')?.1.parse().ok()
}
