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

use super::table::Row;
use super::{Bench, Result, percentile};

const EVENTS: usize = 10_000;
const INTERVAL: Duration = Duration::from_millis(1);

/// Runs pipeline, publisher and client in this process.
pub fn rows(_: &Bench) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (latencies, out_of_order) = runtime.block_on(measure())?;
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(&latencies, share));
    Ok(vec![
        Row::figure("publish to receipt at 1,000 events/s, p50", format!("{p50:.2} ms")),
        Row::goal(
            "publish to receipt at 1,000 events/s, p99",
            format!("{p99:.2} ms (max {max:.1} ms)"),
            "<= 5 ms",
            p99 <= 5.0,
        ),
        Row::goal(
            "out of order at one client, concurrency 1",
            format!("{out_of_order} of {EVENTS}"),
            "0",
            out_of_order == 0,
        ),
    ])
}

/// The latencies in milliseconds, ascending, and how many events came before an older one.
async fn measure() -> Result<(Vec<f64>, usize)> {
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
    Ok((latencies, out_of_order))
}
