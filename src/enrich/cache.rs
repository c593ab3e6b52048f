//! A map that forgets: what is too old, and the oldest where it is full.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// At most `capacity` values, each for at most `keep`.
#[derive(Debug)]
pub struct Cache<K, V> {
    capacity: usize,
    keep: Duration,
    values: HashMap<K, (V, Instant)>,
    /// Every insertion that was not forgotten, the oldest first; also those that a newer one of their key replaced.
    inserted: VecDeque<(Instant, K)>,
}

impl<K: Copy + Eq + Hash, V> Cache<K, V> {
    /// An empty one.
    pub fn new(capacity: usize, keep: Duration) -> Self {
        Self { capacity, keep, values: HashMap::new(), inserted: VecDeque::new() }
    }

    /// The value, unless it is too old.
    pub fn get(&self, key: &K, now: Instant) -> Option<&V> {
        let (value, at) = self.values.get(key)?;
        (now.saturating_duration_since(*at) < self.keep).then_some(value)
    }

    /// Remembers a value from now on; where there is no room, the oldest gives way.
    pub fn insert(&mut self, key: K, value: V, now: Instant) {
        self.values.insert(key, (value, now));
        self.inserted.push_back((now, key));
        while let Some(&(at, oldest)) = self.inserted.front()
            && (self.inserted.len() > self.capacity || now.saturating_duration_since(at) >= self.keep)
        {
            self.inserted.pop_front();
            // A newer value of the same key stays.
            if self.values.get(&oldest).is_some_and(|&(_, inserted)| inserted == at) {
                self.values.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_oldest_give_way_and_what_is_too_old_is_forgotten() {
        let (mut cache, begun) = (Cache::new(3, SECOND * 10), Instant::now());
        for key in 0..5 {
            cache.insert(key, key * 2, begun + SECOND * key);
        }
        let now = begun + SECOND * 4;
        let known: Vec<_> = (0..5).filter_map(|key| cache.get(&key, now)).copied().collect();
        assert_eq!(known, [4, 6, 8]);
        assert_eq!(cache.get(&2, begun + SECOND * 12), None);
        cache.insert(9, 9, begun + SECOND * 60);
        assert_eq!((cache.values.len(), cache.inserted.len()), (1, 1));
    }

    #[test]
    fn a_value_that_is_replaced_counts_from_then_and_takes_no_room_for_ever() {
        let (mut cache, begun) = (Cache::new(3, SECOND * 10), Instant::now());
        for second in 0..100 {
            cache.insert(1, second, begun + SECOND * second);
        }
        assert_eq!(cache.get(&1, begun + SECOND * 105), Some(&99));
        assert!(cache.inserted.len() <= 3);
    }
}
