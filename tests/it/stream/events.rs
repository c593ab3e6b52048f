//! Server-Sent Events: the form, who may read them, and that they end with the server.

use serde_json::{Value, json};

use super::{Events, World, clients, id_of};
use crate::support::eventually;
use crate::tap::{event, opened_in};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_the_messages_of_the_socket() {
    let world = World::new().await;
    let query = "types=PullRequestEvent,ForkEvent&fields=event.id&fields=payload.pr&snapshots=counts";
    let mut events = Events::connect(&world.url(&format!("/websocket/stream?{query}")), None).await;
    let (mut stream, _) = world
        .subscribe(json!({
            "types": ["PullRequestEvent", "ForkEvent"], "fields": ["event.id", "payload.pr"], "snapshots": ["counts"],
        }))
        .await;
    assert!(events.buffer.is_empty());
    let names = ["subscribed", "snapshot", "heartbeat"];
    for name in names {
        let sent = events.next().await.unwrap();
        assert_eq!((sent.name.as_str(), sent.data["type"].as_str()), (name, Some(name)));
        assert_eq!(sent.id.as_deref(), sent.data["cursor"].as_str(), "an id where there is a cursor");
    }
    world.tap.pour([&event(1, "WatchEvent"), &opened_in(2, "C"), &event(3, "ForkEvent")]);
    for _ in 0..2 {
        let sent = events.next_of("event").await;
        assert_eq!(sent.data, stream.next_of("event").await);
        assert!([2, 3].contains(&id_of(&sent.data)));
    }
    let sent = events.next_of("difference").await;
    assert!(sent.id.is_none(), "nothing to go on from");
    assert_eq!(clients(&world).await, 2);
    drop((events, stream));
    eventually("both are gone", async || clients(&world).await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_ends_in_an_event_do_not_break_it() {
    let world = World::new().await;
    let mut events = Events::connect(&world.url("/stream"), None).await;
    events.next_of("heartbeat").await;
    let mut hostile = event(1, "WatchEvent");
    hostile["payload"]["text"] = json!("data: x\n\nevent: gap\r\n\u{2028}");
    world.tap.pour([&hostile]);
    assert_eq!(events.next_of("event").await.data["data"]["event"], hostile);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_pages_of_listed_origins_may_read() {
    let ask = async |world: &World, origin: Option<&str>| {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request =
            client.get(world.url("/stream")).header("accept", "text/html, Text/Event-Stream;q=0.5");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let answer = request.send().await.unwrap();
        let allowed = answer.headers().get("access-control-allow-origin");
        (answer.status().as_u16(), allowed.map(|value| value.to_str().unwrap().to_owned()))
    };
    let open = World::new().await;
    assert_eq!(ask(&open, None).await, (200, Some("*".to_owned())));
    assert_eq!(ask(&open, Some("https://a.test")).await, (200, Some("*".to_owned())));
    let listed = World::with(|app| app.config.server.origins = vec!["https://a.test".to_owned()]).await;
    assert_eq!(ask(&listed, Some("https://a.test")).await, (200, Some("https://a.test".to_owned())));
    assert_eq!(ask(&listed, Some("https://b.test")).await.0, 403);
    assert_eq!(ask(&listed, None).await, (200, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_and_differences_work_over_events_too() {
    let world = World::new().await;
    let url =
        world.url("/stream?delivery=latest&intervalMs=100&fields=event.id&snapshots=languages&since=0.0");
    let mut events = Events::connect(&url, None).await;
    let languages = events.next_of("snapshot").await;
    assert_eq!(languages.data["data"], json!({ "windowSeconds": 3600, "languages": {} }));
    world.tap.pour(&(1..=300).map(|id| opened_in(id, "C")).collect::<Vec<Value>>());
    let (mut seq, mut count) = (languages.data["seq"].as_u64().unwrap(), 0);
    while count < 300 {
        let sent = events.next_of("difference").await;
        assert_eq!(sent.data["from"], seq);
        seq = sent.data["seq"].as_u64().unwrap();
        count += sent.data["data"]["languages"]["C"].as_i64().unwrap();
    }
    assert_eq!(count, 300);
}
