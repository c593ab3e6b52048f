//! A topic that every reader sees whole: no subscription outlives its reader, and nothing is acknowledged for others.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use pulsar::proto::MessageIdData;
use tokio::sync::{mpsc, oneshot};

use super::connection::{ClientConsumer, Connector, failure};
use super::producer::{Publishing, PulsarProducer};
use super::topic::TopicName;
use crate::broker::{Broadcast, BrokerError, Producer, Reader};
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::telemetry::names;

/// Messages handed over at once,
const READ_MESSAGES: usize = 1_000;
/// and how often that may wait for a reader that is slow. Then it is the broker that waits.
const READS: usize = 4;
/// A consumer that got nothing for so long is made again: the client can lose one without a word, and as it begins
/// where the last one ended, nothing is lost by it.
const QUIET: Duration = Duration::from_secs(10);

/// A topic for everyone.
pub struct PulsarBroadcast {
    pub(super) connector: Arc<Connector>,
    pub(super) topic: TopicName,
    pub(super) retries: u32,
    pub(super) shutdown: Shutdown,
}

#[async_trait]
impl Broadcast for PulsarBroadcast {
    async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        let publishing = Publishing {
            connector: self.connector.clone(),
            topic: self.topic.clone(),
            subscription: None,
            batched: true,
            outstanding: None,
            retries: self.retries,
        };
        Ok(Arc::new(PulsarProducer::start(publishing, self.shutdown.clone())))
    }

    async fn reader(&self) -> Result<Box<dyn Reader>, BrokerError> {
        let (messages, receiver) = mpsc::channel(READS);
        let (placed, has_place) = oneshot::channel();
        let task = Task {
            connector: self.connector.clone(),
            topic: self.topic.clone(),
            messages,
            position: None,
            placed: Some(placed),
            shutdown: self.shutdown.clone(),
        };
        tokio::spawn(task.run());
        // The task drops it where the broker is closed before Pulsar answers.
        has_place.await.map_err(|_| BrokerError::Closed)?;
        Ok(Box::new(PulsarReader(receiver)))
    }
}

/// What the task read.
struct PulsarReader(mpsc::Receiver<Vec<Bytes>>);

#[async_trait]
impl Reader for PulsarReader {
    async fn read(&mut self) -> Result<Vec<Bytes>, BrokerError> {
        self.0.recv().await.ok_or(BrokerError::Closed)
    }
}

/// A message's place in the topic; the last of its entry where the index is the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    /// -1 in a topic that never held anything.
    ledger: i64,
    /// -1 in front of the first entry.
    entry: i64,
    index: i32,
}

impl Position {
    fn of(id: &MessageIdData) -> Self {
        Self {
            ledger: id.ledger_id.cast_signed(),
            entry: id.entry_id.cast_signed(),
            index: id.batch_index.unwrap_or_default(),
        }
    }

    /// Behind everything that the topic held when `id` was its last message.
    fn behind(id: &MessageIdData) -> Self {
        Self { index: i32::MAX, ..Self::of(id) }
    }

    /// From where the broker delivers. With an index it begins with the entry itself, for the reader may have seen
    /// only its first messages.
    fn start(self) -> MessageIdData {
        MessageIdData {
            ledger_id: self.ledger.cast_unsigned(),
            entry_id: self.entry.cast_unsigned(),
            batch_index: (self.index != i32::MAX).then_some(self.index),
            ..MessageIdData::default()
        }
    }
}

/// Reads until the reader or the broker is gone.
struct Task {
    connector: Arc<Connector>,
    topic: TopicName,
    messages: mpsc::Sender<Vec<Bytes>>,
    /// Up to where it has read; nothing before the first connection.
    position: Option<Position>,
    /// Told once there is a position, from which on nothing is missed.
    placed: Option<oneshot::Sender<()>>,
    shutdown: Shutdown,
}

/// Why a connection is not used any more.
enum End {
    /// The reader or the broker is gone.
    Done,
    /// The client's consumer ended, or began again where it was made.
    Reconnect,
    /// Nothing came for a while.
    Quiet,
}

impl Task {
    async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut shutdown = self.shutdown.clone();
        let mut quiet = false;
        while !shutdown.is_triggered() && !self.messages.is_closed() {
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = shutdown.triggered() => return,
            };
            match connected {
                Ok(consumer) => {
                    // After a quiet time nothing was wrong, so that nothing is better now.
                    if !std::mem::take(&mut quiet) {
                        self.connector.is_back();
                    }
                    backoff.reset();
                    match self.follow(consumer).await {
                        End::Done => return,
                        End::Reconnect => {
                            metrics::counter!(names::RECONNECTS, "side" => "reader").increment(1);
                        }
                        End::Quiet => {
                            quiet = true;
                            continue;
                        }
                    }
                }
                Err(error) => self.connector.is_away(&error),
            }
            shutdown.sleep(backoff.next_delay()).await;
        }
    }

    /// A consumer behind what was read, or behind what the topic holds now.
    async fn connect(&mut self) -> Result<ClientConsumer, BrokerError> {
        let position = match self.position {
            Some(position) => position,
            None => *self.position.insert(self.end_of_topic().await?),
        };
        if let Some(placed) = self.placed.take() {
            // Whoever asked may be gone, as it will be found out below.
            let _ = placed.send(());
        }
        // With a place to begin at, the client's own reconnecting begins there too, and not behind what it missed.
        self.connector.read(&self.topic, Some(position.start())).await
    }

    async fn end_of_topic(&self) -> Result<Position, BrokerError> {
        let failure = || failure("read a topic of Pulsar");
        let mut consumer = self.connector.read(&self.topic, None).await?;
        let last = consumer.get_last_message_id().await.map_err(failure())?;
        consumer.close().await.map_err(failure())?;
        match &last[..] {
            [last] => Ok(Position::behind(last)),
            _ => Err(BrokerError::storage("read a topic of Pulsar")("it is partitioned, and must not be")),
        }
    }

    async fn follow(&mut self, mut consumer: ClientConsumer) -> End {
        let mut shutdown = self.shutdown.clone();
        let messages = self.messages.clone();
        let mut advanced = false;
        loop {
            let mut next = tokio::select! {
                next = consumer.next() => next,
                () = shutdown.triggered() => return End::Done,
                () = messages.closed() => return End::Done,
                () = tokio::time::sleep(QUIET) => return End::Quiet,
            };
            let mut read = Vec::new();
            let mut end = None;
            loop {
                match next {
                    Some(Ok(message)) => {
                        let position = Position::of(&message.message_id.id);
                        if self.position.is_none_or(|read| position > read) {
                            self.position = Some(position);
                            advanced = true;
                            read.push(Bytes::from(message.payload.data));
                        } else if advanced {
                            // The client reconnected by itself, and the broker repeats everything since the start.
                            end = Some(End::Reconnect);
                        }
                    }
                    Some(Err(error)) => {
                        tracing::warn!(%error, "Pulsar delivered something that cannot be read");
                    }
                    None => end = Some(End::Reconnect),
                }
                if end.is_some() || read.len() >= READ_MESSAGES {
                    break;
                }
                match consumer.next().now_or_never() {
                    Some(more) => next = more,
                    None => break,
                }
            }
            if !read.is_empty() && messages.send(read).await.is_err() {
                return End::Done;
            }
            if let Some(end) = end {
                return end;
            }
        }
    }
}
