//! Messages that wait to be delivered again: a table in the order of their time.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::broker::{BrokerError, Message, MessageId, Retry};
use crate::clock::Clock;
use crate::storage::{Storage, StorageError, Table};

/// Bytes of messages that may wait; beyond it `retry` is refused until some are settled.
const LIMIT_BYTES: u64 = 1 << 30;
/// The same for what only adds to messages that were settled: it leaves room for those that were not.
const LIMIT_OF_EXTRA: u64 = LIMIT_BYTES / 2;
/// The ids of these messages have this bit; the log's offsets never reach it.
const MARK: u64 = 1 << 63;
/// Not longer at a time: the clock may be set forward.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The messages that wait, and those that came and are not settled.
pub struct Delayed {
    storage: Storage,
    table: Table,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Wakes those who wait for the next one.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Not handed out, by time and number.
    waiting: BTreeSet<(i64, u64)>,
    /// Not settled, by number.
    kept: HashMap<u64, Kept>,
    bytes: u64,
    /// The number behind the last one.
    next: u64,
    /// Settled, and still in the table for want of space.
    leaving: Vec<(i64, u64)>,
}

struct Kept {
    not_before: i64,
    bytes: u64,
}

impl Delayed {
    /// Goes on with what the table holds.
    pub fn open(storage: &Storage, clock: Arc<dyn Clock>) -> Result<Self, BrokerError> {
        let table = storage.table("retry").map_err(failure("open the retries"))?;
        let mut state = State::default();
        for entry in table.range(..) {
            let (key, value) = entry.map_err(failure("read the retries"))?;
            if let Some((not_before, number)) = split_key(&key) {
                state.add(not_before, number, value.len() as u64);
            }
        }
        Ok(Self { storage: storage.clone(), table, clock, state: Mutex::new(state), changed: Notify::new() })
    }

    /// Adds messages; they are on the disk when this returns. Blocks meanwhile.
    pub fn add(&self, retries: &[Retry]) -> Result<(), BrokerError> {
        let is_extra = retries.iter().all(|retry| retry.is_extra);
        let limit = if is_extra { LIMIT_OF_EXTRA } else { LIMIT_BYTES };
        let first = self.reserve(retries.len() as u64, limit)?;
        let numbered = || (first..).zip(retries);
        let mut transaction = self.storage.transaction();
        let mut sizes = Vec::with_capacity(retries.len());
        for (number, retry) in numbered() {
            let value = encode(retry);
            sizes.push(value.len() as u64);
            transaction.insert(&self.table, &key(retry.not_before, number), &value);
        }
        transaction.commit_durable().map_err(failure("write the retries"))?;
        let mut state = self.lock();
        for ((number, retry), bytes) in numbered().zip(sizes) {
            state.add(retry.not_before, number, bytes);
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Numbers for so many messages, from the one that is returned, unless `limit_bytes` wait already.
    fn reserve(&self, count: u64, limit_bytes: u64) -> Result<u64, BrokerError> {
        let mut state = self.lock();
        if state.bytes >= limit_bytes {
            return Err(BrokerError::Full { limit_bytes });
        }
        state.next += count;
        Ok(state.next - count)
    }

    /// Up to `max` messages whose time has come. Whoever takes them keeps them until they are settled.
    pub fn take(&self, max: usize) -> Result<Vec<Message>, BrokerError> {
        let now = self.clock.unix_millis();
        let mut state = self.lock();
        let mut messages = Vec::new();
        while messages.len() < max
            && let Some(&(not_before, number)) = state.waiting.first().filter(|&&(time, _)| time <= now)
        {
            let value = match self.table.get(&key(not_before, number)) {
                Ok(value) => value,
                // What was taken already must not be lost to an error.
                Err(_) if !messages.is_empty() => break,
                Err(error) => return Err(failure("read the retries")(error)),
            };
            state.waiting.pop_first();
            match value.and_then(|value| decode(number, &value)) {
                Some(message) => messages.push(message),
                None => {
                    tracing::error!(
                        number,
                        "a message that was to be tried again cannot be read, skipping it"
                    );
                    state.remove(number);
                }
            }
        }
        Ok(messages)
    }

    /// Waits until some message's time has come. Cancel safe.
    pub async fn due(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that nothing added in between is missed.
            changed.as_mut().enable();
            let next = self.lock().waiting.first().map(|&(not_before, _)| not_before);
            let Some(next) = next else {
                changed.await;
                continue;
            };
            let Ok(millis @ 1..) = u64::try_from(next.saturating_sub(self.clock.unix_millis())) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(millis).min(LONGEST_SLEEP)) => {}
                () = changed => {}
            }
        }
    }

    /// Whether this message is one of those kept here.
    pub fn is_own(id: MessageId) -> bool {
        id.0 & MARK != 0
    }

    /// Forgets settled messages; after a crash the last ones may come again.
    pub fn settle(&self, ids: impl Iterator<Item = MessageId>) -> Result<(), BrokerError> {
        let mut state = self.lock();
        for number in ids.map(|id| id.0 & !MARK) {
            if let Some(kept) = state.remove(number) {
                state.leaving.push((kept.not_before, number));
            }
        }
        if state.leaving.is_empty() {
            return Ok(());
        }
        let mut transaction = self.storage.transaction();
        for &(not_before, number) in &state.leaving {
            transaction.remove(&self.table, &key(not_before, number));
        }
        match transaction.commit() {
            Err(error) if error.is_full() => return Ok(()),
            committed => committed.map_err(failure("write the retries"))?,
        }
        state.leaving.clear();
        Ok(())
    }

    /// Messages that are not settled.
    pub fn len(&self) -> u64 {
        self.lock().kept.len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change to the state is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, not_before: i64, number: u64, bytes: u64) {
        self.waiting.insert((not_before, number));
        self.kept.insert(number, Kept { not_before, bytes });
        self.bytes += bytes;
        self.next = self.next.max(number + 1);
    }

    fn remove(&mut self, number: u64) -> Option<Kept> {
        let kept = self.kept.remove(&number)?;
        self.bytes -= kept.bytes;
        Some(kept)
    }
}

