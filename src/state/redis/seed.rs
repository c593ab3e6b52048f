//! Seeding in Redis: `lua/seed_*.lua`, in calls of a few milliseconds, all in one run of the server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use redis::{FromRedisValue, Value};

use super::connection::Session;
use super::error::{Fault, code, state_error};
use super::keys::{LAST_BIT, Part, Set, day_of};
use super::scripts::{Arguments, Script};
use super::{Inner, RedisState};
use crate::event::Day;
use crate::state::seed::{Claimed, LEASE_MILLIS, SeedChunk, SeedLease, SeedSet, Seeds};
use crate::state::{Base, DayCounts, StateError, YearSums};

/// Members that one call adds: about 2 ms of the server's only thread.
const CALL_MEMBERS: usize = 2_000;

/// How long a lease goes without being renewed while the store is searched: a third of what it lasts.
const RENEW_MILLIS: i64 = LEASE_MILLIS / 3;

/// Keys that one call deletes.
const CALL_KEYS: usize = 100;

impl Inner {
    async fn claim(&self, year: i16, again: bool, now: i64) -> Result<Claimed, StateError> {
        let token = format!("{:032x}", fastrand::u128(..));
        let mut renewed = false;
        loop {
            let session = self.link.session().await?;
            let period = year.to_string();
            let mut call = Arguments::default();
            call.key(self.keys.epoch()).key(self.keys.seed(year)).key(self.keys.own(&period));
            call.arg(&token).arg(now).arg(now.saturating_add(LEASE_MILLIS));
            call.arg(if again { next_epoch(&session.epoch) } else { String::new() });
            let reply = match session.call(&session.writes, Script::SeedClaim, &call).await {
                Ok(reply) => reply,
                Err(error) => {
                    if self.note(&session, &error) == Fault::Stale && !renewed {
                        renewed = true;
                        continue;
                    }
                    return Err(state_error(error));
                }
            };
            let reply = i64::from_redis_value(reply).map_err(|_| MALFORMED)?;
            match reply {
                0 => return Ok(Claimed::NotNeeded),
                1 => return Ok(Claimed::Elsewhere),
                _ => {}
            }
            if again {
                // Its epoch is another now.
                self.link.drop_session(&session);
            }
            let incarnation = self.link.session().await?.incarnation;
            let lease = SeedLease { year, token, incarnation };
            if reply == 3 {
                self.clear_sets(&lease).await?;
            }
            return Ok(Claimed::Granted(lease));
        }
    }

