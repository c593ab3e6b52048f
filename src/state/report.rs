//! The counters of a year as people and programs read them: plain integers, whatever the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DayCounts, State, StateError, YearSums};

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
        let DayCounts { open, merge, close, dev } = *counts;
        (day.to_string(), Daily { event: counts.event(), open, merge, close, dev })
    });
    let YearSums { dev, repo, additions, deletions } = snapshot.sums;
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
