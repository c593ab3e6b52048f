//! A clock that steps, and one that has gone on for days: nothing crashes, windows are right again, nothing counts twice.

use std::path::Path;
use std::sync::Arc;

use pulsehub::clock::ManualClock;
use serde_json::{Value, json};

use crate::support::redis::{connect, prefix, shared_server};
use crate::support::{Client, TestApp, eventually, text, twelve_hours};
use crate::tap::{Tap, opened_in};

/// 2026-06-15T12:00:00Z in milliseconds.
const NOON: i64 = 1_781_524_800_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn with_clock() -> (TestApp, Arc<ManualClock>) {
    let (mut app, clock) = (TestApp::new(), Arc::new(ManualClock::new(NOON)));
    app.clock = clock.clone();
    app.config.interval.latest = "100ms".parse().unwrap();
    (app, clock)
}

fn on_redis(app: &mut TestApp) -> String {
    app.config.redis.host = Some(shared_server().into());
    app.config.redis.prefix = prefix();
    app.config.redis.settle_delay = "50ms".parse().unwrap();
    app.config.redis.prefix.clone()
}

/// Languages of the last hour after each step of an hour, with events in between.
async fn windows_are_right_after_each_step(mut app: TestApp, clock: Arc<ManualClock>) {
    let tap = Tap::new().await;
    let running = tap.start(&mut app).await;
    let mut latest = Client::connect(&running, "/language/latest").await;
    latest.send("{}").await;
    let mut poured = 0;
    let mut pour = |language: &str, count: u64| {
        let events: Vec<_> = (poured + 1..=poured + count).map(|id| opened_in(id, language)).collect();
        tap.pour(&events);
        poured += count;
    };
    let mut shows = async |expected: Value| {
        let mut last = Value::Null;
        eventually(&format!("{expected}"), async || {
            last = latest.json().await;
            last == expected
        })
        .await;
    };
    pour("C", 3);
    shows(json!({"C": 3})).await;
    clock.advance_millis(HOUR);
    shows(json!({})).await;
    pour("Java", 2);
    shows(json!({"Java": 2})).await;
    clock.advance_millis(-HOUR);
    shows(json!({"C": 3})).await;
    pour("Go", 1);
    shows(json!({"C": 3, "Go": 1})).await;
    clock.advance_millis(-HOUR);
    shows(json!({})).await;
    pour("Zig", 1);
    shows(json!({"Zig": 1})).await;
    clock.advance_millis(HOUR);
    shows(json!({"C": 3, "Go": 1})).await;
    clock.advance_millis(HOUR / 2);
    shows(json!({"C": 3, "Go": 1})).await;
    running.stop().await;
    let stats = app.stats(2026).await;
    assert_eq!((&stats["daily"]["2026-06-15"]["open"], &stats["sum"]["dev"]), (&json!(7), &json!(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_are_right_again_after_the_clock_stepped_an_hour_to_and_fro() {
    let (app, clock) = with_clock();
    windows_are_right_after_each_step(app, clock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_in_redis_are_right_again_after_the_clock_stepped_an_hour_to_and_fro() {
    let (mut app, clock) = with_clock();
    on_redis(&mut app);
    windows_are_right_after_each_step(app, clock).await;
}

fn archive(directory: &Path, name: &str, event: &Value) -> String {
    let path = directory.join(name);
    std::fs::write(&path, format!("{event}\n")).unwrap();
    text(&path)
}

/// Replays an hour, and again nine days later, when no claim and no reply is remembered. An event of another day comes in
/// between, with which Redis closes the days that are due. Returns what the hour counted.
async fn hour_again_after_nine_days(app: &TestApp, clock: &ManualClock) -> Value {
    let hour = || twelve_hours().into_iter().take(1);
    let first = app.replay(hour()).await.submitted;
    let stats = app.stats(2016).await;
    assert_eq!(stats["daily"]["2016-01-01"]["event"], 609);
    clock.advance_millis(9 * DAY);
    app.replay([archive(app.directory(), "other.json", &opened_in(1, "C"))]).await;
    let again = app.replay(hour()).await.submitted;
    assert_eq!((again.published, again.duplicates), (first.published, 0), "no claim is left");
    assert_eq!(app.stats(2016).await["daily"], stats["daily"]);
    assert_eq!(app.stats(2016).await["sum"], stats["sum"]);
    stats
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_hour_nine_days_later_changes_nothing() {
    let (app, clock) = with_clock();
    hour_again_after_nine_days(&app, &clock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_hour_nine_days_later_changes_nothing_in_redis_where_its_day_is_closed() {
    let (mut app, clock) = with_clock();
    let prefix = on_redis(&mut app);
    let before = hour_again_after_nine_days(&app, &clock).await;
    let mut redis = connect(&shared_server()).await;
    let closed = redis::cmd("EXISTS").arg(format!("{prefix}ph:closed:2016-01-01")).to_owned();
    assert_eq!(closed.query_async::<u64>(&mut redis).await.unwrap(), 1);
    let sets = redis::cmd("KEYS").arg(format!("{}ph:*:2016-01-01", prefix.replace('{', "?"))).to_owned();
    let mut sets: Vec<String> = sets.query_async(&mut redis).await.unwrap();
    sets.retain(|key| !key.contains(":own:") && !key.contains(":closed:"));
    assert!(sets.is_empty(), "{sets:?}");
    // One that nobody had seen counts for its year.
    let mut late = opened_in(900_000_000_000, "C");
    late["created_at"] = json!("2016-01-01T01:30:00Z");
    app.replay([archive(app.directory(), "late.json", &late)]).await;
    let after = app.stats(2016).await;
    assert_eq!(after["daily"], before["daily"]);
    assert_eq!(after["sum"]["dev"].as_u64().unwrap(), before["sum"]["dev"].as_u64().unwrap() + 1);
    assert_eq!(after["sum"]["repo"].as_u64().unwrap(), before["sum"]["repo"].as_u64().unwrap() + 1);
}
