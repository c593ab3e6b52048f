//! `/sampling` as front ends meet it: the first message, the stream behind it, and every param.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use pulsehub::app::{Running, Source};
use pulsehub::clock::ManualClock;
use pulsehub::source::replay::{ReplayOptions, Speed};
use serde_json::{Value, json};

use crate::support::{Client, TestApp, eventually, shared, text};
use crate::tap::{Tap, event, pull_request};

/// 2026-06-15T12:00:00Z in milliseconds: no test depends on the day on which it runs.
const NOON: i64 = 1_781_524_800_000;

/// What live.ossinsight.io sends.
const FRONT_END: &str = r#"{"samplingRate":1,"filter":["event.id","event.payload.action","event.payload.pull_request.number","event.repo.name","event.actor.login","event.payload.pull_request.merged","event.payload.pull_request.base.repo.language","event.payload.pull_request.additions","event.payload.pull_request.deletions","payload.devDay","payload.devYear","payload.repoYear"],"eventType":"PullRequestEvent","returnType":"list"}"#;

const NUMBERS: [&str; 7] = ["pr", "open", "merge", "close", "devDay", "devYear", "repoYear"];

/// A pipeline at noon, fed by a tap.
struct Fixture {
    tap: Tap,
    running: Running,
    _app: TestApp,
}

impl Fixture {
    async fn new() -> Self {
        let tap = Tap::new().await;
        let mut app = TestApp::new();
        app.clock = Arc::new(ManualClock::new(NOON));
        let running = tap.start(&mut app).await;
        Self { tap, running, _app: app }
    }

    /// A client that has read its first message and sent `params`.
    async fn client(&self, params: &Value) -> Client {
        let mut client = Client::connect(&self.running, "/sampling").await;
        assert_eq!(client.json().await["firstMessageTag"], true);
        client.send(&params.to_string()).await;
        client
    }
}

/// The ids of the next `count` frames, which are whole events.
async fn ids(client: &mut Client, count: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(client.json().await["event"]["id"].as_str().unwrap().parse().unwrap());
    }
    ids
}

/// Asserts that nothing else was sent to a client than what it has read.
async fn assert_nothing_more(client: &mut Client) {
    client.send("{}").await;
    let frame = client.json().await;
    assert_eq!(frame["error"]["code"], "invalid_params", "an unexpected frame: {frame}");
}

