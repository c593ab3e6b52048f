//! The topic between sources and workers: what any broker promises, whichever engine stands behind it.
//!
//! One topic, one subscription that all workers share, a retry topic and a dead-letter topic. `embedded` is a log on disk
//! in this process, `pulsar` a client of Apache Pulsar. The contract tests in `tests/it/contract` run on every backend.

mod batch;
pub mod dead_letter;
pub mod embedded;
pub mod pulsar;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::retry::Failure;
pub use batch::{BatchBuilder, MessageBatch};
pub use dead_letter::{DeadLetter, KeptLetter};

/// A topic with its subscription.
///
/// Guarantees:
/// - **At least once.** A message whose publish returned `Ok` is delivered until it is settled, across restarts.
/// - **Order.** With one consumer, messages of one producer arrive in the order of publishing, redeliveries aside.
/// - **Exclusive while in flight.** A message is with one consumer at a time. A consumer that is dropped gives back
///   what it has not settled, and another consumer gets it.
/// - **Retried in time.** A message whose `retry` returned `Ok` is delivered again to some consumer of the subscription,
///   not before its time, with its attempts and its origin, and from then on as any other: until it is settled, across
///   restarts. It counts into the backlog while it waits.
/// - **Bounded.** When there is no room for more backlog, `publish` and `retry` fail with a retryable error. A consumer
///   holds no more than it asked for and has not settled. Dead letters never fail for want of their own room on this machine:
///   there the oldest give way. While its disk is full they do fail, retryably.
#[async_trait]
pub trait Broker: Send + Sync {
    /// A handle for publishing. Handles are independent producers.
    async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError>;

    /// One more consumer on the shared subscription.
    async fn consumer(&self) -> Result<Box<dyn Consumer>, BrokerError>;

    /// Hands messages over to be delivered again later; durable on return. On an error some may have been taken.
    async fn retry(&self, retries: Vec<Retry>) -> Result<(), BrokerError>;

    /// Appends to the dead-letter topic; durable on return.
    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), BrokerError>;

    /// A way through the dead letters that are there now.
    async fn dead_letters(&self) -> Result<Box<dyn DeadLetters>, BrokerError>;

    /// Messages published or handed to `retry` and not yet settled, whoever did it. A broker that stores batches may
    /// estimate how many messages are in one; 0 is always exact.
    async fn backlog(&self) -> Result<u64, BrokerError>;

    /// Whether everything that this process published is settled. Where the backlog can be told, nothing of others is
    /// left either.
    async fn is_drained(&self) -> Result<bool, BrokerError> {
        Ok(self.backlog().await? == 0)
    }

    /// Makes settled positions durable and stops accepting messages.
    async fn close(&self) -> Result<(), BrokerError>;
}

/// A topic that each of its readers sees whole, however many there are.
///
/// Guarantees:
/// - A reader gets every message that was published after `reader` returned, in the order of the topic, and once;
///   across lost connections too, as far back as the broker keeps the topic.
/// - **Bounded.** A reader that is slow delays nobody and holds a few thousand messages.
#[async_trait]
pub trait Broadcast: Send + Sync {
    /// A handle for publishing.
    async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError>;

    /// One more reader; waits until the broker can be reached.
    async fn reader(&self) -> Result<Box<dyn Reader>, BrokerError>;
}

/// One that reads a [`Broadcast`].
#[async_trait]
pub trait Reader: Send {
    /// Waits for messages and returns at least one, oldest first. Cancel safe.
    async fn read(&mut self) -> Result<Vec<Bytes>, BrokerError>;
}

/// The publishing side of a topic.
#[async_trait]
pub trait Producer: Send + Sync {
    /// Publishes in order and returns once all of it is durable. On an error part of the batch may have been
    /// published: publishing it again is right, the state counts an event once.
    async fn publish(&self, batch: MessageBatch) -> Result<(), BrokerError>;

    /// The longest message that can be published; a batch with a longer one is refused for good.
    fn max_message_bytes(&self) -> usize {
        usize::MAX
    }
}

/// One member of the subscription.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for messages and returns at least one and at most `max`, oldest first. Cancel safe: what a cancelled
    /// call had taken is delivered again.
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BrokerError>;

    /// Declares messages of this consumer done: they are not delivered again, except that after a crash the last
    /// ones may be, and to another process those that were published in one batch with an unsettled one. Ids that are not this consumer's are ignored.
    async fn settle(&mut self, ids: &[MessageId]) -> Result<(), BrokerError>;
}

/// A way through the dead letters, from the oldest on.
#[async_trait]
pub trait DeadLetters: Send {
    /// The next letters, at most `max`; none at the end. What came after this way was opened may be left out.
    async fn next(&mut self, max: usize) -> Result<Vec<KeptLetter>, BrokerError>;

    /// Removes letters that `next` gave; the others stay. Durable on return, except that after a crash the last ones
    /// may be there again.
    async fn remove(&mut self, ids: &[MessageId]) -> Result<(), BrokerError>;
}

/// A message's place in its topic; only meaningful to the broker that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub u64);

/// A message as delivered.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its place.
    pub id: MessageId,
    /// Its bytes as published.
    pub payload: Bytes,
    /// How often it was delivered before, as far as this process knows.
    pub redeliveries: u32,
    /// How often it was tried before it was handed to `retry`; 0 when it never was.
    pub attempts: u32,
    /// Where it came from before it was handed to `retry`.
    pub origin: Option<Arc<str>>,
}

/// A message that is to be delivered again.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Its bytes.
    pub body: Bytes,
    /// How often it was tried.
    pub attempts: u32,
    /// When it may be delivered, in Unix milliseconds.
    pub not_before: i64,
    /// Where it came from first.
    pub origin: Arc<str>,
    /// Whether it only adds to a message that was settled by itself. A broker that bounds what waits refuses it while half
    /// of the room is taken: the rest is for messages that would be lost.
    pub is_extra: bool,
}

/// Why a broker could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The broker is closed or was told to close.
    #[error("the broker is closed")]
    Closed,
    /// The backlog has reached its limit.
    #[error("the backlog has reached its limit of {limit_bytes} bytes, workers do not keep up")]
    Full {
        /// The limit.
        limit_bytes: u64,
    },
    /// A message is longer than the broker takes.
    #[error("a message of {bytes} bytes is longer than the {limit_bytes} bytes that the broker takes")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The longest that is taken.
        limit_bytes: usize,
    },
    /// Nobody can be asked for the backlog.
    #[error("the backlog is not known without pulsar.adminUrl")]
    BacklogUnknown,
    /// The storage or the service below failed.
    #[error("cannot {action}")]
    Storage {
        /// What was being done.
        action: &'static str,
        /// What the storage said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl BrokerError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Closed | Self::TooLarge { .. } | Self::BacklogUnknown)
    }

    pub(crate) fn storage<E>(action: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Self::Storage { action, source: source.into() }
    }
}

impl Failure for BrokerError {
    fn is_fatal(&self) -> bool {
        false
    }
}
