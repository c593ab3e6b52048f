//! The state in this process: tables of the embedded database, one transaction per batch.

mod apply;
mod claims;
mod keys;
mod reply;
mod seed;
mod sweep;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;

use super::{Applied, Base, DayCounts, LanguageSeconds, Receipt, Snapshot, State, StateError, YearSums};
use crate::event::Day;
use crate::mutation::Mutation;
use crate::storage::{Storage, Table};
use apply::{Overlay, storage};
use keys::{Counter, CounterKey, by_second, split_second};
use seed::Leases;
use sweep::Swept;

/// Where the last batch's number lies among the counters: no counter has a key of this length.
const SEQ_KEY: &[u8] = b"s";

/// The embedded state.
#[derive(Clone)]
pub struct EmbeddedState {
    inner: Arc<Inner>,
}

struct Inner {
    tables: Tables,
    /// Seconds that language counts are kept: twice the window, as in Redis.
    language_seconds: i64,
    /// Held from reading to committing, so that batches follow one another, and by readers of several keys.
    seq: Mutex<i64>,
    leases: Leases,
}

struct Tables {
    storage: Storage,
    sets: Table,
    own: Table,
    base: Table,
    replies: Table,
    reply_expiry: Table,
    replies_swept: Swept,
    languages: Table,
    languages_swept: Swept,
    /// Natural key → who claimed it.
    claims: Table,
    claim_expiry: Table,
    claims_swept: Swept,
    /// Of each year whether it is being seeded or is seeded.
    seeds: Table,
}

impl EmbeddedState {
    /// Opens the state in `storage`; `latest_during` is the length of the language window in seconds.
    ///
    /// # Errors
    /// When the tables cannot be opened or read.
    pub fn open(storage: &Storage, latest_during: i64) -> Result<Self, StateError> {
        let table = |name| storage.table(name).map_err(|error| self::storage("open a table", error));
        let tables = Tables {
            storage: storage.clone(),
            sets: table("sets")?,
            own: table("own")?,
            base: table("base")?,
            replies: table("replies")?,
            reply_expiry: table("reply_expiry")?,
            replies_swept: Swept::default(),
            languages: table("languages")?,
            languages_swept: Swept::default(),
            claims: table("event_claims")?,
            claim_expiry: table("event_claim_expiry")?,
            claims_swept: Swept::default(),
            seeds: table("seeds")?,
        };
        let seq = tables.number(&tables.own, SEQ_KEY)?;
        let seq = Mutex::new(i64::try_from(seq).unwrap_or(0));
        let inner = Inner { tables, language_seconds: latest_during * 2, seq, leases: Leases::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs `task` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        task: impl FnOnce(&Inner) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let inner = self.inner.clone();
        let joined = tokio::task::spawn_blocking(move || task(&inner)).await;
        joined.unwrap_or_else(|error| Err(StateError::Storage { action: "run", source: error.into() }))
    }
}

#[async_trait]
impl State for EmbeddedState {
    async fn apply(&self, batch: Vec<Mutation>, now: i64) -> Result<Applied, StateError> {
        self.blocking(move |inner| inner.apply(&batch, now)).await
    }

    /// Nothing to wait for: a batch is committed to the disk before it is visible.
    async fn persist(&self, receipt: Receipt) -> Result<(), StateError> {
        if self.holds(receipt).await? { Ok(()) } else { Err(StateError::Lost) }
    }

    async fn holds(&self, receipt: Receipt) -> Result<bool, StateError> {
        Ok(receipt.incarnation == self.inner.leases.generation())
    }

    async fn snapshot(&self, year: i16) -> Result<Snapshot, StateError> {
        self.blocking(move |inner| inner.snapshot(year)).await
    }

    async fn languages(&self, seconds: RangeInclusive<i64>) -> Result<LanguageSeconds, StateError> {
        self.blocking(move |inner| inner.tables.languages(seconds)).await
    }

    async fn own(&self, year: i16) -> Result<Base, StateError> {
        self.blocking(move |inner| {
            let _guard = inner.lock();
            inner.own(year)
        })
        .await
    }

