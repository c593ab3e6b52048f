//! Redis servers for tests: the one that all share, and own ones that are killed, torn and filled up.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pulsehub::clock::SystemClock;
use pulsehub::state::redis::{RedisState, Settings};
use redis::aio::MultiplexedConnection;

use super::{PATIENCE, eventually};

/// `host:port` of the server that all tests share.
pub fn shared_server() -> String {
    std::env::var("PULSEHUB_TEST_REDIS")
        .expect("PULSEHUB_TEST_REDIS is not set: run `make test`, which starts the services that tests need")
}

/// A prefix that no other test of this or another run has, with a cluster's hash tag.
pub fn prefix() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{{test-{}-{}}}:", fastrand::u64(..), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Settings for tests: a window of an hour, little patience.
pub fn settings(host: &str, prefix: &str) -> Settings {
    Settings {
        host: host.to_owned(),
        user: None,
        password: String::new(),
        db: 0,
        ca_file: None,
        prefix: prefix.to_owned(),
        settle_delay: Duration::from_millis(50),
        latest_during: 3_600,
        merge_latest: None,
    }
}

/// A state on a server.
pub fn state(settings: &Settings) -> Arc<RedisState> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Arc::new(RedisState::new(settings, Arc::new(SystemClock)).unwrap())
}

/// A connection to look behind a state's back.
pub async fn connect(host: &str) -> MultiplexedConnection {
    let client = redis::Client::open(format!("redis://{host}")).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// A Redis server of one test's own; it ends with the test.
pub struct RedisServer {
    directory: tempfile::TempDir,
    options: Vec<String>,
    port: u16,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server with an append-only file on a free port.
    pub async fn start(options: &[&str]) -> Self {
        let mut server = Self {
            directory: tempfile::tempdir().unwrap(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            port: free_port(),
            child: None,
        };
        server.restart().await;
        server
    }

    /// Starts a Redis Cluster of one node.
    pub async fn cluster() -> Self {
        let server = Self::start(&["--cluster-enabled", "yes"]).await;
        let mut connection = connect(&server.host()).await;
        let mut command = redis::cmd("CLUSTER");
        command.arg("ADDSLOTSRANGE").arg(0).arg(16_383).query_async::<()>(&mut connection).await.unwrap();
        eventually("the cluster is up", async || {
            let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut connection).await.unwrap();
            info.contains("cluster_state:ok")
        })
        .await;
        server
    }

    /// `host:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The append-only file that it is writing.
    pub fn append_only_file(&self) -> PathBuf {
        let files = std::fs::read_dir(self.directory().join("appendonlydir")).unwrap();
        let mut increments: Vec<PathBuf> = files
            .map(|file| file.unwrap().path())
            .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
            .collect();
        let number = |path: &PathBuf| -> u64 {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.split('.').nth(2).unwrap().parse().unwrap()
        };
        increments.sort_by_key(number);
        increments.pop().expect("an append-only file")
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Lets it stand still (`STOP`), as an overloaded machine does, or go on (`CONT`).
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("a running server").id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Adds options for its next start.
    pub fn add_options(&mut self, options: &[&str]) {
        self.options.extend(options.iter().map(|&option| option.to_owned()));
    }

    /// Starts it again with what is on its disk, and waits until it answers.
    pub async fn restart(&mut self) {
        self.start_again();
        self.answers().await;
    }

    /// Starts it again with what is on its disk.
    pub fn start_again(&mut self) {
        self.kill();
        let log =
            File::options().create(true).append(true).open(self.directory().join("server.log")).unwrap();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--dir", &self.directory().to_string_lossy()])
            .args(&self.options)
            .stdout(Stdio::from(log))
            .stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server: run `scripts/ensure redis-server`"));
    }

    /// Waits until it answers, with all its data loaded.
    pub async fn answers(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        // Some tests set a password: to be asked for it is an answer too.
        let answers = async |host: String| {
            let client = redis::Client::open(format!("redis://{host}")).unwrap();
            match client.get_multiplexed_async_connection().await {
                Ok(mut connection) => {
                    let pong = redis::cmd("PING").query_async::<String>(&mut connection).await;
                    pong.map_or_else(|error| error.code() == Some("NOAUTH"), |_| true)
                }
                Err(error) => error.code() == Some("NOAUTH"),
            }
        };
        while !answers(self.host()).await {
            assert!(tokio::time::Instant::now() < deadline, "redis-server does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nothing listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// What was logged on this thread.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// A subscriber that writes here.
    pub fn subscriber(&self) -> impl tracing::Subscriber + use<> {
        let log = self.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish()
    }

    /// All of it.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
