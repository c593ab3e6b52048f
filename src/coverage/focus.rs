//! Which share of the focus repositories' own feeds the public feed showed: a second list of the same events, made by
//! somebody else.

use std::collections::{HashSet, VecDeque};

use super::sightings::Sightings;
use crate::event::EventKey;

/// The public feed may show an event so much later than its repository's own, in milliseconds.
const PATIENCE: i64 = 300_000;
/// Events that wait for that; more are not measured.
const MAX_WAITING: usize = 10_000;
/// Events that are known to be measured already; two generations are remembered.
const GENERATION: usize = 20_000;
/// Events that the share looks back on, about.
const MEMORY: f64 = 5_000.0;

/// The comparison.
#[derive(Debug, Default)]
pub struct Focus {
    waiting: VecDeque<(i64, EventKey)>,
    young: HashSet<EventKey>,
    old: HashSet<EventKey>,
    shown: f64,
    judged: f64,
    events: u64,
}

impl Focus {
    /// A focus feed showed an event at `at`, in Unix milliseconds.
    pub fn shows(&mut self, key: EventKey, at: i64) {
        if self.young.contains(&key) || self.old.contains(&key) || self.waiting.len() >= MAX_WAITING {
            return;
        }
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key);
        self.waiting.push_back((at, key));
    }

    /// Judges what has waited long enough.
    pub fn judge(&mut self, now: i64, known: &Sightings) {
        while let Some(&(at, key)) = self.waiting.front()
            && now - at >= PATIENCE
        {
            self.waiting.pop_front();
            if self.judged >= MEMORY {
                (self.shown, self.judged) = (self.shown / 2.0, self.judged / 2.0);
            }
            self.judged += 1.0;
            self.shown += f64::from(u8::from(known.get(&key).is_some()));
            self.events += 1;
        }
    }

    /// What waits is not judged: what the public feed showed of it is no longer known.
    pub fn start_over(&mut self) {
        self.waiting.clear();
    }

    /// Events judged so far, and the share of them that the public feed showed.
    pub fn share(&self) -> Option<(u64, f64)> {
        (self.events > 0).then(|| (self.events, self.shown / self.judged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::sightings::Sighting;

    #[test]
    fn an_event_is_judged_once_and_not_before_the_public_feed_had_its_time() {
        let (mut focus, mut known) = (Focus::default(), Sightings::default());
        let key = |id| EventKey { id, created_at: 0 };
        for poll in 0..10 {
            (0..100).for_each(|id| focus.shows(key(id), poll * 60_000));
            focus.judge(poll * 60_000, &known);
            if poll == 4 {
                assert_eq!(focus.share(), None);
                (0..80).for_each(|id| known.put(key(id), Sighting { queue: 0, sequence: None, pages: 1 }));
            }
        }
        assert_eq!(focus.share(), Some((100, 0.8)));
    }
}
