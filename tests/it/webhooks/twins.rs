//! The feed and a webhook tell of the same thing: one of them is counted, shown and written.

use pulsehub::app::{Running, Source};
use serde_json::{Value, json};

use super::{Post, accepted, app, merged, merged_in_feed};
use crate::support::mysql::Database;
use crate::support::redis::{prefix, shared_server};
use crate::support::{Client, TestApp, eventually};
use crate::tap::{Tap, event};

/// A client that is shown all events.
async fn client(running: &Running) -> Client {
    let mut client = Client::connect(running, "/sampling").await;
    assert_eq!(client.json().await["firstMessageTag"], true);
    client.send(r#"{"samplingRate":1}"#).await;
    client
}

async fn deliver(running: &Running, event: &'static str, id: &str, body: &Value) {
    assert_eq!(Post::new(event, id, body.to_string()).to(running).await, accepted("published"));
}

/// One twin first, then the other: for pull request 1 the webhook, for 2 the feed. Returns what a client saw.
async fn both_orders(app: &mut TestApp) -> Vec<Value> {
    let tap = Tap::new().await;
    let running = tap.start(app).await;
    let (mut client, mut shown) = (client(&running).await, Vec::new());
    deliver(&running, "pull_request", "d-1", &merged(1)).await;
    shown.push(client.json().await);
    tap.pour(&[merged_in_feed(1), merged_in_feed(2)]);
    shown.push(client.json().await);
    deliver(&running, "pull_request", "d-2", &merged(2)).await;
    // What comes behind them all.
    tap.pour(&[event(77, "GollumEvent")]);
    shown.push(client.json().await);
    eventually("all is settled", async || settled(&running).await).await;
    running.stop().await;
    shown
}

async fn settled(running: &Running) -> bool {
    let status = format!("http://{}/api/v1/status", running.public.unwrap());
    let status: Value = crate::process::get(&status).await.json().await.unwrap();
    status["backlog"] == 0
}

fn assert_one_of_each(shown: &[Value]) {
    let of = |shown: &Value| shown["event"]["payload"]["number"].as_u64();
    assert_eq!(shown.iter().map(of).collect::<Vec<_>>(), [Some(1), Some(2), None], "{shown:?}");
    assert!(shown[0]["event"]["id"].as_str().unwrap().starts_with('-'), "the webhook's came first");
    assert_eq!(shown[1]["event"]["id"], "60002");
    assert_eq!(shown[2]["event"]["id"], "77", "nothing in between");
    for frame in &shown[..2] {
        assert_eq!(
            (&frame["payload"]["merge"], &frame["payload"]["devYear"]),
            (&json!(1), &json!(1)),
            "{frame}"
        );
    }
    // A webhook tells what the feed leaves out.
    let pull_request = &shown[0]["event"]["payload"]["pull_request"];
    assert_eq!(
        (&pull_request["additions"], &pull_request["base"]["repo"]["language"]),
        (&json!(10), &json!("Rust"))
    );
}

async fn assert_counted_once(app: &TestApp) {
    let stats = app.stats(2026).await;
    assert_eq!(stats["daily"]["2026-06-15"]["merge"], 2, "{stats}");
    assert_eq!(stats["sum"]["additions"], 10, "the feed does not know sizes: {stats}");
    assert_eq!(stats["language"], json!({"Rust": 1}), "{stats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twins_the_first_is_counted_and_shown_on_embedded_stores() {
    let mut app = app();
    assert_one_of_each(&both_orders(&mut app).await);
    assert_counted_once(&app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twins_the_first_is_counted_shown_and_written_on_redis_and_history() {
    let (mut app, history) = (app(), Database::new().await);
    app.config.redis.host = Some(shared_server().into());
    app.config.redis.prefix = prefix();
    app.config.redis.settle_delay = "20ms".parse().unwrap();
    history.configure(&mut app.config, true);
    assert_one_of_each(&both_orders(&mut app).await);
    assert_counted_once(&app).await;
    let of =
        |number: u64| format!("SELECT COUNT(*) FROM github_events WHERE pr_or_issue_id = {}", 9_000 + number);
    for number in [1, 2] {
        assert_eq!(history.number(&of(number)).await, 1, "{number}");
    }
    let by_webhook =
        "SELECT COUNT(*) FROM github_events WHERE id < 0 AND additions = 10 AND language = 'Rust'";
    assert_eq!(history.number(by_webhook).await, 1);
    assert_eq!(history.number("SELECT COUNT(*) FROM github_events").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_is_matched_by_repository_ref_and_head() {
    let (mut app, tap) = (app(), Tap::new().await);
    let running = tap.start(&mut app).await;
    let mut client = client(&running).await;
    let push = |head: &str| {
        json!({
            "ref": "refs/heads/main", "before": "00", "after": head, "commits": [],
            "repository": {"id": 7_001, "full_name": "owner/repo1", "private": false, "pushed_at": 1_781_521_200},
            "sender": {"id": 5_001, "login": "user1"},
        })
    };
    let in_feed = |id: u64, head: &str| {
        let mut event = event(id, "PushEvent");
        event["repo"]["id"] = json!(7_001);
        event["payload"] =
            json!({"repository_id": 7_001, "ref": "refs/heads/main", "head": head, "before": "00"});
        // Hours later, as long as it is within 24.
        event["created_at"] = json!("2026-06-15T19:00:00Z");
        event
    };
    deliver(&running, "push", "d-1", &push("11aa")).await;
    let shown = client.json().await;
    assert_eq!(
        (&shown["event"]["type"], &shown["event"]["payload"]["head"]),
        (&json!("PushEvent"), &json!("11aa"))
    );
    tap.pour(&[in_feed(1, "11aa"), in_feed(2, "22bb")]);
    assert_eq!(client.json().await["event"]["id"], "2", "the first is the webhook's twin");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_webhooks_the_feed_is_as_it_was() {
    let tap = Tap::new().await;
    let mut app = TestApp::new();
    let running = tap.start(&mut app).await;
    let mut client = client(&running).await;
    // Two merges of one pull request that GitHub gave two ids.
    let mut again = merged_in_feed(1);
    again["id"] = json!("70000");
    tap.pour(&[merged_in_feed(1), again]);
    assert_eq!(client.json().await["event"]["id"], "60001");
    assert_eq!(client.json().await["event"]["id"], "70000");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sample_takes_no_webhooks() {
    let app = app();
    let running = app.start(Source::Sample).await;
    let post = Post::new("pull_request", "d-1", merged(1).to_string());
    assert_eq!(post.to(&running).await.0, reqwest::StatusCode::NOT_FOUND);
    running.stop().await;
}
