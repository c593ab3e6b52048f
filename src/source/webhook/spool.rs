//! Where events wait on this disk while the broker does not take them: bounded, in order, and synced before anybody is
//! told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::event::EventKey;
use crate::source::Candidate;
use crate::storage::{Storage, StorageError, Table, Transaction};
use crate::telemetry::names;

const TABLE: &str = "webhook_spool";
/// Read at once: enough to share a publish, few enough to be little memory.
const READ_EVENTS: usize = 100;
const READ_BYTES: usize = 4 << 20;
/// Removed in one transaction.
const REMOVED: usize = 1_000;

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
    /// How many wait. Beside the state, whose lock is held while the disk works.
    waiting: AtomicU64,
    state: Mutex<State>,
}

/// Events have numbers, in order.
#[derive(Clone, Copy, Default)]
struct State {
    /// The next event's.
    next: u64,
    /// That of the first event that waits: those before it are published.
    first: u64,
    /// That of the first event that may be on the disk.
    stored_from: u64,
    /// Of those that wait.
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

/// How many events wait in `storage`, which is not changed by that.
///
/// # Errors
/// When they cannot be read.
pub fn left_in(storage: &Storage) -> Result<u64, StorageError> {
    if !storage.table_names().iter().any(|name| name == TABLE) {
        return Ok(0);
    }
    let table = storage.table(TABLE)?;
    let mut entries = table.range(Vec::new()..);
    entries.try_fold(0, |events, entry| entry.map(|_| events + 1))
}

impl Spool {
    /// Continues with what waits in `storage`; `limit` is in bytes of events.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(storage: &Storage, limit: u64) -> Result<Self, StorageError> {
        let table = storage.table(TABLE)?;
        let (mut state, mut waiting) = (State::default(), 0);
        for entry in table.range(Vec::new()..) {
            let (key, value) = entry?;
            let Some(number) = number(&key) else { continue };
            if waiting == 0 {
                (state.first, state.stored_from) = (number, number);
            }
            state.next = number + 1;
            state.bytes += value.len() as u64;
            waiting += 1;
        }
        metrics::gauge!(names::WEBHOOK_SPOOL).set(state.bytes as f64);
        let (storage, waiting) = (storage.clone(), AtomicU64::new(waiting));
        Ok(Self { storage, table, limit, waiting, state: Mutex::new(state) })
    }

    /// How many wait. Does not block.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Keeps an event behind all others, together with what `also` writes; on the disk when this returns what `also`
    /// did. Blocks.
    ///
    /// # Errors
    /// When there is no room for it here or on the disk; nothing is kept then.
    pub fn append<T>(
        &self,
        candidate: &Candidate,
        also: impl FnOnce(&mut Transaction) -> Result<T, StorageError>,
    ) -> Result<T, SpoolError> {
        let value = [&candidate.key.to_bytes()[..], &candidate.raw].concat();
        let bytes = value.len() as u64;
        // Held until it is on the disk, so that events are there in the order of their numbers.
        let mut state = self.lock();
        if state.bytes + bytes > self.limit {
            return Err(SpoolError::Full { limit_bytes: self.limit });
        }
        let mut transaction = self.storage.transaction();
        transaction.insert(&self.table, &state.next.to_be_bytes(), &value);
        let also = also(&mut transaction)?;
        // Not used again, should it be on the disk in spite of an error.
        state.next += 1;
        transaction.commit_durable()?;
        state.bytes += bytes;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        metrics::gauge!(names::WEBHOOK_SPOOL).set(state.bytes as f64);
        Ok(also)
    }

