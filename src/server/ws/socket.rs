//! A WebSocket on the server's side: messages in, shared frames out, and every ending with its code.
//!
//! The protocol is tungstenite's. Only what is sent to many does not go through its buffers: frames are encoded once
//! for all clients, and go from there to each connection, several at a time and without a copy.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

use crate::live::Frame;

/// Small, for most clients idle, and there may be thousands. Longer messages are read in several steps.
const READ_BUFFER_BYTES: usize = 1 << 10;
/// Frames that one call of the system writes at most.
const WRITE_AT_ONCE: usize = 64;
/// How long the other side may take to end the connection once both have, or it has, said goodbye.
const LINGER: Duration = Duration::from_secs(2);
/// What is read and thrown away meanwhile.
const LINGER_BYTES: usize = 1 << 20;

/// Answers to pings that wait for a client that does not read. Beyond them only the last ping is answered, which RFC 6455
/// allows in section 5.5.3.
const PONG_BYTES: usize = 1 << 10;
/// A write of this length waited until the client had taken something, for what the system holds is full by then.
const WAITED: Duration = Duration::from_secs(1);

/// What came.
#[derive(Debug)]
pub enum Incoming {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    #[allow(dead_code, reason = "only the echo server of the tests looks into it")]
    Binary(Bytes),
    /// A ping, which is answered by itself, or a pong.
    Control,
    /// Nothing more will come.
    End(Ending),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It broke off.
    Gone,
    /// It took nothing for too long.
    Stalled,
    /// The client says goodbye; the answer is on its way.
    Goodbye,
    /// The client breaks the protocol, and is to be told so with this code and reason.
    Violation(u16, &'static str),
}

/// One client's socket.
#[derive(Debug)]
pub struct Socket<S>(WebSocketStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// On a connection whose handshake is done; `read` is what came behind it already, part of a buffer that is much larger
    /// and not kept.
    /// A message of more than `max_bytes`, all its fragments together, is refused.
    pub async fn accepted(connection: S, read: Bytes, max_bytes: usize) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(max_bytes))
            .max_frame_size(Some(max_bytes))
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_write_buffer_size(PONG_BYTES)
            // What tungstenite writes itself is short and goes out at once.
            .write_buffer_size(0);
        let stream =
            WebSocketStream::from_partially_read(connection, read.to_vec(), Role::Server, Some(config));
        Self(stream.await)
    }

    /// Waits for what comes next. Cancel safe.
    pub async fn receive(&mut self) -> Incoming {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => Incoming::Text(text),
            Some(Ok(Message::Binary(bytes))) => Incoming::Binary(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Incoming::Control,
            Some(Ok(Message::Close(_))) => Incoming::End(Ending::Goodbye),
            Some(Err(error)) => Incoming::End(ending(&error)),
            None => Incoming::End(Ending::Gone),
        }
    }

    /// Writes frames one behind the other. Not cancel safe: a frame may be half written. `true` where it had to wait for the
    /// client, which is a sign of its life.
    ///
    /// # Errors
    /// When the connection is broken, or takes nothing for too long.
    pub async fn write(&mut self, frames: &[Frame]) -> io::Result<bool> {
        let began = Instant::now();
        // An answer to a ping may be half written.
        self.0.flush().await.map_err(io::Error::other)?;
        let connection = self.0.get_mut();
        for frames in frames.chunks(WRITE_AT_ONCE) {
            // Not an array: each client would have the room for it, also while nothing is written.
            let mut slices: Vec<_> = frames.iter().map(|frame| IoSlice::new(frame.wire())).collect();
            write_all(connection, &mut slices).await?;
        }
        connection.flush().await?;
        Ok(began.elapsed() >= WAITED)
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// When the connection is broken, or takes nothing for too long.
    pub async fn ping(&mut self) -> io::Result<()> {
        // What is not written yet takes the room that this needs.
        self.0.flush().await.map_err(io::Error::other)?;
        self.0.send(Message::Ping(Bytes::new())).await.map_err(io::Error::other)
    }

    /// Says goodbye with a code, waits a little for the answer, and ends the connection.
    pub async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::from_static(reason) };
        if self.0.flush().await.is_ok() && self.0.send(Message::Close(Some(frame))).await.is_ok() {
            self.end().await;
        }
    }

    /// Answers a goodbye and ends the connection.
    pub async fn part(mut self) {
        if self.0.flush().await.is_ok() {
            self.end().await;
        }
    }

    /// Reads until the client ends the connection too: closing it with unread data would reset it, and what was
    /// written last would be lost on its way.
    async fn end(mut self) {
        let lingering = async {
            // The answer to a close frame, if this side was first.
            while let Some(Ok(_)) = self.0.next().await {}
            let connection = self.0.get_mut();
            if connection.shutdown().await.is_ok() {
                let mut rest = connection.take(LINGER_BYTES as u64);
                let mut thrown_away = vec![0; 1024];
                while rest.read(&mut thrown_away).await.is_ok_and(|bytes| bytes > 0) {}
            }
        };
        let _ = timeout(LINGER, lingering).await;
    }
}

async fn write_all<S: AsyncWrite + Unpin>(
    connection: &mut S,
    mut slices: &mut [IoSlice<'_>],
) -> io::Result<()> {
    // Empty ones in front are skipped.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let write = std::future::poll_fn(|cx| Pin::new(&mut *connection).poll_write_vectored(cx, slices));
        match write.await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut slices, written),
        }
    }
    Ok(())
}

/// What a fault in reading means for the client (RFC 6455, section 7.4.1).
fn ending(error: &Error) -> Ending {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Ending::Violation(1009, "message too large"),
        Error::Utf8(_) => Ending::Violation(1007, "text must be UTF-8"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ending::Gone,
        Error::Protocol(_) => Ending::Violation(1002, "not as the protocol has it"),
        Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => Ending::Stalled,
        _ => Ending::Gone,
    }
}
