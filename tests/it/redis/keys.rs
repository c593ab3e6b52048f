//! What stands in Redis: the fixed hashes, the prefix, closed days, a cluster's one slot.

use std::collections::BTreeMap;

use pulsehub::mutation::{Mutation, Numbers, Outcome};
use pulsehub::state::{DayCounts, State};

use super::{DAY, NOW, apply, assert_counted, hash, merged, run, snapshot};
use crate::support::redis::{RedisServer, connect, prefix, settings, shared_server, state};
use crate::support::{TestApp, eventually, twelve_hours};

const DAY_MILLIS: i64 = 86_400_000;

#[tokio::test(flavor = "multi_thread")]
async fn twelve_hours_give_the_known_answers_in_the_fixed_hashes() {
    let (mut app, prefix) = (TestApp::new(), prefix());
    app.config.redis.host = Some(shared_server().into());
    app.config.redis.prefix = prefix.clone();
    app.config.redis.settle_delay = "50ms".parse().unwrap();
    app.replay(twelve_hours()).await;
    let mut redis = connect(&shared_server()).await;
    let day = |count: &str| BTreeMap::from([("2016-01-01".to_owned(), count.to_owned())]);
    for (name, count) in
        [("year", "5041"), ("open", "2733"), ("merge", "1938"), ("close", "370"), ("dev", "2440")]
    {
        assert_eq!(hash(&mut redis, &format!("{prefix}daily_{name}_2016")).await, day(count), "{name}");
    }
    let sums = [("additions", "1107911"), ("deletions", "391224"), ("dev", "2440"), ("repo", "2439")];
    let sums = sums.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(hash(&mut redis, &format!("{prefix}year_sum_2016")).await, BTreeMap::from(sums));
    let report = app.stats(2016).await;
    assert_eq!(
        report["language"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>(),
        4_553
    );
    assert_eq!(report["daily"]["2016-01-01"]["event"], 5_041);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_has_the_prefix_and_what_expires_has_a_time() {
    let server = RedisServer::start(&[]).await;
    let state = state(&settings(&server.host(), "{gh}:"));
    state.apply(vec![merged(1)], NOW).await.unwrap();
    let mut redis = connect(&server.host()).await;
    let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.unwrap();
    keys.sort();
    let names: Vec<_> = keys.iter().map(|key| key.strip_prefix("{gh}:").unwrap()).collect();
    let second = NOW / 1000;
    let expected = [
        "daily_close_2026",
        "daily_dev_2026",
        "daily_merge_2026",
        "daily_open_2026",
        "daily_year_2026",
        &format!("l_{second}"),
        "ph:days",
        "ph:dev:2026-06-15",
        "ph:dev:2026:0",
        "ph:epoch",
        "ph:merge:2026-06-15",
        "ph:own:2026",
        "ph:own:2026-06-15",
        &format!("ph:reply:{}", second / 4),
        "ph:repo:2026:0",
        "ph:seconds",
        "ph:seq",
        "year_sum_2026",
    ];
    assert_eq!(names, expected);
    for key in &keys {
        let ttl: i64 = redis::cmd("TTL").arg(key).query_async(&mut redis).await.unwrap();
        let expires = key.contains(":l_") || key.contains("ph:reply");
        assert_eq!(ttl > 0, expires, "{key} {ttl}");
    }
}

/// At 8 KiB a batch may create one with every id; and what exceeds a size class of the allocator costs the next.
#[tokio::test(flavor = "multi_thread")]
async fn bitmaps_are_small_and_fill_what_the_allocator_gives() {
    let server = RedisServer::start(&[]).await;
    let state = state(&settings(&server.host(), ""));
    // The last id of a bitmap and the first of the next, and ids far apart.
    let ids = [0, 1, 65_471, 65_472, 65_473, 1_150_000_000, (1 << 36) - 1];
    let events = ids.iter().enumerate();
    let events = events.map(|(index, &id)| Mutation { actor: id, repo: id, ..merged(index as u64) });
    let events: Vec<Mutation> = events.collect();
    state.apply(events.clone(), NOW).await.unwrap();
    state.apply(events, NOW + 2 * DAY_MILLIS).await.unwrap();
    assert_counted(&state, ids.len() as u64, "each id once").await;
    let mut redis = connect(&server.host()).await;
    let bitmaps: Vec<String> = redis::cmd("KEYS").arg("ph:*:2026:*").query_async(&mut redis).await.unwrap();
    assert_eq!(bitmaps.len(), 8, "{bitmaps:?}");
    for bitmap in bitmaps {
        let bytes: u64 = redis::cmd("STRLEN").arg(&bitmap).query_async(&mut redis).await.unwrap();
        let taken: u64 =
            redis::cmd("MEMORY").arg("USAGE").arg(&bitmap).query_async(&mut redis).await.unwrap();
        assert!(bytes == 65_472 / 8 && taken < 8_192 + 150, "{bitmap}: {bytes}, {taken}");
    }
    let bits: Vec<u64> = redis::pipe()
        .cmd("BITCOUNT")
        .arg("ph:dev:2026:0")
        .cmd("BITCOUNT")
        .arg("ph:repo:2026:1")
        .query_async(&mut redis)
        .await
        .unwrap();
    assert_eq!(bits, [3, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_event_of_a_closed_day_counts_for_its_year_only() {
    let (host, prefix) = (shared_server(), prefix());
    let state = state(&settings(&host, &prefix));
    let pending = Mutation { size: None, ..merged(1) };
    state.apply(vec![pending.clone(), merged(2)], NOW).await.unwrap();
    // Any batch looks for days that are due, once a minute by the clock of arrivals.
    let other = Mutation { outcome: Outcome::Reopened, ..merged(9) };
    state.apply(vec![other.clone()], NOW + 8 * DAY_MILLIS - 1).await.unwrap();
    let mut redis = connect(&host).await;
    let closed = format!("{prefix}ph:closed:{DAY}");
    let exists = async |redis: &mut redis::aio::MultiplexedConnection, key: &str| -> bool {
        redis::cmd("EXISTS").arg(key).query_async(redis).await.unwrap()
    };
    assert!(!exists(&mut redis, &closed).await);
    state.apply(vec![other], NOW + 8 * DAY_MILLIS + 60_000).await.unwrap();
    assert!(exists(&mut redis, &closed).await);
    for kind in ["open", "merge", "close", "dev", "pending"] {
        assert!(!exists(&mut redis, &format!("{prefix}ph:{kind}:{DAY}")).await, "{kind}");
    }
    let late = NOW + 9 * DAY_MILLIS;
    let numbers = state.apply(vec![merged(1), merged(3)], late).await.unwrap().numbers;
    let none = Numbers { pr: 1, ..Numbers::default() };
    assert_eq!(numbers, [none, Numbers { dev_year: 1, repo_year: 1, ..none }]);
    let snapshot = snapshot(&state).await;
    let counts = DayCounts { merge: 2, dev: 2, ..DayCounts::default() };
    assert_eq!(snapshot.days.values().next(), Some(&counts), "the day stays as it was");
    assert_eq!((snapshot.sums.dev, snapshot.sums.additions), (3, 3));
    assert_eq!(state.languages(late / 1000..=late / 1000).await.unwrap()[&(late / 1000)]["C"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_tag_finds_its_node_of_a_cluster() {
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
    let (asked, owner) = (RedisServer::start(&options).await, RedisServer::start(&options).await);
    let mut first = connect(&asked.host()).await;
    let mut second = connect(&owner.host()).await;
    run(&mut second, "CLUSTER ADDSLOTSRANGE 0 16383").await;
    run(&mut first, &format!("CLUSTER MEET 127.0.0.1 {}", owner.port())).await;
    eventually("the cluster is known", async || {
        let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut first).await.unwrap();
        info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
    })
    .await;
    let state = state(&settings(&asked.host(), "{gh}:"));
    // The asked node may still wait for the other one.
    apply(&state, &(0..50).map(merged).collect::<Vec<_>>()).await;
    assert_counted(&state, 50, "in a cluster").await;
    assert_eq!(hash(&mut second, "{gh}:daily_merge_2026").await[DAY], "50");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_a_hash_tag_names_the_prefix() {
    let cluster = RedisServer::cluster().await;
    let error = state(&settings(&cluster.host(), "")).apply(vec![merged(1)], NOW).await.unwrap_err();
    assert!(error.to_string().contains("redis.prefix needs a hash tag"), "{}", super::chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_merge_script_is_run() {
    let mut settings = settings(&shared_server(), &prefix());
    let script = "local r = redis.call('HGETALL', KEYS[1] .. tonumber(KEYS[2]))
        for i = 2, #r, 2 do r[i] = r[i] * 10 end return r";
    settings.merge_latest = Some(script.to_owned());
    let state = state(&settings);
    state.apply(vec![merged(1), merged(2)], NOW).await.unwrap();
    let second = NOW / 1000;
    let languages = state.languages(second - 5..=second).await.unwrap();
    assert_eq!(languages, BTreeMap::from([(second, BTreeMap::from([("C".to_owned(), 20)]))]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_add_up() {
    let settings = settings(&shared_server(), &prefix());
    let states = [state(&settings), state(&settings)];
    let mut tasks = Vec::new();
    for (index, state) in states.iter().enumerate() {
        let state = state.clone();
        tasks.push(tokio::spawn(async move {
            for batch in 0..20 {
                // Each applies half of what the other does.
                let start = (index as u64 * 20 + batch) * 25;
                state.apply((start..start + 50).map(merged).collect(), NOW).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_counted(&states[0], 40 * 25 + 25, "two workers").await;
}
