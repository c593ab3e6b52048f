//! Claim → publish → confirm: whatever becomes of a publish, its events are published in the end, and then known.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pulsehub::alert::{Routes, Webhook};
use pulsehub::broker::{
    Broker, BrokerError, Consumer, DeadLetter, DeadLetters, MessageBatch, Producer, Retry,
};
use pulsehub::clock::ManualClock;
use pulsehub::dedup::Dedup;
use pulsehub::event::EventKey;
use pulsehub::shutdown::{self, Trigger};
use pulsehub::source::replay::{Replay, ReplayOptions, Speed};
use pulsehub::source::{Candidate, Intake, IntakeError, Origin, Submitted};
use pulsehub::storage::Storage;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::live_keys::{alerts, nowhere};
use crate::support::{eventually, text};

/// What becomes of a publish.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It fails, and might not.
    Fails,
    /// It fails for good.
    IsRefused,
    /// It is on the topic, and the answer is lost.
    LosesItsAnswer,
    /// It is not on the topic, and nobody says so.
    IsNeverAnswered,
}

/// A topic whose publishes meet their fates in order; later ones are confirmed.
#[derive(Default)]
struct Topic {
    fates: Mutex<VecDeque<Fate>>,
    /// How many messages are on it.
    published: Mutex<usize>,
}

/// A producer on it.
struct Handle(Arc<Topic>);

#[async_trait]
impl Producer for Handle {
    async fn publish(&self, batch: MessageBatch) -> Result<(), BrokerError> {
        let fate = self.0.fates.lock().unwrap().pop_front();
        let failed = |source: &str| BrokerError::Storage { action: "publish", source: source.into() };
        if matches!(fate, None | Some(Fate::LosesItsAnswer)) {
            *self.0.published.lock().unwrap() += batch.len();
        }
        match fate {
            None => Ok(()),
            Some(Fate::Fails) => Err(failed("it fails")),
            Some(Fate::IsRefused) => Err(BrokerError::Closed),
            Some(Fate::LosesItsAnswer) => Err(failed("the connection was lost")),
            Some(Fate::IsNeverAnswered) => std::future::pending().await,
        }
    }
}

struct OneTopic(Arc<Topic>);

