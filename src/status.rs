//! What is going on, for people and dashboards: written by the roles, read by `/api/v1/status`.

use std::sync::{PoisonError, RwLock};

use serde::Serialize;

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
#[derive(Debug, Default)]
pub struct Status {
    source: RwLock<SourceStatus>,
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

    /// Says what the source does now.
    pub fn set_source_state(&self, state: impl Into<String>) {
        self.source.write().unwrap_or_else(PoisonError::into_inner).state = state.into();
    }
}
