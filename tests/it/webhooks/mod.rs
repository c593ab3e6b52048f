//! GitHub's webhooks: deliveries to the running server, twins in the feed, and what happens while the broker is away.

mod bad_input;
mod broker_away;
mod twins;

use std::sync::Arc;

use pulsehub::app::Running;
use pulsehub::clock::ManualClock;
use pulsehub::config::Secret;
use reqwest::{Response, StatusCode};
use ring::hmac;
use serde_json::{Value, json};

use crate::support::TestApp;

/// 2026-06-15T12:00:00Z in milliseconds: no test depends on the day on which it runs.
const NOON: i64 = 1_781_524_800_000;

const SECRET: &str = "of GitHub and us";

/// What GitHub signs a body with.
fn signature(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

/// A pipeline that takes deliveries signed with [`SECRET`].
fn app() -> TestApp {
    let mut app = TestApp::new();
    app.live = true;
    app.clock = Arc::new(ManualClock::new(NOON));
    app.config.webhooks.secrets = vec![Secret::from(SECRET)];
    app
}

/// A delivery as GitHub sends it.
struct Post {
    event: &'static str,
    id: String,
    body: Vec<u8>,
    signature: Option<String>,
}

impl Post {
    fn new(event: &'static str, id: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let signature = Some(signature(SECRET, &body));
        Self { event, id: id.to_owned(), body, signature }
    }

    async fn to_path(&self, running: &Running, path: &str) -> Response {
        let url = format!("http://{}{path}", running.public.unwrap());
        let mut request = reqwest::Client::new()
            .post(url)
            .header("content-type", "application/json")
            .header("x-github-event", self.event)
            .header("x-github-delivery", &self.id)
            .body(self.body.clone());
        if let Some(signature) = &self.signature {
            request = request.header("x-hub-signature-256", signature);
        }
        request.send().await.unwrap()
    }

    /// The status that it is answered with, and the text.
    async fn to(&self, running: &Running) -> (StatusCode, String) {
        let response = self.to_path(running, "/webhooks/github").await;
        (response.status(), response.text().await.unwrap())
    }
}

/// What a delivery of an event is answered with when it was taken.
fn accepted(how: &str) -> (StatusCode, String) {
    (StatusCode::ACCEPTED, how.to_owned())
}

/// The body of a merged pull request, by a person of its own.
fn merged(number: u64) -> Value {
    json!({
        "action": "closed", "number": number,
        "pull_request": {
            "id": 9_000 + number, "number": number, "merged": true, "additions": 10, "deletions": 4,
            "created_at": "2026-06-15T10:00:00Z", "updated_at": "2026-06-15T11:00:01Z",
            "closed_at": "2026-06-15T11:00:00Z", "merged_at": "2026-06-15T11:00:00Z",
            "base": {"repo": {"id": 7_000 + number, "language": "Rust"}},
        },
        "repository": {"id": 7_000 + number, "full_name": format!("owner/repo{number}"), "private": false},
        "sender": {"id": 5_000 + number, "login": format!("user{number}")},
    })
}

/// The same as GitHub's feed shows it today, without what was removed from it.
fn merged_in_feed(number: u64) -> Value {
    json!({
        "id": (60_000 + number).to_string(), "type": "PullRequestEvent", "public": true,
        "actor": {"id": 5_000 + number, "login": format!("user{number}")},
        "repo": {"id": 7_000 + number, "name": format!("owner/repo{number}")},
        "payload": {"action": "merged", "number": number, "pull_request": {"id": 9_000 + number, "number": number}},
        "created_at": "2026-06-15T11:00:02Z",
    })
}
