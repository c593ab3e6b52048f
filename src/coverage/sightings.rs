//! Which events were seen, where in the feed, and by which pages: bounded, the oldest give way.

use std::collections::HashMap;

use crate::event::EventKey;

/// Events in one generation; two are remembered. At 170 events a second that is a quarter of an hour at least.
const GENERATION: usize = 150_000;

/// An event that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// Number of the queue that it was first seen in.
    pub queue: usize,
    /// Its place among all that passed this queue, counted from the start; `None` where its answer could not be placed.
    pub sequence: Option<i64>,
    /// A bit for each page that showed it.
    pub pages: u8,
}

/// The memory.
#[derive(Debug, Default)]
pub struct Sightings {
    young: HashMap<EventKey, Sighting>,
    old: HashMap<EventKey, Sighting>,
}

impl Sightings {
    /// What is known of an event.
    pub fn get(&self, key: &EventKey) -> Option<Sighting> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    /// Remembers an event; one that is known already, as it is now.
    pub fn put(&mut self, key: EventKey, sighting: Sighting) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, sighting);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        (self.young, self.old) = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way() {
        let mut sightings = Sightings::default();
        let key = |id: usize| EventKey { id: id as i64, created_at: 0 };
        let sighting = Sighting { queue: 0, sequence: None, pages: 1 };
        for id in 0..5 * GENERATION {
            sightings.put(key(id), sighting);
            assert!(sightings.young.len() + sightings.old.len() <= 2 * GENERATION);
        }
        assert_eq!(sightings.get(&key(0)), None);
        assert_eq!(sightings.get(&key(5 * GENERATION - GENERATION)), Some(sighting));
    }
}
