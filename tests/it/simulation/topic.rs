//! The simulated broker: delivers at least once, and gives what a lost consumer held to the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pulsehub::broker::{
    Broker, BrokerError, Consumer, DeadLetter, DeadLetters, Message, MessageBatch, MessageId, Producer, Retry,
};
use pulsehub::clock::Clock;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::events::{Known, MAX_MESSAGE_BYTES, is_copy};
use super::faults::Fault;
use super::oracle::Oracle;
use super::world::World;

/// With so many messages every retry is confirmed: where none ever is, each is there once more for every attempt, and so
/// are those that come of it.
const ENOUGH: usize = 1_000;

/// The broker; clones are the same one.
#[derive(Clone)]
pub struct Topic {
    world: Arc<World>,
    oracle: Arc<Oracle>,
    inner: Arc<Mutex<Inner>>,
    /// Wakes consumers when there may be something to deliver.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Inner {
    messages: Vec<Stored>,
    /// What `messages` are.
    taken: BTreeSet<Known>,
    deliveries: u64,
}

struct Stored {
    payload: Bytes,
    known: Known,
    visible_at: Instant,
    place: Place,
    redeliveries: u32,
    /// Not 0 for one that an engine refused.
    attempts: u32,
    /// Whether it goes around once more for what its event does not say.
    is_copy: bool,
    origin: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting,
    Held,
    /// Settled, and `forgettable` where a lost consumer could make the broker deliver it again.
    Settled {
        forgettable: bool,
    },
}

impl Stored {
    fn new(payload: Bytes, known: Known, visible_at: Instant) -> Self {
        let is_copy = is_copy(&payload);
        let (place, origin) = (Place::Waiting, None);
        Self { payload, known, visible_at, place, redeliveries: 0, attempts: 0, is_copy, origin }
    }
}

impl Topic {
    /// An empty topic; `oracle` is asked about every settlement.
    pub fn new(world: Arc<World>, oracle: Arc<Oracle>) -> Self {
        Self { world, oracle, inner: Arc::default(), changed: Arc::default() }
    }

    /// Takes messages as they come from other programs.
    pub fn add(&self, payloads: impl Iterator<Item = Bytes>) {
        let mut inner = self.lock();
        for payload in payloads {
            let delay = match self.world.happens(Fault::Delayed) {
                true => self.world.draw(|random| random.u64(0..10_000)),
                false => 0,
            };
            let visible_at = Instant::now() + Duration::from_millis(delay);
            let known = self.oracle.known(&payload);
            self.world.note(format_args!("broker: took {known:?}"));
            inner.taken.insert(known);
            inner.messages.push(Stored::new(payload, known, visible_at));
        }
        self.changed.notify_waiters();
    }

    /// Takes messages that are to be delivered again.
    fn add_retries(&self, retries: &[Retry]) {
        let (now, mut inner) = (self.world.unix_millis(), self.lock());
        for Retry { body, attempts, not_before, origin, .. } in retries {
            let known = self.oracle.known(body);
            self.world.note(format_args!("broker: again later {known:?}"));
            let pause = Duration::from_millis(u64::try_from(not_before - now).unwrap_or_default());
            inner.messages.push(Stored {
                attempts: *attempts,
                origin: Some(origin.clone()),
                ..Stored::new(body.clone(), known, Instant::now() + pause)
            });
        }
        self.changed.notify_waiters();
    }

    /// Whether the same message was handed to `retry` and waits there, so that this one has no effect to show.
    fn is_with_retries(&self, known: Known) -> bool {
        let inner = self.lock();
        let mut open =
            inner.messages.iter().filter(|message| !matches!(message.place, Place::Settled { .. }));
        open.any(|message| message.attempts > 0 && message.known == known)
    }

    /// Whether a copy of the same event waits.
    fn has_copy(&self, known: Known) -> bool {
        let inner = self.lock();
        let mut open =
            inner.messages.iter().filter(|message| !matches!(message.place, Place::Settled { .. }));
        open.any(|message| message.is_copy && message.known == known)
    }

    /// A moment of another call.
    pub async fn pause(&self) {
        self.world.step().await;
    }

    /// What it ever took.
    pub fn taken(&self) -> BTreeSet<Known> {
        self.lock().taken.clone()
    }

    /// Whether it ever took that.
    pub fn has_taken(&self, known: Known) -> bool {
        self.lock().taken.contains(&known)
    }

    /// Whether every message is settled.
    pub fn is_drained(&self) -> bool {
        self.lock().messages.iter().all(|message| matches!(message.place, Place::Settled { .. }))
    }

    /// Messages that are not settled.
    pub fn unsettled(&self) -> Vec<Known> {
        let inner = self.lock();
        let open = inner.messages.iter().filter(|message| !matches!(message.place, Place::Settled { .. }));
        open.map(|message| message.known).collect()
    }

    /// Gives up what a consumer held, and forgets some of what was settled of late.
    fn lose(&self, held: impl Iterator<Item = usize>) {
        let mut inner = self.lock();
        for index in held {
            inner.messages[index].place = Place::Waiting;
            inner.messages[index].redeliveries += 1;
        }
        for message in &mut inner.messages {
            if message.place == (Place::Settled { forgettable: true }) {
                let again = self.world.happens(Fault::SettlementLost);
                message.place = if again { Place::Waiting } else { Place::Settled { forgettable: false } };
            }
        }
        self.changed.notify_waiters();
    }

