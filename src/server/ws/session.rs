//! One client's socket: reads params, writes what the conversation says, pings, closes with the right code.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use futures_util::SinkExt;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::{Conversation, Endpoint};
use crate::shutdown::Shutdown;
use crate::telemetry::names;

/// How often an idle client is pinged: below the 30 s after which the first proxies give up on a silent connection.
const PING_EVERY: Duration = Duration::from_secs(25);
/// A client that takes nothing for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the other side may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a socket ends.
enum End {
    /// The client cannot be reached.
    Gone,
    /// The client said that it leaves.
    Left,
    /// It is told to leave, with a code and a reason.
    Close(u16, &'static str),
}

/// Talks until the client leaves, breaks the rules, or shutdown comes.
pub async fn run(
    mut socket: WebSocket,
    endpoint: Endpoint,
    conversation: impl Conversation,
    shutdown: Shutdown,
) {
    match talk(&mut socket, endpoint, conversation, shutdown).await {
        End::Gone => {}
        // The answer to a close frame is queued; reading on writes it.
        End::Left => drain(&mut socket).await,
        End::Close(code, reason) => {
            let frame = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
            if let Ok(Ok(())) = timeout(WRITE_TIMEOUT, socket.send(frame)).await {
                drain(&mut socket).await;
            }
        }
    }
}

/// Reads until the client ends the connection: closing it with unread data would reset it, and what was written last
/// would be lost on its way.
async fn drain(socket: &mut WebSocket) {
    let read = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = timeout(CLOSE_TIMEOUT, read).await;
}

async fn talk(
    socket: &mut WebSocket,
    endpoint: Endpoint,
    mut conversation: impl Conversation,
    mut shutdown: Shutdown,
) -> End {
    let sent = metrics::counter!(names::SENT, "endpoint" => endpoint.label());
    if let Some(greeting) = conversation.greeting() {
        if send(socket, vec![greeting]).await.is_err() {
            return End::Gone;
        }
        sent.increment(1);
    }
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => {
                    if let Err(invalid) = conversation.params(&text) {
                        let _ = send(socket, vec![invalid.frame().into()]).await;
                        return End::Close(close_code::POLICY, "invalid params");
                    }
                }
                Some(Ok(Message::Binary(_))) => return End::Close(close_code::UNSUPPORTED, "text frames only"),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) => return End::Left,
                None => return End::Gone,
                Some(Err(error)) if is_too_large(&error) => {
                    return End::Close(close_code::SIZE, "message too large");
                }
                Some(Err(_)) => return End::Gone,
            },
            frames = conversation.next() => {
                let count = frames.len() as u64;
                if send(socket, frames).await.is_err() {
                    return End::Gone;
                }
                sent.increment(count);
            }
            _ = pings.tick() => {
                if timeout(WRITE_TIMEOUT, socket.send(Message::Ping(Default::default()))).await.is_err() {
                    return End::Gone;
                }
            }
            () = shutdown.triggered() => return End::Close(close_code::AWAY, "the server is going away"),
        }
    }
}

/// Writes frames together and flushes once.
async fn send(socket: &mut WebSocket, frames: Vec<Utf8Bytes>) -> Result<(), End> {
    let write = async {
        for frame in frames {
            socket.feed(Message::Text(frame)).await?;
        }
        socket.flush().await
    };
    match timeout(WRITE_TIMEOUT, write).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(End::Gone),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    use tokio_tungstenite::tungstenite::Error;
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    matches!(source, Some(Error::Capacity(_)))
}
