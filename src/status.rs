//! What is going on, for people and dashboards: written by the roles, read by `/api/v1/status`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use tokio::sync::watch;

use crate::coverage::Report;

/// Where the events come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// GitHub's public feed.
    Live,
    /// Archive files.
    Replay,
    /// Generated events of invented people and repositories.
    Sample,
    /// No source runs in this process.
    #[default]
    None,
}

impl SourceKind {
    /// Its name, as in the status and in the header `X-Pulsehub-Source`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Replay => "replay",
            Self::Sample => "sample",
            Self::None => "none",
        }
    }
}

/// The source as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// Which source.
    pub kind: SourceKind,
    /// What it does, in a word or two.
    pub state: String,
    /// What people should know, each in a sentence.
    pub notes: Vec<String>,
}

/// The process as it stands.
#[derive(Debug)]
pub struct Status {
    source: RwLock<SourceStatus>,
    /// Of the newest batch, in seconds; `UNKNOWN_LAG` before the first.
    lag: AtomicI64,
    /// `None` where it is not measured.
    coverage: watch::Sender<Option<Arc<Report>>>,
}

const UNKNOWN_LAG: i64 = i64::MIN;

impl Default for Status {
    fn default() -> Self {
        Self {
            source: RwLock::default(),
            lag: AtomicI64::new(UNKNOWN_LAG),
            coverage: watch::Sender::new(None),
        }
    }
}

impl Status {
    /// The source as it stands.
    pub fn source(&self) -> SourceStatus {
        self.source.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says which source runs, and what people should know about it.
    pub fn set_source(&self, source: SourceStatus) {
        *self.source.write().unwrap_or_else(PoisonError::into_inner) = source;
    }

    /// How old the newest event of the last batch was when it was applied, in seconds; `None` before the first.
    pub fn lag_seconds(&self) -> Option<i64> {
        Some(self.lag.load(Ordering::Relaxed)).filter(|&lag| lag != UNKNOWN_LAG)
    }

    /// Says how old the newest event of a batch was when it was applied.
    pub fn set_lag_seconds(&self, seconds: i64) {
        self.lag.store(seconds, Ordering::Relaxed);
    }

    /// How much of GitHub's feed is seen, as it changes; `None` where this process does not poll it.
    pub fn coverage(&self) -> watch::Receiver<Option<Arc<Report>>> {
        self.coverage.subscribe()
    }

    /// Says how much of GitHub's feed is seen.
    pub fn set_coverage(&self, report: Report) {
        self.coverage.send_replace(Some(Arc::new(report)));
    }

    /// Says what people should know about the source.
    pub fn set_source_notes(&self, notes: Vec<String>) {
        self.source.write().unwrap_or_else(PoisonError::into_inner).notes = notes;
    }

    /// Says what the source does now.
    pub fn set_source_state(&self, state: impl Into<String>) {
        self.source.write().unwrap_or_else(PoisonError::into_inner).state = state.into();
    }
}
