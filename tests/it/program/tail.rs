//! `pulsehub tail`: lines for people.

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{SOON, directory};
use crate::process::{Process, command, get, lines, run, stderr, stdout};
use crate::support::{TestApp, eventually};
use crate::tap::{Tap, event};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_prints_readable_lines_and_no_control_characters() {
    let directory = directory();
    let tap = Tap::new().await;
    let mut app = TestApp::new();
    let running = tap.start(&mut app).await;
    let url = format!("ws://{}/sampling", running.public.unwrap());
    let mut tail = Process::start(command(directory.path(), &["tail", "--url", &url]));
    let output = tail.stdout();
    eventually("tail is connected", async || {
        let status = get(&format!("http://{}/api/v1/status", running.public.unwrap())).await;
        status.json::<Value>().await.unwrap()["clients"] == 1
    })
    .await;
    let mut evil = event(1, "WatchEvent\u{1b}[2J");
    evil["actor"]["login"] = json!("a\u{7}\u{9b}31m\r\nb\u{202e}");
    evil["repo"]["name"] = json!("owner/\u{1b}]0;title\u{7}repo");
    tap.pour([&evil, &event(2, "ForkEvent")]);
    let lines = timeout(SOON, lines(output, 3)).await.unwrap();
    assert!(lines[0].starts_with("today: 0 opened"), "{lines:?}");
    for part in ["owner/", "repo", "WatchEvent", "2026-06-15T11:00:00Z"] {
        assert!(lines[1].contains(part), "{lines:?}");
    }
    assert!(lines[2].contains("ForkEvent") && lines[2].contains("by user2"), "{lines:?}");
    for line in &lines {
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
    }
    drop(tap);
    running.stop().await;
    assert_eq!(tail.ended().await.code(), Some(1));
    assert!(tail.log().contains("closed the connection: 1001"), "{}", tail.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_follows_a_running_sample_until_ctrl_c() {
    let directory = directory();
    let mut process = Process::start(command(directory.path(), &["run", "--sample", "always"]));
    let url = format!("ws://{}/sampling", process.public().await);
    let mut tail = Process::start(command(directory.path(), &["tail", "--url", &url]));
    let lines = timeout(SOON, lines(tail.stdout(), 10)).await.unwrap();
    assert!(
        lines[1..].iter().all(|line| line.contains("  sample-org/repo") && line.contains("by sample-user"))
    );
    tail.signal("INT");
    assert_eq!(tail.ended().await.code(), Some(0));
    let watch = format!("ws://{}/language/watch", process.public().await);
    let mut watch = Process::start(command(directory.path(), &["tail", "--url", &watch]));
    let lines = timeout(SOON, crate::process::lines(watch.stdout(), 2)).await.unwrap();
    assert!(lines[0].contains("languageMap"), "{lines:?}");
    let refused = run(directory.path(), &["tail", "--url", "ws://127.0.0.1:9/sampling"]);
    assert_eq!(refused.status.code(), Some(69), "{}", stderr(&refused));
    let invalid = run(directory.path(), &["tail", "--url", &url, "--params", "{}"]);
    assert_eq!(invalid.status.code(), Some(1), "{}", stderr(&invalid));
    assert!(stdout(&invalid).contains("samplingRate"), "{}", stdout(&invalid));
    assert!(stderr(&invalid).contains("1008"), "{}", stderr(&invalid));
}
