//! One client's session: takes params, writes what the conversation says, looks whether the client lives, and closes
//! with the right code.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::Conversation;
use super::allowance::{Allowance, Rate};
use super::socket::{Ending, Incoming, Socket};
use crate::server::clients::Endpoint;
use crate::shutdown::Shutdown;
use crate::telemetry::names;

/// How often a client is pinged: below the 30 s after which the first proxies give up on a silent connection.
const PING_EVERY: Duration = Duration::from_secs(25);
/// A client that gives no sign of life while so many pings are due is gone. One that is slow to read meets them late, but
/// takes what it is sent meanwhile.
const PINGS_IN_VAIN: u32 = 2;

/// Params that a client may send, as when someone tries filters.
const PARAMS: Rate = Rate { burst: 20, refill: Duration::from_millis(500) };
/// Pings and pongs that it may send: each ping costs an answer.
const CONTROLS: Rate = Rate { burst: 200, refill: Duration::from_millis(100) };

/// Codes of RFC 6455, section 7.4.1.
const AWAY: u16 = 1001;
const UNSUPPORTED: u16 = 1003;
const POLICY: u16 = 1008;

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The connection broke off.
    Gone,
    /// The client said goodbye.
    Left,
    /// The client took nothing for too long.
    Stalled,
    /// The client did not answer a ping.
    Silent,
    /// It sent something that the protocol does not allow.
    Violation(u16, &'static str),
    /// It sent a binary message.
    Binary,
    /// It sent params that cannot be used.
    InvalidParams,
    /// It sends params, or pings, again and again.
    TooManyMessages,
    /// The server ends.
    Shutdown,
}

impl End {
    /// All labels, for metrics.
    pub const LABELS: [&'static str; 9] = [
        "gone",
        "left",
        "stalled",
        "silent",
        "violation",
        "binary",
        "invalid_params",
        "too_many_messages",
        "shutdown",
    ];

    /// Its name as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Left => "left",
            Self::Stalled => "stalled",
            Self::Silent => "silent",
            Self::Violation(..) => "violation",
            Self::Binary => "binary",
            Self::InvalidParams => "invalid_params",
            Self::TooManyMessages => "too_many_messages",
            Self::Shutdown => "shutdown",
        }
    }

    /// What the client is told; nothing where it cannot be reached or said it all itself.
    fn close(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Gone | Self::Left | Self::Stalled | Self::Silent => None,
            Self::Violation(code, reason) => Some((code, reason)),
            Self::Binary => Some((UNSUPPORTED, "text frames only")),
            Self::InvalidParams => Some((POLICY, "invalid params")),
            Self::TooManyMessages => Some((POLICY, "too many messages")),
            Self::Shutdown => Some((AWAY, "the server is going away")),
        }
    }
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        // tungstenite's own writes have it inside.
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let timed_out = match inner {
            Some(tokio_tungstenite::tungstenite::Error::Io(inner)) => inner.kind(),
            _ => error.kind(),
        };
        if timed_out == std::io::ErrorKind::TimedOut { Self::Stalled } else { Self::Gone }
    }
}

/// Talks until the client leaves, breaks the rules, or shutdown comes.
pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: Socket<S>,
    endpoint: Endpoint,
    mut conversation: impl Conversation,
    shutdown: Shutdown,
) {
    let end = match talk(&mut socket, endpoint, &mut conversation, shutdown).await {
        Ok(end) | Err(end) => end,
    };
    // What it holds is free before the last words.
    drop(conversation);
    metrics::counter!(names::CLOSED, "reason" => end.label()).increment(1);
    // Boxed, as what a client holds in its memory is the most that any step needs, and this comes once.
    match end.close() {
        Some((code, reason)) => Box::pin(socket.close(code, reason)).await,
        None if end == End::Left => Box::pin(socket.part()).await,
        None => {}
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut Socket<S>,
    endpoint: Endpoint,
    conversation: &mut impl Conversation,
    mut shutdown: Shutdown,
) -> Result<End, End> {
    let sent = metrics::counter!(names::SENT, "endpoint" => endpoint.label());
    if let Some(greeting) = conversation.greeting() {
        socket.write(&[greeting]).await?;
        sent.increment(1);
    }
    let now = Instant::now();
    let (mut params, mut controls) = (Allowance::new(PARAMS, now), Allowance::new(CONTROLS, now));
    let mut ping = std::pin::pin!(sleep_until(Instant::now() + PING_EVERY));
    // Pings since the client was heard of.
    let mut in_vain = 0;
    loop {
        tokio::select! {
            biased;
            () = shutdown.triggered() => return Ok(End::Shutdown),
            // Before the pings: an answer may have waited while a slow client was written to.
            incoming = socket.receive(), if conversation.listens() => {
                in_vain = 0;
                match incoming {
                    Incoming::Text(_) if !params.take(Instant::now()) => return Ok(End::TooManyMessages),
                    Incoming::Text(text) => {
                        if let Err(invalid) = conversation.params(&text) {
                            socket.write(&[invalid.frame().into()]).await?;
                            return Ok(End::InvalidParams);
                        }
                    }
                    Incoming::Binary(_) => return Ok(End::Binary),
                    Incoming::Control if !controls.take(Instant::now()) => return Ok(End::TooManyMessages),
                    Incoming::Control => {}
                    Incoming::End(Ending::Gone) => return Ok(End::Gone),
                    Incoming::End(Ending::Stalled) => return Ok(End::Stalled),
                    Incoming::End(Ending::Goodbye) => return Ok(End::Left),
                    Incoming::End(Ending::Violation(code, reason)) => return Ok(End::Violation(code, reason)),
                }
            }
            () = ping.as_mut() => {
                if in_vain == PINGS_IN_VAIN {
                    return Ok(End::Silent);
                }
                socket.ping().await?;
                in_vain += 1;
                ping.as_mut().reset(Instant::now() + PING_EVERY);
            }
            frames = conversation.next() => {
                if socket.write(&frames).await? {
                    in_vain = 0;
                }
                sent.increment(frames.len() as u64);
            }
        }
    }
}
