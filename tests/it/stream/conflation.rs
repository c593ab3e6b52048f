//! Slow clients: those of `latest` get the newest, the others learn what they missed, and nobody is disconnected for it.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Duration, Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::World;
use crate::support::PATIENCE;
use crate::tap::event;

/// A client that takes only a few KiB before it reads.
async fn with_tiny_buffer(world: &World, subscription: &str) -> WebSocketStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let address = world.running.public.unwrap();
    let stream = socket.connect(address).await.unwrap();
    let url = format!("ws://{address}/stream?{subscription}");
    client_async(url, stream).await.unwrap().0
}

/// Events of 2 KB each, in order, for a pipeline with one worker.
async fn pour_large(world: &World, ids: std::ops::Range<u64>) {
    let filler = "x".repeat(2_000);
    let (mut reading, _) = world.subscribe(json!({ "fields": ["event.id"] })).await;
    for first in ids.clone().step_by(1_000) {
        let chunk = first..ids.end.min(first + 1_000);
        let count = chunk.clone().count();
        let large = |id| {
            let mut event = event(id, "WatchEvent");
            event["payload"]["filler"] = filler.as_str().into();
            event
        };
        world.tap.pour(&chunk.map(large).collect::<Vec<_>>());
        reading.ids(count).await;
    }
}

async fn json(socket: &mut WebSocketStream<TcpStream>) -> Value {
    loop {
        match timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            other => assert!(other.is_ping() || other.is_pong(), "{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_client_of_latest_gets_the_newest_and_keeps_its_connection() {
    let world = World::with(|app| app.config.pulsar.consumer.concurrency = 1).await;
    let mut stalled = with_tiny_buffer(&world, "delivery=latest&intervalMs=100").await;
    let total = 14_000;
    pour_large(&world, 1..total + 1).await;
    let (mut received, last) = (0, total.to_string());
    loop {
        let message = json(&mut stalled).await;
        match message["type"].as_str().unwrap() {
            "event" => received += 1,
            "subscribed" | "heartbeat" => {}
            other => panic!("{other}: {message}"),
        }
        if message["data"]["event"]["id"] == last {
            break;
        }
    }
    assert!(received < total / 10, "{received} of {total}: nothing was conflated");
    stalled.send(Message::text(r#"{"type":"subscribe"}"#)).await.unwrap();
    while json(&mut stalled).await["type"] != "subscribed" {}
    let heartbeat = json(&mut stalled).await;
    assert!(heartbeat["skipped"].as_u64().unwrap() > 0, "{heartbeat}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_client_of_all_learns_exactly_how_many_it_lost() {
    let world = World::with(|app| app.config.pulsar.consumer.concurrency = 1).await;
    let mut stalled = with_tiny_buffer(&world, "").await;
    stalled.send(Message::text(r#"{"type":"subscribe"}"#)).await.unwrap();
    assert_eq!(json(&mut stalled).await["type"], "subscribed");
    let total = 14_000;
    pour_large(&world, 1..total + 1).await;
    let (mut received, mut lost, mut last) = (0, 0, String::new());
    while received + lost < total {
        let message = json(&mut stalled).await;
        match message["type"].as_str().unwrap() {
            "event" => received += 1,
            "gap" => {
                assert_eq!((&message["reason"], &message["since"]), (&json!("slow"), &json!(last)));
                lost += message["lost"].as_u64().unwrap();
                last = message["until"].as_str().unwrap().to_owned();
                continue;
            }
            _ => continue,
        }
        last = message["cursor"].as_str().unwrap().to_owned();
    }
    assert_eq!(received + lost, total);
    assert!(lost > 0, "this test needs more events");
    loop {
        let message = json(&mut stalled).await;
        if message["type"] == "heartbeat" && message["cursor"] == last.as_str() {
            assert_eq!(message["lost"], lost);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_sends_one_event_an_interval_and_ends_with_the_newest() {
    let world = World::new().await;
    let interval = 400;
    let subscription = json!({ "fields": ["event.id"], "delivery": "latest", "intervalMs": interval });
    let (mut latest, answer) = world.subscribe(subscription).await;
    assert_eq!(answer["subscription"]["intervalMs"], interval);
    let (mut all, _) = world.subscribe(json!({ "fields": ["event.id"] })).await;
    let started = Instant::now();
    let mut newest = Value::Null;
    for first in (1..1_001_u64).step_by(20) {
        world.tap.pour(&(first..first + 20).map(|id| event(id, "WatchEvent")).collect::<Vec<_>>());
        for _ in 0..20 {
            newest = all.next_of("event").await["cursor"].clone();
        }
    }
    let (mut received, mut last) = (0, Value::Null);
    while last != newest {
        last = latest.next_of("event").await["cursor"].clone();
        received += 1;
    }
    let intervals = started.elapsed().as_millis() / interval as u128;
    assert!((1..=intervals + 2).contains(&received), "{received} in {intervals} intervals");
    let heartbeat = latest.next_of("heartbeat").await;
    let skipped = heartbeat["skipped"].as_u64().unwrap();
    assert_eq!(u64::try_from(received).unwrap() + skipped, 1_000, "all were looked at");
    // The next one waits no longer than the rest of an interval.
    let before = Instant::now();
    world.tap.pour([&event(1_001, "WatchEvent")]);
    assert_eq!(latest.next_of("event").await["data"]["event.id"], "1001");
    assert!(before.elapsed() < Duration::from_secs(5));
}
