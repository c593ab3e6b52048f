//! `/language/latest` and `/language/watch` as front ends meet them.

use std::collections::BTreeMap;

use pulsehub::app::Running;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use crate::support::{Client, TestApp};
use crate::tap::{Tap, event, opened_in, pull_request};

type Map = BTreeMap<String, u64>;

fn map(value: &Value) -> Map {
    value.as_object().unwrap().iter().map(|(name, count)| (name.clone(), count.as_u64().unwrap())).collect()
}

fn map_of<const N: usize>(entries: [(&str, u64); N]) -> Map {
    entries.map(|(name, count)| (name.to_owned(), count)).into()
}

struct Fixture {
    tap: Tap,
    running: Running,
    _app: TestApp,
}

impl Fixture {
    /// A pipeline whose language window is so many seconds long.
    async fn new(window: u32) -> Self {
        let tap = Tap::new().await;
        let mut app = TestApp::new();
        app.config.interval.latest_during_s = window;
        let running = tap.start(&mut app).await;
        Self { tap, running, _app: app }
    }

    async fn latest(&self, params: &Value) -> Client {
        let mut client = Client::connect(&self.running, "/language/latest").await;
        client.send(&params.to_string()).await;
        client
    }
}

/// Reads `latest` until it gives `expected`.
async fn until(client: &mut Client, expected: &Map) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = map(&client.json().await);
        if &found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?} did not become {expected:?}");
    }
}

/// What a client of `/language/watch` knows.
struct Watcher {
    client: Client,
    map: Map,
}

impl Watcher {
    async fn connect(running: &Running, path: &str) -> Self {
        let mut client = Client::connect(running, path).await;
        let first = client.json().await;
        assert_eq!(first["firstMessageTag"], true);
        assert_eq!(first["apiVersion"], 2);
        assert_eq!(first.as_object().unwrap().len(), 3, "{first}");
        Self { client, map: map(&first["languageMap"]) }
    }

    /// Reads one difference and adds it; returns it.
    async fn read(&mut self) -> Value {
        let frame = self.client.json().await;
        self.add(&frame);
        frame
    }

    fn add(&mut self, frame: &Value) {
        assert_eq!(frame.as_object().unwrap().len(), 2, "{frame}");
        let part = |name: &str| {
            let part = frame[name].as_object().unwrap_or_else(|| panic!("{frame}"));
            part.iter().map(|(language, count)| {
                (
                    language.clone(),
                    count.as_str().unwrap_or_else(|| panic!("{frame}")).parse::<u64>().unwrap(),
                )
            })
        };
        assert!(part("additions").len() + part("deletions").len() > 0, "silent when both are empty");
        for (language, count) in part("additions") {
            assert!(count > 0, "{frame}");
            *self.map.entry(language).or_default() += count;
        }
        for (language, count) in part("deletions") {
            assert!(count > 0, "{frame}");
            let left = self.map.remove(&language).unwrap().checked_sub(count).unwrap();
            if left > 0 {
                self.map.insert(language, left);
            }
        }
    }

    async fn until(&mut self, expected: &Map) {
        while &self.map != expected {
            self.read().await;
        }
    }
}

