//! Seeding: a year's own counts are taken over from history before the first of its events is applied.

use async_trait::async_trait;

use super::{Base, StateError};
use crate::event::Day;

/// How long a claim holds without being renewed, in milliseconds.
pub const LEASE_MILLIS: i64 = 30_000;

/// A set that guards a counter, or the sizes that are still missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeedSet {
    /// Developers of the year.
    YearDev,
    /// Repositories of the year.
    YearRepo,
    /// Pull requests opened on a day.
    Open(Day),
    /// Pull requests merged on a day.
    Merge(Day),
    /// Pull requests closed on a day.
    Close(Day),
    /// Developers of a day.
    DayDev(Day),
    /// Pull requests merged on a day whose size is not known.
    Pending(Day),
}

/// Members of one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedChunk {
    /// The set.
    pub set: SeedSet,
    /// Ids in it, in any order, also ones that it has.
    pub ids: Vec<u64>,
}

/// The right to seed a year; only meaningful to the state that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedLease {
    /// The year.
    pub year: i16,
    /// Tells this claim from every other one.
    pub token: String,
    /// Which run of the store gave it.
    pub incarnation: u64,
}

/// What a claim was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The year is seeded, or has counts of before there were seeds: its events may be applied.
    NotNeeded,
    /// Somebody else is at it.
    Elsewhere,
    /// The claimant is to seed it.
    Granted(SeedLease),
}

/// The seeds of a state.
///
/// Guarantees:
/// - **Applying waits.** From a granted claim until it is finished no event of the year is applied, by whatever process:
///   [`StateError::Unseeded`]. With `require_seeds` neither are events of a year without counts and without a seed.
/// - **One at a time.** A year is seeded by whoever holds the lease. It ends [`LEASE_MILLIS`] after the last call that
///   used it, and another claim is granted then; what the former holder still sends is refused.
/// - **Restartable.** A granted claim begins with empty sets, whatever an earlier one left in them.
/// - **All or nothing for readers.** A seed changes published values when it is finished, never before.
/// - **Nothing is lost underneath.** A batch that was applied before a claim `again` was granted is lost to its worker:
///   `persist` says so, and `holds` where it was persisted already.
#[async_trait]
pub trait Seeds: Send + Sync {
    /// From now on events of a year without counts are applied only after its seed.
    fn require_seeds(&self);

    /// Claims the seed of `year` at `now` (Unix milliseconds); `again` also where it has one.
    async fn claim_seed(&self, year: i16, again: bool, now: i64) -> Result<Claimed, StateError>;

    /// Adds members to a set and renews the lease.
    ///
    /// # Errors
    /// [`StateError::SeedLost`] where the lease is no longer the holder's or the store may have lost what it was given.
    async fn seed(&self, lease: &SeedLease, chunk: &SeedChunk, now: i64) -> Result<(), StateError>;

    /// Renews the lease.
    ///
    /// # Errors
    /// As [`Seeds::seed`].
    async fn renew_seed(&self, lease: &SeedLease, now: i64) -> Result<(), StateError>;

    /// Sets the year's own counts and publishes them. Of the days in `own` those in `open` go on counting, the others
    /// are closed; days that are not in it lose the counts that they had.
    ///
    /// # Errors
    /// As [`Seeds::seed`].
    async fn finish_seed(
        &self,
        lease: &SeedLease,
        own: &Base,
        open: &[Day],
        now: i64,
    ) -> Result<(), StateError>;

    /// Gives the lease back unfinished, so that nobody has to wait for its end.
    async fn release_seed(&self, lease: &SeedLease) -> Result<(), StateError>;
}
