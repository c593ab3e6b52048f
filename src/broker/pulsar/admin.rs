//! Pulsar's admin REST API, as far as it is asked: how much of a subscription is not settled.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::oauth::Tokens;
use super::place::Place;
use super::topic::TopicName;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why the admin API gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The URL is none.
    #[error("pulsar.adminUrl is not a URL with a host")]
    Url,
    /// It could not be reached, or answered something else than expected.
    #[error("cannot ask Pulsar's admin API")]
    Request(#[from] reqwest::Error),
    /// It refused.
    #[error("Pulsar's admin API answered {0}")]
    Status(StatusCode),
}

/// A subscription as it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Entries that are not acknowledged.
    pub entries: u64,
    /// Messages in them, estimated from the size of entries delivered lately; exact where it is 0.
    pub messages: u64,
    /// Messages that some consumer holds.
    pub held: u64,
    /// Messages whose time to be delivered has not come.
    pub delayed: u64,
}

/// The API's client.
pub struct Admin {
    http: reqwest::Client,
    root: Url,
    tokens: Option<Tokens>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stats {
    subscriptions: HashMap<String, Subscription>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Subscription {
    msg_backlog: u64,
    unacked_messages: u64,
    msg_delayed: u64,
    consumers: Vec<Consumer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Consumer {
    /// Negative or 0 before the first.
    avg_messages_per_entry: i64,
}

impl Admin {
    /// A client of the API at `url`.
    pub fn new(url: &str, tokens: Option<Tokens>) -> Result<Self, AdminError> {
        let root = Url::parse(url).map_err(|_| AdminError::Url)?;
        if root.cannot_be_a_base() {
            return Err(AdminError::Url);
        }
        Ok(Self { http: reqwest::Client::builder().timeout(PATIENCE).build()?, root, tokens })
    }

    /// What a subscription has not settled; nothing where there is no such topic or subscription.
    pub async fn backlog(&self, place: &Place) -> Result<Backlog, AdminError> {
        let topic = &place.topic;
        let mut stats = self.stats(topic, "stats").await?;
        if stats.is_none() {
            stats = self.stats(topic, "partitioned-stats").await?;
        }
        let subscriptions = stats.unwrap_or_default().subscriptions;
        Ok(subscriptions.get(&place.subscription).map(Backlog::from).unwrap_or_default())
    }

    async fn stats(&self, topic: &TopicName, kind: &str) -> Result<Option<Stats>, AdminError> {
        let mut url = self.root.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["admin", "v2"]).extend(topic.segments()).push(kind);
        }
        let mut request = self.http.get(url);
        if let Some(tokens) = &self.tokens {
            request = request.bearer_auth(tokens.bearer().await.unwrap_or_default());
        }
        let response = request.send().await?;
        match response.status() {
            StatusCode::OK => Ok(Some(response.json().await?)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(AdminError::Status(status)),
        }
    }
}

impl From<&Subscription> for Backlog {
    fn from(subscription: &Subscription) -> Self {
        // Pulsar counts entries. What consumers got lately says how many messages are in one.
        let sizes = subscription.consumers.iter().map(|consumer| consumer.avg_messages_per_entry);
        let size = sizes.max().and_then(|size| u64::try_from(size).ok()).unwrap_or(1).max(1);
        Self {
            entries: subscription.msg_backlog,
            messages: subscription.msg_backlog.saturating_mul(size),
            held: subscription.unacked_messages,
            delayed: subscription.msg_delayed,
        }
    }
}
