//! Cursors: going on after a break without loss or repetition, and saying so where that is impossible.

use serde_json::json;

use super::{Events, Stream, World, id_of, ids_only};
use crate::support::{Client, eventually};
use crate::tap::{event, pull_request};

/// `cursor` with what else a subscription to ids has.
fn since(cursor: &str) -> serde_json::Value {
    json!({ "fields": ["event.id"], "since": cursor })
}

async fn pour(world: &World, ids: std::ops::Range<u64>) {
    for first in ids.clone().step_by(100) {
        let events: Vec<_> = (first..ids.end.min(first + 100)).map(|id| event(id, "WatchEvent")).collect();
        world.tap.pour(&events);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_breaks_off_again_and_again_gets_every_event_once() {
    let world = World::with(|app| app.config.pulsar.consumer.concurrency = 4).await;
    let (mut stream, answer) = world.subscribe(ids_only()).await;
    let mut cursor = answer["cursor"].as_str().unwrap().to_owned();
    let total = 4_000;
    pour(&world, 1..total + 1).await;
    let mut ids = Vec::new();
    // Different lengths, so that it also breaks off within batches, and with messages under way that it never reads.
    for length in (1..).map(|index: usize| 1 + index * 37 % 211) {
        for _ in 0..length.min(total as usize - ids.len()) {
            let event = stream.next_of_any(&["event", "gap"]).await;
            ids.push(id_of(&event));
            cursor = event["cursor"].as_str().unwrap().to_owned();
        }
        if ids.len() == total as usize {
            break;
        }
        stream = Stream(Client::connect(&world.running, "/stream").await);
        let answer = stream.subscribe(since(&cursor)).await;
        assert_eq!(answer["cursor"], cursor.as_str());
    }
    ids.sort_unstable();
    assert_eq!(ids, (1..=total).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_event_id_goes_on_where_the_events_broke_off() {
    let world = World::new().await;
    let url = world.url("/stream?fields=event.id&since=0.0");
    let total = 1_000_u64;
    let mut events = Events::connect(&world.url("/stream?fields=event.id"), None).await;
    let mut last = events.next_of("subscribed").await.id.unwrap();
    pour(&world, 1..total + 1).await;
    let mut ids = Vec::new();
    while ids.len() < total as usize {
        for _ in 0..150.min(total as usize - ids.len()) {
            let sent = events.next_of("event").await;
            assert_eq!(sent.id.as_deref(), sent.data["cursor"].as_str());
            ids.push(id_of(&sent.data));
            last = sent.id.unwrap();
        }
        // What the page once asked for is in the address still; what the browser says goes before it.
        events = Events::connect(&url, Some(&last)).await;
        assert_eq!(events.next_of("subscribed").await.id.as_deref(), Some(last.as_str()));
    }
    ids.sort_unstable();
    assert_eq!(ids, (1..=total).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_filter_goes_on_from_a_heartbeat() {
    let world = World::new().await;
    let narrow = json!({ "types": ["ForkEvent"], "fields": ["event.id"] });
    let (mut stream, _) = world.subscribe(narrow.clone()).await;
    stream.next_of("heartbeat").await;
    pour(&world, 1..501).await;
    let (mut all, _) = world.subscribe(since("0.0")).await;
    let mut last = String::new();
    for _ in 0..500 {
        last = all.next_of("event").await["cursor"].as_str().unwrap().to_owned();
    }
    // One may have been on its way when the events were.
    let mut heartbeat = stream.next_of("heartbeat").await;
    if heartbeat["cursor"] != last.as_str() {
        heartbeat = stream.next_of("heartbeat").await;
    }
    assert_eq!(heartbeat["cursor"], last.as_str(), "everything was looked at");
    assert_eq!((&heartbeat["lost"], &heartbeat["skipped"]), (&json!(0), &json!(0)));
    drop(stream);
    world.tap.pour([&event(501, "ForkEvent"), &event(502, "WatchEvent"), &event(503, "ForkEvent")]);
    let mut resumed = narrow;
    resumed["since"] = last.into();
    let (mut stream, _) = world.subscribe(resumed).await;
    assert_eq!(stream.ids(2).await, [501, 503]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_the_gap_is_said_and_nothing_that_was_shown_comes_again() {
    let world = World::new().await;
    let (mut stream, _) = world.subscribe(ids_only()).await;
    world.tap.pour(&[pull_request(1_000, "opened")]);
    stream.ids(1).await;
    // Of these the state remembers nothing, not even that they were.
    pour(&world, 1..101).await;
    let mut cursor = String::new();
    for _ in 0..100 {
        cursor = stream.next_of("event").await["cursor"].as_str().unwrap().to_owned();
    }
    let World { tap, mut app, running } = world;
    running.stop().await;
    let running = tap.start(&mut app).await;
    let world = World { tap, app, running };
    // At once: the ring is empty.
    let (mut early, answer) = world.subscribe(since(&cursor)).await;
    assert_eq!(answer["cursor"], cursor.as_str());
    let gap = early.next_of("gap").await;
    let expected =
        json!({ "type": "gap", "reason": "expired", "since": cursor, "until": null, "lost": null });
    assert_eq!(gap, expected);
    pour(&world, 101..151).await;
    let mut ids = early.ids(50).await;
    ids.sort_unstable();
    assert_eq!(ids, (101..151).collect::<Vec<_>>(), "what the first process showed does not come again");
    // Later: there is something in it.
    let (mut late, _) = world.subscribe(since(&cursor)).await;
    assert!(late.next_of("gap").await["until"].is_string());
    let mut ids = late.ids(50).await;
    ids.sort_unstable();
    assert_eq!(ids, (101..151).collect::<Vec<_>>());
    // A cursor of this process is one without a gap.
    let end = late.next_of("heartbeat").await["cursor"].as_str().unwrap().to_owned();
    let (mut third, _) = world.subscribe(since(&end)).await;
    pour(&world, 151..152).await;
    assert_eq!(third.ids(1).await, [151]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_what_is_kept_the_gap_is_said_and_the_rest_comes_whole() {
    let world = World::new().await;
    let (mut stream, _) = world.subscribe(ids_only()).await;
    pour(&world, 1..11).await;
    let mut cursor = String::new();
    for _ in 0..10 {
        cursor = stream.next_of("event").await["cursor"].as_str().unwrap().to_owned();
    }
    drop(stream);
    let (kept, total) = (10_000, 12_010);
    for first in (11..=total).step_by(100) {
        let events: Vec<_> =
            (first..(first + 100).min(total + 1)).map(|id| pull_request(id, "opened")).collect();
        world.tap.pour(&events);
    }
    let mut last = json!(null);
    eventually("all are counted and shown", async || {
        let (mut one, _) = world.subscribe(json!({ "events": false, "snapshots": ["counts"] })).await;
        let days = one.next_of("snapshot").await["data"]["days"].take();
        let before = std::mem::replace(&mut last, one.next_of("heartbeat").await["cursor"].take());
        days["2026-06-15"]["open"] == total - 10 && last == before
    })
    .await;
    let (mut stream, _) = world.subscribe(since(&cursor)).await;
    let gap = stream.next_of("gap").await;
    assert_eq!(
        (&gap["reason"], &gap["lost"], &gap["since"]),
        (&json!("expired"), &json!(null), &json!(cursor))
    );
    let first = stream.next_of("event").await;
    assert_eq!(first["cursor"], gap["until"]);
    let mut ids = vec![id_of(&first)];
    ids.extend(stream.ids(kept - 1).await);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), kept);
    assert!(ids.iter().all(|&id| id > 10), "what was before the cursor does not come again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_subscription_goes_on_where_the_former_one_stood() {
    let world = World::new().await;
    let (mut stream, _) = world.subscribe(ids_only()).await;
    let mut ids = Vec::new();
    // The second field tells which subscription an event came by.
    for round in 0..15 {
        pour(&world, 1 + round * 100..101 + round * 100).await;
        // Others of them are under way, or still to be counted.
        ids.extend(stream.ids(1 + usize::try_from(round).unwrap() * 5).await);
        stream.send(json!({ "fields": ["event.id", format!("event.none{round}")], "id": "x" })).await;
        loop {
            let message = stream.next_of_any(&["event", "gap", "subscribed"]).await;
            if message["type"] == "subscribed" {
                assert_eq!(message["id"], "x");
                break;
            }
            ids.push(id_of(&message));
        }
    }
    let total = 1_500;
    ids.extend(stream.ids(total - ids.len()).await);
    ids.sort_unstable();
    assert_eq!(ids, (1..=total as u64).collect::<Vec<_>>());
}
