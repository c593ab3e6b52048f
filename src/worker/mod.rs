//! The consuming side of the pipeline: decode → enrich → project → apply → live → persist → history → settle, by any
//! number of workers.

mod decode;
mod effect;
mod enrichment;
mod isolate;
mod learned;
mod live;
mod live_topic;
mod turn;

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::FuturesOrdered;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::alert::{Alerts, Subject};
use crate::broker::{Broker, BrokerError, Consumer, DeadLetter, Message, MessageId};
use crate::clock::Clock;
use crate::domain::github::row::Row;
use crate::event::EventKey;
use crate::history::History;
use crate::history::seed::Seeder;
use crate::mutation::Mutation;
use crate::retry::{Backoff, Failure};
use crate::shutdown::Shutdown;
use crate::state::{Receipt, State};
use crate::status::Status;
use crate::telemetry::names;
use decode::{Decoded, Decoding, decode};
use enrichment::Again;
pub use enrichment::{ASK_AGAIN, Enrichment, Observer};
pub use isolate::{IN_A_ROW, PAUSES, Refusals};
use learned::Learned;
pub use live::Live;
pub use live_topic::LiveTopic;
pub use turn::Turn;

/// Messages received at once: enough to share a commit and to fill the history's statements, few enough that a batch
/// takes milliseconds. The state gets them in as many calls as it asks for.
const BATCH_MESSAGES: usize = 1_000;

/// Messages that one worker applied and that are not on the state's disk, or not in history yet; at this many it stops
/// receiving. Divided by Redis's `settleDelay` it is a limit of the throughput. Pulsar stops delivering at 50,000
/// unacknowledged messages of a consumer.
const MAX_HELD: usize = 40_000;
/// Bytes of those messages, which are kept where history may still refuse some of them, and of the copies of some.
const MAX_HELD_BYTES: usize = 32 << 20;

/// Messages that one worker holds while it is asked for what their events lack; at this many it stops receiving, and the
/// broker keeps the rest.
const MAX_ENRICHING: usize = 2_000;
/// Bytes of those messages.
const MAX_ENRICHING_BYTES: usize = 32 << 20;

/// How long engines may still take, over all calls together, when shutdown has come. What is not done by then is delivered
/// again.
const GRACE: Duration = Duration::from_secs(10);

/// A batch between its application and its settlement.
#[derive(Default)]
struct Batch {
    ids: Vec<MessageId>,
    mutations: Vec<Mutation>,
    /// Bytes of `messages` and `copies` when it was applied.
    bytes: usize,
    /// What others know of its events.
    learned: Learned,
    /// Copies of what is to be asked for again.
    copies: Vec<Again>,
    /// What it was made of; empty where history is not written, which alone may still refuse some of it.
    messages: Vec<Message>,
    /// What history gets; empty where it is not written.
    rows: Vec<Row>,
    /// Those of its events that lost to their twin, as of when it was last applied: history gets nothing of them.
    lost: HashSet<EventKey>,
    /// Its messages that were no dead letters.
    events: u64,
    /// When its newest event happened, in Unix seconds.
    newest: Option<i64>,
}

/// A batch that was applied, or one without a receipt that is with the broker again.
type Part = (Batch, Option<Receipt>);

/// Why an engine cannot be used any more.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;

/// Why a worker stops consuming.
#[derive(Debug)]
enum Stop {
    /// It was asked to.
    Shutdown,
    /// The consumer failed; another one may work.
    Consumer(BrokerError),
    /// An engine refuses what it was given, and may take something else.
    Refused(Broken),
    /// An event that had lost to its twin has won now, so that it is to be shown: what is not settled is delivered again.
    Again,
    /// An engine failed, and trying again would not help.
    Broken(Broken),
}

impl From<BrokerError> for Stop {
    fn from(error: BrokerError) -> Self {
        Self::Consumer(error)
    }
}

