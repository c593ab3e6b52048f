//! `make bench`: what the issues name goals for, measured on this machine, as one table.
//!
//! A stage a file. Each measures the built program or the pipeline in this process with real files, disk and sockets;
//! `make bench ONLY=<stage>` measures one.

mod capture;
mod engines;
mod feed;
mod footprint;
mod latency;
mod limit;
mod live;
mod load;
#[path = "../tests/mock_github/mod.rs"]
#[allow(dead_code, reason = "tests look at more of it")]
mod mock_github;
mod overload;
mod page;
mod process;
mod replay;
mod scaling;
mod script;
mod services;
mod table;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use services::Services;
use table::Row;

/// What bench stages say when they cannot measure.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

type Stage = fn(&Bench) -> Result<Vec<Row>>;

const STAGES: [(&str, Stage); 13] = [
    ("replay", replay::rows),
    ("latency", latency::rows),
    ("footprint", footprint::rows),
    ("engines", engines::rows),
    ("history", engines::history_rows),
    ("live", live::rows),
    ("scaling", scaling::rows),
    ("overload", overload::rows),
    ("redis", script::rows),
    ("capture", capture::rows),
    ("sharing", load::sharing_rows),
    ("load", load::rows),
    ("page", page::rows),
];

/// What stages share: made by the first one that needs it.
#[derive(Default)]
struct Bench {
    hours: OnceCell<Vec<PathBuf>>,
    services: OnceCell<Services>,
}

impl Bench {
    /// The recorded hours beside the checkout.
    fn hours(&self) -> Result<&[PathBuf]> {
        if let Some(hours) = self.hours.get() {
            return Ok(hours);
        }
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/gharchive");
        let hours: Vec<_> =
            (1..=12).map(|hour| directory.join(format!("2016-01-01-{hour}.json.gz"))).collect();
        if !hours.iter().all(|path| path.exists()) {
            let missing =
                "the recorded hours are missing: ../shared/data/gharchive is expected beside the checkout";
            return Err(missing.into());
        }
        Ok(self.hours.get_or_init(|| hours))
    }

    /// Redis, MariaDB and Pulsar.
    fn services(&self) -> Result<&Services> {
        if self.services.get().is_none() {
            let _ = self.services.set(Services::start()?);
        }
        self.services.get().ok_or_else(|| "no services".into())
    }
}

fn main() -> ExitCode {
    // The first provider wins; nothing here runs before it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((load::client::COMMAND, arguments)) =
        arguments.split_first().map(|(command, rest)| (command.as_str(), rest))
    {
        return load::client::main(arguments).map_or_else(
            |error| {
                eprintln!("load client: {error}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    }
    // Cargo passes a flag of its own.
    let only: Vec<String> = arguments.into_iter().filter(|name| !name.starts_with('-')).collect();
    let names = STAGES.map(|(name, _)| name);
    if let Some(unknown) = only.iter().find(|name| !names.contains(&name.as_str())) {
        eprintln!("no stage {unknown:?}; there are {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    let bench = Bench::default();
    let (mut rows, mut failed) = (Vec::new(), false);
    for (name, stage) in STAGES {
        if !only.is_empty() && !only.iter().any(|only| only == name) {
            continue;
        }
        eprintln!("stage {name}");
        // What the others measured is not lost.
        rows.extend(stage(&bench).unwrap_or_else(|error| {
            failed = true;
            vec![Row::failed(name, error.as_ref())]
        }));
    }
    table::print(&rows);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(&values, 0.5)
}

/// Of ascending values the one below which `share` of them are.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}
