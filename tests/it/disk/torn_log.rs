//! The log's file torn at every byte of its last records: what was confirmed before stays, and what comes again is there
//! once, at two starts.

use pulsehub::broker::embedded::{EmbeddedBroker, LogOptions};
use pulsehub::broker::{BatchBuilder, Broker, MessageBatch, Producer};
use pulsehub::clock::{Clock, SystemClock};
use pulsehub::storage::Storage;
use std::sync::Arc;

use super::{directory, messages, numbered, open_log};

const FILE: &str = "00000000000000000000.log";

/// Messages that cannot be compressed, so that a record is as long as it is meant to be.
fn batch(random: &mut fastrand::Rng, count: usize) -> MessageBatch {
    let mut builder = BatchBuilder::default();
    for _ in 0..count {
        let bytes: Vec<u8> = (0..60).map(|_| random.u8(..)).collect();
        builder.push(&[&bytes]);
    }
    builder.build()
}

#[tokio::test]
async fn every_byte_of_the_last_records_may_be_the_last() {
    let (origin, mut random, options) = (directory(), fastrand::Rng::with_seed(5), LogOptions::default());
    let batches: Vec<_> = [7, 6, 5].into_iter().map(|count| batch(&mut random, count)).collect();
    let path = origin.path().join(FILE);
    let mut ends = Vec::new();
    let log = open_log(origin.path(), &options);
    for batch in &batches {
        log.publish(batch.clone()).await.unwrap();
        ends.push(std::fs::metadata(&path).unwrap().len() as usize);
    }
    log.close();
    let whole = std::fs::read(&path).unwrap();
    let all = [numbered(0, &batches[0]), numbered(7, &batches[1]), numbered(13, &batches[2])];
    let cuts = ends[0]..ends[2];
    assert!(cuts.len() >= 500, "{cuts:?}");
    for (index, cut) in cuts.enumerate() {
        let torn = directory();
        let path = torn.path().join(FILE);
        // A crash leaves the file short, or with zeros where its length was written first.
        let mut bytes = whole[..cut].to_vec();
        if index % 2 == 1 {
            bytes.resize(whole.len(), 0);
        }
        std::fs::write(&path, bytes).unwrap();
        let left = if cut < ends[1] { 1 } else { 2 };
        let log = open_log(torn.path(), &options);
        assert_eq!(messages(&log), all[..left].concat(), "cut at {cut}");
        // Whoever was not told that it is there publishes it again.
        for batch in &batches[left..] {
            log.publish(batch.clone()).await.unwrap();
        }
        log.close();
        drop(log);
        let log = open_log(torn.path(), &options);
        assert_eq!(messages(&log), all.concat(), "cut at {cut}, second start");
        assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
        log.close();
    }
}

/// The cursor may know more than the log: what is published again takes the offsets that the cursor calls settled.
#[tokio::test]
async fn what_takes_the_place_of_a_lost_tail_is_delivered_whatever_the_cursor_says() {
    let (origin, mut random) = (directory(), fastrand::Rng::with_seed(6));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let open = |directory: &std::path::Path| {
        let storage = Storage::open_with_reserve(directory, 0).unwrap();
        EmbeddedBroker::open(directory, &storage, LogOptions::default(), &clock).unwrap()
    };
    let (first, second) = (batch(&mut random, 3), batch(&mut random, 4));
    let broker = open(origin.path());
    let producer = broker.producer().await.unwrap();
    let file = origin.path().join("topic").join(FILE);
    producer.publish(first.clone()).await.unwrap();
    let end = std::fs::metadata(&file).unwrap().len() as usize;
    producer.publish(second.clone()).await.unwrap();
    let mut consumer = broker.consumer().await.unwrap();
    for _ in 0..2 {
        let received = consumer.receive(10).await.unwrap();
        let ids: Vec<_> = received.iter().map(|message| message.id).collect();
        consumer.settle(&ids).await.unwrap();
    }
    broker.close().await.unwrap();
    drop((consumer, producer, broker));
    let whole = std::fs::read(&file).unwrap();
    for cut in (end..whole.len()).step_by(40) {
        let torn = directory();
        super::copy(origin.path(), torn.path());
        std::fs::write(torn.path().join("topic").join(FILE), &whole[..cut]).unwrap();
        let broker = open(torn.path());
        assert_eq!(broker.backlog().await.unwrap(), 0, "cut at {cut}");
        broker.producer().await.unwrap().publish(second.clone()).await.unwrap();
        broker.close().await.unwrap();
        drop(broker);
        let broker = open(torn.path());
        let mut consumer = broker.consumer().await.unwrap();
        let received = consumer.receive(10).await.unwrap();
        let received: Vec<_> =
            received.iter().map(|message| (message.id.0, message.payload.to_vec())).collect();
        assert_eq!(received, numbered(3, &second), "cut at {cut}");
    }
}
