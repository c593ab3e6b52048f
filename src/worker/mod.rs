//! The consuming side of the pipeline: decode → project → apply → live → persist → history → settle, by any number of
//! workers.

mod decode;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};

use crate::alert::{Alerts, Subject};
use crate::broker::{Broker, BrokerError, Consumer, DeadLetter, Message, MessageId};
use crate::clock::Clock;
use crate::domain::github::row::Row;
use crate::history::History;
use crate::history::seed::Seeder;
use crate::live::{Feed, LiveBatch};
use crate::mutation::{Mutation, Numbers};
use crate::retry::{Backoff, Failure};
use crate::shutdown::Shutdown;
use crate::state::{Applied, Receipt, State, StateError};
use crate::status::Status;
use crate::telemetry::names;
use decode::{Decoded, decode};

/// Messages received at once, or as many as the state takes with one call: enough to share a commit, few enough that
/// a batch takes milliseconds.
const BATCH_MESSAGES: usize = 1_000;

/// Messages that one worker applied and that are not on the state's disk, or not in history yet; at this many it stops
/// receiving. With four workers it stays below the 50,000 unacknowledged messages at which Pulsar stops delivering.
const MAX_HELD: usize = 10_000;

/// How long an engine may still take over a call when shutdown has come. What is not done by then is delivered again.
const GRACE: Duration = Duration::from_secs(10);

/// A batch between its application and its settlement.
struct Batch {
    ids: Vec<MessageId>,
    mutations: Vec<Mutation>,
    /// What history gets; empty where it is not written.
    rows: Vec<Row>,
    /// Its messages that were no dead letters.
    events: u64,
    /// When its newest event happened, in Unix seconds.
    newest: Option<i64>,
}

/// Why an engine cannot be used any more.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;

