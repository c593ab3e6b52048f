//! Sections of pulsehub itself: front ends, sources, periodic work, embedded stores, logs and alerts.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::{Address, base_url, optional_address, optional_text};
use super::{Secret, Span};

/// What WebSocket clients are told about the protocol.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Api {
    /// Number sent in the first message as `apiVersion`. Default 2.
    pub version: u32,
}

/// WebSocket and HTTP for front ends.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Server {
    /// Address to listen on. Default 0.0.0.0, every IPv4 interface.
    pub host: String,
    /// Port to listen on, 0 takes a free one. Default 8080.
    pub port: u16,
    /// Prefix below which every endpoint is served a second time, "" for none. Default /websocket.
    pub base_path: String,
    /// Path that answers 200 OK to load balancers. Default /health.
    pub health: String,
    /// Path that starts a backfill on POST. Default /sync-event.
    pub sync_event: String,
    /// Bearer token for `syncEvent`; empty (default): the endpoint answers 404.
    pub sync_token: Secret,
    /// Origins that browsers may connect from. Default empty: any.
    pub origins: Vec<String>,
    /// Connections at the same time; more are refused with 503. Default 20000.
    #[schemars(range(min = 1))]
    pub max_connections: u32,
    /// Connections at the same time from one address, or one IPv6 network of 64 bits; 0 for any number. Default 1000.
    pub max_connections_per_address: u32,
    /// Networks of proxies whose `X-Forwarded-For` or `Forwarded` is believed. Default this machine.
    pub trusted_proxies: Vec<String>,
    /// Encryption. Default none.
    #[serde(default)]
    pub tls: ServerTls,
}

/// Encryption of the public listener.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerTls {
    /// PEM file of the certificate, followed by those that lead to its authority. Default none: not encrypted.
    #[serde(default, deserialize_with = "optional_text")]
    pub certificate: Option<String>,
    /// PEM file of its private key. Default none.
    #[serde(default, deserialize_with = "optional_text")]
    pub key: Option<String>,
}

impl ServerTls {
    /// Certificate and key, where both are named.
    #[must_use]
    pub fn files(&self) -> Option<(PathBuf, PathBuf)> {
        Some((self.certificate.as_ref()?.into(), self.key.as_ref()?.into()))
    }
}

/// A network, or a single address as one.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl Server {
    /// The extra prefix without a slash at its end, if there is one.
    #[must_use]
    pub fn extra_prefix(&self) -> Option<&str> {
        Some(self.base_path.trim_end_matches('/')).filter(|path| !path.is_empty())
    }

    /// `trustedProxies`, read.
    #[must_use]
    pub fn trusted_networks(&self) -> Vec<IpNet> {
        self.trusted_proxies.iter().filter_map(|text| network(text)).collect()
    }
}

/// Metrics and operations, not protected.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Admin {
    /// Address to listen on. Default 127.0.0.1.
    pub host: String,
    /// Port to listen on, 0 takes a free one. Default 8081.
    pub port: u16,
}

/// The live feed from workers to servers.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Live {
    /// Age, by event time, from which on events are counted but not sent live. Default 6h.
    pub max_age: Span,
    /// Unpartitioned Pulsar topic of the feed, for `work` and `serve` in separate processes. Default none.
    #[serde(default, deserialize_with = "optional_text")]
    pub topic: Option<String>,
}

/// The GitHub Events API.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Github {
    /// Root of the REST API; a missing slash at its end is added. Default <https://api.github.com/>.
    #[serde(deserialize_with = "base_url")]
    pub base_url: Address,
    /// Endpoint of the GraphQL API. Default: the one that belongs to `baseUrl`.
    #[serde(default, deserialize_with = "optional_address")]
    pub graphql_url: Option<Address>,
    /// The loop that fetches events.
    #[serde(rename = "loop")]
    pub polling: Polling,
    /// Whether pages are asked for as often as `X-Poll-Interval` says, or as their overlap calls for. Default adaptive;
    /// without a token always obey.
    pub poll_interval: PollInterval,
    /// What comes first when the budget does not bear all pages. Default `pull_requests`.
    pub priority: Priority,
    /// Tokens of one user, of which the first that works is used. Default empty: 60 requests an hour.
    pub tokens: Vec<Secret>,
    /// Further identities, each with a budget of its own. Default empty.
    pub identities: Vec<Identity>,
    /// Repositories (`owner/repo`) and owners whose own feeds are polled too, 200 at most. Default empty.
    pub focus: Vec<String>,
    /// Whether GitHub is asked for what events do not say of their pull requests. Default auto.
    pub enrich: Enrich,
}

/// How often a page of the feed is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the key says it")]
pub enum PollInterval {
    Obey,
    Adaptive,
}

/// Which pages of the feed come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the key says it")]
pub enum Priority {
    PullRequests,
    Everything,
}

/// One further identity: a user by tokens, or an App's installation.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// Tokens of one user, of which the first that works is used.
    #[serde(default)]
    pub tokens: Vec<Secret>,
    /// An installation of a GitHub App.
    #[serde(default)]
    pub app: Option<App>,
}

/// An installation of a GitHub App.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct App {
    /// The App's id.
    #[serde(default)]
    pub id: u64,
    /// The installation's id.
    #[serde(default)]
    pub installation: u64,
    /// Path of the App's private key, in PEM.
    #[serde(default)]
    pub key_path: String,
}

/// Whether GitHub is asked for what events do not say of their pull requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Enrich {
    /// Where there is a token.
    Auto,
    /// Not at all.
    Never,
}

