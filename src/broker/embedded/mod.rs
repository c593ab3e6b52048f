//! The broker on this machine's disk: a segmented log, one writer thread, a cursor for the subscription.
//!
//! A record of the log is a compressed batch of messages; a message's id is its offset, counted in messages from
//! the first one ever published. Publishing returns after `fdatasync`, which batches waiting together share. Retries
//! wait in a table beside the log, dead letters in a log of their own.

mod cursor;
mod delayed;
mod letters;
mod log;
mod record;
mod segment;
mod subscription;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Broker, BrokerError, Consumer, DeadLetter, DeadLetters, MessageBatch, Producer, Retry};
use crate::clock::Clock;
use crate::storage::Storage;
use delayed::Delayed;
use letters::Shelf;
pub use log::{LogOptions, TopicLog};
use subscription::Subscription;

/// Room for dead letters; at this size the oldest give way.
const DEAD_LETTER_BYTES: u64 = 1 << 30;

/// The embedded broker.
pub struct EmbeddedBroker {
    topic: Arc<TopicLog>,
    dead_letters: Arc<TopicLog>,
    shelf: Arc<Shelf>,
    delayed: Arc<Delayed>,
    subscription: Arc<Subscription>,
    clock: Arc<dyn Clock>,
}

impl EmbeddedBroker {
    /// Opens the logs below `directory`; the cursor lies in `storage`.
    ///
    /// # Errors
    /// When the files cannot be opened or created. A torn tail is cut off and reported, never an error.
    pub fn open(
        directory: &Path,
        storage: &Storage,
        options: LogOptions,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, BrokerError> {
        let space = storage.space();
        // A backlog that filled the disk up to what workers need could never be worked off.
        let intake = space.for_intake();
        let topic = TopicLog::open(&directory.join("topic"), options.clone(), clock.clone(), intake)?;
        // Dead letters are kept until someone deals with them, or they take too much room: workers never wait for it.
        let kept = LogOptions { retention: None, limit_bytes: DEAD_LETTER_BYTES, ..options };
        let dead_letters =
            TopicLog::open(&directory.join("dead-letter"), kept, clock.clone(), space.clone())?;
        let shelf = Shelf::open(dead_letters.clone(), storage)?;
        let delayed = Arc::new(Delayed::open(storage, clock.clone())?);
        let subscription = Subscription::open(topic.clone(), delayed.clone(), storage)?;
        Ok(Self { topic, dead_letters, shelf, delayed, subscription, clock: clock.clone() })
    }
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        Ok(self.topic.clone())
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, BrokerError> {
        Ok(Box::new(self.subscription.join()))
    }

    async fn retry(&self, retries: Vec<Retry>) -> Result<(), BrokerError> {
        let delayed = self.delayed.clone();
        blocking(move || delayed.add(&retries)).await
    }

    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), BrokerError> {
        let letters = super::dead_letter::encode(&letters, self.clock.unix_millis(), usize::MAX);
        self.dead_letters.publish(letters).await
    }

    async fn dead_letters(&self) -> Result<Box<dyn DeadLetters>, BrokerError> {
        Ok(Box::new(self.shelf.read()))
    }

    async fn backlog(&self) -> Result<u64, BrokerError> {
        // In this order: a message is among the retries before it is settled in the log.
        let published = self.subscription.backlog();
        Ok(published + self.delayed.len())
    }

    async fn close(&self) -> Result<(), BrokerError> {
        self.subscription.close()?;
        self.topic.close();
        self.dead_letters.close();
        Ok(())
    }
}

#[async_trait]
impl Producer for TopicLog {
    async fn publish(&self, batch: MessageBatch) -> Result<(), BrokerError> {
        self.append(batch).await
    }
}

/// Runs `task` where it may block.
async fn blocking<T: Send + 'static>(
    task: impl FnOnce() -> Result<T, BrokerError> + Send + 'static,
) -> Result<T, BrokerError> {
    let joined = tokio::task::spawn_blocking(task).await;
    joined.unwrap_or_else(|error| Err(BrokerError::storage("run")(error)))
}
