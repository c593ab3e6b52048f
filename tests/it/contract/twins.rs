//! What `State` promises of twins: an event of the feed, and one of a webhook that tells of the same thing.

use std::sync::Arc;

use pulsehub::event::EventKey;
use pulsehub::mutation::{Claim, Mutation, Numbers, Outcome, Size};
use pulsehub::state::{State, StateError};

use super::state::{Backend, Cluster, Embedded, Redis};
use crate::support::redis::prefix;

/// 2026-11-21T00:00:00Z
const NOW: i64 = 1_795_219_200_000;
const HOUR: i64 = 3_600_000;
const NOBODY: [i64; 0] = [];

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
    the_first_of_twins_counts_and_the_other_changes_nothing,
    redelivered_twins_stay_what_they_were_also_after_a_restart,
    events_of_one_source_are_no_twins,
    twins_lie_ten_minutes_apart_at_most,
    without_a_limit_twins_may_lie_apart_as_far_as_they_like,
    none_has_two_twins_and_the_nearest_is_the_one,
    a_claim_is_kept_for_24_hours_after_the_later_of_twins,
    an_event_that_counts_nowhere_can_win_and_lose,
    a_batch_that_is_refused_claims_nothing,
    of_twins_that_come_at_the_same_time_one_wins,
    more_holders_than_are_remembered_forget_the_oldest,
);

/// A merged pull request in C. Of a webhook where `id` is negative.
fn merged(id: i64, second: i64, natural: i64) -> Mutation {
    let key = EventKey { id, created_at: NOW / 1000 + second };
    Mutation {
        key,
        day: key.day().unwrap(),
        outcome: Outcome::Merged,
        pull_request: natural.unsigned_abs(),
        actor: id.unsigned_abs(),
        repo: id.unsigned_abs(),
        size: Some(Size { additions: 7, deletions: 2 }),
        language: Some("C".to_owned()),
        claim: Some(Claim { natural, within: Some(600) }),
    }
}

/// Which events of a batch lost.
async fn lost(state: &Arc<dyn State>, batch: &[Mutation], now: i64) -> Vec<i64> {
    let applied = state.apply(batch.to_vec(), now).await.unwrap();
    for &place in &applied.lost {
        assert_eq!(applied.numbers[place], Numbers::default(), "{:?}", batch[place].key);
    }
    applied.lost.iter().map(|&place| batch[place].key.id).collect()
}

/// Developers of the year, which have each event's own number, lines added, and languages counted.
async fn counted(state: &Arc<dyn State>) -> [u64; 3] {
    let sums = state.snapshot(2026).await.unwrap().sums;
    let languages = state.languages(0..=NOW).await.unwrap();
    let languages = languages.values().flat_map(|second| second.values()).sum();
    [sums.dev, sums.additions, languages]
}

async fn the_first_of_twins_counts_and_the_other_changes_nothing(backend: impl Backend) {
    let state = backend.open().await;
    assert_eq!(lost(&state, &[merged(-1, 0, 11)], NOW).await, NOBODY);
    assert_eq!(counted(&state).await, [1, 7, 1]);
    assert_eq!(lost(&state, &[merged(2, 1, 11)], NOW).await, [2]);
    // The other way round, and in one batch.
    assert_eq!(lost(&state, &[merged(3, 0, 12), merged(-4, 3, 12), merged(5, 0, 13)], NOW).await, [-4]);
    let alone = Mutation { claim: None, ..merged(6, 0, 11) };
    assert_eq!(lost(&state, &[alone], NOW).await, NOBODY, "it looks for no twin");
    assert_eq!(counted(&state).await, [4, 21, 4]);
}

