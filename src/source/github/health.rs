//! What people are told about polling: each trouble once, and once that it is over.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::feeds::Trouble;
use crate::clock::Clock;

/// What the poller does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GitHubState {
    /// It polls; single pages may fail.
    #[default]
    Polling,
    /// It waits longer than usual before it tries again.
    BackingOff,
    /// GitHub refuses every token; it tries them again from time to time.
    Unauthorized,
}

/// The poller as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitHubStatus {
    /// What it does.
    pub state: GitHubState,
    /// What is wrong, for people; also while polling, when only a part of it fails.
    pub trouble: Option<String>,
    /// Whether tokens are configured.
    pub authenticated: bool,
    /// When GitHub last gave a page or said that there is nothing new, in Unix seconds.
    pub last_success: Option<i64>,
    /// Requests left in this window, of all identities, where GitHub says.
    pub remaining: Option<u64>,
    /// Identities that are set aside because GitHub refuses them or shows them nothing new, each with its reason.
    pub aside: Vec<String>,
}

impl fmt::Display for GitHubStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            GitHubState::Polling => "polling",
            GitHubState::BackingOff => "backing off",
            GitHubState::Unauthorized => "unauthorized",
        })?;
        if let Some(trouble) = &self.trouble {
            write!(f, ": {trouble}")?;
        }
        // Where all of them are, the trouble says it.
        let some = self.state == GitHubState::Polling && !self.aside.is_empty();
        if some { write!(f, "; set aside: {}", self.aside.join("; ")) } else { Ok(()) }
    }
}

/// Keeps the status and says what changes in it.
pub struct Health {
    status: GitHubStatus,
    said: Option<&'static str>,
    reports: u64,
    published: watch::Sender<GitHubStatus>,
    clock: Arc<dyn Clock>,
}

impl Health {
    /// Nothing is wrong yet.
    pub fn new(authenticated: bool, clock: Arc<dyn Clock>) -> Self {
        let status = GitHubStatus { authenticated, ..GitHubStatus::default() };
        let published = watch::Sender::new(status.clone());
        Self { status, said: None, reports: 0, published, clock }
    }

    /// The status after each report.
    pub fn subscribe(&self) -> watch::Receiver<GitHubStatus> {
        self.published.subscribe()
    }

    /// Tokens were given or taken away.
    pub fn authenticated(&mut self, authenticated: bool) {
        self.status.authenticated = authenticated;
        self.published.send_replace(self.status.clone());
    }

    /// GitHub answered as it should.
    pub fn succeeded(&mut self) {
        self.status.last_success = Some(self.clock.unix_seconds());
    }

    /// GitHub named what is left of the quota.
    pub fn remaining(&mut self, requests: u64) {
        self.status.remaining = Some(requests);
    }

    /// Which identities are set aside, and why.
    pub fn aside(&mut self, aside: Vec<String>) {
        self.status.aside = aside;
    }

    /// Says what the poller does from now on; `trouble` only where it differs in kind from what was said last. The
    /// status changes where it differs, or where something went wrong `again`.
    pub fn report(&mut self, state: GitHubState, trouble: Option<Trouble>, again: bool) {
        let kind = trouble.as_ref().map(|trouble| trouble.kind);
        if kind == self.said {
            self.reports += u64::from(again);
        } else {
            match &trouble {
                Some(trouble) => tracing::warn!(
                    kind = trouble.kind,
                    reason = trouble.text,
                    "polling GitHub is disturbed, trying again"
                ),
                None => tracing::info!(after_failures = self.reports, "polling GitHub works again"),
            }
            (self.said, self.reports) = (kind, 1);
        }
        self.status.state = state;
        self.status.trouble = trouble.map(|trouble| trouble.text);
        self.published.send_if_modified(|published| {
            // What only moves on with every answer is there to be read, and wakes nobody.
            let moved = GitHubStatus {
                last_success: self.status.last_success,
                remaining: self.status.remaining,
                ..published.clone()
            };
            let different = again || moved != self.status;
            published.clone_from(&self.status);
            different
        });
    }
}
