//! The topology: which backends are chosen, which roles run, and in which order they start and end.
//!
//! The only file that names concrete backends.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::alert::{self, Alerts, Subject};
use crate::broker::embedded::{EmbeddedBroker, LogOptions};
use crate::broker::pulsar::{OAuth, PulsarBroker, PulsarOptions, PulsarOptionsError};
use crate::broker::{Broker, BrokerError, Producer};
use crate::clock::Clock;
use crate::config::{Config, PulsarEnv, TidbTls};
use crate::dedup::Dedup;
use crate::history::History;
use crate::history::backfill::{self, Backfill};
use crate::history::tidb::{self, TidbHistory};
use crate::live::{Counters, Feed, Languages};
use crate::retry::Backoff;
use crate::server::admin::{self, Admin};
use crate::server::{self, Clients, Public, Settings};
use crate::shutdown::{self, Shutdown, Trigger};
use crate::source::github::{GitHubSettings, Poller};
use crate::source::replay::{Replay, ReplayError, ReplayOptions, Summary};
use crate::source::{Intake, Origin, sample};
use crate::state::embedded::EmbeddedState;
use crate::state::redis::{RedisState, Settings as RedisSettings};
use crate::state::{State, StateError};
use crate::status::{SourceKind, SourceStatus, Status};
use crate::storage::{DirectoryLock, LockError, Storage, StorageError};
use crate::worker::Worker;

/// How long clients may take to hear that the server goes away.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long Pulsar may have a backlog and deliver nothing.
const STALL: Duration = Duration::from_secs(30);

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

pub use crate::cli::Role;

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
        "the role poll without work needs a broker that other processes reach: the embedded one has one owner"
    )]
    PollWithoutWork,
    /// The live feed is handed over in memory, so servers see only what workers of their own process apply.
    #[error(
        "the roles work and serve belong into one process: this version has no live feed across processes"
    )]
    WorkApartFromServe,
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
    /// GitHub's address cannot be used.
    #[error("cannot prepare requests to GitHub")]
    GitHub(#[from] crate::source::github::ClientError),
}

/// The embedded stores of a data directory, with their lock.
pub struct Stores {
    /// Held as long as the stores are used.
    pub lock: DirectoryLock,
    /// The database below them.
    pub storage: Storage,
    /// The counters.
    pub state: Arc<dyn State>,
}

impl Stores {
    /// Opens the stores in `directory`, with the counters in `remote` where they are in a service.
    ///
    /// # Errors
    /// When another process has them, or they cannot be opened.
    pub fn open(
        directory: &Path,
        config: &Config,
        remote: Option<Arc<dyn State>>,
    ) -> Result<Self, StartError> {
        let lock = DirectoryLock::acquire(directory)?;
        let storage = Storage::open(directory)?;
        let window = i64::from(config.interval.latest_during_s);
        let state = match remote {
            Some(state) => state,
            None => Arc::new(EmbeddedState::open(&storage, window)?),
        };
        Ok(Self { lock, storage, state })
    }
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
    let pace = backfill::Pace {
        every: config.interval.daily.get(),
        retries: config.interval.retry,
        retry_wait: config.interval.retry_wait(),
    };
    Arc::new(Backfill::new(history, state, clock, alerts, pace))
}

/// Alerts to where the configuration says.
pub fn alerts(config: &Config, clock: Arc<dyn Clock>) -> Arc<Alerts> {
    let (lark, webhook) = (&config.lark, &config.alert.webhook);
    let mut channels: Vec<Box<dyn alert::Channel>> = Vec::new();
    if !lark.webhook.is_empty() {
        let sign_key = lark.sign_key.expose().to_owned();
        channels.push(Box::new(alert::Lark { webhook: lark.webhook.expose().to_owned(), sign_key }));
    }
    if !webhook.is_empty() {
        channels.push(Box::new(alert::Webhook { webhook: webhook.expose().to_owned() }));
    }
    let limits = alert::Limits {
        tolerance: lark.error_tolerance,
        within: lark.error_tolerance_break(),
        pause: lark.minimum_break(),
    };
    Arc::new(Alerts::new(limits, channels, clock))
}

/// A running process.
pub struct Running {
    /// Where front ends connect; absent without the role `serve`.
    pub public: Option<SocketAddr>,
    /// Where operators connect.
    pub admin: SocketAddr,
    broker: Arc<dyn Broker>,
    source: Stage,
    work: Stage,
    serve: Stage,
    replay: Option<JoinHandle<Result<Summary, ReplayError>>>,
    failure: Shutdown,
    /// Without workers nothing pulls it.
    _failed: Arc<Trigger>,
    works: bool,
    _lock: DirectoryLock,
}

