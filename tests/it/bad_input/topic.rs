//! Messages on the topic that are no events: they become dead letters, and their neighbours are counted.

use pulsehub::app::Source;
use pulsehub::broker::BatchBuilder;
use pulsehub::event::Rejection::Incomplete;
use pulsehub::source::replay::Summary;
use serde_json::Value;

use super::{event, letters, outcome, without};
use crate::support::{TestApp, eventually};

#[tokio::test]
async fn foreign_messages_on_the_topic_are_dead_lettered_and_spare_their_neighbours() {
    let mut app = TestApp::new();
    app.config.pulsar.consumer.concurrency = 4;
    let running = app.start(Source::None).await;
    let wrapped = |event: &str| format!(r#"{{"event":{event},"payload":{{}}}}"#).into_bytes();
    let good = [
        wrapped(&event(0)),
        format!(r#" {{"payload":{{"pr":1,"devDay":1}}, "event": {} }}"#, event(1)).into_bytes(),
        format!(r#"{{"event":{},"more":[],"payload":{{}}}}"#, event(2)).into_bytes(),
    ];
    let bad = [
        b"hello".to_vec(),
        Vec::new(),
        b"\0\0\0".to_vec(),
        vec![0xff, 0xfe],
        b"{}".to_vec(),
        b"null".to_vec(),
        event(30).into_bytes(),
        format!("[{}]", event(31)).into_bytes(),
        wrapped("null"),
        wrapped("[]"),
        wrapped("{}"),
        wrapped("\"x\""),
        wrapped(&event(32)[..100]),
        wrapped(&without(33, "/actor")),
        wrapped(&format!("{}{}", event(34), event(35))),
        vec![b'['; 1 << 20],
    ];
    let producer = running.producer().await.unwrap();
    for (good, bad) in good.iter().zip(bad.chunks(6)) {
        let mut batch = BatchBuilder::default();
        for message in bad {
            batch.push(&[message]);
            batch.push(&[good]);
        }
        producer.publish(batch.build()).await.unwrap();
    }
    let ready = format!("http://{}/api/v1/stats?year=2026", running.admin);
    eventually("the good messages are counted", async || {
        let stats: Value = reqwest::get(&ready).await.unwrap().json().await.unwrap();
        stats["sum"]["additions"] == 0b111
    })
    .await;
    running.stop().await;
    // What was in hand at the stop is settled by now; what was not yet received comes again here.
    let running = app.start(Source::None).await;
    eventually("nothing is left", async || letters_so_far(&app) >= bad.len()).await;
    running.stop().await;
    let outcome = outcome(&app, Summary::default()).await;
    assert_eq!(outcome.counted, [0, 1, 2]);
    assert_eq!(outcome.letters.len(), bad.len(), "{:?}", outcome.letters);
    assert!(outcome.letters.iter().all(|(_, origin)| origin.starts_with("message ")));
    assert_eq!(outcome.letters.iter().filter(|(reason, _)| *reason == Incomplete.to_string()).count(), 1);
}

/// Letters in a log that a running process writes.
fn letters_so_far(app: &TestApp) -> usize {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(app.directory().join("dead-letter")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    letters(copy.path()).len()
}
