//! A consumer on one topic: a client's consumer that is made again whenever it ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use pulsar::proto::MessageIdData;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Shared;
use super::connection::ClientConsumer;
use super::entry::{Entries, Entry, EntryKey};
use super::place::Place;
use super::retries::{Early, Header};
use crate::broker::{BrokerError, Consumer, Message, MessageId};
use crate::retry::Backoff;
use crate::telemetry::names;

/// Messages that one consumer holds at most: with what the client has prefetched fewer than the 50,000 unacknowledged
/// ones at which Pulsar stops a consumer. At 200,000 of a subscription it stops all of them until half are settled.
const MAX_UNSETTLED: usize = 44_000;
/// How long the rest of an entry is waited for, which the client has already unpacked.
const REST_OF_ENTRY: Duration = Duration::from_millis(50);
/// How long a consumer that goes may take to send its acknowledgements.
const LEAVE: Duration = Duration::from_secs(5);

/// A member of a subscription.
pub struct PulsarConsumer {
    shared: Arc<Shared>,
    place: Arc<Place>,
    link: Link,
    backoff: Backoff,
    entries: Entries,
    /// Came and was not handed out yet.
    ready: VecDeque<Message>,
    /// Came before its time.
    early: Early,
    /// When the last message came, or a stall was last looked for.
    quiet_since: Instant,
}

enum Link {
    Down {
        retry_at: Instant,
    },
    /// In a task, because the client does not bear a connection that is cancelled halfway.
    Connecting(JoinHandle<Result<ClientConsumer, BrokerError>>),
    Up(Box<ClientConsumer>),
}

impl PulsarConsumer {
    /// Connects with the first `receive`.
    pub fn new(shared: Arc<Shared>, place: Arc<Place>) -> Self {
        Self {
            place,
            entries: Entries::new(shared.returned.clone()),
            shared,
            link: Link::Down { retry_at: Instant::now() },
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            ready: VecDeque::new(),
            early: Early::default(),
            quiet_since: Instant::now(),
        }
    }

    /// Is connected already.
    pub fn connected(shared: Arc<Shared>, place: Arc<Place>, consumer: ClientConsumer) -> Self {
        let mut connected = Self::new(shared, place);
        connected.link = Link::Up(Box::new(consumer));
        connected
    }

    /// Connects until it works. Cancel safe.
    async fn connect(&mut self) {
        loop {
            match &mut self.link {
                Link::Up(_) => return,
                Link::Down { retry_at } => {
                    tokio::time::sleep_until(*retry_at).await;
                    let (shared, place) = (self.shared.clone(), self.place.clone());
                    self.link =
                        Link::Connecting(tokio::spawn(
                            async move { shared.connector.subscribe(&place).await },
                        ));
                }
                Link::Connecting(task) => {
                    let result = task.await.unwrap_or_else(|error| {
                        Err(BrokerError::storage("subscribe to a topic of Pulsar")(error))
                    });
                    match result {
                        Ok(consumer) => {
                            self.shared.connector.is_back();
                            self.quiet_since = Instant::now();
                            self.link = Link::Up(Box::new(consumer));
                        }
                        Err(error) => {
                            self.shared.connector.is_away(&error);
                            self.link = Link::Down { retry_at: Instant::now() + self.backoff.next_delay() };
                        }
                    }
                }
            }
        }
    }

    /// Gives up the client's consumer; the next `receive` makes another.
    fn disconnect(&mut self) {
        metrics::counter!(names::RECONNECTS, "side" => "consumer").increment(1);
        let down = Link::Down { retry_at: Instant::now() + self.backoff.next_delay() };
        if let Link::Up(consumer) = std::mem::replace(&mut self.link, down) {
            self.shared.leave(leave(*consumer));
        }
    }

    /// Takes what the client gives; says whether the entry it belongs to goes on.
    fn accept(&mut self, message: pulsar::consumer::Message<Vec<u8>>) -> bool {
        self.quiet_since = Instant::now();
        self.backoff.reset();
        let id = &message.message_id.id;
        let key =
            EntryKey { ledger: id.ledger_id, entry: id.entry_id, partition: id.partition.unwrap_or(-1) };
        let count = |number: i32| u32::try_from(number).ok();
        let size = message.payload.metadata.num_messages_in_batch.and_then(count).unwrap_or(1).max(1);
        let index = id.batch_index.and_then(count).unwrap_or(0);
        if let Some((id, redeliveries)) = self.entries.deliver(key, &message.topic, size, index) {
            let Header { attempts, not_before, origin } = Header::read(&message.payload.metadata.properties);
            let payload = Bytes::from(message.payload.data);
            let message = Message { id, payload, redeliveries, attempts, origin };
            self.ready.extend(self.early.keep(message, not_before));
        }
        self.entries.is_within(key)
    }

