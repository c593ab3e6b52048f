//! Refusals: each is said in clear words, changes nothing by halves, and is over when its cause is.

use pulsehub::mutation::Mutation;
use pulsehub::retry::Failure;
use pulsehub::state::{State, StateError};

use super::{DAY, NOW, apply, assert_counted, chain, hash, merged, run};
use crate::support::redis::{Log, RedisServer, connect, prefix, settings, shared_server, state};

fn batch(ids: std::ops::Range<u64>) -> Vec<Mutation> {
    ids.map(merged).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_and_the_right_one_works() {
    let server = RedisServer::start(&["--requirepass", "sesame"]).await;
    let mut settings = settings(&server.host(), "");
    for (password, says) in [("", "set redis.password"), ("open", "redis.password")] {
        settings.password = password.to_owned();
        let error = state(&settings).snapshot(2026).await.unwrap_err();
        assert!(error.is_retryable() && matches!(error, StateError::Refused { .. }), "{}", chain(&error));
        assert!(error.to_string().contains(says), "{}", chain(&error));
        assert!(!chain(&error).contains("sesame"));
    }
    settings.password = "sesame".to_owned();
    apply(&state(&settings), &[merged(1)]).await;
    settings.host = format!("redis://default:sesame@{}/3", server.host());
    settings.password = String::new();
    assert!(state(&settings).snapshot(2026).await.unwrap().days.is_empty(), "another database");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_an_access_list_needs_no_more_than_is_documented() {
    let server = RedisServer::start(&[]).await;
    let mut redis = connect(&server.host()).await;
    run(&mut redis, "ACL SETUSER hub on >pw ~* &* +@all -@dangerous +info +bgrewriteaof +config|get").await;
    let mut settings = settings(&server.host(), "");
    (settings.user, settings.password) = (Some("hub".to_owned()), "pw".to_owned());
    let state_of_hub = state(&settings);
    let applied = apply(&state_of_hub, &[merged(1)]).await;
    state_of_hub.persist(applied.receipt).await.unwrap();
    run(&mut redis, "ACL SETUSER hub -evalsha").await;
    let error = state_of_hub.apply(batch(1..3), NOW).await.unwrap_err();
    assert!(error.to_string().contains("does not allow redis.user"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn exhausted_memory_changes_nothing_and_is_caught_up_after() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]).await;
    let state = state(&settings(&server.host(), ""));
    apply(&state, &batch(0..10)).await;
    let mut redis = connect(&server.host()).await;
    run(&mut redis, "CONFIG SET maxmemory 1mb").await;
    let error = state.apply(batch(5..50), NOW).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("maxmemory"), "{}", chain(&error));
    assert_counted(&state, 10, "readers go on").await;
    run(&mut redis, "CONFIG SET maxmemory 0").await;
    apply(&state, &batch(5..50)).await;
    assert_counted(&state, 50, "caught up").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_no_writes_is_named() {
    let server = RedisServer::start(&[]).await;
    let state = state(&settings(&server.host(), ""));
    apply(&state, &batch(0..3)).await;
    let mut redis = connect(&server.host()).await;
    run(&mut redis, "REPLICAOF 127.0.0.1 1").await;
    let error = state.apply(batch(3..6), NOW).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("read-only replica"), "{}", chain(&error));
    run(&mut redis, "REPLICAOF NO ONE").await;
    apply(&state, &batch(3..6)).await;
    assert_counted(&state, 6, "caught up").await;
}

/// What only some events touch. All else almost any batch touches: that is the store's fault and no event's.
const OF_SOME_EVENTS: [&str; 6] =
    ["ph:merge:", "ph:dev:", "ph:repo:", "ph:pending:", "ph:reply:", "ph:own:2026-"];

/// Whichever key holds another type, or no number: the batch is refused before anything of it is written, and its events
/// are blamed only for what is theirs.
#[tokio::test(flavor = "multi_thread")]
async fn a_planted_value_leaves_no_half_applied_batch() {
    let (host, mut redis) = (shared_server(), connect(&shared_server()).await);
    let second = NOW / 1000;
    let wrong_type = [
        "ph:seq",
        "ph:days",
        "ph:merge:2026-06-15",
        "ph:dev:2026-06-15",
        "ph:dev:2026:0",
        "ph:repo:2026:0",
        "ph:pending:2026-06-15",
        "ph:own:2026",
        "ph:own:2026-06-15",
        "ph:base:2026",
        "ph:base:2026-06-15",
        "daily_open_2026",
        "daily_merge_2026",
        "daily_close_2026",
        "daily_dev_2026",
        "daily_year_2026",
        "year_sum_2026",
        &format!("ph:reply:{}", second / 4),
        &format!("l_{second}"),
        "ph:seconds",
    ];
    let plants = wrong_type.iter().map(|key| ("WRONGTYPE", (*key).to_owned(), format!("LPUSH {key} x")));
    let no_number = [
        ("ph:seq", "SET ph:seq x".to_owned()),
        ("ph:own:2026-06-15", "HSET ph:own:2026-06-15 merge x".to_owned()),
        ("ph:base:2026", "HSET ph:base:2026 dev x".to_owned()),
        ("ph:days", "HSET ph:days 2026-06-15 x".to_owned()),
    ];
    let no_number = no_number.into_iter().map(|(key, plant)| ("MALFORMED", key.to_owned(), plant));
    for (code, key, plant) in plants.chain(no_number) {
        let prefix = prefix();
        let state = state(&settings(&host, &prefix));
        state.snapshot(2026).await.unwrap();
        run(&mut redis, &plant.replacen(&key, &format!("{prefix}{key}"), 1)).await;
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut redis).await.unwrap();
        let error = state.apply(batch(0..5), NOW).await.unwrap_err();
        assert!(error.is_retryable() && chain(&error).contains(code), "{key}: {}", chain(&error));
        let of_some = OF_SOME_EVENTS.iter().any(|name| key.starts_with(name))
            || key == "ph:base:2026-06-15"
            || (key == "ph:days" && code == "MALFORMED");
        assert_eq!(error.blames_data(), of_some, "{key}: {}", chain(&error));
        let after: Vec<String> =
            redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut redis).await.unwrap();
        assert_eq!(after.len(), keys.len(), "{key}: {after:?}");
        run(&mut redis, &format!("DEL {prefix}{key}")).await;
        apply(&state, &batch(0..5)).await;
        assert_counted(&state, 5, &key).await;
        assert_eq!(hash(&mut redis, &format!("{prefix}daily_year_2026")).await[DAY], "5");
    }
}

#[tokio::test]
async fn without_appendonly_it_works_and_says_so() {
    let mut server = RedisServer::start(&["--appendonly", "no"]).await;
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.subscriber());
    let state = state(&settings(&server.host(), ""));
    let applied = apply(&state, &batch(0..3)).await;
    state.persist(applied.receipt).await.unwrap();
    assert_counted(&state, 3, "in memory").await;
    server.restart().await;
    apply(&state, &batch(0..3)).await;
    let said = log.text();
    assert_eq!(
        said.matches("redis runs without appendonly").count(),
        1,
        "once, not at each connection: {said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_no_tls_is_named_by_its_connection() {
    let mut settings = settings(&shared_server(), &prefix());
    settings.host = format!("rediss://{}", settings.host);
    let error = state(&settings).snapshot(2026).await.unwrap_err();
    assert!(
        error.is_retryable() && error.to_string() == "cannot reach Redis at redis.host",
        "{}",
        chain(&error)
    );
}
