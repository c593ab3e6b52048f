//! Deliveries that are not GitHub's, or not as they were signed, and those that come again.

use pulsehub::app::Source;
use pulsehub::config::Secret;
use reqwest::StatusCode;
use serde_json::json;

use super::{Post, SECRET, accepted, app, merged, signature};
use crate::support::{TestApp, eventually};

/// The merges that the pipeline has counted.
async fn merges(app: &TestApp) -> u64 {
    app.stats(2026).await["daily"]["2026-06-15"]["merge"].as_u64().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_or_missing_signature_is_refused_and_nothing_is_counted() {
    let app = app();
    let running = app.start(Source::None).await;
    let body = merged(1).to_string();
    for wrong in [
        None,
        Some(String::new()),
        Some(signature("another secret", body.as_bytes())),
        Some(signature(SECRET, b"another body")),
        Some(signature(SECRET, body.as_bytes()).replace("sha256=", "sha1=")),
        Some(signature(SECRET, body.as_bytes()).replace("sha256=", "")),
    ] {
        let post = Post { signature: wrong.clone(), ..Post::new("pull_request", "d-1", body.clone()) };
        assert_eq!(post.to(&running).await.0, StatusCode::UNAUTHORIZED, "{wrong:?}");
    }
    // Before anything of it is read: neither what is no JSON nor a missing header is told apart.
    let nonsense = Post { signature: None, ..Post::new("", "", "nonsense") };
    assert_eq!(nonsense.to(&running).await.0, StatusCode::UNAUTHORIZED);
    // The id of a refused delivery is not spent.
    assert_eq!(Post::new("pull_request", "d-1", body).to(&running).await, accepted("published"));
    running.stop().await;
    assert_eq!(merges(&app).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_over_a_reserialised_body_is_refused() {
    let app = app();
    let running = app.start(Source::None).await;
    let sent = serde_json::to_vec_pretty(&merged(1)).unwrap();
    let reserialised = serde_json::to_vec(&merged(1)).unwrap();
    let over_other_bytes = Post {
        signature: Some(signature(SECRET, &reserialised)),
        ..Post::new("pull_request", "d-1", sent.clone())
    };
    assert_eq!(over_other_bytes.to(&running).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(Post::new("pull_request", "d-1", sent).to(&running).await, accepted("published"));
    running.stop().await;
    assert_eq!(merges(&app).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_delivery_is_recognised_also_after_a_restart() {
    let app = app();
    let running = app.start(Source::None).await;
    let post = Post::new("pull_request", "d-1", merged(1).to_string());
    assert_eq!(post.to(&running).await, accepted("published"));
    assert_eq!(post.to(&running).await, accepted("known"));
    // Whoever has heard it cannot pass it off for another one with the same body: it is the same event.
    let renamed = Post { id: "d-2".to_owned(), ..Post::new("pull_request", "", merged(1).to_string()) };
    assert_eq!(renamed.to(&running).await, accepted("published"));
    running.stop().await;
    let running = app.start(Source::None).await;
    assert_eq!(post.to(&running).await, accepted("known"));
    running.stop().await;
    assert_eq!(merges(&app).await, 1);
    assert_eq!(app.stats(2026).await["sum"], json!({"dev": 1, "repo": 1, "additions": 10, "deletions": 4}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_25_mib_is_taken_and_one_of_a_byte_more_is_too_large() {
    const LIMIT: usize = 26_214_400;
    let app = app();
    let running = app.start(Source::None).await;
    let body = |bytes: usize| {
        let mut body = merged(1);
        body["padding"] = json!("");
        let rest = bytes - body.to_string().len();
        body["padding"] = json!("x".repeat(rest));
        body.to_string()
    };
    assert_eq!(body(LIMIT).len(), LIMIT);
    let too_large = Post::new("pull_request", "d-1", body(LIMIT + 1)).to(&running).await;
    assert_eq!(too_large.0, StatusCode::PAYLOAD_TOO_LARGE, "{}", too_large.1);
    assert_eq!(Post::new("pull_request", "d-1", body(LIMIT)).to(&running).await, accepted("published"));
    running.stop().await;
    assert_eq!(merges(&app).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_secrets_hold_while_one_is_changed_and_without_any_there_is_nothing() {
    let mut app = app();
    app.config.webhooks.secrets.push(Secret::from("the next one"));
    let running = app.start(Source::None).await;
    let ping =
        |secret: &str| Post { signature: Some(signature(secret, b"{}")), ..Post::new("ping", "d-1", "{}") };
    for secret in [SECRET, "the next one"] {
        assert_eq!(ping(secret).to(&running).await, (StatusCode::OK, "pong".to_owned()));
    }
    assert_eq!(ping("the one before").to(&running).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ping(SECRET).to_path(&running, "/websocket/webhooks/github").await.status(), StatusCode::OK);
    running.stop().await;
    let app = TestApp::new();
    let running = app.start(Source::None).await;
    assert_eq!(ping(SECRET).to(&running).await.0, StatusCode::NOT_FOUND);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_signed_and_no_event_is_ignored_or_malformed() {
    let app = app();
    let running = app.start(Source::None).await;
    let post = |event, id: &str, body: &str| Post::new(event, id, body.to_owned());
    assert_eq!(
        post("workflow_run", "d-1", r#"{"action":"completed"}"#).to(&running).await,
        accepted("ignored")
    );
    let mut private = merged(1);
    private["repository"]["private"] = json!(true);
    assert_eq!(post("pull_request", "d-2", &private.to_string()).to(&running).await, accepted("ignored"));
    for (event, id, body) in [
        ("pull_request", "d-3", "payload=%7B%7D"),
        ("pull_request", "d-3", "[]"),
        ("pull_request", "", "{}"),
        ("", "d-3", "{}"),
    ] {
        assert_eq!(
            post(event, id, body).to(&running).await.0,
            StatusCode::BAD_REQUEST,
            "{event} {id} {body}"
        );
    }
    let invalid = Post::new("pull_request", "d-4", vec![b'{', 0xff, b'}']);
    assert_eq!(invalid.to(&running).await.0, StatusCode::BAD_REQUEST);
    running.stop().await;
    assert_eq!(app.stats(2026).await["daily"], json!({}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_what_could_be_a_signature_no_body_is_waited_for() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let app = app();
    let running = app.start(Source::None).await;
    let head = "POST /webhooks/github HTTP/1.1\r\nhost: x\r\nx-github-delivery: d-1\r\ncontent-length: 1000\r\n\r\n{";
    let mut socket = tokio::net::TcpStream::connect(running.public.unwrap()).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let answered = socket.read_exact(&mut answer);
    tokio::time::timeout(std::time::Duration::from_secs(15), answered).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_breaks_off_leaves_no_trace() {
    use tokio::io::AsyncWriteExt;
    let app = app();
    let running = app.start(Source::None).await;
    let head = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: x\r\nx-github-delivery: d-1\r\nx-hub-signature-256: {}\r\n\
         content-length: 1000\r\n\r\n{{",
        signature(SECRET, b"{}")
    );
    let mut socket = tokio::net::TcpStream::connect(running.public.unwrap()).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    drop(socket);
    let post = Post::new("pull_request", "d-1", merged(1).to_string());
    assert_eq!(post.to(&running).await, accepted("published"));
    running.stop().await;
    assert_eq!(merges(&app).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_delivery_is_said_once_with_its_id() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("config.yaml"),
        format!("webhooks: {{secrets: [{SECRET}]}}\ndisable: {{producer: true}}\n"),
    )
    .unwrap();
    let mut process = crate::process::Process::start(crate::process::command(directory.path(), &["run"]));
    let url = format!("http://{}/webhooks/github", process.public().await);
    for (id, body) in [("first-id", "a"), ("first-id", "b"), ("second-id", "c"), ("first-id", "d")] {
        let request = reqwest::Client::new().post(&url).header("x-github-delivery", id).body(body);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    eventually("the second is said", async || process.log().contains("second-id")).await;
    let log = process.log();
    assert_eq!(log.matches("first-id").count(), 1, "{log}");
    assert!(!log.contains(SECRET), "{log}");
}
