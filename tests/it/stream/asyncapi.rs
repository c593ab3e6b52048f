//! `/asyncapi.yaml`: every message that is really sent or taken is as the document says.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use futures_util::SinkExt;
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Message;
use yaml_rust2::{Yaml, YamlLoader};

use super::{Events, World};
use crate::process::get;
use crate::tap::{event, opened_in, pull_request};

fn to_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Hash(members) => {
            let name = |key: &Yaml| key.as_str().expect("names are text").to_owned();
            Value::Object(
                members.iter().map(|(key, value)| (name(key), to_json(value))).collect::<Map<_, _>>(),
            )
        }
        Yaml::Array(items) => items.iter().map(to_json).collect(),
        Yaml::String(text) => text.as_str().into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Boolean(flag) => (*flag).into(),
        Yaml::Real(_) => yaml.as_f64().into(),
        Yaml::Null => Value::Null,
        other => panic!("{other:?}"),
    }
}

fn parse(text: &str) -> Value {
    to_json(&YamlLoader::load_from_str(text).unwrap()[0])
}

/// What is to be checked: the name of a schema, and a value.
type Check = (&'static str, Value);

/// The fault of each value by its schema of the document; `None` where there is none.
fn faults(document: &Value, checks: &[Check]) -> Vec<Option<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/stream/validate.py");
    let has_validator = |python: &&str| {
        let tried = Command::new(python).args(["-c", "import jsonschema"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    // The first in the path may be another one than that of Debian's packages.
    let python = ["python3", "/usr/bin/python3"].into_iter().find(has_validator);
    let python = python.expect("scripts/ensure jsonschema=python3-jsonschema");
    let mut validator =
        Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let input = json!({ "schemas": document["components"]["schemas"], "checks": checks }).to_string();
    validator.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = validator.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Each of `messages` is as the schema of its type.
fn assert_valid(document: &Value, messages: &[Value]) {
    const TYPES: [&str; 8] =
        ["subscribe", "subscribed", "event", "gap", "snapshot", "difference", "heartbeat", "error"];
    let check = |message: &Value| {
        let kind = TYPES.into_iter().find(|kind| message["type"] == *kind);
        (kind.unwrap_or_else(|| panic!("no such type: {message}")), message.clone())
    };
    let checks: Vec<_> = messages.iter().map(check).collect();
    for (fault, (_, message)) in faults(document, &checks).iter().zip(&checks) {
        assert!(fault.is_none(), "{message}: {fault:?}");
    }
}

fn here() -> Value {
    parse(include_str!("../../../src/server/stream/asyncapi.yaml"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_real_message_is_as_the_document_says() {
    let world = World::new().await;
    let answer = get(&world.url("/asyncapi.yaml")).await;
    assert_eq!(answer.headers()["content-type"], "application/yaml");
    let document = parse(&answer.text().await.unwrap());
    let both = json!(["counts", "languages"]);
    let subscriptions = [
        json!({ "type": "subscribe", "snapshots": both, "id": "1" }),
        json!({ "type": "subscribe", "snapshots": both, "since": "0.0", "fields": ["event.id", "payload"] }),
        json!({ "type": "subscribe", "delivery": "latest", "intervalMs": 100, "ratio": 0.9, "bots": "without" }),
    ];
    let (mut streams, mut messages) = (Vec::new(), subscriptions.to_vec());
    for subscription in subscriptions {
        let (stream, answer) = world.subscribe(subscription).await;
        messages.push(answer.clone());
        streams.push((stream, answer));
    }
    let mut events: Vec<_> = (1..50).map(|id| opened_in(id, "C")).collect();
    events.extend([event(50, "WatchEvent"), pull_request(51, "labeled"), pull_request(52, "merged")]);
    world.tap.pour(&events);
    for (stream, _) in &mut streams {
        stream.0.0.send(Message::text(r#"{"type":"subscribe","id":"2","every":-1}"#)).await.unwrap();
        stream.0.0.send(Message::text("{")).await.unwrap();
        let mut heartbeats = 0;
        while heartbeats < 2 {
            let message = stream.0.json().await;
            heartbeats += u32::from(message["type"] == "heartbeat");
            messages.push(message);
        }
    }
    // What was understood can be asked for again.
    let understood = &streams[1].1["subscription"];
    let mut again = understood.clone();
    again["type"] = "subscribe".into();
    messages.push(again.clone());
    let (_, answer) = world.subscribe(again).await;
    assert_eq!(answer["subscription"], *understood);
    assert_valid(&document, &messages);
    let seen: BTreeSet<_> =
        messages.iter().map(|message| (message["type"].as_str(), message["of"].as_str())).collect();
    let expected = [
        ("difference", Some("counts")),
        ("difference", Some("languages")),
        ("error", None),
        ("event", None),
        ("gap", None),
        ("heartbeat", None),
        ("snapshot", Some("counts")),
        ("snapshot", Some("languages")),
        ("subscribe", None),
        ("subscribed", None),
    ];
    assert_eq!(seen, expected.map(|(kind, of)| (Some(kind), of)).into());
}

#[test]
fn the_document_refuses_what_the_server_refuses() {
    let refused = [
        ("subscribe", json!({})),
        ("subscribe", json!({ "type": "subscribe", "colour": "red" })),
        ("subscribe", json!({ "type": "subscribe", "every": 0 })),
        ("subscribe", json!({ "type": "subscribe", "ratio": 0 })),
        ("subscribe", json!({ "type": "subscribe", "types": "PushEvent" })),
        ("subscribe", json!({ "type": "subscribe", "intervalMs": 99 })),
        ("subscribe", json!({ "type": "subscribe", "snapshots": ["people"] })),
        ("subscribe", json!({ "type": "subscribe", "since": "yesterday" })),
        ("event", json!({ "type": "event", "cursor": "1.0", "data": {} })),
        ("event", json!({ "type": "event", "cursor": "1", "data": { "event.id": "1" } })),
        ("day", json!("2026-02-30")),
    ];
    for (fault, (_, value)) in faults(&here(), &refused).iter().zip(&refused) {
        assert!(fault.is_some(), "{value}");
    }
}

/// Every `$ref` of a document.
fn references<'d>(value: &'d Value, found: &mut Vec<&'d str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn the_document_is_whole_and_its_examples_are_valid() {
    let document = here();
    assert_eq!(document["asyncapi"], "3.0.0");
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 30);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut examples = Vec::new();
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        assert_eq!(message["payload"]["$ref"], format!("#/components/schemas/{name}"));
        assert!(!document["channels"]["stream"]["messages"][name].is_null(), "{name} is in no channel");
        examples.extend(
            message["examples"].as_array().into_iter().flatten().map(|example| example["payload"].clone()),
        );
    }
    // Those of the documentation are real, too.
    let documentation = include_str!("../../../docs/stream.md");
    let blocks = documentation.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    for message in blocks.flat_map(|block| serde_json::Deserializer::from_str(block).into_iter::<Value>()) {
        let mut message = message.unwrap();
        // Shortened for readers.
        if !message["data"]["event"].is_null() {
            message["data"]["event"]["created_at"] = "".into();
        }
        examples.push(message);
    }
    assert!(examples.len() > 12, "{}", examples.len());
    assert_valid(&document, &examples);
}

/// Names and ids are those of the messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_sent_events_are_as_the_document_says() {
    let world = World::new().await;
    let mut events = Events::connect(&world.url("/stream?snapshots=counts,languages&since=0.0"), None).await;
    world.tap.pour([&opened_in(1, "C")]);
    let (mut names, mut messages) = (BTreeSet::new(), Vec::new());
    while !names.contains("event") {
        let sent = events.next().await.unwrap();
        assert_eq!(sent.id.is_some(), sent.data.get("cursor").is_some());
        names.insert(sent.name);
        messages.push(sent.data);
    }
    assert!(names.len() >= 5, "{names:?}");
    assert_valid(&here(), &messages);
}