    /// Takes up to `max` messages for a consumer; when there are none, the moment at which there may be.
    fn take(
        &self,
        max: usize,
        held: &mut BTreeMap<MessageId, usize>,
    ) -> Result<Vec<Message>, Option<Instant>> {
        let (mut inner, now) = (self.lock(), Instant::now());
        let waiting = |message: &Stored| message.place == Place::Waiting;
        let visible = |message: &Stored| waiting(message) && message.visible_at <= now;
        let mut ready: Vec<usize> =
            (0..inner.messages.len()).filter(|&at| visible(&inner.messages[at])).collect();
        if ready.is_empty() {
            let later = inner.messages.iter().filter(|message| waiting(message));
            return Err(later.map(|message| message.visible_at).min());
        }
        if self.world.happens(Fault::Reordered) {
            self.world.draw(|random| random.shuffle(&mut ready));
        }
        ready.truncate(self.world.draw(|random| random.usize(1..=max)));
        let (mut messages, mut delivered) = (Vec::new(), Vec::new());
        for index in ready {
            // As with Pulsar, each delivery has an id of its own.
            inner.deliveries += 1;
            let id = MessageId(inner.deliveries);
            let stored = &mut inner.messages[index];
            stored.place = Place::Held;
            delivered.push(stored.known);
            held.insert(id, index);
            messages.push(Message {
                id,
                payload: stored.payload.clone(),
                redeliveries: stored.redeliveries,
                attempts: stored.attempts,
                origin: stored.origin.clone(),
            });
        }
        self.world.note(format_args!("broker: delivered {delivered:?}"));
        Ok(messages)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

fn failed(action: &'static str) -> BrokerError {
    BrokerError::Storage { action, source: "simulated".into() }
}

#[async_trait]
impl Broker for Topic {
    async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        self.world.step().await;
        Ok(Arc::new(self.clone()))
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, BrokerError> {
        self.world.step().await;
        Ok(Box::new(Member { topic: self.clone(), held: BTreeMap::new() }))
    }

    async fn retry(&self, retries: Vec<Retry>) -> Result<(), BrokerError> {
        self.world.step().await;
        if self.world.happens(Fault::PublishRefused) {
            return Err(failed("write retries"));
        }
        self.add_retries(&retries);
        self.world.step().await;
        if self.lock().messages.len() < ENOUGH && self.world.happens(Fault::ConfirmationLost) {
            return Err(failed("confirm"));
        }
        Ok(())
    }

    async fn dead_letters(&self) -> Result<Box<dyn DeadLetters>, BrokerError> {
        // Nobody asks: a run has no commands.
        Err(failed("read dead letters"))
    }

    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), BrokerError> {
        self.world.step().await;
        if self.world.happens(Fault::DeadLetterRefused) {
            return Err(failed("write dead letters"));
        }
        self.world.note(format_args!("broker: took {} dead letters", letters.len()));
        self.oracle.buried(&letters);
        self.world.step().await;
        if self.world.happens(Fault::DeadLetterReplyLost) {
            return Err(failed("confirm dead letters"));
        }
        Ok(())
    }

    async fn backlog(&self) -> Result<u64, BrokerError> {
        Ok(self.unsettled().len() as u64)
    }

    async fn close(&self) -> Result<(), BrokerError> {
        Ok(())
    }
}

#[async_trait]
impl Producer for Topic {
    async fn publish(&self, batch: MessageBatch) -> Result<(), BrokerError> {
        self.world.step().await;
        if self.world.happens(Fault::PublishRefused) {
            return Err(BrokerError::Full { limit_bytes: 0 });
        }
        let cut = self.world.happens(Fault::PublishCut);
        let taken = if cut { self.world.draw(|random| random.usize(0..batch.len())) } else { batch.len() };
        self.add((0..taken).filter_map(|index| batch.get(index)));
        self.world.step().await;
        if cut || self.world.happens(Fault::ConfirmationLost) {
            return Err(failed("confirm"));
        }
        self.world.note(format_args!("broker: confirmed {taken}"));
        Ok(())
    }

    fn max_message_bytes(&self) -> usize {
        MAX_MESSAGE_BYTES
    }
}

/// A consumer.
struct Member {
    topic: Topic,
    held: BTreeMap<MessageId, usize>,
}

#[async_trait]
impl Consumer for Member {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BrokerError> {
        let Self { topic, held } = self;
        loop {
            let changed = topic.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            topic.world.step().await;
            let later = match topic.take(max, held) {
                Ok(messages) => return Ok(messages),
                Err(later) => later,
            };
            match later {
                Some(at) => drop(tokio::time::timeout_at(at, changed).await),
                None => changed.await,
            }
            if topic.world.happens(Fault::ReceiveFails) {
                return Err(failed("receive"));
            }
        }
    }

    async fn settle(&mut self, ids: &[MessageId]) -> Result<(), BrokerError> {
        let Self { topic, held } = self;
        topic.world.step().await;
        if topic.world.happens(Fault::SettleRefused) {
            return Err(failed("settle"));
        }
        let settled: Vec<usize> = ids.iter().filter_map(|id| held.remove(id)).collect();
        for index in settled {
            let (known, is_copy) = {
                let message = &mut topic.lock().messages[index];
                message.place = Place::Settled { forgettable: true };
                (message.known, message.is_copy)
            };
            if !topic.is_with_retries(known) {
                topic.oracle.settled(known, is_copy, topic.has_copy(known));
            }
        }
        topic.world.step().await;
        if topic.world.happens(Fault::SettleReplyLost) {
            return Err(failed("confirm a settlement"));
        }
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.topic.lose(std::mem::take(&mut self.held).into_values());
    }
}
