//! SIGTERM while something is in the way: the process ends with 0 in its time, and nothing is lost.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

use super::{archive, directory};
use crate::known_answers::recount;
use crate::process::{Process, command, get, run, stderr, stdout};
use crate::support::mysql::Database;
use crate::support::redis::RedisServer;
use crate::support::{Client, TestApp, eventually};

/// Sends SIGTERM and asserts that it ends well within `limit`, of the 30 s that it has.
async fn assert_drains(process: &mut Process, limit: Duration) {
    process.signal("TERM");
    let started = Instant::now();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    assert!(started.elapsed() < limit, "{:?}: {}", started.elapsed(), process.log());
    assert!(!process.log().contains("panicked"), "{}", process.log());
}

/// The close code that comes behind whatever else was sent.
async fn close_code(client: &mut Client) -> u16 {
    loop {
        match client.frame().await {
            Message::Close(frame) => return frame.unwrap().code.into(),
            Message::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// How many events were counted so far.
async fn applied(admin: &str) -> u64 {
    let metrics = get(&format!("http://{admin}/metrics")).await.text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("pulsehub_events_applied_total "));
    line.map_or(0, |count| count.parse().unwrap())
}

fn counts(mut stats: Command) -> Value {
    let output = stats.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    serde_json::json!({"daily": report["daily"], "sum": report["sum"]})
}

/// What an independent recount says.
async fn expected(archive: &str) -> Value {
    let recount = recount(2026, [archive.to_owned()]).await;
    serde_json::json!({"daily": recount["daily"], "sum": recount["sum"]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_again_and_again_under_load_loses_and_doubles_nothing() {
    let directory = directory();
    let archive = archive(directory.path(), 40_000);
    for _ in 0..5 {
        // 800 a second: there is something to come for all rounds, also on a machine where each takes long.
        let mut process = Process::start(command(directory.path(), &["replay", "--speed", "80", &archive]));
        let admin = process.admin().await;
        let mut client = process.client("/sampling").await;
        eventually("something is counted", async || applied(&admin).await > 200).await;
        let (code, ()) =
            tokio::join!(close_code(&mut client), assert_drains(&mut process, Duration::from_secs(10)));
        assert_eq!(code, 1001);
    }
    let last = run(directory.path(), &["replay", "--exit", &archive]);
    assert!(last.status.success(), "{}", stderr(&last));
    assert_eq!(counts(command(directory.path(), &["stats", "--year", "2026"])), expected(&archive).await);
}

/// Under load, Redis stands still or is gone.
async fn without_redis(kill: bool) {
    let (directory, mut server) = (directory(), RedisServer::start(&[]).await);
    let archive = archive(directory.path(), 20_000);
    let on_redis = |args: &[&str]| {
        let mut command = command(directory.path(), args);
        command.env("PULSEHUB__REDIS__HOST", server.host()).env("PULSEHUB__REDIS__SETTLEDELAY", "200ms");
        command
    };
    let mut process = Process::start(on_redis(&["replay", "--speed", "20000", &archive]));
    let (admin, mut client) = (process.admin().await, process.client("/sampling").await);
    eventually("something is counted", async || applied(&admin).await > 500).await;
    let again = on_redis(&["replay", "--exit", &archive]);
    let stats = on_redis(&["stats", "--year", "2026"]);
    if kill {
        server.kill()
    } else {
        server.signal("STOP")
    }
    let (code, ()) =
        tokio::join!(close_code(&mut client), assert_drains(&mut process, Duration::from_secs(25)));
    assert_eq!(code, 1001);
    if kill {
        server.restart().await
    } else {
        server.signal("CONT")
    }
    let mut again = again;
    let output = again.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(counts(stats), expected(&archive).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_while_redis_is_gone_loses_nothing() {
    without_redis(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_while_redis_stands_still_loses_nothing() {
    without_redis(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_sigterm_ends_the_drain_at_once() {
    let (directory, server) = (directory(), RedisServer::start(&[]).await);
    let archive = archive(directory.path(), 20_000);
    let mut command = command(directory.path(), &["replay", &archive]);
    command.env("PULSEHUB__REDIS__HOST", server.host()).env("PULSEHUB__REDIS__SETTLEDELAY", "20s");
    let mut process = Process::start(command);
    let admin = process.admin().await;
    eventually("something is applied", async || {
        // Nothing is settled yet, so it is not in the metric.
        let stats = get(&format!("http://{admin}/api/v1/stats?year=2026")).await;
        let stats: Value = stats.json().await.unwrap_or_default();
        stats["daily"].as_object().is_some_and(|daily| !daily.is_empty())
    })
    .await;
    server.signal("STOP");
    process.signal("TERM");
    eventually("it drains", async || process.log().contains("stopping:")).await;
    process.signal("TERM");
    let started = Instant::now();
    assert_eq!(process.ended().await.code(), Some(1), "{}", process.log());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(process.log().contains("stopped at once"), "{}", process.log());
}

/// A server that takes connections and never answers; it says how many there are.
async fn silent() -> (SocketAddr, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), watch::Sender::new(0));
    let seen = connections.subscribe();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
            connections.send_replace(held.len());
        }
    });
    (address, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_while_pulsar_is_gone_or_never_answers_ends_in_time() {
    let (silent, mut tried) = silent().await;
    for pulsar in ["127.0.0.1:9".to_owned(), silent.to_string()] {
        let directory = directory();
        let archive = archive(directory.path(), 2_000);
        let mut command = command(directory.path(), &["replay", &archive]);
        command.env("PULSEHUB__PULSAR__DEVHOST", format!("pulsar://{pulsar}"));
        let mut process = Process::start(command);
        let mut client = process.client("/sampling").await;
        if pulsar == silent.to_string() {
            tried.wait_for(|&count| count > 0).await.unwrap();
        } else {
            eventually("it is tried", async || process.log().contains("Pulsar does not work")).await;
        }
        let (code, ()) =
            tokio::join!(close_code(&mut client), assert_drains(&mut process, Duration::from_secs(20)));
        assert_eq!(code, 1001, "{pulsar}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_during_the_start_is_heard_while_an_engine_does_not_answer() {
    let (directory, server) = (directory(), RedisServer::start(&[]).await);
    let (pulsar, mut tried) = silent().await;
    server.signal("STOP");
    let mut command = command(directory.path(), &["run", "--roles", "work,serve"]);
    command
        .env("PULSEHUB__PULSAR__DEVHOST", format!("pulsar://{pulsar}"))
        .env("PULSEHUB__LIVE__TOPIC", "live");
    command.env("PULSEHUB__REDIS__HOST", server.host());
    let mut process = Process::start(command);
    tried.wait_for(|&count| count > 0).await.unwrap();
    assert!(!process.log().contains("/sampling"), "{}", process.log());
    assert_drains(&mut process, Duration::from_secs(2)).await;
    server.signal("CONT");
}

/// Between a client and a server: passes on until it is told to stand still.
async fn passage(to: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, still) = (listener.local_addr().unwrap(), watch::Sender::new(false));
    let stands = still.subscribe();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut stands = stands.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    // Held open for as long as the test.
                    () = async { drop(stands.wait_for(|still| *still).await) } => std::future::pending().await,
                }
            });
        }
    });
    (address, still)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_while_history_stands_still_and_requests_wait_for_it_loses_nothing() {
    let (directory, database, mut app) = (directory(), Database::new().await, TestApp::new());
    database.configure(&mut app.config, true);
    let tidb = &app.config.tidb;
    let (history, still) = passage(SocketAddr::from(([127, 0, 0, 1], tidb.port))).await;
    let archive = archive(directory.path(), 20_000);
    let on_history = |port: u16, args: &[&str]| {
        let mut command = command(directory.path(), args);
        command.env("PULSEHUB__TIDB__HOST", "127.0.0.1").env("PULSEHUB__TIDB__PORT", port.to_string());
        command.env("PULSEHUB__TIDB__USER", &tidb.user).env("PULSEHUB__TIDB__DB", &tidb.db);
        command
            .env("PULSEHUB__TIDB__PASSWORD", tidb.password.expose())
            .env("PULSEHUB__HISTORY__WRITE", "true");
        command
    };
    let mut process = Process::start(on_history(history.port(), &["replay", "--speed", "20000", &archive]));
    let (admin, mut client) = (process.admin().await, process.client("/sampling").await);
    eventually("something is counted", async || applied(&admin).await > 500).await;
    still.send_replace(true);
    // A request that history holds up, and one that never ends.
    let verify = tokio::spawn(reqwest::get(format!("http://{admin}/api/v1/verify?year=2026")));
    let mut half = TcpStream::connect(&admin).await.unwrap();
    half.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let (code, ()) =
        tokio::join!(close_code(&mut client), assert_drains(&mut process, Duration::from_secs(25)));
    assert_eq!(code, 1001);
    // Answered or cut off, but not left waiting.
    let _ = verify.await.unwrap();
    assert_eq!(half.read(&mut [0; 100]).await.unwrap_or(0), 0);
    let last = on_history(tidb.port, &["replay", "--exit", &archive]).output().unwrap();
    assert!(last.status.success(), "{}", stderr(&last));
    let expected = expected(&archive).await;
    assert_eq!(counts(on_history(tidb.port, &["stats", "--year", "2026"])), expected);
    assert_eq!(database.number("SELECT COUNT(*) FROM github_events").await, 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_never_reads_does_not_hold_up_the_drain() {
    let directory = directory();
    let archive = archive(directory.path(), 40_000);
    let mut process =
        Process::start(command(directory.path(), &["replay", "--live", "--speed", "max", &archive]));
    let admin = process.admin().await;
    let mut deaf = process.client("/sampling").await;
    deaf.send(r#"{"samplingRate":1,"action":["*"]}"#).await;
    let mut client = process.client("/language/watch").await;
    eventually("all is counted", async || applied(&admin).await == 40_000).await;
    let (code, ()) =
        tokio::join!(close_code(&mut client), assert_drains(&mut process, Duration::from_secs(10)));
    assert_eq!(code, 1001);
}
