//! Deliveries while the broker is silent, refuses, or has no room: they are kept on this disk in order, or refused.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pulsehub::app::Source;
use pulsehub::broker::{
    Broker, BrokerError, Consumer, DeadLetter, DeadLetters, MessageBatch, Producer, Retry,
};
use pulsehub::clock::ManualClock;
use pulsehub::dedup::Dedup;
use pulsehub::delivery::{Answer, Deliveries, Delivery};
use pulsehub::shutdown::{self, Trigger};
use pulsehub::source::webhook::{Settings, Webhooks};
use pulsehub::source::{Intake, Origin};
use pulsehub::storage::Storage;
use reqwest::StatusCode;
use tokio::time::Instant;

use super::{NOON, Post, SECRET, accepted, app, merged, signature};
use crate::live_keys::{alerts, nowhere};
use crate::support::eventually;

/// A topic that takes messages, refuses them, or says nothing at all.
#[derive(Default)]
struct Topic {
    silent: AtomicBool,
    refuses: AtomicBool,
    asked: AtomicU32,
    taken: Mutex<Vec<String>>,
}

struct Handle(Arc<Topic>);

#[async_trait]
impl Producer for Handle {
    async fn publish(&self, batch: MessageBatch) -> Result<(), BrokerError> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        if self.0.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.0.refuses.load(Ordering::SeqCst) {
            return Err(BrokerError::Full { limit_bytes: 0 });
        }
        let messages = (0..batch.len()).filter_map(|index| batch.get(index));
        let texts = messages.map(|message| String::from_utf8(message.to_vec()).unwrap());
        self.0.taken.lock().unwrap().extend(texts);
        Ok(())
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

/// The source on that topic, with what it keeps in a directory.
struct Fixture {
    topic: Arc<Topic>,
    webhooks: Webhooks,
    trigger: Trigger,
    shutdown: shutdown::Shutdown,
}

impl Fixture {
    async fn new(directory: &std::path::Path, spool_bytes: u64) -> Self {
        Self::on(&Storage::open(directory).unwrap(), spool_bytes).await
    }

    async fn on(storage: &Storage, spool_bytes: u64) -> Self {
        let topic = Arc::<Topic>::default();
        let clock = Arc::new(ManualClock::new(NOON));
        let (trigger, shutdown) = shutdown::channel();
        let (dedup, broker) =
            (Arc::new(Dedup::off(storage, clock.clone())), Arc::new(OneTopic(topic.clone())));
        let alerts = alerts(nowhere(0)).1;
        let intake = Intake::new(Origin::Webhook, dedup, broker, alerts.clone(), shutdown.clone());
        let settings = Settings { secrets: vec![SECRET.to_owned()], spool_bytes, window: 3_600 };
        let webhooks = Webhooks::open(&settings, storage, intake.await.unwrap(), alerts, clock).unwrap();
        Self { topic, webhooks, trigger, shutdown }
    }

    async fn take(&self, number: u64) -> Answer {
        take(&self.webhooks, number).await
    }

    /// The numbers of the pull requests on the topic, in order.
    fn taken(&self) -> Vec<u64> {
        let number = |message: &String| {
            let message: serde_json::Value = serde_json::from_str(message).unwrap();
            message["event"]["payload"]["number"].as_u64().unwrap()
        };
        self.topic.taken.lock().unwrap().iter().map(number).collect()
    }