    /// The oldest events, at least one where any waits. Blocks.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn oldest(&self) -> Result<Oldest, StorageError> {
        let (mut oldest, first) = (Oldest::default(), self.lock().first);
        for entry in self.table.range(first.to_be_bytes().to_vec()..).take(READ_EVENTS) {
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

    /// These no longer wait, for they are published, whatever becomes of them on the disk. Blocks.
    pub fn published(&self, oldest: &Oldest) {
        let mut state = self.lock();
        let Some(last) = oldest.numbers.last() else { return };
        state.first = last + 1;
        state.bytes = state.bytes.saturating_sub(oldest.bytes);
        let left = self.waiting().saturating_sub(oldest.numbers.len() as u64);
        self.waiting.store(left, Ordering::SeqCst);
        metrics::gauge!(names::WEBHOOK_SPOOL).set(state.bytes as f64);
    }

    /// Removes from the disk what was published; after a crash the last of it may be there again. For one caller at a
    /// time. Blocks.
    ///
    /// # Errors
    /// When that cannot be written: the next call tries again, and the next process publishes it again.
    pub fn remove_published(&self) -> Result<(), StorageError> {
        let State { first, stored_from, .. } = *self.lock();
        for from in (stored_from..first).step_by(REMOVED) {
            let to = first.min(from + REMOVED as u64);
            let mut transaction = self.storage.transaction();
            (from..to).for_each(|number| transaction.remove(&self.table, &number.to_be_bytes()));
            transaction.commit()?;
            self.lock().stored_from = to;
        }
        Ok(())
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

    fn publish(spool: &Spool, oldest: &Oldest) {
        spool.published(oldest);
        spool.remove_published().unwrap();
    }

    fn ids(oldest: &Oldest) -> Vec<i64> {
        oldest.candidates.iter().map(|candidate| candidate.key.id).collect()
    }

    #[test]
    fn events_come_out_in_the_order_in_which_they_were_kept_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        {
            let spool = Spool::open(&Storage::open(directory.path()).unwrap(), 1_000_000).unwrap();
            assert!(spool.waiting() == 0 && spool.oldest().unwrap().candidates.is_empty());
            (1..=300).for_each(|id| keep(&spool, id, 10).unwrap());
            let oldest = spool.oldest().unwrap();
            assert_eq!(ids(&oldest), (1..=100).collect::<Vec<_>>());
            publish(&spool, &oldest);
        }
        let spool = Spool::open(&Storage::open(directory.path()).unwrap(), 1_000_000).unwrap();
        keep(&spool, 301, 10).unwrap();
        for first in [101, 201] {
            let oldest = spool.oldest().unwrap();
            assert_eq!(ids(&oldest), (first..first + 100).collect::<Vec<_>>());
            publish(&spool, &oldest);
        }
        assert_eq!(ids(&spool.oldest().unwrap()), [301]);
        assert_eq!(spool.waiting(), 1);
    }

    #[test]
    fn there_is_room_for_so_many_bytes_and_again_for_those_that_left() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(&Storage::open(directory.path()).unwrap(), 232).unwrap();
        keep(&spool, 1, 100).unwrap();
        keep(&spool, 2, 100).unwrap();
        assert!(matches!(keep(&spool, 3, 1), Err(SpoolError::Full { limit_bytes: 232 })));
        publish(&spool, &spool.oldest().unwrap());
        assert_eq!(spool.waiting(), 0);
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

    #[test]
    fn what_is_published_no_longer_waits_where_it_cannot_be_removed_and_is_removed_later() {
        let directory = tempfile::tempdir().unwrap();
        let open = |reserve| Storage::open_with_reserve(directory.path(), reserve).unwrap();
        {
            let spool = Spool::open(&open(0), 1_000_000).unwrap();
            (1..=150).for_each(|id| keep(&spool, id, 10).unwrap());
        }
        {
            let spool = Spool::open(&open(u64::MAX), 1_000_000).unwrap();
            for (first, last) in [(1, 100), (101, 150)] {
                let oldest = spool.oldest().unwrap();
                assert_eq!(ids(&oldest), (first..=last).collect::<Vec<_>>());
                spool.published(&oldest);
                assert!(spool.remove_published().unwrap_err().is_full());
            }
            assert_eq!(spool.waiting(), 0);
        }
        let storage = open(0);
        let spool = Spool::open(&storage, 1_000_000).unwrap();
        assert_eq!((spool.waiting(), left_in(&storage).unwrap()), (150, 150));
        for _ in 0..2 {
            spool.published(&spool.oldest().unwrap());
        }
        spool.remove_published().unwrap();
        assert_eq!((spool.waiting(), left_in(&storage).unwrap()), (0, 0));
    }
}
