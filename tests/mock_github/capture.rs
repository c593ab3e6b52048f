//! A poller against the mock for so many simulated hours, and how much of what was shown it has.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pulsehub::alert::{Alerts, Limits, Routes};
use pulsehub::broker::{
    Broker, BrokerError, Consumer, DeadLetter, DeadLetters, MessageBatch, Producer, Retry,
};
use pulsehub::dedup::Dedup;
use pulsehub::shutdown;
use pulsehub::source::github::{
    self, GitHubSettings, GitHubStatus, IdentityOptions, Observer, PollInterval, Priority, Request, Setup,
    Transport,
};
use pulsehub::source::{Intake, Origin};
use pulsehub::storage::Storage;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::stream::LEAN;
use super::{MockGitHub, Partition, Planned, SimulatedClock, Stream};

/// Pull requests, stars and issues.
pub const WANTED: [&str; 3] = ["PullRequestEvent", "WatchEvent", "IssuesEvent"];
/// What is shown before this second is not asked for: the poller begins then.
const WARM_UP: usize = 60;
/// What is shown in the last seconds may still be shown later.
const COOL_DOWN: usize = 15;

/// Who polls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Poller {
    /// Ours.
    Ours(PollInterval, Priority),
    /// The predecessor's way: page 1, a second after its last answer, until the quota is spent.
    PageOne,
}

/// What is simulated.
#[derive(Clone)]
pub struct Scenario {
    /// Events a second.
    pub rate: f64,
    pub partition: Partition,
    pub poller: Poller,
    /// Identities; 0 is nobody in particular, with 60 requests an hour.
    pub identities: usize,
    /// Requests an hour for each.
    pub limit: u64,
    /// `github.loop.break`.
    pub break_: Duration,
    pub seconds: u64,
    pub faults: Vec<Planned>,
    /// From which second on `X-Poll-Interval` is how long.
    pub load: Vec<(u64, u64)>,
    /// Paths of focus feeds, as entries of `github.focus`, with the repository's number.
    pub focus: Vec<(String, u64)>,
    /// The payload of each event.
    pub payload: &'static str,
    /// Whether what is shown is kept, to say how much was captured.
    pub recorded: bool,
    pub observer: Observer,
}

impl Scenario {
    /// An hour of so many events a second, for so many identities of 5,000 an hour.
    pub fn new(rate: f64, poller: Poller, identities: usize) -> Self {
        Self {
            rate,
            partition: Partition::Flowing,
            poller,
            identities,
            limit: 5_000,
            break_: Duration::from_secs(1),
            seconds: 3_600,
            faults: Vec::new(),
            load: Vec::new(),
            focus: Vec::new(),
            payload: LEAN,
            recorded: true,
            observer: Arc::new(|_| {}),
        }
    }
}

/// What came of it.
pub struct Capture {
    pub github: Arc<MockGitHub>,
    /// How the poller stood at the end.
    pub status: GitHubStatus,
    seconds: u64,
}

impl Capture {
    /// Share of the events of `kinds` that were captured, in percent; of all events where it is empty.
    pub fn percent(&self, kinds: &[&str]) -> f64 {
        self.percent_between(kinds, WARM_UP, usize::try_from(self.seconds).unwrap() - COOL_DOWN)
    }

    /// Likewise of those that were first shown between two seconds.
    pub fn percent_between(&self, kinds: &[&str], from: usize, to: usize) -> f64 {
        let (all, seen) = self.github.inspect(|stream, _| stream.captured(kinds, from, to));
        100.0 * seen as f64 / all as f64
    }

    /// The same of pull requests, stars and issues.
    pub fn wanted(&self) -> f64 {
        self.percent(&WANTED)
    }

    /// Requests that were answered, of all accounts.
    pub fn requests(&self) -> u64 {
        self.github.inspect(|_, accounts| accounts.values().map(|account| account.answered).sum())
    }

    /// The most that any account paid for within any hour, and how often one was told that it has no quota left.
    pub fn most_in_an_hour(&self) -> (usize, u64) {
        self.github.inspect(|_, accounts| {
            let most = accounts.values().map(|account| account.most_in_an_hour).max().unwrap_or(0);
            (most, accounts.values().map(|account| account.beyond_quota).sum())
        })
    }
}

