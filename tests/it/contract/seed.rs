//! What `Seeds` promises.

use std::collections::BTreeMap;
use std::sync::Arc;

use pulsehub::event::{Day, EventKey};
use pulsehub::mutation::{Mutation, Numbers, Outcome, Size};
use pulsehub::state::embedded::EmbeddedState;
use pulsehub::state::seed::{Claimed, LEASE_MILLIS, SeedChunk, SeedLease, SeedSet};
use pulsehub::state::{Base, DayCounts, State, StateError, YearSums};
use pulsehub::storage::Storage;

use crate::support::redis::{prefix, settings, shared_server, state};

/// 2026-11-21T00:00:00Z
const NOW: i64 = 1_795_219_200_000;

/// Gives two handles to one store: of two processes where there can be two.
trait Backend {
    async fn open(&self) -> [Arc<dyn State>; 2];
}

struct Embedded(tempfile::TempDir);

impl Backend for Embedded {
    async fn open(&self) -> [Arc<dyn State>; 2] {
        let storage = Storage::open(self.0.path()).unwrap();
        let state = Arc::new(EmbeddedState::open(&storage, 3_600).unwrap());
        [state.clone(), state]
    }
}

struct Redis(String);

impl Backend for Redis {
    async fn open(&self) -> [Arc<dyn State>; 2] {
        let settings = settings(&shared_server(), &self.0);
        [state(&settings), state(&settings)]
    }
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
                super::$name(super::Embedded(tempfile::tempdir().unwrap())).await;
            })*
        }

        mod redis {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
                super::$name(super::Redis(super::prefix())).await;
            })*
        }
    };
}

contract!(
    a_year_without_counts_waits_for_its_seed_where_seeds_are_required,
    a_year_with_counts_needs_no_seed,
    what_a_seed_holds_counts_no_second_time,
    sizes_that_history_lacks_count_once_when_they_come,
    a_seed_that_broke_off_begins_again_with_empty_sets,
    a_lease_that_is_not_renewed_ends_and_its_holder_is_refused,
    a_lease_that_is_given_back_is_free_at_once,
    readers_see_a_seed_when_it_is_finished,
    a_seed_again_replaces_counts_and_loses_the_batches_of_before,
    a_seed_of_many_ids_keeps_each,
    the_base_stays_beside_a_seed,
);

fn today() -> Day {
    Day::of(NOW / 1000).unwrap()
}

fn day_before(days: i32) -> Day {
    Day::from_number(today().number() - days).unwrap()
}

/// An event of a person and a repository of its own, some days ago.
fn mutation(days_ago: i64, outcome: Outcome, pull_request: u64) -> Mutation {
    let key = EventKey { id: pull_request as i64, created_at: NOW / 1000 - days_ago * 86_400 };
    Mutation {
        key,
        day: key.day().unwrap(),
        outcome,
        pull_request,
        actor: 1_000 + pull_request,
        repo: 2_000 + pull_request,
        size: None,
        language: None,
        claim: None,
    }
}

async fn claim(state: &Arc<dyn State>) -> SeedLease {
    match state.claim_seed(2026, false, NOW).await.unwrap() {
        Claimed::Granted(lease) => lease,
        other => panic!("{other:?}"),
    }
}

async fn add(state: &Arc<dyn State>, lease: &SeedLease, set: SeedSet, ids: impl IntoIterator<Item = u64>) {
    let chunk = SeedChunk { set, ids: ids.into_iter().collect() };
    state.seed(lease, &chunk, NOW).await.unwrap();
}

/// Pull requests `ids` as opened today by as many people in as many repositories, and a day before with counts only.
async fn seed_opened(state: &Arc<dyn State>, lease: &SeedLease, ids: std::ops::RangeInclusive<u64>) {
    add(state, lease, SeedSet::Open(today()), ids.clone()).await;
    add(state, lease, SeedSet::DayDev(today()), ids.clone().map(|id| 1_000 + id)).await;
    add(state, lease, SeedSet::YearDev, ids.clone().map(|id| 1_000 + id)).await;
    add(state, lease, SeedSet::YearRepo, ids.clone().map(|id| 2_000 + id)).await;
    state.finish_seed(lease, &own(ids.count() as u64), &[day_before(1), today()], NOW).await.unwrap();
}

