//! GitHub's public feed: polls the three pages of the Events API as often as the quota allows.
//!
//! `client` makes one request and names what came of it; `pages`, `rate_limit`, `tokens` and `spread` are what is
//! decided from a `round` of answers; `health` is what people are told; `poller` acts on all of it.

mod client;
mod health;
mod pages;
mod poller;
mod rate_limit;
mod round;
mod spread;
mod tokens;

#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

pub use client::{ClientError, reachable};
pub use health::{GitHubState, GitHubStatus};
pub use poller::Poller;
// Enrichment asks the same GitHub with the same tokens, by another quota.
pub(crate) use rate_limit::{Quota, RateHeaders};
pub(crate) use tokens::{Identity, Tokens};

/// The feed's pages: GitHub shows the newest 300 events, 100 a page, and answers 422 beyond.
const PAGES: u8 = 3;

/// As whom GitHub is asked, and how often. A poller takes changes over between two rounds.
#[derive(Clone, PartialEq)]
pub struct GitHubSettings {
    /// `github.tokens`: the first that works is used; without any, GitHub is asked anonymously.
    pub tokens: Vec<String>,
    /// `github.loop.timeout`: how long one request may take, its body included.
    pub timeout: Duration,
    /// `github.loop.break`: the least pause between two rounds with a token.
    pub break_: Duration,
}

impl fmt::Debug for GitHubSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHubSettings")
            .field("tokens", &format_args!("{} masked", self.tokens.len()))
            .field("timeout", &self.timeout)
            .field("break_", &self.break_)
            .finish()
    }
}
