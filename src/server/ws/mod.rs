//! WebSockets: an endpoint is a [`Conversation`], `session` does for all of them what a socket needs.

mod allowance;
#[cfg(test)]
mod echo;
mod handshake;
pub mod latest;
mod params;
pub mod sampling;
mod session;
#[cfg(test)]
mod session_tests;
mod socket;
pub mod watch;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};

use super::clients::{Endpoint, Held, admit};
use super::public::Public;
use crate::live::Frame;
pub use handshake::Handshake;
pub use params::InvalidParams;
pub use session::End;

/// Bytes of a message that a client may send.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// What a conversation says at once has at most so many frames, and is not much longer than so many bytes: it is what
/// waits for a slow client, beside what the system has taken.
pub const WRITE_FRAMES: usize = 256;
/// Bytes of it, the last frame aside.
pub const WRITE_BYTES: usize = 64 << 10;

/// What an endpoint says to one client.
pub trait Conversation: Send + 'static {
    /// What is said at once, before any params.
    fn greeting(&mut self) -> Option<Frame>;

    /// Takes the client's params, also when it sends them again.
    fn params(&mut self, text: &str) -> Result<(), InvalidParams>;

    /// Whether it takes params now. While it does not, [`Self::next`] has something to say.
    fn listens(&self) -> bool {
        true
    }

    /// Waits for what is to be said next, [`WRITE_FRAMES`] and [`WRITE_BYTES`] at most. Cancel safe. Waits for ever before
    /// the first params.
    fn next(&mut self) -> impl Future<Output = Vec<Frame>> + Send;
}

/// Lets a client in and upgrades its request: `conversation` talks then.
pub(super) fn upgrade(
    handshake: Handshake,
    public: &Arc<Public>,
    endpoint: Endpoint,
    conversation: impl Conversation,
) -> Response {
    match admit(&handshake.headers, handshake.peer, public, endpoint) {
        Ok(held) => talk(handshake, held, public, endpoint, conversation),
        Err(problem) => problem.into_response(),
    }
}

/// Upgrades the request of a client that was let in.
pub(super) fn talk(
    handshake: Handshake,
    held: Held,
    public: &Public,
    endpoint: Endpoint,
    conversation: impl Conversation,
) -> Response {
    let shutdown = public.shutdown.clone();
    handshake.accept(MAX_MESSAGE_BYTES, move |socket| async move {
        let _held = held;
        session::run(socket, endpoint, conversation, shutdown).await;
    })
}
