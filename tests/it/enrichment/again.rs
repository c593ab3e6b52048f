//! How workers ask: others go on meanwhile, and what is not answered is asked again, but not for ever.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pulsehub::app::{self, DataDirectory};
use pulsehub::broker::{BatchBuilder, Broker, dead_letter};
use pulsehub::domain::github::details::{Details, Stub};
use pulsehub::enrich::{Answer, Enricher};
use pulsehub::live::Feed;
use pulsehub::mutation::Size;
use pulsehub::shutdown::{self, Trigger};
use pulsehub::state::State;
use pulsehub::worker::{Enrichment, Live, Observer, Worker};
use serde_json::json;
use tokio::sync::watch;

use crate::support::{TestApp, eventually};

/// Knows what it is told to, after a while.
struct Knowing {
    answer: Mutex<Answer>,
    takes: Duration,
    asked: AtomicUsize,
}

#[async_trait]
impl Enricher for Knowing {
    async fn details(&self, stubs: Vec<Stub>, _: Duration) -> Vec<Answer> {
        self.asked.fetch_add(stubs.len(), Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        stubs.iter().map(|_| self.answer.lock().unwrap().clone()).collect()
    }

    fn language(&self, _: u64) -> Option<Arc<str>> {
        None
    }
}

/// One worker on embedded engines.
struct Working {
    broker: Arc<dyn Broker>,
    state: Arc<dyn State>,
    enricher: Arc<Knowing>,
    /// Events that were asked for, and that are complete, as the observer was told.
    told: Arc<Mutex<(u64, u64)>>,
    _app: TestApp,
    _trigger: Trigger,
}

impl Working {
    fn start(answer: Answer, takes: Duration, pauses: &'static [Duration]) -> Self {
        let app = TestApp::new();
        let mut data = DataDirectory::new(app.directory().to_owned(), app.config.storage.reserve);
        let state = app::embedded_state(&app.config, data.open().unwrap()).unwrap();
        let broker = app::embedded_broker(&app.config, &mut data, &app.clock).unwrap();
        let enricher = Arc::new(Knowing { answer: Mutex::new(answer), takes, asked: AtomicUsize::new(0) });
        let told = Arc::<Mutex<(u64, u64)>>::default();
        let telling = told.clone();
        let observer: Observer = Arc::new(move |asked, known| {
            let mut told = telling.lock().unwrap();
            *told = (told.0 + asked, told.1 + known);
        });
        let worker = Worker {
            broker: broker.clone(),
            enrichment: Some(Enrichment { enricher: enricher.clone(), within: takes, pauses, observer }),
            state: state.clone(),
            history: None,
            seeder: None,
            live: Live::Memory(Arc::new(Feed::default())),
            status: Arc::default(),
            alerts: app::alerts(&app.config, app.clock.clone()),
            refusals: Arc::default(),
            turn: Arc::default(),
            pauses: &[],
            clock: app.clock.clone(),
            live_max_age: watch::channel(None).1,
            twins: false,
        };
        let (trigger, shutdown) = shutdown::channel();
        tokio::spawn(worker.run(shutdown));
        Self { broker, state, enricher, told, _app: app, _trigger: trigger }
    }

    async fn publish(&self, id: u32) {
        let event = json!({
            "id": id.to_string(), "type": "PullRequestEvent", "created_at": "2026-01-02T03:04:05Z",
            "actor": {"id": 1, "login": "me"}, "repo": {"id": 3, "name": "o/r"},
            "payload": {"action": "merged", "number": id, "pull_request": {"id": id}},
        });
        let mut batch = BatchBuilder::default();
        batch.push(&[format!(r#"{{"event":{event},"payload":{{}}}}"#).as_bytes()]);
        self.broker.producer().await.unwrap().publish(batch.build()).await.unwrap();
    }

    async fn drained(&self) {
        eventually("all is settled", async || self.broker.is_drained().await.unwrap()).await;
    }

    async fn additions_and_merges(&self) -> (u64, u64) {
        let snapshot = self.state.snapshot(2026).await.unwrap();
        (snapshot.sums.additions, snapshot.days.values().map(|day| day.merge).sum())
    }
}

const SOON: &[Duration] = &[Duration::from_millis(20); 3];

#[tokio::test]
async fn what_was_asked_too_often_is_left_and_settled() {
    let working = Working::start(Answer::Later(Duration::ZERO), Duration::ZERO, SOON);
    working.publish(1).await;
    working.drained().await;
    assert_eq!(working.enricher.asked.load(Ordering::SeqCst), 4, "once, and after each pause");
    assert_eq!(working.additions_and_merges().await, (0, 1));
    assert_eq!(dead_letter::list(working.broker.as_ref(), 10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_is_gone_or_nobody_can_tell_is_not_asked_for_again() {
    for answer in [Answer::Gone, Answer::Off] {
        let working = Working::start(answer, Duration::ZERO, SOON);
        working.publish(1).await;
        working.drained().await;
        assert_eq!(working.enricher.asked.load(Ordering::SeqCst), 1);
        assert_eq!(working.additions_and_merges().await, (0, 1));
    }
}

#[tokio::test]
async fn a_copy_brings_its_size_once_and_not_before_asking_makes_sense() {
    let wait = Duration::from_millis(700);
    let working = Working::start(Answer::Later(wait), Duration::ZERO, SOON);
    let begun = Instant::now();
    working.publish(1).await;
    eventually("it is counted without its size", async || working.additions_and_merges().await == (0, 1))
        .await;
    let size = Some(Size { additions: 7, deletions: 8 });
    *working.enricher.answer.lock().unwrap() = Answer::Known(Details { size, language: None });
    working.drained().await;
    assert!(begun.elapsed() >= wait, "{:?}", begun.elapsed());
    assert_eq!(working.additions_and_merges().await, (7, 1));
    assert_eq!(*working.told.lock().unwrap(), (1, 1), "asked again is not asked for twice");
    // The event again, from its source: nothing is added.
    working.publish(1).await;
    working.drained().await;
    assert_eq!(working.additions_and_merges().await, (7, 1));
}

#[tokio::test]
async fn events_wait_side_by_side_and_not_one_after_the_other() {
    const TAKES: Duration = Duration::from_millis(1_000);
    let size = Some(Size { additions: 7, deletions: 8 });
    let working = Working::start(Answer::Known(Details { size, language: None }), TAKES, SOON);
    let begun = Instant::now();
    for id in 1..=5 {
        working.publish(id).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    working.drained().await;
    assert!(begun.elapsed() < TAKES * 4, "{:?}", begun.elapsed());
    assert_eq!(working.additions_and_merges().await, (35, 5));
}