fn failure(action: &'static str) -> impl FnOnce(StorageError) -> BrokerError {
    BrokerError::storage(action)
}

/// Time, then number, as big-endian u64, so that the table is in their order. Times before 1970 count as 1970.
fn key(not_before: i64, number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&u64::try_from(not_before).unwrap_or(0).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

fn split_key(key: &[u8]) -> Option<(i64, u64)> {
    let (time, number) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*time).try_into().ok()?, u64::from_be_bytes(number.try_into().ok()?)))
}

/// Attempts and the origin's length as little-endian u32, the origin, the body.
fn encode(retry: &Retry) -> Vec<u8> {
    let origin = retry.origin.as_bytes();
    let length = u32::try_from(origin.len()).unwrap_or(0);
    let mut value = Vec::with_capacity(8 + origin.len() + retry.body.len());
    value.extend_from_slice(&retry.attempts.to_le_bytes());
    value.extend_from_slice(&length.to_le_bytes());
    value.extend_from_slice(&origin[..length as usize]);
    value.extend_from_slice(&retry.body);
    value
}

fn decode(number: u64, value: &[u8]) -> Option<Message> {
    let (attempts, rest) = value.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (origin, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some(Message {
        id: MessageId(number | MARK),
        payload: body.to_vec().into(),
        redeliveries: 0,
        attempts: u32::from_le_bytes(*attempts),
        origin: Some(std::str::from_utf8(origin).ok()?.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn what_only_adds_to_settled_messages_leaves_room_for_others() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        let delayed = Delayed::open(&storage, Arc::new(SystemClock)).unwrap();
        let retry = |is_extra| Retry {
            body: "x".into(),
            attempts: 0,
            not_before: 0,
            origin: "file:1".into(),
            is_extra,
        };
        delayed.add(&[retry(true)]).unwrap();
        delayed.lock().bytes = LIMIT_OF_EXTRA;
        let full = |added| matches!(added, Err(BrokerError::Full { .. }));
        assert!(full(delayed.add(&[retry(true)])));
        delayed.add(&[retry(false)]).unwrap();
        delayed.lock().bytes = LIMIT_BYTES;
        assert!(full(delayed.add(&[retry(false)])));
        assert_eq!(delayed.len(), 2);
    }
}
