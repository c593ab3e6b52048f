//! Which engines the configuration selects.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::live_keys::LiveKeys;
use super::{Plan, Role, Source, StartError, sources, webhooks};
use crate::alert::Alerts;
use crate::broker::embedded::{EmbeddedBroker, LogOptions};
use crate::broker::pulsar::{OAuth, PulsarBroker, PulsarOptions};
use crate::broker::{Broadcast, Broker};
use crate::clock::Clock;
use crate::config::{Config, PulsarEnv, TidbTls};
use crate::history::History;
use crate::history::backfill::{self, Backfill};
use crate::history::seed::Seeder;
use crate::history::tidb::{self, TidbHistory};
use crate::state::State;
use crate::state::embedded::EmbeddedState;
use crate::state::redis::{RedisState, Settings as RedisSettings};
use crate::storage::{DirectoryLock, Storage};

/// How long Pulsar may have a backlog and deliver nothing.
const STALL: Duration = Duration::from_secs(30);

/// The data directory, opened by whoever needs it first and held from then on.
pub struct DataDirectory {
    path: PathBuf,
    /// Bytes of the disk that are left free.
    reserve: u64,
    opened: Option<(DirectoryLock, Storage)>,
}

impl DataDirectory {
    /// Touches nothing yet; `reserve` is what stays free of its disk, in MiB.
    pub fn new(path: PathBuf, reserve: u32) -> Self {
        Self { path, reserve: u64::from(reserve) << 20, opened: None }
    }

    /// The database in it.
    ///
    /// # Errors
    /// When another process has the directory, or it cannot be opened.
    pub fn open(&mut self) -> Result<&Storage, StartError> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => {
                (DirectoryLock::acquire(&self.path)?, Storage::open_with_reserve(&self.path, self.reserve)?)
            }
        };
        Ok(&self.opened.insert(opened).1)
    }

    /// Whether this process has it.
    pub(super) fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// Leaves it to others; for where nothing of it is in use.
    pub(super) fn close(&mut self) {
        self.opened = None;
    }

    /// The database in it, where somebody needed it.
    pub(super) fn opened(&self) -> Option<&Storage> {
        self.opened.as_ref().map(|(_, storage)| storage)
    }

    /// Tells other processes where this one's admin listener is, where it holds the directory.
    pub(super) fn announce(&mut self, admin: SocketAddr) -> Result<(), StartError> {
        match &mut self.opened {
            Some((lock, _)) => Ok(lock.announce(&admin.to_string())?),
            None => Ok(()),
        }
    }
}

/// The engines of a process.
pub(super) struct Engines {
    /// What embedded engines and sources keep.
    pub data: DataDirectory,
    /// The topic.
    pub broker: Arc<dyn Broker>,
    /// The topic of the live feed, where it crosses processes.
    pub live: Option<Arc<dyn Broadcast>>,
    /// The counters.
    pub state: Arc<dyn State>,
    /// What is kept for good, if anything.
    pub history: Option<Arc<dyn History>>,
    /// From `history` into `state`.
    pub backfill: Option<Arc<Backfill>>,
    /// Who hears of faults.
    pub alerts: Arc<Alerts>,
    /// What all of them take over while they run.
    pub live_keys: Arc<LiveKeys>,
}

