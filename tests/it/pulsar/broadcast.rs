//! The topic that every reader sees whole.

use pulsehub::broker::pulsar::PulsarBroker;
use pulsehub::broker::{BatchBuilder, Broadcast, Producer, Reader};

use crate::support::PATIENCE;
use crate::support::pulsar as service;

async fn publish(producer: &dyn Producer, numbers: std::ops::Range<u32>) {
    let mut batch = BatchBuilder::default();
    numbers.for_each(|number| batch.push(&[number.to_string().as_bytes()]));
    producer.publish(batch.build()).await.unwrap();
}

async fn read(reader: &mut dyn Reader, count: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let read = tokio::time::timeout(PATIENCE, reader.read()).await.expect("messages in time").unwrap();
        numbers.extend(read.iter().map(|body| std::str::from_utf8(body).unwrap().parse::<u32>().unwrap()));
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reader_sees_what_was_published_since_it_began() {
    let (topic, broker) = (service::topic(), PulsarBroker::new(service::options(&service::topic())).unwrap());
    let broadcast = broker.broadcast(&topic).unwrap();
    let producer = broadcast.producer().await.unwrap();
    let mut first = broadcast.reader().await.unwrap();
    publish(producer.as_ref(), 0..50).await;
    let mut second = broadcast.reader().await.unwrap();
    publish(producer.as_ref(), 50..3_000).await;
    assert_eq!(read(first.as_mut(), 3_000).await, (0..3_000).collect::<Vec<_>>());
    assert_eq!(read(second.as_mut(), 2_950).await, (50..3_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whose_connection_ends_misses_and_repeats_nothing() {
    let topic = service::topic();
    let broker = PulsarBroker::new(service::options(&service::topic())).unwrap();
    let broadcast = broker.broadcast(&topic).unwrap();
    let producer = broadcast.producer().await.unwrap();
    let mut reader = broadcast.reader().await.unwrap();
    for round in 0..4 {
        let numbers = round * 1_000..(round + 1) * 1_000;
        // The broker ends all connections to the topic. What is published before the reader is back counts too.
        service::unload(&topic).await;
        publish(producer.as_ref(), numbers.clone()).await;
        assert_eq!(read(reader.as_mut(), 1_000).await, numbers.collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_ends_with_its_broker() {
    let broker = PulsarBroker::new(service::options(&service::topic())).unwrap();
    let mut reader = broker.broadcast(&service::topic()).unwrap().reader().await.unwrap();
    pulsehub::broker::Broker::close(&broker).await.unwrap();
    let read = tokio::time::timeout(PATIENCE, reader.read()).await.expect("its end in time");
    assert!(!read.unwrap_err().is_retryable());
}
