//! Clients of the live feed, and what they must see.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use fastrand::Rng;
use pulsehub::event::EventKey;
use pulsehub::live::{Cursor, Feed};
use pulsehub::mutation::Numbers;
use tokio::sync::watch;

use super::events::{Events, Fact, Kind};
use super::oracle::Oracle;
use super::store::Store;
use super::world::World;

/// What a client was shown, and how the counters stood before.
pub struct Reader {
    /// The last batch that the client's counters have.
    seq: i64,
    /// Whether it reads the last event that it has again, which is a bug.
    again: bool,
    totals: Totals,
    shown: Mutex<Vec<(Cursor, EventKey, Numbers)>>,
}

/// All counters of all days and both years, except for sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Totals {
    open: u64,
    merge: u64,
    close: u64,
    dev_day: u64,
    dev_year: u64,
    repo_year: u64,
}

impl Totals {
    fn of(store: &Store) -> Self {
        let years = [2026, 2027].map(|year| store.counters(year));
        let days = || years.iter().flat_map(|year| year.days.values());
        Self {
            open: days().map(|day| day.open).sum(),
            merge: days().map(|day| day.merge).sum(),
            close: days().map(|day| day.close).sum(),
            dev_day: days().map(|day| day.dev).sum(),
            dev_year: years.iter().map(|year| year.sums.dev).sum(),
            repo_year: years.iter().map(|year| year.sums.repo).sum(),
        }
    }

    fn add(&mut self, numbers: Numbers) {
        self.open += u64::from(numbers.open);
        self.merge += u64::from(numbers.merge);
        self.close += u64::from(numbers.close);
        self.dev_day += u64::from(numbers.dev_day);
        self.dev_year += u64::from(numbers.dev_year);
        self.repo_year += u64::from(numbers.repo_year);
    }
}

impl Reader {
    /// Greeted with the counters as they stand.
    pub fn connect(store: &Store, again: bool) -> Self {
        Self { seq: store.seq(), again, totals: Totals::of(store), shown: Mutex::default() }
    }

    /// Reads what comes behind the counters, as the server does for a client, until `ended`. The client asks for it
    /// some time after it was told the counters.
    pub async fn run(&self, feed: &Feed, world: &World, mut ended: watch::Receiver<bool>) {
        // Of its own: it is not determined which of two readers is woken first.
        let mut random = world.draw(Rng::fork);
        tokio::time::sleep(Duration::from_millis(random.u64(0..5_000))).await;
        let (after, mut head) = (Cursor::after_batch(self.seq), feed.head());
        let mut position = feed.position_after(after);
        loop {
            // A head that is announced before the end is read before the end.
            let goes_on = tokio::select! {
                biased;
                _ = head.wait_for(|&head| head > position) => true,
                _ = ended.wait_for(|&ended| ended) => false,
            };
            if !goes_on {
                return;
            }
            let read = feed.read(&mut position, random.usize(1..10));
            if read.lost > 0 {
                world.violate(format!("a reader lost {} events", read.lost));
            }
            let behind = read.events.iter().filter(|event| event.cursor > after);
            let shown = behind.map(|event| (event.cursor, event.key, event.sample.numbers));
            self.shown.lock().unwrap().extend(shown);
            if self.again && *head.borrow() > position {
                position -= 1;
            }
            tokio::task::yield_now().await;
        }
    }

    /// What holds at any time: every event once, with the numbers that the state gave.
    pub fn check(&self, world: &World, events: &Events, store: &Store) {
        let mut seen = BTreeSet::new();
        for (cursor, key, numbers) in self.shown.lock().unwrap().iter() {
            if !seen.insert(*key) {
                world.violate(format!("a reader saw event {} twice", key.id));
            }
            let fact = &events.facts[Fact::index(*key)];
            if store.told_lost(cursor.seq, *key) {
                world.violate(format!("event {} was shown, which lost to its twin", key.id));
            }
            let twin = fact.twin.map(|twin| events.facts[twin].key);
            if store.restarts() == 0 && twin.is_some_and(|twin| seen.contains(&twin)) {
                world.violate(format!("event {} was shown, and its twin too", key.id));
            }
            let counts = matches!(fact.kind, Kind::PullRequest(_));
            let expected = if counts { store.reply(cursor.seq, *key) } else { Some(Numbers::default()) };
            if expected != Some(*numbers) {
                world.violate(format!("event {} was shown with {numbers:?}, not {expected:?}", key.id));
            }
        }
    }

    /// What holds for a client that was there before the workers, once they have ended: it saw all that they settled, but
    /// for events that lost to their twin.
    pub fn check_complete(&self, world: &World, oracle: &Oracle, store: &Store) {
        let seen: BTreeSet<_> = self.shown.lock().unwrap().iter().map(|(_, key, _)| *key).collect();
        let wanted = oracle.settled_events().filter(|fact| !store.has_lost(fact.key));
        for fact in wanted.filter(|fact| !seen.contains(&fact.key)) {
            world.violate(format!("event {} was settled, but no reader saw it", fact.key.id));
        }
    }

    /// What holds when everything is settled: counters at the beginning and numbers since are the counters now, unless
    /// an event was applied twice, for then the client cannot know what was in its counters.
    pub fn check_sum(&self, world: &World, store: &Store) {
        let (mut totals, shown) = (self.totals, self.shown.lock().unwrap());
        if store.restarts() > 0 || store.was_repeated_since(self.seq) {
            return;
        }
        shown.iter().for_each(|(_, _, numbers)| totals.add(*numbers));
        if totals != Totals::of(store) {
            world.violate(format!("a reader added up {totals:?}, the state has {:?}", Totals::of(store)));
        }
    }
}