impl Engines {
    /// Opens the embedded ones; services are connected to when they are first used.
    pub fn open(plan: &Plan) -> Result<Self, StartError> {
        let Plan { config, roles, source, clock, .. } = plan;
        // The sample's invented events never meet real ones.
        let real = !matches!(source, Source::Sample);
        let ends = matches!(source, Source::Replay(_)) && roles.contains(&Role::Work);
        let pulsar = pulsar_options(config, ends).filter(|_| real);
        let redis = remote_state(config, clock)?.filter(|_| real);
        check_roles(roles, config, pulsar.is_some(), redis.is_some())?;
        let mut data = DataDirectory::new(data_directory(config, source), config.storage.reserve);
        if sources::run_in(plan) || webhooks::taken_by(plan) {
            data.open()?;
        }
        let state = match redis {
            Some(state) => state,
            None => embedded_state(config, data.open()?)?,
        };
        let mut live: Option<Arc<dyn Broadcast>> = None;
        let broker: Arc<dyn Broker> = match pulsar {
            Some(options) => {
                let broker = PulsarBroker::new(options)?;
                if let Some(topic) = &config.live.topic {
                    live = Some(Arc::new(broker.broadcast(topic)?));
                }
                Arc::new(broker)
            }
            None => embedded_broker(config, &mut data, clock)?,
        };
        let live_keys = Arc::new(LiveKeys::new(config, plan.live_regardless_of_age));
        let alerts = Arc::new(Alerts::new(live_keys.alerts(), clock.clone()));
        let history = history(config, clock).filter(|_| real);
        if history.is_some() {
            state.require_seeds();
        }
        let backfill = history.clone().map(|history| {
            let pace = live_keys.backfill();
            paced_backfill(config, history, state.clone(), clock.clone(), alerts.clone(), pace)
        });
        Ok(Self { data, broker, live, state, history, backfill, alerts, live_keys })
    }
}

/// Refuses roles whose work nobody could ever see.
fn check_roles(
    roles: &BTreeSet<Role>,
    config: &Config,
    shared_broker: bool,
    shared_state: bool,
) -> Result<(), StartError> {
    let has = |role| roles.contains(&role);
    if has(Role::Poll) && !has(Role::Work) && !shared_broker {
        return Err(StartError::PollWithoutWork);
    }
    if shared_broker && has(Role::Work) != has(Role::Serve) && config.live.topic.is_none() {
        return Err(StartError::WorkApartFromServe);
    }
    match (has(Role::Work), has(Role::Serve)) {
        (false, true) if shared_broker && !shared_state => Err(StartError::ServeWithoutState),
        (true, false) if shared_broker && !shared_state => Err(StartError::WorkWithoutState),
        _ => Ok(()),
    }
}

