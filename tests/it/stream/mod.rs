//! `/stream`: what is subscribed to comes, with cursors to go on from, over WebSocket and as Server-Sent Events.

mod asyncapi;
mod conflation;
mod errors;
mod events;
mod examples;
mod filters;
mod resume;
mod snapshots;

use futures_util::StreamExt;
use pulsehub::app::Running;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::process::get;
use crate::support::{Client, PATIENCE, TestApp};
use crate::tap::Tap;

/// A pipeline behind a tap.
struct World {
    tap: Tap,
    app: TestApp,
    running: Running,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(configure: impl FnOnce(&mut TestApp)) -> Self {
        let tap = Tap::new().await;
        let mut app = TestApp::new();
        configure(&mut app);
        let running = tap.start(&mut app).await;
        Self { tap, app, running }
    }

    /// A client that has subscribed, and what it was answered.
    async fn subscribe(&self, subscription: Value) -> (Stream, Value) {
        let mut stream = Stream(Client::connect(&self.running, "/stream").await);
        let answer = stream.subscribe(subscription).await;
        (stream, answer)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.public.unwrap())
    }
}

/// A client of the stream over WebSocket.
struct Stream(Client);

impl Stream {
    /// Subscribes, and reads up to the answer.
    async fn subscribe(&mut self, subscription: Value) -> Value {
        self.send(subscription).await;
        self.next_of("subscribed").await
    }

    /// Sends a subscription.
    async fn send(&mut self, mut subscription: Value) {
        subscription["type"] = "subscribe".into();
        self.0.send(&subscription.to_string()).await;
    }

    /// The next message of a type; others are left out.
    async fn next_of(&mut self, kind: &str) -> Value {
        self.next_of_any(&[kind]).await
    }

    async fn next_of_any(&mut self, kinds: &[&str]) -> Value {
        loop {
            let message = self.0.json().await;
            assert_ne!(message["type"], if kinds.contains(&"error") { "" } else { "error" }, "{message}");
            if kinds.iter().any(|kind| message["type"] == *kind) {
                return message;
            }
        }
    }

    /// The ids of the next events, which have the field `event.id` only; nothing may be missing.
    async fn ids(&mut self, count: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(id_of(&self.next_of_any(&["event", "gap"]).await));
        }
        ids
    }
}

/// The id of an event that has only this field.
fn id_of(event: &Value) -> u64 {
    let id = event["data"]["event.id"].as_str();
    id.unwrap_or_else(|| panic!("no event with the field event.id: {event}")).parse().unwrap()
}

/// A subscription to ids.
fn ids_only() -> Value {
    json!({ "fields": ["event.id"] })
}

/// A client of the stream over Server-Sent Events.
struct Events {
    response: reqwest::Response,
    buffer: String,
}

/// One event as a browser would see it.
#[derive(Debug)]
struct Sent {
    name: String,
    id: Option<String>,
    data: Value,
}

impl Events {
    /// Asks for events, going on behind `last` where there is one.
    async fn connect(url: &str, last: Option<&str>) -> Self {
        let response = Self::ask(url, last).await;
        assert_eq!(response.status(), 200, "{url}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, buffer: String::new() }
    }

    async fn ask(url: &str, last: Option<&str>) -> reqwest::Response {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.get(url).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        request.send().await.unwrap()
    }

    /// The next event that has data; `None` at the end.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            while let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.buffer = rest;
                let field = |name: &str| {
                    let found = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    found.map(str::to_owned).collect::<Vec<_>>()
                };
                let data = field("data");
                if !data.is_empty() {
                    let [name, mut id] = [field("event"), field("id")];
                    let data = serde_json::from_str(&data.join("\n")).unwrap();
                    return Some(Sent { name: name.concat(), id: id.pop(), data });
                }
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("an event in time").ok()??;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event of a name; others are left out.
    async fn next_of(&mut self, name: &str) -> Sent {
        loop {
            let sent = self.next().await.expect("an open connection");
            assert_eq!(sent.data["type"], sent.name.as_str());
            if sent.name == name {
                return sent;
            }
        }
    }
}

/// The status's number of clients.
async fn clients(world: &World) -> u64 {
    let status: Value = get(&world.url("/api/v1/status")).await.json().await.unwrap();
    status["clients"].as_u64().unwrap()
}

/// Whether a client gets nothing but heartbeats until the one after next.
async fn assert_silent(stream: &mut Stream) {
    for _ in 0..2 {
        let message = stream.0.json().await;
        assert_eq!(message["type"], "heartbeat", "{message}");
    }
}

/// Reads until the connection ends.
async fn rest(stream: Stream) -> Vec<String> {
    let messages = stream.0.0.filter_map(async |message| Some(message.ok()?.into_text().ok()?.to_string()));
    timeout(PATIENCE, messages.collect()).await.unwrap()
}