/// Simulates it. The caller's runtime must have its time paused.
pub async fn run(scenario: Scenario) -> Capture {
    let mut stream = Stream::new(scenario.rate, scenario.partition, 11, scenario.recorded, scenario.payload);
    for (entry, repository) in &scenario.focus {
        stream.focus(&format!("/repos/{entry}/events"), *repository);
    }
    let (faults, load) = (scenario.faults.clone(), scenario.load.clone());
    let github = Arc::new(MockGitHub::new(stream, scenario.limit, faults, load));
    let seconds = scenario.seconds;
    let status = match scenario.poller {
        Poller::PageOne => {
            page_one(&github, &scenario).await;
            GitHubStatus::default()
        }
        Poller::Ours(poll_interval, priority) => ours(&github, scenario, poll_interval, priority).await,
    };
    github.inspect(|stream, _| stream.advance(Duration::from_secs(seconds)));
    Capture { github, status, seconds }
}

async fn ours(
    github: &Arc<MockGitHub>,
    scenario: Scenario,
    poll_interval: PollInterval,
    priority: Priority,
) -> GitHubStatus {
    let mut tokens = (0..scenario.identities).map(|number| format!("token{number}"));
    let settings = GitHubSettings {
        tokens: tokens.next().into_iter().collect(),
        timeout: Duration::from_secs(5),
        break_: scenario.break_,
        poll_interval,
        priority,
    };
    let setup = Setup {
        identities: tokens.map(|token| IdentityOptions::Tokens(vec![token])).collect(),
        focus: scenario.focus.into_iter().map(|(entry, _)| entry).collect(),
        observer: scenario.observer,
        ..Setup::new("https://github.test/")
    };
    let clock = Arc::new(SimulatedClock::start());
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    // It remembers nothing: the ledger sees through what comes twice.
    let dedup = Arc::new(Dedup::open(&storage, clock.clone(), 0).unwrap());
    let (trigger, shutdown) = shutdown::channel();
    let limits = Limits { tolerance: 0, within: Duration::ZERO, pause: Duration::ZERO };
    let routes = watch::channel(Routes { limits, lark: None, webhook: None }).1;
    let alerts = Arc::new(Alerts::new(routes, clock.clone()));
    let broker = Arc::new(Ledger(github.clone()));
    let intake = Intake::new(Origin::GitHub, dedup, broker, alerts, shutdown.clone()).await.unwrap();
    let (_settings, settings) = watch::channel(settings);
    let poller = github::Poller::over(github.clone(), setup, settings, intake, clock).unwrap();
    let status = poller.status();
    let polling = tokio::spawn(poller.run(shutdown));
    sleep(Duration::from_secs(scenario.seconds)).await;
    let status = status.borrow().clone();
    trigger.trigger();
    polling.await.unwrap().unwrap();
    status
}

async fn page_one(github: &Arc<MockGitHub>, scenario: &Scenario) {
    let (start, mut number) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(scenario.seconds) {
        let mut headers = HeaderMap::new();
        if scenario.identities > 0 {
            let token = format!("Bearer token{}", number % scenario.identities);
            headers.insert(AUTHORIZATION, HeaderValue::try_from(token).unwrap());
        }
        number += 1;
        let request = Request {
            method: reqwest::Method::GET,
            url: "https://github.test/events?per_page=100&page=1".parse().unwrap(),
            headers,
            timeout: Duration::from_secs(5),
        };
        let response = github.send(request).await.unwrap();
        if response.status.is_success() {
            capture(github, &response.body.unwrap());
        }
        sleep(scenario.break_).await;
    }
}

/// Notes the events of a page or message, which carry their ids first.
fn capture(github: &MockGitHub, text: &[u8]) {
    const BEFORE: &str = r#"{"id":""#;
    const AFTER: &str = r#"","type""#;
    let text = std::str::from_utf8(text).unwrap();
    github.inspect(|stream, _| {
        for part in text.split(BEFORE).skip(1) {
            stream.capture(part.split(AFTER).next().unwrap().parse().unwrap());
        }
    });
}

/// A topic of which only is remembered which events were on it.
struct Ledger(Arc<MockGitHub>);

struct Handle(Arc<MockGitHub>);

#[async_trait]
impl Producer for Handle {
    async fn publish(&self, batch: MessageBatch) -> Result<(), BrokerError> {
        for index in 0..batch.len() {
            capture(&self.0, &batch.get(index).unwrap());
        }
        Ok(())
    }
}

#[async_trait]
impl Broker for Ledger {
    async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        Ok(Arc::new(Handle(self.0.clone())))
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn retry(&self, _retries: Vec<Retry>) -> Result<(), BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), BrokerError> {
        panic!("{} events of the mock are no events", letters.len());
    }

    async fn dead_letters(&self) -> Result<Box<dyn DeadLetters>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn backlog(&self) -> Result<u64, BrokerError> {
        Ok(0)
    }

    async fn close(&self) -> Result<(), BrokerError> {
        Ok(())
    }
}
