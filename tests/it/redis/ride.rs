//! A pipeline that Redis goes wrong under: what it says, what its clients see meanwhile, and what it counts in the end.

use std::sync::Arc;

use pulsehub::app::Running;
use pulsehub::clock::ManualClock;
use pulsehub::config::Config;
use tracing::subscriber::DefaultGuard;

use crate::support::redis::{Log, RedisServer};
use crate::support::{Client, TestApp, eventually};
use crate::tap::{Tap, opened_in};

/// 2026-06-15T12:00:00Z in milliseconds.
const NOON: i64 = 1_781_524_800_000;

/// Events that are poured at once.
const PART: u64 = 40;

/// Lines that an outage may cost: the workers, the counters at the start and later, and the languages say it.
const LINES: usize = 4;

/// The running pipeline. It must be on the test's only thread, for the log is the thread's.
pub struct Ride {
    pub server: RedisServer,
    pub running: Running,
    tap: Tap,
    log: Log,
    viewer: Client,
    poured: u64,
    /// Stands still.
    pub clock: Arc<ManualClock>,
    _app: TestApp,
    _guard: DefaultGuard,
}

impl Ride {
    /// Starts on `server`, with a client on `/sampling`.
    pub async fn start(server: RedisServer, configure: impl FnOnce(&mut Config)) -> Self {
        let log = Log::default();
        let guard = tracing::subscriber::set_default(log.subscriber());
        let (tap, mut app) = (Tap::new().await, TestApp::new());
        app.config.redis.host = Some(server.host().into());
        app.config.redis.settle_delay = "50ms".parse().unwrap();
        app.config.interval.latest = "250ms".parse().unwrap();
        let clock = Arc::new(ManualClock::new(NOON));
        app.clock = clock.clone();
        configure(&mut app.config);
        let running = tap.start(&mut app).await;
        let mut viewer = Client::connect(&running, "/sampling").await;
        assert_eq!(viewer.json().await["firstMessageTag"], true);
        viewer.send(r#"{"samplingRate":1}"#).await;
        Self { server, running, tap, log, viewer, poured: 0, clock, _app: app, _guard: guard }
    }

    /// Pours events.
    pub fn pour(&mut self) {
        let ids = self.poured + 1..=self.poured + PART;
        let events: Vec<_> = ids.map(|id| opened_in(id, "C")).collect();
        self.tap.pour(&events);
        self.poured += PART;
    }

    /// Pours events, and waits until all are counted.
    pub async fn works(&mut self) {
        self.pour();
        let all = [self.poured; 2];
        eventually("all is counted", async || self.greeting().await == all).await;
        let mut latest = self.languages().await;
        eventually("all languages are read", async || language(&mut latest).await == self.poured).await;
    }

    /// Pull requests and developers of the day, as a new client is told.
    pub async fn greeting(&self) -> [u64; 2] {
        let first = Client::connect(&self.running, "/sampling").await.json().await;
        ["openMap", "devMap"].map(|map| first[map]["2026-06-15"].as_str().unwrap().parse().unwrap())
    }

    /// Pours events that cannot be counted, waits until it is said why, and asserts that clients are served from what
    /// was counted before.
    pub async fn fails(&mut self, says: &str) {
        let before = self.poured;
        self.pour();
        eventually(says, async || self.log.text().contains(says)).await;
        assert_eq!(self.greeting().await, [before, before], "from the snapshot");
        self.languages_go_on(before).await;
        let problems = self.problems();
        assert!(problems.len() <= LINES, "{problems:#?}");
    }

    /// Asserts that the languages of `count` events are sent four times a second.
    pub async fn languages_go_on(&self, count: u64) {
        let mut latest = self.languages().await;
        for _ in 0..4 {
            assert_eq!(language(&mut latest).await, count);
        }
    }

    /// A client that is sent the languages.
    async fn languages(&self) -> Client {
        let mut client = Client::connect(&self.running, "/language/latest").await;
        client.send("{}").await;
        client
    }

    /// Waits until nothing is left on the topic.
    pub async fn is_settled(&self) {
        let url = format!("http://{}/api/v1/status", self.running.public.unwrap());
        eventually("all is settled", async || {
            let status: serde_json::Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
            status["backlog"] == 0
        })
        .await;
    }

    /// Whether a fault was said with these words.
    pub fn says(&self, words: &str) -> bool {
        self.problems().iter().any(|line| line.contains(words))
    }

    /// What was said of faults.
    pub fn problems(&self) -> Vec<String> {
        let text = self.log.text();
        let lines = text.lines().filter(|line| line.contains("ERROR") || line.contains("WARN"));
        lines.map(str::to_owned).collect()
    }

    /// Waits until what was poured meanwhile is caught up with and what is poured now works, nothing lost or doubled.
    pub async fn recovers(mut self) {
        self.catches_up().await;
        let said = self.log.text();
        assert_eq!(said.matches("the state works again").count(), 1, "{said}");
        self.running.stop().await;
    }

    /// The same, and it stays as it is.
    pub async fn catches_up(&mut self) {
        self.works().await;
        let mut seen = Vec::new();
        for _ in 0..self.poured {
            let id: u64 = self.viewer.json().await["event"]["id"].as_str().unwrap().parse().unwrap();
            seen.push(id);
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=self.poured).collect::<Vec<_>>(), "each event is shown once");
        self.languages_go_on(self.poured).await;
        let problems = self.problems();
        assert!(problems.len() <= LINES + 1, "{problems:#?}");
    }
}

/// Events in the only language that is poured, as the next frame says.
async fn language(latest: &mut Client) -> u64 {
    latest.json().await["C"].as_u64().unwrap_or(0)
}
