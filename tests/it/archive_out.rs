//! What sources publish, written as an archive and replayed from it.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use pulsehub::app::Source;
use pulsehub::clock::ManualClock;
use pulsehub::config::Address;
use pulsehub::source::generate::{Generator, PayloadForm};
use serde_json::Value;
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{TestApp, eventually, text};

/// 2026-11-18T11:06:40Z
const NOW: i64 = 1_795_000_000;

/// A GitHub whose three pages hold 300 generated events.
pub async fn github() -> MockServer {
    let server = MockServer::start().await;
    let mut generator = Generator::new(21, 60_000_000_000, PayloadForm::Full);
    let events: Vec<String> =
        (0..300).map(|second| generator.event(NOW - 600 + second).to_string()).collect();
    for (page, events) in (1..).zip(events.chunks(100)) {
        let newest_first: Vec<_> = events.iter().rev().cloned().collect();
        // As a server may send it: with line ends between the events, and within them.
        let body = format!("[{}]", newest_first.join(",\n").replace("\"payload\":", "\n\"payload\":"));
        let answer = ResponseTemplate::new(200).set_body_raw(body, "application/json");
        let asked =
            Mock::given(method("GET")).and(path("/events")).and(query_param("page", page.to_string()));
        asked.respond_with(answer).mount(&server).await;
    }
    server
}

fn archive_files(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_replays_to_the_same_counters() {
    let github = github().await;
    let clock = Arc::new(ManualClock::new(NOW * 1_000));
    let mut app = TestApp::new();
    app.clock = clock.clone();
    app.config.github.base_url = Address::from(format!("{}/", github.uri()));
    app.config.github.tokens = vec!["token".into()];
    app.config.archive.write = true;
    let running = app.start(Source::GitHub).await;
    let status = format!("http://{}/api/v1/status", running.public.unwrap());
    // A page is asked again only when what it showed before is published.
    eventually("all is counted", async || {
        let asked = github.received_requests().await.unwrap();
        let twice = |page: u8| {
            let page = page.to_string();
            let is_of_page = |(name, value): (Cow<'_, str>, Cow<'_, str>)| name == "page" && value == page;
            asked.iter().filter(|asked| asked.url.query_pairs().any(is_of_page)).count() > 1
        };
        let status: Value = crate::process::get(&status).await.json().await.unwrap();
        (1..=3).all(twice) && status["backlog"] == 0
    })
    .await;
    let directory = app.directory().join("archive");
    eventually("the hour", async || {
        archive_files(&directory).contains(&"2026-11-18-11.json.gz.open".to_owned())
    })
    .await;
    clock.advance_millis(3_600_000);
    eventually("the closed hour", async || {
        archive_files(&directory).contains(&"2026-11-18-11.json.gz".to_owned())
    })
    .await;
    running.stop().await;
    let manifest = std::fs::read(directory.join("2026-11-18-11.manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!((&manifest["events"], &manifest["lost"]), (&Value::from(300), &Value::from(0)));

    let again = TestApp::new();
    let summary = again.replay([text(&directory)]).await;
    assert_eq!((summary.files, summary.bad_files), (1, 0), "the manifest is no archive");
    assert_eq!((summary.submitted.published, summary.submitted.rejected), (300, 0));
    let (first, second) = (app.stats(2026).await, again.stats(2026).await);
    assert!(first["sum"]["dev"].as_u64() > Some(10), "{first}");
    assert_eq!((&first["daily"], &first["sum"]), (&second["daily"], &second["sum"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_not_written() {
    let mut app = TestApp::new();
    app.config.archive.write = true;
    let file = app.directory().join("events.json");
    let mut generator = Generator::new(22, 1, PayloadForm::Full);
    std::fs::write(&file, generator.event(NOW).to_string()).unwrap();
    app.replay([text(&file)]).await;
    assert_eq!(archive_files(&app.directory().join("archive")), [""; 0]);
}
