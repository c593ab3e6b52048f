//! Sections of the services outside the process: Pulsar, Redis, TiDB. Setting a host selects the real one.

use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::{Address, optional_address, optional_text};
use super::{Secret, Span};

/// Encryption of the connections to Pulsar, Redis and TiDB.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the authorities that may have signed their certificates. Default none: those that this machine
    /// trusts, and for Pulsar those that browsers trust.
    #[serde(default, deserialize_with = "optional_text")]
    pub ca: Option<String>,
}

impl Tls {
    /// The file of `ca`.
    #[must_use]
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.ca.as_ref().map(PathBuf::from)
    }
}

/// Apache Pulsar.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pulsar {
    /// Which of the two hosts is used, and how. Default dev.
    pub env: PulsarEnv,
    /// URL of the broker when `env` is dev. Default none: the embedded topic log.
    #[serde(default, deserialize_with = "optional_address")]
    pub dev_host: Option<Address>,
    /// URL of the broker when `env` is formal. Default none.
    #[serde(default, deserialize_with = "optional_address")]
    pub host: Option<Address>,
    /// OAuth2 audience, for formal. Default none.
    #[serde(default, deserialize_with = "optional_text")]
    pub audience: Option<String>,
    /// Path of a StreamNative key file, for formal. Default none.
    #[serde(default, deserialize_with = "optional_text")]
    pub keypath: Option<String>,
    /// URL of the admin REST API, with which the backlog is known and a stall is noticed. Default none.
    #[serde(default, deserialize_with = "optional_address")]
    pub admin_url: Option<Address>,
    /// How events are published.
    pub producer: Producer,
    /// How events are consumed.
    pub consumer: Consumer,
}

impl Pulsar {
    /// URL of the broker that `env` says, or nothing where the embedded topic log is used.
    #[must_use]
    pub fn url(&self) -> Option<&Address> {
        match self.env {
            PulsarEnv::Dev => self.dev_host.as_ref(),
            PulsarEnv::Formal => self.host.as_ref(),
        }
    }
}

/// Which Pulsar is connected to, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PulsarEnv {
    /// `devHost`, without authentication.
    Dev,
    /// `host`, with OAuth2.
    Formal,
}

/// How events are published.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Producer {
    /// Topic that events are published to. Default github-events.
    pub topic: String,
    /// How often a message is sent again. Default 3.
    pub retry: u32,
}

/// How events are consumed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Consumer {
    /// Topic that events are consumed from. Default github-events.
    pub topic: String,
    /// Name of the subscription that all workers share. Default events-consumer.
    pub name: String,
    /// Consumers in this process. Default 4.
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: u32,
}

/// Redis 7 or later.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redis {
    /// `host:port`, or a URL `redis://` or `rediss://`. Default none: the embedded state.
    #[serde(default, deserialize_with = "optional_address")]
    pub host: Option<Address>,
    /// User of an access control list. Default none: Redis's own `default`.
    #[serde(default, deserialize_with = "optional_text")]
    pub user: Option<String>,
    /// Password. Default empty: none.
    pub password: Secret,
    /// Number of the logical database. Default 0.
    pub db: u32,
    /// What stands before every key, `{gh}:` for a cluster. Default empty.
    pub prefix: String,
    /// Time between apply and settle where Redis has no `WAITAOF` (before 7.2). Default 2s.
    pub settle_delay: Span,
    /// The operator's own scripts.
    #[serde(default)]
    pub lua: Lua,
}

/// The operator's own scripts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lua {
    /// Script that merges language counts (KEYS: prefix, first second, last second). Default none: pulsehub's
    /// own.
    #[serde(default, deserialize_with = "optional_text")]
    pub merge_latest: Option<String>,
}

/// TiDB.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tidb {
    /// Host name or address, without port. Default none: the embedded history.
    #[serde(default, deserialize_with = "optional_address")]
    pub host: Option<Address>,
    /// Port. Default 4000.
    pub port: u16,
    /// User. Default root.
    pub user: String,
    /// Password. Default empty: none.
    pub password: Secret,
    /// Database. Default gharchive_dev.
    pub db: String,
    /// Encryption of the connection. Default required, or disabled where the host is loopback.
    #[serde(default)]
    pub tls: Option<TidbTls>,
    /// What the backfill runs.
    pub sql: TidbSql,
}

impl Tidb {
    /// Encryption as configured, else by where the host is: on loopback nobody listens in, elsewhere somebody
    /// may.
    #[must_use]
    pub fn tls(&self) -> TidbTls {
        self.tls.unwrap_or_else(|| match &self.host {
            Some(host) if is_loopback(host.as_str()) => TidbTls::Disabled,
            _ => TidbTls::Required,
        })
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Encryption of the connection to TiDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TidbTls {
    /// Encrypted, with a certificate that is valid for the host.
    Required,
    /// Encrypted where the server offers it.
    Preferred,
    /// Not encrypted.
    Disabled,
}

/// What the backfill runs; the names of the columns are the contract.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TidbSql {
    /// Statement for the days of a year. Default: the predecessor's documented one.
    pub events_daily: String,
    /// Statement for the sums of a year. Default: the predecessor's documented one.
    pub yearly: String,
}

/// The predecessor's RisingWave section, ignored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Risingwave {
    /// Ignored. Default none.
    #[serde(deserialize_with = "optional_text")]
    pub host: Option<String>,
    /// Ignored. Default none.
    pub port: Option<u16>,
    /// Ignored. Default none.
    #[serde(deserialize_with = "optional_text")]
    pub user: Option<String>,
    /// Ignored, but kept secret. Default empty.
    pub password: Secret,
    /// Ignored. Default none.
    #[serde(deserialize_with = "optional_text")]
    pub db: Option<String>,
}
