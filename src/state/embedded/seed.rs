//! Seeding in this process: marks are stored, leases are kept in memory, for the store has one owner.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;

use super::apply::storage;
use super::keys::{Counter, CounterKey};
use super::{EmbeddedState, Inner, Tables, day_values, days_of};
use crate::event::Day;
use crate::state::seed::{Claimed, LEASE_MILLIS, SeedChunk, SeedLease, SeedSet, Seeds};
use crate::state::{Base, StateError, YearSums};

/// Members removed with one transaction: below what a batch of events takes.
const CLEAR_MEMBERS: usize = 10_000;

const SEEDING: &[u8] = b"seeding";
const DONE: &[u8] = b"done";

/// What is known of seeds while this process runs.
#[derive(Default)]
pub struct Leases {
    required: AtomicBool,
    /// Raised by each seed that replaces counts: batches applied before it are lost.
    generation: AtomicU64,
    held: std::sync::Mutex<HashMap<i16, Held>>,
}

struct Held {
    token: String,
    until: i64,
}

impl Leases {
    /// What receipts carry.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<i16, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews what `lease` stands for.
    fn renew(&self, lease: &SeedLease, until: i64) -> Result<(), StateError> {
        match self.held().get_mut(&lease.year) {
            Some(held) if held.token == lease.token => held.until = until,
            _ => return Err(StateError::SeedLost),
        }
        Ok(())
    }
}

impl Inner {
    /// Whether events of `year` have to wait.
    pub(super) fn is_unseeded(&self, year: i16) -> Result<bool, StateError> {
        let mark = self.tables.seed_mark(year)?;
        Ok(match mark.as_deref() {
            Some(DONE) => false,
            Some(_) => true,
            None => self.leases.required.load(Ordering::Relaxed) && !self.tables.has_counts(year)?,
        })
    }

    fn claim(&self, year: i16, again: bool, now: i64) -> Result<Claimed, StateError> {
        // No batch is in the middle while the mark is set.
        let _applying = self.lock();
        let mut held = self.leases.held();
        if held.get(&year).is_some_and(|held| held.until > now) {
            return Ok(Claimed::Elsewhere);
        }
        let mark = self.tables.seed_mark(year)?;
        let counted = self.tables.has_counts(year)?;
        if !again && (mark.as_deref() == Some(DONE) || (mark.is_none() && counted)) {
            return Ok(Claimed::NotNeeded);
        }
        let mut transaction = self.tables.storage.transaction();
        transaction.insert(&self.tables.seeds, &year.to_be_bytes(), SEEDING);
        transaction.commit_durable().map_err(|error| storage("mark a seed", error))?;
        if again {
            self.leases.generation.fetch_add(1, Ordering::SeqCst);
        }
        let token = format!("{:032x}", fastrand::u128(..));
        held.insert(year, Held { token: token.clone(), until: now.saturating_add(LEASE_MILLIS) });
        Ok(Claimed::Granted(SeedLease { year, token, incarnation: 0 }))
    }

    fn add(&self, lease: &SeedLease, chunk: &SeedChunk, now: i64) -> Result<(), StateError> {
        self.leases.renew(lease, now.saturating_add(LEASE_MILLIS))?;
        let counter = counter_of(lease.year, chunk.set);
        let mut transaction = self.tables.storage.transaction();
        for &id in &chunk.ids {
            transaction.insert(&self.tables.sets, &counter.member(id).0, &[]);
        }
        transaction.commit().map_err(|error| storage("add to a seed", error))
    }

    fn finish(&self, lease: &SeedLease, own: &Base, open: &[Day], now: i64) -> Result<(), StateError> {
        self.leases.renew(lease, now)?;
        let (_applying, year, tables) = (self.lock(), lease.year, &self.tables);
        let mut transaction = tables.storage.transaction();
        for counter in Counter::OF_A_DAY {
            for entry in days_of(&tables.own, counter, year) {
                transaction.remove(&tables.own, &counter.of_day(entry?.0).0);
            }
        }
        for (&day, counts) in &own.days {
            for (counter, value) in Counter::OF_A_DAY.into_iter().zip(day_values(counts)) {
                transaction.insert(&tables.own, &counter.of_day(day).0, &value.to_be_bytes());
            }
            if !open.contains(&day) {
                transaction.insert(&tables.sets, &Counter::Closed.of_day(day).member(0).0, &[]);
            }
        }
        let YearSums { dev, repo, additions, deletions } = own.sums;
        for (counter, value) in Counter::OF_A_YEAR.into_iter().zip([dev, repo, additions, deletions]) {
            transaction.insert(&tables.own, &counter.of_year(year).0, &value.to_be_bytes());
        }
        transaction.insert(&tables.seeds, &year.to_be_bytes(), DONE);
        transaction.commit_durable().map_err(|error| storage("finish a seed", error))?;
        self.leases.held().remove(&year);
        Ok(())
    }
}

