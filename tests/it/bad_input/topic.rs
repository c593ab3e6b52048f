//! Messages on the topic that are no events: they become dead letters, and their neighbours are counted.

use std::sync::Arc;
use std::time::Duration;

use pulsehub::app::{self, Source};
use pulsehub::broker::pulsar::PulsarBroker;
use pulsehub::broker::{BatchBuilder, Broker, dead_letter};
use pulsehub::event::Rejection::{Incomplete, Malformed, NoIdentity};
use pulsehub::live::Feed;
use pulsehub::shutdown;
use pulsehub::source::replay::Summary;
use pulsehub::state::State;
use pulsehub::worker::{Live, Worker};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{changed, event, letters, outcome, without};
use crate::support::redis::{connect, prefix, settings, shared_server, state};
use crate::support::{TestApp, eventually, pulsar as service};

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

/// With real engines, and everything in one batch; the pauses between attempts are short.
#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_on_pulsar_end_in_the_dead_letters_and_cost_their_neighbours_nothing() {
    const SOON: &[Duration] = &[Duration::from_millis(20); 4];
    let (prefix, topic, app) = (prefix(), service::topic(), TestApp::new());
    let state = state(&settings(&shared_server(), &prefix));
    // On this day the script fails.
    let mut redis = connect(&shared_server()).await;
    let planted = redis::cmd("LPUSH").arg(format!("{prefix}ph:merge:2026-01-03")).arg("x").to_owned();
    planted.query_async::<u64>(&mut redis).await.unwrap();
    let mut options = service::options(&topic);
    options.subscription = "workers".to_owned();
    let broker = Arc::new(PulsarBroker::new(options).unwrap());
    let worker = Worker {
        enrichment: None,
        broker: broker.clone(),
        state: state.clone(),
        history: None,
        seeder: None,
        live: Live::Memory(Arc::new(Feed::default())),
        status: Arc::default(),
        alerts: app::alerts(&app.config, app.clock.clone()),
        refusals: Arc::default(),
        turn: Arc::default(),
        pauses: SOON,
        clock: app.clock.clone(),
        live_max_age: watch::channel(None).1,
        twins: false,
    };
    let (trigger, shutdown) = shutdown::channel();
    let working = tokio::spawn(worker.run(shutdown));

    let wrapped =
        |event: &str| json!({"event": serde_json::from_str::<Value>(event).unwrap(), "payload": {}});
    let long = |n| event(n).replace("user", &"x".repeat(5_000_000));
    let of_the_predecessor =
        json!({"event": serde_json::from_str::<Value>(&event(1)).unwrap(), "payload": {"pr": 1}});
    let of_2012 = json!({"event": {"type": "PullRequestEvent", "actor": "someone", "created_at": "2012-06-14T15:00:00-07:00"}});
    let messages = [
        wrapped(&event(0)).to_string(),
        "not json".to_owned(),
        of_the_predecessor.to_string(),
        wrapped(&without(30, "/actor")).to_string(),
        wrapped(&event(2)).to_string(),
        of_2012.to_string(),
        wrapped(&long(3)).to_string(),
        "[".repeat(5_000_000),
        wrapped(&event(4)).to_string(),
        wrapped(&changed(31, "/created_at", json!("2026-01-03T00:00:00Z"))).to_string(),
        wrapped(&event(5)).to_string(),
    ];
    let mut batch = BatchBuilder::default();
    messages.iter().for_each(|message| batch.push(&[message.as_bytes()]));
    broker.producer().await.unwrap().publish(batch.build()).await.unwrap();
    eventually("all is settled", async || broker.is_drained().await.unwrap()).await;
    trigger.trigger();
    working.await.unwrap().unwrap();

    assert_eq!(state.snapshot(2026).await.unwrap().sums.additions, 0b11_1111);
    let mut letters = dead_letter::list(broker.as_ref(), 100).await.unwrap();
    letters.sort_by_key(|letter| (letter.attempts, letter.body_bytes));
    let found: Vec<_> =
        letters.iter().map(|letter| (letter.reason.as_str(), letter.attempts, letter.body_bytes)).collect();
    let rejected = [Malformed, NoIdentity, Incomplete, Malformed].map(|reason| reason.to_string());
    let of = |n: usize, index: usize| (rejected[n].as_str(), 1, messages[index].len());
    assert_eq!(found[..4], [of(0, 1), of(1, 5), of(2, 3), of(3, 7)]);
    let (reason, attempts, bytes) = found[4];
    assert!(reason.starts_with("the state refuses it: ") && reason.contains("WRONGTYPE"), "{reason}");
    assert_eq!((found.len(), attempts, bytes), (5, 5, messages[9].len()));
    assert!(letters[4].origin.ends_with("event 9000000031"), "{}", letters[4].origin);
    assert!(letters.iter().all(|letter| letter.origin.starts_with("message ")), "{letters:?}");
}
