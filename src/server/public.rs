//! What handlers of the public listener share.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::clients::Clients;
use super::limits::Connections;
use super::rest::webhook::Webhooks;
use super::stream::Hub;
use super::ws;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::history::backfill::Backfill;
use crate::live::{Activity, Counters, Feed, Languages};
use crate::shutdown::Shutdown;
use crate::status::Status;

/// Who may do what on the public listener; read for each request. Not to be printed: it holds a secret.
#[derive(Clone, PartialEq)]
pub struct Access {
    /// Bearer token of `syncEvent`; empty turns it off.
    pub sync_token: String,
    /// Origins that may open WebSockets; empty allows any.
    pub origins: Vec<String>,
}

/// Settings of the public listener.
#[derive(Clone)]
pub struct Settings {
    /// Prefix under which every path exists a second time; empty for none.
    pub base_path: String,
    /// Path of the health check.
    pub health: String,
    /// Path that starts a backfill.
    pub sync_event: String,
    /// `apiVersion` in first messages.
    pub api_version: u32,
}

/// What handlers of the public listener share.
pub struct Public {
    /// Its settings.
    pub settings: Settings,
    /// Who may do what.
    pub access: watch::Receiver<Access>,
    /// The live feed.
    pub feed: Arc<Feed>,
    /// The counters' snapshot.
    pub counters: Arc<Counters>,
    /// The language window.
    pub languages: Arc<Languages>,
    /// What `/language/watch` wrote last.
    pub last_difference: ws::watch::LastDifference,
    /// Who was busiest in the last 24 hours.
    pub activity: Arc<Activity>,
    /// What the clients of the stream share.
    pub stream: Arc<Hub>,
    /// For the backlog in the status.
    pub broker: Arc<dyn Broker>,
    /// What is going on.
    pub status: Arc<Status>,
    /// What `syncEvent` starts; absent without a history.
    pub backfill: Option<Arc<Backfill>>,
    /// Who takes webhooks; absent where this process takes none.
    pub webhooks: Option<Webhooks>,
    /// For ages in the status.
    pub clock: Arc<dyn Clock>,
    /// How many connections there may be.
    pub connections: Arc<Connections>,
    /// How many clients are connected.
    pub clients: Arc<Clients>,
    /// Ends the sockets.
    pub shutdown: Shutdown,
    /// When the process began to serve.
    pub started: Instant,
}
