//! The shared subscription: hands each message to one consumer, takes back what a lost consumer held.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::cursor::Cursor;
use super::delayed::Delayed;
use super::log::{Position, TopicLog};
use crate::broker::{BrokerError, Consumer, Message, MessageId};
use crate::storage::{Storage, Table};

const CURSOR_KEY: &[u8] = b"cursor";
/// How often the cursor is written at most; a crash redelivers what was settled since.
const PERSIST_EVERY: Duration = Duration::from_millis(100);

/// The subscription's state, shared by its consumers.
pub struct Subscription {
    log: Arc<TopicLog>,
    delayed: Arc<Delayed>,
    table: Table,
    state: Mutex<State>,
    /// Wakes a consumer when messages came back.
    returned: Notify,
}

struct State {
    cursor: Cursor,
    position: Position,
    /// The offset behind the last entry that was read.
    next: u64,
    /// Read from the log or given back, and not with a consumer.
    ready: VecDeque<Message>,
    persisted_at: Instant,
    /// The floor of the cursor on the disk, as far as segments hang on it.
    synced: u64,
    /// Whether something was settled since.
    dirty: bool,
}

impl Subscription {
    /// Continues where the stored cursor stands.
    pub fn open(
        log: Arc<TopicLog>,
        delayed: Arc<Delayed>,
        storage: &Storage,
    ) -> Result<Arc<Self>, BrokerError> {
        let table = storage.table("cursor").map_err(BrokerError::storage("open the cursor"))?;
        let mut cursor = Cursor::stored(&table, CURSOR_KEY, *log.end().borrow())?;
        let synced = cursor.floor();
        // Now, for a disk that is full refuses the write that would come before it.
        release(&log, synced);
        cursor.raise(log.start());
        let (position, next) = log.position_before(cursor.floor());
        let state = State {
            position,
            next,
            cursor,
            ready: VecDeque::new(),
            persisted_at: Instant::now(),
            synced,
            dirty: false,
        };
        Ok(Arc::new(Self { log, delayed, table, state: Mutex::new(state), returned: Notify::new() }))
    }

    /// One more consumer.
    pub fn join(self: &Arc<Self>) -> Member {
        Member { subscription: self.clone(), end: self.log.end(), held: BTreeMap::new(), held_bytes: 0 }
    }

    /// Messages of the log that are not settled.
    pub fn backlog(&self) -> u64 {
        let end = *self.log.end().borrow();
        let state = self.lock();
        end.saturating_sub(state.cursor.floor()).saturating_sub(state.cursor.above_floor())
    }

