//! Faults that last: said once in the log, and sent to people when they pass the operator's tolerance.
//!
//! `tolerance` decides, `lark` and `webhook` send.

mod lark;
mod tolerance;
mod webhook;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::watch;

pub use lark::Lark;
pub use tolerance::Limits;
use tolerance::Tolerance;
pub use webhook::Webhook;

use crate::clock::Clock;
use crate::retry::Backoff;

/// How long one attempt to send may take, and how often it is made.
const SEND: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 3;
/// An engine that comes and goes is not worth more than a line in so long.
const QUIET: Duration = Duration::from_secs(10);
/// Different errors of one outage that are said: lost, then refused, then starting. Some hold numbers that always differ.
const SAID: usize = 5;

/// What can fail; a closed set, each with its own tolerance and pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Polling GitHub.
    GitHub,
    /// Receiving from the broker and settling.
    Broker,
    /// Publishing on the live topic.
    Live,
    /// Applying to the state.
    State,
    /// Writing to history.
    History,
    /// Backfilling from history.
    Backfill,
    /// Seeding the state from history.
    Seed,
    /// What the state held is gone.
    Emptied,
    /// Publishing webhook events that wait on this disk.
    Webhooks,
    /// Writing the archive.
    Archive,
    /// Too little of GitHub's feed is seen.
    Coverage,
    /// A type of events is no longer seen.
    Silence,
    /// An identity is refused by GitHub.
    Identity,
}

impl Subject {
    /// Its name, for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::GitHub => "polling GitHub",
            Self::Broker => "the broker",
            Self::Live => "the live topic",
            Self::State => "the state",
            Self::History => "writing history",
            Self::Backfill => "the backfill",
            Self::Seed => "seeding from history",
            Self::Emptied => "keeping the state",
            Self::Webhooks => "publishing webhook events that waited",
            Self::Archive => "writing the archive",
            Self::Coverage => "seeing enough of GitHub's feed",
            Self::Silence => "seeing all types of events",
            Self::Identity => "an identity at GitHub",
        }
    }
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What happened, for people.
    pub text: String,
    /// How bad it is: `error`.
    pub severity: &'static str,
    /// When, in Unix seconds.
    pub at: i64,
}

/// Where alerts go, and when. Not to be printed: it holds secrets.
#[derive(Clone, PartialEq)]
pub struct Routes {
    /// When.
    pub limits: Limits,
    /// A group in Lark, if any.
    pub lark: Option<Lark>,
    /// A plain webhook, if any.
    pub webhook: Option<Webhook>,
}

impl Routes {
    fn channels(self) -> Vec<Box<dyn Channel>> {
        let lark = self.lark.map(|lark| Box::new(lark) as Box<dyn Channel>);
        let webhook = self.webhook.map(|webhook| Box::new(webhook) as Box<dyn Channel>);
        lark.into_iter().chain(webhook).collect()
    }
}

/// A way to people.
#[async_trait]
trait Channel: Send + Sync {
    /// Its name in the log, without its address: whoever knows that can write there.
    fn name(&self) -> &'static str;

    /// Sends once. The error says nothing of the address.
    async fn send(&self, client: &reqwest::Client, message: &Message) -> Result<(), String>;
}

/// Hears of faults, says each once, and sends those that last.
pub struct Alerts {
    routes: watch::Receiver<Routes>,
    clock: Arc<dyn Clock>,
    subjects: Mutex<HashMap<Subject, Trouble>>,
}

/// How it stands with a subject.
#[derive(Default)]
struct Trouble {
    tolerance: Tolerance,
    /// Failures since it last worked.
    failures: u64,
    /// What was said of them.
    said: Vec<String>,
    said_at: Option<Instant>,
}

impl Alerts {
    /// Alerts by `routes`, which are read for each fault.
    pub fn new(routes: watch::Receiver<Routes>, clock: Arc<dyn Clock>) -> Self {
        Self { routes, clock, subjects: Mutex::default() }
    }

    /// Says a fault, unless it was said already, and counts it.
    pub fn failed(&self, subject: Subject, error: &dyn std::error::Error) {
        let text = crate::error_chain(error);
        let mut subjects = self.lock();
        let trouble = subjects.entry(subject).or_default();
        trouble.failures += 1;
        let new = trouble.said.len() < SAID && !trouble.said.contains(&text);
        if new && trouble.said_at.is_none_or(|at| at.elapsed() >= QUIET) {
            tracing::error!(error = text, "{} failed, trying again", subject.label());
            trouble.said.push(text.clone());
            trouble.said_at = Some(Instant::now());
        }
        drop(subjects);
        self.count(subject, &text);
    }

    /// It works again: says so where the fault was said.
    pub fn recovered(&self, subject: Subject) {
        let mut subjects = self.lock();
        let Some(trouble) = subjects.get_mut(&subject).filter(|trouble| trouble.failures > 0) else { return };
        if !std::mem::take(&mut trouble.said).is_empty() {
            tracing::info!(failures = trouble.failures, "{} works again", subject.label());
        }
        trouble.failures = 0;
    }

    /// Counts a fault that somebody else has said, and sends it where it passes the tolerance.
    pub fn count(&self, subject: Subject, text: &str) {
        let routes = self.routes.borrow().clone();
        self.count_by(routes, subject, text);
    }

    /// Sends a fault that somebody else has said, whatever the tolerance: one that happens once and is not over by
    /// itself.
    pub fn tell(&self, subject: Subject, text: &str) {
        let mut routes = self.routes.borrow().clone();
        routes.limits.tolerance = 0;
        self.count_by(routes, subject, text);
    }

    fn count_by(&self, routes: Routes, subject: Subject, text: &str) {
        let (limits, channels) = (routes.limits, routes.channels());
        if channels.is_empty() {
            return;
        }
        let due = self.lock().entry(subject).or_default().tolerance.failed(&limits, Instant::now());
        if !due {
            return;
        }
        let message = Message {
            text: format!("pulsehub: {} fails: {text}", subject.label()),
            severity: "error",
            at: self.clock.unix_seconds(),
        };
        // Bounded by the pause between two alerts of each subject.
        tokio::spawn(send(channels, message));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Subject, Trouble>> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(channels: Vec<Box<dyn Channel>>, message: Message) {
    let client = match reqwest::Client::builder().timeout(SEND).build() {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "cannot send alerts"),
    };
    for channel in channels {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        while let Err(error) = channel.send(&client, &message).await {
            if backoff.failures() + 1 >= ATTEMPTS {
                tracing::error!(channel = channel.name(), error, "cannot send an alert");
                break;
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

/// What a request to a channel came to, without its address.
async fn outcome(request: reqwest::RequestBuilder) -> Result<serde_json::Value, String> {
    let response = request.send().await.map_err(|error| crate::error_chain(&error.without_url()))?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("answered {status}"));
    }
    // Not every receiver answers with JSON.
    Ok(response.json().await.unwrap_or_default())
}
