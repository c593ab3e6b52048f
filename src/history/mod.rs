//! The memory behind the counters: what any history promises. Its backend is TiDB.
//!
//! `backfill` takes its counts into the state, `seed` what the state's own counts begin with; `difference` says where
//! the two disagree. The contract tests in
//! `tests/it/contract/history.rs` run on every backend.

pub mod backfill;
pub mod difference;
pub mod seed;
pub mod tidb;

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::domain::github::row::Row;
use crate::event::Day;
use crate::retry::Failure;
use crate::state::seed::SeedChunk;
use crate::state::{Base, DayCounts};

/// Raw events of the past, and the counts that follow from them.
///
/// Guarantees:
/// - **Asking changes nothing.** `recount` and `seed` read only, each from one moment's rows.
/// - A year without events gives an empty base, never an error.
/// - Counts follow section 3 of the design: distinct by UTC day and year, merged pull requests' sizes summed.
/// - **Durable.** Rows are on the history's disk when `write` returned `Ok`, and the next recount sees them.
/// - **Idempotent.** A row is identified by its event's key: written again, in whatever batches, it is there once.
/// - **Nothing known is lost.** A value that a row does not know never overwrites one that the history knows.
/// - A row that the history can never hold is left out and counted; it does not keep its neighbours back. A refusal that
///   somebody can end by changing the table, and that other rows may not meet, is an error that blames the data.
#[async_trait]
pub trait History: Send + Sync {
    /// Recounts a year.
    async fn recount(&self, year: i16) -> Result<Base, HistoryError>;

    /// Sends what a state's own counts of a year begin with: its sets in bounded parts, no id twice in a set, the days in
    /// `open` with theirs, every other day with its counts. Waits while nobody takes them; an error where nobody ever
    /// will.
    async fn seed(&self, year: i16, open: &[Day], parts: mpsc::Sender<SeedPart>) -> Result<(), HistoryError>;

    /// Sends the pull requests that were opened, merged or closed after `from` (Unix seconds), of more than `most` the latest,
    /// in bounded parts and each with all its ids. Waits while nobody takes them. A history that keeps no rows has none.
    async fn pull_requests(
        &self,
        from: i64,
        most: usize,
        parts: mpsc::Sender<Vec<Row>>,
    ) -> Result<(), HistoryError> {
        let _ = (from, most, parts);
        Ok(())
    }

    /// Writes rows.
    async fn write(&self, rows: &[Row]) -> Result<(), HistoryError>;
}

/// A part of what a state's own counts of a year begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeedPart {
    /// Members of a set.
    Members(SeedChunk),
    /// The counts of a day that no longer counts.
    Closed(Day, DayCounts),
    /// Lines of the year's merged pull requests.
    Sizes {
        /// Lines added.
        additions: u64,
        /// Lines deleted.
        deletions: u64,
    },
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a history could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// No history is configured.
    #[error("no history is configured: set tidb.host")]
    NotConfigured,
    /// It is only read: its table belongs to somebody else.
    #[error("the history is not written: history.write is false")]
    NotWritable,
    /// It cannot be reached, or the connection to it was lost.
    #[error("cannot reach the history at {address}")]
    Unavailable {
        /// Host and port.
        address: String,
        /// What the connection said.
        #[source]
        source: Cause,
    },
    /// It does not let this user in, or not at what was asked for.
    #[error("the history at {address} refuses access; see tidb.user, tidb.password and tidb.db")]
    Denied {
        /// Host and port.
        address: String,
        /// What it said.
        #[source]
        source: Cause,
    },
    /// It takes no writes, for a while or until somebody does something about it.
    #[error("the history at {address} is read-only")]
    ReadOnly {
        /// Host and port.
        address: String,
        /// What it said.
        #[source]
        source: Cause,
    },
    /// Another transaction was in the way, or a schema changed underneath; the same call will pass.
    #[error("the history is busy: cannot {action}")]
    Busy {
        /// What was being done.
        action: &'static str,
        /// What it said.
        #[source]
        source: Cause,
    },
    /// A statement of the configuration does not run.
    #[error("the statement {key} does not run")]
    Statement {
        /// The key that holds it.
        key: &'static str,
        /// What the history said of it.
        #[source]
        source: Cause,
    },
    /// A statement of the configuration does not end.
    #[error("the statement {key} was stopped, for it ran longer than {limit:?}")]
    Endless {
        /// The key that holds it.
        key: &'static str,
        /// How long a statement may run.
        limit: Duration,
    },
    /// A statement of the configuration gives something else than asked for.
    #[error("the statement {key} must give {wanted}, but gives {found}")]
    Result {
        /// The key that holds it.
        key: &'static str,
        /// What is needed.
        wanted: String,
        /// What is there.
        found: String,
    },
    /// The history's table is not one that can be written.
    #[error("the table github_events {problem}; change it, or set history.write to false")]
    Table {
        /// What is wrong with it.
        problem: String,
    },
    /// It refuses the rows that it was given; it may take others, and these once somebody has changed the table.
    #[error("the history refuses what it was given: cannot {action}")]
    Unfit {
        /// What was being done.
        action: &'static str,
        /// What it said.
        #[source]
        source: Cause,
    },
    /// Anything else.
    #[error("the history cannot {action}")]
    Failed {
        /// What was being done.
        action: &'static str,
        /// What it said.
        #[source]
        source: Cause,
    },
}

impl HistoryError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Busy { .. })
    }
}

impl Failure for HistoryError {
    fn is_fatal(&self) -> bool {
        false
    }

    fn blames_data(&self) -> bool {
        matches!(self, Self::Unfit { .. })
    }
}