    async fn set_base(&self, year: i16, base: Base) -> Result<(), StateError> {
        self.blocking(move |inner| inner.set_base(year, &base)).await
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, i64> {
        self.seq.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, batch: &[Mutation], now: i64) -> Result<Applied, StateError> {
        let mut last = self.lock();
        let years: BTreeSet<i16> =
            batch.iter().filter(|one| one.outcome.counts()).map(|one| one.day.year()).collect();
        for year in years {
            if self.is_unseeded(year)? {
                return Err(StateError::Unseeded { year });
            }
        }
        let mut overlay = Overlay::new(&self.tables, now.div_euclid(1000));
        let (mut numbers, mut lost) = (Vec::with_capacity(batch.len()), BTreeSet::new());
        for (index, mutation) in batch.iter().enumerate() {
            let changed = overlay.apply(mutation)?;
            if changed.is_none() {
                lost.insert(index);
            }
            numbers.push(changed.unwrap_or_default());
        }
        let seq = now.max(last.saturating_add(1));
        // A batch that counts nothing needs a number, but nothing of it has to be stored: the clock and this
        // process's memory keep numbers from repeating.
        if !batch.is_empty() {
            overlay.commit(seq, self.language_seconds)?;
        }
        *last = seq;
        let receipt = Receipt { incarnation: self.leases.generation(), at: Instant::now() };
        Ok(Applied { seq, numbers, lost, receipt })
    }

    fn snapshot(&self, year: i16) -> Result<Snapshot, StateError> {
        let seq = self.lock();
        let own = self.tables.counts(&self.tables.own, year)?;
        let base = self.tables.counts(&self.tables.base, year)?;
        let unseeded = self.is_unseeded(year)?;
        Ok(Snapshot { seq: *seq, unseeded, ..Snapshot::published(own, base) })
    }

    /// The own counts, and of closed days the published ones.
    fn own(&self, year: i16) -> Result<Base, StateError> {
        let mut own = self.tables.counts(&self.tables.own, year)?;
        let base = self.tables.counts(&self.tables.base, year)?;
        let published = Snapshot::published(own.clone(), base);
        for (day, counts) in &mut own.days {
            if self.tables.is_closed(*day)? {
                *counts = published.days.get(day).copied().unwrap_or_default();
            }
        }
        Ok(own)
    }

    fn set_base(&self, year: i16, base: &Base) -> Result<(), StateError> {
        let _guard = self.lock();
        let mut transaction = self.tables.storage.transaction();
        for counter in Counter::OF_A_DAY {
            for entry in days_of(&self.tables.base, counter, year) {
                let (day, _) = entry?;
                // What history no longer says is not its last word.
                if !base.days.contains_key(&day) {
                    transaction.remove(&self.tables.base, &counter.of_day(day).0);
                }
            }
        }
        for (&day, counts) in &base.days {
            for (counter, value) in Counter::OF_A_DAY.into_iter().zip(day_values(counts)) {
                transaction.insert(&self.tables.base, &counter.of_day(day).0, &value.to_be_bytes());
            }
        }
        let YearSums { dev, repo, additions, deletions } = base.sums;
        for (counter, value) in Counter::OF_A_YEAR.into_iter().zip([dev, repo, additions, deletions]) {
            transaction.insert(&self.tables.base, &counter.of_year(year).0, &value.to_be_bytes());
        }
        transaction.commit_durable().map_err(|error| storage("commit the base", error))
    }
}

impl Tables {
    /// The state's own value of a counter; 0 where it has none.
    fn own(&self, counter: CounterKey) -> Result<u64, StateError> {
        self.number(&self.own, &counter.0)
    }

    /// Whether what comes for `day` is too late for it.
    fn is_closed(&self, day: Day) -> Result<bool, StateError> {
        let mark = Counter::Closed.of_day(day).member(0);
        self.sets.contains(&mark.0).map_err(|error| storage("read a set", error))
    }

    /// All that a table of counters says of a year.
    fn counts(&self, table: &Table, year: i16) -> Result<Base, StateError> {
        let mut base = Base::default();
        for counter in Counter::OF_A_DAY {
            for entry in days_of(table, counter, year) {
                let (day, value) = entry?;
                *day_field(base.days.entry(day).or_default(), counter) = value;
            }
        }
        let values = Counter::OF_A_YEAR.map(|counter| self.number(table, &counter.of_year(year).0));
        let [dev, repo, additions, deletions] = values;
        base.sums = YearSums { dev: dev?, repo: repo?, additions: additions?, deletions: deletions? };
        Ok(base)
    }

    fn number(&self, table: &Table, key: &[u8]) -> Result<u64, StateError> {
        match table.get(key).map_err(|error| storage("read a counter", error))? {
            Some(bytes) => number(&bytes).ok_or(StateError::Malformed { what: "counter" }),
            None => Ok(0),
        }
    }

    fn languages(&self, seconds: RangeInclusive<i64>) -> Result<LanguageSeconds, StateError> {
        let (start, end) =
            (by_second(*seconds.start(), &[]), by_second(seconds.end().saturating_add(1), &[]));
        let mut result = LanguageSeconds::new();
        for entry in self.languages.range(start..end) {
            let (key, value) = entry.map_err(|error| storage("read the languages", error))?;
            let malformed = StateError::Malformed { what: "language count" };
            let Some(((second, language), count)) = split_second(&key).zip(number(&value)) else {
                return Err(malformed);
            };
            let language = String::from_utf8(language.to_vec()).map_err(|_| malformed)?;
            result.entry(second).or_default().insert(language, count);
        }
        Ok(result)
    }
}

/// The days of `year` that have a value of `counter` in `table`.
fn days_of(
    table: &Table,
    counter: Counter,
    year: i16,
) -> impl Iterator<Item = Result<(Day, u64), StateError>> + '_ {
    let [start, mut end] =
        [Day::first_of(year), Day::last_of(year)].map(|day| counter.of_day(day).0.to_vec());
    // The last day belongs to the range: beyond year 9999 there is no next one to end before.
    end.push(0);
    table.range(start..end).map(|entry| {
        let (key, value) = entry.map_err(|error| storage("read the counters", error))?;
        CounterKey::day(&key).zip(number(&value)).ok_or(StateError::Malformed { what: "counter" })
    })
}

fn day_field(counts: &mut DayCounts, counter: Counter) -> &mut u64 {
    match counter {
        Counter::Open => &mut counts.open,
        Counter::Merge => &mut counts.merge,
        Counter::Close => &mut counts.close,
        _ => &mut counts.dev,
    }
}

fn day_values(counts: &DayCounts) -> [u64; 4] {
    [counts.open, counts.merge, counts.close, counts.dev]
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}
