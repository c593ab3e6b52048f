//! Publish to receipt: events published one by one at an even rate, received by a client over a real socket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use pulsehub::app::{self, Plan, Role, Source};
use pulsehub::broker::BatchBuilder;
use pulsehub::clock::{Clock, SystemClock};
use pulsehub::config::Config;
use pulsehub::domain::github::message;
use pulsehub::source::generate::{Generator, PayloadForm};
use tokio_tungstenite::tungstenite::Message;

use super::Result;

const EVENTS: usize = 10_000;
const INTERVAL: Duration = Duration::from_millis(1);

/// What the client saw.
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub events: usize,
    pub out_of_order: usize,
}

/// Runs pipeline, publisher and client in this process.
pub fn run() -> Result<Latency> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure())
}

async fn measure() -> Result<Latency> {
    let directory = tempfile::tempdir()?;
    let mut config = Config::builtin()?;
    config.server.host = "127.0.0.1".to_owned();
    (config.server.port, config.admin.port) = (0, 0);
    config.storage.path = directory.path().to_string_lossy().into_owned();
    config.pulsar.consumer.concurrency = 1;
    let plan = Plan {
        config,
        roles: [Role::Work, Role::Serve].into(),
        source: Source::None,
        live_regardless_of_age: false,
        clock: Arc::new(SystemClock),
        metrics: None,
    };
    let running = app::start(plan).await?;
    let address = running.public.ok_or("not serving")?;
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/sampling")).await?;
    socket.next().await.ok_or("no first message")??;
    socket.send(Message::text(r#"{"samplingRate":1,"filter":["event.id"],"returnType":"list"}"#)).await?;

    let sent: Arc<Mutex<HashMap<u64, Instant>>> = Arc::default();
    let (producer, times) = (running.producer().await?, sent.clone());
    let publisher = tokio::spawn(async move {
        let mut generator = Generator::new(1, 0, PayloadForm::Full);
        let mut ticks = tokio::time::interval(INTERVAL);
        for id in 1..=EVENTS as u64 {
            let raw = generator.event(SystemClock.unix_seconds()).to_string();
            let mut batch = BatchBuilder::default();
            batch.push(&[message::PREFIX, raw.as_bytes(), message::SUFFIX]);
            ticks.tick().await;
            times.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Instant::now());
            // Not awaited one by one: a publisher does not stop for its answers.
            let producer = producer.clone();
            let published = async move { producer.publish(batch.build()).await };
            // The first poll puts it in line, so that the order stays.
            let mut published = Box::pin(published);
            if futures_util::poll!(published.as_mut()).is_pending() {
                tokio::spawn(published);
            }
        }
    });
    let (mut latencies, mut last, mut out_of_order) = (Vec::with_capacity(EVENTS), 0, 0);
    while latencies.len() < EVENTS {
        let frame = tokio::time::timeout(Duration::from_secs(30), socket.next()).await?.ok_or("closed")??;
        let Message::Text(text) = frame else { continue };
        let [id]: [String; 1] = serde_json::from_str(&text)?;
        let id: u64 = id.parse()?;
        let published =
            sent.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).ok_or("a stray event")?;
        latencies.push(published.elapsed().as_secs_f64() * 1e3);
        out_of_order += usize::from(id < last);
        last = id;
    }
    publisher.await?;
    running.stop().await;
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| latencies[((EVENTS - 1) as f64 * share) as usize];
    Ok(Latency { p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0), events: EVENTS, out_of_order })
}
