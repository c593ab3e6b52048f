//! Asks GitHub's GraphQL API: 100 pull requests for a point of 5,000 an hour, beside the quota of the Events API.
//!
//! `queue` knows who waits for what, `query` writes questions and reads answers, `budget` says when the next one may go
//! out, `client` sends it, `node_id` computes what it asks by; `collector` is the task that acts on all of it.

mod budget;
mod client;
mod collector;
mod node_id;
mod query;
mod queue;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::cache::Cache;
use super::{Answer, Enricher};
use crate::clock::Clock;
use crate::domain::github::details::Stub;
use crate::source::github::GitHubSettings;
pub use client::ClientError;
pub use collector::Collector;
use queue::Ask;

/// Questions on their way to the collector; it takes them much faster than workers can ask.
const ON_THEIR_WAY: usize = 4_096;
/// When to ask again where there was no room.
const CROWDED: Duration = Duration::from_secs(10);
/// Repositories whose language is remembered: about 20 MB.
const LANGUAGES: usize = 200_000;
/// How long. Languages change rarely, and the counts of today should not wait for tomorrow.
const LANGUAGE_AGE: Duration = Duration::from_secs(24 * 3600);

/// Languages by repository number; `None` for one that has none.
type Languages = Arc<Mutex<Cache<u64, Option<Arc<str>>>>>;

/// The way to the collector, for all workers.
pub struct GitHubEnricher {
    asks: mpsc::Sender<Ask>,
    languages: Languages,
}

impl GitHubEnricher {
    /// Asks at `url` with the first of `settings`' tokens that works, and nobody while there is none. Nothing is asked
    /// before the collector runs, and nothing after it has ended.
    ///
    /// # Errors
    /// When the address or a token cannot be used.
    pub fn new(
        url: &str,
        settings: watch::Receiver<GitHubSettings>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Collector), ClientError> {
        let (asks, asked) = mpsc::channel(ON_THEIR_WAY);
        let languages = Arc::new(Mutex::new(Cache::new(LANGUAGES, LANGUAGE_AGE)));
        let collector = Collector::new(url, settings, clock, asked, languages.clone())?;
        Ok((Self { asks, languages }, collector))
    }
}

#[async_trait]
impl Enricher for GitHubEnricher {
    async fn details(&self, stubs: Vec<Stub>, within: Duration) -> Vec<Answer> {
        let deadline = Instant::now() + within;
        let ask = |stub| {
            let (reply, answer) = oneshot::channel();
            self.asks.try_send(Ask { stub, deadline, reply }).is_ok().then_some(answer)
        };
        let asked: Vec<_> = stubs.into_iter().map(ask).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for answer in asked {
            answers.push(match answer {
                None => Answer::Later(CROWDED),
                Some(answer) => match timeout_at(deadline, answer).await {
                    Ok(Ok(answer)) => answer,
                    // Too late, or the collector has ended.
                    Err(_) | Ok(Err(_)) => Answer::Later(Duration::ZERO),
                },
            });
        }
        answers
    }

    fn language(&self, repo: u64) -> Option<Arc<str>> {
        let languages = self.languages.lock().unwrap_or_else(PoisonError::into_inner);
        languages.get(&repo, Instant::now()).cloned().flatten()
    }
}
