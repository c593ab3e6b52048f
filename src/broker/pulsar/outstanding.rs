//! Which entries this process published and has not settled: the end of a replay where no admin API can be asked.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::entry::EntryKey;

/// Settled entries that are remembered: the confirmation of some message of them may still come.
const MAX_SETTLED: usize = 10_000;

/// Entries between their confirmation and their settlement, when both happen in this process.
#[derive(Debug, Default)]
pub struct Outstanding(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// When something was last published or settled.
    changed: Option<Instant>,
    published: HashSet<(u64, u64)>,
    settled: HashSet<(u64, u64)>,
    /// In the order of their settlement.
    order: VecDeque<(u64, u64)>,
}

impl Outstanding {
    /// The broker confirmed these entries. One that several publish calls share is confirmed to each.
    pub fn published(&self, entries: impl Iterator<Item = (u64, u64)>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.changed = Some(Instant::now());
        for entry in entries {
            if !inner.settled.contains(&entry) {
                inner.published.insert(entry);
            }
        }
    }

    /// This process settled an entry.
    pub fn settled(&self, key: EntryKey) {
        let entry = (key.ledger, key.entry);
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.changed = Some(Instant::now());
        inner.published.remove(&entry);
        if !inner.settled.insert(entry) {
            return;
        }
        inner.order.push_back(entry);
        if inner.order.len() > MAX_SETTLED
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.settled.remove(&oldest);
        }
    }

    /// For how long nothing was published or settled.
    pub fn quiet_for(&self) -> Duration {
        let changed = self.0.lock().unwrap_or_else(PoisonError::into_inner).changed;
        changed.map_or(Duration::ZERO, |changed| changed.elapsed())
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).published.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(entry: u64) -> EntryKey {
        EntryKey { ledger: 1, entry, partition: -1 }
    }

    #[test]
    fn what_is_settled_before_its_confirmation_is_not_left_over() {
        let outstanding = Outstanding::default();
        outstanding.settled(key(1));
        outstanding.published([(1, 1), (1, 2)].into_iter());
        assert!(!outstanding.is_empty());
        outstanding.settled(key(2));
        assert!(outstanding.is_empty());
        // Another publish call whose messages were in the same entry.
        outstanding.published([(1, 2)].into_iter());
        assert!(outstanding.is_empty());
    }

    #[test]
    fn entries_of_others_are_forgotten() {
        let outstanding = Outstanding::default();
        (0..30_000).for_each(|entry| outstanding.settled(key(entry)));
        let inner = outstanding.0.lock().unwrap();
        assert!(inner.settled.len() <= MAX_SETTLED && inner.order.len() <= MAX_SETTLED);
    }
}
