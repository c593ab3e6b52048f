//! What integration tests share: a pipeline in this process, recorded data, a WebSocket client.

pub mod certificate;
pub mod fake_tidb;
pub mod mysql;
pub mod pulsar;
pub mod redis;
pub mod seeds;
pub mod waitaof;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pulsehub::app::{self, DataDirectory, Plan, Role, Running, Source};
use pulsehub::clock::{Clock, SystemClock};
use pulsehub::config::Config;
use pulsehub::source::replay::{ReplayOptions, Speed, Summary};
use pulsehub::state::State;
use pulsehub::state::report::{report, window};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long any state is waited for.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Recorded data beside the checkout. Its absence fails the test aloud: nothing is skipped.
pub fn shared(path: &str) -> PathBuf {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    assert!(found.exists(), "recorded data is missing: ../shared/{path} (expected beside the checkout)");
    found
}

/// The twelve recorded hours of 2016-01-01, in order.
pub fn twelve_hours() -> Vec<String> {
    (1..=12).map(|hour| text(&shared(&format!("data/gharchive/2016-01-01-{hour}.json.gz")))).collect()
}

/// A path as a replay takes it.
pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A pipeline to be started.
pub struct TestApp {
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub roles: BTreeSet<Role>,
    pub live: bool,
    directory: Arc<tempfile::TempDir>,
}

impl TestApp {
    /// The default configuration on free ports of loopback, in a directory of its own.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::builtin().unwrap();
        config.server.host = "127.0.0.1".to_owned();
        config.server.port = 0;
        config.admin.port = 0;
        config.storage.path = text(directory.path());
        Self {
            config,
            clock: Arc::new(SystemClock),
            roles: [Role::Poll, Role::Work, Role::Serve].into(),
            live: false,
            directory: Arc::new(directory),
        }
    }

    /// Its data directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts it with `source`.
    pub async fn start(&self, source: Source) -> Running {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plan = Plan {
            config: self.config.clone(),
            roles: self.roles.clone(),
            source,
            live_regardless_of_age: self.live,
            clock: self.clock.clone(),
            metrics: None,
        };
        app::start(plan).await.unwrap()
    }

    /// A replay of `sources` as fast as possible.
    pub fn replay_of(&self, sources: impl IntoIterator<Item = String>) -> Source {
        Source::Replay(ReplayOptions {
            sources: sources.into_iter().collect(),
            speed: Speed::Max,
            rebase: false,
            archive_url: "http://127.0.0.1:9/".to_owned(),
            downloads: self.directory().join("downloads"),
            cache_bytes: 0,
        })
    }

    /// Replays `sources` to the end, settled, and stops.
    pub async fn replay(&self, sources: impl IntoIterator<Item = String>) -> Summary {
        let mut running = self.start(self.replay_of(sources)).await;
        let summary = running.replayed().await.unwrap().unwrap();
        running.stop().await;
        summary
    }

    /// What `pulsehub stats` would print for `year`. The pipeline must be stopped.
    pub async fn stats(&self, year: i16) -> Value {
        let (_data, state) = self.state();
        let window = window(self.clock.unix_seconds(), self.config.interval.latest_during_s);
        let report = report(state.as_ref(), year, window).await.unwrap();
        serde_json::to_value(report).unwrap()
    }

    /// The counters of the stopped pipeline, and the data directory that holds them where they are embedded.
    pub fn state(&self) -> (DataDirectory, Arc<dyn State>) {
        let mut data = DataDirectory::new(self.directory().to_owned(), self.config.storage.reserve);
        let state = match app::remote_state(&self.config, &self.clock).unwrap() {
            Some(state) => state,
            None => app::embedded_state(&self.config, data.open().unwrap()).unwrap(),
        };
        (data, state)
    }
}

/// A WebSocket client.
pub struct Client(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// Connects to a path of a running pipeline.
    pub async fn connect(running: &Running, path: &str) -> Self {
        let address = running.public.expect("the role serve");
        let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}{path}")).await.unwrap();
        Self(socket)
    }

    /// Sends a text frame.
    pub async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next frame that is no ping or pong.
    pub async fn frame(&mut self) -> Message {
        // The server's pings must not prolong the wait.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let received = tokio::time::timeout_at(deadline, self.0.next()).await.expect("a frame in time");
            match received.expect("an open connection").unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                frame => return frame,
            }
        }
    }

    /// The next text frame, as text.
    pub async fn text(&mut self) -> String {
        match self.frame().await {
            Message::Text(text) => text.to_string(),
            other => panic!("a text frame was expected, not {other:?}"),
        }
    }

    /// The next text frame, parsed.
    pub async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// The code of the close frame that comes next.
    pub async fn close_code(&mut self) -> u16 {
        match self.frame().await {
            Message::Close(Some(frame)) => frame.code.into(),
            other => panic!("a close frame was expected, not {other:?}"),
        }
    }
}

/// A place where whoever connects is hung up on, and counted.
pub struct Unanswered {
    task: JoinHandle<()>,
    connections: Arc<AtomicU32>,
}

impl Unanswered {
    /// Listens on a port that nothing listens on.
    pub async fn listen(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let connections = Arc::new(AtomicU32::new(0));
        let counted = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                drop(connection);
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { task, connections }
    }

    /// Waits until there were `count` connections.
    pub async fn tried(&self, count: u32) {
        eventually("more attempts", async || self.connections.load(Ordering::SeqCst) >= count).await;
    }

    /// Leaves the port to somebody else.
    pub async fn close(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
