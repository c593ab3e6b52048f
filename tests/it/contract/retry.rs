//! What `Broker` promises of messages that are handed to `retry`.

use std::sync::Arc;

use bytes::Bytes;
use pulsehub::broker::{Broker, Message, Retry};
use pulsehub::clock::{Clock, SystemClock};

use super::broker::{Backend, embedded, ids, publish, pulsar, receive, receives_nothing_now};
use crate::support;

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod embedded { $(#[tokio::test] async fn $name() { super::$name(super::embedded()).await; })* }
        mod pulsar { $(#[tokio::test] async fn $name() { super::$name(super::pulsar()).await; })* }
    };
}

contract!(
    a_message_comes_again_with_its_attempts_and_not_before_its_time,
    a_message_that_waits_survives_a_restart,
    a_message_that_waits_counts_into_the_backlog_until_it_is_settled,
    a_message_that_waits_keeps_nobody_waiting,
    a_dropped_consumer_gives_back_what_was_to_be_tried_again,
    messages_of_any_size_and_content_survive_the_wait,
);

fn now() -> i64 {
    SystemClock.unix_millis()
}

/// A message to be delivered `millis` from now.
fn later(body: impl Into<Bytes>, attempts: u32, millis: i64) -> Retry {
    let origin = "file:7, ä".into();
    Retry { body: body.into(), attempts, not_before: now() + millis, origin, is_extra: false }
}

async fn retry(broker: &Arc<dyn Broker>, retries: impl Into<Vec<Retry>>) {
    broker.retry(retries.into()).await.unwrap();
}

fn bodies(messages: &[Message]) -> Vec<&[u8]> {
    messages.iter().map(|message| &message.payload[..]).collect()
}

async fn a_message_comes_again_with_its_attempts_and_not_before_its_time(backend: impl Backend) {
    let broker = backend.open().await;
    let mut consumer = broker.consumer().await.unwrap();
    let sent = later("x", 3, 1_500);
    // The consumer is there before the message, and it waits.
    assert!(receives_nothing_now(consumer.as_mut()).await);
    retry(&broker, [sent.clone()]).await;
    let message = receive(consumer.as_mut(), 1).await.remove(0);
    assert!(now() >= sent.not_before, "{} ms too early", sent.not_before - now());
    assert_eq!((message.payload, message.attempts, message.redeliveries), (sent.body, 3, 0));
    assert_eq!(message.origin, Some(sent.origin));
}

async fn a_message_that_waits_survives_a_restart(backend: impl Backend) {
    let broker = backend.open().await;
    retry(&broker, [later("a", 1, 1_000), later("b", 2, 500)]).await;
    let mut consumer = broker.consumer().await.unwrap();
    let first = receive(consumer.as_mut(), 1).await;
    assert_eq!(bodies(&first), [b"b"]);
    consumer.settle(&ids(&first)).await.unwrap();
    drop(consumer);
    broker.close().await.unwrap();
    drop(broker);
    let broker = backend.open().await;
    let mut consumer = broker.consumer().await.unwrap();
    let messages = receive(consumer.as_mut(), 1).await;
    assert_eq!((bodies(&messages), messages[0].attempts), (vec![&b"a"[..]], 1));
    consumer.settle(&ids(&messages)).await.unwrap();
    assert!(receives_nothing_now(consumer.as_mut()).await);
}

async fn a_message_that_waits_counts_into_the_backlog_until_it_is_settled(backend: impl Backend) {
    let broker = backend.open().await;
    retry(&broker, [later("x", 1, 300)]).await;
    support::eventually("it counts", async || broker.backlog().await.unwrap() == 1).await;
    assert!(!broker.is_drained().await.unwrap());
    let mut consumer = broker.consumer().await.unwrap();
    let messages = receive(consumer.as_mut(), 1).await;
    assert!(broker.backlog().await.unwrap() == 1 && !broker.is_drained().await.unwrap());
    consumer.settle(&ids(&messages)).await.unwrap();
    // A service hears of it a moment later.
    support::eventually("nothing is left", async || {
        broker.backlog().await.unwrap() == 0 && broker.is_drained().await.unwrap()
    })
    .await;
}

async fn a_message_that_waits_keeps_nobody_waiting(backend: impl Backend) {
    let broker = backend.open().await;
    retry(&broker, [later("in an hour", 1, 3_600_000), later("at once", 1, 0)]).await;
    let mut consumer = broker.consumer().await.unwrap();
    assert_eq!(bodies(&receive(consumer.as_mut(), 1).await), [b"at once"]);
    publish(&broker, 0..3).await;
    let messages = receive(consumer.as_mut(), 3).await;
    assert_eq!(bodies(&messages), [b"0", b"1", b"2"]);
    assert!(messages.iter().all(|message| message.attempts == 0 && message.origin.is_none()));
}

async fn a_dropped_consumer_gives_back_what_was_to_be_tried_again(backend: impl Backend) {
    let broker = backend.open().await;
    retry(&broker, [later("x", 4, 0)]).await;
    let mut lost = broker.consumer().await.unwrap();
    receive(lost.as_mut(), 1).await;
    let mut other = broker.consumer().await.unwrap();
    assert!(receives_nothing_now(other.as_mut()).await);
    drop(lost);
    let again = receive(other.as_mut(), 1).await.remove(0);
    assert_eq!((&again.payload[..], again.attempts, again.redeliveries), (&b"x"[..], 4, 1));
}

async fn messages_of_any_size_and_content_survive_the_wait(backend: impl Backend) {
    let large: Vec<u8> =
        (0..backend.largest()).map(|byte| ((byte as u32).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let broker = backend.open().await;
    for body in [Vec::new(), b"\0\xff\n".to_vec(), large] {
        retry(&broker, [later(body.clone(), 1, 0)]).await;
        let mut consumer = broker.consumer().await.unwrap();
        let received = receive(consumer.as_mut(), 1).await;
        assert!(received[0].payload == body, "{} bytes", body.len());
        consumer.settle(&ids(&received)).await.unwrap();
    }
}

/// Without the admin API the end is known from what this process itself did.
#[tokio::test]
async fn pulsar_is_not_drained_while_a_message_waits_without_the_admin_api() {
    let mut options = support::pulsar::options(&support::pulsar::topic());
    options.admin_url = None;
    let broker: Arc<dyn Broker> = Arc::new(pulsehub::broker::pulsar::PulsarBroker::new(options).unwrap());
    publish(&broker, 0..1).await;
    let mut consumer = broker.consumer().await.unwrap();
    let messages = receive(consumer.as_mut(), 1).await;
    retry(&broker, [later("x", 1, 500)]).await;
    consumer.settle(&ids(&messages)).await.unwrap();
    assert!(!broker.is_drained().await.unwrap());
    let messages = receive(consumer.as_mut(), 1).await;
    consumer.settle(&ids(&messages)).await.unwrap();
    assert!(broker.is_drained().await.unwrap());
}
