//! What an event asks the state to change, and what the change turned out to be.

use serde::{Deserialize, Serialize};

use crate::event::{Day, EventKey};

/// What happened to a pull request. The words are those of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was opened.
    Opened,
    /// It was merged.
    Merged,
    /// It was closed without being merged.
    Closed,
    /// It was opened again; this counts in no daily counter.
    Reopened,
}

impl Outcome {
    /// Whether it counts for the day and the year.
    pub fn counts(self) -> bool {
        self != Self::Reopened
    }
}

/// One pull request event, reduced to what the counters need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// The event that it came from.
    pub key: EventKey,
    /// The UTC day that it counts on, from the event's `created_at`.
    pub day: Day,
    /// What happened.
    pub outcome: Outcome,
    /// `pull_request.id`.
    pub pull_request: u64,
    /// `actor.id`.
    pub actor: u64,
    /// `repo.id`.
    pub repo: u64,
    /// Lines added and deleted, where the event or its enrichment knew both.
    pub size: Option<Size>,
    /// The base repository's primary language, where known.
    pub language: Option<String>,
}

/// The size of a pull request, in lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines added.
    pub additions: u64,
    /// Lines deleted.
    pub deletions: u64,
}

/// The `payload` of a `/sampling` message: 1 exactly where this event added one to the counter of that name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbers {
    /// 1 for a pull request event with one of the four outcomes, whether or not it changed a counter.
    pub pr: u8,
    /// `open[D]`.
    pub open: u8,
    /// `merge[D]`.
    pub merge: u8,
    /// `close[D]`.
    pub close: u8,
    /// `dev[D]`.
    pub dev_day: u8,
    /// `dev` of the year.
    pub dev_year: u8,
    /// `repo` of the year.
    pub repo_year: u8,
}
