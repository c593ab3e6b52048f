//! A state that begins, or begins again, in a year that history knows.

use std::sync::Arc;
use std::time::Duration;

use pulsehub::app;
use pulsehub::clock::ManualClock;
use pulsehub::config::Secret;
use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, method};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{backfill_of, known_days, program, stdout};
use crate::support::mysql::Database;
use crate::support::redis::{RedisServer, connect};
use crate::support::{Client, TestApp, eventually, twelve_hours};

/// 2016-01-01T13:00:00Z, when the recorded day is today.
const THAT_DAY: i64 = 1_451_653_200_000;

fn known_day() -> Value {
    json!({"event": 5041, "open": 2733, "merge": 1938, "close": 370, "dev": 2440})
}

fn known_sum() -> Value {
    json!({"dev": 2440, "repo": 2439, "additions": 1_107_911, "deletions": 391_224})
}

async fn assert_known_answers(app: &TestApp) {
    let report = app.stats(2016).await;
    assert_eq!((&report["daily"]["2016-01-01"], &report["sum"]), (&known_day(), &known_sum()));
}

/// A pipeline with an empty state and `database` as its written history.
fn app_on(database: &Database) -> TestApp {
    let mut app = TestApp::new();
    database.configure(&mut app.config, true);
    app.config.disable.interval = true;
    app
}

fn on_that_day(mut app: TestApp) -> TestApp {
    app.clock = Arc::new(ManualClock::new(THAT_DAY));
    app
}

