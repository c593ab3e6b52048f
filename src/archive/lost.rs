//! Events that came and are in no file, by the hour that they belong to, for its manifest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::hour::Hour;
use crate::telemetry::names;

/// Hours that are remembered: one of which nothing was written has no manifest, and is forgotten in the end.
const HOURS: usize = 1_000;

/// The counts, shared by all who lose events.
#[derive(Debug, Clone, Default)]
pub struct Lost(Arc<Mutex<BTreeMap<Hour, u64>>>);

impl Lost {
    /// So many events of `hour` are lost.
    pub fn add(&self, hour: Hour, events: u64) {
        if events == 0 {
            return;
        }
        metrics::counter!(names::ARCHIVE_LOST).increment(events);
        let mut hours = self.lock();
        *hours.entry(hour).or_default() += events;
        if hours.len() > HOURS {
            hours.pop_first();
        }
    }

    /// How many of `hour` are.
    pub fn of(&self, hour: Hour) -> u64 {
        self.lock().get(&hour).copied().unwrap_or_default()
    }

    /// So many of `hour` are in its manifest.
    pub fn written(&self, hour: Hour, events: u64) {
        let mut hours = self.lock();
        if let Some(left) = hours.get_mut(&hour) {
            *left = left.saturating_sub(events);
            if *left == 0 {
                hours.remove(&hour);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Hour, u64>> {
        // Each change is one of a number.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hour_has_its_own_and_the_oldest_give_way() {
        let lost = Lost::default();
        let hour = |number: i64| Hour::of(3_600 * number);
        lost.add(hour(0), 3);
        lost.add(hour(0), 4);
        lost.add(hour(1), 5);
        lost.written(hour(0), 7);
        assert_eq!((lost.of(hour(0)), lost.of(hour(1))), (0, 5));
        (1..=1_000).for_each(|number| lost.add(hour(number), 1));
        assert_eq!((lost.of(hour(1)), lost.lock().len()), (6, 1_000));
        lost.add(hour(1_001), 1);
        assert_eq!((lost.of(hour(1)), lost.of(hour(1_001))), (0, 1));
    }
}
