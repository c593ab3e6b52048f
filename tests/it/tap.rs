//! A source that the test turns on and off: an archive whose next hour is whatever is poured into it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use flate2::{Compression, write::GzEncoder};
use pulsehub::app::{Running, Source};
use pulsehub::source::replay::{ReplayOptions, Speed};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

use crate::support::TestApp;

/// An archive under the test's control. Each call of `pour` is one hour of it, read only once it is poured.
pub struct Tap {
    address: SocketAddr,
    sender: mpsc::UnboundedSender<String>,
    hours: Arc<Hours>,
}

struct Hours {
    poured: Mutex<mpsc::UnboundedReceiver<String>>,
    asked: AtomicBool,
}

async fn hour(State(hours): State<Arc<Hours>>) -> Result<Vec<u8>, StatusCode> {
    hours.asked.store(true, Ordering::Relaxed);
    let lines = hours.poured.lock().await.recv().await.ok_or(StatusCode::NOT_FOUND)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(lines.as_bytes()).unwrap();
    Ok(gzip.finish().unwrap())
}

impl Tap {
    /// A tap that is shut.
    pub async fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hours = Arc::new(Hours { poured: Mutex::new(receiver), asked: AtomicBool::new(false) });
        let router = Router::new().fallback(get(hour)).with_state(hours.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, sender, hours }
    }

    /// Starts `app` behind the tap; events are shown live however old they are.
    pub async fn start(&self, app: &mut TestApp) -> Running {
        app.live = true;
        app.start(self.source(app)).await
    }

    /// What is poured, as a source.
    pub fn source(&self, app: &TestApp) -> Source {
        let days = (1..=9).flat_map(|day| (0..24).map(move |hour| format!("2016-01-0{day}-{hour}")));
        Source::Replay(ReplayOptions {
            sources: days.collect(),
            speed: Speed::Max,
            rebase: false,
            archive_url: format!("http://{}/", self.address),
            downloads: app.directory().join("downloads"),
            cache_bytes: 0,
        })
    }

    /// Where the archive is, as `archive.baseUrl` wants it.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Whether someone waits for an hour, or has one.
    pub fn is_asked(&self) -> bool {
        self.hours.asked.load(Ordering::Relaxed)
    }

    /// Lets events through, one a line.
    pub fn pour<'a>(&self, events: impl IntoIterator<Item = &'a Value>) {
        self.pour_text(events.into_iter().map(|event| format!("{event}\n")).collect());
    }

    /// Lets lines through as they are.
    pub fn pour_text(&self, lines: String) {
        self.sender.send(lines).unwrap();
    }
}

/// An event without a payload of interest.
pub fn event(id: u64, kind: &str) -> Value {
    json!({
        "id": id.to_string(),
        "type": kind,
        "actor": { "id": 5_000 + id, "login": format!("user{id}") },
        "repo": { "id": 7_000 + id, "name": format!("owner/repo{id}") },
        "payload": {},
        "public": true,
        "created_at": "2026-06-15T11:00:00Z",
    })
}

/// A pull request event; the pull request, actor and repository have numbers of their own.
pub fn pull_request(id: u64, action: &str) -> Value {
    let mut event = event(id, "PullRequestEvent");
    event["payload"] = json!({
        "action": action,
        "number": 3,
        "pull_request": {
            "id": 9_000 + id,
            "number": 3,
            "merged": false,
            "additions": 10,
            "deletions": 4,
            "base": { "repo": { "language": null } },
        },
    });
    event
}

/// An opened pull request whose base repository has a language.
pub fn opened_in(id: u64, language: &str) -> Value {
    let mut event = pull_request(id, "opened");
    event["payload"]["pull_request"]["base"]["repo"]["language"] = json!(language);
    event
}