async fn on_redis(mut app: TestApp) -> (TestApp, RedisServer) {
    let server = RedisServer::start(&[]).await;
    app.config.redis.host = Some(server.host().into());
    app.config.redis.settle_delay = "100ms".parse().unwrap();
    (app, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_state_takes_over_what_history_has_and_counts_it_no_second_time() {
    let database = Database::new().await;
    app_on(&database).replay(twelve_hours()).await;
    // That day is long ago, so it is closed; and it is complete.
    let app = app_on(&database);
    app.replay(twelve_hours().into_iter().take(3)).await;
    assert_known_answers(&app).await;
    let (_data, _, backfill) = backfill_of(&app);
    assert_eq!(backfill.verify(2016).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_begins_in_the_middle_of_a_day_counts_the_rest_of_it_exactly() {
    let database = Database::new().await;
    on_that_day(app_on(&database)).replay(twelve_hours().into_iter().take(7)).await;
    let app = on_that_day(app_on(&database));
    app.replay(twelve_hours().into_iter().skip(4)).await;
    assert_known_answers(&app).await;
    let (_data, _, backfill) = backfill_of(&app);
    assert_eq!(backfill.verify(2016).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_emptied_under_a_running_replay_has_all_of_it_in_the_end() {
    let database = Database::new().await;
    let (mut app, server) = on_redis(on_that_day(app_on(&database))).await;
    let hook = MockServer::start().await;
    let told = json!({"severity": "error", "source": "pulsehub"});
    let told = Mock::given(method("POST")).and(body_partial_json(told));
    told.respond_with(ResponseTemplate::new(200)).expect(1).mount(&hook).await;
    app.config.alert.webhook = Secret::from(hook.uri().as_str());
    // So that many batches are in flight when it happens.
    app.config.redis.settle_delay = "1s".parse().unwrap();
    let mut running = app.start(app.replay_of(twelve_hours())).await;
    let shown = async || {
        let first = Client::connect(&running, "/sampling").await.json().await;
        first["eventMap"]["2016-01-01"].as_str().unwrap().parse::<u64>().unwrap()
    };
    eventually("some counts", async || shown().await >= 500).await;
    let before = shown().await;
    let mut redis = connect(&server.host()).await;
    redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await.unwrap();
    // Whoever comes meanwhile gets what was known last, and more.
    for _ in 0..20 {
        let now = shown().await;
        assert!(now >= before, "{now} after {before}");
    }
    running.replayed().await.unwrap().unwrap();
    running.stop().await;
    assert_known_answers(&app).await;
    assert_eq!(database.number("SELECT COUNT(*) FROM github_events").await, super::EVENTS);
    hook.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_redis_is_served_from_memory_and_marked_stale_while_history_is_away() {
    let database = Database::new().await;
    let (app, server) = on_redis(on_that_day(app_on(&database))).await;
    let mut running = app.start(app.replay_of(twelve_hours().into_iter().take(2))).await;
    running.replayed().await.unwrap().unwrap();
    let url = format!("http://{}/api/v1/status", running.public.unwrap());
    let status = async || reqwest::get(&url).await.unwrap().json::<Value>().await.unwrap();
    let first = async |path| Client::connect(&running, path).await.json().await;
    eventually("all counts", async || {
        let (_, sums) = (status().await, first("/sampling").await);
        sums["sumMap"]["additions"] != "0" && status().await["stale"] == false
    })
    .await;
    let languages = async || first("/language/watch").await["languageMap"].clone();
    eventually("languages", async || languages().await.as_object().is_some_and(|map| !map.is_empty())).await;
    let (counts, map) = (first("/sampling").await, languages().await);
    database
        .run(&[
            "RENAME TABLE github_events TO elsewhere",
            "CREATE VIEW github_events AS SELECT SLEEP(9) AS id",
        ])
        .await;
    let mut redis = connect(&server.host()).await;
    redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await.unwrap();
    eventually("stale", async || status().await["stale"] == true).await;
    let mut latest = Client::connect(&running, "/language/latest").await;
    latest.send("{}").await;
    for _ in 0..3 {
        assert_eq!(latest.json().await, map, "the window is held here");
        assert_eq!(first("/sampling").await, counts);
    }
    tokio::time::timeout(Duration::from_secs(5), running.stop()).await.expect("nobody holds up the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_wait_for_a_history_that_is_away_and_stop_at_once() {
    let mut app = TestApp::new();
    Database::new().await.configure(&mut app.config, true);
    app.config.tidb.port = 1;
    let running = app.start(app.replay_of(twelve_hours().into_iter().take(1))).await;
    let metrics = format!("http://{}/api/v1/status", running.public.unwrap());
    eventually("a backlog", async || {
        let status: Value = reqwest::get(&metrics).await.unwrap().json().await.unwrap();
        status["backlog"].as_u64() == Some(11_092) || status["backlog"].as_u64() > Some(11_000)
    })
    .await;
    tokio::time::timeout(Duration::from_secs(3), running.stop()).await.expect("they stop at once");
    assert_eq!(app.stats(2016).await["sum"]["dev"], 0, "nothing was applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_table_that_seeds_cannot_read_keeps_nobody_waiting() {
    let (mut app, database) = (TestApp::new(), Database::new().await);
    database.configure(&mut app.config, false);
    app.replay(twelve_hours()).await;
    assert_known_answers(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn days_of_a_foreign_table_start_closed_and_others_count() {
    let (mut app, database) = (TestApp::new(), Database::new().await);
    known_days(&database, &[("2016-01-01", 3), ("2016-01-02", 5)]).await;
    database.configure(&mut app.config, false);
    app.config.disable.interval = true;
    app.replay(twelve_hours().into_iter().take(1)).await;
    let report = app.stats(2016).await;
    let day = |n: u64| json!({"event": n, "open": n, "merge": 0, "close": 0, "dev": n});
    assert_eq!(report["daily"], json!({"2016-01-01": day(3), "2016-01-02": day(5)}));
    // Whoever came that day still counts for the year.
    assert!(report["sum"]["dev"].as_u64() > Some(100), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_are_replaced_while_workers_run_elsewhere_are_right_in_the_end() {
    let database = Database::new().await;
    let (app, _server) = on_redis(on_that_day(app_on(&database))).await;
    let mut running = app.start(app.replay_of(twelve_hours())).await;
    let (_data, state, backfill) = backfill_of(&app);
    let events = async || {
        let days = state.snapshot(2016).await.unwrap().days;
        days.values().map(|day| day.event()).sum::<u64>()
    };
    for count in [300, 900, 1_500] {
        eventually("some counts", async || events().await >= count).await;
        backfill.overwrite(2016).await.unwrap();
    }
    running.replayed().await.unwrap().unwrap();
    running.stop().await;
    assert_known_answers(&app).await;
    assert_eq!(backfill.verify(2016).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_replaces_counts_from_a_history_of_ones_own_only() {
    let (mut app, database) = (TestApp::new(), Database::new().await);
    database.configure(&mut app.config, true);
    app.config.disable.interval = true;
    app.replay(twelve_hours().into_iter().take(2)).await;
    let opened = "type = 'PullRequestEvent' AND action = 'opened' ORDER BY id LIMIT 1";
    database.run(&[&format!("DELETE FROM github_events WHERE {opened}")]).await;
    let command = |write: &str| {
        let mut command = program(&app, &["backfill", "--overwrite", "--year", "2016"]);
        command.env("PULSEHUB__HISTORY__WRITE", write).output().unwrap()
    };
    let refused = command("false");
    assert_eq!(refused.status.code(), Some(69), "{}", stdout(&refused));
    assert!(stdout(&refused).contains("history.write"), "{}", stdout(&refused));
    let before = app.stats(2016).await["daily"]["2016-01-01"]["open"].as_u64().unwrap();
    let replaced = command("true");
    assert!(replaced.status.success(), "{}", stdout(&replaced));
    let line = format!("2016-01-01 open: {before} -> {}", before - 1);
    assert!(stdout(&replaced).contains(&line), "{}", stdout(&replaced));

    // Where the data has an owner, that one does it.
    database.run(&[&format!("DELETE FROM github_events WHERE {opened}")]).await;
    let running = app.start(app::Source::None).await;
    let handed_over = command("true");
    let line = format!("2016-01-01 open: {} -> {}", before - 1, before - 2);
    assert!(stdout(&handed_over).contains(&line), "{}", stdout(&handed_over));
    running.stop().await;
}
