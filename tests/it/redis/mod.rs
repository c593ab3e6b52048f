//! The state in Redis where Redis itself matters: keys that others read, crashes, refusals, outages under a running
//! pipeline, what clients notice of them, a predecessor's hashes.

mod clients;
mod delivery;
mod faults;
mod keys;
mod outage;
mod ride;
mod seeding;
mod takeover;
mod waitaof;

use std::collections::BTreeMap;
use std::sync::Arc;

use pulsehub::event::EventKey;
use pulsehub::mutation::{Mutation, Outcome, Size};
use pulsehub::state::redis::RedisState;
use pulsehub::state::{Snapshot, State, StateError};
use redis::aio::MultiplexedConnection;

/// 2026-06-15T00:00:00Z
const NOW: i64 = 1_781_481_600_000;
const DAY: &str = "2026-06-15";

/// A merged pull request of 3 and 2 lines in C, by a person and in a repository of its own.
fn merged(id: u64) -> Mutation {
    let key = EventKey { id: id as i64, created_at: NOW / 1000 + (id % 3_600) as i64 };
    Mutation {
        key,
        day: key.day().unwrap(),
        outcome: Outcome::Merged,
        pull_request: id,
        actor: id,
        repo: id,
        size: Some(Size { additions: 3, deletions: 2 }),
        language: Some("C".to_owned()),
        claim: None,
    }
}

async fn snapshot(state: &Arc<RedisState>) -> Snapshot {
    state.snapshot(2026).await.unwrap()
}

/// Asserts that exactly `count` different events of [`merged`] are counted.
async fn assert_counted(state: &Arc<RedisState>, count: u64, what: &str) {
    let snapshot = snapshot(state).await;
    let day = snapshot.days.values().next().copied().unwrap_or_default();
    let sums = snapshot.sums;
    let found = [day.merge, day.dev, sums.dev, sums.repo, sums.additions, sums.deletions];
    assert_eq!(found, [count, count, count, count, 3 * count, 2 * count], "{what}");
}

/// Applies as a worker does: again after every failure.
async fn apply(state: &Arc<RedisState>, events: &[Mutation]) -> pulsehub::state::Applied {
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    loop {
        match state.apply(events.to_vec(), NOW).await {
            Ok(applied) => return applied,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn hash(connection: &mut MultiplexedConnection, key: &str) -> BTreeMap<String, String> {
    redis::cmd("HGETALL").arg(key).query_async(connection).await.unwrap()
}

async fn run(connection: &mut MultiplexedConnection, command: &str) {
    let mut words = command.split(' ');
    let mut built = redis::cmd(words.next().unwrap());
    for word in words {
        built.arg(word);
    }
    built.query_async::<redis::Value>(connection).await.unwrap();
}

/// The text of an error with all its causes.
fn chain(error: &StateError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
