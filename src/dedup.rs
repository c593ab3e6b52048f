//! Recognises events that were published before: claim → publish → confirm.
//!
//! An event is marked as seen only after the broker confirmed it, so a failed publish loses nothing. Claims save
//! work; exactness does not hang on them (the state counts an event once however often it comes).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::event::EventKey;
use crate::storage::{Storage, StorageError, Table};

/// How long a claim stands without being confirmed or released, in seconds.
const LEASE_SECONDS: i64 = 60;
/// Confirmed claims are kept in generations, of which whole ones are dropped: this many cover the window.
const GENERATIONS: i64 = 8;
/// Claims kept at most, all generations together; the oldest generation is dropped first.
const MAX_CLAIMS: u64 = 30_000_000;
/// Leases beyond which those that have ended are looked for; they stay only where confirming failed.
const MANY_LEASES: usize = 100_000;
const TABLE_PREFIX: &str = "claims-";

/// What claiming an event found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is new and now belongs to the caller, who confirms or releases it.
    Won,
    /// It was confirmed within the window, or someone is publishing it.
    Duplicate,
}

/// The memory of published events.
pub struct Dedup {
    storage: Storage,
    clock: Arc<dyn Clock>,
    /// In seconds; 0 remembers nothing.
    window: i64,
    state: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    /// Event → when its lease ends, in Unix seconds. Leases end with the process, as they should.
    leases: HashMap<EventKey, i64>,
    /// With more leases than this those that have ended are looked for: twice what the last look left, so that looking
    /// costs each lease a constant time.
    sweep_at: usize,
    /// Oldest first.
    tables: VecDeque<Generation>,
}

struct Generation {
    /// When it began, in Unix seconds.
    start: i64,
    table: Table,
    claims: u64,
}

impl Dedup {
    /// Continues with the claims in `storage`; `window` is in seconds, 0 turns dedup off.
    ///
    /// # Errors
    /// When the claims cannot be read.
    pub fn open(storage: &Storage, clock: Arc<dyn Clock>, window: i64) -> Result<Self, StorageError> {
        let mut starts: Vec<i64> = storage
            .table_names()
            .iter()
            .filter_map(|name| name.strip_prefix(TABLE_PREFIX)?.parse().ok())
            .collect();
        starts.sort_unstable();
        let mut tables = VecDeque::new();
        for start in starts {
            let table = storage.table(&format!("{TABLE_PREFIX}{start}"))?;
            let claims = table.approximate_len();
            tables.push_back(Generation { start, table, claims });
        }
        let state = Mutex::new(Generations { leases: HashMap::new(), sweep_at: MANY_LEASES, tables });
        Ok(Self { storage: storage.clone(), clock, window, state })
    }

    /// One that remembers nothing, and leaves alone what another one has in `storage`.
    pub fn off(storage: &Storage, clock: Arc<dyn Clock>) -> Self {
        Self { storage: storage.clone(), clock, window: 0, state: Mutex::default() }
    }

    /// Claims each event, in order; an event that occurs twice is won once.
    ///
    /// # Errors
    /// When the claims cannot be read; nothing is claimed then.
    pub fn claim(&self, events: &[EventKey]) -> Result<Vec<Claim>, StorageError> {
        if self.window == 0 {
            return Ok(vec![Claim::Won; events.len()]);
        }
        let now = self.clock.unix_seconds();
        let mut state = self.lock();
        let seen =
            events.iter().map(|event| state.seen(*event, now, self.window)).collect::<Result<Vec<_>, _>>()?;
        // One that ends later was made before the clock stepped back.
        let holds = |until: i64| now < until && until - now <= LEASE_SECONDS;
        if state.leases.len() > state.sweep_at {
            state.leases.retain(|_, until| holds(*until));
            state.sweep_at = MANY_LEASES.max(2 * state.leases.len());
        }
        let claim = |(event, seen): (&EventKey, bool)| {
            let leased = state.leases.get(event).is_some_and(|&until| holds(until));
            if seen || leased {
                return Claim::Duplicate;
            }
            state.leases.insert(*event, now + LEASE_SECONDS);
            Claim::Won
        };
        Ok(events.iter().zip(seen).map(claim).collect())
    }

    /// Marks won events as published; for want of space they are only leased, and published again when they are seen later.
    ///
    /// # Errors
    /// When they cannot be written; their leases then run out, and a later sighting publishes them again.
    pub fn confirm(&self, events: &[EventKey]) -> Result<(), StorageError> {
        if self.window == 0 || events.is_empty() {
            return Ok(());
        }
        if self.storage.space().check().is_err() {
            return Ok(());
        }
        let now = self.clock.unix_seconds();
        let mut state = self.lock();
        let mut transaction = self.storage.transaction();
        let generation = self.current(&mut state, now)?;
        for event in events {
            transaction.insert(&generation.table, &event.to_bytes(), &now.to_be_bytes());
        }
        match transaction.commit() {
            Err(error) if error.is_full() => return Ok(()),
            committed => committed?,
        }
        generation.claims += events.len() as u64;
        for event in events {
            state.leases.remove(event);
        }
        self.drop_old(&mut state, now)
    }

