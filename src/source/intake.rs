//! The way from any source to the broker: claims what is new, publishes it, and only then marks it as seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::alert::{Alerts, Subject};
use crate::archive::Recorder;
use crate::broker::{BatchBuilder, Broker, BrokerError, DeadLetter, MessageBatch, Producer};
use crate::dedup::{Claim, Dedup};
use crate::domain::github::message;
use crate::event::{EventKey, Rejection};
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::storage::StorageError;
use crate::telemetry::names;

/// A dead letter keeps this much of what was rejected, in bytes.
const DEAD_LETTER_BYTES: usize = 1 << 20;
/// How long the broker may still take to confirm, over all calls together, when shutdown has come. Workers and sockets need
/// the rest of the 30 s.
const GRACE: Duration = Duration::from_secs(5);

/// How long a confirmation is waited for before the events are published again: as long as their claim stands. It doubles
/// each time, so that a slow connection gets through.
const PATIENCE: Duration = Duration::from_secs(60);
const LONGEST_PATIENCE: Duration = Duration::from_secs(960);

/// Which source events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The GitHub Events API.
    GitHub,
    /// Archive files.
    Archive,
    /// The built-in sample.
    Sample,
    /// GitHub's webhooks.
    Webhook,
}

impl Origin {
    /// Its name as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::Archive => "archive",
            Self::Sample => "sample",
            Self::Webhook => "webhook",
        }
    }
}

/// An event that a source read, with its identity.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// What identifies it.
    pub key: EventKey,
    /// Its JSON as it came, checked to be one object.
    pub raw: Bytes,
}

/// Something that a source read and that is no event.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// Why.
    pub reason: Rejection,
    /// Where: a file and line, or a page and index.
    pub place: String,
    /// What was read.
    pub body: Bytes,
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Submitted {
    /// Events published and confirmed.
    pub published: u64,
    /// Events that were known.
    pub duplicates: u64,
    /// What went to the dead letters.
    pub rejected: u64,
}

impl Submitted {
    /// Adds another submission's counts.
    pub fn add(&mut self, other: Self) {
        self.published += other.published;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
    }
}

/// Why a submission was given up. What was not confirmed is won again at its next sighting.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Shutdown came while the broker could not be reached.
    #[error("stopped before the broker confirmed")]
    Stopped,
    /// The broker refused for good.
    #[error("the broker refused the events")]
    Broker(#[from] BrokerError),
    /// The claims cannot be read or written.
    #[error("the memory of published events failed")]
    Dedup(#[from] StorageError),
}

impl IntakeError {
    /// Whether this process cannot publish any more, so that only a new one could succeed.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Stopped => false,
            Self::Broker(error) => matches!(error, BrokerError::Closed),
            Self::Dedup(error) => !error.is_retryable(),
        }
    }
}

/// One source's way to the broker.
pub struct Intake {
    origin: Origin,
    dedup: Arc<Dedup>,
    broker: Arc<dyn Broker>,
    producer: Arc<dyn Producer>,
    /// Whether it was said that the broker does not confirm.
    refused: AtomicBool,
    alerts: Arc<Alerts>,
    /// Takes what was published for the archive, where one is written.
    recorder: Option<Recorder>,
    shutdown: Shutdown,
}

impl Intake {
    /// A producer of its own on `broker`; `alerts` hears of what it does not confirm.
    ///
    /// # Errors
    /// When the broker cannot give a producer.
    pub async fn new(
        origin: Origin,
        dedup: Arc<Dedup>,
        broker: Arc<dyn Broker>,
        alerts: Arc<Alerts>,
        shutdown: Shutdown,
    ) -> Result<Self, BrokerError> {
        let producer = broker.producer().await?;
        let (refused, recorder) = (AtomicBool::new(false), None);
        Ok(Self { origin, dedup, broker, producer, refused, alerts, recorder, shutdown })
    }

    /// Also hands to `recorder` what the broker confirmed.
    #[must_use]
    pub fn recorded(mut self, recorder: Option<Recorder>) -> Self {
        self.recorder = recorder;
        self
    }

    /// Publishes those of `candidates` that are new, in their order, and sends `rejected` to the dead letters.
    /// Retries until the broker confirms; concurrent calls keep the order in which they were first polled.
    ///
    /// # Errors
    /// On shutdown, or when the claims or the broker fail for good.
    pub async fn submit(
        &self,
        mut candidates: Vec<Candidate>,
        mut rejected: Vec<Rejected>,
    ) -> Result<Submitted, IntakeError> {
        let polled = candidates.len() as u64;
        metrics::counter!(names::POLLED, "source" => self.origin.label()).increment(polled);
        self.reject_too_long(&mut candidates, &mut rejected);
        let offered = candidates.len() as u64;
        let keys: Vec<_> = candidates.iter().map(|candidate| candidate.key).collect();
        let claims = self.dedup.claim(&keys)?;
        let bytes = candidates.iter().map(|candidate| candidate.raw.len() + 32).sum();
        let mut batch = BatchBuilder::with_capacity(bytes);
        let mut won = Won { dedup: &self.dedup, keys: Vec::with_capacity(keys.len()) };
        for (candidate, claim) in candidates.iter().zip(claims) {
            if claim == Claim::Won {
                batch.push(&[message::PREFIX, &candidate.raw, message::SUFFIX]);
                won.keys.push(candidate.key);
            }
        }
        drop(candidates);
        let batch = batch.build();
        let submitted = Submitted {
            published: won.keys.len() as u64,
            duplicates: offered - won.keys.len() as u64,
            rejected: rejected.len() as u64,
        };
        metrics::counter!(names::DUPLICATE).increment(submitted.duplicates);
        self.publish(batch.clone(), rejected).await?;
        self.dedup.confirm(&std::mem::take(&mut won.keys))?;
        if let Some(recorder) = &self.recorder {
            // The batch holds what was published, and nothing else.
            let messages: Vec<_> = (0..batch.len()).filter_map(|index| batch.get(index)).collect();
            recorder.record(messages.iter().filter_map(|message| message::unwrap(message)));
        }
        metrics::counter!(names::PUBLISHED).increment(submitted.published);
        Ok(submitted)
    }

