//! The topology: which backends are chosen, which roles run, and in which order they start and end.
//!
//! The only folder that names concrete backends.

mod archive;
mod backends;
mod coverage;
mod feed;
mod listeners;
mod live_keys;
mod running;
mod sources;
mod webhooks;
mod workers;

use std::collections::BTreeSet;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;

use crate::broker::BrokerError;
use crate::broker::pulsar::PulsarOptionsError;
pub use crate::cli::Role;
use crate::clock::Clock;
use crate::config::Config;
use crate::live::Feed;
use crate::source::replay::{ReplayError, ReplayOptions};
use crate::state::StateError;
use crate::status::{SourceKind, Status};
use crate::storage::{LockError, StorageError};
use backends::Engines;
pub use backends::{
    DataDirectory, alerts, backfill, data_directory, embedded_broker, embedded_state, history, remote_broker,
    remote_state,
};
use coverage::Measure;
pub use live_keys::LiveKeys;
pub use running::Running;
use running::{Failure, Stage};

/// What a process runs.
pub struct Plan {
    /// The configuration.
    pub config: Config,
    /// The roles of this process.
    pub roles: BTreeSet<Role>,
    /// Where events come from, with the role `poll`.
    pub source: Source,
    /// Whether events are sent live however old they are.
    pub live_regardless_of_age: bool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Renders the metrics on the admin listener.
    pub metrics: Option<PrometheusHandle>,
}

/// Where events come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// GitHub's public feed.
    GitHub,
    /// Archive files.
    Replay(ReplayOptions),
    /// Generated events, in a data directory of their own.
    Sample,
    /// Nowhere: only what the broker holds.
    None,
}

impl Source {
    fn kind(&self) -> SourceKind {
        match self {
            Self::GitHub => SourceKind::Live,
            Self::Replay(_) => SourceKind::Replay,
            Self::Sample => SourceKind::Sample,
            Self::None => SourceKind::None,
        }
    }
}

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The embedded stores belong to one process, so nobody could ever count what it publishes.
    #[error(
        "the role poll without work needs a broker that other processes reach: set pulsar.devHost or pulsar.host"
    )]
    PollWithoutWork,
    /// Without a topic the live feed is handed over in memory, so servers see only what workers of their own process
    /// apply.
    #[error("the roles work and serve in separate processes need live.topic, over which the live feed goes")]
    WorkApartFromServe,
    /// The embedded state belongs to one process, so a server without workers would never see a count.
    #[error(
        "the role serve without work needs the counters where other processes write them: set redis.host"
    )]
    ServeWithoutState,
    /// Processes that share the work would each count a part of it for themselves.
    #[error("the role work without serve needs counters that other processes reach: set redis.host")]
    WorkWithoutState,
    /// The data directory is in use or cannot be used.
    #[error(transparent)]
    Directory(#[from] LockError),
    /// The embedded database cannot be opened.
    #[error("cannot open the embedded stores")]
    Storage(#[from] StorageError),
    /// The broker cannot be opened.
    #[error("cannot open the broker")]
    Broker(#[from] BrokerError),
    /// Pulsar's section cannot be used.
    #[error("cannot use Pulsar as configured")]
    Pulsar(#[from] PulsarOptionsError),
    /// The state cannot be opened.
    #[error("cannot open the state")]
    State(#[from] StateError),
    /// A replay's sources cannot be used.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({key})")]
    Listen {
        /// The address.
        address: String,
        /// The key that sets it.
        key: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The public listener's certificate cannot be used.
    #[error("cannot encrypt what is served (server.tls)")]
    Tls(#[from] crate::server::TlsError),
    /// The archive cannot be written where it is to be.
    #[error("cannot write an archive (archive.path)")]
    Archive(#[source] LockError),
    /// GitHub's address cannot be used.
    #[error("cannot prepare requests to GitHub")]
    GitHub(#[from] crate::source::github::ClientError),
    /// The key of a GitHub App cannot be read.
    #[error("cannot read {path} (github.identities)")]
    Key {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// GitHub's GraphQL address or a token cannot be used.
    #[error("cannot prepare queries to GitHub")]
    GraphQl(#[from] crate::enrich::github::ClientError),
}

/// Starts everything in `plan`.
///
/// # Errors
/// When something that it needs is not there. Nothing keeps running then.
pub async fn start(plan: Plan) -> Result<Running, StartError> {
    let works = plan.roles.contains(&Role::Work);
    let mut engines = Engines::open(&plan)?;
    let status = Arc::new(Status::default());
    let (mut source, mut work, mut serve) = (Stage::new(), Stage::new(), Stage::new());
    let failure = Failure::new();
    let feed = Arc::new(Feed::default());
    let measure = Measure::new(plan.clock.clone());

    let admin = listeners::serve_admin(&plan, &mut serve, &engines).await?;
    let deliveries = webhooks::open(&plan, &mut source, &mut engines, &failure).await?;
    let public = if plan.roles.contains(&Role::Serve) {
        let begins_after = match engines.live.clone() {
            Some(topic) => feed::follow(topic, feed.clone(), &mut serve).await.then_some(0),
            // A batch's number is at least the millisecond in which it is applied.
            None => Some(plan.clock.unix_millis() - 1),
        };
        let address =
            listeners::serve_public(&plan, &mut serve, &engines, &feed, begins_after, &status, deliveries);
        Some(address.await?)
    } else {
        None
    };
    engines.data.announce(admin)?;
    if works {
        workers::start(&plan, &mut work, &engines, feed, &measure, &status, &failure).await?;
    }
    let replay = sources::start(&plan, &mut source, &mut engines, &measure, &status, &failure).await?;
    let (below, alerts) = (plan.config.coverage.alert_below, engines.alerts.clone());
    source.spawn(measure.publish(below, status, alerts, source.shutdown()));
    let Engines { broker, data, live_keys, .. } = engines;
    let encrypted = plan.config.server.tls.files().is_some();
    Ok(Running {
        public,
        encrypted,
        admin,
        broker,
        live_keys,
        source,
        work,
        serve,
        replay,
        failure,
        works,
        _data: data,
    })
}