fn own(count: u64) -> Base {
    let opened = DayCounts { open: count, dev: count, ..DayCounts::default() };
    Base {
        days: BTreeMap::from([(today(), opened), (day_before(5), DayCounts { merge: 7, ..opened })]),
        sums: YearSums { dev: count, repo: count, additions: 50, deletions: 40 },
    }
}

async fn refused(state: &Arc<dyn State>, mutation: Mutation) -> bool {
    let refused = state.apply(vec![mutation], NOW).await;
    matches!(refused, Err(StateError::Unseeded { year: 2026 }))
}

async fn a_year_without_counts_waits_for_its_seed_where_seeds_are_required(backend: impl Backend) {
    let [state, _] = backend.open().await;
    state.require_seeds();
    let event = mutation(0, Outcome::Opened, 1);
    assert!(refused(&state, event.clone()).await);
    assert!(state.snapshot(2026).await.unwrap().unseeded);
    // Nothing of it counts for a year.
    state.apply(vec![mutation(0, Outcome::Reopened, 9)], NOW).await.unwrap();
    let lease = claim(&state).await;
    assert!(refused(&state, event.clone()).await);
    state.finish_seed(&lease, &Base::default(), &[], NOW).await.unwrap();
    let numbers = state.apply(vec![event], NOW).await.unwrap().numbers;
    assert_eq!((numbers[0].open, numbers[0].dev_year), (1, 1));
    let snapshot = state.snapshot(2026).await.unwrap();
    assert_eq!((snapshot.sums.dev, snapshot.unseeded), (1, false));
    assert_eq!(state.claim_seed(2026, false, NOW).await.unwrap(), Claimed::NotNeeded);
}

async fn a_year_with_counts_needs_no_seed(backend: impl Backend) {
    let [state, _] = backend.open().await;
    state.apply(vec![mutation(0, Outcome::Opened, 1)], NOW).await.unwrap();
    state.require_seeds();
    state.apply(vec![mutation(0, Outcome::Opened, 2)], NOW).await.unwrap();
    assert_eq!(state.claim_seed(2026, false, NOW).await.unwrap(), Claimed::NotNeeded);
    assert!(!state.snapshot(2026).await.unwrap().unseeded);
    let other = state.claim_seed(2025, false, NOW).await.unwrap();
    assert!(matches!(other, Claimed::Granted(SeedLease { year: 2025, .. })), "{other:?}");
}

async fn what_a_seed_holds_counts_no_second_time(backend: impl Backend) {
    let [state, _] = backend.open().await;
    let lease = claim(&state).await;
    seed_opened(&state, &lease, 1..=3).await;
    let known: Vec<_> = (1..=3).map(|id| mutation(0, Outcome::Opened, id)).collect();
    let numbers = state.apply(known, NOW).await.unwrap().numbers;
    assert_eq!(numbers, [Numbers { pr: 1, ..Numbers::default() }; 3]);
    let snapshot = state.snapshot(2026).await.unwrap();
    assert_eq!((&snapshot.days, snapshot.sums), (&own(3).days, own(3).sums));

    // A closed day counts no more, its year does; a day that history does not know is open.
    let batch =
        [mutation(0, Outcome::Opened, 4), mutation(5, Outcome::Opened, 5), mutation(2, Outcome::Closed, 6)];
    let numbers = state.apply(batch.to_vec(), NOW).await.unwrap().numbers;
    let shape: Vec<_> =
        numbers.iter().map(|n| (n.open + n.close, n.dev_day, n.dev_year, n.repo_year)).collect();
    assert_eq!(shape, [(1, 1, 1, 1), (0, 0, 1, 1), (1, 1, 1, 1)]);
    let snapshot = state.snapshot(2026).await.unwrap();
    assert_eq!(snapshot.days[&today()].open, 4);
    assert_eq!(snapshot.days[&day_before(5)], own(3).days[&day_before(5)]);
    assert_eq!(snapshot.days[&day_before(2)].close, 1);
    assert_eq!((snapshot.sums.dev, snapshot.sums.repo), (6, 6));
    assert_eq!(state.own(2026).await.unwrap().days, snapshot.days);
}