    fn drain(&self) -> tokio::task::JoinHandle<()> {
        let drain = self.webhooks.clone().drain(self.shutdown.clone());
        tokio::spawn(async { drain.await.unwrap() })
    }
}

async fn take(webhooks: &Webhooks, number: u64) -> Answer {
    let body = merged(number).to_string();
    let signature = Some(signature(SECRET, body.as_bytes()));
    let (id, event) = (format!("d-{number}"), "pull_request".to_owned());
    webhooks.take(Delivery { id, event, signature, body: body.into() }).await
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_is_not_waited_for_and_gets_all_in_order_when_it_answers() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(directory.path(), 1 << 20).await;
    assert_eq!(fixture.take(1).await, Answer::Published);
    fixture.topic.silent.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    assert_eq!(fixture.take(2).await, Answer::Spooled);
    assert!(begun.elapsed() < Duration::from_secs(8), "GitHub waits for ten seconds: {:?}", begun.elapsed());
    // Behind it the others go at once.
    let begun = Instant::now();
    for number in 3..=9 {
        assert_eq!(fixture.take(number).await, Answer::Spooled);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(fixture.take(5).await, Answer::Known);
    fixture.topic.silent.store(false, Ordering::SeqCst);
    // Not past those that wait.
    assert_eq!(fixture.take(10).await, Answer::Spooled);
    let draining = fixture.drain();
    eventually("all is with the broker", async || fixture.taken().len() == 10).await;
    assert_eq!(fixture.taken(), (1..=10).collect::<Vec<_>>());
    eventually("nothing waits", async || {
        take(&fixture.webhooks, fastrand::u64(100..)).await == Answer::Published
    })
    .await;
    fixture.trigger.trigger();
    draining.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_is_published_by_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(directory.path(), 1 << 20).await;
    fixture.topic.refuses.store(true, Ordering::SeqCst);
    let draining = fixture.drain();
    for number in 1..=3 {
        assert_eq!(fixture.take(number).await, Answer::Spooled);
    }
    eventually("the broker is tried again", async || fixture.topic.asked.load(Ordering::SeqCst) > 5).await;
    fixture.trigger.trigger();
    draining.await.unwrap();
    assert_eq!(fixture.taken(), [] as [u64; 0]);
    drop(fixture);
    let fixture = Fixture::new(directory.path(), 1 << 20).await;
    assert_eq!(fixture.take(2).await, Answer::Known);
    let _draining = fixture.drain();
    eventually("all is with the broker", async || fixture.taken().len() == 3).await;
    assert_eq!(fixture.taken(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_what_waits_is_published_once_and_deliveries_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(directory.path(), 1 << 20).await;
    fixture.topic.refuses.store(true, Ordering::SeqCst);
    for number in 1..=150 {
        assert_eq!(fixture.take(number).await, Answer::Spooled);
    }
    drop(fixture);
    // No removal is written now.
    let full = Storage::open_with_reserve(directory.path(), u64::MAX).unwrap();
    let fixture = Fixture::on(&full, 1 << 20).await;
    assert_eq!(fixture.webhooks.waiting(), 150);
    let draining = fixture.drain();
    eventually("all is with the broker", async || fixture.webhooks.waiting() == 0).await;
    assert_eq!(fixture.take(200).await, Answer::Published);
    assert_eq!(fixture.taken(), (1..=150).chain([200]).collect::<Vec<_>>());
    fixture.trigger.trigger();
    draining.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_room_a_delivery_is_refused_and_can_come_again() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(directory.path(), 1_500).await;
    fixture.topic.refuses.store(true, Ordering::SeqCst);
    let mut answers = Vec::new();
    for number in 1..=5 {
        answers.push(fixture.take(number).await);
    }
    let kept = answers.iter().filter(|&&answer| answer == Answer::Spooled).count();
    assert!(
        (1..5).contains(&kept) && answers[kept..].iter().all(|&answer| answer == Answer::Unavailable),
        "{answers:?}"
    );
    fixture.topic.refuses.store(false, Ordering::SeqCst);
    let _draining = fixture.drain();
    eventually("there is room", async || fixture.taken().len() == kept).await;
    for number in kept as u64 + 1..=5 {
        eventually("it is taken", async || {
            matches!(fixture.take(number).await, Answer::Published | Answer::Known)
        })
        .await;
    }
    eventually("all are there", async || fixture.taken().len() >= 5).await;
    assert_eq!(fixture.taken().into_iter().collect::<BTreeSet<_>>(), (1..=5).collect());
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_being_taken_is_not_taken_twice() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(directory.path(), 0).await;
    fixture.topic.silent.store(true, Ordering::SeqCst);
    let webhooks = fixture.webhooks.clone();
    let first = tokio::spawn(async move { take(&webhooks, 1).await });
    eventually("the first is with the broker", async || fixture.topic.asked.load(Ordering::SeqCst) == 1)
        .await;
    assert_eq!(fixture.take(1).await, Answer::Unavailable);
    assert_eq!(first.await.unwrap(), Answer::Unavailable, "nor is there a spool");
    fixture.topic.silent.store(false, Ordering::SeqCst);
    assert_eq!(fixture.take(1).await, Answer::Published);
    assert_eq!(fixture.take(1).await, Answer::Known);
}

/// MiB that are free where the test's directory is.
fn free_mib(path: &std::path::Path) -> u32 {
    let output = std::process::Command::new("df").args(["--output=avail", "-m"]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().nth(1).unwrap().trim().parse().unwrap()
}

/// Twice the reserve has to be free for the embedded topic to take something, and once for the spool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_server_keeps_what_its_topic_has_no_room_for_and_counts_it_later() {
    let mut app = app();
    let reserve = app.config.storage.reserve;
    app.config.storage.reserve = free_mib(app.directory()) / 4 * 3;
    let running = app.start(Source::None).await;
    let post = Post::new("pull_request", "d-1", merged(1).to_string());
    assert_eq!(post.to(&running).await, accepted("spooled"));
    assert_eq!(post.to(&running).await, accepted("known"));
    running.stop().await;
    app.config.storage.reserve = free_mib(app.directory()) * 2;
    let running = app.start(Source::None).await;
    let other = Post::new("pull_request", "d-2", merged(2).to_string());
    assert_eq!(other.to(&running).await.0, StatusCode::SERVICE_UNAVAILABLE);
    running.stop().await;
    app.config.storage.reserve = reserve;
    let running = app.start(Source::None).await;
    assert_eq!(other.to(&running).await.0, StatusCode::ACCEPTED);
    eventually("both are counted", async || {
        let mut client = crate::support::Client::connect(&running, "/sampling").await;
        client.json().await["mergeMap"]["2026-06-15"] == "2"
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_is_counted_also_where_no_webhooks_are_taken_any_more() {
    let mut app = app();
    let reserve = app.config.storage.reserve;
    app.config.storage.reserve = free_mib(app.directory()) / 4 * 3;
    let running = app.start(Source::None).await;
    let post = Post::new("pull_request", "d-1", merged(1).to_string());
    assert_eq!(post.to(&running).await, accepted("spooled"));
    running.stop().await;
    app.config.storage.reserve = reserve;
    app.config.webhooks.secrets.clear();
    let running = app.start(Source::None).await;
    eventually("it is counted", async || {
        let mut client = crate::support::Client::connect(&running, "/sampling").await;
        client.json().await["mergeMap"]["2026-06-15"] == "1"
    })
    .await;
    assert_eq!(post.to(&running).await.0, StatusCode::NOT_FOUND);
    running.stop().await;
}
