//! Where events wait on this disk while the broker does not take them: bounded, in order, and synced before anybody is
//! told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::event::EventKey;
use crate::source::Candidate;
use crate::storage::{Storage, StorageError, Table, Transaction};
use crate::telemetry::names;

/// Read at once: enough to share a publish, few enough to be little memory.
const READ_EVENTS: usize = 100;
const READ_BYTES: usize = 4 << 20;

/// Why an event was not kept.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Those that wait have all the room.
    #[error("the spool of webhook events has reached its limit of {limit_bytes} bytes (webhooks.spool)")]
    Full {
        /// The room, in bytes.
        limit_bytes: u64,
    },
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The events that wait.
pub struct Spool {
    storage: Storage,
    table: Table,
    limit: u64,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    /// The number of the next event.
    next: u64,
    events: u64,
    bytes: u64,
}

/// The oldest events that wait.
#[derive(Debug, Default)]
pub struct Oldest {
    /// In order.
    pub candidates: Vec<Candidate>,
    numbers: Vec<u64>,
    bytes: u64,
}

impl Spool {
    /// Continues with what waits in `storage`; `limit` is in bytes of events.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(storage: &Storage, limit: u64) -> Result<Self, StorageError> {
        let table = storage.table("webhook_spool")?;
        let mut state = State { next: 0, events: 0, bytes: 0 };
        for entry in table.range(Vec::new()..) {
            let (key, value) = entry?;
            state.next = number(&key).map_or(state.next, |number| number + 1);
            state.events += 1;
            state.bytes += value.len() as u64;
        }
        metrics::gauge!(names::WEBHOOK_SPOOL).set(state.bytes as f64);
        Ok(Self { storage: storage.clone(), table, limit, state: Mutex::new(state) })
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().events == 0
    }

    /// Keeps an event behind all others, together with what `also` writes; on the disk when this returns. Blocks.
    ///
    /// # Errors
    /// When there is no room for it here or on the disk; nothing is kept then.
    pub fn append(
        &self,
        candidate: &Candidate,
        also: impl FnOnce(&mut Transaction) -> Result<(), StorageError>,
    ) -> Result<(), SpoolError> {
        let value = [&candidate.key.to_bytes()[..], &candidate.raw].concat();
        let bytes = value.len() as u64;
        // Held until it is on the disk, so that events are there in the order of their numbers.
        let mut state = self.lock();
        if state.bytes + bytes > self.limit {
            return Err(SpoolError::Full { limit_bytes: self.limit });
        }
        let mut transaction = self.storage.transaction();
        transaction.insert(&self.table, &state.next.to_be_bytes(), &value);
        also(&mut transaction)?;
        // Not used again, should it be on the disk in spite of an error.
        state.next += 1;
        transaction.commit_durable()?;
        state.events += 1;
        state.bytes += bytes;
        metrics::gauge!(names::WEBHOOK_SPOOL).set(state.bytes as f64);
        Ok(())
    }

    /// The oldest events, at least one where any waits.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn oldest(&self) -> Result<Oldest, StorageError> {
        let mut oldest = Oldest::default();
        for entry in self.table.range(Vec::new()..).take(READ_EVENTS) {
            let (key, value) = entry?;
            oldest.numbers.extend(number(&key));
            oldest.bytes += value.len() as u64;
            // Only whole values were written, and the database checks what it reads.
            if let Some((key, raw)) = value.split_at_checked(16)
                && let Some(key) = EventKey::from_bytes(key)
            {
                oldest.candidates.push(Candidate { key, raw: raw.to_vec().into() });
            }
            if oldest.bytes >= READ_BYTES as u64 {
                break;
            }
        }
        Ok(oldest)
    }

    /// Removes events that were published, and says how many still wait; after a crash the last ones may be there again. Blocks.
    ///
    /// # Errors
    /// When that cannot be written: they are read, and published, again.
    pub fn remove(&self, published: &Oldest) -> Result<u64, StorageError> {
        let mut transaction = self.storage.transaction();
        for number in &published.numbers {
            transaction.remove(&self.table, &number.to_be_bytes());
        }
        let mut state = self.lock();
        transaction.commit()?;
        state.events = state.events.saturating_sub(published.numbers.len() as u64);
        state.bytes = state.bytes.saturating_sub(published.bytes);
        metrics::gauge!(names::WEBHOOK_SPOOL).set(state.bytes as f64);
        Ok(state.events)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Numbers change behind the disk, so a panic leaves them as the disk is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: i64, bytes: usize) -> Candidate {
        Candidate { key: EventKey { id, created_at: 1 }, raw: vec![b'x'; bytes].into() }
    }

    fn keep(spool: &Spool, id: i64, bytes: usize) -> Result<(), SpoolError> {
        spool.append(&candidate(id, bytes), |_| Ok(()))
    }

    fn ids(oldest: &Oldest) -> Vec<i64> {
        oldest.candidates.iter().map(|candidate| candidate.key.id).collect()
    }

    #[test]
    fn events_come_out_in_the_order_in_which_they_were_kept_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        {
            let spool = Spool::open(&Storage::open(directory.path()).unwrap(), 1_000_000).unwrap();
            assert!(spool.is_empty() && spool.oldest().unwrap().candidates.is_empty());
            (1..=300).for_each(|id| keep(&spool, id, 10).unwrap());
            let oldest = spool.oldest().unwrap();
            assert_eq!(ids(&oldest), (1..=100).collect::<Vec<_>>());
            spool.remove(&oldest).unwrap();
        }
        let spool = Spool::open(&Storage::open(directory.path()).unwrap(), 1_000_000).unwrap();
        keep(&spool, 301, 10).unwrap();
        for first in [101, 201] {
            let oldest = spool.oldest().unwrap();
            assert_eq!(ids(&oldest), (first..first + 100).collect::<Vec<_>>());
            spool.remove(&oldest).unwrap();
        }
        assert_eq!(ids(&spool.oldest().unwrap()), [301]);
        assert!(!spool.is_empty());
    }

    #[test]
    fn there_is_room_for_so_many_bytes_and_again_for_those_that_left() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(&Storage::open(directory.path()).unwrap(), 232).unwrap();
        keep(&spool, 1, 100).unwrap();
        keep(&spool, 2, 100).unwrap();
        assert!(matches!(keep(&spool, 3, 1), Err(SpoolError::Full { limit_bytes: 232 })));
        spool.remove(&spool.oldest().unwrap()).unwrap();
        assert!(spool.is_empty());
        keep(&spool, 4, 216).unwrap();
        assert_eq!(ids(&spool.oldest().unwrap()), [4]);
    }

    #[test]
    fn long_events_are_read_a_few_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(&Storage::open(directory.path()).unwrap(), 64 << 20).unwrap();
        (1..=3).for_each(|id| keep(&spool, id, 3 << 20).unwrap());
        assert_eq!(ids(&spool.oldest().unwrap()), [1, 2]);
    }
}
