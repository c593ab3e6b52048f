//! The pipeline on Pulsar: known answers, other programs' messages, large ones, a broker that dies or stands still.

mod absent;
mod access;
mod broadcast;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use flate2::{Compression, write::GzEncoder};
use pulsar::ProducerOptions;
use pulsar::compression::{Compression as Packing, CompressionSnappy, CompressionZlib};
use pulsehub::app::Source;
use pulsehub::broker::pulsar::{MAX_MESSAGE_BYTES, PulsarBroker};
use pulsehub::broker::{BatchBuilder, Broker, Consumer, Message};
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::pulsar::{self as service, Standalone};
use crate::support::{PATIENCE, TestApp, eventually, text, twelve_hours};

/// Counters of the twelve recorded hours, as two independent programs counted them.
fn assert_known_answers(stats: &Value) {
    let day = &stats["daily"]["2016-01-01"];
    assert_eq!(*day, json!({"event": 5041, "open": 2733, "merge": 1938, "close": 370, "dev": 2440}));
    let sum = json!({"dev": 2440, "repo": 2439, "additions": 1_107_911, "deletions": 391_224});
    assert_eq!(stats["sum"], sum);
}

fn pull_request(id: u32) -> Value {
    json!({
        "id": id.to_string(), "type": "PullRequestEvent", "created_at": "2026-11-01T10:00:00Z",
        "actor": {"id": 1, "login": "someone"}, "repo": {"id": 2, "name": "some/thing"},
        "payload": {"action": "opened", "number": 1, "pull_request": {"id": id}},
    })
}

fn archive(directory: &Path, events: &[Value]) -> String {
    let path = directory.join("events.json.gz");
    let mut gzip = GzEncoder::new(std::fs::File::create(&path).unwrap(), Compression::fast());
    events.iter().for_each(|event| writeln!(gzip, "{event}").unwrap());
    gzip.finish().unwrap();
    text(&path)
}

fn opened(stats: &Value) -> &Value {
    &stats["daily"]["2026-11-01"]["open"]
}

async fn receive(consumer: &mut dyn Consumer, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let received = tokio::time::timeout(PATIENCE, consumer.receive(count - messages.len())).await;
        messages.extend(received.expect("messages in time").unwrap());
    }
    messages
}