/// Why a worker stops consuming.
enum Stop {
    /// It was asked to.
    Shutdown,
    /// The consumer failed; another one may work.
    Consumer(BrokerError),
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
    /// Where every event is written, too; absent where it is not.
    pub history: Option<Arc<dyn History>>,
    /// Who takes a year's counts over from history before its first event is applied; absent without a history.
    pub seeder: Option<Arc<Seeder>>,
    /// Who sees them.
    pub feed: Arc<Feed>,
    /// Who is told how far behind the workers are.
    pub status: Arc<Status>,
    /// Who hears of engines that fail.
    pub alerts: Arc<Alerts>,
    /// The time of arrival.
    pub clock: Arc<dyn Clock>,
    /// Events older than this, in seconds, are counted but not sent live; `None` sends all.
    pub live_max_age: Option<i64>,
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
        // Tasks: what waits for an engine is polled also while the next batch is applied. A future that is not, and has a
        // lock or is next for one, would let that batch wait for ever.
        let mut applied: JoinSet<Result<Batch, Stop>> = JoinSet::new();
        let mut held = 0;
        let batch_messages = self.state.batch_limit().min(BATCH_MESSAGES);
        loop {
            tokio::select! {
                biased;
                Some(durable) = applied.join_next() => {
                    let batch = joined(durable)?;
                    held -= batch.ids.len();
                    self.settle(batch, consumer.as_mut()).await?;
                }
                () = shutdown.triggered() => break,
                received = consumer.receive(batch_messages), if held < MAX_HELD => {
                    let received = received?;
                    backoff.reset();
                    self.alerts.recovered(Subject::Broker);
                    let (batch, receipt) = self.apply(received, shutdown).await?;
                    held += batch.ids.len();
                    let (worker, shutdown) = (self.clone(), shutdown.clone());
                    applied.spawn(async move { worker.make_durable(batch, receipt, shutdown).await });
                }
            }
        }
        while let Some(durable) = applied.join_next().await {
            self.settle(joined(durable)?, consumer.as_mut()).await?;
        }
        Ok(())
    }

    /// Applies one batch and shows it. What is not settled when this fails is delivered again.
    async fn apply(&self, messages: Vec<Message>, shutdown: &mut Shutdown) -> Result<(Batch, Receipt), Stop> {
        let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
        let now = self.clock.unix_millis();
        let mut decoded = decode(&messages, now.div_euclid(1000), self.live_max_age, self.history.is_some());
        drop(messages);
        let rejected =
            self.retry(shutdown, Subject::Broker, || self.dead_letter(decoded.dead_letters())).await?;
        let mutations: Vec<Mutation> = decoded.mutations();
        let started = Instant::now();
        let applied = self.apply_until_done(&mutations, shutdown).await?;
        metrics::histogram!(names::APPLY_SECONDS).record(started.elapsed());
        let batch = Batch {
            events: ids.len() as u64 - rejected,
            ids,
            mutations,
            rows: decoded.take_rows(),
            newest: decoded.newest(),
        };
        let receipt = applied.receipt;
        self.feed.publish(live_batch(decoded, applied));
        Ok((batch, receipt))
    }

    /// Waits until a batch is on the state's disk, applying it again where the state may have lost it, and then in
    /// history.
    async fn make_durable(
        &self,
        batch: Batch,
        mut receipt: Receipt,
        mut shutdown: Shutdown,
    ) -> Result<Batch, Stop> {
        loop {
            let persisted = self.retry(&mut shutdown, Subject::State, || async {
                match self.state.persist(receipt).await {
                    Err(StateError::Lost) => Ok(false),
                    result => result.map(|()| true),
                }
            });
            if persisted.await? && self.keep(&batch, receipt, &mut shutdown).await? {
                return Ok(batch);
            }
            receipt = self.apply_until_done(&batch.mutations, &mut shutdown).await?.receipt;
        }
    }

    /// Writes a batch into history, where that is done. `false` where the state's counts were lost or replaced since it
    /// was applied: a seed may have read history before the batch was there.
    async fn keep(&self, batch: &Batch, receipt: Receipt, shutdown: &mut Shutdown) -> Result<bool, Stop> {
        let Some(history) = &self.history else { return Ok(true) };
        self.retry(shutdown, Subject::History, || history.write(&batch.rows)).await?;
        let held = self.retry(shutdown, Subject::State, || self.state.holds(receipt)).await?;
        if held {
            metrics::counter!(names::HISTORY_WRITTEN).increment(batch.rows.len() as u64);
        }
        Ok(held)
    }

    /// Repeats `attempt` with backoff until it succeeds, shutdown comes, or only a new process could succeed.
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
        let mut ending = shutdown.clone();
        let overdue = async {
            ending.triggered().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::pin!(overdue);
        loop {
            let result = tokio::select! {
                result = attempt() => result,
                () = &mut overdue => return Err(Stop::Shutdown),
            };
            match result {
                Ok(value) => {
                    self.alerts.recovered(subject);
                    return Ok(value);
                }
                Err(error) if error.is_fatal() => return Err(Stop::Broken(Box::new(error))),
                Err(error) => self.alerts.failed(subject, &error),
            }
            if !shutdown.sleep(backoff.next_delay()).await {
                return Err(Stop::Shutdown);
            }
        }
    }

    /// Applies with the time of each attempt: languages count in the second in which they arrive, and readers look
    /// back for a few seconds only. Waits for the seeds of the batch's years.
    async fn apply_until_done(
        &self,
        mutations: &[Mutation],
        shutdown: &mut Shutdown,
    ) -> Result<Applied, Stop> {
        loop {
            let applied = self.retry(shutdown, Subject::State, || async {
                match (self.state.apply(mutations.to_vec(), self.clock.unix_millis()).await, &self.seeder) {
                    (Err(StateError::Unseeded { year }), Some(seeder)) => Ok(Err((year, seeder))),
                    (result, _) => result.map(Ok),
                }
            });
            let (year, seeder) = match applied.await? {
                Ok(applied) => return Ok(applied),
                Err(unseeded) => unseeded,
            };
            if !seeder.ensure(year, shutdown).await {
                return Err(Stop::Shutdown);
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
        // The first of a batch stands for its neighbours: they are all in the dead letters.
        if let Some(DeadLetter { reason, origin, .. }) = letters.first() {
            tracing::warn!(reason, origin, letters = letters.len(), "messages went to the dead letters");
        }
        self.broker.dead_letter(letters).await?;
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

/// What the live feed gets of a batch: every shown event with its numbers.
fn live_batch(decoded: Decoded, applied: Applied) -> LiveBatch {
    let mut numbers = applied.numbers.into_iter();
    let events = decoded.into_samples().map(|(key, counts, sample)| {
        let numbers = if counts { numbers.next().unwrap_or_default() } else { Numbers::default() };
        sample.map(|mut sample| {
            sample.numbers = numbers;
            (key, sample)
        })
    });
    LiveBatch { seq: applied.seq, events: events.flatten().collect() }
}
