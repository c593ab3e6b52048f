//! The last 24 hours in the embedded database, so that a restart goes on with them.
//!
//! Writes are not synced by themselves: the state syncs the same journal with each batch, and what a crash takes of the
//! last moment is missing in a ranking, in no counter.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::record::Record;
use super::table::{Away, Place};
use crate::event::EventKey;
use crate::storage::{Storage, StorageError, Table};

/// When something was seen. Events have keys of 16 bytes.
const SEEN: &[u8] = b"seen";

/// When processes looked, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Since then,
    pub since: i64,
    /// but not then,
    pub away: Option<Away>,
    /// and until then.
    pub until: i64,
}

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

    /// When something was seen, `None` where never, and all that is kept of it.
    pub(super) fn read(&self) -> Result<(Option<Seen>, Vec<Record>), StorageError> {
        let seen = self.table.get(SEEN)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let records = self.table.range(..).filter_map(|entry| match entry {
            Ok((key, value)) => Record::read(event_key(&key)?, &value).map(Ok),
            Err(error) => Some(Err(error)),
        });
        Ok((seen, records.collect::<Result<_, _>>()?))
    }

    /// Writes what came, and removes what went. A failure is said once, and costs no more than the next restart does.
    pub(super) fn write(&self, seen: Seen, came: &[Record], went: &[Place]) {
        let mut transaction = self.storage.transaction();
        for record in came {
            let place = (record.key.created_at, record.key.id);
            transaction.insert(&self.table, &bytes(place), &record.write());
        }
        for &place in went {
            transaction.remove(&self.table, &bytes(place));
        }
        // Numbers always serialise.
        transaction.insert(&self.table, SEEN, &serde_json::to_vec(&seen).unwrap_or_default());
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