impl Github {
    /// Whether GitHub is asked as nobody in particular.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.tokens.is_empty() && self.identities.is_empty()
    }

    /// Endpoint of the GraphQL API: as configured, else below `baseUrl`, where GitHub Enterprise Server has
    /// it at `/api/graphql` beside `/api/v3/`.
    ///
    /// Not api.github.com whatever `baseUrl` says: a token must not go to a host that it wasn't given for.
    #[must_use]
    pub fn graphql_url(&self) -> Address {
        self.graphql_url.clone().unwrap_or_else(|| {
            let root = self.base_url.as_str();
            let root =
                root.strip_suffix("/api/v3/").map_or_else(|| root.to_owned(), |host| format!("{host}/api/"));
            Address::from(format!("{root}graphql"))
        })
    }
}

/// The loop that fetches events.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Polling {
    /// Milliseconds that one request may take. Default 5000.
    #[serde(rename = "timeout")]
    #[schemars(range(min = 1))]
    pub timeout_ms: u32,
    /// Milliseconds between two requests for the same page at least, with a token. Default 1000.
    #[serde(rename = "break")]
    pub break_ms: u32,
}

impl Polling {
    /// How long one request may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.into())
    }

    /// The pause between two requests.
    #[must_use]
    pub fn pause(&self) -> Duration {
        Duration::from_millis(self.break_ms.into())
    }
}

/// Recognition of events already published.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dedup {
    /// How long a published event is remembered, 0s for not at all. Default 48h.
    pub window: Span,
}

/// GitHub's webhooks as a source.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhooks {
    /// What deliveries are signed with: one secret, or two while it is being changed. Default empty: no webhooks.
    pub secrets: Vec<Secret>,
    /// Events that may wait under `storage.path` while the broker takes none, in MiB. Default 64.
    #[schemars(range(max = 65536))]
    pub spool: u32,
}

impl Webhooks {
    /// Whether webhooks are taken, and events of the feed may have a twin among them.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.secrets.is_empty()
    }
}

/// Parts that can be switched off.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disable {
    /// Don't poll GitHub and don't publish. Default false.
    pub producer: bool,
    /// Don't run the backfill of `interval.daily`. Default false.
    pub interval: bool,
}

/// Periodic work.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interval {
    /// Accepted for the predecessor's sake; the snapshot follows the state by itself. Default 1m.
    pub year_count: Span,
    /// Accepted for the predecessor's sake; the snapshot follows the state by itself. Default 1m.
    pub day_count: Span,
    /// Time between two backfills from history. Default 1h.
    pub daily: Span,
    /// Time between two sends of language counts. Default 1s.
    pub latest: Span,
    /// Seconds that the language window covers. Default 3600.
    #[serde(rename = "latestDuring")]
    #[schemars(range(min = 1, max = 86400))]
    pub latest_during_s: u32,
    /// How often failed periodic work is tried again. Default 3.
    pub retry: u32,
    /// Milliseconds between these tries. Default 10000.
    #[serde(rename = "retryWait")]
    pub retry_wait_ms: u32,
}

impl Interval {
    /// The length of the language window.
    #[must_use]
    pub fn latest_during(&self) -> Duration {
        Duration::from_secs(self.latest_during_s.into())
    }

    /// The pause before failed periodic work is tried again.
    #[must_use]
    pub fn retry_wait(&self) -> Duration {
        Duration::from_millis(self.retry_wait_ms.into())
    }
}

/// Stores embedded in the process.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Storage {
    /// Directory of the stores. Default ./data.
    pub path: String,
    /// How long a settled segment of the embedded topic log is kept. Default 1h.
    pub retention: Span,
    /// Space that is left free on its disk, in MiB; the embedded topic leaves twice as much. Default 64.
    #[schemars(range(max = 1_048_576))]
    pub reserve: u32,
}

/// What is written to history.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct History {
    /// Whether workers write the history table. Default true for the embedded history, false with
    /// `tidb.host`.
    #[serde(default)]
    pub write: Option<bool>,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Log {
    /// Least severe level that is written. Default info.
    pub level: LogLevel,
    /// File to append to, "" for standard error. Default "".
    pub file: String,
    /// Lines for people or JSON for machines. Default text.
    pub format: LogFormat,
}

/// Least severe level that is written; the last three are zap's, of the predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Dpanic,
    Panic,
    Fatal,
}

impl LogLevel {
    /// The level in the words of `tracing`, which has none above error.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error | Self::Dpanic | Self::Panic | Self::Fatal => "error",
        }
    }
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogFormat {
    Text,
    Json,
}

/// Alerts to a Lark group.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lark {
    /// URL of the group's webhook. Default empty: no alerts.
    pub webhook: Secret,
    /// Key that signs alerts. Default empty: not signed.
    pub sign_key: Secret,
    /// Minutes between two alerts about the same fault. Default 60.
    #[serde(rename = "minimumBreak")]
    pub minimum_break_min: u32,
    /// Faults tolerated within `errorToleranceBreak` before an alert is sent. Default 3.
    pub error_tolerance: u32,
    /// Minutes in which faults are counted. Default 10.
    #[serde(rename = "errorToleranceBreak")]
    pub error_tolerance_break_min: u32,
}

impl Lark {
    /// Least time between two alerts about the same fault.
    #[must_use]
    pub fn minimum_break(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.minimum_break_min))
    }

    /// The time in which faults are counted.
    #[must_use]
    pub fn error_tolerance_break(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.error_tolerance_break_min))
    }
}

/// Alerts to a plain webhook.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Alert {
    /// URL that takes JSON by POST. Default empty: no alerts.
    pub webhook: Secret,
}