#[async_trait]
impl Broker for OneTopic {
    async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        Ok(Arc::new(Handle(self.0.clone())))
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn retry(&self, _retries: Vec<Retry>) -> Result<(), BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn dead_letter(&self, _letters: Vec<DeadLetter>) -> Result<(), BrokerError> {
        Err(BrokerError::Closed)
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

/// A source on that topic.
struct Polling {
    topic: Arc<Topic>,
    clock: Arc<ManualClock>,
    intake: Intake,
    trigger: Trigger,
    _directory: tempfile::TempDir,
}

impl Polling {
    async fn new(fates: &[Fate]) -> Self {
        Self::alerting(fates, None).await
    }

    async fn alerting(fates: &[Fate], webhook: Option<Webhook>) -> Self {
        let topic =
            Arc::new(Topic { fates: Mutex::new(fates.iter().copied().collect()), ..Topic::default() });
        let (directory, clock) =
            (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(1_800_000_000_000)));
        let storage = Storage::open(directory.path()).unwrap();
        let dedup = Arc::new(Dedup::open(&storage, clock.clone(), 48 * 3_600).unwrap());
        let (trigger, shutdown) = shutdown::channel();
        let broker = Arc::new(OneTopic(topic.clone()));
        let alerts = alerts(Routes { webhook, ..nowhere(0) }).1;
        let intake = Intake::new(Origin::GitHub, dedup, broker, alerts, shutdown).await.unwrap();
        Self { topic, clock, intake, trigger, _directory: directory }
    }

    /// Sees two events.
    async fn poll(&self) -> Result<Submitted, IntakeError> {
        let candidate = |id| Candidate { key: EventKey { id, created_at: 1_799_999_999 }, raw: "{}".into() };
        self.intake.submit(vec![candidate(1), candidate(2)], Vec::new()).await
    }

    /// Sees them until they are published, and then once more.
    async fn assert_published_by_the_next_poll(&self) {
        let before = self.published();
        let Submitted { published, duplicates, .. } = self.poll().await.unwrap();
        assert_eq!((published, duplicates, self.published()), (2, 0, before + 2));
        self.assert_known().await;
    }

    async fn assert_known(&self) {
        let before = self.published();
        let Submitted { published, duplicates, .. } = self.poll().await.unwrap();
        assert_eq!((published, duplicates, self.published()), (0, 2, before));
    }

    fn published(&self) -> usize {
        *self.topic.published.lock().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_fails_is_tried_until_it_is_confirmed() {
    let polling = Polling::new(&[Fate::Fails; 12]).await;
    assert_eq!(polling.poll().await.unwrap().published, 2);
    assert_eq!(polling.published(), 2);
    polling.assert_known().await;
}

#[tokio::test]
async fn a_publish_that_is_refused_leaves_its_events_to_the_next_poll() {
    let polling = Polling::new(&[Fate::IsRefused]).await;
    assert!(matches!(polling.poll().await, Err(IntakeError::Broker(BrokerError::Closed))));
    polling.assert_published_by_the_next_poll().await;
}

#[tokio::test(start_paused = true)]
async fn a_publish_whose_answer_is_lost_is_made_again_and_its_events_are_known_then() {
    let polling = Polling::new(&[Fate::LosesItsAnswer]).await;
    assert_eq!(polling.poll().await.unwrap().published, 2);
    assert_eq!(polling.published(), 4, "twice on the topic, which the state sees through");
    polling.assert_known().await;
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_is_never_answered_is_made_again() {
    let polling = Polling::new(&[Fate::IsNeverAnswered; 3]).await;
    let polled = tokio::time::timeout(Duration::from_secs(600), polling.poll()).await;
    assert_eq!(polled.expect("an end").unwrap().published, 2);
    polling.assert_known().await;
}

#[tokio::test(start_paused = true)]
async fn events_whose_publish_is_not_answered_are_published_by_a_poll_after_their_lease() {
    let polling = Polling::new(&[Fate::IsNeverAnswered]).await;
    let hanging = polling.poll();
    tokio::pin!(hanging);
    assert!(futures_util::poll!(&mut hanging).is_pending());
    polling.assert_known().await;
    polling.clock.advance_millis(61_000);
    polling.assert_published_by_the_next_poll().await;
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_given_up_leaves_its_events_to_the_next_one() {
    let polling = Polling::new(&[Fate::IsNeverAnswered]).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), polling.poll()).await.is_err());
    polling.assert_published_by_the_next_poll().await;
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_is_never_answered_does_not_hold_up_the_end() {
    let polling = Polling::new(&[Fate::IsNeverAnswered]).await;
    polling.trigger.trigger();
    let begun = tokio::time::Instant::now();
    assert!(matches!(polling.poll().await, Err(IntakeError::Stopped)));
    assert!(begun.elapsed() <= Duration::from_secs(15), "{:?}", begun.elapsed());
    polling.assert_published_by_the_next_poll().await;
}

#[tokio::test(start_paused = true)]
async fn publishes_that_are_never_answered_share_one_grace_at_the_end() {
    let polling = Polling::new(&[Fate::IsNeverAnswered; 3]).await;
    polling.trigger.trigger();
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        assert!(matches!(polling.poll().await, Err(IntakeError::Stopped)));
    }
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_told_of_a_publish_that_fails() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let polling = Polling::alerting(&[Fate::Fails], Some(Webhook { webhook: server.uri() })).await;
    assert_eq!(polling.poll().await.unwrap().published, 2);
    eventually("the alert", async || !server.received_requests().await.unwrap().is_empty()).await;
    let body: serde_json::Value = server.received_requests().await.unwrap()[0].body_json().unwrap();
    assert!(body["text"].as_str().unwrap().ends_with("the broker fails: cannot publish: it fails"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_replay_at_shifted_times_waits_for_space_to_keep_the_shift() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("archive.json");
    std::fs::write(&file, r#"{"id":"1","type":"WatchEvent","created_at":"2026-01-01T00:00:00Z"}"#).unwrap();
    let storage = Storage::open_with_reserve(directory.path(), u64::MAX).unwrap();
    let clock = Arc::new(ManualClock::new(1_800_000_000_000));
    let dedup = Arc::new(Dedup::open(&storage, clock.clone(), 3_600).unwrap());
    let (trigger, shutdown) = shutdown::channel();
    let (topic, alerts) = (Arc::new(Topic::default()), alerts(nowhere(0)).1);
    let broker = Arc::new(OneTopic(topic.clone()));
    let intake = Intake::new(Origin::Archive, dedup, broker, alerts, shutdown.clone()).await.unwrap();
    let options = ReplayOptions {
        sources: vec![text(&file)],
        speed: Speed::Max,
        rebase: true,
        archive_url: String::new(),
        downloads: directory.path().to_owned(),
        cache_bytes: 0,
    };
    let replay = Replay::new(options, intake, &storage, clock, shutdown).unwrap();
    let mut replay = tokio::spawn(replay.run());
    // This clock stands still while the file is read.
    assert!(tokio::time::timeout(Duration::from_secs(60), &mut replay).await.is_err(), "it waits");
    trigger.trigger();
    assert_eq!(replay.await.unwrap().unwrap().submitted.published, 0);
    assert_eq!(*topic.published.lock().unwrap(), 0);
}
