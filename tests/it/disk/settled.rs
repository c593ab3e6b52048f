//! What was settled stays settled and gives its room up, and what was not can be, on a disk that is nearly full.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pulsehub::broker::embedded::{EmbeddedBroker, LogOptions};
use pulsehub::broker::{BatchBuilder, Broker, DeadLetter, MessageId};
use pulsehub::clock::{Clock, SystemClock};
use pulsehub::storage::Storage;

use super::files;
use crate::process::stdout;

/// Segments of about one batch, kept for an hour.
fn open(directory: &Path, reserve: u64) -> EmbeddedBroker {
    let storage = Storage::open_with_reserve(directory, reserve).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = LogOptions {
        segment_bytes: 50,
        retention: Some(Duration::from_secs(3_600)),
        ..LogOptions::default()
    };
    EmbeddedBroker::open(directory, &storage, options, &clock).unwrap()
}

/// A reserve of which the disk has more than one and less than two.
fn reserve(directory: &Path) -> u64 {
    let output = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(directory).output().unwrap();
    let text = stdout(&output);
    let (blocks, size) = text.trim().split_once(' ').unwrap();
    blocks.parse::<u64>().unwrap() * size.parse::<u64>().unwrap() / 3 * 2
}

async fn publish(broker: &EmbeddedBroker, number: u64) -> Result<(), pulsehub::broker::BrokerError> {
    let mut batch = BatchBuilder::default();
    batch.push(&[number.to_string().as_bytes()]);
    broker.producer().await.unwrap().publish(batch.build()).await
}

async fn settle_all(broker: &EmbeddedBroker, count: usize) {
    let mut consumer = broker.consumer().await.unwrap();
    let mut left = count;
    while left > 0 {
        let ids: Vec<MessageId> =
            consumer.receive(left).await.unwrap().iter().map(|message| message.id).collect();
        consumer.settle(&ids).await.unwrap();
        left -= ids.len();
    }
}

#[tokio::test]
async fn a_backlog_is_settled_for_good_where_the_topic_takes_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open(directory.path(), 0);
    for number in 0..10 {
        publish(&broker, number).await.unwrap();
    }
    drop(broker);
    let reserve = reserve(directory.path());
    let broker = open(directory.path(), reserve);
    publish(&broker, 10).await.unwrap_err();
    settle_all(&broker, 10).await;
    broker.close().await.unwrap();
    drop(broker);
    assert_eq!(open(directory.path(), reserve).backlog().await.unwrap(), 0);
}

#[tokio::test]
async fn settled_segments_make_room_after_a_restart_before_anything_is_settled() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open(directory.path(), 0);
    for number in 0..10 {
        publish(&broker, number).await.unwrap();
    }
    settle_all(&broker, 10).await;
    broker.close().await.unwrap();
    drop(broker);
    let topic = directory.path().join("topic");
    assert!(files(&topic).len() > 3, "they are retained: {:?}", files(&topic));
    let broker = open(directory.path(), reserve(directory.path()));
    publish(&broker, 10).await.unwrap_err();
    assert_eq!(files(&topic).len(), 1);
}

#[tokio::test]
async fn letters_that_took_the_place_of_lost_ones_are_there_after_a_crash_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dead-letter/00000000000000000000.log");
    let letter = |origin: &str| DeadLetter {
        reason: "malformed".to_owned(),
        origin: origin.to_owned(),
        attempts: 1,
        body: Bytes::from_static(b"{"),
        whole_bytes: 1,
    };
    let broker = open(directory.path(), 0);
    let header = std::fs::read(&path).unwrap();
    broker.dead_letter((0..10).map(|_| letter("old")).collect()).await.unwrap();
    let mut letters = broker.dead_letters().await.unwrap();
    let ids: Vec<_> = letters.next(10).await.unwrap().iter().map(|letter| letter.id).collect();
    letters.remove(&ids).await.unwrap();
    drop((letters, broker));
    std::fs::write(&path, header).unwrap();
    let broker = open(directory.path(), 0);
    broker.dead_letter((0..5).map(|_| letter("new")).collect()).await.unwrap();
    // A crash: nobody closes it.
    drop(broker);
    let broker = open(directory.path(), 0);
    assert_eq!(broker.dead_letters().await.unwrap().next(10).await.unwrap().len(), 5);
}
