//! One message that an engine refuses must not hold up its neighbours, and comes to its end by itself.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pulsehub::app;
use pulsehub::broker::dead_letter::{self, Listed};
use pulsehub::broker::{
    BatchBuilder, Broker, BrokerError, Consumer, DeadLetter, DeadLetters, Producer, Retry,
};
use pulsehub::live::Feed;
use pulsehub::mutation::Mutation;
use pulsehub::shutdown::{self, Trigger};
use pulsehub::state::{Applied, Base, LanguageSeconds, Receipt, Snapshot, State, StateError};
use pulsehub::status::Status;
use pulsehub::worker::{Broken, IN_A_ROW, Live, Worker};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::mysql::Database;
use crate::support::redis::{connect, prefix, shared_server};
use crate::support::seeds::never_seeded;
use crate::support::{TestApp, eventually, text};

const YEAR: i16 = 2026;

/// A pull request opened on `day` by a person and in a repository of its own.
fn opened(id: u64, day: &str) -> Value {
    json!({
        "id": id.to_string(), "type": "PullRequestEvent", "created_at": format!("{day}T10:00:00Z"),
        "actor": {"id": id, "login": "someone"}, "repo": {"id": id, "name": "some/thing"},
        "payload": {"action": "opened", "number": 1, "pull_request": {"id": id}},
    })
}

fn message(id: u64) -> Vec<u8> {
    json!({"event": opened(id, "2026-06-15"), "payload": {}}).to_string().into_bytes()
}

/// A state that refuses some pull requests.
struct Refusing {
    inner: Arc<dyn State>,
    refused: fn(&Mutation) -> bool,
    /// Whether it does.
    refuses: AtomicBool,
    refusals: AtomicU32,
}

never_seeded!(Refusing);

#[async_trait]
impl State for Refusing {
    async fn apply(&self, batch: Vec<Mutation>, now: i64) -> Result<Applied, StateError> {
        if self.refuses.load(Ordering::SeqCst) && batch.iter().any(self.refused) {
            self.refusals.fetch_add(1, Ordering::SeqCst);
            return Err(StateError::Unfit { reason: "thirteen", source: "no thirteens".into() });
        }
        self.inner.apply(batch, now).await
    }

    async fn persist(&self, receipt: Receipt) -> Result<(), StateError> {
        self.inner.persist(receipt).await
    }

    async fn holds(&self, receipt: Receipt) -> Result<bool, StateError> {
        self.inner.holds(receipt).await
    }

    async fn snapshot(&self, year: i16) -> Result<Snapshot, StateError> {
        self.inner.snapshot(year).await
    }

    async fn languages(&self, seconds: RangeInclusive<i64>) -> Result<LanguageSeconds, StateError> {
        self.inner.languages(seconds).await
    }

    async fn own(&self, year: i16) -> Result<Base, StateError> {
        self.inner.own(year).await
    }

    async fn set_base(&self, year: i16, base: Base) -> Result<(), StateError> {
        self.inner.set_base(year, base).await
    }
}

/// A broker whose retry topic is away for a while.
struct Unwilling {
    inner: Arc<dyn Broker>,
    /// Whether it is.
    away: AtomicBool,
    /// Whether it has no room.
    full: AtomicBool,
    asked: AtomicU32,
}

#[async_trait]
impl Broker for Unwilling {
    async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        self.inner.producer().await
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, BrokerError> {
        self.inner.consumer().await
    }

    async fn retry(&self, retries: Vec<Retry>) -> Result<(), BrokerError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.full.load(Ordering::SeqCst) {
            return Err(BrokerError::Full { limit_bytes: 0 });
        }
        match self.away.load(Ordering::SeqCst) {
            true => Err(BrokerError::Storage { action: "write retries", source: "away".into() }),
            false => self.inner.retry(retries).await,
        }
    }

    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), BrokerError> {
        self.inner.dead_letter(letters).await
    }

    async fn dead_letters(&self) -> Result<Box<dyn DeadLetters>, BrokerError> {
        self.inner.dead_letters().await
    }

    async fn backlog(&self) -> Result<u64, BrokerError> {
        self.inner.backlog().await
    }

    async fn close(&self) -> Result<(), BrokerError> {
        self.inner.close().await
    }
}

/// One worker between the embedded broker and a state that refuses.
struct Working {
    broker: Arc<Unwilling>,
    state: Arc<Refusing>,
    trigger: Trigger,
    task: JoinHandle<Result<(), Broken>>,
    _data: app::DataDirectory,
}

