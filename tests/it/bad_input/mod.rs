//! What is no event, or only half of one: it counts nowhere, is named, and never harms its neighbours.

mod damage;
mod fields;
mod files;
mod lines;
mod topic;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use pulsehub::broker::embedded::{LogOptions, TopicLog};
use pulsehub::clock::SystemClock;
use pulsehub::event::Rejection;
use pulsehub::source::replay::Summary;
use pulsehub::storage::Space;
use serde_json::Value;

use crate::support::{TestApp, text};

/// The `n`-th event, `n` < 40: a pull request of its own, merged, with 2ⁿ additions. The year's additions thus say
/// exactly which events were counted.
fn event(n: u32) -> String {
    let additions = 1_u64 << n;
    format!(
        r#"{{"id":"{}","type":"PullRequestEvent","actor":{{"id":{n},"login":"user{n}"}},"repo":{{"id":{n},"name":"a/b{n}"}},"payload":{{"action":"closed","number":7,"pull_request":{{"id":{n},"merged":true,"additions":{additions},"deletions":0,"base":{{"repo":{{"id":{n},"language":"Rust"}}}}}}}},"public":true,"created_at":"2026-01-02T03:04:05Z"}}"#,
        9_000_000_000 + u64::from(n)
    )
}

/// The `n`-th event with another value at a JSON pointer.
fn changed(n: u32, pointer: &str, value: Value) -> String {
    let mut event: Value = serde_json::from_str(&event(n)).unwrap();
    *event.pointer_mut(pointer).unwrap() = value;
    event.to_string()
}

/// The `n`-th event without the field at a JSON pointer.
fn without(n: u32, pointer: &str) -> String {
    let mut event: Value = serde_json::from_str(&event(n)).unwrap();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).unwrap();
    event.to_string()
}

/// What became of files.
#[derive(Debug)]
struct Outcome {
    summary: Summary,
    /// Which events were counted in 2026.
    counted: Vec<u32>,
    stats: Value,
    /// Reason and origin of every dead letter, in the order of the lines.
    letters: Vec<(String, String)>,
}

impl Outcome {
    /// Asserts which events were counted and what was rejected where.
    #[track_caller]
    fn expect(&self, counted: impl IntoIterator<Item = u32>, letters: &[(Rejection, &str)]) {
        let letters: Vec<_> =
            letters.iter().map(|(reason, origin)| (reason.to_string(), (*origin).to_owned())).collect();
        assert_eq!(self.counted, counted.into_iter().collect::<Vec<_>>(), "counted; {:?}", self.letters);
        assert_eq!(self.letters, letters, "dead letters");
    }
}

/// Replays files given by name and content.
async fn replay<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Outcome {
    let (app, directory) = (TestApp::new(), tempfile::tempdir().unwrap());
    let write = |(name, content): (&str, Vec<u8>)| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        text(&path)
    };
    let files: Vec<_> = files.into_iter().map(write).collect();
    let summary = app.replay(files).await;
    outcome(&app, summary).await
}

/// Replays one file, `f.json`.
async fn replay_text(content: impl Into<Vec<u8>>) -> Outcome {
    let outcome = replay([("f.json", content.into())]).await;
    assert_eq!((outcome.summary.files, outcome.summary.bad_files), (1, 0));
    outcome
}

/// Replays lines, each with its end.
async fn replay_lines(lines: &[String]) -> Outcome {
    replay_text(lines.iter().map(|line| format!("{line}\n")).collect::<String>()).await
}

async fn outcome(app: &TestApp, summary: Summary) -> Outcome {
    let stats = app.stats(2026).await;
    let additions = stats["sum"]["additions"].as_u64().unwrap();
    let counted = (0..64).filter(|n| additions >> n & 1 == 1).collect();
    Outcome { summary, counted, stats, letters: letters(&app.directory().join("dead-letter")) }
}

/// The dead letters below `directory`.
fn letters(directory: &Path) -> Vec<(String, String)> {
    let log =
        TopicLog::open(directory, LogOptions::default(), Arc::new(SystemClock), Space::new(directory, 0))
            .unwrap();
    let (mut position, mut letters) = (log.position_before(0).0, Vec::new());
    while let Some(entry) = log.read(position).unwrap() {
        position = entry.next;
        for index in 0..entry.batch.len() {
            let letter: Value = serde_json::from_slice(&entry.batch.get(index).unwrap()).unwrap();
            let text = |field: &str| letter[field].as_str().unwrap().to_owned();
            letters.push((text("reason"), text("origin")));
        }
    }
    // Parts of a file are rejected concurrently.
    letters.sort_by_key(|(_, origin)| (origin.len(), origin.clone()));
    letters
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
