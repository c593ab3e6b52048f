//! What is published of coverage.

use std::collections::BTreeMap;

use serde::Serialize;

/// How much of the feed was seen of late. Shares are percent, rounded to a tenth; `None` where they cannot be told.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Seconds that it looks back at most.
    pub window_seconds: u64,
    /// Percent of all events that were seen, by estimate.
    pub captured: Option<f64>,
    /// By type: those of the known types that were seen since the start, and `other`.
    pub types: BTreeMap<&'static str, TypeReport>,
    /// By page of the feed.
    pub pages: BTreeMap<u8, PageReport>,
    /// The focus repositories' own feeds beside the public one; `None` without any.
    pub focus: Option<FocusReport>,
    /// Seconds from `created_at` to the first sight; `None` before the first event.
    pub lag: Option<LagReport>,
    /// Percent of the pull request events without details that got them; `None` where none were asked for.
    pub enriched: Option<f64>,
}

/// A report in short, for streams.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// As in [`Report`].
    pub captured: Option<f64>,
    /// Percent by type, where it can be told.
    pub types: BTreeMap<&'static str, f64>,
    /// Types that went silent.
    pub silent: Vec<&'static str>,
    /// As in [`Report`].
    pub lag: Option<LagReport>,
    /// As in [`Report`].
    pub enriched: Option<f64>,
}

impl Report {
    /// Whether nothing was measured within the window.
    pub fn is_empty(&self) -> bool {
        self.pages.values().all(|page| page.polls == 0) && self.focus.is_none() && self.enriched.is_none()
    }

    /// What streams are told.
    pub fn summary(&self) -> Summary {
        let types = self.types.iter();
        Summary {
            captured: self.captured,
            types: types.clone().filter_map(|(kind, report)| Some((*kind, report.captured?))).collect(),
            silent: types.filter(|(_, report)| report.silent).map(|(kind, _)| *kind).collect(),
            lag: self.lag,
            enriched: self.enriched,
        }
    }
}

/// A type's share.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeReport {
    /// Distinct events seen in the window.
    pub seen: u64,
    /// Percent of those that passed, by how far the queues moved.
    pub captured: Option<f64>,
    /// The same by capture and recapture of pages 2 and 3 alone, as a check.
    pub recaptured: Option<f64>,
    /// Seconds since the last one while other types were seen.
    pub quiet_seconds: f64,
    /// Whether that is unusually long.
    pub silent: bool,
}

/// A page's polls.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PageReport {
    /// Polls with events in the window.
    pub polls: u64,
    /// Percent of a poll that the one before it had shown, on average.
    pub overlap: Option<f64>,
    /// Polls that had nothing in common with the one before them.
    pub gaps: u64,
}

/// The focus repositories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FocusReport {
    /// Events of their own feeds that were compared since the start.
    pub events: u64,
    /// Percent of the latest of them that the public feed showed.
    pub captured: f64,
}

/// Seconds from `created_at` to the first sight, within a tenth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LagReport {
    /// Half of the events came faster.
    pub p50: f64,
    /// All but one in a hundred.
    pub p99: f64,
}

/// A share from 0 to 1 as percent, rounded to a tenth.
pub(super) fn percent(share: f64) -> f64 {
    (share * 1_000.0).round() / 10.0
}
