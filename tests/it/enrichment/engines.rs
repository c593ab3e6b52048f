//! Enrichment through all engines, and an API that is away and comes back: what was missing arrives once.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use pulsehub::app::Source;
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use super::github::{GraphQl, recorded};
use super::recorded::{expected, trimmed};
use crate::support::mysql::Database;
use crate::support::{Client, TestApp, eventually, pulsar, redis};

/// A pull request's number, lines added and deleted, and language, as a row has them.
type Details = (u64, Option<u64>, Option<u64>, Option<String>);

/// On Pulsar, Redis and MariaDB, all its own.
async fn on_services() -> (TestApp, Database) {
    let (mut app, database) = (pulsar::app(), Database::new().await);
    app.config.redis.host = Some(redis::shared_server().into());
    app.config.redis.prefix = redis::prefix();
    app.config.redis.settle_delay = "50ms".parse().unwrap();
    database.configure(&mut app.config, true);
    app.config.disable.interval = true;
    (app, database)
}

/// Replays an hour while the API is away, and lets it come back once all is counted without it.
async fn away_and_back(app: &mut TestApp, hour: u8) {
    let github = GraphQl::knowing(recorded(hour)).await;
    github.configure(app);
    github.script(|_, _| Some(ResponseTemplate::new(502)));
    let expected = expected(hour).await;
    let mut running = app.start(app.replay_of([trimmed(hour)])).await;
    let url = format!("http://{}/api/v1/stats?year=2016", running.admin);
    let stats = async || reqwest::get(&url).await.unwrap().json::<Value>().await.unwrap();
    eventually("everything is counted without the rest", async || {
        stats().await["daily"] == expected["daily"]
    })
    .await;
    assert_eq!(stats().await["sum"]["additions"], json!(0));
    assert_eq!(stats().await["language"], json!({}));
    github.recover();
    running.replayed().await.unwrap().unwrap();
    running.stop().await;
    assert_eq!(app.stats(2016).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_and_languages_arrive_once_when_the_api_comes_back() {
    let mut app = TestApp::new();
    away_and_back(&mut app, 3).await;
    // And once more from the beginning, with nothing to add.
    app.config.dedup.window = "0s".parse().unwrap();
    let github = GraphQl::knowing(recorded(3)).await;
    github.configure(&mut app);
    app.replay([trimmed(3)]).await;
    assert_eq!(app.stats(2016).await, expected(3).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_on_pulsar_redis_and_the_table_whose_rows_are_completed() {
    let (mut app, database) = on_services().await;
    away_and_back(&mut app, 4).await;
    let mut conn = database.connect().await;
    let rows: Vec<Details> = conn
        .query("SELECT pr_or_issue_id, additions, deletions, language FROM github_events WHERE type = 'PullRequestEvent'")
        .await
        .unwrap();
    assert_eq!(rows.len(), 382);
    let known = recorded(4);
    for row in rows {
        let known = &known[&row.0];
        assert_eq!(row, (row.0, Some(known.additions), Some(known.deletions), known.language.clone()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trimmed_hour_three_on_pulsar_redis_and_the_table_gives_the_full_one() {
    let (mut app, database) = on_services().await;
    let github = GraphQl::knowing(recorded(3)).await;
    github.configure(&mut app);
    app.replay([trimmed(3)]).await;
    assert_eq!(app.stats(2016).await, expected(3).await);
    let missing = "SELECT COUNT(*) FROM github_events WHERE type = 'PullRequestEvent' AND additions IS NULL";
    assert_eq!(database.number(missing).await, 0);
    // Other events take the language of their repository where it is known by then.
    let others =
        "SELECT COUNT(*) FROM github_events WHERE type <> 'PullRequestEvent' AND language IS NOT NULL";
    println!("{} rows of other events have a language", database.number(others).await);
    assert!(github.points() <= 5, "{}", github.points());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_shown_once_though_its_size_comes_later() {
    let github = GraphQl::knowing(recorded(3)).await;
    let mut app = TestApp::new();
    github.configure(&mut app);
    github.script(|_, _| Some(ResponseTemplate::new(502)));
    app.live = true;
    let running = app.start(Source::None).await;
    let mut client = Client::connect(&running, "/sampling").await;
    client.json().await;
    client.send(r#"{"samplingRate":1}"#).await;
    let event = |id: u32, kind: &str, pull_request: Value| {
        json!({
            "id": id.to_string(), "type": kind, "created_at": "2016-01-01T03:00:00Z",
            "actor": {"id": 1, "login": "me"}, "repo": {"id": 47_485_254, "name": "kuoruan/packages"},
            "payload": {"action": "merged", "pull_request": pull_request},
        })
    };
    let publish = async |event: Value| {
        let mut batch = pulsehub::broker::BatchBuilder::default();
        batch.push(&[format!(r#"{{"event":{event},"payload":{{}}}}"#).as_bytes()]);
        running.producer().await.unwrap().publish(batch.build()).await.unwrap();
    };
    publish(event(1, "PullRequestEvent", json!({"id": 54_886_738, "number": 14}))).await;
    let first = client.json().await;
    assert_eq!(first["payload"]["merge"], 1);
    assert_eq!(first["event"]["payload"]["pull_request"]["additions"], 0, "not known yet");
    github.recover();
    let url = format!("http://{}/api/v1/stats?year=2016", running.admin);
    eventually("the size is added", async || {
        let stats: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
        stats["sum"]["additions"] == 1_110 && stats["language"] == json!({"Makefile": 1})
    })
    .await;
    publish(event(2, "WatchEvent", Value::Null)).await;
    let next = client.json().await;
    assert_eq!(next["event"]["id"], "2", "the event whose size came later is not shown again");
    tokio::time::timeout(Duration::from_secs(30), running.stop()).await.unwrap();
}
