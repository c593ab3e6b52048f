//! Hours that are fetched from an archive server.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use pulsehub::app::Source;
use pulsehub::source::generate::{Generator, PayloadForm};
use pulsehub::source::replay::{ReplayOptions, Speed, Summary};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::TestApp;

fn hour(seed: u64, first_id: u64, events: usize) -> Vec<u8> {
    let mut generator = Generator::new(seed, first_id, PayloadForm::Full);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    for second in 0..events {
        writeln!(gzip, "{}", generator.event(1_795_000_000 + second as i64)).unwrap();
    }
    gzip.finish().unwrap()
}

async fn replay(app: &TestApp, server: &MockServer, hours: &[&str]) -> Summary {
    let options = ReplayOptions {
        sources: hours.iter().map(|&hour| hour.to_owned()).collect(),
        speed: Speed::Max,
        rebase: false,
        archive_url: format!("{}/", server.uri()),
        downloads: app.directory().join("downloads"),
    };
    let mut running = app.start(Source::Replay(options)).await;
    let summary = running.replayed().await.unwrap().unwrap();
    running.stop().await;
    summary
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_is_fetched_counted_and_not_kept() {
    let (app, server) = (TestApp::new(), MockServer::start().await);
    let answer = ResponseTemplate::new(200).set_body_bytes(hour(1, 0, 200));
    Mock::given(method("GET")).and(path("/2026-11-18-5.json.gz")).respond_with(answer).mount(&server).await;
    let summary = replay(&app, &server, &["2026-11-18-05"]).await;
    assert_eq!((summary.submitted.published, summary.files, summary.bad_files), (200, 1, 0));
    assert_eq!(std::fs::read_dir(app.directory().join("downloads")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_hour_is_named_and_the_others_are_counted() {
    let (app, server) = (TestApp::new(), MockServer::start().await);
    let answer = ResponseTemplate::new(200).set_body_bytes(hour(2, 0, 50));
    Mock::given(path("/2026-11-18-7.json.gz")).respond_with(answer).mount(&server).await;
    let summary = replay(&app, &server, &["2026-11-18-6", "2026-11-18-7"]).await;
    assert_eq!((summary.submitted.published, summary.files, summary.bad_files), (50, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_archive_is_asked_again() {
    let (app, server) = (TestApp::new(), MockServer::start().await);
    let failure = Mock::given(path("/2026-11-18-8.json.gz")).respond_with(ResponseTemplate::new(503));
    failure.up_to_n_times(1).mount(&server).await;
    let answer = ResponseTemplate::new(200).set_body_bytes(hour(3, 0, 30));
    Mock::given(path("/2026-11-18-8.json.gz")).respond_with(answer).mount(&server).await;
    let summary = replay(&app, &server, &["2026-11-18-8"]).await;
    assert_eq!((summary.submitted.published, summary.bad_files), (30, 0));
}
