//! What must hold, at every settlement and at the end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use pulsehub::broker::DeadLetter;

use super::events::{Events, Fact, Kind, Known};
use super::ledger::Ledger;
use super::recount::{languages, recount};
use super::store::Store;
use super::world::World;

/// Knows what was sent and where each effect must be.
pub struct Oracle {
    world: Arc<World>,
    events: Arc<Events>,
    store: Arc<Store>,
    /// Absent where history is not written.
    history: Option<Arc<Ledger>>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// What is among the dead letters.
    buried: BTreeSet<Known>,
    /// What the current process settled.
    settled: BTreeSet<Known>,
}

impl Oracle {
    /// An oracle over these engines.
    pub fn new(
        world: Arc<World>,
        events: Arc<Events>,
        store: Arc<Store>,
        history: Option<Arc<Ledger>>,
    ) -> Self {
        Self { world, events, store, history, inner: Mutex::default() }
    }

    /// What a message or the body of a dead letter is. Nobody sends anything that is not known.
    pub fn known(&self, body: &[u8]) -> Known {
        self.events.known(body).unwrap_or_else(|| {
            self.world.violate(format!("bytes that nobody sent: {}", String::from_utf8_lossy(body)));
            Known::Garbage(usize::MAX)
        })
    }

    /// Dead letters are on the disk.
    pub fn buried(&self, letters: &[DeadLetter]) {
        for letter in letters {
            let known = self.known(&letter.body);
            if let Known::Event(index) = known
                && !self.events.facts[index].is_rejected()
            {
                self.world
                    .violate(format!("a good event went to the dead letters: {known:?}, {}", letter.reason));
            }
            self.lock().buried.insert(known);
        }
    }

    /// Whether something is among the dead letters.
    pub fn is_buried(&self, known: Known) -> bool {
        self.lock().buried.contains(&known)
    }

    /// A message is settled, or a copy of it: whatever it had to cause must be where no crash can undo it, but for what
    /// a copy that waits will bring.
    pub fn settled(&self, known: Known, is_copy: bool, copy_waits: bool) {
        self.world
            .note(format_args!("broker: settled {known:?}, copy {is_copy}, another waits {copy_waits}"));
        if !is_copy {
            self.lock().settled.insert(known);
        }
        if let Err(missing) = self.is_done(known, copy_waits) {
            self.world.violate(format!("settled {known:?}, {missing}"));
        }
    }

    fn is_done(&self, known: Known, copy_waits: bool) -> Result<(), &'static str> {
        let fact = match known {
            Known::Event(index) => &self.events.facts[index],
            Known::Garbage(_) | Known::Line(_) => return self.must_be_buried(known),
        };
        if fact.is_rejected() {
            return self.must_be_buried(known);
        }
        if matches!(fact.kind, Kind::PullRequest(_)) && !self.store.has_on_disk(fact.key) {
            return Err("but the state does not have it on its disk");
        }
        let lost = self.store.has_lost(fact.key);
        match self.history.as_ref().map(|history| history.has(fact.key)) {
            Some(true) if lost => return Err("but history has it, although it lost to its twin"),
            Some(false) if !lost => return Err("but history does not have it"),
            _ => {}
        }
        if fact.hidden && !copy_waits && !lost {
            return self.is_complete(fact);
        }
        Ok(())
    }

    /// Whether what an event did not say is where no crash can undo it.
    fn is_complete(&self, fact: &Fact) -> Result<(), &'static str> {
        if !self.store.is_complete_on_disk(fact.key) {
            return Err("but what it does not say is neither on the state's disk nor asked for again");
        }
        if self.history.as_ref().is_some_and(|history| !history.is_complete(fact.key)) {
            return Err("but history does not have what it does not say");
        }
        Ok(())
    }

    fn must_be_buried(&self, known: Known) -> Result<(), &'static str> {
        if self.is_buried(known) { Ok(()) } else { Err("but it is not among the dead letters") }
    }

    /// A new process settled nothing yet.
    pub fn begin_life(&self) {
        self.lock().settled.clear();
    }

    /// The shown events that the current process settled.
    pub fn settled_events(&self) -> impl Iterator<Item = &Fact> {
        let settled = self.lock().settled.clone();
        let facts = settled.into_iter().filter_map(|known| match known {
            Known::Event(index) => Some(&self.events.facts[index]),
            Known::Garbage(_) | Known::Line(_) => None,
        });
        facts.filter(|fact| !fact.is_rejected())
    }

    /// The end of a run: `taken` is what the broker ever took, and all of it is settled.
    pub fn final_check(&self, taken: &BTreeSet<Known>) {
        for &known in taken {
            if let Err(missing) = self.is_done(known, false) {
                self.world.violate(format!("at the end {known:?} is settled, {missing}"));
            }
        }
        let events = || {
            taken.iter().filter_map(|known| match known {
                Known::Event(index) => Some(&self.events.facts[*index]),
                Known::Garbage(_) | Known::Line(_) => None,
            })
        };
        for fact in events() {
            let twin = fact.twin.filter(|twin| taken.contains(&Known::Event(*twin)));
            let lost = self.store.has_lost(fact.key);
            // Of a pair exactly one.
            let expected = twin.is_some_and(|twin| !self.store.has_lost(self.events.facts[twin].key));
            if lost != expected {
                self.world.violate(format!("event {} and its twin {twin:?}: it lost is {lost}", fact.key.id));
            }
        }
        let applied = || events().filter(|fact| !self.store.has_lost(fact.key));
        for year in [2026, 2027] {
            let (found, expected) = (self.store.counters(year), recount(applied(), year));
            if found != expected {
                self.world.violate(format!("{year} is {found:?}, not {expected:?}"));
            }
        }
        let (found, expected) = (self.store.languages_in_all(), languages(applied()));
        if found != expected {
            self.world.violate(format!("the languages are {found:?}, not {expected:?}"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}
