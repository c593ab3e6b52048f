//! How many events a second `lua/apply.lua` applies, by the clock of a Redis of its own, and how long its calls take.
//!
//! `cargo bench --bench redis`; needs redis-server. It counts the server's time in the script alone (`INFO
//! commandstats`), so how fast this program is does not matter; what else the machine does while it runs is counted
//! too. `cargo bench --bench redis -- memory` measures what a year's sets take instead.

mod memory;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pulsehub::clock::SystemClock;
use pulsehub::event::{Day, EventKey};
use pulsehub::mutation::{Claim, Mutation, Outcome, Size};
use pulsehub::state::State;
use pulsehub::state::redis::{RedisState, Settings};
use redis::aio::MultiplexedConnection;
use server::{Calls, Server};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Events of a pass: seven hours of 12 a second.
const EVENTS: u64 = 7 * 3_600 * 12;
const TASKS: u64 = 4;

/// 2026-11-21T00:00:00Z
const START: i64 = 1_795_219_200;

/// An event as they come: 12 a second, people and repositories that come back, most languages and sizes known. Ids are
/// spread over as many as GitHub has given out. With `twins` each has a claim, as where webhooks are configured.
fn event(id: u64, twins: bool) -> Option<Mutation> {
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
        actor: random.u64(0..1_000_000) * (memory::LARGEST_DEVELOPER / 1_000_000),
        repo: random.u64(0..2_000_000) * (memory::LARGEST_REPOSITORY / 2_000_000),
        size: random.bool().then(|| Size { additions: random.u64(0..500), deletions: random.u64(0..300) }),
        language: (random.u8(0..10) > 0).then(|| format!("language {}", random.u8(0..60))),
        claim: twins.then_some(Claim { natural: id as i64 + 1, within: Some(600) }),
    })
}

/// Applies the events of pass `pass`, and says how long that took by the clock on the wall.
async fn apply(state: &Arc<RedisState>, per_call: u64, pass: u64, twins: bool) -> Result<Duration> {
    let started = Instant::now();
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let state = state.clone();
        tasks.push(tokio::spawn(async move {
            let share = EVENTS / TASKS;
            let start = pass * EVENTS + task * share;
            for first in (start..start + share).step_by(per_call as usize) {
                let events: Vec<Mutation> = (first..(first + per_call).min(start + share))
                    .filter_map(|id| event(id, twins))
                    .collect();
                let now = (START + (first / 12) as i64) * 1000;
                state.apply(events, now).await.map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(started.elapsed())
}

/// Events a second that a script which only returns would let through: as many calls with as many arguments.
async fn limit(redis: &mut MultiplexedConnection, per_call: u64, calls: u64) -> Result<f64> {
    let digest: String = redis::cmd("SCRIPT").arg("LOAD").arg("return 1").query_async(redis).await?;
    // An event has two bitmaps of its own, and on the average seven members, fields and offsets.
    let mut call = redis::cmd("EVALSHA");
    call.arg(digest).arg(2 * per_call);
    for key in 0..2 * per_call {
        call.arg(format!("ph:repo:2026:{key}"));
    }
    for argument in 0..7 * per_call {
        call.arg(3_000_000_000 + argument);
    }
    for _ in 0..calls {
        call.query_async::<()>(redis).await?;
    }
    Ok((calls * per_call) as f64 / Calls::take(redis).await?.micros * 1e6)
}

/// Measures calls of `per_call` events: a pass into an empty store, then one into what that left.
async fn stage(per_call: u64, twins: bool) -> Result<()> {
    let (server, mut redis) = Server::start().await?;
    let settings = Settings {
        host: server.host().to_owned(),
        user: None,
        password: String::new(),
        db: 0,
        ca_file: None,
        prefix: String::new(),
        settle_delay: Duration::from_secs(2),
        latest_during: 3_600,
        merge_latest: None,
    };
    let state = Arc::new(RedisState::new(&settings, Arc::new(SystemClock))?);
    state.snapshot(2026).await?;
    for (pass, store) in ["cold", "warm"].into_iter().enumerate() {
        Calls::take(&mut redis).await?;
        let took = apply(&state, per_call, pass as u64, twins).await?;
        let calls = Calls::take(&mut redis).await?;
        let limit = limit(&mut redis, per_call, calls.count).await?;
        println!(
            "| {per_call} | {store}{} | {:.0} | {limit:.0} | {:.0} | {:.2} ms | {} | {} |",
            if twins { ", with claims" } else { "" },
            EVENTS as f64 / calls.micros * 1e6,
            EVENTS as f64 / took.as_secs_f64(),
            calls.micros / 1e3 / calls.count as f64,
            calls.exceeded_by_one_in(1_000),
            calls.slowest(),
        );
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    if std::env::args().any(|argument| argument == "memory") {
        return memory::measure().await;
    }
    println!(
        "| events a call | store | events/s in the script | of one that only returns | through all of it | a call | one in 1,000 takes | slowest |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for per_call in [100, 200, 20] {
        stage(per_call, false).await?;
    }
    stage(200, true).await?;
    Ok(())
}
