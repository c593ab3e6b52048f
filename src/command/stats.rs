//! `stats`: the counters as they stand, from a running process or from its data.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Failure;
use crate::app::{Source, StartError, Stores, current_year, data_directory};
use crate::cli::{Exit, StatsArgs, StatsFormat};
use crate::clock::{Clock, SystemClock};
use crate::state::{State, StateError};
use crate::storage::{LockError, Owner};

/// The counters of a year, in plain integers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The UTC year.
    pub year: i16,
    /// Day → its counters.
    pub daily: BTreeMap<String, Daily>,
    /// The year's sums.
    pub sum: Sum,
    /// Language → events in the window that is kept.
    pub language: BTreeMap<String, u64>,
}

/// A day's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daily {
    /// Pull requests opened, merged and closed.
    pub event: u64,
    /// Pull requests opened.
    pub open: u64,
    /// Pull requests merged.
    pub merge: u64,
    /// Pull requests closed without being merged.
    pub close: u64,
    /// Developers.
    pub dev: u64,
}

/// A year's sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Developers.
    pub dev: u64,
    /// Repositories.
    pub repo: u64,
    /// Lines added by merged pull requests.
    pub additions: u64,
    /// Lines deleted by merged pull requests.
    pub deletions: u64,
}

/// Reads the counters of `year` from `state`.
///
/// # Errors
/// When the state cannot be read.
pub async fn report(state: &dyn State, year: i16) -> Result<Report, StateError> {
    let snapshot = state.snapshot(year).await?;
    let daily = snapshot.days.iter().map(|(day, counts)| {
        let crate::state::DayCounts { open, merge, close, dev } = *counts;
        (day.to_string(), Daily { event: counts.event(), open, merge, close, dev })
    });
    let crate::state::YearSums { dev, repo, additions, deletions } = snapshot.sums;
    let mut report = Report {
        year,
        daily: daily.collect(),
        sum: Sum { dev, repo, additions, deletions },
        language: BTreeMap::new(),
    };
    for (language, count) in state.languages(0..=i64::MAX - 1).await?.into_values().flatten() {
        *report.language.entry(language).or_default() += count;
    }
    Ok(report)
}

/// Prints the counters.
pub(super) async fn stats(args: StatsArgs) -> Result<Exit, Failure> {
    let loaded = super::load(&args.file, Vec::new())?;
    let year = args.year.unwrap_or_else(|| current_year(&SystemClock as &dyn Clock));
    let directory = data_directory(&loaded.config, &Source::None);
    let report = if !directory.exists() {
        Report { year, ..Report::default() }
    } else {
        match Stores::open(&directory, &loaded.config) {
            Ok(stores) => report(stores.state.as_ref(), year)
                .await
                .map_err(|error| Failure::new(Exit::Failure, &error))?,
            Err(StartError::Directory(LockError::Held { owner, .. })) => ask(&owner, year).await?,
            Err(error) => return Err(error.into()),
        }
    };
    let mut out = std::io::stdout().lock();
    match args.format {
        // Numbers and strings always serialise.
        StatsFormat::Json => writeln!(out, "{}", serde_json::to_string(&report).unwrap_or_default())?,
        StatsFormat::Table => write!(out, "{}", table(&report))?,
    }
    Ok(Exit::Success)
}

/// Asks the process that owns the data.
async fn ask(owner: &Owner, year: i16) -> Result<Report, Failure> {
    let url = format!("http://{}/api/v1/stats?year={year}", owner.admin);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy().build();
    let answer = async { client?.get(&url).send().await?.error_for_status()?.json().await };
    answer.await.map_err(|error: reqwest::Error| Failure {
        message: format!(
            "process {} owns the data, but its admin listener does not answer: {}",
            owner.pid,
            crate::error_chain(&error)
        ),
        exit: Exit::Unavailable,
    })
}

fn table(report: &Report) -> String {
    let mut lines = vec![format!(
        "{:<12}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "day", "event", "open", "merge", "close", "dev"
    )];
    for (day, Daily { event, open, merge, close, dev }) in &report.daily {
        lines.push(format!("{day:<12}{event:>10}{open:>10}{merge:>10}{close:>10}{dev:>10}"));
    }
    let Sum { dev, repo, additions, deletions } = report.sum;
    lines.push(format!(
        "\n{}: {dev} developers, {repo} repositories, +{additions} -{deletions} lines",
        report.year
    ));
    let mut languages: Vec<_> = report.language.iter().collect();
    languages.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    for (name, count) in languages {
        lines.push(format!("{name:<22}{count:>10}"));
    }
    lines.join("\n") + "\n"
}