    /// Gives up won events that were not published, so that the next sighting wins them again.
    pub fn release(&self, events: &[EventKey]) {
        let mut state = self.lock();
        for event in events {
            state.leases.remove(event);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        // What a panic could leave half done is a lease, which runs out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation to write to, begun anew when the last has covered its share of the window.
    fn current<'s>(&self, state: &'s mut Generations, now: i64) -> Result<&'s mut Generation, StorageError> {
        let share = (self.window / GENERATIONS).max(1);
        // A clock that stepped back writes on into the newest generation.
        let fresh =
            state.tables.back().is_some_and(|last| now - last.start < share && last.claims < MAX_CLAIMS / 8);
        if !fresh {
            let start = state.tables.back().map_or(now, |last| now.max(last.start + 1));
            let table = self.storage.table(&format!("{TABLE_PREFIX}{start}"))?;
            state.tables.push_back(Generation { start, table, claims: 0 });
        }
        let last = state.tables.len() - 1;
        Ok(&mut state.tables[last])
    }

    fn drop_old(&self, state: &mut Generations, now: i64) -> Result<(), StorageError> {
        loop {
            let total: u64 = state.tables.iter().map(|generation| generation.claims).sum();
            // Its newest claim is as old as the next generation's start.
            let expired = state.tables.get(1).is_some_and(|second| now - second.start > self.window);
            if !(expired || total > MAX_CLAIMS && state.tables.len() > 1) {
                return Ok(());
            }
            if let Some(oldest) = state.tables.pop_front() {
                self.storage.drop_table(oldest.table)?;
            }
        }
    }
}

impl Generations {
    fn seen(&self, event: EventKey, now: i64, window: i64) -> Result<bool, StorageError> {
        for generation in self.tables.iter().rev() {
            if let Some(bytes) = generation.table.get(&event.to_bytes())? {
                let at = bytes.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
                return Ok(now - at < window);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const HOUR: i64 = 3_600_000;

    fn keys(ids: std::ops::Range<i64>) -> Vec<EventKey> {
        ids.map(|id| EventKey { id, created_at: 1 }).collect()
    }

    fn open(directory: &std::path::Path, clock: &Arc<ManualClock>) -> Dedup {
        let storage = Storage::open(directory).unwrap();
        Dedup::open(&storage, clock.clone(), 48 * 3600).unwrap()
    }

    #[test]
    fn an_event_is_won_once_until_it_is_released_or_its_lease_ends() {
        let (directory, clock) =
            (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(1_800_000_000_000)));
        let dedup = open(directory.path(), &clock);
        let event = keys(0..1);
        assert_eq!(dedup.claim(&[event[0], event[0]]).unwrap(), [Claim::Won, Claim::Duplicate]);
        dedup.release(&event);
        assert_eq!(dedup.claim(&event).unwrap(), [Claim::Won]);
        clock.advance_millis(LEASE_SECONDS * 1000 - 1);
        assert_eq!(dedup.claim(&event).unwrap(), [Claim::Duplicate]);
        clock.advance_millis(1000);
        assert_eq!(dedup.claim(&event).unwrap(), [Claim::Won]);
    }

    #[test]
    fn a_confirmed_event_is_a_duplicate_for_the_window_and_across_restarts() {
        let (directory, clock) =
            (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(1_800_000_000_000)));
        let dedup = open(directory.path(), &clock);
        for hour in 0..47 {
            let events = keys(hour * 10..hour * 10 + 10);
            assert_eq!(dedup.claim(&events).unwrap(), [Claim::Won; 10]);
            dedup.confirm(&events).unwrap();
            clock.advance_millis(HOUR);
        }
        drop(dedup);
        let dedup = open(directory.path(), &clock);
        assert_eq!(dedup.claim(&keys(0..470)).unwrap(), [Claim::Duplicate; 470]);
        clock.advance_millis(2 * HOUR);
        let claims = dedup.claim(&keys(0..470)).unwrap();
        assert_eq!(
            claims.iter().filter(|&&claim| claim == Claim::Won).count(),
            20,
            "two hours have left the window"
        );
    }

    #[test]
    fn generations_older_than_the_window_are_dropped() {
        let (directory, clock) =
            (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(1_800_000_000_000)));
        let dedup = open(directory.path(), &clock);
        for hour in 0..500 {
            dedup.confirm(&keys(hour..hour + 1)).unwrap();
            clock.advance_millis(HOUR);
        }
        assert!(dedup.lock().tables.len() <= 10, "{}", dedup.lock().tables.len());
    }

    #[test]
    fn leases_that_ended_are_dropped_and_looked_for_when_they_have_doubled() {
        let (directory, clock) =
            (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(1_800_000_000_000)));
        let dedup = open(directory.path(), &clock);
        let many = MANY_LEASES as i64;
        dedup.claim(&keys(0..many + 1)).unwrap();
        dedup.claim(&keys(many..many + 2)).unwrap();
        assert_eq!(dedup.lock().sweep_at, 2 * (MANY_LEASES + 1), "all of them stand");
        clock.advance_millis(61_000);
        dedup.claim(&keys(2 * many..3 * many + 5)).unwrap();
        dedup.claim(&keys(0..1)).unwrap();
        assert_eq!(dedup.lock().leases.len(), MANY_LEASES + 6);
    }

    #[test]
    fn a_window_of_zero_remembers_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path()).unwrap();
        let dedup = Dedup::open(&storage, Arc::new(ManualClock::new(0)), 0).unwrap();
        let event = keys(0..1);
        dedup.claim(&event).unwrap();
        dedup.confirm(&event).unwrap();
        assert_eq!(dedup.claim(&event).unwrap(), [Claim::Won]);
    }
}
