//! What events do not say of their pull requests, asked of somebody who knows: what any enricher promises.
//!
//! `github` asks GitHub's GraphQL API. Workers ask for a whole batch, and go on without what does not come in time.

mod cache;
pub mod github;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::github::details::{Details, Stub};

/// How much later than others an event with a pull request may come for what is asked, at most.
pub const WITHIN: Duration = Duration::from_millis(2_800);

/// Somebody who knows more of a pull request than its event says.
///
/// Guarantees:
/// - **In time.** `details` returns within the time that it is given; an answer that comes too late is remembered for
///   those who ask again.
/// - **Not older than the event.** What it says of a pull request holds at the event's time or later, so that the size of a
///   merged one is final.
/// - **Bounded.** What waits, and what is remembered, is bounded; beyond it the answer is [`Answer::Later`].
/// - Asking changes nothing, and the same may be asked at the same time and again.
#[async_trait]
pub trait Enricher: Send + Sync {
    /// An answer for each stub, in their order.
    async fn details(&self, stubs: Vec<Stub>, within: Duration) -> Vec<Answer>;

    /// The primary language of a repository, by its number, where that happens to be known. Never waits.
    fn language(&self, repo: u64) -> Option<Arc<str>>;
}

/// What came of asking for a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What it is.
    Known(Details),
    /// It does not exist any more, or nobody may see it.
    Gone,
    /// Not known in time; asking again makes sense once this has passed.
    Later(Duration),
    /// Nobody can be asked, and nobody will be.
    Off,
}
