//! Clients that mean harm: each is refused with the right code, and the built program's memory stays flat.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{memory, quiet};
use crate::process::{Process, command};
use crate::support::Client;

/// The code that a client is closed with, and what it was told before.
async fn ending(client: &mut Client) -> (u16, String) {
    let mut told = String::new();
    loop {
        match client.frame().await {
            Message::Text(text) => told = text.to_string(),
            Message::Close(frame) => return (frame.unwrap().code.into(), told),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_params_are_refused_one_by_one_and_take_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = quiet(directory.path());
    let deep = |open: &str, close: &str, depth: usize| {
        format!(r#"{{"samplingRate":1,"x":{}{}}}"#, open.repeat(depth), close.repeat(depth))
    };
    let dots = ".".repeat(1_000);
    let hostile = [
        ("ten thousand paths", json!({ "samplingRate": 1, "filter": vec!["a.b"; 10_000] }).to_string()),
        ("paths of a thousand levels", json!({ "samplingRate": 1, "filter": vec![dots; 60] }).to_string()),
        ("lists in lists", deep("[", "]", 30_000)),
        (
            "objects in objects",
            format!(r#"{{"samplingRate":1,"x":{}1{}}}"#, r#"{"a":"#.repeat(10_000), "}".repeat(10_000)),
        ),
        ("a number without an end", format!(r#"{{"samplingRate":{}}}"#, "9".repeat(60_000))),
        ("a path of 60 KB", json!({ "samplingRate": 1, "filter": ["x".repeat(60_000)] }).to_string()),
        ("a thousand long actions", json!({ "samplingRate": 1, "action": vec!["x"; 1_001] }).to_string()),
    ];
    let round = async |process: &mut Process| {
        for (what, params) in &hostile {
            assert!(params.len() <= 64 << 10, "{what}: {}", params.len());
            let mut client = process.client("/sampling").await;
            client.text().await;
            client.send(params).await;
            let (code, told) = ending(&mut client).await;
            assert_eq!(code, 1008, "{what}");
            assert!(told.contains("invalid_params") && told.len() < 500, "{what}: {told}");
        }
    };
    let mut memories = Vec::new();
    for _ in 0..12 {
        for _ in 0..20 {
            round(&mut process).await;
        }
        memories.push(memory(&process));
    }
    // By the fourth everything was touched once; the messages since then have 60 MiB.
    let grown = memories[11].saturating_sub(memories[3]);
    assert!(grown < 8 << 10, "{grown} KiB more after 1,120 hostile clients: {memories:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_subscriptions_a_second_end_with_1008_and_disturb_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let mut sampled = command(directory.path(), &["run", "--sample", "always"]);
    // Of each thread the allocator keeps some MiB.
    sampled.env("TOKIO_WORKER_THREADS", "1");
    let mut process = Process::start(sampled);
    let mut reading = process.client("/sampling").await;
    reading.text().await;
    reading.send(r#"{"samplingRate":1,"filter":["event.id"]}"#).await;
    let mut memories = Vec::new();
    for round in 0..20 {
        let mut hostile = process.client("/sampling").await;
        hostile.text().await;
        // Each with a filter of its own, so that nothing of it is shared.
        for index in 0..1_000 {
            let params = json!({ "samplingRate": 1_000_000, "filter": [format!("event.{round}.{index}")] });
            // It may have been closed already.
            if hostile.0.feed(Message::text(params.to_string())).await.is_err() {
                break;
            }
        }
        let _ = hostile.0.flush().await;
        let code = loop {
            match tokio::time::timeout(Duration::from_secs(20), hostile.0.next()).await.unwrap() {
                Some(Ok(Message::Close(Some(frame)))) => break u16::from(frame.code),
                Some(Ok(_)) => {}
                other => panic!("closed without a code: {other:?}"),
            }
        };
        assert_eq!(code, 1008);
        memories.push(memory(&process));
    }
    assert!(memories[19].saturating_sub(memories[4]) < 16 << 10, "{memories:?}");
    assert!(reading.json().await["event.id"].is_string());
}
