//! The stream as Server-Sent Events: the same messages, each with its name, and its cursor as the event's id.

use std::convert::Infallible;
use std::fmt::Write;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;

use super::message::Message;
use super::talk::Talk;
use crate::server::clients::{Endpoint, Held};
use crate::shutdown::Shutdown;
use crate::telemetry::names;

/// What browsers are told to wait before they come again.
const RETRY: &str = "retry: 2000\n\n";

struct Connection {
    talk: Talk,
    shutdown: Shutdown,
    greeted: bool,
    _held: Held,
}

/// The answer that never ends, unless the client leaves or the server goes away. A message is written when the connection
/// took those before it, so a slow client loses its own messages as one with a WebSocket does.
pub fn respond(talk: Talk, held: Held, shutdown: Shutdown) -> Response {
    let connection = Connection { talk, shutdown, greeted: false, _held: held };
    let body = stream::unfold(connection, |mut connection| async move {
        if !connection.greeted {
            connection.greeted = true;
            return Some((Ok::<_, Infallible>(Bytes::from_static(RETRY.as_bytes())), connection));
        }
        let messages = tokio::select! {
            messages = connection.talk.messages() => messages,
            () = connection.shutdown.triggered() => return None,
        };
        metrics::counter!(names::SENT, "endpoint" => Endpoint::StreamEvents.label())
            .increment(messages.len() as u64);
        Some((Ok(Bytes::from(text(&messages))), connection))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies of the nginx family would hold messages back.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

/// The messages in the form of the HTML standard, section 9.2.
fn text(messages: &[Message]) -> String {
    let mut text = String::new();
    for Message { kind, cursor, frame } in messages {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "event: {kind}");
        if let Some(cursor) = cursor {
            let _ = writeln!(text, "id: {cursor}");
        }
        text.push_str("data: ");
        // An event's own text may have line ends between its members, where they mean nothing more than a space.
        match frame.as_str() {
            one_line if !one_line.contains(['\n', '\r']) => text.push_str(one_line),
            lines => text.push_str(&lines.replace(['\n', '\r'], " ")),
        }
        text.push_str("\n\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Cursor;

    #[test]
    fn a_message_is_one_event_whatever_is_in_it() {
        let cursor = Cursor { seq: 7, index: 1 };
        let event = Message::event(cursor, "{\n\"a\":\r\n\"\\n\"}".to_owned().into());
        let snapshot = Message::snapshot("{}".to_owned().into());
        let expected = "event: event\nid: 7.1\ndata: { \"a\":  \"\\n\"}\n\nevent: snapshot\ndata: {}\n\n";
        assert_eq!(text(&[event, snapshot]), expected);
    }
}
