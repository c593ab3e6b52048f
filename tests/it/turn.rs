//! A history that is away while many batches wait for it: one of them tries, the others wait, and all end with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pulsehub::app;
use pulsehub::broker::{BatchBuilder, Broker};
use pulsehub::domain::github::row::Row;
use pulsehub::event::Day;
use pulsehub::history::{History, HistoryError, SeedPart};
use pulsehub::live::Feed;
use pulsehub::shutdown::{self, Trigger};
use pulsehub::state::Base;
use pulsehub::status::Status;
use pulsehub::worker::{Broken, Live, PAUSES, Worker};
use serde_json::json;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{TestApp, eventually};
use crate::tap::pull_request;

/// A history that can be away, or silent.
#[derive(Default)]
struct Moody {
    away: AtomicBool,
    silent: AtomicBool,
    /// Attempts to write into it.
    attempts: AtomicU32,
    under_way: AtomicU32,
    most_under_way: AtomicU32,
    rows: AtomicU32,
}

#[async_trait]
impl History for Moody {
    async fn recount(&self, _year: i16) -> Result<Base, HistoryError> {
        Err(HistoryError::NotConfigured)
    }

    async fn seed(&self, _year: i16, _open: &[Day], _parts: Sender<SeedPart>) -> Result<(), HistoryError> {
        Err(HistoryError::NotConfigured)
    }

    async fn write(&self, rows: &[Row]) -> Result<(), HistoryError> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        // So that writes meet each other.
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) {
            return Err(HistoryError::Unavailable { address: "moody".to_owned(), source: "away".into() });
        }
        self.rows.fetch_add(rows.len() as u32, Ordering::SeqCst);
        Ok(())
    }
}

/// Two workers with many batches that wait for a history that is away.
struct Waiting {
    broker: Arc<dyn Broker>,
    history: Arc<Moody>,
    trigger: Trigger,
    tasks: [JoinHandle<Result<(), Broken>>; 2],
    _data: app::DataDirectory,
    _app: TestApp,
}

const EVENTS: u64 = 20_000;

/// Attempts that are made before the first failure is known, by as many as may write at once.
const AT_ONCE: u32 = 4;

impl Waiting {
    async fn start() -> Self {
        let app = TestApp::new();
        let (mut data, state) = app.state();
        let broker = app::embedded_broker(&app.config, &mut data, &app.clock).unwrap();
        let history = Arc::new(Moody::default());
        history.away.store(true, Ordering::SeqCst);
        let status = Arc::new(Status::default());
        let worker = Worker {
            enrichment: None,
            broker: broker.clone(),
            state: state.clone(),
            history: Some(history.clone()),
            seeder: None,
            live: Live::Memory(Arc::new(Feed::default())),
            status,
            alerts: app::alerts(&app.config, app.clock.clone()),
            refusals: Arc::default(),
            turn: Arc::default(),
            pauses: PAUSES,
            clock: app.clock.clone(),
            live_max_age: watch::channel(None).1,
            twins: false,
        };
        let (trigger, shutdown) = shutdown::channel();
        let tasks = [(); 2].map(|()| tokio::spawn(worker.clone().run(shutdown.clone())));
        let producer = broker.producer().await.unwrap();
        for first in (0..EVENTS).step_by(500) {
            let mut batch = BatchBuilder::default();
            for id in first..first + 500 {
                let message = json!({"event": pull_request(id, "opened"), "payload": {}}).to_string();
                batch.push(&[message.as_bytes()]);
            }
            producer.publish(batch.build()).await.unwrap();
        }
        eventually("all is applied", async || state.snapshot(2026).await.unwrap().sums.dev == EVENTS).await;
        Self { broker, history, trigger, tasks, _data: data, _app: app }
    }

    fn attempts(&self) -> u32 {
        self.history.attempts.load(Ordering::SeqCst)
    }

    async fn stop(self) {
        self.trigger.trigger();
        for task in self.tasks {
            task.await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_history_is_away_one_batch_tries_and_the_others_wait() {
    let waiting = Waiting::start().await;
    eventually("the first failures are known", async || waiting.attempts() >= AT_ONCE + 2).await;
    waiting.history.most_under_way.store(0, Ordering::SeqCst);
    let (before, begun) = (waiting.attempts(), Instant::now());
    eventually("more attempts", async || waiting.attempts() >= before + 8).await;
    assert!(begun.elapsed() > Duration::from_secs(1), "{} attempts in {:?}", 8, begun.elapsed());
    assert_eq!(waiting.history.most_under_way.load(Ordering::SeqCst), 1);

    let (before, back) = (waiting.attempts(), Instant::now());
    waiting.history.away.store(false, Ordering::SeqCst);
    eventually("all is settled", async || waiting.broker.is_drained().await.unwrap()).await;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    assert_eq!(waiting.history.rows.load(Ordering::SeqCst), EVENTS as u32);
    let written = waiting.attempts() - before;
    assert!((20..=60).contains(&written), "{written} writes of up to a thousand rows");
    assert!(waiting.history.most_under_way.load(Ordering::SeqCst) > 1, "they go on together");
    waiting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_wait_for_history_end_at_once_with_the_process() {
    let waiting = Waiting::start().await;
    let before = waiting.attempts();
    eventually("more attempts", async || waiting.attempts() >= before + 5).await;
    tokio::time::timeout(Duration::from_secs(1), waiting.stop()).await.expect("their end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_does_not_answer_holds_up_the_end_for_its_grace_only() {
    let waiting = Waiting::start().await;
    waiting.history.silent.store(true, Ordering::SeqCst);
    waiting.history.away.store(false, Ordering::SeqCst);
    eventually("one of them has no answer", async || waiting.history.under_way.load(Ordering::SeqCst) > 0)
        .await;
    tokio::time::timeout(Duration::from_secs(15), waiting.stop()).await.expect("their end");
}
