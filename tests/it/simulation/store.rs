//! The simulated state: a server that applies a batch whole, and writes it to its disk some time later.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pulsehub::event::EventKey;
use pulsehub::mutation::{Mutation, Numbers, Outcome};
use pulsehub::state::{Applied, Base, LanguageSeconds, Receipt, Snapshot, State, StateError};

use super::counts::Counts;
use super::faults::Fault;
use super::planted::Bug;
use super::world::World;
use crate::support::seeds::never_seeded;

/// The state.
pub struct Store {
    world: Arc<World>,
    /// Receipts tell their batch by the time since then: a nanosecond for each batch that the store has.
    origin: Instant,
    batch_limit: usize,
    bug: Option<Bug>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    incarnation: u64,
    /// Never lower than any number that was given out, also to a batch that was lost.
    seq: i64,
    batches: Vec<Batch>,
    /// Batches that are on the disk.
    synced: usize,
    /// The first batch that has each event.
    first_in: HashMap<EventKey, usize>,
    /// The first batch that has each event with its language, and its size where that counts.
    complete_in: HashMap<EventKey, usize>,
    counts: Counts,
    base: BTreeMap<i16, Base>,
    replies: BTreeMap<(i64, EventKey), Numbers>,
    /// Events that lost to their twin, as the counts have it.
    lost: BTreeSet<EventKey>,
    /// The same as each batch was told.
    told_lost: BTreeSet<(i64, EventKey)>,
    restarts: u64,
}

struct Batch {
    seq: i64,
    mutations: Vec<Mutation>,
    second: i64,
}

impl Store {
    /// An empty state that wants batches of at most `batch_limit` events.
    pub fn new(world: Arc<World>, batch_limit: usize, bug: Option<Bug>) -> Self {
        let inner = Inner { counts: Counts::new(bug), ..Inner::default() };
        Self { world, origin: Instant::now(), batch_limit, bug, inner: Mutex::new(inner) }
    }

    /// Whether it has an event.
    pub fn has(&self, key: EventKey) -> bool {
        self.lock().first_in.contains_key(&key)
    }

    /// Whether an event is on the disk.
    pub fn has_on_disk(&self, key: EventKey) -> bool {
        let inner = self.lock();
        inner.first_in.get(&key).is_some_and(|&batch| batch < inner.synced)
    }

    /// Whether the language of an event, and its size where that counts, are on the disk.
    pub fn is_complete_on_disk(&self, key: EventKey) -> bool {
        let inner = self.lock();
        inner.complete_in.get(&key).is_some_and(|&batch| batch < inner.synced)
    }

    /// Whether a batch behind `seq` has an event that another batch has too.
    pub fn was_repeated_since(&self, seq: i64) -> bool {
        let inner = self.lock();
        let mut seen = BTreeSet::new();
        inner.batches.iter().any(|batch| {
            // Not `any`, which would stop in the middle of a batch.
            let again = batch.mutations.iter().filter(|mutation| !seen.insert(mutation.key)).count();
            again > 0 && batch.seq > seq
        })
    }

    /// What batch `seq` was told that an event changed.
    pub fn reply(&self, seq: i64, key: EventKey) -> Option<Numbers> {
        self.lock().replies.get(&(seq, key)).copied()
    }

    /// Whether an event lost to its twin.
    pub fn has_lost(&self, key: EventKey) -> bool {
        self.lock().lost.contains(&key)
    }

    /// Whether batch `seq` was told that an event lost.
    pub fn told_lost(&self, seq: i64, key: EventKey) -> bool {
        self.lock().told_lost.contains(&(seq, key))
    }

    /// How often it died.
    pub fn restarts(&self) -> u64 {
        self.lock().restarts
    }

    /// The number of the last batch.
    pub fn seq(&self) -> i64 {
        self.lock().seq
    }

    /// The counters, without asking over any network.
    pub fn counters(&self, year: i16) -> Base {
        self.lock().counts.of_year(year)
    }

    /// Languages, all seconds together.
    pub fn languages_in_all(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (language, count) in self.lock().counts.languages.values().flatten() {
            *all.entry(language.clone()).or_default() += count;
        }
        all
    }

    /// Dies and comes back with what is on the disk.
    pub fn restart(&self) {
        let mut inner = self.lock();
        let (lost, synced) = (inner.batches.len() - inner.synced, inner.synced);
        inner.incarnation += 1;
        inner.restarts += 1;
        inner.batches.truncate(synced);
        inner.first_in.retain(|_, batch| *batch < synced);
        inner.complete_in.retain(|_, batch| *batch < synced);
        let (mut counts, mut losers) = (Counts::new(self.bug), BTreeSet::new());
        for Batch { mutations, second, .. } in &inner.batches {
            for mutation in mutations {
                if counts.apply(mutation, *second).is_none() {
                    losers.insert(mutation.key);
                }
            }
        }
        inner.lost = losers;
        counts.keep(std::mem::take(&mut inner.counts));
        inner.counts = counts;
        self.world.note(format_args!("state: restarted, lost {lost} batches"));
    }

