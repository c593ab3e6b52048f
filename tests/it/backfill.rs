//! Backfill and alerts without an engine: one at a time, tried again, and said to people when it lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pulsehub::app;
use pulsehub::clock::SystemClock;
use pulsehub::config::Secret;
use pulsehub::domain::github::row::Row;
use pulsehub::event::Day;
use pulsehub::history::backfill::{Backfill, BackfillError};
use pulsehub::history::{History, HistoryError, SeedPart};
use pulsehub::shutdown;
use pulsehub::state::Base;
use tokio::sync::{Semaphore, mpsc};
use wiremock::matchers::{body_partial_json, method};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{TestApp, eventually};

/// Answers when it is let, or never well.
pub struct Scripted {
    pub asked: AtomicU32,
    pub answers: Semaphore,
    pub well: bool,
}

#[async_trait]
impl History for Scripted {
    async fn recount(&self, _year: i16) -> Result<Base, HistoryError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers.acquire().await.unwrap().forget();
        if self.well { Ok(Base::default()) } else { Err(HistoryError::NotConfigured) }
    }

    async fn seed(
        &self,
        _year: i16,
        _open: &[Day],
        _parts: mpsc::Sender<SeedPart>,
    ) -> Result<(), HistoryError> {
        Ok(())
    }

    async fn write(&self, _rows: &[Row]) -> Result<(), HistoryError> {
        Ok(())
    }
}

fn backfill(app: &TestApp, well: bool, answers: usize) -> (Arc<Scripted>, Arc<Backfill>, app::DataDirectory) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let history = Arc::new(Scripted { asked: AtomicU32::default(), answers: Semaphore::new(answers), well });
    let (data, state) = app.state();
    let alerts = app::alerts(&app.config, Arc::new(SystemClock));
    (history.clone(), app::backfill(&app.config, history, state, Arc::new(SystemClock), alerts), data)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_backfills_never_run_at_once() {
    let app = TestApp::new();
    let (history, backfill, _data) = backfill(&app, true, 0);
    let first = tokio::spawn({
        let backfill = backfill.clone();
        async move { backfill.now(2016).await }
    });
    eventually("the first", async || history.asked.load(Ordering::SeqCst) == 1).await;
    assert!(matches!(backfill.now(2016).await, Err(BackfillError::Running)));
    assert!(matches!(backfill.start(), Err(BackfillError::Running)));
    history.answers.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap(), []);
    assert_eq!(backfill.now(2016).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_keeps_failing_alerts_once_within_the_pause() {
    let server = MockServer::start().await;
    let plain = serde_json::json!({"severity": "error", "source": "pulsehub"});
    let plain =
        Mock::given(method("POST")).and(wiremock::matchers::path("/plain")).and(body_partial_json(plain));
    plain.respond_with(ResponseTemplate::new(200)).expect(1).mount(&server).await;
    let lark = serde_json::json!({"msg_type": "text"});
    let lark =
        Mock::given(method("POST")).and(wiremock::matchers::path("/lark")).and(body_partial_json(lark));
    let answer = ResponseTemplate::new(200).set_body_json(serde_json::json!({"code": 0}));
    lark.respond_with(answer).expect(1).mount(&server).await;

    let mut app = TestApp::new();
    app.config.alert.webhook = Secret::from(format!("{}/plain", server.uri()).as_str());
    app.config.lark.webhook = Secret::from(format!("{}/lark", server.uri()).as_str());
    app.config.lark.sign_key = Secret::from("key");
    app.config.lark.error_tolerance = 2;
    app.config.interval.retry = 5;
    app.config.interval.retry_wait_ms = 1;
    let (history, backfill, _data) = backfill(&app, false, 1_000);
    let (trigger, shutdown) = shutdown::channel();
    let task = tokio::spawn(backfill.run(shutdown));
    eventually("all tries", async || history.asked.load(Ordering::SeqCst) == 6).await;
    eventually("both alerts", async || {
        server.received_requests().await.is_some_and(|requests| requests.len() >= 2)
    })
    .await;
    trigger.trigger();
    task.await.unwrap();

    let requests = server.received_requests().await.unwrap();
    let signed = requests.iter().find(|request| request.url.path() == "/lark").unwrap();
    let body: serde_json::Value = signed.body_json().unwrap();
    let text = body["content"]["text"].as_str().unwrap();
    assert!(text.contains("the backfill fails: no history is configured"), "{text}");
    assert!(body["timestamp"].is_string() && body["sign"].as_str().unwrap().len() == 44, "{body}");
    server.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_nobody_takes_disturbs_nothing() {
    let mut app = TestApp::new();
    app.config.alert.webhook = Secret::from("http://127.0.0.1:9/");
    app.config.lark.error_tolerance = 0;
    app.config.interval.retry = 0;
    let (history, backfill, _data) = backfill(&app, false, 10);
    backfill.start().unwrap();
    eventually("the try", async || history.asked.load(Ordering::SeqCst) == 1).await;
    let again = async || !matches!(backfill.now(2016).await, Err(BackfillError::Running));
    tokio::time::timeout(Duration::from_secs(10), eventually("its end", again)).await.unwrap();
}