    /// Waits for the next messages and takes up to about `max`. Cancel safe: what came is in `ready`.
    async fn fill(&mut self, max: usize) {
        self.connect().await;
        let deadline = self.quiet_since + self.shared.stall_after;
        let Link::Up(consumer) = &mut self.link else { return };
        let Ok(mut next) = tokio::time::timeout_at(deadline, consumer.next()).await else {
            return self.look_for_stall().await;
        };
        loop {
            let within = match next {
                Some(Ok(message)) => self.accept(message),
                Some(Err(error)) => {
                    // The client passes on what it cannot unpack without saying which message it is.
                    tracing::warn!(%error, "Pulsar delivered something that cannot be read");
                    false
                }
                None => return self.disconnect(),
            };
            if self.ready.len() >= max || self.entries.unsettled() >= MAX_UNSETTLED {
                return;
            }
            let Link::Up(consumer) = &mut self.link else { return };
            next = match consumer.next().now_or_never() {
                Some(next) => next,
                None if within => match tokio::time::timeout(REST_OF_ENTRY, consumer.next()).await {
                    Ok(next) => next,
                    Err(_) => return,
                },
                None => return,
            };
        }
    }

    /// Makes the consumer again when the subscription has a backlog that nobody holds and that is not delivered.
    async fn look_for_stall(&mut self) {
        self.quiet_since = Instant::now();
        let Some(Ok(backlog)) = self.shared.backlog(&self.place).await else { return };
        if backlog.entries <= backlog.delayed || backlog.held > 0 || self.entries.unsettled() > 0 {
            self.place.stalled(false);
            return;
        }
        if self.place.stalled(true) {
            tracing::warn!(
                backlog = backlog.entries,
                topic = self.place.topic.full(),
                subscription = self.place.subscription,
                "Pulsar has a backlog and delivers nothing, subscribing again"
            );
        }
        metrics::counter!(names::STALLS).increment(1);
        self.disconnect();
    }
}

#[async_trait]
impl Consumer for PulsarConsumer {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BrokerError> {
        let mut shutdown = self.shared.shutdown.clone();
        loop {
            if shutdown.is_triggered() {
                return Err(BrokerError::Closed);
            }
            self.ready.extend(self.early.due());
            if !self.ready.is_empty() {
                let count = max.min(self.ready.len());
                return Ok(self.ready.drain(..count).collect());
            }
            let full = self.entries.unsettled() >= MAX_UNSETTLED;
            let next = self.early.next();
            let wake = tokio::time::sleep_until(next.unwrap_or_else(Instant::now));
            tokio::select! {
                () = shutdown.triggered() => {}
                () = self.fill(max), if !full => {}
                () = wake, if next.is_some() => {}
            }
        }
    }

    async fn settle(&mut self, ids: &[MessageId]) -> Result<(), BrokerError> {
        for &id in ids {
            let Some(entry) = self.entries.settle(id) else { continue };
            self.shared.settled(entry.key);
            // Without a connection the broker delivers the entry again, and it is acknowledged then.
            if let Link::Up(consumer) = &mut self.link
                && consumer.ack_with_id(&entry.topic, place(&entry)).await.is_err()
            {
                self.disconnect();
            }
        }
        Ok(())
    }
}

impl Drop for PulsarConsumer {
    fn drop(&mut self) {
        let down = Link::Down { retry_at: Instant::now() };
        match std::mem::replace(&mut self.link, down) {
            Link::Up(consumer) => self.shared.leave(leave(*consumer)),
            Link::Connecting(task) => self.shared.leave(async move {
                if let Ok(Ok(consumer)) = task.await {
                    leave(consumer).await;
                }
            }),
            Link::Down { .. } => {}
        }
    }
}

fn place(entry: &Entry) -> MessageIdData {
    MessageIdData {
        ledger_id: entry.key.ledger,
        entry_id: entry.key.entry,
        partition: Some(entry.key.partition),
        ..MessageIdData::default()
    }
}

/// Sends what was acknowledged and gives back the rest. The client handles acknowledgements behind the messages that
/// it could not hand over yet, so those are taken and dropped meanwhile.
async fn leave(mut consumer: ClientConsumer) {
    let closed = async {
        while tokio::time::timeout(Duration::from_millis(20), consumer.close()).await.is_err() {
            while let Some(Some(_)) = consumer.next().now_or_never() {}
        }
    };
    // What stays open then ends with the connection.
    let _ = tokio::time::timeout(LEAVE, closed).await;
}