    /// What befalls any call before it does something.
    fn fails(&self) -> Result<(), StateError> {
        if self.world.happens(Fault::StateRestarts) {
            self.restart();
        }
        if self.world.happens(Fault::StateBroken) {
            return Err(StateError::Broken("simulated".into()));
        }
        if self.world.happens(Fault::StateRefuses) {
            return Err(away());
        }
        Ok(())
    }

    fn add(&self, mutations: Vec<Mutation>, now: i64) -> Applied {
        let mut inner = self.lock();
        let (seq, second) = (now.max(inner.seq + 1), now.div_euclid(1000));
        inner.seq = seq;
        let (mut numbers, mut lost) = (Vec::new(), BTreeSet::new());
        for (place, mutation) in mutations.iter().enumerate() {
            let changed = inner.counts.apply(mutation, second);
            if changed.is_none() {
                inner.lost.insert(mutation.key);
                inner.told_lost.insert((seq, mutation.key));
                lost.insert(place);
            } else {
                inner.lost.remove(&mutation.key);
            }
            numbers.push(changed.unwrap_or_default());
        }
        let replies =
            mutations.iter().zip(&numbers).map(|(mutation, numbers)| ((seq, mutation.key), *numbers));
        inner.replies.extend(replies);
        let batch = inner.batches.len();
        for mutation in &mutations {
            inner.first_in.entry(mutation.key).or_insert(batch);
            let needs_size = mutation.outcome == Outcome::Merged;
            if mutation.language.is_some() && (mutation.size.is_some() || !needs_size) {
                inner.complete_in.entry(mutation.key).or_insert(batch);
            }
        }
        let ids: Vec<_> = mutations.iter().map(|mutation| mutation.key.id).collect();
        self.world.note(format_args!("state: applied {ids:?} as {seq}"));
        inner.batches.push(Batch { seq, mutations, second });
        let at = self.origin + Duration::from_nanos(inner.batches.len() as u64);
        Applied { seq, numbers, lost, receipt: Receipt { incarnation: inner.incarnation, at } }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

fn away() -> StateError {
    StateError::Unreachable { store: "the simulated state", source: "simulated".into() }
}

never_seeded!(Store);

#[async_trait]
impl State for Store {
    async fn apply(&self, batch: Vec<Mutation>, now: i64) -> Result<Applied, StateError> {
        self.world.step().await;
        self.fails()?;
        if !batch.is_empty() && self.world.happens(Fault::StateUnfit) {
            return Err(StateError::Unfit { reason: "the batch is refused", source: "simulated".into() });
        }
        let applied = self.add(batch, now);
        self.world.step().await;
        if self.world.happens(Fault::ApplyReplyLost) {
            return Err(away());
        }
        Ok(applied)
    }

    async fn persist(&self, receipt: Receipt) -> Result<(), StateError> {
        self.world.step().await;
        self.fails()?;
        {
            let mut inner = self.lock();
            if inner.incarnation != receipt.incarnation {
                return Err(StateError::Lost);
            }
            // No further than it must: what a later batch of another worker wrote is still not on the disk.
            let batches = usize::try_from(receipt.at.duration_since(self.origin).as_nanos()).unwrap();
            inner.synced = inner.synced.max(batches);
            self.world.note(format_args!("state: {} batches on the disk", inner.synced));
        }
        self.world.step().await;
        Ok(())
    }

    async fn holds(&self, _receipt: Receipt) -> Result<bool, StateError> {
        self.world.step().await;
        self.fails()?;
        Ok(true)
    }

    async fn snapshot(&self, year: i16) -> Result<Snapshot, StateError> {
        self.world.step().await;
        let inner = self.lock();
        let base = inner.base.get(&year).cloned().unwrap_or_default();
        Ok(Snapshot { seq: inner.seq, ..Snapshot::published(inner.counts.of_year(year), base) })
    }

    async fn languages(&self, seconds: RangeInclusive<i64>) -> Result<LanguageSeconds, StateError> {
        let inner = self.lock();
        Ok(inner.counts.languages.range(seconds).map(|(second, counts)| (*second, counts.clone())).collect())
    }

    async fn own(&self, year: i16) -> Result<Base, StateError> {
        Ok(self.counters(year))
    }

    async fn set_base(&self, year: i16, base: Base) -> Result<(), StateError> {
        self.lock().base.insert(year, base);
        Ok(())
    }

    fn batch_limit(&self) -> usize {
        self.batch_limit
    }
}
