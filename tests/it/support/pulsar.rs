//! The Pulsar that tests share, topics of their own on it, and a Pulsar of one's own that may be killed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use pulsar::consumer::InitialPosition;
use pulsar::{Consumer, ConsumerOptions, SubType, TokioExecutor};
use pulsehub::broker::pulsar::PulsarOptions;
use pulsehub::config::Config;
use serde_json::Value;

use super::TestApp;

fn service(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run the tests with `make test`, which starts Pulsar")
    })
}

/// The shared Pulsar.
pub fn url() -> String {
    service("PULSEHUB_TEST_PULSAR")
}

/// Its admin API.
pub fn admin_url() -> String {
    service("PULSEHUB_TEST_PULSAR_ADMIN")
}

/// The name of a topic that nobody has used.
pub fn topic() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    format!("test-{since_1970}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// How `topic` on the shared Pulsar is used.
pub fn options(topic: &str) -> PulsarOptions {
    let _ = rustls::crypto::ring::default_provider().install_default();
    PulsarOptions {
        url: url(),
        shown_url: url(),
        producer_topic: topic.to_owned(),
        consumer_topic: topic.to_owned(),
        subscription: "workers".to_owned(),
        retries: 3,
        admin_url: Some(admin_url()),
        oauth: None,
        ends: true,
        ca_file: None,
        stall_after: Duration::from_secs(30),
    }
}

/// A pipeline on a topic of its own, with the embedded state.
pub fn app() -> TestApp {
    let mut app = TestApp::new();
    configure(&mut app.config, url(), Some(admin_url()));
    app
}

/// Puts a fresh topic into a configuration.
pub fn configure(config: &mut Config, url: String, admin_url: Option<String>) {
    let topic = topic();
    config.pulsar.dev_host = Some(url.into());
    config.pulsar.admin_url = admin_url.map(Into::into);
    config.pulsar.producer.topic.clone_from(&topic);
    config.pulsar.consumer.topic = topic;
}

/// The client by itself, as any other program would use it.
pub async fn client() -> pulsar::Pulsar<TokioExecutor> {
    pulsar::Pulsar::builder(url(), TokioExecutor).build().await.unwrap()
}

/// Makes the shared Pulsar close a topic; producers and consumers have to come again.
pub async fn unload(topic: &str) {
    let url = format!("{}/admin/v2/persistent/public/default/{topic}/unload", admin_url());
    let answer = reqwest::Client::new().put(url).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

/// The dead letters of a topic, `count` of them.
pub async fn dead_letters(topic: &str, count: usize) -> Vec<Value> {
    let options = ConsumerOptions::default().with_initial_position(InitialPosition::Earliest);
    let builder = client().await.consumer().with_topic(format!("{topic}-dead-letter"));
    let builder = builder.with_subscription("test").with_subscription_type(SubType::Exclusive);
    let mut consumer: Consumer<Vec<u8>, _> = builder.with_options(options).build().await.unwrap();
    let mut letters = Vec::new();
    while letters.len() < count {
        let next =
            tokio::time::timeout(super::PATIENCE, consumer.next()).await.expect("a dead letter in time");
        letters.push(serde_json::from_slice(&next.unwrap().unwrap().payload.data).unwrap());
    }
    letters
}

/// A Pulsar of one's own.
pub struct Standalone(tempfile::TempDir);

impl Standalone {
    /// Starts one.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts one with more lines in its configuration.
    pub fn start_with(configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("more.conf"), configuration).unwrap();
        let standalone = Self(directory);
        standalone.script("start");
        standalone
    }

    fn script(&self, action: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services/pulsar");
        let status = Command::new(script).arg(action).arg(self.0.path()).status().unwrap();
        assert!(status.success(), "scripts/services/pulsar {action} failed");
    }

    /// Kills it, with what it has not written.
    pub fn kill(&self) {
        self.script("stop");
    }

    /// Starts it again with its data and ports.
    pub fn restart(&self) {
        self.script("start");
    }

    /// Its broker's and its admin API's URL.
    pub fn urls(&self) -> (String, String) {
        let text = std::fs::read_to_string(self.0.path().join("pulsar.env")).unwrap();
        let value = |line: &str| line.split_once('=').unwrap().1.to_owned();
        let mut values = text.lines().map(value);
        (values.next().unwrap(), values.next().unwrap())
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        // A panic in a drop during a panic would hide the test's own.
        let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services/pulsar");
        let _ = Command::new(script).arg("stop").arg(self.0.path()).status();
    }
}
