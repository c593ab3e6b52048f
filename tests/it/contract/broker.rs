//! What `Broker` promises.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pulsehub::broker::embedded::{EmbeddedBroker, LogOptions};
use pulsehub::broker::pulsar::{MAX_MESSAGE_BYTES, PulsarBroker};
use pulsehub::broker::{BatchBuilder, Broker, Consumer, DeadLetter, Message, MessageBatch, MessageId};
use pulsehub::clock::{Clock, SystemClock};
use pulsehub::storage::Storage;

use crate::support;

/// How a suite gets at a backend.
pub(super) trait Backend {
    /// Opens the broker; what an earlier one in the same place was given is still there.
    async fn open(&self) -> Arc<dyn Broker>;

    /// The longest message it must take.
    fn largest(&self) -> usize {
        5 << 20
    }
}

pub(super) struct Embedded(pub(super) tempfile::TempDir, LogOptions);

impl Backend for Embedded {
    async fn open(&self) -> Arc<dyn Broker> {
        Arc::new(open_embedded(self.0.path(), self.1.clone()))
    }
}

fn open_embedded(directory: &Path, options: LogOptions) -> EmbeddedBroker {
    let storage = Storage::open(directory).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    EmbeddedBroker::open(directory, &storage, options, &clock).unwrap()
}

pub(super) fn embedded() -> Embedded {
    Embedded(tempfile::tempdir().unwrap(), LogOptions::default())
}

/// The embedded log with segments of a few records, so that every test crosses them.
pub(super) fn small_segments() -> Embedded {
    Embedded(tempfile::tempdir().unwrap(), LogOptions { segment_bytes: 200, ..LogOptions::default() })
}

/// A topic of its own on the standalone that all tests share. A restart is a new client on the same topic.
pub(super) struct Pulsar(String);

impl Backend for Pulsar {
    async fn open(&self) -> Arc<dyn Broker> {
        Arc::new(PulsarBroker::new(support::pulsar::options(&self.0)).unwrap())
    }

    fn largest(&self) -> usize {
        MAX_MESSAGE_BYTES
    }
}

