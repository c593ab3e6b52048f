//! The three WebSocket endpoints. Each is a [`Conversation`]; `session` does for all what a socket needs.

pub mod latest;
mod params;
pub mod sampling;
mod session;
pub mod watch;

use std::sync::Arc;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Utf8Bytes, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch::Sender;

use super::error::Problem;
use super::public::Public;
use crate::telemetry::names;
pub use params::InvalidParams;

/// Bytes of a message that a client may send.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// Small buffers: most clients idle, and there may be thousands of them.
const READ_BUFFER_BYTES: usize = 4 << 10;
/// Frames are gathered up to this size and then written at once.
const WRITE_BUFFER_BYTES: usize = 16 << 10;

/// Which endpoint a socket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/sampling`
    Sampling,
    /// `/language/latest`
    LanguageLatest,
    /// `/language/watch`
    LanguageWatch,
    /// `/stream` over WebSocket
    Stream,
    /// `/stream` as Server-Sent Events
    StreamEvents,
}

impl Endpoint {
    /// Its name as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Sampling => "sampling",
            Self::LanguageLatest => "language_latest",
            Self::LanguageWatch => "language_watch",
            Self::Stream => "stream",
            Self::StreamEvents => "stream_events",
        }
    }
}

/// What an endpoint says to one client.
pub trait Conversation: Send + 'static {
    /// What is said at once, before any params.
    fn greeting(&mut self) -> Option<Utf8Bytes>;

    /// Takes the client's params, also when it sends them again.
    fn params(&mut self, text: &str) -> Result<(), InvalidParams>;

    /// Waits for what is to be said next. Cancel safe. Waits for ever before the first params.
    fn next(&mut self) -> impl Future<Output = Vec<Utf8Bytes>> + Send;
}

/// Counts connected clients.
#[derive(Debug, Default)]
pub struct Clients(Sender<u64>);

/// Clients at the same time; more are refused with 503. An upgraded connection no longer counts as one of HTTP.
const MAX_CLIENTS: u64 = 20_000;

impl Clients {
    /// How many are connected.
    pub fn count(&self) -> u64 {
        *self.0.borrow()
    }

    /// Returns once one is connected.
    pub async fn present(&self) {
        let _ = self.0.subscribe().wait_for(|&count| count > 0).await;
    }

    /// Returns once none is connected.
    pub async fn gone(&self) {
        // The sender is this itself.
        let _ = self.0.subscribe().wait_for(|&count| count == 0).await;
    }

    /// One more client, until the guard is dropped.
    fn enter(self: &Arc<Self>, endpoint: Endpoint) -> Entered {
        self.0.send_modify(|count| *count += 1);
        metrics::gauge!(names::CLIENTS, "endpoint" => endpoint.label()).increment(1.0);
        Entered { clients: self.clone(), endpoint }
    }
}

/// One that is counted as connected.
pub(super) struct Entered {
    clients: Arc<Clients>,
    endpoint: Endpoint,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.clients.0.send_modify(|count| *count -= 1);
        metrics::gauge!(names::CLIENTS, "endpoint" => self.endpoint.label()).decrement(1.0);
    }
}

/// A WebSocket's handshake, or what to answer to a request that has none.
pub(super) type MaybeHandshake = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// Lets a client in.
///
/// # Errors
/// Where its origin may not connect, and where there are too many.
pub(super) fn admit(headers: &HeaderMap, public: &Public, endpoint: Endpoint) -> Result<Entered, Problem> {
    if !origin_allowed(headers, &public.access.borrow().origins) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "this origin may not connect"));
    }
    if public.clients.count() >= MAX_CLIENTS {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many clients"));
    }
    Ok(public.clients.enter(endpoint))
}

/// Upgrades a request and lets `conversation` talk.
pub(super) fn upgrade(
    upgrade: WebSocketUpgrade,
    headers: &HeaderMap,
    public: &Arc<Public>,
    endpoint: Endpoint,
    conversation: impl Conversation,
) -> Response {
    let entered = match admit(headers, public, endpoint) {
        Ok(entered) => entered,
        Err(problem) => return problem.into_response(),
    };
    let shutdown = public.shutdown.clone();
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        // A frame that is somewhat too large is read to its end: closing with unread data would reset the connection,
        // and the client might never learn why.
        .max_frame_size(16 * MAX_MESSAGE_BYTES)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .on_upgrade(move |socket| async move {
            let _entered = entered;
            session::run(socket, endpoint, conversation, shutdown).await;
        })
}

/// Browsers always send an origin; other clients that send none are not what origins protect from.
fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    allowed.is_empty() || allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
}
