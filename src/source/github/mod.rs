//! GitHub's public feed, and those of single repositories and owners: polls the Events API as often as it must, and no
//! more often than it may.
//!
//! In reading order: `poll` is what one answer showed, told to whoever measures coverage; `http` and `client` make one
//! request and name what came of it; `credentials`, `installation`, `identities` are who asks; `budget`, `rate_limit` how
//! often they may; `turnover`, `share`, `schedule` when each feed is due; `feeds`, `page`, `focus` what is in a feed and
//! remembered of it; `freshness` tells a stale identity; `publish` and `spread` hand events on; `health` is what people are
//! told; `poller` acts on all of it.

mod budget;
mod client;
mod credentials;
mod feeds;
mod focus;
mod freshness;
mod health;
mod http;
mod identities;
mod installation;
mod page;
mod poll;
mod poller;
mod publish;
mod rate_limit;
mod schedule;
mod share;
mod spread;
mod turnover;

#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod identity_tests;
#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

pub use client::{ClientError, Failure, reachable};
pub use health::{GitHubState, GitHubStatus};
pub use http::{Http, Request, Response, Transport};
pub use identities::IdentityOptions;
pub use poll::{Feed, KINDS, OTHER, Observer, Poll, Seen};
pub use poller::{Poller, Setup};
pub use schedule::{PollInterval, Priority};
// Enrichment asks the same GitHub with the same tokens, by another quota.
pub(crate) use credentials::{Credential, Credentials, Pick};
pub(crate) use rate_limit::{Quota, RateHeaders};

/// The feed's pages: GitHub shows the newest 300 events, 100 a page, and answers 422 beyond.
const PAGES: u8 = 3;

/// As whom GitHub is asked, and how often. A poller takes changes over at once.
#[derive(Clone, PartialEq)]
pub struct GitHubSettings {
    /// `github.tokens`: the first that works is used; without any, and without identities, GitHub is asked anonymously.
    pub tokens: Vec<String>,
    /// `github.loop.timeout`: how long one request may take, its body included.
    pub timeout: Duration,
    /// `github.loop.break`: the least time between two requests for the same feed.
    pub break_: Duration,
    /// `github.pollInterval`; who asks anonymously obeys anyway.
    pub poll_interval: PollInterval,
    /// `github.priority`.
    pub priority: Priority,
}

impl fmt::Debug for GitHubSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHubSettings")
            .field("tokens", &format_args!("{} masked", self.tokens.len()))
            .field("timeout", &self.timeout)
            .field("break_", &self.break_)
            .field("poll_interval", &self.poll_interval)
            .field("priority", &self.priority)
            .finish()
    }
}
