//! Which deliveries were taken: GitHub sends one again when it is told to, and whoever overheard one may try to.
//!
//! It saves work. What is forgotten and comes again becomes the same event, which the state counts once.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::storage::{Storage, StorageError, Table, Transaction};

/// Deliveries remembered at most; the oldest are forgotten first.
const MAX_KNOWN: u64 = 1_000_000;
/// Forgotten with one that is remembered: more than come, so that there are never many too many.
const SWEEP: usize = 16;

/// The memory of deliveries.
pub struct Known {
    taken: Table,
    /// By second, then id.
    order: Table,
    /// How long they are remembered, in seconds; 0 remembers none.
    window: i64,
    in_hand: Mutex<HashSet<String>>,
    /// Deliveries remembered at most.
    most: u64,
    extent: Mutex<Extent>,
}

/// What `order` holds: the database itself counts, and walks over, what was removed until it has compacted it away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Extent {
    entries: u64,
    /// No entry is before this key.
    from: Vec<u8>,
}

/// A delivery that is remembered as soon as its transaction is committed. Others wait for that.
#[must_use]
pub struct Remembering<'a>(Option<(MutexGuard<'a, Extent>, Extent)>);

impl Remembering<'_> {
    /// It is committed.
    pub fn committed(self) {
        if let Some((mut extent, then)) = self.0 {
            *extent = then;
        }
    }
}

/// What is known of a delivery.
pub enum Claim<'a> {
    /// Nothing: it is in the caller's hands, and in nobody else's until this is dropped.
    New(InHand<'a>),
    /// It was taken.
    Taken,
    /// It is in somebody else's hands, and may still be refused.
    InHand,
}

/// A delivery that is being taken.
pub struct InHand<'a> {
    known: &'a Known,
    id: String,
}

impl Known {
    /// Continues with what `storage` has; `window` is in seconds.
    ///
    /// # Errors
    /// When the tables cannot be opened or read.
    pub fn open(storage: &Storage, window: i64) -> Result<Self, StorageError> {
        let (taken, order) = (storage.table("deliveries")?, storage.table("delivery_order")?);
        let mut extent = Extent::default();
        for entry in order.range(Vec::new()..) {
            let (key, _) = entry?;
            if extent.entries == 0 {
                extent.from = key;
            }
            extent.entries += 1;
        }
        let (in_hand, extent) = (Mutex::default(), Mutex::new(extent));
        Ok(Self { taken, order, window, in_hand, most: MAX_KNOWN, extent })
    }

