//! From GitHub to a front end: the built program polls a feed with 1,000 new events a second, on Pulsar and Redis, and
//! a client follows `/sampling`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use super::feed::Feed;
use super::process::{Guard, program};
use super::table::Row;
use super::{Bench, Result, percentile};

const PER_SECOND: u64 = 1_000;
const EVENTS: usize = 30_000;
/// The first ones meet connections and caches that are not there yet.
const WARM_UP: usize = 5_000;
/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the client saw of each event, in milliseconds.
pub fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let services = bench.services()?;
    let directory = tempfile::tempdir()?;
    let mut command = program(directory.path());
    services.configure(&mut command, "bench-live");
    let feed = Feed::start(PER_SECOND, EVENTS, 0)?;
    command
        .env("PULSEHUB__GITHUB__BASEURL", format!("http://{}/", feed.address))
        .env("PULSEHUB__GITHUB__TOKENS", "bench")
        // A round shows 300 events at most, so there must be more than four a second.
        .env("PULSEHUB__GITHUB__LOOP__BREAK", "100")
        .arg("run")
        .stderr(Stdio::piped());
    let mut child = Guard::spawn(&mut command)?;
    let log = child.child().stderr.take().ok_or("no log")?;
    let mut lines = BufReader::new(log).lines();
    let address = loop {
        let line = lines.next().ok_or("the program ended")??;
        if let Some((_, address)) = line.split_once("serving ws://") {
            break address.to_owned();
        }
    };
    // Read on, so that the program never waits for its log.
    std::thread::spawn(move || lines.for_each(drop));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut latencies, missed) = runtime.block_on(follow(&address, &feed))?;
    latencies.sort_by(f64::total_cmp);
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(&latencies, share));
    Ok(vec![
        Row::goal(
            "GitHub's answer to client at 1,000 events/s, Pulsar and Redis, p50",
            format!("{p50:.1} ms"),
            "<= 20 ms",
            p50 <= 20.0,
        ),
        Row::goal(
            "GitHub's answer to client at 1,000 events/s, Pulsar and Redis, p99",
            format!("{p99:.1} ms (max {max:.0} ms, {missed} of {EVENTS} not shown)"),
            "<= 100 ms",
            p99 <= 100.0 && missed == 0,
        ),
    ])
}

/// Latencies behind the warm-up, and how many events in all did not come.
async fn follow(address: &str, feed: &Feed) -> Result<(Vec<f64>, usize)> {
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}")).await?;
    socket.next().await.ok_or("no first message")??;
    socket.send(Message::text(r#"{"samplingRate":1,"filter":["event.id"],"returnType":"list"}"#)).await?;
    feed.begin();
    let (mut latencies, mut came) = (Vec::with_capacity(EVENTS), 0);
    while came < EVENTS {
        let Ok(frame) = tokio::time::timeout(PATIENCE, socket.next()).await else { break };
        let now = Instant::now();
        let Message::Text(text) = frame.ok_or("closed")?? else { continue };
        let [id]: [String; 1] = serde_json::from_str(&text)?;
        let (index, sent) = feed.sent(id.parse()?).ok_or("a stray event")?;
        came += 1;
        if index >= WARM_UP {
            latencies.push(
                sent.map_or(Duration::ZERO, |sent| now.saturating_duration_since(sent)).as_secs_f64() * 1e3,
            );
        }
    }
    Ok((latencies, EVENTS - came))
}