    /// Deletes the sets of the lease's year and its days, and opens days that were closed.
    async fn clear_sets(&self, lease: &SeedLease) -> Result<(), StateError> {
        let session = self.session_of(lease).await?;
        let (mut keys, mut cursor, mut renewed) = (Vec::new(), 0_u64, self.link.now());
        let failed = |error| self.seed_error(&session, error);
        let asked = async {
            let days: Vec<String> = redis::cmd("HKEYS")
                .arg(self.keys.days())
                .query_async(&mut session.reads.clone())
                .await
                .map_err(failed)?;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(self.keys.pattern("ph:")).arg("COUNT").arg(1_000);
                let (next, found): (u64, Vec<String>) =
                    scan.query_async(&mut session.reads.clone()).await.map_err(failed)?;
                keys.extend(found.into_iter().filter(|key| self.keys.is_set_of(key, lease.year)));
                cursor = next;
                if next == 0 {
                    return Ok::<_, StateError>(days);
                }
                // A store of many keys takes longer than the lease lasts.
                let now = self.link.now();
                if !(0..RENEW_MILLIS).contains(&now.saturating_sub(renewed)) {
                    self.add(lease, SeedSet::YearDev, &[], now).await?;
                    renewed = now;
                }
            }
        };
        let mut days = asked.await?;
        days.retain(|day| day_of(day).is_some_and(|day| day.year() == lease.year));
        let mut rest = days.as_slice();
        // Once with the days even where there are no keys.
        for chunk in keys.chunks(CALL_KEYS).chain(std::iter::once(&[][..])) {
            let mut call = Arguments::default();
            call.key(self.keys.epoch()).key(self.keys.seed(lease.year)).key(self.keys.days());
            for key in chunk {
                call.key(key.clone());
            }
            call.arg(&lease.token).arg(self.link.now().saturating_add(LEASE_MILLIS));
            for day in std::mem::take(&mut rest) {
                call.arg(day);
            }
            self.call_within(lease, Script::SeedClear, &call).await?;
        }
        Ok(())
    }

    async fn add(&self, lease: &SeedLease, set: SeedSet, ids: &[u64], now: i64) -> Result<(), StateError> {
        let set = set_of(lease.year, set);
        let mut parts: BTreeMap<Part, Vec<u64>> = BTreeMap::new();
        for &id in ids {
            let (part, member) = set.place(id);
            parts.entry(part).or_default().push(member);
        }
        let mut call = Arguments::default();
        call.key(self.keys.epoch()).key(self.keys.seed(lease.year));
        call.arg(&lease.token).arg(now.saturating_add(LEASE_MILLIS)).arg(LAST_BIT);
        for (part, members) in parts {
            call.key(self.keys.set(set, part)).arg(part.kind()).arg(members.len());
            for member in members {
                call.arg(member);
            }
        }
        self.call_within(lease, Script::SeedAdd, &call).await
    }

    async fn finish(&self, lease: &SeedLease, own: &Base, open: &[Day], now: i64) -> Result<(), StateError> {
        let (year, period) = (lease.year, lease.year.to_string());
        let mut days: BTreeMap<Day, (DayCounts, &str)> = self
            .snapshot(year)
            .await?
            .days
            .into_keys()
            .map(|day| (day, (DayCounts::default(), "gone")))
            .collect();
        let kind = |day| if open.contains(day) { "open" } else { "closed" };
        days.extend(own.days.iter().map(|(day, counts)| (*day, (*counts, kind(day)))));
        let mut call = Arguments::default();
        call.key(self.keys.epoch()).key(self.keys.seed(year)).key(self.keys.seq()).key(self.keys.days());
        call.key(self.keys.own(&period)).key(self.keys.base(&period));
        for key in self.keys.published(year) {
            call.key(key);
        }
        let YearSums { dev, repo, additions, deletions } = own.sums;
        call.arg(&lease.token).arg(now.div_euclid(1000));
        call.arg(dev).arg(repo).arg(additions).arg(deletions);
        for (day, (DayCounts { open, merge, close, dev }, kind)) in days {
            let name = day.to_string();
            call.key(self.keys.own(&name)).key(self.keys.base(&name)).key(self.keys.closed(&name));
            call.arg(&name).arg(kind).arg(open).arg(merge).arg(close).arg(dev);
        }
        self.call_within(lease, Script::SeedFinish, &call).await
    }

    /// The session, where it is one to the run of the store that gave the lease: another one may have lost members.
    async fn session_of(&self, lease: &SeedLease) -> Result<Arc<Session>, StateError> {
        let session = self.link.session().await?;
        if session.incarnation == lease.incarnation { Ok(session) } else { Err(StateError::SeedLost) }
    }

    async fn call_within(
        &self,
        lease: &SeedLease,
        script: Script,
        arguments: &Arguments,
    ) -> Result<(), StateError> {
        let session = self.session_of(lease).await?;
        let called: Result<Value, _> = session.call(&session.writes, script, arguments).await;
        called.map(drop).map_err(|error| self.seed_error(&session, error))
    }

    fn seed_error(&self, session: &Arc<Session>, error: redis::RedisError) -> StateError {
        let stale = self.note(session, &error) == Fault::Stale;
        if stale || code(&error) == "SEEDING" { StateError::SeedLost } else { state_error(error) }
    }
}

const MALFORMED: StateError = StateError::Malformed { what: "reply of seed_claim.lua" };

/// The epoch after `epoch` of the same store: what stands before the dot names the store.
fn next_epoch(epoch: &str) -> String {
    let (store, number) = epoch.split_once('.').unwrap_or((epoch, "0"));
    format!("{store}.{}", number.parse::<u64>().unwrap_or(0).saturating_add(1))
}

fn set_of(year: i16, set: SeedSet) -> Set {
    match set {
        SeedSet::YearDev => Set::YearDev(year),
        SeedSet::YearRepo => Set::YearRepo(year),
        SeedSet::Open(day) => Set::Open(day),
        SeedSet::Merge(day) => Set::Merge(day),
        SeedSet::Close(day) => Set::Close(day),
        SeedSet::DayDev(day) => Set::DayDev(day),
        SeedSet::Pending(day) => Set::Pending(day),
    }
}

#[async_trait]
impl Seeds for RedisState {
    fn require_seeds(&self) {
        self.inner.seeds_required.store(true, Ordering::Relaxed);
    }

    async fn claim_seed(&self, year: i16, again: bool, now: i64) -> Result<Claimed, StateError> {
        self.inner.claim(year, again, now).await
    }

    async fn seed(&self, lease: &SeedLease, chunk: &SeedChunk, now: i64) -> Result<(), StateError> {
        for ids in chunk.ids.chunks(CALL_MEMBERS) {
            self.inner.add(lease, chunk.set, ids, now).await?;
        }
        Ok(())
    }

    async fn renew_seed(&self, lease: &SeedLease, now: i64) -> Result<(), StateError> {
        self.inner.add(lease, SeedSet::YearDev, &[], now).await
    }

    async fn finish_seed(
        &self,
        lease: &SeedLease,
        own: &Base,
        open: &[Day],
        now: i64,
    ) -> Result<(), StateError> {
        self.inner.finish(lease, own, open, now).await
    }

    async fn release_seed(&self, lease: &SeedLease) -> Result<(), StateError> {
        // As if it had been renewed until the beginning of time.
        self.inner.add(lease, SeedSet::YearDev, &[], -LEASE_MILLIS).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_keeps_its_name_through_seeds() {
        assert_eq!(next_epoch("ab"), "ab.1");
        assert_eq!(next_epoch("ab.9"), "ab.10");
    }
}
