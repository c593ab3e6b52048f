//! The last 24 hours in the embedded database, so that a restart goes on with them.
//!
//! Writes are not synced by themselves: the state syncs the same journal with each batch, and what a crash takes of the
//! last moment is missing in a ranking, in no counter.

use std::sync::atomic::{AtomicBool, Ordering};

use super::record::Record;
use super::table::Place;
use crate::event::EventKey;
use crate::storage::{Storage, StorageError, Table};

/// Since when something was shown. Events have keys of 16 bytes.
const SINCE: &[u8] = b"since";

/// What is kept.
pub struct Kept {
    storage: Storage,
    table: Table,
    failing: AtomicBool,
}

impl Kept {
    /// Opens or creates its table.
    ///
    /// # Errors
    /// When their files cannot be created.
    pub fn open(storage: &Storage) -> Result<Self, StorageError> {
        let table = storage.table("activity")?;
        Ok(Self { storage: storage.clone(), table, failing: AtomicBool::new(false) })
    }

    /// Since when something was shown, in Unix seconds, and all that is kept of it.
    pub(super) fn read(&self) -> Result<(i64, Vec<Record>), StorageError> {
        let since =
            self.table.get(SINCE)?.and_then(|bytes| Some(i64::from_be_bytes(bytes[..].try_into().ok()?)));
        let records = self.table.range(..).filter_map(|entry| match entry {
            Ok((key, value)) => Record::read(event_key(&key)?, &value).map(Ok),
            Err(error) => Some(Err(error)),
        });
        Ok((since.unwrap_or(i64::MAX), records.collect::<Result<_, _>>()?))
    }

    /// Writes what came, and removes what went. A failure is said once, and costs no more than the next restart does.
    pub(super) fn write(&self, since: i64, came: &[Record], went: &[Place]) {
        if came.is_empty() && went.is_empty() {
            return;
        }
        let mut transaction = self.storage.transaction();
        for record in came {
            let place = (record.key.created_at, record.key.id);
            transaction.insert(&self.table, &bytes(place), &record.write());
        }
        for &place in went {
            transaction.remove(&self.table, &bytes(place));
        }
        transaction.insert(&self.table, SINCE, &since.to_be_bytes());
        match transaction.commit() {
            Ok(()) => self.failing.store(false, Ordering::Relaxed),
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(error = %crate::error_chain(&error), "cannot keep the last 24 hours, only memory has them");
            }
            Err(_) => {}
        }
    }
}

/// Bytes that sort as places do.
fn bytes((created_at, id): Place) -> [u8; 16] {
    let ordered = |number: i64| number ^ i64::MIN;
    EventKey { id: ordered(created_at), created_at: ordered(id) }.to_bytes()
}

fn event_key(bytes: &[u8]) -> Option<EventKey> {
    let EventKey { id, created_at } = EventKey::from_bytes(bytes)?;
    Some(EventKey { id: created_at ^ i64::MIN, created_at: id ^ i64::MIN })
}
