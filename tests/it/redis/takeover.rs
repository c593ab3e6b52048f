//! A predecessor's hashes: kept beside, and its days before today become the base.

use std::collections::BTreeMap;
use std::sync::Arc;

use pulsehub::clock::ManualClock;
use pulsehub::state::State;
use pulsehub::state::redis::RedisState;

use super::{DAY, NOW, hash, merged, run, snapshot};
use crate::support::redis::{RedisServer, connect, prefix, settings, shared_server};

fn state_at_now(host: &str, prefix: &str) -> Arc<RedisState> {
    Arc::new(RedisState::new(&settings(host, prefix), Arc::new(ManualClock::new(NOW + 3_600_000))).unwrap())
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn days_before_today_become_the_base_and_today_is_counted_anew() {
    let (host, prefix) = (shared_server(), prefix());
    let mut redis = connect(&host).await;
    for command in [
        "HSET daily_year_2026 2026-06-13 9 2026-06-14 70 2026-06-15 33",
        "HSET daily_open_2026 2026-06-13 5 2026-06-14 40 2026-06-15 20",
        "HSET daily_merge_2026 2026-06-13 3 2026-06-14 20 2026-06-15 10",
        "HSET daily_close_2026 2026-06-14 10 2026-06-15 3",
        "HSET daily_dev_2026 2026-06-13 4 2026-06-14 30 2026-06-15 9",
        "HSET year_sum_2026 dev 40 repo 35 additions 1000 deletions 500",
        "HSET daily_open_2025 2025-12-31 7",
    ] {
        let (verb, rest) = command.split_once(' ').unwrap();
        run(&mut redis, &format!("{verb} {prefix}{rest}")).await;
    }
    let state = state_at_now(&host, &prefix);
    state.apply((0..3).map(merged).collect(), NOW).await.unwrap();
    let days = ["2026-06-13", "2026-06-14", DAY];
    let expect = |values: [&str; 3]| map(&days.into_iter().zip(values).collect::<Vec<_>>());
    for (name, values) in [
        ("year", ["8", "70", "3"]),
        ("open", ["5", "40", "0"]),
        ("merge", ["3", "20", "3"]),
        ("close", ["0", "10", "0"]),
        ("dev", ["4", "30", "3"]),
    ] {
        let found = hash(&mut redis, &format!("{prefix}daily_{name}_2026")).await;
        assert_eq!(found, expect(values), "{name}");
    }
    let sums = map(&[("dev", "40"), ("repo", "35"), ("additions", "1000"), ("deletions", "500")]);
    assert_eq!(hash(&mut redis, &format!("{prefix}year_sum_2026")).await, sums);
    let old = hash(&mut redis, &format!("{prefix}ph:old:daily_year_2026")).await;
    assert_eq!(old, expect(["9", "70", "33"]));
    assert_eq!(hash(&mut redis, &format!("{prefix}daily_year_2025")).await, map(&[("2025-12-31", "7")]));
    assert_eq!(snapshot(&state).await.days.len(), 3);
    // A second start finds an epoch and leaves everything as it is.
    drop(state);
    assert_eq!(snapshot(&state_at_now(&host, &prefix)).await.sums.dev, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_epoch_beside_our_own_keys_is_no_predecessor() {
    let (host, prefix) = (shared_server(), prefix());
    let state = state_at_now(&host, &prefix);
    state.apply((0..3).map(merged).collect(), NOW).await.unwrap();
    let mut redis = connect(&host).await;
    run(&mut redis, &format!("DEL {prefix}ph:epoch")).await;
    state.apply((2..5).map(merged).collect(), NOW).await.unwrap();
    super::assert_counted(&state, 5, "the sets are still there").await;
    assert!(hash(&mut redis, &format!("{prefix}ph:old:daily_year_2026")).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_that_start_at_once_agree_on_one_epoch() {
    let server = RedisServer::start(&[]).await;
    let mut redis = connect(&server.host()).await;
    run(&mut redis, "HSET daily_open_2026 2026-06-13 5").await;
    let starts = (0..8).map(|_| {
        let state = state_at_now(&server.host(), "");
        async move { state.apply(vec![merged(1)], NOW).await.unwrap().receipt.incarnation }
    });
    let incarnations = futures_util::future::join_all(starts).await;
    assert!(incarnations.iter().all(|one| *one == incarnations[0]), "{incarnations:?}");
    let open = hash(&mut redis, "daily_open_2026").await;
    assert_eq!(open, map(&[("2026-06-13", "5"), (DAY, "0")]));
}