    /// What the broker would refuse for good goes to the dead letters, so that it never stands in the way.
    fn reject_too_long(&self, candidates: &mut Vec<Candidate>, rejected: &mut Vec<Rejected>) {
        let around = message::PREFIX.len() + message::SUFFIX.len();
        let limit = self.producer.max_message_bytes().saturating_sub(around);
        let too_long = candidates.extract_if(.., |candidate| candidate.raw.len() > limit);
        rejected.extend(too_long.map(|Candidate { key, raw }| Rejected {
            reason: Rejection::TooLong,
            place: format!("event {} of {} bytes", key.id, raw.len()),
            body: raw,
        }));
    }

    async fn publish(&self, batch: MessageBatch, rejected: Vec<Rejected>) -> Result<(), IntakeError> {
        if !batch.is_empty() {
            self.until_confirmed(|| self.producer.publish(batch.clone())).await?;
        }
        if !rejected.is_empty() {
            let mut reasons: HashMap<Rejection, u64> = HashMap::new();
            rejected.iter().for_each(|rejected| *reasons.entry(rejected.reason).or_default() += 1);
            let letters: Vec<_> = rejected.into_iter().map(dead_letter).collect();
            self.until_confirmed(|| self.broker.dead_letter(letters.clone())).await?;
            for (reason, count) in reasons {
                metrics::counter!(names::DEAD_LETTERED, "reason" => reason.label()).increment(count);
            }
        }
        Ok(())
    }

    /// Repeats `publish` with backoff until it succeeds, shutdown comes, or it fails for good. What a broker that does
    /// not answer has not confirmed soon after shutdown was not promised, and is offered again.
    async fn until_confirmed<F>(&self, publish: impl Fn() -> F) -> Result<(), IntakeError>
    where
        F: Future<Output = Result<(), BrokerError>>,
    {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        let mut patience = PATIENCE;
        let overdue = self.shutdown.clone().overdue(GRACE);
        tokio::pin!(overdue);
        loop {
            let answer = tokio::select! {
                biased;
                answer = tokio::time::timeout(patience, publish()) => answer,
                () = &mut overdue => return Err(IntakeError::Stopped),
            };
            let silent = answer.is_err();
            let answer = answer.unwrap_or_else(|_| {
                let error = format!("no confirmation within {} s", patience.as_secs());
                patience = (2 * patience).min(LONGEST_PATIENCE);
                Err(BrokerError::storage("publish")(error))
            });
            match answer {
                Ok(()) => {
                    if self.refused.swap(false, Ordering::Relaxed) {
                        tracing::info!("the broker confirms again");
                    }
                    return Ok(());
                }
                Err(error) if !error.is_retryable() => return Err(error.into()),
                Err(error) => {
                    let error = crate::error_chain(&error);
                    // Said here, once for all calls: the same subject works again whenever a worker receives something.
                    if !self.refused.swap(true, Ordering::Relaxed) {
                        tracing::warn!(error, "the broker does not confirm, trying again");
                    }
                    // What took all of its patience lasts, and comes too seldom to pass a tolerance.
                    if silent {
                        self.alerts.tell(Subject::Broker, &error);
                    } else {
                        self.alerts.count(Subject::Broker, &error);
                    }
                    if !self.shutdown.clone().sleep(backoff.next_delay()).await {
                        return Err(IntakeError::Stopped);
                    }
                }
            }
        }
    }
}

/// Events that were won. Those that are not taken out of it before its end are anybody's again: their submission failed, or
/// was given up by whoever waited for it.
struct Won<'a> {
    dedup: &'a Dedup,
    keys: Vec<EventKey>,
}

impl Drop for Won<'_> {
    fn drop(&mut self) {
        self.dedup.release(&self.keys);
    }
}

fn dead_letter(rejected: Rejected) -> DeadLetter {
    let kept = rejected.body.len().min(DEAD_LETTER_BYTES);
    DeadLetter {
        reason: rejected.reason.to_string(),
        origin: rejected.place,
        attempts: 1,
        whole_bytes: rejected.body.len(),
        body: rejected.body.slice(..kept),
    }
}
