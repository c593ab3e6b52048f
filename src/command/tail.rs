//! `tail`: follows an endpoint in the terminal.

use std::io::Write;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::Failure;
use crate::cli::{Exit, TailArgs};

/// Prints what the server sends until it closes or a signal comes.
pub async fn tail(args: TailArgs) -> Result<Exit, Failure> {
    let unavailable = |error: &dyn std::error::Error| Failure::new(Exit::Unavailable, error);
    let (mut socket, _) =
        tokio_tungstenite::connect_async(&args.url).await.map_err(|error| unavailable(&error))?;
    let default = if args.url.contains("/language/") { "{}" } else { r#"{"samplingRate":1}"# };
    let params = args.params.as_deref().unwrap_or(default);
    socket.send(Message::text(params)).await.map_err(|error| unavailable(&error))?;
    loop {
        let received = tokio::select! {
            received = socket.next() => received,
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Success),
        };
        match received {
            Some(Ok(Message::Text(text))) => {
                let line = if args.raw { text.to_string() } else { describe(&text) };
                match writeln!(std::io::stdout(), "{line}") {
                    // Whoever reads has read enough.
                    Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Exit::Success),
                    written => written?,
                }
            }
            Some(Ok(Message::Close(frame))) => {
                let reason =
                    frame.map_or_else(String::new, |frame| format!(": {} {}", frame.code, frame.reason));
                return Err(Failure {
                    message: format!("the server closed the connection{reason}"),
                    exit: Exit::Failure,
                });
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(unavailable(&error)),
            None => return Err(Failure { message: "the connection ended".to_owned(), exit: Exit::Failure }),
        }
    }
}

/// A frame in one line for people; other frames than events as they are.
fn describe(frame: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(frame) else { return printable(frame) };
    if value["firstMessageTag"] == true && value["sumMap"].is_object() {
        let sum = |name: &str| value["sumMap"][name].as_str().unwrap_or("0").to_owned();
        let today = |map: &str| {
            value[map].as_object().and_then(|days| days.values().next_back()?.as_str()).unwrap_or("0")
        };
        return printable(&format!(
            "today: {} opened, {} merged, {} closed by {} developers; this year: {} developers, {} repositories",
            today("openMap"),
            today("mergeMap"),
            today("closeMap"),
            today("devMap"),
            sum("dev"),
            sum("repo")
        ));
    }
    let event = &value["event"];
    if !event.is_object() {
        return printable(frame);
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = format!(
        "{}  {:<30} {:<10} {}  by {}",
        text(&event["created_at"]),
        text(&event["type"]),
        event["payload"]["action"].as_str().unwrap_or(""),
        text(&event["repo"]["name"]),
        text(&event["actor"]["login"])
    );
    printable(&line)
}

/// Names come from strangers: what controls the terminal, or reorders the line, must not reach it.
fn printable(text: &str) -> String {
    let reorders = |character| matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let printable = |character: char| !(character.is_control() || reorders(character));
    text.chars().map(|character| if printable(character) { character } else { '\u{fffd}' }).collect()
}
