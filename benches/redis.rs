//! How many events a second `lua/apply.lua` applies, by the clock of a Redis of its own, and how long its calls take.
//!
//! `cargo bench --bench redis`; needs redis-server. It counts the server's time in the script alone (`INFO
//! commandstats`), so how fast this program is does not matter.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pulsehub::clock::SystemClock;
use pulsehub::event::{Day, EventKey};
use pulsehub::mutation::{Mutation, Outcome, Size};
use pulsehub::state::State;
use pulsehub::state::redis::{RedisState, Settings};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const EVENTS: u64 = 400_000;
const TASKS: u64 = 4;

/// 2026-11-21T00:00:00Z
const START: i64 = 1_795_219_200;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An event as they come: 12 a second, people and repositories that come back, most languages and sizes known.
fn event(id: u64) -> Option<Mutation> {
    let mut random = fastrand::Rng::with_seed(id);
    let key = EventKey { id: id as i64, created_at: START + (id / 12) as i64 };
    let outcome = match random.u8(0..20) {
        0..9 => Outcome::Opened,
        9..16 => Outcome::Merged,
        16..19 => Outcome::Closed,
        _ => Outcome::Reopened,
    };
    Some(Mutation {
        key,
        day: Day::of(key.created_at)?,
        outcome,
        pull_request: 3_000_000_000 + id / 2,
        actor: random.u64(0..1_000_000) * 250,
        repo: random.u64(0..2_000_000) * 500,
        size: random.bool().then(|| Size { additions: random.u64(0..500), deletions: random.u64(0..300) }),
        language: (random.u8(0..10) > 0).then(|| format!("language {}", random.u8(0..60))),
    })
}

async fn stage(host: &str, per_call: u64, first: u64) -> Result<()> {
    let settings = Settings {
        host: host.to_owned(),
        user: None,
        password: String::new(),
        db: 0,
        prefix: String::new(),
        settle_delay: Duration::from_secs(2),
        latest_during: 3_600,
        merge_latest: None,
    };
    let state = Arc::new(RedisState::new(&settings, Arc::new(SystemClock))?);
    state.snapshot(2026).await?;
    let mut redis =
        redis::Client::open(format!("redis://{host}"))?.get_multiplexed_async_connection().await?;
    redis::cmd("CONFIG").arg("RESETSTAT").query_async::<()>(&mut redis).await?;
    redis::cmd("SLOWLOG").arg("RESET").query_async::<()>(&mut redis).await?;
    let started = Instant::now();
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let state = state.clone();
        tasks.push(tokio::spawn(async move {
            let share = EVENTS / TASKS;
            let start = first + task * share;
            for batch in (start..start + share).step_by(per_call as usize) {
                let events: Vec<Mutation> = (batch..batch + per_call).filter_map(event).collect();
                let now = (START + (batch / 12) as i64) * 1000;
                state.apply(events, now).await.map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let wall = started.elapsed().as_secs_f64();
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await?;
    let micros: f64 = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:"))
        .and_then(|line| line.split(',').find_map(|field| field.strip_prefix("usec=")?.parse().ok()))
        .ok_or("no statistics of EVALSHA")?;
    let slow: Vec<redis::Value> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query_async(&mut redis).await?;
    let slowest = slow.iter().filter_map(|entry| match entry {
        redis::Value::Array(fields) => match fields.get(2) {
            Some(redis::Value::Int(micros)) => Some(*micros),
            _ => None,
        },
        _ => None,
    });
    println!(
        "| {per_call} | {:.0} | {:.0} | {:.2} ms | {} |",
        EVENTS as f64 / micros * 1e6,
        EVENTS as f64 / wall,
        micros / 1e3 / (EVENTS / per_call) as f64,
        slowest.max().map_or("< 5 ms".to_owned(), |micros| format!("{:.1} ms", micros as f64 / 1e3)),
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let directory = tempfile::tempdir()?;
    let child = Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "yes",
            "--dir",
        ])
        .arg(directory.path())
        .args(["--slowlog-log-slower-than", "5000", "--slowlog-max-len", "10000"])
        .stdout(Stdio::null())
        .spawn()?;
    let _server = Server(child);
    let host = format!("127.0.0.1:{port}");
    while tokio::net::TcpStream::connect(&host).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "| events a call | events/s in the script | events/s through all of it | a call | slowest call |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for (index, per_call) in [100, 200, 20].into_iter().enumerate() {
        stage(&host, per_call, index as u64 * EVENTS).await?;
    }
    Ok(())
}
