//! The counters and what guards them: what any state promises, whichever engine stands behind it.
//!
//! `claims` decides between an event and its twin. `embedded` keeps it in this process, `redis` in a server that several share. The contract tests in `tests/it/contract/state.rs` run on every backend.

pub mod claims;
pub mod embedded;
pub mod redis;
pub mod report;
pub mod seed;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::event::Day;
use crate::mutation::{Mutation, Numbers};
use crate::retry::Failure;
use seed::Seeds;

/// Counters, the sets that guard them, remembered replies and language windows.
///
/// Guarantees:
/// - **Atomic.** A batch is applied as a whole or not at all.
/// - **Durable once persisted.** After `persist` of its receipt returned `Ok`, a batch survives a crash of the store.
/// - **Idempotent.** Whatever was applied before, in whatever batches: applying an event again changes no counter,
///   after any time. Within 24 h it gets the reply that it had, and its language is not counted again.
/// - **One of twins.** Of two events with the same [`crate::mutation::Claim`], one from the feed and one by a webhook, the
///   one that is applied first wins, and the other changes nothing at all, however often and in whatever order either comes
///   again. That is decided, and becomes durable, together with what the winner changes, and is kept for 24 h after the
///   later of the two came first. Events of one source are never twins, and none has two.
/// - **Isolated.** Concurrent batches behave as if applied one after the other, in the order of their `seq`.
/// - **Monotonic.** `seq` grows with every batch and never repeats, even after the store lost its tail.
/// - A day, year or second without data reads as empty, never as an error.
#[async_trait]
pub trait State: Seeds {
    /// Applies a batch that arrived at `now` (Unix milliseconds).
    async fn apply(&self, batch: Vec<Mutation>, now: i64) -> Result<Applied, StateError>;

    /// Waits until an applied batch is on the store's disk.
    ///
    /// # Errors
    /// [`StateError::Lost`] when the store may have lost it: the batch is to be applied again.
    async fn persist(&self, receipt: Receipt) -> Result<(), StateError>;

    /// Whether the store is still the one that a persisted batch was applied to. Asked after the batch is in history:
    /// where a seed from there replaces the counts, either it has the batch or this says no.
    async fn holds(&self, receipt: Receipt) -> Result<bool, StateError>;

    /// The published counters of a year together with the number of the last batch in them.
    async fn snapshot(&self, year: i16) -> Result<Snapshot, StateError>;

    /// Languages by the second in which workers applied them; seconds without any are left out.
    async fn languages(&self, seconds: RangeInclusive<i64>) -> Result<LanguageSeconds, StateError>;

    /// What the state's own sets and sums say of a year, without its base; for a closed day its published values.
    /// This is what a recount is compared with.
    async fn own(&self, year: i16) -> Result<Base, StateError>;

    /// Sets what history says of a year, in place of what it said before. A published value is the larger of this and
    /// the state's own.
    async fn set_base(&self, year: i16, base: Base) -> Result<(), StateError>;

    /// How often this process found the store emptied; marked as changed each time.
    fn emptied(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    /// Mutations in one batch from which on others wait for it noticeably. A larger one is still applied as a whole.
    fn batch_limit(&self) -> usize {
        1_000
    }
}

/// Language counts by Unix second.
pub type LanguageSeconds = BTreeMap<i64, BTreeMap<String, u64>>;

/// Where and when a batch was applied; only meaningful to the state that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Which run of the store applied it.
    pub incarnation: u64,
    /// When it was applied.
    pub at: Instant,
}

/// What applying a batch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The batch's number.
    pub seq: i64,
    /// What each event of the batch changed, in its order.
    pub numbers: Vec<Numbers>,
    /// Places in the batch of events that lost to their twin. Nothing else of them is to be kept or shown either.
    pub lost: BTreeSet<usize>,
    /// With which [`State::persist`] waits for the disk.
    pub receipt: Receipt,
}

/// One day's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DayCounts {
    /// Distinct pull requests opened.
    pub open: u64,
    /// Distinct pull requests merged.
    pub merge: u64,
    /// Distinct pull requests closed without being merged.
    pub close: u64,
    /// Distinct developers.
    pub dev: u64,
}

impl DayCounts {
    /// The `event` counter: always the sum of the other three pull request counters.
    pub fn event(&self) -> u64 {
        self.open + self.merge + self.close
    }
}

/// A year's sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct YearSums {
    /// Distinct developers.
    pub dev: u64,
    /// Distinct repositories.
    pub repo: u64,
    /// Lines added by merged pull requests.
    pub additions: u64,
    /// Lines deleted by merged pull requests.
    pub deletions: u64,
}

/// A year as published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The number of the last batch that is in it; 0 before the first.
    pub seq: i64,
    /// The days that have data, ascending.
    pub days: BTreeMap<Day, DayCounts>,
    /// The year's sums.
    pub sums: YearSums,
    /// Whether the year waits for its seed: what is published then is not what it comes to.
    pub unseeded: bool,
}

/// A year as history has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// The days that it knows.
    pub days: BTreeMap<Day, DayCounts>,
    /// The year's sums.
    pub sums: YearSums,
}

impl Snapshot {
    /// What is published of a year: of every counter the larger of the two.
    pub fn published(own: Base, base: Base) -> Self {
        let Base { mut days, mut sums } = own;
        for (day, counts) in base.days {
            let published = days.entry(day).or_default();
            published.open = published.open.max(counts.open);
            published.merge = published.merge.max(counts.merge);
            published.close = published.close.max(counts.close);
            published.dev = published.dev.max(counts.dev);
        }
        sums.dev = sums.dev.max(base.sums.dev);
        sums.repo = sums.repo.max(base.sums.repo);
        sums.additions = sums.additions.max(base.sums.additions);
        sums.deletions = sums.deletions.max(base.sums.deletions);
        Self { days, sums, ..Self::default() }
    }
}

/// How long a reply is remembered, in seconds.
pub const REPLY_SECONDS: i64 = 24 * 60 * 60;

/// Why the state could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The storage below failed.
    #[error("cannot {action}")]
    Storage {
        /// What was being done.
        action: &'static str,
        /// What the storage said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store can no longer be used by this process.
    #[error("the store cannot be used any more")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store cannot be reached, or does not answer.
    #[error("cannot reach {store}")]
    Unreachable {
        /// Its name.
        store: &'static str,
        /// What the connection said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store answers but refuses, mostly until somebody does something about it.
    #[error("{reason}")]
    Refused {
        /// What is wrong.
        reason: &'static str,
        /// What the store said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store refuses the batch for something that the batch would touch.
    #[error("{reason}")]
    Unfit {
        /// What is wrong.
        reason: &'static str,
        /// What the store said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store restarted before a batch was known to be on its disk, or was emptied.
    #[error("the store may have lost what it was given")]
    Lost,
    /// Events of this year wait for its seed from history.
    #[error("the counts of {year} are being taken over from history")]
    Unseeded {
        /// The year.
        year: i16,
    },
    /// A seed has another holder now, or what it wrote may be lost.
    #[error("the seed was lost to another process or to a restart of the store")]
    SeedLost,
    /// What is stored is not what this version writes.
    #[error("the stored {what} is malformed")]
    Malformed {
        /// What was read.
        what: &'static str,
    },
}

impl StateError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Malformed { .. } | Self::Broken(_))
    }
}

impl Failure for StateError {
    fn is_fatal(&self) -> bool {
        matches!(self, Self::Broken(_))
    }

    fn blames_data(&self) -> bool {
        matches!(self, Self::Unfit { .. } | Self::Malformed { .. })
    }
}