async fn sizes_that_history_lacks_count_once_when_they_come(backend: impl Backend) {
    let [state, _] = backend.open().await;
    let lease = claim(&state).await;
    add(&state, &lease, SeedSet::Merge(today()), [1, 2]).await;
    add(&state, &lease, SeedSet::Pending(today()), [1]).await;
    let counts = DayCounts { merge: 2, ..DayCounts::default() };
    let sums = YearSums { additions: 50, deletions: 40, ..YearSums::default() };
    let own = Base { days: BTreeMap::from([(today(), counts)]), sums };
    state.finish_seed(&lease, &own, &[today()], NOW).await.unwrap();
    let sized =
        |id| Mutation { size: Some(Size { additions: 3, deletions: 2 }), ..mutation(0, Outcome::Merged, id) };
    for _ in 0..2 {
        state.apply(vec![sized(1), sized(2), sized(1)], NOW).await.unwrap();
    }
    let sums = state.snapshot(2026).await.unwrap().sums;
    assert_eq!((sums.additions, sums.deletions), (53, 42));
}

async fn a_seed_that_broke_off_begins_again_with_empty_sets(backend: impl Backend) {
    let [state, other] = backend.open().await;
    let lease = claim(&state).await;
    for set in [SeedSet::YearDev, SeedSet::YearRepo, SeedSet::Open(today()), SeedSet::DayDev(day_before(1))] {
        add(&state, &lease, set, [7, 1_007, 2_007, 1 << 40]).await;
    }
    let later = NOW + LEASE_MILLIS + 1;
    let Claimed::Granted(lease) = other.claim_seed(2026, false, later).await.unwrap() else {
        panic!("the lease has ended")
    };
    seed_opened(&other, &lease, 1..=2).await;
    let numbers = state.apply(vec![mutation(0, Outcome::Opened, 7)], NOW).await.unwrap().numbers;
    assert_eq!(
        numbers,
        [Numbers { pr: 1, open: 1, dev_day: 1, dev_year: 1, repo_year: 1, ..Numbers::default() }]
    );
    assert_eq!(state.snapshot(2026).await.unwrap().sums.dev, 3);
}

async fn a_lease_that_is_not_renewed_ends_and_its_holder_is_refused(backend: impl Backend) {
    let [one, other] = backend.open().await;
    let lease = claim(&one).await;
    let at = async |now| other.claim_seed(2026, false, now).await.unwrap();
    assert_eq!(at(NOW + LEASE_MILLIS - 1).await, Claimed::Elsewhere);
    assert_eq!(other.claim_seed(2026, true, NOW).await.unwrap(), Claimed::Elsewhere);
    one.renew_seed(&lease, NOW + 20_000).await.unwrap();
    assert_eq!(at(NOW + LEASE_MILLIS + 10_000).await, Claimed::Elsewhere);
    let taken = at(NOW + LEASE_MILLIS + 20_001).await;
    assert!(matches!(taken, Claimed::Granted(_)), "{taken:?}");
    let chunk = SeedChunk { set: SeedSet::YearDev, ids: vec![1] };
    for refused in [
        one.seed(&lease, &chunk, NOW).await,
        one.renew_seed(&lease, NOW).await,
        one.finish_seed(&lease, &own(1), &[], NOW).await,
    ] {
        assert!(matches!(refused, Err(StateError::SeedLost)), "{refused:?}");
    }
    assert_eq!(other.snapshot(2026).await.unwrap().sums, YearSums::default());
}

async fn a_lease_that_is_given_back_is_free_at_once(backend: impl Backend) {
    let [one, other] = backend.open().await;
    one.require_seeds();
    let lease = claim(&one).await;
    one.release_seed(&lease).await.unwrap();
    assert!(refused(&one, mutation(0, Outcome::Opened, 1)).await, "it is not finished");
    seed_opened(&other, &claim(&other).await, 1..=2).await;
    assert_eq!(one.snapshot(2026).await.unwrap().sums.dev, 2);
}

