//! What every socket and HTTP path has in common: refusals, limits, slow clients, shutdown, status.

use futures_util::{SinkExt, StreamExt};
use pulsehub::app::{Running, Source};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Duration, Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::process::{Process, command, get};
use crate::support::{Client, PATIENCE, TestApp, eventually};
use crate::tap::{Tap, event};

const ENDPOINTS: [&str; 3] = ["/sampling", "/language/latest", "/language/watch"];

/// A pipeline without a source.
async fn idle() -> (TestApp, Running) {
    let app = TestApp::new();
    let running = app.start(Source::None).await;
    (app, running)
}

/// A client that has read what is said at once.
async fn greeted(running: &Running, path: &str) -> Client {
    let mut client = Client::connect(running, path).await;
    if !path.ends_with("/language/latest") {
        assert_eq!(client.json().await["firstMessageTag"], true);
    }
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_params_get_one_frame_that_names_the_field_and_then_1008() {
    let (_app, running) = idle().await;
    let [sampling, latest, watch] = ENDPOINTS;
    let long = "x".repeat(1_025);
    let many = json!({ "samplingRate": 1, "filter": vec!["event.id"; 101] }).to_string();
    let rate = |value: &str| (sampling, format!(r#"{{"samplingRate":{value}}}"#), Some("samplingRate"));
    let with = |name: &'static str, value: &str| {
        (sampling, format!(r#"{{"samplingRate":1,"{name}":{value}}}"#), Some(name))
    };
    let mut cases: Vec<(&str, String, Option<&str>)> = vec![
        (sampling, "{}".to_owned(), Some("samplingRate")),
        with("eventType", "1"),
        with("repoName", "[]"),
        with("userName", "{}"),
        with("userName", &format!("{long:?}")),
        with("filter", r#""event.id""#),
        with("filter", r#"["event.id",null]"#),
        with("filter", &format!("[{long:?}]")),
        with("returnType", "true"),
        with("action", r#""*""#),
        (sampling, many, Some("filter")),
        (latest, r#"{"top":-1}"#.to_owned(), Some("top")),
        (latest, r#"{"top":1.5}"#.to_owned(), Some("top")),
        (latest, r#"{"top":"2"}"#.to_owned(), Some("top")),
        (latest, r#"{"language":"Java"}"#.to_owned(), Some("language")),
        (watch, r#"{"language":[7]}"#.to_owned(), Some("language")),
        (watch, format!(r#"{{"language":[{long:?}]}}"#), Some("language")),
    ];
    for value in ["0", "-1", "1.5", r#""1""#, "null", "1e300", "true", "[1]", "18446744073709551616", "-0"] {
        cases.push(rate(value));
    }
    for path in ENDPOINTS {
        for text in ["", "null", "[]", "3", "{", r#"{"samplingRate":1}}"#, "{'samplingRate':1}"] {
            cases.push((path, text.to_owned(), None));
        }
    }
    for (path, params, field) in cases {
        let mut client = greeted(&running, path).await;
        client.send(&params).await;
        let frame = client.json().await;
        let error = frame["error"].as_object().unwrap_or_else(|| panic!("{path} {params}: {frame}"));
        assert_eq!(error["code"], "invalid_params", "{params}");
        assert_eq!(error.get("field").and_then(Value::as_str), field, "{params}: {frame}");
        assert!(error["message"].as_str().unwrap().len() > 10, "{frame}");
        assert_eq!((frame.as_object().unwrap().len(), error.len()), (1, 2 + usize::from(field.is_some())));
        assert_eq!(client.close_code().await, 1008, "{path} {params}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_params_after_good_ones_end_the_socket_too() {
    let (_app, running) = idle().await;
    let mut client = greeted(&running, "/sampling").await;
    client.send(r#"{"samplingRate":1}"#).await;
    client.send(r#"{"samplingRate":0}"#).await;
    assert_eq!(client.json().await["error"]["field"], "samplingRate");
    assert_eq!(client.close_code().await, 1008);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_frame_is_refused_with_1003() {
    let (_app, running) = idle().await;
    for path in ENDPOINTS {
        let mut client = greeted(&running, path).await;
        client.0.send(Message::binary(r#"{"samplingRate":1}"#.as_bytes())).await.unwrap();
        assert_eq!(client.close_code().await, 1003, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_over_64_kib_is_refused_with_1009_and_one_of_64_kib_is_read() {
    let (_app, running) = idle().await;
    let padded = |bytes: usize| {
        let params = r#"{"samplingRate":0}"#;
        format!("{params}{}", " ".repeat(bytes - params.len()))
    };
    for path in ENDPOINTS {
        for bytes in [(64 << 10) + 1, 66 << 10, 1 << 20] {
            let mut client = greeted(&running, path).await;
            // The server may have closed before all of it was written.
            let _ = client.0.send(Message::text(padded(bytes))).await;
            assert_eq!(client.close_code().await, 1009, "{path} with {bytes} bytes");
        }
    }
    let mut client = greeted(&running, "/sampling").await;
    client.send(&padded(64 << 10)).await;
    assert_eq!(client.json().await["error"]["field"], "samplingRate");
    // Many small fragments are one large message.
    let mut client = greeted(&running, "/sampling").await;
    for index in 0..5 {
        let opcode = OpCode::Data(if index == 0 { Data::Text } else { Data::Continue });
        let frame = Frame::message(vec![b' '; 16 << 10], opcode, false);
        let _ = client.0.send(Message::Frame(frame)).await;
    }
    assert_eq!(client.close_code().await, 1009);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_of_a_client_is_answered_before_the_connection_ends() {
    let (_app, running) = idle().await;
    for path in ENDPOINTS {
        let mut client = greeted(&running, path).await;
        client.send(r#"{"samplingRate":1}"#).await;
        let frame = CloseFrame { code: 1000.into(), reason: "done".into() };
        client.0.close(Some(frame)).await.unwrap();
        loop {
            match timeout(PATIENCE, client.0.next()).await.unwrap() {
                Some(Ok(Message::Close(Some(frame)))) => {
                    assert_eq!(u16::from(frame.code), 1000, "{path}");
                    break;
                }
                Some(Ok(_)) => {}
                other => panic!("{path}: the connection ended without a close frame: {other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_without_params_stays_connected_and_gets_nothing() {
    let tap = Tap::new().await;
    let mut app = TestApp::new();
    let running = tap.start(&mut app).await;
    let mut silent = greeted(&running, "/sampling").await;
    let mut other = greeted(&running, "/sampling").await;
    other.send(r#"{"samplingRate":1}"#).await;
    let events: Vec<Value> = (1..=50).map(|id| event(id, "WatchEvent")).collect();
    tap.pour(&events);
    for _ in &events {
        other.text().await;
    }
    silent.0.send(Message::Ping("x".into())).await.unwrap();
    match timeout(PATIENCE, silent.0.next()).await.unwrap().unwrap().unwrap() {
        Message::Pong(body) => assert_eq!(&body[..], b"x"),
        other => panic!("nothing but a pong was expected: {other:?}"),
    }
    // Now it wants them after all.
    silent.send(r#"{"samplingRate":50}"#).await;
    assert_eq!(silent.json().await["event"]["id"], "50");
}

/// A client that takes only a few KiB before it reads.
async fn with_tiny_buffer(running: &Running) -> WebSocketStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let address = running.public.unwrap();
    let stream = socket.connect(address).await.unwrap();
    client_async(format!("ws://{address}/sampling"), stream).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_stops_reading_loses_its_own_messages_and_delays_nobody() {
    let tap = Tap::new().await;
    let mut app = TestApp::new();
    let running = tap.start(&mut app).await;
    let mut stalled = with_tiny_buffer(&running).await;
    stalled.send(Message::text(r#"{"samplingRate":1}"#)).await.unwrap();
    let mut reading = greeted(&running, "/sampling").await;
    reading.send(r#"{"samplingRate":1,"filter":["event.id"],"returnType":"list"}"#).await;
    let filler = "x".repeat(1_500);
    let (rounds, round) = (8, 2_000);
    for first in (0..rounds).map(|index| 1 + index * round) {
        let events: Vec<Value> = (first..first + round)
            .map(|id| {
                let mut event = event(id, "WatchEvent");
                event["payload"]["filler"] = json!(filler);
                event
            })
            .collect();
        tap.pour(&events);
        let started = Instant::now();
        let mut ids = Vec::new();
        for _ in 0..round {
            ids.push(reading.json().await[0].as_str().unwrap().parse::<u64>().unwrap());
        }
        // Workers finish in any order.
        ids.sort_unstable();
        assert_eq!(ids, (first..first + round).collect::<Vec<_>>());
        assert!(started.elapsed() < Duration::from_secs(10), "delayed: {:?}", started.elapsed());
    }
    // It reads again: whole frames, and the newest is among them.
    let (mut received, last) = (0, (rounds * round).to_string());
    loop {
        match timeout(PATIENCE, stalled.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                received += u64::from(frame["event"].is_object());
                if frame["event"]["id"] == last.as_str() {
                    break;
                }
            }
            other => assert!(other.is_ping(), "{other:?}"),
        }
    }
    assert!(received < rounds * round, "nothing was dropped: this test needs more events");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_closes_every_socket_with_1001_and_stops_quickly() {
    let tap = Tap::new().await;
    let mut app = TestApp::new();
    let running = tap.start(&mut app).await;
    let mut clients = Vec::new();
    for path in ENDPOINTS {
        clients.push(greeted(&running, path).await);
        let mut client = greeted(&running, &format!("/websocket{path}")).await;
        client.send(r#"{"samplingRate":1}"#).await;
        clients.push(client);
    }
    tap.pour(&(1..=100).map(|id| event(id, "WatchEvent")).collect::<Vec<_>>());
    clients[1].text().await;
    drop(tap);
    let started = Instant::now();
    let stopping = tokio::spawn(running.stop());
    for client in &mut clients {
        let code = loop {
            match client.frame().await {
                Message::Close(frame) => break u16::from(frame.unwrap().code),
                Message::Text(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(code, 1001);
    }
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origins_are_refused_where_others_are_listed() {
    let mut app = TestApp::new();
    app.config.server.origins = vec!["https://live.example.org".to_owned()];
    let running = app.start(Source::None).await;
    let connect = async |origin: Option<&str>, path: &str| {
        let url = format!("ws://{}{path}", running.public.unwrap());
        let mut request = url.into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok(_) => 101,
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    };
    for path in ENDPOINTS {
        assert_eq!(connect(Some("https://live.example.org"), path).await, 101);
        assert_eq!(connect(None, path).await, 101, "not a browser");
        for other in ["http://live.example.org", "https://live.example.org.evil.test", "null", ""] {
            assert_eq!(connect(Some(other), path).await, 403, "{other}");
        }
    }
    let (_app, running) = idle().await;
    let mut request = format!("ws://{}/sampling", running.public.unwrap()).into_client_request().unwrap();
    request.headers_mut().insert("origin", "https://anything.test".parse().unwrap());
    tokio_tungstenite::connect_async(request).await.expect("any origin where none is listed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_paths_answer_as_documented() {
    let (_app, running) = idle().await;
    let public = running.public.unwrap();
    for prefix in ["", "/websocket"] {
        let base = format!("http://{public}{prefix}");
        let health = get(&format!("{base}/health")).await;
        assert_eq!(health.status(), 200);
        assert_eq!(health.headers()["x-pulsehub-source"], "none");
        assert_eq!(health.bytes().await.unwrap(), "OK");

        let missing = get(&format!("{base}/no/such/path")).await;
        assert_eq!(missing.status(), 404);
        assert_eq!(missing.headers()["content-type"], "application/problem+json");
        assert_eq!(missing.headers()["x-pulsehub-source"], "none");
        let problem: Value = missing.json().await.unwrap();
        assert_eq!(problem["status"], 404);
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "{problem}");
        }

        for path in ENDPOINTS {
            let plain = get(&format!("{base}{path}")).await;
            assert!(plain.status().is_client_error(), "{path}: {}", plain.status());
            let text = plain.text().await.unwrap();
            assert!(text.to_lowercase().contains("upgrade"), "{path}: {text}");
        }
    }
    let admin = format!("http://{}", running.admin);
    assert_eq!(get(&format!("{admin}/health")).await.text().await.unwrap(), "OK");
    assert_eq!(get(&format!("{admin}/sampling")).await.status(), 404);
    assert_eq!(get(&format!("http://{public}/metrics")).await.status(), 404, "operations are not public");
    assert_eq!(get(&format!("{admin}/api/v1/stats?year=soon")).await.status(), 400);
    let stats: Value = get(&format!("{admin}/api/v1/stats?year=2016")).await.json().await.unwrap();
    let zero = json!({ "dev": 0, "repo": 0, "additions": 0, "deletions": 0 });
    assert_eq!(stats, json!({ "year": 2016, "daily": {}, "sum": zero, "language": {} }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_says_what_is_going_on() {
    let tap = Tap::new().await;
    let mut app = TestApp::new();
    let running = tap.start(&mut app).await;
    let url = format!("http://{}/api/v1/status", running.public.unwrap());
    let status = async || get(&url).await.json::<Value>().await.unwrap();
    let before = status().await;
    assert_eq!(before["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(before["source"], json!({ "kind": "replay", "state": "replaying", "notes": [] }));
    assert_eq!((&before["clients"], &before["backlog"], &before["seq"]), (&json!(0), &json!(0), &json!(0)));
    assert!(before["uptimeSeconds"].is_u64() && before["idleSeconds"].is_null(), "{before}");
    assert_eq!(get(&url).await.headers()["x-pulsehub-source"], "replay");
    let clients = [greeted(&running, "/sampling").await, greeted(&running, "/language/watch").await];
    tap.pour([&event(1, "WatchEvent")]);
    eventually("two clients and a batch", async || {
        let status = status().await;
        status["clients"] == 2 && status["seq"].as_i64() > Some(0) && status["idleSeconds"].is_f64()
    })
    .await;
    drop(clients);
    eventually("no clients", async || status().await["clients"] == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_event_wants_its_token() {
    let (_app, closed) = idle().await;
    let mut app = TestApp::new();
    app.config.server.sync_token = "s3cret".into();
    let open = app.start(Source::None).await;
    let post = async |running: &Running, token: Option<&str>| {
        let url = format!("http://{}/sync-event", running.public.unwrap());
        let request = reqwest::Client::builder().no_proxy().build().unwrap().post(url);
        let request = match token {
            Some(token) => request.header("authorization", token),
            None => request,
        };
        request.send().await.unwrap().status().as_u16()
    };
    for token in [None, Some("Bearer "), Some("Bearer s3cret")] {
        assert_eq!(post(&closed, token).await, 404, "off without server.syncToken");
    }
    for token in [None, Some("s3cret"), Some("Bearer S3cret"), Some("Bearer s3cret2"), Some("Basic s3cret")] {
        assert_eq!(post(&open, token).await, 401, "{token:?}");
    }
    // Until there is a history, it says so; then it will be 202.
    assert!([202, 503].contains(&post(&open, Some("Bearer s3cret")).await));
    let url = format!("http://{}/sync-event", open.public.unwrap());
    assert_eq!(get(&url).await.status(), 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_every_declared_name_once_events_flow() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(command(directory.path(), &["run", "--sample", "always"]));
    let mut client = process.client("/sampling").await;
    client.send(r#"{"samplingRate":1}"#).await;
    client.text().await;
    client.text().await;
    let admin = process.admin().await;
    let source = include_str!("../../src/telemetry/names.rs");
    let names: Vec<&str> = source.split('"').filter(|text| text.starts_with("pulsehub_")).collect();
    assert!(names.len() >= 16, "{names:?}");
    let mut missing = names.clone();
    let mut text = String::new();
    let scraped = timeout(Duration::from_secs(5), async {
        while !missing.is_empty() {
            text = get(&format!("http://{admin}/metrics")).await.text().await.unwrap();
            missing.retain(|name| !text.contains(&format!("# TYPE {name} ")));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(scraped.await.is_ok(), "not exported: {missing:?}");
    assert!(text.contains(r#"pulsehub_clients{endpoint="sampling"} 1"#), "{text}");
    for name in names {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help text");
    }
    let applied = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("pulsehub_events_applied_total ")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert!(applied(&text) > 0);
    let stats: Value = get(&format!("http://{admin}/api/v1/stats")).await.json().await.unwrap();
    for member in ["year", "daily", "sum", "language"] {
        assert!(!stats[member].is_null(), "{stats}");
    }
}