async fn publish(broker: &PulsarBroker, messages: impl IntoIterator<Item = String>) {
    let mut batch = BatchBuilder::default();
    messages.into_iter().for_each(|message| batch.push(&[message.as_bytes()]));
    broker.producer().await.unwrap().publish(batch.build()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_hours_through_pulsar_give_the_known_answers() {
    let app = service::app();
    let summary = app.replay(twelve_hours()).await;
    assert_eq!(summary.submitted.published, 143_714);
    assert_known_answers(&app.stats(2016).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_ends_without_the_admin_api_once_it_is_settled() {
    let mut app = service::app();
    app.config.pulsar.admin_url = None;
    app.replay(twelve_hours()).await;
    assert_known_answers(&app.stats(2016).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_other_programs_are_counted_or_dead_lettered() {
    let app = service::app();
    let topic = app.config.pulsar.consumer.topic.clone();
    let running = app.start(Source::None).await;
    let broker = PulsarBroker::new(service::options(&topic)).unwrap();
    // The predecessor's form, with its numbers; batched, not batched, and compressed in each way that others use.
    let message = |id| json!({"event": pull_request(id), "payload": {"pr": 1, "open": 7}}).to_string();
    let packings =
        [None, Some(Packing::Zlib(CompressionZlib::default())), Some(Packing::Snappy(CompressionSnappy {}))];
    for (id, compression) in (1..).zip(packings) {
        let options = ProducerOptions { compression, ..ProducerOptions::default() };
        let builder = service::client().await.producer().with_topic(&topic).with_options(options);
        let mut producer = builder.build().await.unwrap();
        producer.send_non_blocking(message(id)).await.unwrap().await.unwrap();
        for foreign in ["hello".to_owned(), "{}".to_owned(), json!({"event": {"id": 5}}).to_string()] {
            producer.send_non_blocking(foreign).await.unwrap().await.unwrap();
        }
    }
    let batch = [message(4), "\u{0}".to_owned(), message(5)];
    publish(&broker, batch).await;
    let letters = service::dead_letters(&topic, 10).await;
    assert!(letters.iter().all(|letter| letter["attempts"] == 1), "{letters:?}");
    assert_eq!(letters.iter().filter(|letter| letter["body"] == "hello").count(), 3);
    running.stop().await;
    assert_eq!(*opened(&app.stats(2026).await), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pulsar_cannot_take_is_dead_lettered_and_its_neighbours_are_counted() {
    let app = service::app();
    let of_length = |id, length: usize| {
        let mut event = pull_request(id);
        event["padding"] = String::from_utf8(incompressible(length)).unwrap().into();
        event
    };
    let events =
        [pull_request(1), of_length(2, 5_300_000), pull_request(3), of_length(4, 5_000_000), pull_request(5)];
    let summary = app.replay([archive(app.directory(), &events)]).await;
    assert_eq!((summary.submitted.published, summary.submitted.rejected), (4, 1));
    assert_eq!(*opened(&app.stats(2026).await), 4);
    let letters = service::dead_letters(&app.config.pulsar.consumer.topic, 1).await;
    assert_eq!(letters[0]["reason"], "longer than an event may be");
    assert!(letters[0]["body"].as_str().unwrap().len() == 1 << 20);
    let broker = PulsarBroker::new(service::options(&service::topic())).unwrap();
    let mut batch = BatchBuilder::default();
    batch.push(&[&vec![b'a'; MAX_MESSAGE_BYTES + 1]]);
    let refused = broker.producer().await.unwrap().publish(batch.build()).await.unwrap_err();
    assert!(!refused.is_retryable(), "{refused}");
}

/// Letters that no compression makes shorter than they are worth.
fn incompressible(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[(state >> 58) as usize]
    };
    (0..length).map(letter).collect()
}

#[tokio::test]
async fn settling_one_message_of_a_batch_does_not_settle_the_others() {
    let topic = service::topic();
    // Two brokers that know nothing of each other, as in two processes.
    let first = PulsarBroker::new(service::options(&topic)).unwrap();
    publish(&first, (0..10).map(|number| number.to_string())).await;
    let mut consumer = first.consumer().await.unwrap();
    let messages = receive(consumer.as_mut(), 10).await;
    consumer.settle(&[messages[0].id, messages[9].id]).await.unwrap();
    assert!(first.backlog().await.unwrap() > 0);
    drop(consumer);
    first.close().await.unwrap();
    let second = PulsarBroker::new(service::options(&topic)).unwrap();
    let mut consumer = second.consumer().await.unwrap();
    let again = receive(consumer.as_mut(), 10).await;
    let bodies: Vec<_> = again.iter().map(|message| message.payload[0] - b'0').collect();
    assert_eq!(bodies, (0..10).collect::<Vec<_>>());
    consumer.settle(&again.iter().map(|message| message.id).collect::<Vec<_>>()).await.unwrap();
    eventually("all is settled", async || second.backlog().await.unwrap() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_and_a_consumer_are_made_again_whenever_pulsar_ends_them() {
    let topic = service::topic();
    let broker = PulsarBroker::new(service::options(&topic)).unwrap();
    let (producer, mut consumer) = (broker.producer().await.unwrap(), broker.consumer().await.unwrap());
    let mut seen = BTreeSet::new();
    for round in 0..3 {
        let mut batch = BatchBuilder::default();
        (0..10).for_each(|number| batch.push(&[format!("{round}.{number}").as_bytes()]));
        producer.publish(batch.build()).await.unwrap();
        // An acknowledgement may be lost with its connection: then they come again.
        eventually("all is delivered and settled", async || {
            let waited = Duration::from_millis(200);
            if let Ok(messages) = tokio::time::timeout(waited, consumer.receive(10)).await {
                let messages = messages.unwrap();
                seen.extend(messages.iter().map(|message| message.payload.to_vec()));
                consumer
                    .settle(&messages.iter().map(|message| message.id).collect::<Vec<_>>())
                    .await
                    .unwrap();
            }
            // While the topic is not loaded again the admin API may answer 500.
            seen.len() == 10 * (round + 1) && broker.backlog().await.is_ok_and(|backlog| backlog == 0)
        })
        .await;
        service::unload(&topic).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_under_a_replay_loses_nothing() {
    let standalone = tokio::task::spawn_blocking(Standalone::start).await.unwrap();
    let mut app = TestApp::new();
    let (url, admin_url) = standalone.urls();
    service::configure(&mut app.config, url, Some(admin_url));
    let mut running = app.start(app.replay_of(twelve_hours())).await;
    let status = format!("http://{}/api/v1/status", running.public.unwrap());
    eventually("something is counted", async || {
        let answer: Value = reqwest::get(&status).await.unwrap().json().await.unwrap();
        answer["seq"].as_i64().unwrap() > 0
    })
    .await;
    let restarted = tokio::task::spawn_blocking(move || {
        standalone.kill();
        standalone.restart();
        standalone
    });
    // How long a restart takes is the machine's affair.
    let _standalone = restarted.await.unwrap();
    let summary = running.replayed();
    let summary = tokio::time::timeout(PATIENCE * 6, summary).await.expect("the end of the replay in time");
    let submitted = summary.unwrap().unwrap().submitted;
    running.stop().await;
    assert_eq!((submitted.published, submitted.duplicates), (143_714, 0));
    assert_known_answers(&app.stats(2016).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_stands_still_is_made_again() {
    // An admin API that always knows of a backlog that nobody holds.
    let admin = MockServer::start().await;
    let stats =
        json!({"subscriptions": {"workers": {"msgBacklog": 3, "unackedMessages": 0, "consumers": []}}});
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_json(stats))
        .mount(&admin)
        .await;
    let mut options = service::options(&service::topic());
    options.admin_url = Some(admin.uri());
    options.stall_after = Duration::from_millis(100);
    let broker = PulsarBroker::new(options).unwrap();
    let mut consumer = broker.consumer().await.unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(2), consumer.receive(1));
    assert!(waited.await.is_err());
    assert!(admin.received_requests().await.unwrap().len() >= 2);
    publish(&broker, ["after".to_owned()]).await;
    assert_eq!(receive(consumer.as_mut(), 1).await[0].payload, "after");
}