async fn readers_see_a_seed_when_it_is_finished(backend: impl Backend) {
    let [state, reader] = backend.open().await;
    let lease = claim(&state).await;
    add(&state, &lease, SeedSet::YearDev, 1..=9).await;
    let before = reader.snapshot(2026).await.unwrap();
    assert!(before.unseeded && before.days.is_empty() && before.sums == YearSums::default());
    seed_opened(&state, &lease, 1..=3).await;
    let after = reader.snapshot(2026).await.unwrap();
    assert_eq!((after.unseeded, after.days, after.sums), (false, own(3).days, own(3).sums));
}

async fn a_seed_again_replaces_counts_and_loses_the_batches_of_before(backend: impl Backend) {
    let [worker, command] = backend.open().await;
    let batch = vec![mutation(0, Outcome::Opened, 8), mutation(3, Outcome::Closed, 9)];
    let receipt = worker.apply(batch.clone(), NOW).await.unwrap().receipt;
    worker.persist(receipt).await.unwrap();
    assert!(worker.holds(receipt).await.unwrap());
    let unsettled = worker.apply(batch.clone(), NOW).await.unwrap().receipt;
    let before = worker.snapshot(2026).await.unwrap();
    let Claimed::Granted(lease) = command.claim_seed(2026, true, NOW).await.unwrap() else {
        panic!("nobody else is at it")
    };
    let during = worker.snapshot(2026).await.unwrap();
    assert_eq!((during.days, during.sums), (before.days, before.sums), "served while it is replaced");
    assert!(during.unseeded && refused(&worker, mutation(0, Outcome::Opened, 1)).await);
    assert!(!worker.holds(receipt).await.unwrap());
    let persisted = worker.persist(unsettled).await;
    assert!(matches!(persisted, Err(StateError::Lost)), "{persisted:?}");
    seed_opened(&command, &lease, 1..=2).await;
    let after = worker.snapshot(2026).await.unwrap();
    assert_eq!((after.days, after.sums), (own(2).days, own(2).sums));
    assert_eq!(*worker.emptied().borrow(), 0, "nothing was lost");
    worker.apply(batch, NOW).await.unwrap();
    let again = worker.snapshot(2026).await.unwrap();
    assert_eq!((again.days[&today()].open, again.days[&day_before(3)].close, again.sums.dev), (3, 1, 4));
}

async fn a_seed_of_many_ids_keeps_each(backend: impl Backend) {
    let [state, _] = backend.open().await;
    let lease = claim(&state).await;
    let ids: Vec<u64> = (0..9_000).map(|n| n * 31_337).chain([1 << 40, u64::MAX >> 1]).collect();
    for set in [SeedSet::YearDev, SeedSet::YearRepo, SeedSet::Open(today()), SeedSet::DayDev(today())] {
        // A part that comes twice, as after an answer that was lost.
        add(&state, &lease, set, ids.clone()).await;
        add(&state, &lease, set, ids[..5_000].to_vec()).await;
    }
    let count = ids.len() as u64;
    state.finish_seed(&lease, &own(count), &[today()], NOW).await.unwrap();
    let known = |id: u64| Mutation { actor: id, repo: id, ..mutation(0, Outcome::Opened, id) };
    for ids in ids.chunks(150) {
        let numbers = state.apply(ids.iter().copied().map(known).collect(), NOW).await.unwrap().numbers;
        assert!(numbers.iter().all(|one| *one == Numbers { pr: 1, ..Numbers::default() }));
    }
    let numbers = state.apply(vec![known(1), known((1 << 40) + 1)], NOW).await.unwrap().numbers;
    assert!(numbers.iter().all(|one| (one.open, one.dev_year, one.repo_year) == (1, 1, 1)), "{numbers:?}");
}

async fn the_base_stays_beside_a_seed(backend: impl Backend) {
    let [state, _] = backend.open().await;
    let lease = claim(&state).await;
    let more = DayCounts { open: 9, ..DayCounts::default() };
    let base = Base { days: BTreeMap::from([(today(), more), (day_before(1), more)]), ..Base::default() };
    state.set_base(2026, base).await.unwrap();
    seed_opened(&state, &lease, 1..=3).await;
    let days = state.snapshot(2026).await.unwrap().days;
    assert_eq!(days[&today()], DayCounts { open: 9, dev: 3, ..DayCounts::default() });
    assert_eq!((days[&day_before(1)], days[&day_before(5)].merge), (more, 7));
    assert_eq!(state.own(2026).await.unwrap().days[&today()].open, 3);
}