/// Tasks that end together.
struct Stage {
    trigger: Trigger,
    shutdown: Shutdown,
    tasks: Vec<JoinHandle<()>>,
}

impl Stage {
    fn new() -> Self {
        let (trigger, shutdown) = shutdown::channel();
        Self { trigger, shutdown, tasks: Vec::new() }
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(tokio::spawn(task));
    }

    async fn end(self) {
        self.trigger.trigger();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task ended badly");
            }
        }
    }
}

/// Starts everything in `plan`.
///
/// # Errors
/// When something that it needs is not there. Nothing keeps running then.
pub async fn start(plan: Plan) -> Result<Running, StartError> {
    let Plan { config, roles, source, clock, .. } = &plan;
    let pulsar = pulsar_options(config, source);
    let works = roles.contains(&Role::Work);
    if roles.contains(&Role::Poll) && !works && pulsar.is_none() {
        return Err(StartError::PollWithoutWork);
    }
    if pulsar.is_some() && works != roles.contains(&Role::Serve) {
        return Err(StartError::WorkApartFromServe);
    }
    let directory = data_directory(config, source);
    // The sample never mixes with real events.
    let remote = if matches!(source, Source::Sample) { None } else { remote_state(config, clock)? };
    let Stores { mut lock, storage, state } = Stores::open(&directory, config, remote)?;
    let broker: Arc<dyn Broker> = match pulsar {
        Some(options) => Arc::new(PulsarBroker::new(options)?),
        None => {
            let retention = Some(config.storage.retention.get());
            let options = LogOptions { retention, ..LogOptions::default() };
            Arc::new(EmbeddedBroker::open(&directory, &storage, options, clock)?)
        }
    };
    let feed = Arc::new(Feed::default());
    let status = Arc::new(Status::default());
    status.set_source(if feeds(&plan) {
        SourceStatus { kind: source.kind(), state: "starting".to_owned(), notes: notes(source, config) }
    } else {
        SourceStatus { state: "no source runs in this process".to_owned(), ..SourceStatus::default() }
    });

    let (mut sources, mut work, mut serve) = (Stage::new(), Stage::new(), Stage::new());
    let (failed, failure) = shutdown::channel();
    let failed = Arc::new(failed);
    let alerts = alerts(config, clock.clone());
    // The sample's invented events are nobody's history.
    let history = history(config, clock).filter(|_| !matches!(source, Source::Sample));
    let backfill = history
        .clone()
        .map(|history| self::backfill(config, history, state.clone(), clock.clone(), alerts.clone()));
    let admin_address = serve_admin(&plan, &mut serve, &state, &broker, &backfill).await?;
    let public = if roles.contains(&Role::Serve) {
        Some(serve_public(&plan, &mut serve, &state, &broker, &feed, &status, &backfill).await?)
    } else {
        None
    };
    lock.announce(&admin_address.to_string())?;
    if works {
        let max_age = i64::try_from(config.live.max_age.get().as_secs()).unwrap_or(i64::MAX);
        let worker = Worker {
            broker: broker.clone(),
            state,
            history: history.filter(|_| config.writes_history()),
            feed,
            status: status.clone(),
            alerts: alerts.clone(),
            clock: clock.clone(),
            live_max_age: (!plan.live_regardless_of_age).then_some(max_age),
        };
        for _ in 0..config.pulsar.consumer.concurrency {
            let worker = tokio::spawn(worker.clone().run(work.shutdown.clone()));
            let failed = failed.clone();
            work.spawn(async move {
                let error: Box<dyn std::error::Error + Send + Sync> = match worker.await {
                    Ok(Ok(())) => return,
                    Ok(Err(broken)) => broken,
                    Err(panicked) => panicked.into(),
                };
                tracing::error!(error = %crate::error_chain(error.as_ref()), "a worker failed for good");
                failed.trigger();
            });
        }
        if let Some(backfill) = backfill.filter(|_| !config.disable.interval) {
            work.spawn(backfill.run(work.shutdown.clone()));
        }
    }
    let mut replay = None;
    if feeds(&plan) {
        let feeder = Feeder { storage: &storage, broker: &broker, clock, status: &status, alerts: &alerts };
        replay = feeder.start(source, config, &mut sources).await?;
    }
    Ok(Running {
        public,
        admin: admin_address,
        broker,
        source: sources,
        work,
        serve,
        replay,
        failure,
        _failed: failed,
        works,
        _lock: lock,
    })
}

/// Whether a source runs in this process. `disable.producer` turns off GitHub, not a replay that was asked for.
fn feeds(plan: &Plan) -> bool {
    let disabled = plan.config.disable.producer && matches!(plan.source, Source::GitHub);
    plan.roles.contains(&Role::Poll) && !disabled
}

