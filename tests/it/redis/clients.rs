//! What clients notice of a Redis that forgets its scripts or starts again: nothing.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use pulsehub::app::Running;
use pulsehub::clock::ManualClock;
use pulsehub::source::replay::open;
use serde_json::Value;

use super::run;
use crate::support::redis::{RedisServer, connect};
use crate::support::{Client, TestApp, eventually, twelve_hours};
use crate::tap::Tap;

/// 2016-01-01T13:00:00Z in milliseconds.
const AFTERNOON: i64 = 1_451_653_200_000;

type Languages = BTreeMap<String, i64>;

/// The pull request events of a recorded hour, each once.
fn pull_requests(path: &str) -> Vec<Value> {
    let events =
        open(Path::new(path)).unwrap().lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
    events.filter(|event: &Value| event["type"] == "PullRequestEvent").collect()
}

fn languages(events: &[Value]) -> Languages {
    let mut languages = Languages::new();
    for event in events {
        if let Some(language) = event["payload"]["pull_request"]["base"]["repo"]["language"].as_str() {
            *languages.entry(language.to_owned()).or_default() += 1;
        }
    }
    languages
}

async fn client(running: &Running, path: &str, params: &str) -> Client {
    let mut client = Client::connect(running, path).await;
    client.send(params).await;
    client
}

/// Adds the differences of `/language/watch` until they give `expected`.
async fn watch(mut client: Client, expected: Languages) {
    let first = client.json().await;
    assert_eq!(first["firstMessageTag"], true);
    let mut map = Languages::new();
    let mut add = |part: &Value, sign: i64| {
        for (language, count) in part.as_object().unwrap() {
            let count = count.as_str().map_or_else(|| count.as_i64(), |text| text.parse().ok()).unwrap();
            *map.entry(language.clone()).or_default() += sign * count;
        }
        map.retain(|_, count| *count != 0);
        map.clone()
    };
    let mut sum = add(&first["languageMap"], 1);
    while sum != expected {
        let difference = client.json().await;
        add(&difference["additions"], 1);
        sum = add(&difference["deletions"], -1);
    }
}

/// Reads `/language/latest` until it is `expected`; it never goes back meanwhile.
async fn latest(mut client: Client, expected: Languages) {
    let mut before = 0;
    loop {
        let map: Languages = serde_json::from_value(client.json().await).unwrap();
        let sum = map.values().sum();
        assert!(sum >= before, "{sum} after {before}");
        before = sum;
        if map == expected {
            return;
        }
    }
}

/// Reads `count` ids of `/sampling`.
async fn sampling(mut client: Client, count: usize) -> Vec<String> {
    assert_eq!(client.json().await["firstMessageTag"], true);
    let mut ids = Vec::new();
    while ids.len() < count {
        ids.push(client.json().await[0].as_str().unwrap().to_owned());
    }
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_scripts_and_a_restart_are_not_noticed_by_any_client() {
    let mut server = RedisServer::start(&[]).await;
    let (tap, mut app) = (Tap::new().await, TestApp::new());
    app.config.redis.host = Some(server.host().into());
    app.config.redis.settle_delay = "100ms".parse().unwrap();
    app.clock = Arc::new(ManualClock::new(AFTERNOON));
    let running = tap.start(&mut app).await;
    let events: Vec<Value> = twelve_hours()[..3].iter().flat_map(|hour| pull_requests(hour)).collect();
    let mut ids: Vec<String> = events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    ids.sort_unstable();
    assert!(ids.len() > 1_000 && ids.windows(2).all(|pair| pair[0] != pair[1]));
    let params =
        r#"{"samplingRate":1,"eventType":"PullRequestEvent","filter":["event.id"],"returnType":"list"}"#;
    let viewer = tokio::spawn(sampling(client(&running, "/sampling", params).await, ids.len()));
    let latest = tokio::spawn(latest(client(&running, "/language/latest", "{}").await, languages(&events)));
    let watch = tokio::spawn(watch(client(&running, "/language/watch", "{}").await, languages(&events)));
    let parts: Vec<&[Value]> = events.chunks(events.len().div_ceil(6)).collect();
    let counted = async |host: &str, count: u64| {
        let mut redis = connect(host).await;
        eventually("events are counted", async || {
            let events = super::hash(&mut redis, "daily_year_2016").await;
            events.get("2016-01-01").is_some_and(|events| events.parse::<u64>().unwrap() >= count)
        })
        .await;
    };
    tap.pour(parts[0]);
    counted(&server.host(), 50).await;
    tap.pour(parts[1]);
    run(&mut connect(&server.host()).await, "SCRIPT FLUSH").await;
    tap.pour(parts[2]);
    counted(&server.host(), 400).await;
    tap.pour(parts[3]);
    server.kill();
    tap.pour(parts[4]);
    server.restart().await;
    tap.pour(parts[5]);
    assert_eq!(viewer.await.unwrap(), ids, "each event is shown once");
    latest.await.unwrap();
    watch.await.unwrap();
    running.stop().await;
}