/// Events of these languages, so many of each.
fn events(first_id: u64, languages: &[(&str, usize)]) -> Vec<Value> {
    let names = languages.iter().flat_map(|&(name, count)| std::iter::repeat_n(name, count));
    (first_id..).zip(names).map(|(id, name)| opened_in(id, name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_says_nothing_before_params_and_then_the_map_each_second() {
    let fixture = Fixture::new(3600).await;
    let mut silent = Client::connect(&fixture.running, "/language/latest").await;
    let mut latest = Client::connect(&fixture.running, "/websocket/language/latest").await;
    latest.send("{}").await;
    assert_eq!(latest.text().await, "{}");
    let mut poured = events(1, &[("Rust", 5), ("Java", 3), ("Go", 3), ("C", 1)]);
    poured.push(pull_request(90, "opened"));
    poured.push(event(91, "WatchEvent"));
    poured.push({
        let mut labeled = opened_in(92, "Ada");
        labeled["payload"]["action"] = json!("labeled");
        labeled
    });
    fixture.tap.pour(&poured);
    let all = map_of([("Rust", 5), ("Java", 3), ("Go", 3), ("C", 1)]);
    until(&mut latest, &all).await;
    let started = Instant::now();
    for _ in 0..3 {
        assert_eq!(map(&latest.json().await), all);
    }
    let took = started.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(6), "three seconds took {took:?}");
    silent.send("[]").await;
    assert_eq!(silent.json().await["error"]["code"], "invalid_params", "nothing was sent before params");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_takes_the_top_of_the_languages_asked_for() {
    let fixture = Fixture::new(3600).await;
    fixture.tap.pour(&events(1, &[("Rust", 5), ("Java", 3), ("Go", 3), ("C", 1)]));
    let all = map_of([("Rust", 5), ("Java", 3), ("Go", 3), ("C", 1)]);
    let cases = [
        (json!({ "top": 0, "language": [] }), all.clone()),
        (json!({ "top": 2 }), map_of([("Rust", 5), ("Go", 3)])),
        (json!({ "TOP": 2, "Language": ["Java", "C", "Nope", "Go"] }), map_of([("Go", 3), ("Java", 3)])),
        (json!({ "language": ["Java", "Java"], "top": 99 }), map_of([("Java", 3)])),
        (json!({ "language": ["java"] }), Map::new()),
    ];
    let mut changing = fixture.latest(&json!({})).await;
    until(&mut changing, &all).await;
    let clients =
        futures_util::future::join_all(cases.iter().map(|(params, _)| fixture.latest(params))).await;
    for (mut client, (params, expected)) in clients.into_iter().zip(&cases) {
        assert_eq!(&map(&client.json().await), expected, "{params}");
    }
    changing.send(r#"{"language":["C"]}"#).await;
    until(&mut changing, &map_of([("C", 1)])).await;
    assert_eq!(map(&changing.json().await), map_of([("C", 1)]), "they stay in force");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_and_latest_tell_the_same_while_the_window_moves_on() {
    let fixture = Fixture::new(3).await;
    let mut watch = Watcher::connect(&fixture.running, "/websocket/language/watch").await;
    assert!(watch.map.is_empty());
    watch.client.send("{}").await;
    let mut latest = fixture.latest(&json!({})).await;
    // Every second something else, then nothing.
    let (mut told, mut id) = (vec![map(&latest.json().await)], 1);
    for second in 0..4 {
        fixture.tap.pour(&events(id, &[("Go", second + 1), (["C", "D", "E", "F"][second], 2)]));
        id += 100;
        told.push(map(&latest.json().await));
    }
    while !told.last().unwrap().is_empty() || told.len() < 6 {
        told.push(map(&latest.json().await));
    }
    let (mut known, mut deletions) = (vec![watch.map.clone()], 0);
    while known.len() < 2 || !watch.map.is_empty() {
        let difference = watch.read().await;
        deletions += difference["deletions"].as_object().unwrap().len();
        known.push(watch.map.clone());
    }
    told.dedup();
    assert!(deletions >= 5 && known.len() > 4, "{known:?}");
    assert_eq!(known.last(), told.last());
    let common = known.len().min(told.len()) - 1;
    assert_eq!(known[known.len() - common..], told[told.len() - common..]);
    // Silent as long as nothing changes.
    for _ in 0..2 {
        assert_eq!(latest.text().await, "{}");
    }
    watch.client.send(r#"{"language":1}"#).await;
    assert_eq!(watch.client.json().await["error"]["field"], "language");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_starts_with_the_whole_map_and_sends_nothing_before_params() {
    let fixture = Fixture::new(3600).await;
    fixture.tap.pour(&events(1, &[("Java", 2), ("C", 1)]));
    let mut latest = fixture.latest(&json!({})).await;
    until(&mut latest, &map_of([("Java", 2), ("C", 1)])).await;
    let mut raw = Client::connect(&fixture.running, "/language/watch").await;
    assert_eq!(raw.text().await, r#"{"firstMessageTag":true,"apiVersion":2,"languageMap":{"C":1,"Java":2}}"#);
    fixture.tap.pour(&events(100, &[("Java", 1)]));
    until(&mut latest, &map_of([("Java", 3), ("C", 1)])).await;
    raw.send("{}").await;
    assert_eq!(raw.text().await, r#"{"deletions":{},"additions":{"Java":"1"}}"#, "what it missed until then");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_tells_only_languages_asked_for_and_catches_up_when_they_change() {
    let fixture = Fixture::new(3600).await;
    let mut java = Watcher::connect(&fixture.running, "/language/watch").await;
    let mut all = Watcher::connect(&fixture.running, "/language/watch").await;
    java.client.send(r#"{"LANGUAGE":["Java","Nope"]}"#).await;
    all.client.send(r#"{"other":true}"#).await;
    fixture.tap.pour(&events(1, &[("Java", 2), ("Go", 4)]));
    java.until(&map_of([("Java", 2)])).await;
    all.until(&map_of([("Java", 2), ("Go", 4)])).await;
    java.client.send(r#"{"language":[]}"#).await;
    fixture.tap.pour(&events(100, &[("C", 1), ("Java", 1)]));
    all.until(&map_of([("Java", 3), ("Go", 4), ("C", 1)])).await;
    java.until(&map_of([("Java", 3), ("Go", 4), ("C", 1)])).await;
}