/// How Pulsar is used; `None` where it is not configured, and for the sample, which never mixes with real events.
fn pulsar_options(config: &Config, source: &Source) -> Option<PulsarOptions> {
    let pulsar = &config.pulsar;
    let url = pulsar.url().filter(|_| !matches!(source, Source::Sample))?;
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
        stall_after: STALL,
    })
}

/// What people should know about a source.
fn notes(source: &Source, config: &Config) -> Vec<String> {
    match source {
        Source::Sample => {
            vec!["Generated events of invented people: GitHub is not being watched.".to_owned()]
        }
        Source::GitHub if config.github.tokens.is_empty() => vec![
            "Without a token GitHub allows 60 requests an hour: most events are missed.".to_owned(),
            "Today's feed carries no languages and no sizes, so the language endpoints stay empty."
                .to_owned(),
        ],
        Source::GitHub => {
            vec![
                "Today's feed carries no languages and no sizes, so the language endpoints stay empty."
                    .to_owned(),
            ]
        }
        Source::Replay(_) | Source::None => Vec::new(),
    }
}

async fn listen(host: &str, port: u16, key: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let bound = async {
        let listener = TcpListener::bind((host, port)).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source| StartError::Listen { address: format!("{host}:{port}"), key, source })
}

async fn serve_admin(
    plan: &Plan,
    serve: &mut Stage,
    state: &Arc<dyn State>,
    broker: &Arc<dyn Broker>,
    backfill: &Option<Arc<Backfill>>,
) -> Result<SocketAddr, StartError> {
    let (listener, address) = listen(&plan.config.admin.host, plan.config.admin.port, "admin.port").await?;
    let router = admin::router(Arc::new(Admin {
        metrics: plan.metrics.clone(),
        state: state.clone(),
        clock: plan.clock.clone(),
        latest_during: plan.config.interval.latest_during_s,
        backfill: backfill.clone(),
    }));
    serve.spawn(server::serve(listener, router, serve.shutdown.clone()));
    serve.spawn(admin::refresh_gauges(broker.clone(), plan.metrics.clone(), serve.shutdown.clone()));
    Ok(address)
}

async fn serve_public(
    plan: &Plan,
    serve: &mut Stage,
    state: &Arc<dyn State>,
    broker: &Arc<dyn Broker>,
    feed: &Arc<Feed>,
    status: &Arc<Status>,
    backfill: &Option<Arc<Backfill>>,
) -> Result<SocketAddr, StartError> {
    let Config { server: config, interval, api, .. } = &plan.config;
    let (listener, address) = listen(&config.host, config.port, "server.port").await?;
    let counters = Arc::new(Counters::open(state.clone(), plan.clock.clone(), api.version).await?);
    let window = i64::from(interval.latest_during_s);
    let languages = Languages::new(state.clone(), plan.clock.clone(), window, interval.latest.get());
    let languages = Arc::new(languages);
    let settings = Settings {
        base_path: config.extra_prefix().unwrap_or_default().to_owned(),
        health: config.health.clone(),
        sync_event: config.sync_event.clone(),
        sync_token: config.sync_token.expose().to_owned(),
        api_version: api.version,
        origins: config.origins.clone(),
    };
    let clients = Arc::new(Clients::default());
    let public = Arc::new(Public {
        settings,
        feed: feed.clone(),
        counters: counters.clone(),
        languages: languages.clone(),
        broker: broker.clone(),
        status: status.clone(),
        backfill: backfill.clone(),
        clock: plan.clock.clone(),
        clients: clients.clone(),
        shutdown: serve.shutdown.clone(),
        started: std::time::Instant::now(),
    });
    let shutdown = serve.shutdown.clone();
    serve.spawn(async move { counters.run(shutdown).await });
    let shutdown = serve.shutdown.clone();
    serve.spawn(async move { languages.run(shutdown).await });
    serve.spawn(server::serve(listener, server::router(public), serve.shutdown.clone()));
    let mut shutdown = serve.shutdown.clone();
    serve.spawn(async move {
        shutdown.triggered().await;
        // Sockets say goodbye before the process ends; one that does not take it is not waited for.
        let _ = tokio::time::timeout(GOODBYE, clients.gone()).await;
    });
    Ok(address)
}

/// What a source needs.
struct Feeder<'a> {
    storage: &'a Storage,
    broker: &'a Arc<dyn Broker>,
    clock: &'a Arc<dyn Clock>,
    status: &'a Arc<Status>,
    alerts: &'a Arc<Alerts>,
}