pub(super) fn pulsar() -> Pulsar {
    Pulsar(support::pulsar::topic())
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod embedded { $(#[tokio::test] async fn $name() { super::$name(super::embedded()).await; })* }
        mod pulsar { $(#[tokio::test] async fn $name() { super::$name(super::pulsar()).await; })* }
        mod small_segments { $(#[tokio::test] async fn $name() { super::$name(super::small_segments()).await; })* }
    };
}

contract!(
    messages_of_one_producer_arrive_in_order,
    a_message_is_with_one_consumer_at_a_time,
    settled_messages_do_not_come_again_after_a_restart,
    unsettled_messages_come_again_after_a_restart,
    a_dropped_consumer_gives_back_what_it_held,
    messages_settled_out_of_order_stay_settled,
    a_cancelled_receive_loses_nothing,
    settling_what_is_not_ones_own_changes_nothing,
    the_backlog_counts_what_is_not_settled,
    a_closed_broker_refuses_to_publish,
    dead_letters_do_not_mix_with_messages,
    concurrent_producers_and_consumers_lose_nothing,
    messages_of_any_size_and_content_survive,
);

pub(super) fn batch(messages: impl IntoIterator<Item = impl AsRef<[u8]>>) -> MessageBatch {
    let mut builder = BatchBuilder::default();
    messages.into_iter().for_each(|message| builder.push(&[message.as_ref()]));
    builder.build()
}

pub(super) fn numbered(range: std::ops::Range<u32>) -> MessageBatch {
    batch(range.map(|number| number.to_string()))
}

pub(super) async fn publish(broker: &Arc<dyn Broker>, range: std::ops::Range<u32>) {
    broker.producer().await.unwrap().publish(numbered(range)).await.unwrap();
}

/// Publishes each message by itself, because a broker that stores batches settles whole ones across restarts.
async fn publish_apart(broker: &Arc<dyn Broker>, range: std::ops::Range<u32>) {
    let producer = broker.producer().await.unwrap();
    for number in range {
        producer.publish(numbered(number..number + 1)).await.unwrap();
    }
}

/// Receives exactly `count` messages.
pub(super) async fn receive(consumer: &mut dyn Consumer, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let received = tokio::time::timeout(support::PATIENCE, consumer.receive(count - messages.len()));
        messages.extend(received.await.expect("messages in time").unwrap());
    }
    messages
}

pub(super) async fn receives_nothing_now(consumer: &mut dyn Consumer) -> bool {
    tokio::time::timeout(Duration::ZERO, consumer.receive(1)).await.is_err()
}

async fn receives_nothing(consumer: &mut dyn Consumer) -> bool {
    tokio::time::timeout(Duration::from_millis(50), consumer.receive(1)).await.is_err()
}

fn numbers(messages: &[Message]) -> Vec<u32> {
    messages.iter().map(|message| std::str::from_utf8(&message.payload).unwrap().parse().unwrap()).collect()
}

pub(super) fn ids(messages: &[Message]) -> Vec<MessageId> {
    messages.iter().map(|message| message.id).collect()
}

async fn messages_of_one_producer_arrive_in_order(backend: impl Backend) {
    let broker = backend.open().await;
    let producer = broker.producer().await.unwrap();
    for start in (0..100).step_by(10) {
        producer.publish(numbered(start..start + 10)).await.unwrap();
    }
    let mut consumer = broker.consumer().await.unwrap();
    assert_eq!(numbers(&receive(consumer.as_mut(), 100).await), (0..100).collect::<Vec<_>>());
}

async fn a_message_is_with_one_consumer_at_a_time(backend: impl Backend) {
    let broker = backend.open().await;
    publish_apart(&broker, 0..10).await;
    let (mut one, mut two) = (broker.consumer().await.unwrap(), broker.consumer().await.unwrap());
    let mut all = Vec::new();
    while all.len() < 10 {
        let received = async {
            tokio::select! {
                received = one.receive(2) => received,
                received = two.receive(2) => received,
            }
        };
        let received = tokio::time::timeout(support::PATIENCE, received).await.expect("messages in time");
        all.extend(numbers(&received.unwrap()));
    }
    all.sort_unstable();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
    assert!(receives_nothing(one.as_mut()).await && receives_nothing(two.as_mut()).await);
}

async fn settled_messages_do_not_come_again_after_a_restart(backend: impl Backend) {
    let broker = backend.open().await;
    publish(&broker, 0..10).await;
    let mut consumer = broker.consumer().await.unwrap();
    let messages = receive(consumer.as_mut(), 10).await;
    consumer.settle(&ids(&messages)).await.unwrap();
    drop(consumer);
    broker.close().await.unwrap();
    drop(broker);
    let broker = backend.open().await;
    publish(&broker, 10..11).await;
    let mut consumer = broker.consumer().await.unwrap();
    assert_eq!(numbers(&receive(consumer.as_mut(), 1).await), [10]);
}

async fn unsettled_messages_come_again_after_a_restart(backend: impl Backend) {
    let broker = backend.open().await;
    publish_apart(&broker, 0..10).await;
    let mut consumer = broker.consumer().await.unwrap();
    let messages = receive(consumer.as_mut(), 10).await;
    consumer.settle(&ids(&messages[..3])).await.unwrap();
    drop(consumer);
    broker.close().await.unwrap();
    drop(broker);
    let broker = backend.open().await;
    let mut consumer = broker.consumer().await.unwrap();
    assert_eq!(numbers(&receive(consumer.as_mut(), 7).await), (3..10).collect::<Vec<_>>());
}

async fn a_dropped_consumer_gives_back_what_it_held(backend: impl Backend) {
    let broker = backend.open().await;
    publish(&broker, 0..5).await;
    let mut lost = broker.consumer().await.unwrap();
    receive(lost.as_mut(), 5).await;
    let mut waiting = broker.consumer().await.unwrap();
    let redelivered = tokio::spawn(async move { receive(waiting.as_mut(), 5).await });
    tokio::task::yield_now().await;
    drop(lost);
    let messages = redelivered.await.unwrap();
    assert_eq!(numbers(&messages), [0, 1, 2, 3, 4]);
    assert!(messages.iter().all(|message| message.redeliveries == 1));
}

async fn messages_settled_out_of_order_stay_settled(backend: impl Backend) {
    let broker = backend.open().await;
    publish_apart(&broker, 0..6).await;
    let mut consumer = broker.consumer().await.unwrap();
    let messages = receive(consumer.as_mut(), 6).await;
    for index in [5, 1, 3] {
        consumer.settle(&[messages[index].id]).await.unwrap();
    }
    drop(consumer);
    broker.close().await.unwrap();
    drop(broker);
    let broker = backend.open().await;
    let mut consumer = broker.consumer().await.unwrap();
    assert_eq!(numbers(&receive(consumer.as_mut(), 3).await), [0, 2, 4]);
    assert!(receives_nothing(consumer.as_mut()).await);
}

async fn a_cancelled_receive_loses_nothing(backend: impl Backend) {
    let broker = backend.open().await;
    let mut consumer = broker.consumer().await.unwrap();
    for _ in 0..3 {
        assert!(receives_nothing(consumer.as_mut()).await);
    }
    publish(&broker, 0..3).await;
    assert_eq!(numbers(&receive(consumer.as_mut(), 3).await), [0, 1, 2]);
}

async fn settling_what_is_not_ones_own_changes_nothing(backend: impl Backend) {
    let broker = backend.open().await;
    publish(&broker, 0..2).await;
    let (mut owner, mut other) = (broker.consumer().await.unwrap(), broker.consumer().await.unwrap());
    let messages = receive(owner.as_mut(), 2).await;
    other.settle(&ids(&messages)).await.unwrap();
    drop(owner);
    assert_eq!(numbers(&receive(other.as_mut(), 2).await), [0, 1]);
}

async fn the_backlog_counts_what_is_not_settled(backend: impl Backend) {
    let broker = backend.open().await;
    assert_eq!(broker.backlog().await.unwrap(), 0);
    publish_apart(&broker, 0..10).await;
    let mut consumer = broker.consumer().await.unwrap();
    let messages = receive(consumer.as_mut(), 6).await;
    assert_eq!(broker.backlog().await.unwrap(), 10);
    consumer.settle(&[messages[4].id, messages[0].id]).await.unwrap();
    // A service hears of it a moment later.
    support::eventually("8 are left", async || broker.backlog().await.unwrap() == 8).await;
    consumer.settle(&ids(&messages)).await.unwrap();
    support::eventually("4 are left", async || broker.backlog().await.unwrap() == 4).await;
    assert!(!broker.is_drained().await.unwrap());
}

async fn a_closed_broker_refuses_to_publish(backend: impl Backend) {
    let broker = backend.open().await;
    let producer = broker.producer().await.unwrap();
    broker.close().await.unwrap();
    let error = producer.publish(numbered(0..1)).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
}

async fn dead_letters_do_not_mix_with_messages(backend: impl Backend) {
    let broker = backend.open().await;
    let letter = DeadLetter {
        reason: "malformed".to_owned(),
        origin: "file:1".to_owned(),
        attempts: 1,
        whole_bytes: 2,
        body: b"\xff{".to_vec().into(),
    };
    broker.dead_letter(vec![letter]).await.unwrap();
    publish(&broker, 0..1).await;
    let mut consumer = broker.consumer().await.unwrap();
    assert_eq!(numbers(&receive(consumer.as_mut(), 1).await), [0]);
    assert!(receives_nothing(consumer.as_mut()).await);
}

async fn concurrent_producers_and_consumers_lose_nothing(backend: impl Backend) {
    const PRODUCERS: u32 = 4;
    const EACH: u32 = 300;
    let broker = backend.open().await;
    let mut consumers = Vec::new();
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..3 {
        let (mut consumer, sender) = (broker.consumer().await.unwrap(), sender.clone());
        consumers.push(tokio::spawn(async move {
            loop {
                let messages = consumer.receive(7).await.unwrap();
                consumer.settle(&ids(&messages)).await.unwrap();
                numbers(&messages).into_iter().for_each(|number| sender.send(number).unwrap());
            }
        }));
    }
    for producer in 0..PRODUCERS {
        let handle = broker.producer().await.unwrap();
        tokio::spawn(async move {
            for number in (0..EACH).step_by(5) {
                let start = producer * EACH + number;
                handle.publish(numbered(start..start + 5)).await.unwrap();
            }
        });
    }
    let mut seen = Vec::new();
    while seen.len() < (PRODUCERS * EACH) as usize {
        seen.push(tokio::time::timeout(support::PATIENCE, received.recv()).await.unwrap().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..PRODUCERS * EACH).collect::<Vec<_>>());
    consumers.into_iter().for_each(|consumer| consumer.abort());
}

async fn messages_of_any_size_and_content_survive(backend: impl Backend) {
    let broker = backend.open().await;
    let large: Vec<u8> =
        (0..backend.largest()).map(|byte| ((byte as u32).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let messages = [Vec::new(), b"\0\xff\n".to_vec(), large, b"end".to_vec()];
    broker.producer().await.unwrap().publish(batch(&messages)).await.unwrap();
    let mut consumer = broker.consumer().await.unwrap();
    let received = receive(consumer.as_mut(), 4).await;
    assert!(received.iter().map(|message| message.payload.to_vec()).eq(messages));
}

/// What only a log on disk has.
mod log {
    use super::*;

    #[tokio::test]
    async fn settled_segments_are_deleted_and_unsettled_ones_kept() {
        let backend = small_segments();
        let segments = || std::fs::read_dir(backend.0.path().join("topic")).unwrap().count();
        let broker = backend.open().await;
        for start in (0..200).step_by(10) {
            publish(&broker, start..start + 10).await;
        }
        let before = segments();
        assert!(before > 4, "{before}");
        let mut consumer = broker.consumer().await.unwrap();
        let messages = receive(consumer.as_mut(), 200).await;
        consumer.settle(&ids(&messages[..150])).await.unwrap();
        broker.close().await.unwrap();
        let half = segments();
        assert!(half < before && half > 1, "{half} of {before}");
        drop((consumer, broker));
        let broker = backend.open().await;
        let mut consumer = broker.consumer().await.unwrap();
        assert_eq!(numbers(&receive(consumer.as_mut(), 50).await), (150..200).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_log_at_its_limit_refuses_and_accepts_again_once_it_is_settled() {
        let options = LogOptions { segment_bytes: 500, limit_bytes: 2_000, ..LogOptions::default() };
        let backend = Embedded(tempfile::tempdir().unwrap(), options);
        let broker = backend.open().await;
        let producer = broker.producer().await.unwrap();
        let mut published = 0;
        let refused = loop {
            match producer.publish(numbered(published..published + 10)).await {
                Ok(()) => published += 10,
                Err(error) => break error,
            }
        };
        assert!(refused.is_retryable() && published > 100, "{refused} after {published}");
        let mut consumer = broker.consumer().await.unwrap();
        let messages = receive(consumer.as_mut(), published as usize).await;
        consumer.settle(&ids(&messages)).await.unwrap();
        // The cursor is written, and segments with it, at most every so often.
        support::eventually("the log accepts again", async || {
            consumer.settle(&[]).await.unwrap();
            producer.publish(numbered(0..1)).await.is_ok()
        })
        .await;
    }

    #[tokio::test]
    async fn a_torn_tail_is_cut_off_and_what_was_confirmed_stays() {
        let backend = embedded();
        let broker = backend.open().await;
        publish(&broker, 0..10).await;
        broker.close().await.unwrap();
        drop(broker);
        let path = backend.0.path().join("topic/00000000000000000000.log");
        let whole = std::fs::read(&path).unwrap();
        for torn in 1..whole.len() {
            // A second record that was not written to its end.
            let mut bytes = whole.clone();
            bytes.extend(&whole[..torn]);
            std::fs::write(&path, bytes).unwrap();
            let broker = backend.open().await;
            assert_eq!(broker.backlog().await.unwrap(), 10, "torn at {torn}");
            broker.close().await.unwrap();
            drop(broker);
            assert_eq!(std::fs::read(&path).unwrap(), whole, "torn at {torn}");
        }
    }

    #[tokio::test]
    async fn a_log_that_lost_settled_events_delivers_what_took_their_place_after_a_crash_too() {
        let backend = embedded();
        let path = backend.0.path().join("topic/00000000000000000000.log");
        let broker = backend.open().await;
        let header = std::fs::read(&path).unwrap();
        publish(&broker, 0..10).await;
        let mut consumer = broker.consumer().await.unwrap();
        let messages = receive(consumer.as_mut(), 10).await;
        consumer.settle(&ids(&messages)).await.unwrap();
        drop(consumer);
        broker.close().await.unwrap();
        drop(broker);
        std::fs::write(&path, header).unwrap();
        let broker = backend.open().await;
        publish(&broker, 10..20).await;
        // A crash: nobody closes it.
        drop(broker);
        let broker = backend.open().await;
        assert_eq!(broker.backlog().await.unwrap(), 10);
        let mut consumer = broker.consumer().await.unwrap();
        assert_eq!(numbers(&receive(consumer.as_mut(), 10).await), (10..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_flipped_bit_loses_its_own_record_and_no_other() {
        let backend = embedded();
        let broker = backend.open().await;
        let path = backend.0.path().join("topic/00000000000000000000.log");
        let mut ends = Vec::new();
        for start in [0, 10, 20] {
            publish(&broker, start..start + 10).await;
            ends.push(std::fs::metadata(&path).unwrap().len() as usize);
        }
        broker.close().await.unwrap();
        drop(broker);
        let whole = std::fs::read(&path).unwrap();
        for bit in (ends[0] * 8..ends[1] * 8).step_by(5) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            let broker = backend.open().await;
            let mut consumer = broker.consumer().await.unwrap();
            let expected: Vec<_> = (0..10).chain(20..30).collect();
            let messages = receive(consumer.as_mut(), 20).await;
            assert_eq!(numbers(&messages), expected, "bit {bit}");
            consumer.settle(&ids(&messages)).await.unwrap();
            assert_eq!(broker.backlog().await.unwrap(), 0, "what is damaged holds nothing up, bit {bit}");
            // The next round starts from the beginning again.
            drop((consumer, broker));
            std::fs::remove_dir_all(backend.0.path().join("store")).unwrap();
        }
    }

    #[tokio::test]
    async fn a_full_log_gives_up_settled_segments_before_their_time() {
        let options =
            LogOptions { segment_bytes: 500, limit_bytes: 2_000, retention: Some(Duration::from_secs(3600)) };
        let backend = Embedded(tempfile::tempdir().unwrap(), options);
        let broker = backend.open().await;
        let mut consumer = broker.consumer().await.unwrap();
        for start in (0..2_000).step_by(10) {
            publish(&broker, start..start + 10).await;
            let messages = receive(consumer.as_mut(), 10).await;
            consumer.settle(&ids(&messages)).await.unwrap();
            // With nothing to receive the cursor is written.
            assert!(receives_nothing_now(consumer.as_mut()).await);
        }
    }
}
