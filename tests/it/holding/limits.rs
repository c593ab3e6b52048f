//! Connections in all, from one address, behind a proxy; and those that never say what they want.

use std::time::{Duration, Instant};

use pulsehub::app::Source;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{connect, connect_with};
use crate::support::{PATIENCE, TestApp, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_the_total_are_refused_with_503_until_others_leave() {
    let mut app = TestApp::new();
    app.config.server.max_connections = 4;
    let running = app.start(Source::None).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(connect(&running).await.expect("a place"));
    }
    assert_eq!(connect(&running).await.err(), Some(503));
    // Those who are connected notice nothing.
    for client in &mut clients {
        assert_eq!(client.json().await["firstMessageTag"], true);
    }
    clients.pop();
    eventually("a place that came back", async || connect(&running).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_those_of_an_address_are_refused_with_503() {
    let mut app = TestApp::new();
    app.config.server.trusted_proxies.clear();
    app.config.server.max_connections_per_address = 3;
    let running = app.start(Source::None).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(connect(&running).await.expect("a place"));
    }
    assert_eq!(connect(&running).await.err(), Some(503));
    // What is not trusted cannot talk itself into another address.
    assert_eq!(connect_with(&running, ("x-forwarded-for", "198.51.100.7")).await.err(), Some(503));
    drop(clients);
    eventually("a place that came back", async || connect(&running).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_trusted_proxy_each_client_is_an_address_of_its_own() {
    let mut app = TestApp::new();
    app.config.server.max_connections_per_address = 2;
    let running = app.start(Source::None).await;
    let client = |value: &'static str| connect_with(&running, ("x-forwarded-for", value));
    let _first = [client("198.51.100.7").await.unwrap(), client("198.51.100.7, 127.0.0.9").await.unwrap()];
    for value in ["198.51.100.7", "203.0.113.1, 198.51.100.7", "198.51.100.7:4711"] {
        assert_eq!(client(value).await.err(), Some(503), "{value}");
    }
    assert_eq!(connect_with(&running, ("forwarded", "for=198.51.100.7")).await.err(), Some(503));
    let mut other = client("198.51.100.8").await.expect("another address");
    assert_eq!(other.json().await["firstMessageTag"], true);
    // The proxy's own are its own affair.
    let own = [connect(&running).await, connect(&running).await, connect(&running).await];
    assert!(own.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_or_half_of_it_are_closed_on_time() {
    let app = TestApp::new();
    let running = app.start(Source::None).await;
    let until_closed = async |start: &[u8]| {
        let mut stream = TcpStream::connect(running.public.unwrap()).await.unwrap();
        stream.write_all(start).await.unwrap();
        let (started, mut answer) = (Instant::now(), Vec::new());
        // A reset is an end, too.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed in time");
        (started.elapsed(), String::from_utf8(answer).unwrap())
    };
    let cases: [(&[u8], u64, u16); 4] = [
        (b"", 5, 0),
        (b"GET /health", 10, 0),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow:", 10, 0),
        // A request that is answered, and no other behind it.
        (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 10, 200),
    ];
    let ended = futures_util::future::join_all(cases.map(|(start, ..)| until_closed(start))).await;
    for ((start, seconds, status), (took, answer)) in cases.into_iter().zip(ended) {
        let start = String::from_utf8_lossy(start);
        let due = Duration::from_secs(seconds);
        assert!(
            // The rest is for a machine that has other things to do.
            took >= due - Duration::from_millis(100) && took < due + Duration::from_secs(10),
            "{start}: {took:?}"
        );
        assert_eq!(answer.contains("200 OK"), status == 200, "{start}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_too_many_headers_or_too_long_a_head_is_refused() {
    let app = TestApp::new();
    let running = app.start(Source::None).await;
    let ask = async |headers: String| {
        let mut stream = TcpStream::connect(running.public.unwrap()).await.unwrap();
        let request = format!("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        // It may be refused before all of it was written.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = [0; 12];
        let _ = timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert_eq!(ask("X-Fine: 1\r\n".repeat(50)).await, "HTTP/1.1 200");
    assert_eq!(ask("X-Many: 1\r\n".repeat(100)).await, "HTTP/1.1 431");
    let long = ask(format!("X-Long: {}\r\n", "x".repeat(64 << 10))).await;
    assert_eq!(long, "HTTP/1.1 431");
}
