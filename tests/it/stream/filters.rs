//! What a subscription asks for is what comes, and nothing else.

use serde_json::{Value, json};

use super::{Stream, World, assert_silent, clients, ids_only};
use crate::support::{Client, eventually};
use crate::tap::{event, opened_in, pull_request};

/// What the cases choose from.
fn events() -> Vec<Value> {
    let mut merged = pull_request(1, "closed");
    merged["payload"]["pull_request"]["merged"] = true.into();
    merged["repo"]["name"] = "Rust-Lang/rust".into();
    merged["org"] = json!({ "id": 1, "login": "Rust-Lang" });
    let mut machine = opened_in(2, "C++");
    machine["actor"]["login"] = "dependabot[bot]".into();
    machine["repo"]["name"] = "rust-lang/cargo".into();
    let mut issue = event(3, "IssuesEvent");
    issue["payload"]["action"] = "opened".into();
    issue["repo"]["name"] = "rust/lang".into();
    let mut push = event(4, "PushEvent");
    push["actor"]["login"] = "Torvalds".into();
    vec![merged, machine, issue, push, pull_request(5, "labeled")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_param_chooses_what_it_says() {
    let world = World::with(|app| app.config.pulsar.consumer.concurrency = 1.try_into().unwrap()).await;
    let cases = [
        (json!({}), vec![1, 2, 3, 4]),
        (json!({ "types": ["pullrequestevent", "PushEvent"] }), vec![1, 2, 4]),
        (json!({ "actions": ["merged"] }), vec![1]),
        (json!({ "actions": ["closed"] }), vec![]),
        (json!({ "actions": ["opened", "labeled"] }), vec![2, 3, 5]),
        (json!({ "actions": ["*"] }), vec![1, 2, 3, 4, 5]),
        (json!({ "repos": ["rust-lang/*"] }), vec![1, 2]),
        (json!({ "repos": ["RUST-LANG/RUST", "owner/repo?"] }), vec![1, 4]),
        (json!({ "repos": ["rust*/*g*"] }), vec![2, 3]),
        (json!({ "orgs": ["rust-lang"] }), vec![1]),
        (json!({ "actors": ["torvalds", "user3"] }), vec![3, 4]),
        (json!({ "languages": ["c++"] }), vec![2]),
        (json!({ "bots": "only" }), vec![2]),
        (json!({ "bots": "without" }), vec![1, 3, 4]),
        (json!({ "every": 2 }), vec![2, 4]),
        (json!({ "every": 2, "bots": "without" }), vec![3]),
        (json!({ "ratio": 1.0 }), vec![1, 2, 3, 4]),
        (json!({ "events": false }), vec![]),
    ];
    let mut streams = Vec::new();
    for (mut asked, expected) in cases {
        asked["fields"] = json!(["event.id"]);
        let (stream, _) = world.subscribe(asked.clone()).await;
        streams.push((stream, asked, expected));
    }
    world.tap.pour(&events());
    let (mut all, _) = world.subscribe(json!({ "actions": ["*"], "since": "0.0" })).await;
    let mut last = Value::Null;
    for id in 1..=5 {
        let event = all.next_of("event").await;
        assert_eq!(event["data"]["event"]["id"], id.to_string());
        last = event["cursor"].clone();
    }
    for (stream, asked, expected) in &mut streams {
        let mut ids = Vec::new();
        // Once a heartbeat stands at the end, everything has been sent.
        loop {
            let message = stream.next_of_any(&["event", "gap", "heartbeat"]).await;
            match message["type"].as_str().unwrap() {
                "heartbeat" if message["cursor"] == last => break,
                "heartbeat" => {}
                _ => ids.push(super::id_of(&message)),
            }
        }
        assert_eq!(ids, *expected, "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ratio_is_the_same_events_for_every_client_and_after_a_break() {
    let world = World::new().await;
    let ratio = json!({ "ratio": 0.3, "fields": ["event.id"] });
    let (mut one, _) = world.subscribe(ratio.clone()).await;
    world.tap.pour(&(1..=1_000).map(|id| event(id, "WatchEvent")).collect::<Vec<_>>());
    let first = one.ids(200).await;
    let mut again = ratio;
    again["since"] = "0.0".into();
    let (mut two, _) = world.subscribe(again).await;
    two.next_of("gap").await;
    assert_eq!(two.ids(200).await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_fields_the_whole_event_comes_as_it_was_sent() {
    let world = World::new().await;
    let (mut stream, _) = world.subscribe(json!({})).await;
    let hostile = "<script>alert(1)</script>\u{202e}\u{0}\u{1b}[2J\"\\\r\n\u{2028}";
    let mut sent = event(1, "WatchEvent");
    sent["payload"]["text"] = json!(format!("{hostile}{}", "é".repeat(50_000)));
    world.tap.pour([&sent]);
    let message = stream.next_of("event").await;
    assert_eq!(message["data"]["event"], sent);
    let zero = json!({ "pr": 0, "open": 0, "merge": 0, "close": 0, "devDay": 0, "devYear": 0, "repoYear": 0 });
    assert_eq!(message["data"]["payload"], zero);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_are_those_of_sampling_and_missing_ones_are_null() {
    let world = World::new().await;
    let fields = json!(["event.payload.action", "payload.open", "event.no.such", "event.payload.pull_request.id"]);
    let (mut stream, answer) = world.subscribe(json!({ "fields": fields })).await;
    let understood = &answer["subscription"]["fields"];
    assert_eq!(understood.as_array().unwrap().len(), 4);
    world.tap.pour([&pull_request(1, "opened")]);
    let expected = json!({
        "event.payload.action": "opened", "payload.open": 1, "event.no.such": null,
        "event.payload.pull_request.id": 9_001,
    });
    assert_eq!(stream.next_of("event").await["data"], expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_subscribes_a_socket_too_and_without_one_nothing_is_said() {
    let world = World::new().await;
    let mut silent = Stream(Client::connect(&world.running, "/stream").await);
    let mut asked = Stream(Client::connect(&world.running, "/websocket/stream?fields=event.id&types=ForkEvent").await);
    let answer = asked.next_of("subscribed").await;
    assert_eq!(answer["subscription"]["types"], json!(["ForkEvent"]));
    world.tap.pour([&event(1, "WatchEvent"), &event(2, "ForkEvent")]);
    assert_eq!(asked.ids(1).await, [2]);
    // The answer is the first that it hears.
    silent.send(ids_only()).await;
    assert_eq!(silent.0.json().await["type"], "subscribed");
    assert_eq!(clients(&world).await, 2);
    drop((silent, asked));
    eventually("they are gone", async || clients(&world).await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_come_by_themselves_and_say_how_things_are() {
    let world = World::new().await;
    let (mut stream, _) = world.subscribe(json!({})).await;
    assert_silent(&mut stream).await;
    world.tap.pour([&event(1, "WatchEvent")]);
    let shown = stream.next_of("event").await;
    let heartbeat = stream.next_of("heartbeat").await;
    assert_eq!((&heartbeat["source"], &heartbeat["clients"]), (&json!("replay"), &json!(1)));
    assert_eq!((&heartbeat["coverage"], &heartbeat["backlog"]), (&Value::Null, &json!(0)));
    assert!(heartbeat["lagSeconds"].is_i64() && heartbeat["time"].as_i64().unwrap() > 1_700_000_000_000);
    assert_eq!(heartbeat["cursor"], shown["cursor"]);
}