async fn redelivered_twins_stay_what_they_were_also_after_a_restart(backend: impl Backend) {
    let (webhook, feed) = (merged(-1, 0, 11), merged(2, 1, 11));
    let state = backend.open().await;
    let first = state.apply(vec![webhook.clone()], NOW).await.unwrap().numbers;
    assert_eq!(first[0].merge, 1);
    let twice = [feed.clone(), webhook.clone(), feed.clone(), webhook.clone()];
    assert_eq!(lost(&state, &twice, NOW + 1_000).await, [2, 2]);
    drop(state);
    let state = backend.open().await;
    assert_eq!(lost(&state, std::slice::from_ref(&feed), NOW + HOUR).await, [2]);
    assert_eq!(state.apply(vec![webhook], NOW + HOUR).await.unwrap().numbers, first);
    assert_eq!(counted(&state).await, [1, 7, 1]);
    assert_eq!(lost(&state, &[feed], NOW + 24 * HOUR).await, [2]);
}

async fn events_of_one_source_are_no_twins(backend: impl Backend) {
    let state = backend.open().await;
    let feed = [merged(1, 0, 11), merged(2, 0, 11), merged(3, 60, 11)];
    assert_eq!(lost(&state, &feed, NOW).await, NOBODY);
    let webhooks = [merged(-1, 0, 12), merged(-1, 60, 12)];
    assert_eq!(lost(&state, &webhooks, NOW).await, NOBODY);
    assert_eq!(counted(&state).await, [3, 14, 5], "two pull requests of five events and three people");
}

async fn twins_lie_ten_minutes_apart_at_most(backend: impl Backend) {
    let state = backend.open().await;
    assert_eq!(lost(&state, &[merged(-1, 0, 11), merged(2, 600, 11)], NOW).await, [2]);
    assert_eq!(lost(&state, &[merged(-3, 0, 12), merged(4, 601, 12)], NOW).await, NOBODY);
    assert_eq!(lost(&state, &[merged(-5, 0, 13), merged(6, -600, 13)], NOW).await, [6]);
    assert_eq!(lost(&state, &[merged(7, 0, 14), merged(-8, -601, 14)], NOW).await, NOBODY);
    // No boundary of minutes or buckets lies between them.
    for second in [599, 600, 601, 1_199, 1_200, 1_201] {
        let pair = [merged(-9, second, 15 + second), merged(10, second + 600, 15 + second)];
        assert_eq!(lost(&state, &pair, NOW).await, [10], "{second}");
    }
}

async fn without_a_limit_twins_may_lie_apart_as_far_as_they_like(backend: impl Backend) {
    let state = backend.open().await;
    let push =
        |id, second| Mutation { claim: Some(Claim { natural: 11, within: None }), ..merged(id, second, 11) };
    assert_eq!(lost(&state, &[push(-1, 0), push(2, 7 * 86_400)], NOW).await, [2]);
}

async fn none_has_two_twins_and_the_nearest_is_the_one(backend: impl Backend) {
    let state = backend.open().await;
    // Closed, opened again and closed again, seven minutes later: of each there is a webhook.
    assert_eq!(lost(&state, &[merged(-1, 0, 11), merged(-1, 420, 11)], NOW).await, NOBODY);
    assert_eq!(lost(&state, &[merged(2, 421, 11)], NOW).await, [2]);
    assert_eq!(lost(&state, &[merged(3, 1, 11)], NOW).await, [3]);
    assert_eq!(lost(&state, &[merged(4, 210, 11)], NOW).await, NOBODY, "both have their twin");
    assert_eq!(lost(&state, &[merged(-1, 211, 11)], NOW).await, [-1], "its twin came first");
    assert_eq!(lost(&state, &[merged(2, 421, 11), merged(3, 1, 11), merged(4, 210, 11)], NOW).await, [2, 3]);
    assert_eq!(lost(&state, &[merged(-1, 0, 11), merged(-1, 420, 11), merged(-1, 211, 11)], NOW).await, [-1]);
}

