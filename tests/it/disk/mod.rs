//! Disks that fail the embedded stores: full ones, torn tails, flipped bits.

mod flipped;
mod full;
mod settled;
mod torn_log;
mod torn_state;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pulsehub::broker::MessageBatch;
use pulsehub::broker::embedded::{LogOptions, TopicLog};
use pulsehub::clock::SystemClock;
use pulsehub::event::EventKey;
use pulsehub::mutation::{Mutation, Outcome, Size};
use pulsehub::state::State;
use pulsehub::state::embedded::EmbeddedState;
use pulsehub::storage::{Space, Storage};

/// 2026-06-15T00:00:00Z
const NOW: i64 = 1_781_481_600_000;

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

/// What the counters say of the events of [`merged`]: all six must be of the same number of them.
async fn counted(state: &dyn State) -> [u64; 6] {
    let snapshot = state.snapshot(2026).await.unwrap();
    let day = snapshot.days.values().next().copied().unwrap_or_default();
    let sums = snapshot.sums;
    [day.merge, day.dev, sums.dev, sums.repo, sums.additions, sums.deletions]
}

fn count_of(events: u64) -> [u64; 6] {
    [events, events, events, events, 3 * events, 2 * events]
}

fn state_in(storage: &Storage) -> EmbeddedState {
    EmbeddedState::open(storage, 3_600).unwrap()
}

fn open_log(directory: &Path, options: &LogOptions) -> Arc<TopicLog> {
    TopicLog::open(directory, options.clone(), Arc::new(SystemClock), Space::new(directory, 0)).unwrap()
}

/// All messages of a log with their offsets.
fn messages(log: &TopicLog) -> Vec<(u64, Vec<u8>)> {
    let (mut position, mut messages) = (log.position_before(0).0, Vec::new());
    while let Some(entry) = log.read(position).unwrap() {
        position = entry.next;
        messages.extend(numbered(entry.base, &entry.batch));
    }
    messages
}

fn numbered(base: u64, batch: &MessageBatch) -> Vec<(u64, Vec<u8>)> {
    (0..batch.len()).map(|index| (base + index as u64, batch.get(index).unwrap().to_vec())).collect()
}

/// Copies a directory with all below it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, without_padding(&path)).unwrap();
    }
}

/// A file's bytes without the room that a journal keeps for what comes.
fn without_padding(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "jnl") {
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    }
    bytes
}

/// All files below a directory, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A directory in memory where the machine has one: what is torn here was never synced by a real disk anyway.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}