/// The sum of a map's decimal strings.
fn total(map: &Value) -> u64 {
    map.as_object().unwrap().values().map(|value| value.as_str().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_message_comes_before_any_params_and_always_has_today() {
    let fixture = Fixture::new().await;
    for prefix in ["", "/websocket"] {
        let mut client = Client::connect(&fixture.running, &format!("{prefix}/sampling")).await;
        let expected = r#"{"firstMessageTag":true,"apiVersion":2,"eventMap":{"2026-06-15":"0"},"openMap":{"2026-06-15":"0"},"mergeMap":{"2026-06-15":"0"},"closeMap":{"2026-06-15":"0"},"devMap":{"2026-06-15":"0"},"sumMap":{"additions":"0","deletions":"0","dev":"0","repo":"0"}}"#;
        assert_eq!(client.text().await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_maps_of_the_first_message_have_the_same_days_of_this_year_ascending() {
    let fixture = Fixture::new().await;
    let days = ["2026-06-03", "2026-02-28", "2025-12-31", "2026-06-15", "2026-02-28"];
    let mut events: Vec<Value> = (1..).zip(days).map(|(id, _)| pull_request(id, "opened")).collect();
    for (event, day) in events.iter_mut().zip(days) {
        event["created_at"] = json!(format!("{day}T11:00:00Z"));
    }
    events[4]["payload"]["action"] = json!("closed");
    events[4]["payload"]["pull_request"]["merged"] = json!(true);
    fixture.tap.pour(&events[..2]);
    fixture.tap.pour(&events[2..]);
    let expected = r#"{"firstMessageTag":true,"apiVersion":2,"eventMap":{"2026-02-28":"2","2026-06-03":"1","2026-06-15":"1"},"openMap":{"2026-02-28":"1","2026-06-03":"1","2026-06-15":"1"},"mergeMap":{"2026-02-28":"1","2026-06-03":"0","2026-06-15":"0"},"closeMap":{"2026-02-28":"0","2026-06-03":"0","2026-06-15":"0"},"devMap":{"2026-02-28":"2","2026-06-03":"1","2026-06-15":"1"},"sumMap":{"additions":"10","deletions":"4","dev":"4","repo":"4"}}"#;
    eventually("all of this year in the first message", async || {
        Client::connect(&fixture.running, "/sampling").await.text().await == expected
    })
    .await;
}

/// What a client knows: its first message, and every frame added to it as the front end does.
struct Tally {
    client: Client,
    first: Value,
    ids: HashSet<String>,
    counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    async fn connect(running: &Running) -> Self {
        let mut client = Client::connect(running, "/sampling").await;
        let first = client.json().await;
        assert_eq!(first["firstMessageTag"], true);
        let sum = |name: &str| first["sumMap"][name].as_str().unwrap().parse().unwrap();
        let counts = BTreeMap::from([
            ("devDay", total(&first["devMap"])),
            ("devYear", sum("dev")),
            ("repoYear", sum("repo")),
            ("additions", sum("additions")),
            ("deletions", sum("deletions")),
        ]);
        Self { client, first, ids: HashSet::new(), counts }
    }

    /// Reads one frame, each field as the front end reads it.
    async fn read(&mut self) {
        let frame = self.client.json().await;
        self.add(&frame);
    }

    fn add(&mut self, frame: &Value) {
        let fields = frame.as_array().unwrap_or_else(|| panic!("an array was expected: {frame}"));
        assert_eq!(fields.len(), 12, "{frame}");
        let [id, action, number, repo, login, merged, language, additions, deletions, numbers @ ..] =
            &fields[..]
        else {
            panic!("{frame}")
        };
        let id = id.as_str().unwrap();
        assert!(self.ids.insert(id.to_owned()), "twice: {frame}");
        assert!(["opened", "closed", "reopened", "merged"].contains(&action.as_str().unwrap()), "{frame}");
        assert!(number.is_u64() && repo.as_str().unwrap().contains('/') && login.is_string(), "{frame}");
        assert!(language.is_null() || language.is_string(), "{frame}");
        if merged.as_bool().unwrap() {
            *self.counts.get_mut("additions").unwrap() += additions.as_u64().unwrap();
            *self.counts.get_mut("deletions").unwrap() += deletions.as_u64().unwrap();
        }
        for (name, value) in ["devDay", "devYear", "repoYear"].into_iter().zip(numbers) {
            let value = value.as_u64().filter(|&value| value <= 1).unwrap_or_else(|| panic!("{frame}"));
            *self.counts.get_mut(name).unwrap() += value;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn front_end_that_comes_at_any_time_during_a_replay_adds_up_to_the_final_counters() {
    let mut app = TestApp::new();
    app.clock = Arc::new(ManualClock::new(NOON));
    app.live = true;
    let source = Source::Replay(ReplayOptions {
        sources: vec![text(&shared("data/gharchive/2016-01-01-3.json.gz"))],
        speed: Speed::Times(1_200.0),
        rebase: true,
        archive_url: "http://127.0.0.1:9/".to_owned(),
        downloads: app.directory().join("downloads"),
        cache_bytes: 0,
    });
    let mut running = app.start(source).await;
    let mut first = Tally::connect(&running).await;
    first.client.send(FRONT_END).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        for _ in 0..70 {
            first.read().await;
        }
        let mut late = Tally::connect(&running).await;
        // Its params come late: what happens until then must not be lost, nor come twice.
        for _ in 0..25 {
            first.read().await;
        }
        late.client.send(FRONT_END).await;
        clients.push(late);
    }
    clients.push(first);
    running.replayed().await.unwrap().unwrap();
    let url = format!("http://{}/api/v1/stats?year=2026", running.admin);
    let report: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(report["daily"].as_object().unwrap().len(), 1, "rebased events happen today: {report}");
    let of_day = |name: &str| report["daily"]["2026-06-15"][name].as_u64().unwrap();
    let of_year = |name: &str| report["sum"][name].as_u64().unwrap();
    let expected = BTreeMap::from([
        ("devDay", of_day("dev")),
        ("devYear", of_year("dev")),
        ("repoYear", of_year("repo")),
        ("additions", of_year("additions")),
        ("deletions", of_year("deletions")),
    ]);
    for (index, mut tally) in clients.into_iter().enumerate() {
        if index < 3 {
            let seen = total(&tally.first["eventMap"]);
            assert!(seen > 0 && seen < of_day("event"), "client {index} came at {seen}");
        }
        while tally.counts != expected {
            tally.read().await;
        }
        // Whatever still comes counts nothing, and the stream ends.
        tally.client.send("{}").await;
        loop {
            let frame = tally.client.json().await;
            if frame["error"].is_object() {
                break;
            }
            tally.add(&frame);
        }
        assert_eq!(tally.counts, expected, "client {index}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_matching_events_every_nth_is_sent() {
    let fixture = Fixture::new().await;
    let mut third = fixture.client(&json!({ "samplingRate": 3, "eventType": "WatchEvent" })).await;
    let mut all = fixture.client(&json!({ "samplingRate": 1 })).await;
    let mut huge = fixture.client(&json!({ "samplingRate": i64::MAX })).await;
    let kind = |id| if id % 2 == 0 { "WatchEvent" } else { "ForkEvent" };
    let events: Vec<Value> = (1..=40).map(|id| event(id, kind(id))).collect();
    fixture.tap.pour(&events[..21]);
    assert_eq!(ids(&mut third, 3).await, [6, 12, 18]);
    assert_eq!(ids(&mut all, 21).await, (1..=21).collect::<Vec<_>>());
    fixture.tap.pour(&events[21..]);
    assert_eq!(ids(&mut third, 3).await, [24, 30, 36]);
    assert_eq!(ids(&mut all, 19).await, (22..=40).collect::<Vec<_>>());
    assert_nothing_more(&mut third).await;
    assert_nothing_more(&mut huge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn params_choose_by_type_repository_and_actor_whatever_the_case_of_their_names() {
    let fixture = Fixture::new().await;
    let mut by_type = fixture.client(&json!({ "samplingrate": 1, "EVENTTYPE": "ForkEvent" })).await;
    let mut by_repo =
        fixture.client(&json!({ "samplingRate": 1, "reponame": "owner/repo2", "Unknown": [{}] })).await;
    let mut by_user = fixture
        .client(&json!({ "SamplingRate": 1, "userName": "user3", "eventType": "", "filter": null }))
        .await;
    let mut both = fixture
        .client(&json!({ "samplingRate": 1, "eventType": "ForkEvent", "repoName": "owner/repo2" }))
        .await;
    let mut all = fixture.client(&json!({ "samplingRate": 1 })).await;
    let events =
        [event(1, "ForkEvent"), event(2, "WatchEvent"), event(3, "PushEvent"), event(4, "forkevent")];
    fixture.tap.pour(&events);
    assert_eq!(ids(&mut all, 4).await, [1, 2, 3, 4]);
    assert_eq!(ids(&mut by_type, 1).await, [1]);
    assert_eq!(ids(&mut by_repo, 1).await, [2]);
    assert_eq!(ids(&mut by_user, 1).await, [3]);
    for client in [&mut by_type, &mut by_repo, &mut by_user, &mut both] {
        assert_nothing_more(client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filter_gives_a_map_or_a_list_and_null_for_what_is_not_there() {
    let fixture = Fixture::new().await;
    let paths = [
        "event.id",
        "",
        "event.payload",
        "event.actor.login.x",
        "event.nothing.at.all",
        "payload.merge",
        "no.such",
        "event.id",
        "payload",
        "event.public",
        "event",
        "event.",
        ".id",
        "EVENT.ID",
        "event.quo\"te",
    ];
    let params = |form: &str| json!({ "samplingRate": 1, "filter": paths, "returnType": form });
    let mut list = fixture.client(&params("list")).await;
    let mut map = fixture.client(&params("map")).await;
    let mut unfiltered =
        fixture.client(&json!({ "samplingRate": 1, "filter": [], "returnType": "list" })).await;
    let watched = event(1, "WatchEvent");
    fixture.tap.pour([&watched]);
    let numbers =
        json!({ "pr": 0, "open": 0, "merge": 0, "close": 0, "devDay": 0, "devYear": 0, "repoYear": 0 });
    let values =
        json!(["1", null, {}, null, null, 0, null, "1", numbers, true, watched, null, null, null, null]);
    assert_eq!(list.json().await, values);
    let frame = map.json().await;
    for (path, value) in paths.iter().zip(values.as_array().unwrap()) {
        assert_eq!(&frame[*path], value, "{path}");
    }
    assert_eq!(frame.as_object().unwrap().len(), paths.len() - 1, "one path was asked for twice");
    assert_eq!(unfiltered.json().await["event"], watched, "an empty filter is none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicate_paths_give_one_key_of_a_map() {
    let fixture = Fixture::new().await;
    let mut map = fixture.client(&json!({ "samplingRate": 1, "filter": ["event.id", "event.id"] })).await;
    fixture.tap.pour([&event(1, "WatchEvent")]);
    assert_eq!(map.text().await, r#"{"event.id":"1"}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_has_its_seven_numbers_and_stays_as_it_was_sent() {
    let fixture = Fixture::new().await;
    let mut client = fixture.client(&json!({ "samplingRate": 1 })).await;
    let watched = r#"{"zeta":[1,2.50,{"a":null}],"id":"1","type":"WatchEvent","text":"\u00e9\u0000\u2028 \"","created_at":"2026-06-15T11:00:00Z"}"#;
    fixture.tap.pour_text(format!("{watched}\n"));
    let zeros = r#""payload":{"pr":0,"open":0,"merge":0,"close":0,"devDay":0,"devYear":0,"repoYear":0}}"#;
    assert_eq!(client.text().await, format!(r#"{{"event":{watched},{zeros}"#));
    // The same developer opens, merges and reopens.
    let mut events = [pull_request(2, "opened"), pull_request(3, "closed"), pull_request(4, "reopened")];
    for event in &mut events {
        event["actor"]["id"] = json!(1);
    }
    events[1]["payload"]["pull_request"]["merged"] = json!(true);
    events[1]["repo"]["id"] = events[0]["repo"]["id"].clone();
    fixture.tap.pour(&events);
    for (event, expected) in
        events.iter().zip([[1, 1, 0, 0, 1, 1, 1], [1, 0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]])
    {
        let frame = client.json().await;
        assert_eq!(&frame["event"], event);
        assert_eq!(frame["payload"].as_object().unwrap().len(), 7);
        assert_eq!(NUMBERS.map(|name| frame["payload"][name].as_u64().unwrap()), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn params_sent_again_replace_the_former() {
    let fixture = Fixture::new().await;
    let mut client = fixture.client(&json!({ "samplingRate": 1, "eventType": "ForkEvent" })).await;
    fixture.tap.pour(&[event(1, "WatchEvent"), event(2, "ForkEvent")]);
    assert_eq!(ids(&mut client, 1).await, [2]);
    client.send(r#"{"samplingRate":2,"filter":["event.id"],"returnType":"list"}"#).await;
    // They are in force once frames have their form.
    let mut id = 3;
    eventually("the new params are in force", async || {
        fixture.tap.pour(&[event(id, "ForkEvent"), event(id + 1, "WatchEvent")]);
        id += 2;
        client.json().await.is_array()
    })
    .await;
    fixture.tap.pour(&[event(id, "WatchEvent"), event(id + 1, "WatchEvent")]);
    assert_eq!(client.json().await, json!([(id + 1).to_string()]), "every second of all types");
    assert_nothing_more(&mut client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_actions_of_pull_requests_are_sent_to_those_who_ask() {
    let fixture = Fixture::new().await;
    let mut plain = fixture.client(&json!({ "samplingRate": 1 })).await;
    let mut labeled = fixture.client(&json!({ "samplingRate": 1, "action": ["labeled"] })).await;
    let mut any = fixture.client(&json!({ "samplingRate": 1, "ACTION": ["*"] })).await;
    let mut two = fixture
        .client(
            &json!({ "samplingRate": 1, "action": ["opened", "assigned"], "eventType": "PullRequestEvent" }),
        )
        .await;
    let events = [
        pull_request(1, "labeled"),
        pull_request(2, "opened"),
        pull_request(3, "assigned"),
        event(4, "PullRequestEvent"),
        event(5, "WatchEvent"),
        pull_request(6, "reopened"),
    ];
    fixture.tap.pour(&events);
    assert_eq!(ids(&mut plain, 3).await, [2, 5, 6]);
    assert_eq!(ids(&mut any, 6).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(ids(&mut two, 2).await, [2, 3]);
    assert_eq!(ids(&mut labeled, 2).await, [1, 5]);
    for client in [&mut plain, &mut any, &mut two, &mut labeled] {
        assert_nothing_more(client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merged_event_has_numbers_for_its_sizes_whatever_was_sent() {
    let fixture = Fixture::new().await;
    let mut client = Client::connect(&fixture.running, "/websocket/sampling").await;
    client.text().await;
    client.send(FRONT_END).await;
    let bodies = [
        json!({ "id": 1, "number": 3 }),
        json!({ "id": 2, "number": 3, "merged": null, "additions": null, "deletions": null }),
        json!({ "id": 3, "number": 3, "merged": true, "additions": "5", "deletions": -1 }),
        json!({ "id": 4, "number": 3, "additions": 8 }),
    ];
    let mut events = Vec::new();
    for (id, body) in (1..).zip(bodies) {
        let mut event = pull_request(id, "merged");
        event["payload"]["pull_request"] = body;
        events.push(event);
    }
    fixture.tap.pour(&events);
    for additions in [0, 0, 0, 8] {
        let frame = client.json().await;
        assert_eq!(frame[5], true, "{frame}");
        assert_eq!(
            (&frame[6], &frame[7], &frame[8]),
            (&json!(null), &json!(additions), &json!(0)),
            "{frame}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_agree_with_those_of_the_predecessor() {
    let pairs = std::fs::read_to_string(shared("wire/pairs.json")).unwrap();
    let pairs: Vec<BTreeMap<String, String>> = serde_json::from_str(&pairs).unwrap();
    assert_eq!(pairs.len(), 84);
    let fixture = Fixture::new().await;
    let mut client = fixture.client(&json!({ "samplingRate": 1 })).await;
    fixture.tap.pour_text(pairs.iter().map(|pair| format!("{}\n", pair["in"])).collect());
    for pair in pairs {
        let sent: Value = serde_json::from_str(&pair["in"]).unwrap();
        let mut expected: Value = serde_json::from_str(&pair["out"]).unwrap();
        let mut frame = client.json().await;
        assert_eq!(frame["event"], sent, "the event is sent as it came");
        // Restamped on the way into the predecessor.
        for event in [&mut expected["event"], &mut frame["event"]] {
            assert!(event.as_object_mut().unwrap().remove("created_at").is_some());
        }
        // The predecessor dropped this field,
        if let Some(org) = frame["event"].get_mut("org") {
            org.as_object_mut().unwrap().remove("gravatar_id");
        }
        // and zeros.
        for name in NUMBERS {
            expected["payload"].as_object_mut().unwrap().entry(name).or_insert(json!(0));
        }
        assert_eq!(frame, expected);
    }
    assert_nothing_more(&mut client).await;
}
