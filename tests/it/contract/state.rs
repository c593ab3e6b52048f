//! What `State` promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pulsehub::event::{Day, EventKey};
use pulsehub::mutation::{Mutation, Numbers, Outcome, Size};
use pulsehub::state::embedded::EmbeddedState;
use pulsehub::state::{Base, DayCounts, State, YearSums};
use pulsehub::storage::Storage;

use crate::support::redis::{RedisServer, prefix, settings, shared_server, state};

/// 2026-11-21T00:00:00Z
const NOW: i64 = 1_795_219_200_000;
const HOUR: i64 = 3_600_000;
const LATEST_DURING: i64 = 3_600;

/// How a suite gets at a backend.
pub trait Backend {
    /// Opens the state; what an earlier one in the same place was given is still there.
    async fn open(&self) -> Arc<dyn State>;
}

pub struct Embedded(pub tempfile::TempDir);

impl Backend for Embedded {
    async fn open(&self) -> Arc<dyn State> {
        let storage = Storage::open(self.0.path()).unwrap();
        Arc::new(EmbeddedState::open(&storage, LATEST_DURING).unwrap())
    }
}

/// Each test has its own prefix on the server that all share.
pub struct Redis(pub String);

impl Backend for Redis {
    async fn open(&self) -> Arc<dyn State> {
        state(&settings(&shared_server(), &self.0))
    }
}

/// Keys that are not all in one slot would be refused.
pub struct Cluster(RedisServer);

impl Cluster {
    pub async fn start() -> Self {
        Self(RedisServer::cluster().await)
    }
}

impl Backend for Cluster {
    async fn open(&self) -> Arc<dyn State> {
        state(&settings(&self.0.host(), "{gh}:"))
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

        mod redis_cluster {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
                super::$name(super::Cluster::start().await).await;
            })*
        }
    };
}

contract!(
    an_empty_state_reads_as_empty,
    each_outcome_counts_in_its_own_place,
    redelivered_event_is_counted_once,
    a_redelivered_event_gets_the_numbers_that_it_had_for_24_hours,
    an_event_forgotten_by_all_memories_changes_nothing_twice,
    one_person_and_repository_count_once_a_day_and_year,
    sizes_count_once_with_the_first_event_that_knows_them,
    a_language_counts_once_in_the_second_of_its_arrival,
    languages_expire_after_twice_the_window,
    seq_grows_and_survives_a_restart,
    concurrent_batches_add_up,
    published_is_the_larger_of_own_and_base,
    any_order_and_repetition_gives_the_same_counters,
    own_is_told_apart_from_base_and_a_new_base_replaces_the_old,
);

