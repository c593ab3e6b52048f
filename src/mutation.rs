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
    /// None of these, or it is an event of another type: nothing is counted, it only has a [`Claim`].
    Uncounted,
}

impl Outcome {
    /// Whether it counts for the day and the year.
    pub fn counts(self) -> bool {
        !matches!(self, Self::Reopened | Self::Uncounted)
    }
}

/// What an event and its twin from another source claim: GitHub's feed and its webhooks tell of the same thing under
/// different ids. Whichever is applied first has the claim, and the other one changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The hash of the natural key: 63 bits, never 0.
    pub natural: i64,
    /// Seconds that twins may lie apart by their `created_at`, that many included; `None` where the natural key says it all.
    pub within: Option<u32>,
}

/// One event, reduced to what the counters need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// The event that it came from.
    pub key: EventKey,
    /// The UTC day that it counts on, from the event's `created_at`.
    pub day: Day,
    /// What happened.
    pub outcome: Outcome,
    /// `pull_request.id`; this and the following are 0 or absent where nothing is counted.
    pub pull_request: u64,
    /// `actor.id`.
    pub actor: u64,
    /// `repo.id`.
    pub repo: u64,
    /// Lines added and deleted, where the event or its enrichment knew both.
    pub size: Option<Size>,
    /// The base repository's primary language, where known.
    pub language: Option<String>,
    /// What it shares with its twin from another source; `None` where twins are not looked for.
    pub claim: Option<Claim>,
}

impl Mutation {
    /// An event that counts nowhere and has a claim; `None` where `key` is on no day.
    pub fn claiming(key: EventKey, claim: Claim) -> Option<Self> {
        Some(Self {
            key,
            day: key.day()?,
            outcome: Outcome::Uncounted,
            pull_request: 0,
            actor: 0,
            repo: 0,
            size: None,
            language: None,
            claim: Some(claim),
        })
    }
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