impl Working {
    fn start(app: &TestApp, refused: fn(&Mutation) -> bool, pauses: &'static [Duration]) -> Self {
        let (mut data, inner) = app.state();
        let inner_broker = app::embedded_broker(&app.config, &mut data, &app.clock).unwrap();
        let (away, full, asked) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU32::new(0));
        let broker = Arc::new(Unwilling { inner: inner_broker, away, full, asked });
        let (refuses, refusals) = (AtomicBool::new(true), AtomicU32::new(0));
        let state = Arc::new(Refusing { inner, refused, refuses, refusals });
        let worker = Worker {
            enrichment: None,
            broker: broker.clone(),
            state: state.clone(),
            history: None,
            seeder: None,
            live: Live::Memory(Arc::new(Feed::default())),
            status: Arc::new(Status::default()),
            alerts: app::alerts(&app.config, app.clock.clone()),
            refusals: Arc::default(),
            turn: Arc::default(),
            pauses,
            clock: app.clock.clone(),
            live_max_age: watch::channel(None).1,
            twins: false,
        };
        let (trigger, shutdown) = shutdown::channel();
        Self { broker, state, trigger, task: tokio::spawn(worker.run(shutdown)), _data: data }
    }

    async fn publish(&self, ids: std::ops::Range<u64>) {
        let mut batch = BatchBuilder::default();
        ids.for_each(|id| batch.push(&[&message(id)]));
        self.broker.producer().await.unwrap().publish(batch.build()).await.unwrap();
    }

    async fn counted(&self) -> u64 {
        self.state.snapshot(YEAR).await.unwrap().sums.dev
    }

    async fn letters(&self) -> Vec<Listed> {
        dead_letter::list(self.broker.as_ref(), usize::MAX).await.unwrap()
    }

    async fn drained(&self) {
        eventually("all is settled", async || self.broker.is_drained().await.unwrap()).await;
    }

    async fn stop(self) {
        self.trigger.trigger();
        self.task.await.unwrap().unwrap();
        self.broker.close().await.unwrap();
    }
}

