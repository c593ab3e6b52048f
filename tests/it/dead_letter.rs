//! `pulsehub dead-letter` as operators use it: on both brokers, with and without a process that holds the data.

use std::path::Path;
use std::process::{Command, Output};

use pulsehub::broker::pulsar::PulsarBroker;
use pulsehub::broker::{BatchBuilder, Broker};
use serde_json::{Value, json};

use crate::process::{Process, command, get, stderr, stdout};
use crate::support::pulsar as service;
use crate::support::{TestApp, eventually, text};

fn pull_request(id: u64) -> Value {
    json!({
        "id": id.to_string(), "type": "PullRequestEvent", "created_at": "2026-06-15T10:00:00Z",
        "actor": {"id": id, "login": "someone"}, "repo": {"id": 2, "name": "some/thing"},
        "payload": {"action": "opened", "number": 1, "pull_request": {"id": id}},
    })
}

/// Lines that are no events between two that are.
fn archive(directory: &Path) -> String {
    let path = directory.join("events.json");
    let lines = format!("{}\nhello\u{7}\n[]\n{}\n", pull_request(1), pull_request(2));
    std::fs::write(&path, lines).unwrap();
    text(&path)
}

struct Place {
    directory: tempfile::TempDir,
    /// The topic on Pulsar, where it is used.
    topic: Option<String>,
}

impl Place {
    fn new(topic: Option<String>) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), topic }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(self.directory.path(), args);
        if let Some(topic) = &self.topic {
            command.env("PULSEHUB__PULSAR__DEVHOST", service::url());
            command.env("PULSEHUB__PULSAR__ADMINURL", service::admin_url());
            command.env("PULSEHUB__PULSAR__PRODUCER__TOPIC", topic);
            command.env("PULSEHUB__PULSAR__CONSUMER__TOPIC", topic);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        output
    }

    fn list(&self) -> Vec<Value> {
        serde_json::from_str(&stdout(&self.run(&["dead-letter", "list"]))).unwrap()
    }
}

fn reasons(letters: &[Value]) -> Vec<&str> {
    letters.iter().map(|letter| letter["reason"].as_str().unwrap()).collect()
}

/// Lists and replays what a replay of an archive left.
fn assert_listed_and_replayed(place: &Place) {
    let listed = place.list();
    assert_eq!(reasons(&listed), ["malformed JSON", "JSON, but not an event"]);
    assert_eq!((&listed[0]["body"], &listed[0]["bodyBytes"]), (&json!("hello\u{7}"), &json!(6)));
    assert_eq!((&listed[1]["body"], &listed[1]["attempts"]), (&json!("[]"), &json!(1)));
    assert!(listed[0]["origin"].as_str().unwrap().contains("events.json"), "{listed:?}");
    let time: jiff::Timestamp = listed[0]["time"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(time).as_secs() < 120, "{time}");
    let table = stdout(&place.run(&["dead-letter", "list", "--format", "table", "--limit", "1"]));
    assert!(table.contains("malformed JSON") && table.lines().count() == 2, "{table}");
    assert!(table.contains("hello\u{fffd}") && !table.contains('\u{7}'), "{table}");

    let none = place.run(&["dead-letter", "replay", "--reason", "nothing of the kind"]);
    assert_eq!(stdout(&none), "0 replayed\n");
    let one = place.run(&["dead-letter", "replay", "--reason", "malformed"]);
    assert_eq!(stdout(&one), "1 replayed\n");
    assert_eq!(reasons(&place.list()), ["JSON, but not an event"]);
}

#[test]
fn letters_of_the_embedded_broker_are_listed_and_replayed_while_nobody_holds_them() {
    let place = Place::new(None);
    assert!(place.list().is_empty());
    assert_eq!(stdout(&place.run(&["dead-letter", "replay"])), "0 replayed\n");
    let entries = std::fs::read_dir(place.directory.path()).unwrap().count();
    assert_eq!(entries, 0, "asking creates nothing");
    place.run(&["replay", "--exit", &archive(place.directory.path())]);
    assert_listed_and_replayed(&place);
}

#[test]
fn letters_on_pulsar_are_listed_and_replayed() {
    let place = Place::new(Some(service::topic()));
    place.run(&["replay", "--exit", &archive(place.directory.path())]);
    assert_listed_and_replayed(&place);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_holds_the_data_lists_and_replays_for_others() {
    let place = Place::new(None);
    let events = archive(place.directory.path());
    let mut process = Process::start(place.command(&["replay", &events]));
    let admin = process.admin().await;
    let metric =
        async |line: &str| get(&format!("http://{admin}/metrics")).await.text().await.unwrap().contains(line);
    eventually("all is counted", async || metric("pulsehub_events_applied_total 2\n").await).await;
    let listed = place.list();
    assert_eq!(reasons(&listed), ["malformed JSON", "JSON, but not an event"]);
    assert_eq!(stdout(&place.run(&["dead-letter", "replay", "--limit", "1"])), "1 replayed\n");
    // The worker refuses it again, with what is known then.
    eventually("it comes back", async || place.list().len() == 2).await;
    let again = place.list().remove(1);
    assert_eq!((&again["body"], &again["reason"]), (&json!("hello\u{7}"), &json!("malformed JSON")));
    assert!(again["origin"].as_str().unwrap().starts_with("message "), "{again}");
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
}

#[test]
fn an_absent_pulsar_is_unavailable() {
    let place = Place::new(Some("nowhere".to_owned()));
    let mut command = place.command(&["dead-letter", "list"]);
    let output = command.env("PULSEHUB__PULSAR__DEVHOST", "pulsar://127.0.0.1:9").output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    assert!(stderr(&output).contains("Pulsar"), "{}", stderr(&output));
}

/// A letter of a message that became sound meanwhile: here one whose body was sound all along.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_letter_is_counted_once_however_often_it_is_replayed() {
    let app = service::app();
    let topic = app.config.pulsar.consumer.topic.clone();
    let mut options = service::options(&topic);
    options.subscription.clone_from(&app.config.pulsar.consumer.name);
    let broker = PulsarBroker::new(options).unwrap();
    let body = json!({"event": pull_request(1), "payload": {}}).to_string();
    let letter = pulsehub::broker::DeadLetter {
        reason: "the state refuses it".to_owned(),
        origin: "message 1".to_owned(),
        attempts: 5,
        whole_bytes: body.len(),
        body: body.clone().into(),
    };
    broker.dead_letter(vec![letter.clone(), letter]).await.unwrap();
    let mut batch = BatchBuilder::default();
    batch.push(&[body.as_bytes()]);
    broker.producer().await.unwrap().publish(batch.build()).await.unwrap();
    let replayed = pulsehub::broker::dead_letter::replay(&broker, "", usize::MAX).await.unwrap();
    assert_eq!(replayed.replayed, 2);
    let running = app.start(pulsehub::app::Source::None).await;
    eventually("all is settled", async || broker.is_drained().await.unwrap()).await;
    running.stop().await;
    let stats = TestApp::stats(&app, 2026).await;
    assert_eq!(stats["daily"]["2026-06-15"]["open"], 1);
}