/// What workers share.
#[derive(Clone)]
pub struct Worker {
    /// Where messages come from.
    pub broker: Arc<dyn Broker>,
    /// What they change.
    pub state: Arc<dyn State>,
    /// Who knows what events do not say of their pull requests; absent where nobody is asked.
    pub enrichment: Option<Enrichment>,
    /// Where every event is written, too; absent where it is not.
    pub history: Option<Arc<dyn History>>,
    /// Who takes a year's counts over from history before its first event is applied; absent without a history.
    pub seeder: Option<Arc<Seeder>>,
    /// Where they are shown.
    pub live: Live,
    /// Who is told how far behind the workers are.
    pub status: Arc<Status>,
    /// Who hears of engines that fail.
    pub alerts: Arc<Alerts>,
    /// What engines have refused.
    pub refusals: Arc<Refusals>,
    /// Who may write into history.
    pub turn: Arc<Turn>,
    /// How long a refused message waits after each attempt but the last: [`PAUSES`] outside tests.
    pub pauses: &'static [Duration],
    /// The time of arrival.
    pub clock: Arc<dyn Clock>,
    /// Events older than this, in seconds, are counted but not sent live; `None` sends all. Read for each batch.
    pub live_max_age: watch::Receiver<Option<i64>>,
    /// Whether events of the feed may have a twin that comes by a webhook. Those that came by one always may.
    pub twins: bool,
}

