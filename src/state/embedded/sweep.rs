//! Removes what has expired, a step with each batch, of tables whose keys begin with a second.
//!
//! Where the last step ended is remembered: the database walks over what was removed until it has compacted it away.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::apply::reading;
use super::keys::by_second;
use crate::state::StateError;
use crate::storage::Table;

/// Expired entries removed with one batch: sweeping keeps up with any rate at which entries are written, and never
/// makes one batch much slower than the next.
const ENTRIES: usize = 2_000;

/// How far a table is swept: no key is before this.
#[derive(Debug, Default)]
pub struct Swept(Mutex<Vec<u8>>);

/// A step, whose keys are removed with the batch.
#[must_use]
pub struct Step<'a> {
    /// Expired keys.
    pub keys: Vec<Vec<u8>>,
    swept: &'a Swept,
    to: Vec<u8>,
}

impl Swept {
    /// The oldest keys of `table` before the Unix second `end`. Nothing is written before that second in this batch.
    pub fn step(&self, table: &Table, end: i64) -> Result<Step<'_>, StateError> {
        let end = by_second(end.max(0), &[]);
        // The clock may have stepped back: what was written then is swept too.
        let from = self.lock().clone().min(end.clone());
        let entries = table.range(from..end.clone()).take(ENTRIES);
        let keys =
            entries.map(|entry| Ok(entry.map_err(reading)?.0)).collect::<Result<Vec<_>, StateError>>()?;
        let to = keys.last().filter(|_| keys.len() == ENTRIES).cloned().unwrap_or(end);
        Ok(Step { keys, swept: self, to })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Step<'_> {
    /// The batch is committed.
    pub fn committed(self) {
        *self.swept.lock() = self.to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Storage;

    fn sweep(storage: &Storage, table: &Table, swept: &Swept, end: i64) -> usize {
        let step = swept.step(table, end).unwrap();
        let mut transaction = storage.transaction();
        step.keys.iter().for_each(|key| transaction.remove(table, key));
        transaction.commit().unwrap();
        let removed = step.keys.len();
        step.committed();
        removed
    }

    #[test]
    fn each_step_begins_where_the_last_one_ended_also_after_the_clock_stepped_back() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        let (table, swept) = (storage.table("entries").unwrap(), Swept::default());
        let insert = |second: i64| table.insert(&by_second(second, b"x"), &[]).unwrap();
        (0..5_000).for_each(insert);
        assert_eq!(sweep(&storage, &table, &swept, 4_000), 2_000);
        assert_eq!(*swept.lock(), by_second(1_999, b"x"));
        // What could not be committed is swept again.
        assert_eq!(swept.step(&table, 4_000).unwrap().keys.len(), 2_000);
        assert_eq!(sweep(&storage, &table, &swept, 4_000), 2_000);
        assert_eq!(sweep(&storage, &table, &swept, 4_500), 500);
        assert_eq!(*swept.lock(), by_second(4_500, b""));
        assert_eq!(sweep(&storage, &table, &swept, 100), 0);
        insert(100);
        assert_eq!(sweep(&storage, &table, &swept, 5_000), 501);
        assert_eq!(table.range(Vec::new()..).count(), 0);
    }
}
