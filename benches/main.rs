//! `make bench`: what the issue names a goal for, measured on this machine, as one table.
//!
//! A stage a file. Each measures the built program or the pipeline in this process with real files, disk and sockets.

mod footprint;
mod latency;
mod limit;
mod replay;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What bench stages say when they cannot measure.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// One row of the table.
struct Row {
    what: &'static str,
    measured: String,
    goal: &'static str,
    met: Option<bool>,
}

fn main() -> ExitCode {
    // The first provider wins; nothing here runs before it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot measure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let cores = std::thread::available_parallelism()?;
    let hours = twelve_hours()?;
    let limit = limit::events_per_second(&hours)?;
    let replay = replay::run(&hours)?;
    let latency = latency::run()?;
    let footprint = footprint::run()?;
    let per_second = replay.events_per_second;
    let rows = [
        Row {
            what: "replay of the twelve 2016 hours, gzip to durable counters",
            measured: format!("{per_second:.0} events/s (slowest {:.0})", replay.slowest),
            goal: ">= 100,000 events/s",
            met: Some(per_second >= 100_000.0),
        },
        Row {
            what: "gunzip and typed parse alone, one thread: the limit",
            measured: format!("{limit:.0} events/s"),
            goal: "-",
            met: None,
        },
        Row { what: "replay / limit", measured: format!("{:.2}", per_second / limit), goal: "-", met: None },
        Row {
            what: "peak memory during the replay",
            measured: format!("{:.0} MB", replay.peak_mb),
            goal: "<= 200 MB",
            met: Some(replay.peak_mb <= 200.0),
        },
        Row {
            what: "publish to receipt at 1,000 events/s, p50",
            measured: format!("{:.2} ms", latency.p50_ms),
            goal: "-",
            met: None,
        },
        Row {
            what: "publish to receipt at 1,000 events/s, p99",
            measured: format!("{:.2} ms (max {:.1} ms)", latency.p99_ms, latency.max_ms),
            goal: "<= 5 ms",
            met: Some(latency.p99_ms <= 5.0),
        },
        Row {
            what: "out of order at one client, concurrency 1",
            measured: format!("{} of {}", latency.out_of_order, latency.events),
            goal: "0",
            met: Some(latency.out_of_order == 0),
        },
        Row {
            what: "memory at rest",
            measured: format!("{:.0} MB", footprint.rest_mb),
            goal: "<= 60 MB",
            met: Some(footprint.rest_mb <= 60.0),
        },
        Row {
            what: "start to serving",
            measured: format!("{:.0} ms", footprint.start_ms),
            goal: "<= 300 ms",
            met: Some(footprint.start_ms <= 300.0),
        },
    ];
    println!("\n{cores} cores, {}, {}\n", std::env::consts::ARCH, std::env::consts::OS);
    println!("| what | measured | goal | met |");
    println!("| --- | --- | --- | --- |");
    for Row { what, measured, goal, met } in rows {
        let met = met.map_or("-", |met| if met { "yes" } else { "NO" });
        println!("| {what} | {measured} | {goal} | {met} |");
    }
    Ok(())
}

/// The recorded hours beside the checkout.
fn twelve_hours() -> Result<Vec<PathBuf>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/gharchive");
    let hours: Vec<_> = (1..=12).map(|hour| directory.join(format!("2016-01-01-{hour}.json.gz"))).collect();
    match hours.iter().find(|path| !path.exists()) {
        Some(_) => {
            Err("the recorded hours are missing: ../shared/data/gharchive is expected beside the checkout"
                .into())
        }
        None => Ok(hours),
    }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