    /// Makes the cursor durable.
    pub fn close(&self) -> Result<(), BrokerError> {
        let mut state = self.lock();
        self.persist(&mut state)?;
        match self.table.sync() {
            // What was settled since it was last written comes again, and changes nothing.
            Err(error) if error.is_full() => Ok(()),
            written => written.map_err(BrokerError::storage("write the cursor")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change to the state is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up to `max` messages: those given back first, then retries whose time has come, then the next of the log.
    fn take(&self, max: usize) -> Result<Vec<Message>, BrokerError> {
        let mut state = self.lock();
        let due = self.delayed.take(max.saturating_sub(state.ready.len()))?;
        state.ready.extend(due);
        while state.ready.is_empty() {
            let Some(entry) = self.log.read(state.position)? else {
                // Nothing to do is the moment to remember what was done.
                if state.dirty {
                    self.persist(&mut state)?;
                }
                return Ok(Vec::new());
            };
            state.position = entry.next;
            // What lies between was damaged and skipped: nobody can settle it.
            (state.next..entry.base).for_each(|offset| state.cursor.insert(offset));
            state.next = entry.base + entry.batch.len() as u64;
            for index in 0..entry.batch.len() {
                let offset = entry.base + index as u64;
                if let Some(payload) = entry.batch.get(index).filter(|_| !state.cursor.contains(offset)) {
                    let id = MessageId(offset);
                    state.ready.push_back(Message {
                        id,
                        payload,
                        redeliveries: 0,
                        attempts: 0,
                        origin: None,
                    });
                }
            }
        }
        let count = max.min(state.ready.len());
        Ok(state.ready.drain(..count).collect())
    }

    fn settle(&self, ids: &[MessageId]) -> Result<(), BrokerError> {
        let (delayed, published): (Vec<_>, Vec<_>) = ids.iter().partition(|&&id| Delayed::is_own(id));
        {
            let mut state = self.lock();
            published.into_iter().for_each(|id: MessageId| state.cursor.insert(id.0));
            state.dirty = true;
            if state.persisted_at.elapsed() >= PERSIST_EVERY {
                self.persist(&mut state)?;
            }
        }
        self.delayed.settle(delayed.into_iter())
    }

    fn persist(&self, state: &mut State) -> Result<(), BrokerError> {
        state.persisted_at = Instant::now();
        state.dirty = false;
        let floor = state.cursor.floor();
        let written = self.table.insert(CURSOR_KEY, &state.cursor.to_bytes());
        // What the cursor on the disk calls unsettled must be there to be delivered again.
        let sync = self.log.ends_a_segment(state.synced, floor);
        match written.and_then(|()| if sync { self.table.sync() } else { Ok(()) }) {
            // It is written with what is settled when there is space again.
            Err(error) if error.is_full() => state.dirty = true,
            written => {
                written.map_err(BrokerError::storage("write the cursor"))?;
                if sync {
                    state.synced = floor;
                }
            }
        }
        release(&self.log, state.synced);
        Ok(())
    }

    fn give_back(&self, messages: impl DoubleEndedIterator<Item = Message>) {
        let mut state = self.lock();
        for mut message in messages.rev() {
            message.redeliveries += 1;
            state.ready.push_front(message);
        }
        drop(state);
        self.returned.notify_waiters();
    }
}

/// Drops what lies before `floor`, which is on the disk as settled.
fn release(log: &TopicLog, floor: u64) {
    if let Err(error) = log.release(floor) {
        // It only takes room, and is tried again.
        tracing::warn!(error = %crate::error_chain(&error), "cannot delete a settled segment");
    }
}

/// Bytes of messages that a consumer holds at most, the last ones that it took aside. They are kept to be given back.
const MAX_HELD_BYTES: usize = 64 << 20;

/// One consumer of the subscription.
pub struct Member {
    subscription: Arc<Subscription>,
    end: tokio::sync::watch::Receiver<u64>,
    held: BTreeMap<MessageId, Message>,
    held_bytes: usize,
}

#[async_trait]
impl Consumer for Member {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BrokerError> {
        if self.held_bytes >= MAX_HELD_BYTES {
            // Whoever settles some of them asks again.
            return std::future::pending().await;
        }
        let subscription = self.subscription.clone();
        loop {
            let returned = subscription.returned.notified();
            tokio::pin!(returned);
            // Registered before looking, so that nothing given back in between is missed.
            returned.as_mut().enable();
            self.end.mark_unchanged();
            let messages = subscription.take(max)?;
            if !messages.is_empty() {
                self.held_bytes += messages.iter().map(|message| message.payload.len()).sum::<usize>();
                self.held.extend(messages.iter().map(|message| (message.id, message.clone())));
                return Ok(messages);
            }
            tokio::select! {
                changed = self.end.changed() => changed.map_err(|_| BrokerError::Closed)?,
                () = returned => {}
                () = subscription.delayed.due() => {}
            }
        }
    }

    async fn settle(&mut self, ids: &[MessageId]) -> Result<(), BrokerError> {
        let mut own = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(message) = self.held.remove(id) {
                self.held_bytes -= message.payload.len();
                own.push(*id);
            }
        }
        self.subscription.settle(&own)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if !self.held.is_empty() {
            self.subscription.give_back(std::mem::take(&mut self.held).into_values());
        }
    }
}
