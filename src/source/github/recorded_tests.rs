//! Recorded pages through the real broker and the real memory of published events.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::watch;

use super::harness::{eventually, feed, json, poller, settings};
use crate::broker::Broker;
use crate::broker::embedded::{EmbeddedBroker, LogOptions};
use crate::clock::{Clock, SystemClock};
use crate::domain::github::message;
use crate::storage::Storage;

fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/events_api").join(name);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("the recorded pages are missing: {}: {error}", path.display()))
}

/// Polls `pages`, three a round, through the embedded broker; returns the ids on the topic.
async fn ids_published(pages: Vec<String>) -> Vec<i64> {
    let rounds = u32::try_from(pages.len().div_ceil(3)).unwrap();
    // How often each page was asked for.
    let asked = Arc::new([const { AtomicU32::new(0) }; 3]);
    let answered = asked.clone();
    let server = feed(move |page, nth, _| {
        answered[page as usize - 1].store(nth, Ordering::SeqCst);
        let at = usize::try_from(nth * 3 + page - 1).unwrap();
        pages.get(at).map_or_else(|| json("[]"), |page| json(page.as_str()))
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let broker = EmbeddedBroker::open(directory.path(), &storage, LogOptions::default(), &clock).unwrap();
    let broker: Arc<dyn Broker> = Arc::new(broker);
    let (trigger, shutdown) = crate::shutdown::channel();
    let settings = watch::channel(settings(&["t"])).1;
    let poller = poller(&server.uri(), settings, &storage, broker.clone(), &shutdown).await;
    let task = tokio::spawn(poller.run(shutdown));
    eventually("all rounds", || asked.iter().all(|page| page.load(Ordering::SeqCst) > rounds)).await;
    trigger.trigger();
    task.await.unwrap().unwrap();
    let (mut consumer, mut ids) = (broker.consumer().await.unwrap(), Vec::new());
    while broker.backlog().await.unwrap() > 0 {
        let messages = consumer.receive(1000).await.unwrap();
        let id = |message: &crate::broker::Message| {
            let raw = message::unwrap(&message.payload).unwrap();
            crate::event::Event::parse(raw).unwrap().id.unwrap()
        };
        ids.extend(messages.iter().map(id));
        consumer.settle(&messages.iter().map(|message| message.id).collect::<Vec<_>>()).await.unwrap();
    }
    ids
}

fn distinct(mut ids: Vec<i64>) -> usize {
    ids.sort_unstable();
    ids.dedup();
    ids.len()
}

#[tokio::test]
async fn recorded_pages_of_2019_are_published_once() {
    let pages = (2..=11).map(|number| recorded(&format!("hub4j-2019-pages/{number}-events.json"))).collect();
    let ids = ids_published(pages).await;
    assert_eq!(ids.len(), 155, "281 events, of which 155 are distinct");
    assert_eq!(distinct(ids), 155);
}

#[tokio::test]
async fn recorded_pages_of_2016_are_published_once() {
    let name =
        "octokit-2016/1e26a4d2__public_events_when_use_manual_pagination_returns_all_public_events.json";
    let cassette: serde_json::Value = serde_json::from_str(&recorded(name)).unwrap();
    let interactions = cassette["http_interactions"].as_array().unwrap();
    let body = |interaction: &serde_json::Value| {
        let encoded = interaction["response"]["body"]["base64_string"].as_str().unwrap();
        String::from_utf8(base64(encoded)).unwrap()
    };
    let ids = ids_published(interactions.iter().map(body).collect()).await;
    assert_eq!(ids.len(), 261, "300 events, of which 261 are distinct");
    assert_eq!(distinct(ids), 261);
}

/// RFC 4648, section 4.
fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    let sextets = text.bytes().filter_map(|byte| ALPHABET.iter().position(|&letter| letter == byte));
    for sextet in sextets {
        (bits, held) = (bits << 6 | u32::try_from(sextet).unwrap(), held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    bytes
}
