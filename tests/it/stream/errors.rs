//! What is not understood is answered with a message that names the fault, and the connection stays.

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Events, Stream, World, ids_only, rest};
use crate::process::get;
use crate::support::Client;
use crate::tap::event;

/// The error that comes next.
async fn error(stream: &mut Stream) -> Value {
    let message = stream.next_of_any(&["error"]).await;
    assert!(message["error"]["message"].as_str().unwrap().len() > 10, "{message}");
    message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_is_named_and_what_held_before_holds_on() {
    let world = World::new().await;
    let long = "x".repeat(257);
    let many = vec!["x"; 1_001];
    let cases = [
        ("", "invalid_json", None),
        ("{", "invalid_json", None),
        ("[]", "invalid_json", None),
        (r#""subscribe""#, "invalid_json", None),
        ("{}", "invalid_message", Some("type")),
        (r#"{"type":"unsubscribe"}"#, "invalid_message", Some("type")),
        (r#"{"type":7}"#, "invalid_message", Some("type")),
        (r#"{"type":"subscribe","id":7}"#, "invalid_message", Some("id")),
        (r#"{"type":"subscribe","every":0}"#, "invalid_subscription", Some("every")),
        (r#"{"type":"subscribe","samplingRate":1}"#, "invalid_subscription", Some("samplingRate")),
        (r#"{"type":"subscribe","repos":["a"]}"#, "invalid_subscription", Some("repos")),
        (r#"{"type":"subscribe","since":"9999999999999999.0"}"#, "invalid_subscription", Some("since")),
        (r#"{"type":"subscribe","types":{"a":{}}}"#, "invalid_subscription", Some("types")),
    ];
    let mut texts: Vec<_> =
        cases.into_iter().map(|(text, code, field)| (text.to_owned(), code, field)).collect();
    texts.push((
        json!({ "type": "subscribe", "actors": [long] }).to_string(),
        "invalid_subscription",
        Some("actors"),
    ));
    texts.push((
        json!({ "type": "subscribe", "orgs": many }).to_string(),
        "invalid_subscription",
        Some("orgs"),
    ));
    let deep = format!(r#"{{"type":"subscribe","types":{}1{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    texts.push((deep, "invalid_json", None));
    let (mut stream, _) = world.subscribe(ids_only()).await;
    for (text, code, field) in texts {
        stream.0.send(&text).await;
        let message = error(&mut stream).await;
        let start: String = text.chars().take(80).collect();
        assert_eq!(message["error"]["code"], code, "{start}");
        assert_eq!(message["error"].get("field").and_then(Value::as_str), field, "{start}");
    }
    world.tap.pour([&event(1, "WatchEvent")]);
    assert_eq!(stream.ids(1).await, [1], "the subscription from before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_comes_back_with_the_error_and_with_the_answer() {
    let world = World::new().await;
    let (mut stream, answer) = world.subscribe(json!({ "id": "first" })).await;
    assert_eq!(answer["id"], "first");
    stream.send(json!({ "id": "second", "ratio": 2 })).await;
    let message = error(&mut stream).await;
    assert_eq!((&message["id"], &message["error"]["field"]), (&json!("second"), &json!("ratio")));
    assert!(stream.subscribe(json!({})).await.get("id").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_is_wrong_is_a_problem_with_its_field() {
    let world = World::new().await;
    for (query, field) in
        [("every=0", "every"), ("every=x", "every"), ("colour=red", "colour"), ("since=1", "since")]
    {
        let url = world.url(&format!("/stream?{query}"));
        let answer = Events::ask(&url, None).await;
        assert_eq!(answer.status(), 400, "{query}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((&problem["code"], &problem["field"]), (&json!("invalid_subscription"), &json!(field)));
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
        let socket = tokio_tungstenite::connect_async(url.replace("http:", "ws:")).await;
        assert!(socket.unwrap_err().to_string().contains("400"), "{query}");
    }
    let answer = Events::ask(&world.url("/stream"), Some("no cursor")).await;
    assert_eq!(answer.status(), 400);
    // Neither a WebSocket nor events.
    assert!(get(&world.url("/stream")).await.status().is_client_error());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_of_all_sockets_hold_for_the_stream() {
    let world = World::new().await;
    let mut binary = Client::connect(&world.running, "/stream").await;
    binary.0.send(Message::binary(b"{}".to_vec())).await.unwrap();
    assert_eq!(binary.close_code().await, 1003);
    let mut long = Client::connect(&world.running, "/stream").await;
    let _ = long.0.send(Message::text(" ".repeat((64 << 10) + 1))).await;
    assert_eq!(long.close_code().await, 1009);
    let (mut stream, _) = world.subscribe(json!({})).await;
    let events = Events::connect(&world.url("/stream"), None).await;
    let World { running, .. } = world;
    let stopping = tokio::spawn(running.stop());
    loop {
        match stream.0.frame().await {
            Message::Close(frame) => break assert_eq!(u16::from(frame.unwrap().code), 1001),
            frame => assert!(frame.is_text(), "{frame:?}"),
        }
    }
    let mut events = events;
    while events.next().await.is_some() {}
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_subscriptions_a_second_are_refused_with_1008() {
    let world = World::new().await;
    let mut flood = Client::connect(&world.running, "/stream").await;
    for index in 0..1_000 {
        let text = json!({ "type": "subscribe", "id": index.to_string(), "events": false }).to_string();
        if flood.0.feed(Message::text(text)).await.is_err() {
            break;
        }
    }
    let _ = flood.0.flush().await;
    let code = loop {
        match flood.frame().await {
            Message::Close(frame) => break u16::from(frame.unwrap().code),
            frame => assert!(frame.is_text(), "{frame:?}"),
        }
    };
    assert_eq!(code, 1008);
    assert!(rest(Stream(flood)).await.is_empty());
}