/// The broker in the data directory.
///
/// # Errors
/// When another process has the directory, or it cannot be opened.
pub fn embedded_broker(
    config: &Config,
    data: &mut DataDirectory,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn Broker>, StartError> {
    let retention = Some(config.storage.retention.get());
    let options = LogOptions { retention, ..LogOptions::default() };
    let directory = data.path.clone();
    Ok(Arc::new(EmbeddedBroker::open(&directory, data.open()?, options, clock)?))
}

/// The broker that the configuration selects, connected to when it is first used; `None` for the embedded one.
///
/// # Errors
/// When its section cannot be used.
pub fn remote_broker(config: &Config) -> Result<Option<Arc<dyn Broker>>, StartError> {
    let Some(options) = pulsar_options(config, false) else { return Ok(None) };
    Ok(Some(Arc::new(PulsarBroker::new(options)?)))
}

/// The counters in the data directory.
///
/// # Errors
/// When they cannot be opened.
pub fn embedded_state(config: &Config, storage: &Storage) -> Result<Arc<dyn State>, StartError> {
    let window = i64::from(config.interval.latest_during_s);
    Ok(Arc::new(EmbeddedState::open(storage, window)?))
}

/// The state in the service that the configuration selects, connected to when it is first used; `None` for the
/// embedded one.
///
/// # Errors
/// When its address cannot be read.
pub fn remote_state(config: &Config, clock: &Arc<dyn Clock>) -> Result<Option<Arc<dyn State>>, StartError> {
    let Some(settings) = redis_settings(config) else { return Ok(None) };
    Ok(Some(Arc::new(RedisState::new(&settings, clock.clone())?)))
}

fn redis_settings(config: &Config) -> Option<RedisSettings> {
    let redis = &config.redis;
    Some(RedisSettings {
        host: redis.host.as_ref()?.as_str().to_owned(),
        user: redis.user.clone(),
        password: redis.password.expose().to_owned(),
        db: redis.db,
        ca_file: config.tls.ca_file(),
        prefix: redis.prefix.clone(),
        settle_delay: redis.settle_delay.get(),
        latest_during: i64::from(config.interval.latest_during_s),
        merge_latest: redis.lua.merge_latest.clone(),
    })
}

/// The data directory for a source: the sample never mixes with real events.
pub fn data_directory(config: &Config, source: &Source) -> PathBuf {
    let path = PathBuf::from(&config.storage.path);
    if matches!(source, Source::Sample) { path.join("sample") } else { path }
}

/// The history that the configuration selects, if any. It connects when it is first asked.
pub fn history(config: &Config, clock: &Arc<dyn Clock>) -> Option<Arc<dyn History>> {
    let settings = &config.tidb;
    let tls = match settings.tls() {
        TidbTls::Required => tidb::Tls::Required,
        TidbTls::Preferred => tidb::Tls::Preferred,
        TidbTls::Disabled => tidb::Tls::Disabled,
    };
    let settings = tidb::Settings {
        host: settings.host.as_ref()?.as_str().to_owned(),
        port: settings.port,
        user: settings.user.clone(),
        password: settings.password.expose().to_owned(),
        db: settings.db.clone(),
        tls,
        ca_file: config.tls.ca_file(),
        events_daily: settings.sql.events_daily.clone(),
        yearly: settings.sql.yearly.clone(),
        write: config.writes_history(),
        statement_limit: tidb::STATEMENT_LIMIT,
    };
    Some(Arc::new(TidbHistory::new(settings, clock.clone())))
}

/// The backfill from `history` into `state`, as the configuration paces it.
pub fn backfill(
    config: &Config,
    history: Arc<dyn History>,
    state: Arc<dyn State>,
    clock: Arc<dyn Clock>,
    alerts: Arc<Alerts>,
) -> Arc<Backfill> {
    let pace = LiveKeys::new(config, false).backfill();
    paced_backfill(config, history, state, clock, alerts, pace)
}

fn paced_backfill(
    config: &Config,
    history: Arc<dyn History>,
    state: Arc<dyn State>,
    clock: Arc<dyn Clock>,
    alerts: Arc<Alerts>,
    pace: watch::Receiver<backfill::Pace>,
) -> Arc<Backfill> {
    let own_table = config.writes_history();
    let seeder = Seeder::new(history.clone(), state.clone(), clock.clone(), alerts.clone(), own_table);
    Arc::new(Backfill::new(history, state, clock, alerts, pace, Arc::new(seeder)))
}

/// Alerts to where the configuration says.
pub fn alerts(config: &Config, clock: Arc<dyn Clock>) -> Arc<Alerts> {
    Arc::new(Alerts::new(LiveKeys::new(config, false).alerts(), clock))
}

/// How Pulsar is used; `None` where it is not configured.
fn pulsar_options(config: &Config, ends: bool) -> Option<PulsarOptions> {
    let pulsar = &config.pulsar;
    let url = pulsar.url()?;
    let oauth = match (pulsar.env, &pulsar.audience, &pulsar.keypath) {
        (PulsarEnv::Formal, Some(audience), Some(path)) => {
            Some(OAuth { audience: audience.clone(), key_file: path.into() })
        }
        _ => None,
    };
    Some(PulsarOptions {
        url: url.as_str().to_owned(),
        shown_url: url.masked(),
        producer_topic: pulsar.producer.topic.clone(),
        consumer_topic: pulsar.consumer.topic.clone(),
        subscription: pulsar.consumer.name.clone(),
        retries: pulsar.producer.retry,
        admin_url: pulsar.admin_url.as_ref().map(|url| url.as_str().to_owned()),
        oauth,
        ca_file: config.tls.ca_file(),
        ends,
        stall_after: STALL,
    })
}