const SOON: &[Duration] = &[Duration::from_millis(20); 4];

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_is_tried_five_times_and_ends_in_the_dead_letters() {
    let app = TestApp::new();
    let working = Working::start(&app, |mutation| mutation.pull_request == 13, SOON);
    working.publish(0..300).await;
    working.drained().await;
    assert_eq!(working.counted().await, 299);
    let [letter] = working.letters().await.try_into().unwrap();
    assert_eq!(letter.attempts, 5);
    assert_eq!(letter.reason, "the state refuses it: thirteen: no thirteens");
    assert!(letter.origin.contains("message 13, event 13"), "{}", letter.origin);
    assert_eq!(letter.body_bytes, message(13).len());

    // Once its cause is gone, it is counted, and nothing twice.
    working.state.refuses.store(false, Ordering::SeqCst);
    dead_letter::replay(working.broker.as_ref(), "", usize::MAX).await.unwrap();
    working.drained().await;
    assert_eq!((working.counted().await, working.letters().await.len()), (300, 0));
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_that_is_taken_later_is_counted_and_no_dead_letter() {
    const ONCE: &[Duration] = &[Duration::from_millis(500); 4];
    let app = TestApp::new();
    let working = Working::start(&app, |mutation| mutation.pull_request.is_multiple_of(100), ONCE);
    working.publish(0..300).await;
    eventually("the neighbours", async || working.counted().await == 297).await;
    assert!(!working.broker.is_drained().await.unwrap());
    working.state.refuses.store(false, Ordering::SeqCst);
    working.drained().await;
    assert_eq!((working.counted().await, working.letters().await.len()), (300, 0));
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_stays_on_the_topic_until_the_retry_topic_has_it() {
    let app = TestApp::new();
    let working = Working::start(&app, |mutation| mutation.pull_request == 13, SOON);
    working.broker.away.store(true, Ordering::SeqCst);
    working.publish(0..20).await;
    eventually("the retry topic is asked again", async || working.broker.asked.load(Ordering::SeqCst) >= 3)
        .await;
    assert!(working.broker.backlog().await.unwrap() > 0 && working.letters().await.is_empty());
    working.state.refuses.store(false, Ordering::SeqCst);
    working.broker.away.store(false, Ordering::SeqCst);
    working.drained().await;
    assert_eq!((working.counted().await, working.letters().await.len()), (20, 0));
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_retry_topic_has_no_room_for_is_a_dead_letter_and_holds_nobody_up() {
    let app = TestApp::new();
    let working = Working::start(&app, |mutation| mutation.pull_request == 13, SOON);
    working.broker.full.store(true, Ordering::SeqCst);
    working.publish(0..20).await;
    working.drained().await;
    let letters = working.letters().await;
    assert_eq!((working.counted().await, letters.len()), (19, 1));
    assert!(letters[0].reason.contains("cannot be tried again"), "{}", letters[0].reason);
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_refuses_everything_keeps_the_rest_on_the_topic() {
    let app = TestApp::new();
    // Without a second attempt: what is set aside is among the dead letters at once.
    let working = Working::start(&app, |_| true, &[]);
    working.publish(0..3_000).await;
    eventually("some are set aside", async || !working.letters().await.is_empty()).await;
    let refusals = working.state.refusals.load(Ordering::SeqCst);
    eventually("it tries on in place", async || {
        working.state.refusals.load(Ordering::SeqCst) >= refusals + 3
    })
    .await;
    let aside = working.letters().await.len();
    assert!(aside <= IN_A_ROW as usize, "{aside}");
    working.state.refuses.store(false, Ordering::SeqCst);
    working.drained().await;
    assert_eq!(working.counted().await, 3_000 - aside as u64);
    working.stop().await;
}

/// Events as lines of an archive.
fn archive(directory: &Path, events: impl IntoIterator<Item = Value>) -> String {
    let path = directory.join("events.json");
    std::fs::write(&path, events.into_iter().map(|event| format!("{event}\n")).collect::<String>()).unwrap();
    text(&path)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_redis_cannot_count_does_not_hold_up_the_others() {
    let (mut app, prefix) = (TestApp::new(), prefix());
    app.config.redis.host = Some(shared_server().into());
    app.config.redis.prefix = prefix.clone();
    app.config.redis.settle_delay = "50ms".parse().unwrap();
    let key = format!("{prefix}ph:open:2026-06-15");
    let mut redis = connect(&shared_server()).await;
    redis::cmd("LPUSH").arg(&key).arg("x").query_async::<i64>(&mut redis).await.unwrap();
    let days = ["2026-06-14", "2026-06-15", "2026-06-16"];
    // Two in a hundred are of the day in the middle.
    let day = |id| if id % 50 == 7 { days[1] } else { days[(id % 2) as usize * 2] };
    let events = archive(app.directory(), (0..1_000).map(|id| opened(id, day(id))));
    let mut running = app.start(app.replay_of([events])).await;
    let open = async |day: &str| -> u64 {
        let field = redis::cmd("HGET").arg(format!("{prefix}daily_open_{YEAR}")).arg(day).to_owned();
        field.query_async::<Option<u64>>(&mut redis.clone()).await.unwrap().unwrap_or_default()
    };
    eventually("the other days", async || open(days[0]).await + open(days[2]).await == 980).await;
    assert_eq!(open(days[1]).await, 0);
    redis::cmd("DEL").arg(&key).query_async::<i64>(&mut redis.clone()).await.unwrap();
    running.replayed().await.unwrap().unwrap();
    assert_eq!(open(days[1]).await, 20);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_history_refuses_does_not_hold_up_999_others() {
    let (mut app, database) = (TestApp::new(), Database::new().await);
    database.configure(&mut app.config, true);
    app.config.disable.interval = true;
    // Makes the table, which then has a partition for each year but one.
    app::history(&app.config, &app.clock).unwrap().recount(YEAR).await.unwrap();
    database
        .run(&[
            "ALTER TABLE github_events DROP PRIMARY KEY, ADD PRIMARY KEY (id, created_at, event_year)",
            "ALTER TABLE github_events PARTITION BY LIST (event_year) (PARTITION p2026 VALUES IN (2026))",
        ])
        .await;
    let day = |id| if id == 421 { "2019-06-15" } else { "2026-06-15" };
    let events = archive(app.directory(), (0..1_000).map(|id| opened(id, day(id))));
    let mut running = app.start(app.replay_of([events])).await;
    let rows = async || database.number("SELECT COUNT(*) FROM github_events").await;
    eventually("the neighbours", async || rows().await == 999).await;
    database.run(&["ALTER TABLE github_events ADD PARTITION (PARTITION p2019 VALUES IN (2019))"]).await;
    running.replayed().await.unwrap().unwrap();
    assert_eq!(rows().await, 1_000);
    running.stop().await;
    // It was counted at once, and only once.
    assert_eq!(app.stats(2019).await["sum"]["dev"], 1);
    assert_eq!(app.stats(YEAR).await["sum"]["dev"], 999);
}
