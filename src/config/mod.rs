//! Configuration: what an operator can say, where it can be said, and what is wrong with it.
//!
//! In reading order:
//!
//! - this file, `sections`, `archive`, `engines`: the keys, as plain structs;
//! - `address`, `secret`, `span`: kinds of value that need more care than a string;
//! - `schema`, `shape`: the JSON Schema of the structs, and the same read back as a tree of key kinds;
//! - `load`, with `file`, `text` and `check`: layers (built-in default < file < environment < flags), each
//!   walked against the shape, then merged;
//! - `validate`: what the kinds can't say, such as a path that must start with `/`;
//! - `fault`, `suggest`, `show`: what is printed;
//! - `reload`: which keys a running process takes over, and what is different in another configuration.
//!
//! There is one place of defaults, `config/config.yaml`, and one list of keys, the structs. Nothing here
//! reads the process environment by itself or writes anything.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod address;
mod archive;
mod check;
mod engines;
mod fault;
mod file;
mod load;
mod reload;
mod schema;
mod secret;
mod sections;
mod shape;
mod show;
mod span;
mod suggest;
mod text;
mod validate;

#[cfg(test)]
mod tests;

pub use address::Address;
pub use archive::{Archive, Coverage};
pub use engines::{
    Consumer, Lua, Producer, Pulsar, PulsarEnv, Redis, Risingwave, Tidb, TidbSql, TidbTls, Tls,
};
pub use fault::{ConfigError, Fault};
pub use file::{FileChoice, SEARCH_ORDER};
pub use load::{Loaded, Override, Sources, load};
pub use reload::{Changes, LIVE_KEYS};
pub use schema::schema;
pub use secret::Secret;
pub use sections::{
    Admin, Alert, Api, App, Dedup, Disable, Enrich, Github, History, Identity, Interval, Lark, Live, Log,
    LogFormat, LogLevel, PollInterval, Polling, Priority, Server, ServerTls, Storage, Webhooks,
};
pub use span::{ParseSpanError, Span};
#[cfg(test)]
pub(crate) use tests::reload::each_key_changed;

/// The built-in default: the documented `config/config.yaml` itself.
pub const DEFAULT_YAML: &str = include_str!("../../config/config.yaml");

/// The whole configuration, after all layers were merged and checked.
///
/// Serialised it has its secrets masked: it is for showing, not for storing.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// What WebSocket clients are told about the protocol.
    pub api: Api,
    /// WebSocket and HTTP for front ends.
    pub server: Server,
    /// Metrics and operations.
    pub admin: Admin,
    /// The live feed from workers to servers.
    pub live: Live,
    /// The GitHub Events API.
    pub github: Github,
    /// The archive that past hours are fetched from, and the one that is written.
    pub archive: Archive,
    /// How much of the feed is seen.
    pub coverage: Coverage,
    /// Recognition of events already published.
    pub dedup: Dedup,
    /// GitHub's webhooks as a source.
    pub webhooks: Webhooks,
    /// Parts that can be switched off.
    pub disable: Disable,
    /// Periodic work.
    pub interval: Interval,
    /// Stores embedded in the process.
    pub storage: Storage,
    /// Encryption of the connections to the next three.
    #[serde(default)]
    pub tls: Tls,
    /// Apache Pulsar; without a host the embedded topic log takes its place.
    pub pulsar: Pulsar,
    /// Redis; without a host the embedded state takes its place.
    pub redis: Redis,
    /// TiDB; without a host the embedded history takes its place.
    pub tidb: Tidb,
    /// What is written to history.
    #[serde(default)]
    pub history: History,
    /// Logs.
    pub log: Log,
    /// Alerts to a Lark group.
    pub lark: Lark,
    /// Alerts to a plain webhook.
    pub alert: Alert,
    /// The predecessor's RisingWave section: accepted with a warning and ignored.
    #[serde(default)]
    pub risingwave: Risingwave,
}

impl Config {
    /// The built-in default alone, without file, environment or flags: where tests start from.
    ///
    /// # Errors
    /// None as long as `config/config.yaml` is sound, which a test of this module asserts.
    pub fn builtin() -> Result<Self, ConfigError> {
        load(Sources::builtin()).map(|loaded| loaded.config)
    }

    /// Reads `text` as if it were the file, over the built-in default, and nothing else.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] or [`ConfigError::Invalid`].
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        let name = PathBuf::from("config.yaml");
        load(Sources { file: FileChoice::Text { name, text: text.to_owned() }, ..Sources::default() })
            .map(|loaded| loaded.config)
    }

    /// Whether workers write the history table: as configured, else only where the history is embedded.
    #[must_use]
    pub fn writes_history(&self) -> bool {
        self.history.write.unwrap_or(self.tidb.host.is_none())
    }
}