impl Feeder<'_> {
    /// Starts the source; a replay's end can be waited for.
    async fn start(
        &self,
        source: &Source,
        config: &Config,
        stage: &mut Stage,
    ) -> Result<Option<JoinHandle<Result<Summary, ReplayError>>>, StartError> {
        let (status, clock) = (self.status.clone(), self.clock.clone());
        let shutdown = stage.shutdown.clone();
        match source {
            Source::GitHub => {
                let settings = GitHubSettings {
                    base_url: config.github.base_url.as_str().to_owned(),
                    tokens: config.github.tokens.iter().map(|token| token.expose().to_owned()).collect(),
                    timeout: config.github.polling.timeout(),
                    break_: config.github.polling.pause(),
                };
                let intake = self.intake(Origin::GitHub, config, &shutdown).await?;
                let poller = Poller::new(settings, intake, clock)?;
                let mut changes = poller.status();
                let alerts = self.alerts.clone();
                stage.spawn(poller.run(shutdown));
                stage.spawn(async move {
                    // Ends with the poller.
                    while changes.changed().await.is_ok() {
                        let now = changes.borrow_and_update().clone();
                        // The poller has said it; here it only counts.
                        if let Some(trouble) = &now.trouble {
                            alerts.count(Subject::GitHub, trouble);
                        }
                        status.set_source_state(now.to_string());
                    }
                });
                Ok(None)
            }
            Source::Sample => {
                let intake = self.intake(Origin::Sample, config, &shutdown).await?;
                stage.spawn(async move {
                    status.set_source_state("streaming");
                    if let Err(error) = sample::run(intake, clock, shutdown).await {
                        tracing::error!(error = %crate::error_chain(&error), "the sample ended");
                    }
                });
                Ok(None)
            }
            Source::Replay(options) => {
                let intake = self.intake(Origin::Archive, config, &shutdown).await?;
                let replay = Replay::new(options.clone(), intake, self.storage, clock, shutdown)?;
                Ok(Some(tokio::spawn(async move {
                    status.set_source_state("replaying");
                    let result = replay.run().await;
                    status.set_source_state("replayed");
                    result
                })))
            }
            Source::None => Ok(None),
        }
    }

    async fn intake(
        &self,
        origin: Origin,
        config: &Config,
        shutdown: &Shutdown,
    ) -> Result<Intake, StartError> {
        let window = i64::try_from(config.dedup.window.get().as_secs()).unwrap_or(i64::MAX);
        let dedup = Arc::new(Dedup::open(self.storage, self.clock.clone(), window)?);
        Ok(Intake::new(origin, dedup, self.broker.clone(), shutdown.clone()).await?)
    }
}

impl Running {
    /// One more producer on the topic, for events that come from outside this process's source.
    ///
    /// # Errors
    /// When the broker cannot give one.
    pub async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        self.broker.producer().await
    }

    /// Triggered when a worker failed for good: less or nothing is counted then, and the process had better start
    /// anew.
    pub fn failure(&self) -> Shutdown {
        self.failure.clone()
    }

    /// Waits until a replay has handed over everything and all of it is settled; `None` without a replay.
    pub async fn replayed(&mut self) -> Option<Result<Summary, ReplayError>> {
        let result = match self.replay.as_mut()?.await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.replay = None;
        if result.is_ok() {
            self.drained().await;
        }
        Some(result)
    }

    /// Waits until what was published is settled, through failures of the broker too.
    async fn drained(&self) {
        if !self.works
            && let Err(error @ BrokerError::BacklogUnknown) = self.broker.backlog().await
        {
            tracing::warn!(%error, "other processes do the work, whose end cannot be seen: not waiting for it");
            return;
        }
        let mut said = false;
        // Asking can mean a request to Pulsar.
        let mut pauses = Backoff::new(Duration::from_millis(5), Duration::from_millis(200));
        loop {
            match self.broker.is_drained().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) if !error.is_retryable() => return,
                Err(error) => {
                    if !std::mem::replace(&mut said, true) {
                        let error = crate::error_chain(&error);
                        tracing::warn!(%error, "cannot see whether everything is settled, trying again");
                    }
                }
            }
            tokio::time::sleep(pauses.next_delay()).await;
        }
    }

    /// Ends in the order of the flow: sources first, then workers with what they have in hand, then sockets.
    pub async fn stop(self) {
        self.source.end().await;
        if let Some(replay) = self.replay {
            // Its result does not matter any more: it was interrupted, and goes on at the next start.
            let _ = replay.await;
        }
        self.work.end().await;
        self.serve.end().await;
        if let Err(error) = self.broker.close().await {
            tracing::error!(error = %crate::error_chain(&error), "cannot close the broker");
        }
    }
}
