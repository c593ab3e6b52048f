//! Prints live events of pulsehub: `stream URL [COUNT]`, for example `cargo run --example stream -- ws://localhost:8080/stream`.
//!
//! It reads a WebSocket, reconnects by itself, goes on where it was, and says where something is missing.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A server that says nothing for so long is gone: it sends a heartbeat every 5 s.
const SILENCE: Duration = Duration::from_secs(15);
/// Before the first attempt to connect again, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(15)];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // For `wss://`.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: stream URL [COUNT]")?;
    let mut left: Option<u64> = arguments.next().map(|count| count.parse()).transpose()?;
    let (mut since, mut pause) = (None, PAUSES[0]);
    while left != Some(0) {
        match follow(&url, &mut since, &mut left).await {
            Ok(()) => pause = PAUSES[0],
            Err(Error::Http(answer)) if answer.status().is_client_error() => {
                // Trying again would not help.
                return Err(format!("{url}: {}", answer.status()).into());
            }
            Err(_) => {}
        }
        if left != Some(0) {
            sleep(pause).await;
            pause = (2 * pause).min(PAUSES[1]);
        }
    }
    Ok(())
}

/// Prints events until there were enough of them, or the connection ends. `since` is where to go on.
async fn follow(url: &str, since: &mut Option<String>, left: &mut Option<u64>) -> Result<(), Error> {
    let (mut socket, _) = connect_async(url).await?;
    let subscription = json!({
        "type": "subscribe",
        "fields": ["event.type", "event.repo.name", "event.actor.login"],
        "since": since,
    });
    socket.send(Message::text(subscription.to_string())).await?;
    while let Ok(Some(message)) = timeout(SILENCE, socket.next()).await {
        let Message::Text(text) = message? else { continue };
        let Ok(message) = serde_json::from_str::<Value>(&text) else { continue };
        match message["type"].as_str() {
            Some("event") => {
                let field = |name: &str| message["data"][name].as_str().unwrap_or("?");
                let names = ["event.type", "event.repo.name", "event.actor.login"].map(field);
                println!("{} {}", message["cursor"].as_str().unwrap_or("?"), names.join(" "));
                *left = left.map(|left| left - 1);
            }
            Some("gap") => match message["lost"].as_u64() {
                Some(lost) => eprintln!("{lost} events missing here"),
                None => eprintln!("something missing here"),
            },
            Some("error") => eprintln!("{text}"),
            _ => {}
        }
        // Everything up to here was received, or was not asked for.
        if let Some(cursor) = message["cursor"].as_str() {
            *since = Some(cursor.to_owned());
        }
        if *left == Some(0) {
            break;
        }
    }
    Ok(())
}