impl Worker {
    /// Works until shutdown, then finishes and settles what it holds. Failures that may pass are retried.
    ///
    /// # Errors
    /// When an engine cannot be used any more by this process.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), Broken> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        while !shutdown.is_triggered() {
            match self.consume(&mut shutdown, &mut backoff).await {
                Ok(()) | Err(Stop::Shutdown) => return Ok(()),
                Err(Stop::Broken(broken)) => return Err(broken),
                Err(Stop::Again) => drop(shutdown.sleep(backoff.next_delay()).await),
                // A batch that was applied and got lost; delivered again it is applied in parts.
                Err(Stop::Refused(error)) => {
                    self.alerts.failed(Subject::State, error.as_ref());
                    shutdown.sleep(backoff.next_delay()).await;
                }
                Err(Stop::Consumer(error)) => {
                    self.alerts.failed(Subject::Broker, &error);
                    shutdown.sleep(backoff.next_delay()).await;
                }
            }
        }
        Ok(())
    }

    /// Consumes until shutdown or until something fails.
    async fn consume(&self, shutdown: &mut Shutdown, backoff: &mut Backoff) -> Result<(), Stop> {
        let mut consumer = self.broker.consumer().await?;
        // One batch at a time is applied, so that a worker keeps the order; behind it any number become durable. They are
        // tasks: a future that is not polled meanwhile, and has a lock or is next for one, could stop the worker for ever.
        let mut waiting = VecDeque::new();
        let mut applying: OptionFuture<BoxFuture<'_, Result<Vec<Part>, Stop>>> = None.into();
        let mut applied: JoinSet<Result<Batch, Stop>> = JoinSet::new();
        let (mut idle, mut held, mut held_bytes) = (true, 0, 0);
        // While they wait for what their events lack, others are received: each of them waits no longer than it must. They
        // go on in the order in which they came.
        let (mut enriching, mut enriching_messages, mut enriching_bytes) = (FuturesOrdered::new(), 0, 0);
        loop {
            if idle && let Some(decoded) = waiting.pop_front() {
                let next: BoxFuture<'_, _> = Box::pin(self.apply_around(decoded, shutdown.clone()));
                (applying, idle) = (Some(next).into(), false);
            }
            tokio::select! {
                biased;
                Some(durable) = applied.join_next() => {
                    let batch = joined(durable)?;
                    held -= batch.ids.len();
                    held_bytes -= batch.bytes;
                    self.settle(batch, consumer.as_mut()).await?;
                }
                Some(done) = &mut applying => {
                    (applying, idle) = (None.into(), true);
                    for (batch, receipt) in done? {
                        held += batch.ids.len();
                        held_bytes += batch.bytes;
                        applied.spawn(self.clone().make_durable(batch, receipt, shutdown.clone()));
                    }
                }
                () = shutdown.triggered(), if idle => break,
                Some((decoded, messages, bytes)) = enriching.next(), if idle => {
                    enriching_messages -= messages;
                    enriching_bytes -= bytes;
                    waiting = decoded;
                }
                received = consumer.receive(BATCH_MESSAGES), if idle
                    && held < MAX_HELD && held_bytes < MAX_HELD_BYTES
                    && enriching_messages < MAX_ENRICHING && enriching_bytes < MAX_ENRICHING_BYTES =>
                {
                    let received = received?;
                    backoff.reset();
                    self.alerts.recovered(Subject::Broker);
                    let messages = received.len();
                    let bytes: usize = received.iter().map(|message| message.payload.len()).sum();
                    enriching_messages += messages;
                    enriching_bytes += bytes;
                    let decoded = self.decode_enriched(received);
                    enriching.push_back(async move { (VecDeque::from(decoded.await), messages, bytes) });
                }
            }
        }
        while let Some(durable) = applied.join_next().await {
            self.settle(joined(durable)?, consumer.as_mut()).await?;
        }
        Ok(())
    }

    /// Batches as large as the state takes them.
    fn decode(&self, messages: Vec<Message>, learned: Learned) -> Vec<Decoded> {
        decode(messages, &self.decoding(learned))
    }

    fn decoding(&self, learned: Learned) -> Decoding {
        Decoding {
            limit: self.state.batch_limit(),
            now: self.clock.unix_seconds(),
            live_max_age: *self.live_max_age.borrow(),
            rows: self.history.is_some(),
            twins: self.twins,
            learned,
        }
    }

    /// Repeats `attempt` with backoff until it succeeds, shutdown comes, only a new process could succeed, or the engine
    /// blames what it was given.
    async fn retry<T, E, F>(
        &self,
        shutdown: &mut Shutdown,
        subject: Subject,
        attempt: impl Fn() -> F,
    ) -> Result<T, Stop>
    where
        E: Failure + Send + Sync + 'static,
        F: Future<Output = Result<T, E>>,
    {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        let overdue = shutdown.clone().overdue(GRACE);
        tokio::pin!(overdue);
        loop {
            if let Some(value) = self.attempt(subject, attempt(), overdue.as_mut()).await? {
                return Ok(value);
            }
            if !shutdown.sleep(backoff.next_delay()).await {
                return Err(Stop::Shutdown);
            }
        }
    }

    /// Makes one attempt; `None` where it failed and may be made again.
    async fn attempt<T, E>(
        &self,
        subject: Subject,
        attempt: impl Future<Output = Result<T, E>>,
        overdue: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<T>, Stop>
    where
        E: Failure + Send + Sync + 'static,
    {
        let result = tokio::select! {
            biased;
            result = attempt => result,
            () = overdue => return Err(Stop::Shutdown),
        };
        match result {
            Ok(value) => {
                self.alerts.recovered(subject);
                Ok(Some(value))
            }
            Err(error) if error.is_fatal() => Err(Stop::Broken(Box::new(error))),
            Err(error) if error.blames_data() && self.refusals.may_blame_data(subject) => {
                Err(Stop::Refused(Box::new(error)))
            }
            Err(error) => {
                self.alerts.failed(subject, &error);
                Ok(None)
            }
        }
    }

    async fn settle(&self, batch: Batch, consumer: &mut dyn Consumer) -> Result<(), BrokerError> {
        consumer.settle(&batch.ids).await?;
        metrics::counter!(names::APPLIED).increment(batch.events);
        if let Some(newest) = batch.newest {
            let lag = self.clock.unix_seconds() - newest;
            self.status.set_lag_seconds(lag);
            metrics::gauge!(names::LAG).set(lag as f64);
        }
        Ok(())
    }

    async fn dead_letter(&self, letters: Vec<(&'static str, DeadLetter)>) -> Result<u64, BrokerError> {
        let labels: Vec<_> = letters.iter().map(|(label, _)| *label).collect();
        if letters.is_empty() {
            return Ok(0);
        }
        let letters: Vec<_> = letters.into_iter().map(|(_, letter)| letter).collect();
        let first = letters.first().map(|letter| (letter.reason.clone(), letter.origin.clone()));
        self.broker.dead_letter(letters).await?;
        // The first of a batch stands for its neighbours: they are all in the dead letters.
        if let Some((reason, origin)) = first {
            tracing::warn!(reason, origin, letters = labels.len(), "messages went to the dead letters");
        }
        for label in &labels {
            metrics::counter!(names::DEAD_LETTERED, "reason" => *label).increment(1);
        }
        Ok(labels.len() as u64)
    }
}

/// What a task came to. Tasks are never cancelled but with their worker, so it panicked otherwise.
fn joined(task: Result<Result<Batch, Stop>, JoinError>) -> Result<Batch, Stop> {
    task.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(Stop::Shutdown),
    })
}
