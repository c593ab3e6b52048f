//! What the tests of polling share: a scripted GitHub, a broker in memory, the log, and a way to wait for a state.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::poller::Waits;
use super::{GitHubSettings, GitHubStatus, Http, PollInterval, Poller, Priority, Setup};
use crate::alert::{Alerts, Limits, Routes};
use crate::broker::{Broker, BrokerError, Consumer, DeadLetter, DeadLetters, MessageBatch, Producer, Retry};
use crate::clock::SystemClock;
use crate::dedup::Dedup;
use crate::shutdown::{Shutdown, Trigger};
use crate::source::{Intake, IntakeError, Origin};
use crate::storage::Storage;

pub fn event(id: u32) -> String {
    format!(r#"{{"id":"{id}","type":"WatchEvent","created_at":"2026-01-01T00:00:{:02}Z"}}"#, id % 60)
}

pub fn page(ids: impl IntoIterator<Item = u32>) -> String {
    format!("[{}]", ids.into_iter().map(event).collect::<Vec<_>>().join(","))
}

pub fn json(body: impl Into<Vec<u8>>) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(body, "application/json")
}

/// A GitHub that answers from a script: the page asked for, and how often it was asked for before.
pub async fn feed(
    script: impl Fn(u32, u32, &Request) -> ResponseTemplate + Send + Sync + 'static,
) -> MockServer {
    struct Script<F>(F, Mutex<HashMap<u32, u32>>);
    impl<F: Fn(u32, u32, &Request) -> ResponseTemplate + Send + Sync> Respond for Script<F> {
        fn respond(&self, request: &Request) -> ResponseTemplate {
            let page = request.url.query_pairs().find(|(name, _)| name == "page").unwrap().1.parse().unwrap();
            let mut asked = self.1.lock().unwrap();
            let asked = asked.entry(page).or_default();
            *asked += 1;
            (self.0)(page, *asked - 1, request)
        }
    }
    let server = MockServer::start().await;
    let script = Script(script, Mutex::default());
    Mock::given(method("GET")).and(path("/events")).respond_with(script).mount(&server).await;
    server
}

/// A server that sends prepared bytes on each connection; where they are not `whole`, it then falls silent.
pub async fn raw_server(answer: impl Fn(u32) -> (Vec<u8>, bool) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        for connection in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let (bytes, whole) = answer(connection);
            let _ = stream.write_all(&bytes).await;
            if whole {
                let _ = stream.shutdown().await;
            } else {
                silent.push(stream);
            }
        }
    });
    address
}

#[derive(Default)]
pub struct MemoryBroker {
    pub batches: Mutex<Vec<Vec<Bytes>>>,
    pub letters: Mutex<Vec<DeadLetter>>,
    /// So many publishes are refused for good.
    pub refusals: AtomicU32,
    pub closed: AtomicBool,
}

#[derive(Clone, Default)]
pub struct Memory(pub Arc<MemoryBroker>);

#[async_trait]
impl Producer for MemoryBroker {
    async fn publish(&self, batch: MessageBatch) -> Result<(), BrokerError> {
        let refused =
            self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if refused.is_ok() {
            return Err(BrokerError::TooLarge { bytes: 2, limit_bytes: 1 });
        }
        if self.closed.load(Ordering::SeqCst) {
            return Err(BrokerError::Closed);
        }
        let messages = (0..batch.len()).map(|index| batch.get(index).unwrap()).collect();
        self.batches.lock().unwrap().push(messages);
        Ok(())
    }
}

#[async_trait]
impl Broker for Memory {
    async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        Ok(self.0.clone())
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn retry(&self, _retries: Vec<Retry>) -> Result<(), BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn dead_letters(&self) -> Result<Box<dyn DeadLetters>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), BrokerError> {
        self.0.letters.lock().unwrap().extend(letters);
        Ok(())
    }

    async fn backlog(&self) -> Result<u64, BrokerError> {
        Ok(0)
    }

    async fn close(&self) -> Result<(), BrokerError> {
        Ok(())
    }
}

