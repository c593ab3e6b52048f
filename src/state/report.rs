//! The counters of a year as people and programs read them: plain integers, whatever the store.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

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
    /// Language → events in the language window.
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

/// The language window of `seconds` that ends at `now`, both in Unix seconds.
pub fn window(now: i64, seconds: u32) -> RangeInclusive<i64> {
    now - i64::from(seconds) + 1..=now
}

/// Reads the counters of `year` from `state`, and the languages of the seconds in `window`.
///
/// # Errors
/// When the state cannot be read.
pub async fn report(state: &dyn State, year: i16, window: RangeInclusive<i64>) -> Result<Report, StateError> {
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
    for (language, count) in state.languages(window).await?.into_values().flatten() {
        *report.language.entry(language).or_default() += count;
    }
    Ok(report)
}