fn mutation(id: i64, outcome: Outcome, pull_request: u64) -> Mutation {
    let key = EventKey { id, created_at: NOW / 1000 };
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

fn sized(mut mutation: Mutation, additions: u64, deletions: u64) -> Mutation {
    mutation.size = Some(Size { additions, deletions });
    mutation
}

fn in_language(mut mutation: Mutation, language: &str) -> Mutation {
    mutation.language = Some(language.to_owned());
    mutation
}

async fn apply(state: &Arc<dyn State>, mutations: &[Mutation], now: i64) -> Vec<Numbers> {
    state.apply(mutations.to_vec(), now).await.unwrap().numbers
}

async fn today(state: &Arc<dyn State>) -> DayCounts {
    let day = Day::of(NOW / 1000).unwrap();
    state.snapshot(2026).await.unwrap().days.get(&day).copied().unwrap_or_default()
}

async fn sums(state: &Arc<dyn State>) -> YearSums {
    state.snapshot(2026).await.unwrap().sums
}

async fn an_empty_state_reads_as_empty(backend: impl Backend) {
    let state = backend.open().await;
    let snapshot = state.snapshot(2026).await.unwrap();
    assert!(snapshot.days.is_empty() && snapshot.sums == YearSums::default());
    assert!(state.languages(0..=NOW).await.unwrap().is_empty());
    assert!(apply(&state, &[], NOW).await.is_empty());
    assert!(state.snapshot(-9999).await.unwrap().days.is_empty());
    assert!(state.snapshot(i16::MAX).await.unwrap().days.is_empty());
}

async fn each_outcome_counts_in_its_own_place(backend: impl Backend) {
    let state = backend.open().await;
    let batch = [
        mutation(1, Outcome::Opened, 1),
        sized(mutation(2, Outcome::Merged, 2), 30, 4),
        sized(mutation(3, Outcome::Closed, 3), 500, 500),
        mutation(4, Outcome::Reopened, 4),
    ];
    let numbers = apply(&state, &batch, NOW).await;
    let counted = Numbers { pr: 1, dev_day: 1, dev_year: 1, repo_year: 1, ..Numbers::default() };
    assert_eq!(numbers[0], Numbers { open: 1, ..counted });
    assert_eq!(numbers[1], Numbers { merge: 1, ..counted });
    assert_eq!(numbers[2], Numbers { close: 1, ..counted });
    assert_eq!(numbers[3], Numbers { pr: 1, ..Numbers::default() });
    assert_eq!(today(&state).await, DayCounts { open: 1, merge: 1, close: 1, dev: 3 });
    assert_eq!(sums(&state).await, YearSums { dev: 3, repo: 3, additions: 30, deletions: 4 });
}

async fn redelivered_event_is_counted_once(backend: impl Backend) {
    let state = backend.open().await;
    let event = sized(mutation(1, Outcome::Merged, 1), 7, 8);
    apply(&state, &[event.clone(), event.clone()], NOW).await;
    apply(&state, std::slice::from_ref(&event), NOW + 1).await;
    drop(state);
    let state = backend.open().await;
    apply(&state, &[event], NOW + 2).await;
    assert_eq!(today(&state).await, DayCounts { merge: 1, dev: 1, ..DayCounts::default() });
    assert_eq!(sums(&state).await, YearSums { dev: 1, repo: 1, additions: 7, deletions: 8 });
}

async fn a_redelivered_event_gets_the_numbers_that_it_had_for_24_hours(backend: impl Backend) {
    let state = backend.open().await;
    let event = mutation(1, Outcome::Opened, 1);
    let first = apply(&state, std::slice::from_ref(&event), NOW).await;
    assert_eq!(apply(&state, std::slice::from_ref(&event), NOW + 24 * HOUR - 1_000).await, first);
    let forgotten = apply(&state, &[event], NOW + 24 * HOUR).await;
    assert_eq!(forgotten, [Numbers { pr: 1, ..Numbers::default() }]);
}

async fn an_event_forgotten_by_all_memories_changes_nothing_twice(backend: impl Backend) {
    let state = backend.open().await;
    let event = sized(mutation(1, Outcome::Merged, 1), 7, 8);
    for days in 0..12 {
        apply(&state, std::slice::from_ref(&event), NOW + days * 49 * HOUR).await;
        // Others come in between, so that whatever expires does.
        let other = mutation(100 + days, Outcome::Reopened, 100);
        apply(&state, &[other], NOW + days * 49 * HOUR + HOUR).await;
    }
    assert_eq!(today(&state).await, DayCounts { merge: 1, dev: 1, ..DayCounts::default() });
    assert_eq!(sums(&state).await, YearSums { dev: 1, repo: 1, additions: 7, deletions: 8 });
}

async fn one_person_and_repository_count_once_a_day_and_year(backend: impl Backend) {
    let state = backend.open().await;
    let on = |id: i64, created_at: i64, pull_request: u64| {
        let key = EventKey { id, created_at };
        let day = key.day().unwrap();
        Mutation { key, day, actor: 1, repo: 2, ..mutation(id, Outcome::Opened, pull_request) }
    };
    let today = NOW / 1000;
    let numbers = apply(&state, &[on(1, today, 1), on(2, today, 2), on(3, today - 86_400, 3)], NOW).await;
    let shape: Vec<_> = numbers.iter().map(|n| (n.dev_day, n.dev_year, n.repo_year)).collect();
    assert_eq!(shape, [(1, 1, 1), (0, 0, 0), (1, 0, 0)]);
    apply(&state, &[on(4, today - 366 * 86_400, 4)], NOW).await;
    assert_eq!(state.snapshot(2025).await.unwrap().sums, YearSums { dev: 1, repo: 1, ..YearSums::default() });
    let snapshot = state.snapshot(2026).await.unwrap();
    assert_eq!((snapshot.days.len(), snapshot.sums.dev), (2, 1));
}

async fn sizes_count_once_with_the_first_event_that_knows_them(backend: impl Backend) {
    let state = backend.open().await;
    let unknown = mutation(1, Outcome::Merged, 1);
    let known = sized(unknown.clone(), 10, 20);
    apply(&state, std::slice::from_ref(&unknown), NOW).await;
    assert_eq!((sums(&state).await.additions, sums(&state).await.deletions), (0, 0));
    apply(&state, &[known.clone(), known.clone(), unknown], NOW).await;
    apply(&state, &[known], NOW + 48 * HOUR).await;
    assert_eq!((sums(&state).await.additions, sums(&state).await.deletions), (10, 20));
    // A second event of a pull request that was counted with its size adds nothing.
    apply(&state, &[sized(mutation(2, Outcome::Merged, 1), 99, 99)], NOW).await;
    assert_eq!((sums(&state).await.additions, sums(&state).await.deletions), (10, 20));
}

async fn a_language_counts_once_in_the_second_of_its_arrival(backend: impl Backend) {
    let state = backend.open().await;
    let event = mutation(1, Outcome::Reopened, 1);
    apply(&state, std::slice::from_ref(&event), NOW).await;
    assert!(state.languages(0..=NOW).await.unwrap().is_empty());
    // The language became known later.
    let known = in_language(event, "C++");
    apply(&state, &[known.clone(), known.clone()], NOW + 1_500).await;
    apply(&state, &[known, in_language(mutation(2, Outcome::Opened, 2), "C++")], NOW + 2_000).await;
    let second = NOW / 1000;
    let counts = |count| BTreeMap::from([("C++".to_owned(), count)]);
    let all = state.languages(0..=NOW).await.unwrap();
    assert_eq!(all, BTreeMap::from([(second + 1, counts(1)), (second + 2, counts(1))]));
    assert_eq!(state.languages(second + 2..=second + 2).await.unwrap().len(), 1);
    assert!(state.languages(second + 3..=second + 9).await.unwrap().is_empty());
}

async fn languages_expire_after_twice_the_window(backend: impl Backend) {
    let state = backend.open().await;
    apply(&state, &[in_language(mutation(1, Outcome::Opened, 1), "C")], NOW).await;
    let other = |id| in_language(mutation(id, Outcome::Opened, id.unsigned_abs()), "Go");
    apply(&state, &[other(2)], NOW + 2 * LATEST_DURING * 1_000).await;
    assert_eq!(state.languages(0..=NOW).await.unwrap().len(), 2, "kept for twice the window");
    apply(&state, &[other(3)], NOW + 2 * LATEST_DURING * 1_000 + 1_000).await;
    apply(&state, &[other(4)], NOW + 2 * LATEST_DURING * 1_000 + 1_000).await;
    assert!(!state.languages(0..=NOW).await.unwrap().contains_key(&(NOW / 1000)));
}

async fn seq_grows_and_survives_a_restart(backend: impl Backend) {
    let state = backend.open().await;
    let next = async |state: &Arc<dyn State>, id, now| {
        state.apply(vec![mutation(id, Outcome::Opened, 1)], now).await.unwrap().seq
    };
    assert_eq!(next(&state, 1, NOW).await, NOW);
    assert_eq!(next(&state, 2, NOW).await, NOW + 1);
    assert_eq!(next(&state, 3, NOW - HOUR).await, NOW + 2, "a clock that steps back");
    assert_eq!(state.snapshot(2026).await.unwrap().seq, NOW + 2);
    drop(state);
    let state = backend.open().await;
    assert_eq!(state.snapshot(2026).await.unwrap().seq, NOW + 2);
    assert_eq!(next(&state, 4, NOW).await, NOW + 3);
    assert_eq!(next(&state, 5, NOW + HOUR).await, NOW + HOUR);
}

async fn concurrent_batches_add_up(backend: impl Backend) {
    let state = backend.open().await;
    let mut tasks = Vec::new();
    for worker in 0..8 {
        let state = state.clone();
        // Neighbours overlap by half.
        let batches = (0..10).map(move |batch| {
            let start = (worker * 100 + batch * 20) as u64;
            (start..start + 40)
                .map(|n| sized(mutation(n as i64, Outcome::Merged, n), 1, 1))
                .collect::<Vec<_>>()
        });
        tasks.push(tokio::spawn(async move {
            let mut seqs = Vec::new();
            for batch in batches {
                seqs.push(state.apply(batch, NOW).await.unwrap().seq);
            }
            seqs
        }));
    }
    let mut seqs = BTreeSet::new();
    for task in tasks {
        seqs.extend(task.await.unwrap());
    }
    assert_eq!(seqs.len(), 80, "every batch has its own number");
    let distinct = 7 * 100 + 9 * 20 + 40;
    assert_eq!(today(&state).await, DayCounts { merge: distinct, dev: distinct, ..DayCounts::default() });
    assert_eq!(sums(&state).await.additions, distinct);
}

async fn published_is_the_larger_of_own_and_base(backend: impl Backend) {
    let state = backend.open().await;
    apply(&state, &[sized(mutation(1, Outcome::Merged, 1), 50, 5)], NOW).await;
    let day = Day::of(NOW / 1000).unwrap();
    let yesterday = Day::of(NOW / 1000 - 86_400).unwrap();
    let base = Base {
        days: BTreeMap::from([
            (yesterday, DayCounts { open: 4, merge: 3, close: 2, dev: 1 }),
            (day, DayCounts { open: 9, ..DayCounts::default() }),
        ]),
        sums: YearSums { dev: 100, repo: 0, additions: 10, deletions: 10 },
    };
    state.set_base(2026, base).await.unwrap();
    let snapshot = state.snapshot(2026).await.unwrap();
    assert_eq!(snapshot.days[&yesterday], DayCounts { open: 4, merge: 3, close: 2, dev: 1 });
    assert_eq!(snapshot.days[&day], DayCounts { open: 9, merge: 1, close: 0, dev: 1 });
    assert_eq!(snapshot.days[&day].event(), 10, "the sum of the three published values");
    assert_eq!(snapshot.sums, YearSums { dev: 100, repo: 1, additions: 50, deletions: 10 });
    // A base is no increment: one event more is one more than own, not than base.
    apply(&state, &[sized(mutation(2, Outcome::Opened, 2), 1, 1)], NOW).await;
    assert_eq!(state.snapshot(2026).await.unwrap().days[&day].open, 9);
}

async fn any_order_and_repetition_gives_the_same_counters(backend: impl Backend) {
    let state = backend.open().await;
    let mut random = fastrand::Rng::with_seed(7);
    let outcomes = [Outcome::Opened, Outcome::Merged, Outcome::Closed, Outcome::Reopened];
    let events: Vec<Mutation> = (0..400)
        .map(|id| {
            // A pull request's size is always the same, but not every event knows it.
            let pull_request = random.u64(0..60);
            let event = mutation(id, random.choice(outcomes).unwrap(), pull_request);
            let key = EventKey { id, created_at: NOW / 1000 - random.i64(0..3) * 86_400 };
            let event = Mutation {
                key,
                day: key.day().unwrap(),
                actor: random.u64(0..20),
                repo: random.u64(0..9),
                ..event
            };
            if random.bool() { sized(event, pull_request, 2 * pull_request) } else { event }
        })
        .collect();
    let mut deliveries: Vec<Mutation> = (0..3).flat_map(|_| events.clone()).collect();
    random.shuffle(&mut deliveries);
    for (index, batch) in deliveries.chunks(37).enumerate() {
        apply(&state, batch, NOW + index as i64 * HOUR).await;
    }
    let snapshot = state.snapshot(2026).await.unwrap();
    let counted = || events.iter().filter(|event| event.outcome != Outcome::Reopened);
    let distinct = |keys: Vec<u64>| keys.into_iter().collect::<BTreeSet<_>>().len() as u64;
    for (day, counts) in &snapshot.days {
        let of = |outcome| {
            distinct(
                counted().filter(|e| e.day == *day && e.outcome == outcome).map(|e| e.pull_request).collect(),
            )
        };
        let dev = distinct(counted().filter(|e| e.day == *day).map(|e| e.actor).collect());
        let expected = DayCounts {
            open: of(Outcome::Opened),
            merge: of(Outcome::Merged),
            close: of(Outcome::Closed),
            dev,
        };
        assert_eq!(*counts, expected, "{day}");
    }
    assert_eq!(snapshot.days.len(), 3);
    assert_eq!(snapshot.sums.dev, distinct(counted().map(|e| e.actor).collect()));
    assert_eq!(snapshot.sums.repo, distinct(counted().map(|e| e.repo).collect()));
    let merged: BTreeSet<_> = counted()
        .filter(|e| e.outcome == Outcome::Merged && e.size.is_some())
        .map(|e| (e.day, e.pull_request))
        .collect();
    assert_eq!(snapshot.sums.additions, merged.iter().map(|(_, pull_request)| pull_request).sum::<u64>());
}

async fn own_is_told_apart_from_base_and_a_new_base_replaces_the_old(backend: impl Backend) {
    let state = backend.open().await;
    assert_eq!(state.own(2026).await.unwrap(), Base::default());
    let batch = [sized(mutation(1, Outcome::Merged, 1), 7, 8), mutation(2, Outcome::Opened, 2)];
    apply(&state, &batch, NOW).await;
    let today = Day::of(NOW / 1000).unwrap();
    let counts = DayCounts { open: 1, merge: 1, close: 0, dev: 2 };
    let sums = YearSums { dev: 2, repo: 2, additions: 7, deletions: 8 };
    let own = Base { days: BTreeMap::from([(today, counts)]), sums };
    let more = DayCounts { open: 9, ..DayCounts::default() };
    let before = Day::from_number(today.number() - 1).unwrap();
    let base = Base { days: BTreeMap::from([(today, more), (before, more)]), ..Base::default() };
    state.set_base(2026, base).await.unwrap();
    assert_eq!(state.own(2026).await.unwrap(), own);
    assert_eq!(state.snapshot(2026).await.unwrap().days.len(), 2);
    state.set_base(2026, Base::default()).await.unwrap();
    let snapshot = state.snapshot(2026).await.unwrap();
    assert_eq!((snapshot.days, snapshot.sums), (own.days, own.sums));
    assert_eq!(state.own(2025).await.unwrap(), Base::default());
}