/// A poller at work.
pub struct Polling {
    pub broker: Memory,
    pub status: watch::Receiver<GitHubStatus>,
    /// Every trouble that was reported, whether said or not.
    pub troubles: Arc<Mutex<Vec<String>>>,
    pub settings: watch::Sender<GitHubSettings>,
    pub trigger: Trigger,
    pub task: JoinHandle<Result<(), IntakeError>>,
    _directory: tempfile::TempDir,
}

pub fn settings(tokens: &[&str]) -> GitHubSettings {
    let _ = rustls::crypto::ring::default_provider().install_default();
    GitHubSettings {
        tokens: tokens.iter().map(|&token| token.to_owned()).collect(),
        timeout: Duration::from_secs(10),
        break_: Duration::from_millis(20),
        poll_interval: PollInterval::Adaptive,
        priority: Priority::PullRequests,
    }
}

pub fn fast() -> Waits {
    let wait = (Duration::from_millis(20), Duration::from_millis(40));
    Waits { failure: wait, refusal: wait, limit: wait }
}

impl Polling {
    pub async fn start(base_url: &str, tokens: &[&str]) -> Self {
        Self::with(base_url, settings(tokens), Memory::default()).await
    }

    pub async fn with(base_url: &str, settings: GitHubSettings, broker: Memory) -> Self {
        Self::at(fast(), Setup::new(base_url), settings, broker).await
    }

    pub async fn at(waits: Waits, setup: Setup, settings: GitHubSettings, broker: Memory) -> Self {
        let settings = watch::Sender::new(settings);
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        let (trigger, shutdown) = crate::shutdown::channel();
        let dedup = Arc::new(Dedup::open(&storage, Arc::new(SystemClock), 3600).unwrap());
        let intake = intake(dedup, Arc::new(broker.clone()), &shutdown).await;
        let (http, clock) = (Arc::new(Http::new().unwrap()), Arc::new(SystemClock));
        let poller = Poller::with_waits(http, setup, settings.subscribe(), intake, clock, waits).unwrap();
        let (status, troubles) = (poller.status(), Arc::new(Mutex::new(Vec::new())));
        let (mut changes, reported) = (status.clone(), troubles.clone());
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                reported.lock().unwrap().extend(changes.borrow_and_update().trouble.clone());
            }
        });
        let task = tokio::spawn(poller.run(shutdown));
        Self { broker, status, troubles, settings, trigger, task, _directory: directory }
    }

    pub fn published(&self) -> usize {
        self.broker.0.batches.lock().unwrap().iter().map(Vec::len).sum()
    }

    pub async fn stop(self) -> Memory {
        self.trigger.trigger();
        self.task.await.unwrap().unwrap();
        self.broker
    }
}

/// An intake that alerts nobody.
async fn intake(dedup: Arc<Dedup>, broker: Arc<dyn Broker>, shutdown: &Shutdown) -> Intake {
    let limits = Limits { tolerance: 0, within: Duration::ZERO, pause: Duration::ZERO };
    let routes = watch::channel(Routes { limits, lark: None, webhook: None }).1;
    let alerts = Arc::new(Alerts::new(routes, Arc::new(SystemClock)));
    Intake::new(Origin::GitHub, dedup, broker, alerts, shutdown.clone()).await.unwrap()
}

pub async fn poller(
    base_url: &str,
    settings: watch::Receiver<GitHubSettings>,
    storage: &Storage,
    broker: Arc<dyn Broker>,
    shutdown: &Shutdown,
) -> Poller {
    let dedup = Arc::new(Dedup::open(storage, Arc::new(SystemClock), 3600).unwrap());
    let intake = intake(dedup, broker, shutdown).await;
    let http = Arc::new(Http::new().unwrap());
    Poller::with_waits(http, Setup::new(base_url), settings, intake, Arc::new(SystemClock), fast()).unwrap()
}

/// Waits until `state` holds; panics with `what` after 20 s.
pub async fn eventually(what: &str, mut state: impl FnMut() -> bool) {
    let wait = async {
        while !state() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok(), "never came: {what}");
}

/// The log of this thread, all levels, until the guard is dropped.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    pub fn count(&self, part: &str) -> usize {
        self.text().lines().filter(|line| line.contains(part)).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
