//! The real front end's logic in a real browser, over ten minutes of recorded feed at sixty times its pace.

use std::path::Path;
use std::sync::Arc;

use pulsehub::app::Source;
use pulsehub::clock::SystemClock;
use pulsehub::source::replay::{ReplayOptions, Speed};
use serde_json::{Value, json};

use super::scenario::Scenario;
use crate::support::{Client, TestApp, shared, text};

/// What it sends.
const PARAMS: &str = r#"{"samplingRate":1,"filter":["event.id","event.payload.action","event.payload.pull_request.merged"],"eventType":"PullRequestEvent","returnType":"list"}"#;

/// The recorded events from 03:00 to 03:10.
fn ten_minutes(directory: &Path) -> String {
    let packed = std::fs::File::open(shared("data/gharchive/2016-01-01-3.json.gz")).unwrap();
    let hour = std::io::read_to_string(flate2::read::MultiGzDecoder::new(packed)).unwrap();
    let first = |line: &&str| line.contains(r#""created_at":"2016-01-01T03:0"#);
    let lines: Vec<&str> = hour.lines().filter(first).collect();
    assert!(lines.len() > 1_000, "{} events", lines.len());
    let path = directory.join("ten-minutes.json");
    std::fs::write(&path, lines.join("\n")).unwrap();
    text(&path)
}

fn sum(map: &Value) -> u64 {
    map.as_object().unwrap().values().map(|value| value.as_str().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_front_end_adds_up_to_our_numbers_over_ten_minutes_of_recorded_feed() {
    let mut app = TestApp::new();
    app.clock = Arc::new(SystemClock);
    app.live = true;
    let source = Source::Replay(ReplayOptions {
        sources: vec![ten_minutes(app.directory())],
        speed: Speed::Times(60.0),
        rebase: true,
        archive_url: "http://127.0.0.1:9/".to_owned(),
        downloads: app.directory().join("downloads"),
        cache_bytes: 0,
    });
    let mut running = app.start(source).await;
    let mut observer = Client::connect(&running, "/sampling").await;
    let mut observed = Vec::new();
    observer.json().await;
    observer.send(PARAMS).await;
    let mut scenario = Scenario::start("front_end", &format!("http://{}/", running.public.unwrap())).await;
    assert_eq!(scenario.line().await, "connected");
    running.replayed().await.unwrap().unwrap();
    // Params that are wrong end what it is sent, behind everything that was there.
    observer.send("{}").await;
    loop {
        let frame = observer.json().await;
        if !frame[0].is_string() {
            break;
        }
        observed.push(frame);
    }
    scenario.answer(observed.last().unwrap()[0].as_str().unwrap()).await;
    // What the other endpoint says of the languages, until its own sum is the same.
    let mut latest = Client::connect(&running, "/language/latest").await;
    latest.send("{}").await;
    let mut line = scenario.line().await;
    while line == "languages" {
        scenario.answer(&latest.json().await.to_string()).await;
        line = scenario.line().await;
    }
    let end: Value = serde_json::from_str(&line).unwrap();
    scenario.passes().await;

    let stats =
        |path: String| async move { reqwest::get(path).await.unwrap().json::<Value>().await.unwrap() };
    let ours = stats(format!("http://{}/api/v1/stats", running.admin)).await;
    let of_days = |name: &str| -> u64 {
        ours["daily"].as_object().unwrap().values().map(|day| day[name].as_u64().unwrap()).sum()
    };
    let theirs =
        |name: &str| end["counts"][name].as_u64().unwrap_or_else(|| panic!("{name}: {}", end["counts"]));
    assert_eq!(theirs("opened"), of_days("open"));
    assert_eq!(theirs("merged"), of_days("merge"));
    assert_eq!(theirs("developersToday"), of_days("dev"));
    for (name, sum) in [
        ("developers", "dev"),
        ("repositories", "repo"),
        ("additions", "additions"),
        ("deletions", "deletions"),
    ] {
        assert_eq!(theirs(name), ours["sum"][sum].as_u64().unwrap(), "{name}");
    }
    // It counts frames, not pull requests: a recount of those that another client was sent since it came.
    let frames = end["frames"].as_array().unwrap();
    assert!(frames.len() > 20, "{} frames", frames.len());
    let received: Vec<Value> = frames
        .iter()
        .map(|frame| serde_json::from_str::<Value>(frame.as_str().unwrap()).unwrap())
        .map(|frame| json!([frame[0], frame[1], frame[5]]))
        .collect();
    assert!(observed.ends_with(&received), "what it received is not what was sent");
    let sent = &observed[observed.len() - received.len()..];
    let closed = sent.iter().filter(|frame| frame[1] == "closed" && frame[2] == false).count() as u64;
    assert_eq!(theirs("closed"), closed);
    assert_eq!(theirs("events"), sum(&end["first"]["eventMap"]) + sent.len() as u64);
    running.stop().await;
}
