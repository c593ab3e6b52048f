//! The memory behind the counters: what any history promises. Its backends are TiDB and the embedded lake.

use async_trait::async_trait;

use crate::state::Base;

/// Raw events of the past, and the counts that follow from them.
///
/// Guarantees:
/// - **Read only.** Asking changes nothing.
/// - A year without events gives an empty base, never an error.
/// - Counts follow section 3 of the design: distinct by UTC day and year, merged pull requests' sizes summed.
#[async_trait]
pub trait History: Send + Sync {
    /// Recounts a year.
    async fn recount(&self, year: i16) -> Result<Base, HistoryError>;
}

/// Why a history could not answer.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// No history is configured.
    #[error("no history is configured: set tidb.host, or wait for the embedded lake")]
    NotConfigured,
}
