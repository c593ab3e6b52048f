//! Settings that change under running parts: each reads its own where it uses it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pulsehub::alert::{Alerts, Limits, Routes, Subject, Webhook};
use pulsehub::clock::SystemClock;
use pulsehub::history::backfill::{Backfill, Pace};
use pulsehub::history::seed::Seeder;
use pulsehub::shutdown;
use tokio::sync::{Semaphore, watch};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::backfill::Scripted;
use crate::support::{Client, TestApp, eventually};
use crate::tap::{Tap, event};

const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_shown_by_the_age_that_is_allowed_when_they_come() {
    let (tap, app) = (Tap::new().await, TestApp::new());
    let running = app.start(tap.source(&app)).await;
    let mut client = Client::connect(&running, "/sampling").await;
    assert_eq!(client.json().await["firstMessageTag"], true);
    client.send(r#"{"samplingRate":1}"#).await;
    // They are months old.
    tap.pour(&[event(1, "WatchEvent")]);
    let status = format!("http://{}/api/v1/status", running.public.unwrap());
    eventually("the first is settled", async || {
        let status: serde_json::Value = crate::process::get(&status).await.json().await.unwrap();
        status["lagSeconds"].is_number() && status["backlog"] == 0
    })
    .await;
    let mut config = app.config.clone();
    config.live.max_age = "900000h".parse().unwrap();
    running.live_keys().take_over(&config);
    tap.pour(&[event(2, "WatchEvent")]);
    assert_eq!(client.json().await["event"]["id"], "2");
    running.stop().await;
}

/// Alerts by routes that can change.
pub fn alerts(routes: Routes) -> (watch::Sender<Routes>, Arc<Alerts>) {
    let routes = watch::Sender::new(routes);
    let alerts = Arc::new(Alerts::new(routes.subscribe(), Arc::new(SystemClock)));
    (routes, alerts)
}

/// Alerts to nobody.
pub fn nowhere(tolerance: u32) -> Routes {
    let limits = Limits { tolerance, within: LONG, pause: Duration::ZERO };
    Routes { limits, lark: None, webhook: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_follows_a_new_pace_at_once() {
    let app = TestApp::new();
    let history =
        Arc::new(Scripted { asked: AtomicU32::default(), answers: Semaphore::new(1_000), well: false });
    let (_data, state) = app.state();
    let (_routes, alerts) = alerts(nowhere(0));
    let clock = Arc::new(SystemClock);
    let seeder = Seeder::new(history.clone(), state.clone(), clock.clone(), alerts.clone(), false);
    let pace = watch::Sender::new(Pace { every: LONG, retries: 0, retry_wait: Duration::ZERO });
    let backfill = Backfill::new(history.clone(), state, clock, alerts, pace.subscribe(), Arc::new(seeder));
    let (trigger, shutdown) = shutdown::channel();
    let task = tokio::spawn(Arc::new(backfill).run(shutdown));
    let asked = || history.asked.load(Ordering::SeqCst);
    eventually("the first run", async || asked() == 1).await;
    pace.send_replace(Pace { every: Duration::from_millis(1), retries: 5, retry_wait: Duration::ZERO });
    eventually("runs without a pause of an hour", async || asked() >= 20).await;
    trigger.trigger();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_go_where_they_are_to_go_when_the_fault_happens() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let (routes, alerts) = alerts(nowhere(1));
    alerts.count(Subject::State, "said to nobody");
    let webhook = Some(Webhook { webhook: server.uri() });
    routes.send_replace(Routes { webhook: webhook.clone(), ..nowhere(1) });
    alerts.count(Subject::State, "tolerated");
    routes.send_replace(Routes { webhook, ..nowhere(0) });
    alerts.count(Subject::State, "not tolerated");
    eventually("the alert", async || !server.received_requests().await.unwrap().is_empty()).await;
    let body: serde_json::Value = server.received_requests().await.unwrap()[0].body_json().unwrap();
    assert!(body["text"].as_str().unwrap().ends_with("fails: not tolerated"), "{body}");
}