    /// Whether delivery `id` is new at `now` (Unix seconds).
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn claim(&self, id: &str, now: i64) -> Result<Claim<'_>, StorageError> {
        if !self.hands().insert(id.to_owned()) {
            return Ok(Claim::InHand);
        }
        let in_hand = InHand { known: self, id: id.to_owned() };
        let taken = self.taken.get(id.as_bytes())?;
        let at = taken.and_then(|bytes| bytes.first_chunk().map(|at| i64::from_be_bytes(*at)));
        let is_known = at.is_some_and(|at| now.saturating_sub(at) < self.window);
        Ok(if is_known { Claim::Taken } else { Claim::New(in_hand) })
    }

    /// Adds to `transaction` that delivery `id` was taken at `now` (Unix seconds), and forgets old ones.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn remember(
        &self,
        id: &str,
        now: i64,
        transaction: &mut Transaction,
    ) -> Result<Remembering<'_>, StorageError> {
        if self.window == 0 {
            return Ok(Remembering(None));
        }
        // Changed as a whole, behind the disk.
        let extent = self.extent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut then = extent.clone();
        let second = now.max(0).to_be_bytes();
        let added = [&second, id.as_bytes()].concat();
        transaction.insert(&self.taken, id.as_bytes(), &second);
        transaction.insert(&self.order, &added, &[]);
        then.entries += 1;
        for entry in self.order.range(extent.from.clone()..).take(SWEEP) {
            let (key, _) = entry?;
            then.from.clone_from(&key);
            let Some((second, old)) = key.split_first_chunk() else { continue };
            let is_old = now.saturating_sub(i64::from_be_bytes(*second)) >= self.window;
            if !is_old && then.entries <= self.most {
                break;
            }
            // A removal behind the insertion would undo it.
            if key == added {
                break;
            }
            transaction.remove(&self.order, &key);
            then.entries = then.entries.saturating_sub(1);
            // It may have been taken again since.
            if old != id.as_bytes() && self.taken.get(old)?.is_some_and(|at| *at == *second) {
                transaction.remove(&self.taken, old);
            }
        }
        // The clock may have stepped back.
        then.from = then.from.min(added);
        Ok(Remembering(Some((extent, then))))
    }

    fn hands(&self) -> MutexGuard<'_, HashSet<String>> {
        // Each change is one insertion or removal.
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.known.hands().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_219_200;

    fn take(storage: &Storage, known: &Known, id: &str, now: i64) {
        let mut transaction = storage.transaction();
        let remembering = known.remember(id, now, &mut transaction).unwrap();
        transaction.commit_durable().unwrap();
        remembering.committed();
    }

    fn is_taken(known: &Known, id: &str, now: i64) -> bool {
        matches!(known.claim(id, now).unwrap(), Claim::Taken)
    }

    #[test]
    fn a_taken_delivery_is_known_for_the_window_and_across_restarts() {
        let directory = tempfile::tempdir().unwrap();
        {
            let storage = Storage::open(directory.path()).unwrap();
            let known = Known::open(&storage, 3_600).unwrap();
            assert!(!is_taken(&known, "a", NOW));
            take(&storage, &known, "a", NOW);
        }
        let storage = Storage::open(directory.path()).unwrap();
        let known = Known::open(&storage, 3_600).unwrap();
        assert!(is_taken(&known, "a", NOW + 3_599) && !is_taken(&known, "a", NOW + 3_600));
        assert!(!is_taken(&known, "b", NOW));
    }

    #[test]
    fn a_delivery_is_in_one_hand_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let known = Known::open(&Storage::open(directory.path()).unwrap(), 3_600).unwrap();
        let first = known.claim("a", NOW).unwrap();
        assert!(matches!(known.claim("a", NOW).unwrap(), Claim::InHand));
        assert!(matches!(known.claim("b", NOW).unwrap(), Claim::New(_)));
        drop(first);
        assert!(matches!(known.claim("a", NOW).unwrap(), Claim::New(_)));
    }

    #[test]
    fn what_has_left_the_window_leaves_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        let known = Known::open(&storage, 3_600).unwrap();
        for second in 0..100 {
            take(&storage, &known, &format!("delivery {second}"), NOW + second);
        }
        take(&storage, &known, "delivery 0", NOW + 3_650);
        (0..10).for_each(|n| take(&storage, &known, &format!("late {n}"), NOW + 3_700));
        let left: Vec<_> = known.taken.range(Vec::new()..).map(|entry| entry.unwrap().0).collect();
        assert_eq!(left.len(), 11, "ten late ones and the one that was taken again");
        assert!(is_taken(&known, "delivery 0", NOW + 3_700));
        let extent = known.extent.lock().unwrap().clone();
        assert_eq!(extent.entries, 11);
        assert_eq!(extent, *Known::open(&storage, 3_600).unwrap().extent.lock().unwrap());
    }

    #[test]
    fn the_oldest_give_way_to_more_than_are_remembered_and_are_counted_without_those_removed() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        let known = Known { most: 10, ..Known::open(&storage, 3_600).unwrap() };
        for second in 0..500 {
            take(&storage, &known, &format!("delivery {second}"), NOW + second);
        }
        assert_eq!(known.order.range(Vec::new()..).count(), 10);
        assert!(is_taken(&known, "delivery 490", NOW + 500) && !is_taken(&known, "delivery 489", NOW + 500));
    }

    #[test]
    fn what_came_while_the_clock_was_back_is_forgotten_too() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        let known = Known::open(&storage, 3_600).unwrap();
        for (id, now) in [("a", NOW), ("b", NOW + 4_000), ("c", NOW + 100), ("d", NOW + 4_000)] {
            take(&storage, &known, id, now);
        }
        let left: Vec<_> = known.taken.range(Vec::new()..).map(|entry| entry.unwrap().0).collect();
        assert_eq!(left, [b"b", b"d"]);
    }

    #[test]
    fn a_window_of_zero_remembers_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        let known = Known::open(&storage, 0).unwrap();
        take(&storage, &known, "a", NOW);
        assert!(!is_taken(&known, "a", NOW));
    }
}