impl Tables {
    fn seed_mark(&self, year: i16) -> Result<Option<Vec<u8>>, StateError> {
        let mark = self.seeds.get(&year.to_be_bytes()).map_err(|error| storage("read a seed", error))?;
        Ok(mark.map(|mark| mark.to_vec()))
    }

    fn has_counts(&self, year: i16) -> Result<bool, StateError> {
        let key = Counter::YearDev.of_year(year);
        self.own.contains(&key.0).map_err(|error| storage("read a counter", error))
    }

    /// Empties the sets of a year and its days, and opens days that were closed.
    fn clear_sets(&self, year: i16) -> Result<(), StateError> {
        let of_year = [Counter::YearDev, Counter::YearRepo].map(|counter| [counter.of_year(year); 2]);
        let of_days = [Counter::Open, Counter::Merge, Counter::Close, Counter::DayDev, Counter::Pending];
        let of_days = of_days.into_iter().chain([Counter::Closed]);
        let of_days =
            of_days.map(|counter| [Day::first_of(year), Day::last_of(year)].map(|day| counter.of_day(day)));
        for [first, last] in of_year.into_iter().chain(of_days) {
            let (mut start, end) = (first.member(0).0.to_vec(), last.member(u64::MAX).0.to_vec());
            loop {
                let mut transaction = self.storage.transaction();
                let mut removed = None;
                for entry in self.sets.range(start.clone()..=end.clone()).take(CLEAR_MEMBERS) {
                    let (key, _) = entry.map_err(|error| storage("read a set", error))?;
                    transaction.remove(&self.sets, &key);
                    removed = Some(key.to_vec());
                }
                // From here on: what was removed is walked over until the files are written anew.
                let Some(last) = removed else { break };
                start = last;
                transaction.commit().map_err(|error| storage("empty a set", error))?;
            }
        }
        Ok(())
    }
}

fn counter_of(year: i16, set: SeedSet) -> CounterKey {
    match set {
        SeedSet::YearDev => Counter::YearDev.of_year(year),
        SeedSet::YearRepo => Counter::YearRepo.of_year(year),
        SeedSet::Open(day) => Counter::Open.of_day(day),
        SeedSet::Merge(day) => Counter::Merge.of_day(day),
        SeedSet::Close(day) => Counter::Close.of_day(day),
        SeedSet::DayDev(day) => Counter::DayDev.of_day(day),
        SeedSet::Pending(day) => Counter::Pending.of_day(day),
    }
}

#[async_trait]
impl Seeds for EmbeddedState {
    fn require_seeds(&self) {
        self.inner.leases.required.store(true, Ordering::Relaxed);
    }

    async fn claim_seed(&self, year: i16, again: bool, now: i64) -> Result<Claimed, StateError> {
        self.blocking(move |inner| {
            let claimed = inner.claim(year, again, now)?;
            if matches!(claimed, Claimed::Granted(_)) {
                inner.tables.clear_sets(year)?;
            }
            Ok(claimed)
        })
        .await
    }

    async fn seed(&self, lease: &SeedLease, chunk: &SeedChunk, now: i64) -> Result<(), StateError> {
        let (lease, chunk) = (lease.clone(), chunk.clone());
        self.blocking(move |inner| inner.add(&lease, &chunk, now)).await
    }

    async fn renew_seed(&self, lease: &SeedLease, now: i64) -> Result<(), StateError> {
        self.inner.leases.renew(lease, now.saturating_add(LEASE_MILLIS))
    }

    async fn finish_seed(
        &self,
        lease: &SeedLease,
        own: &Base,
        open: &[Day],
        now: i64,
    ) -> Result<(), StateError> {
        let (lease, own, open) = (lease.clone(), own.clone(), open.to_vec());
        self.blocking(move |inner| inner.finish(&lease, &own, &open, now)).await
    }

    async fn release_seed(&self, lease: &SeedLease) -> Result<(), StateError> {
        let mut held = self.inner.leases.held();
        if held.get(&lease.year).is_some_and(|held| held.token == lease.token) {
            held.remove(&lease.year);
        }
        Ok(())
    }
}
