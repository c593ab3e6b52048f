//! Clients that listen and say nothing more: there may be ten thousand.

use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::{memory, quiet};
use crate::support::PATIENCE;

const ENDPOINTS: [(&str, &str); 2] = [
    ("/sampling", r#"{"samplingRate":1,"filter":["event.id","event.repo.name"]}"#),
    ("/language/watch", r#"{"language":["Rust"]}"#),
];
/// Clients of each endpoint that come together.
const CLIENTS: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_client_takes_less_than_10_kib() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = quiet(directory.path());
    let mut clients = Vec::new();
    let mut memories = Vec::new();
    // With the first of them everything is touched once.
    for _ in 0..3 {
        for (path, params) in ENDPOINTS {
            for _ in 0..CLIENTS {
                let mut client = process.client(path).await;
                client.text().await;
                client.send(params).await;
                // What is answered came after the params.
                client.0.send(Message::Ping("?".into())).await.unwrap();
                let answer = timeout(PATIENCE, client.0.next()).await.unwrap().unwrap().unwrap();
                assert!(matches!(answer, Message::Pong(_)), "{answer:?}");
                clients.push(client);
            }
        }
        memories.push(memory(&process));
    }
    let each = (memories[2] - memories[0]) as f64 / (2 * 2 * CLIENTS) as f64;
    println!("{each:.1} KiB each");
    assert!(each < 10.0, "{each} KiB each: {memories:?}");
}
