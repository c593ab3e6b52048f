//! SIGINT and SIGTERM: the process drains, whatever it is at.

use tokio::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

use super::{archive, directory};
use crate::process::{Process, command};
use crate::support::{Client, eventually};
use crate::tap::Tap;

#[test]
fn a_log_that_cannot_be_written_does_not_end_the_program() {
    let directory = directory();
    let archive = archive(directory.path(), 100);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = command(directory.path(), &["replay", "--exit", &archive]);
    assert!(command.stderr(full).status().unwrap().success());
}

/// A signal in the middle of a replay at full speed, with clients that read and one that does not.
async fn signal_under_load(signal: &str) {
    let directory = directory();
    let archive = archive(directory.path(), 40_000);
    let mut process = Process::start(command(directory.path(), &["replay", "--rebase", "--live", &archive]));
    let paths = ["/sampling", "/language/latest", "/websocket/language/watch", "/sampling"];
    let mut clients = Vec::new();
    for path in paths {
        let mut client = process.client(path).await;
        client.send(r#"{"samplingRate":1}"#).await;
        clients.push(client);
    }
    let mut quiet = process.client("/sampling").await;
    for _ in 0..200 {
        clients[0].text().await;
    }
    process.signal(signal);
    let started = Instant::now();
    let close_code = async |client: &mut Client| loop {
        match client.frame().await {
            Message::Close(frame) => return u16::from(frame.unwrap().code),
            Message::Text(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let codes = futures_util::future::join_all(clients.iter_mut().chain([&mut quiet]).map(close_code)).await;
    assert_eq!(codes, [1001; 5]);
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(!process.log().contains("panicked"), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_under_load_ends_with_0_and_closes_with_1001() {
    signal_under_load("INT").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_ends_with_0_and_closes_with_1001() {
    signal_under_load("TERM").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signal_while_an_archive_does_not_answer_ends_at_once() {
    let directory = directory();
    let tap = Tap::new().await;
    let mut command = command(directory.path(), &["replay", "2026-01-01-1"]);
    command.env("PULSEHUB__ARCHIVE__BASEURL", tap.url());
    let mut process = Process::start(command);
    process.admin().await;
    eventually("the hour is asked for", async || tap.is_asked()).await;
    process.signal("TERM");
    let started = Instant::now();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signal_is_heard_from_the_first_line_on() {
    let directory = directory();
    let mut command = command(directory.path(), &["run", "--sample", "auto"]);
    // Nothing answers there, and nothing refuses: GitHub is tried for its full 3 s.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut held = Vec::new();
    command.env("PULSEHUB__GITHUB__BASEURL", format!("http://{}/", silent.local_addr().unwrap()));
    let mut process = Process::start(command);
    silent.set_nonblocking(true).unwrap();
    eventually("GitHub is tried", async || silent.accept().map(|accepted| held.push(accepted)).is_ok()).await;
    process.signal("INT");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
}