async fn a_claim_is_kept_for_24_hours_after_the_later_of_twins(backend: impl Backend) {
    let state = backend.open().await;
    let (webhook, feed) = (merged(-1, 0, 11), merged(2, 1, 11));
    lost(&state, &[webhook.clone(), merged(-3, 0, 12)], NOW).await;
    // Others come in between, so that whatever expires does.
    lost(&state, &[merged(9, 0, 19)], NOW + HOUR).await;
    assert_eq!(lost(&state, std::slice::from_ref(&feed), NOW + 24 * HOUR - 1_000).await, [2]);
    assert_eq!(lost(&state, &[merged(4, 1, 12)], NOW + 24 * HOUR).await, NOBODY, "its twin is forgotten");
    lost(&state, &[merged(10, 0, 20)], NOW + 30 * HOUR).await;
    assert_eq!(lost(&state, &[webhook, feed.clone()], NOW + 48 * HOUR - 2_000).await, [2]);
    lost(&state, &[merged(11, 0, 21)], NOW + 48 * HOUR).await;
    assert_eq!(lost(&state, &[feed], NOW + 48 * HOUR).await, NOBODY);
}

async fn an_event_that_counts_nowhere_can_win_and_lose(backend: impl Backend) {
    let state = backend.open().await;
    let claim = Claim { natural: 11, within: None };
    let event = |id| Mutation::claiming(EventKey { id, created_at: NOW / 1000 }, claim).unwrap();
    let applied = state.apply(vec![event(-1)], NOW).await.unwrap();
    assert_eq!((applied.seq, applied.lost.len(), &applied.numbers[..]), (NOW, 0, &[Numbers::default()][..]));
    assert_eq!(lost(&state, &[event(2), event(-1)], NOW).await, [2]);
    assert_eq!(counted(&state).await, [0, 0, 0]);
    assert!(state.snapshot(2026).await.unwrap().days.is_empty());
}

async fn a_batch_that_is_refused_claims_nothing(backend: impl Backend) {
    let state = backend.open().await;
    state.require_seeds();
    let refused = state.apply(vec![merged(-1, 0, 11)], NOW).await;
    assert!(matches!(refused, Err(StateError::Unseeded { year: 2026 })), "{refused:?}");
    let shown = Mutation { outcome: Outcome::Uncounted, size: None, language: None, ..merged(2, 1, 11) };
    assert_eq!(lost(&state, &[shown], NOW).await, NOBODY);
}

async fn of_twins_that_come_at_the_same_time_one_wins(backend: impl Backend) {
    let state = backend.open().await;
    let apply = |sign: i64| {
        let state = state.clone();
        tokio::spawn(async move {
            let mut losers = Vec::new();
            for first in (1..=200).step_by(10) {
                let batch: Vec<_> = (first..first + 10).map(|id| merged(sign * id, 0, 100 + id)).collect();
                losers.extend(lost(&state, &batch, NOW).await);
            }
            losers
        })
    };
    let (feed, webhooks) = (apply(1), apply(-1));
    let mut losers: Vec<_> =
        feed.await.unwrap().into_iter().chain(webhooks.await.unwrap()).map(i64::abs).collect();
    losers.sort_unstable();
    assert_eq!(losers, (1..=200).collect::<Vec<_>>(), "one of each pair");
    assert_eq!(counted(&state).await, [200, 1_400, 200]);
}

async fn more_holders_than_are_remembered_forget_the_oldest(backend: impl Backend) {
    let state = backend.open().await;
    for id in 1..=9 {
        assert_eq!(lost(&state, &[merged(id, 1_000 * id, 11)], NOW + id * 1_000).await, NOBODY);
    }
    assert_eq!(lost(&state, &[merged(-9, 9_000, 11)], NOW + 10_000).await, [-9]);
    assert_eq!(lost(&state, &[merged(-2, 2_000, 11)], NOW + 10_000).await, [-2]);
    assert_eq!(lost(&state, &[merged(-1, 1_000, 11)], NOW + 10_000).await, NOBODY, "the first was forgotten");
}
