//! `/asyncapi.yaml`: every message that is really sent or taken is as the document says.

use std::collections::HashMap;

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use futures_util::SinkExt;
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Message;
use yaml_rust2::{Yaml, YamlLoader};

use super::{Events, World};
use crate::process::get;
use crate::tap::{event, opened_in, pull_request};

/// Where the document is said to be.
const LOCATION: &str = "http://pulsehub.test/asyncapi.json";

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

/// The document's schemas, which AsyncAPI has in the language of JSON Schema's draft 7.
struct Schema {
    document: Value,
    known: HashMap<String, SchemaIndex>,
    schemas: Schemas,
}

impl Schema {
    fn new(document: Value) -> Self {
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.set_default_draft(Draft::V7);
        compiler.enable_format_assertions();
        compiler.add_resource(LOCATION, document.clone()).unwrap();
        let names = document["components"]["schemas"].as_object().unwrap().keys();
        let mut compile = |name: &String| {
            let index = compiler.compile(&format!("{LOCATION}#/components/schemas/{name}"), &mut schemas);
            (name.clone(), index.unwrap_or_else(|error| panic!("{name}: {error:#}")))
        };
        let known = names.map(&mut compile).collect();
        Self { document, known, schemas }
    }

    /// That of this checkout.
    fn here() -> Self {
        Self::new(parse(include_str!("../../../src/server/stream/asyncapi.yaml")))
    }

    fn faults(&self, name: &str, message: &Value) -> Option<String> {
        Some(format!("{:#}", self.schemas.validate(message, self.known[name]).err()?))
    }

    fn assert_valid(&self, message: &Value) {
        if let Some(faults) = self.faults(message["type"].as_str().unwrap(), message) {
            panic!("{message}: {faults}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_real_message_is_as_the_document_says() {
    let world = World::new().await;
    let answer = get(&world.url("/asyncapi.yaml")).await;
    assert_eq!(answer.headers()["content-type"], "application/yaml");
    let schema = Schema::new(parse(&answer.text().await.unwrap()));
    let both = json!(["counts", "languages"]);
    let subscriptions = [
        json!({ "type": "subscribe", "snapshots": both, "id": "1" }),
        json!({ "type": "subscribe", "snapshots": both, "since": "0.0", "fields": ["event.id", "payload"] }),
        json!({ "type": "subscribe", "delivery": "latest", "intervalMs": 100, "ratio": 0.9, "bots": "without" }),
    ];
    let (mut streams, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
    for subscription in subscriptions {
        schema.assert_valid(&subscription);
        streams.push(world.subscribe(subscription).await);
    }
    let mut messages: Vec<_> = streams.iter().map(|(_, answer)| answer.clone()).collect();
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
    for message in &messages {
        schema.assert_valid(message);
        let of = message["of"].as_str().unwrap_or_default();
        seen.insert((message["type"].as_str().unwrap().to_owned(), of.to_owned()));
    }
    let expected = [
        ("difference", "counts"),
        ("difference", "languages"),
        ("error", ""),
        ("event", ""),
        ("gap", ""),
        ("heartbeat", ""),
        ("snapshot", "counts"),
        ("snapshot", "languages"),
        ("subscribed", ""),
    ];
    assert_eq!(seen, expected.map(|(kind, of)| (kind.to_owned(), of.to_owned())).into());
    // What was understood can be asked for again.
    let mut again = streams[1].1["subscription"].clone();
    again["type"] = "subscribe".into();
    schema.assert_valid(&again);
    let (_, answer) = world.subscribe(again).await;
    assert_eq!(answer["subscription"], streams[1].1["subscription"]);
}

#[test]
fn the_document_refuses_what_the_server_refuses() {
    let schema = Schema::here();
    let valid = |name, message: &Value| schema.faults(name, message).is_none();
    assert!(valid("subscribe", &json!({ "type": "subscribe" })));
    for other in [
        json!({}),
        json!({ "type": "subscribe", "colour": "red" }),
        json!({ "type": "subscribe", "every": 0 }),
        json!({ "type": "subscribe", "ratio": 0 }),
        json!({ "type": "subscribe", "types": "PushEvent" }),
        json!({ "type": "subscribe", "intervalMs": 99 }),
        json!({ "type": "subscribe", "snapshots": ["people"] }),
        json!({ "type": "subscribe", "since": "yesterday" }),
    ] {
        assert!(!valid("subscribe", &other), "{other}");
    }
    assert!(!valid("event", &json!({ "type": "event", "cursor": "1.0", "data": {} })));
    assert!(!valid("event", &json!({ "type": "event", "cursor": "1", "data": { "event.id": "1" } })));
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
    let schema = Schema::here();
    let document = &schema.document;
    assert_eq!(document["asyncapi"], "3.0.0");
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(found.len() > 30);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let messages = document["components"]["messages"].as_object().unwrap();
    for (name, message) in messages {
        assert_eq!(message["payload"]["$ref"], format!("#/components/schemas/{name}"));
        assert!(!document["channels"]["stream"]["messages"][name].is_null(), "{name} is in no channel");
        for example in message["examples"].as_array().into_iter().flatten() {
            schema.assert_valid(&example["payload"]);
        }
    }
    // The examples of the documentation are real, too.
    let documentation = include_str!("../../../docs/stream.md");
    let blocks: Vec<_> =
        documentation.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 6, "{}", blocks.len());
    for message in
        blocks.iter().flat_map(|block| serde_json::Deserializer::from_str(block).into_iter::<Value>())
    {
        let mut message = message.unwrap();
        // Shortened for readers.
        if !message["data"]["event"].is_null() {
            message["data"]["event"]["created_at"] = "".into();
        }
        schema.assert_valid(&message);
    }
}

/// The same over Server-Sent Events: names and ids are those of the messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_sent_events_are_as_the_document_says() {
    let world = World::new().await;
    let schema = Schema::here();
    let mut events = Events::connect(&world.url("/stream?snapshots=counts,languages&since=0.0"), None).await;
    world.tap.pour([&opened_in(1, "C")]);
    let mut names = std::collections::BTreeSet::new();
    while !names.contains("event") {
        let sent = events.next().await.unwrap();
        schema.assert_valid(&sent.data);
        assert_eq!(sent.id.is_some(), sent.data.get("cursor").is_some());
        names.insert(sent.name);
    }
    assert!(names.len() >= 5, "{names:?}");
}
