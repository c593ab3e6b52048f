//! The opening handshake: from an HTTP request to a socket (RFC 6455, section 4.2).

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::socket::Socket;
use crate::server::connection::{Connection, Peer};
use crate::server::error::Problem;

/// The only version there is.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// A request for a WebSocket that is in order.
pub struct Handshake {
    /// All headers of the request.
    pub headers: HeaderMap,
    /// Whom the connection comes from, which may be a proxy.
    pub peer: Option<IpAddr>,
    accept: HeaderValue,
    on_upgrade: OnUpgrade,
}

impl<S: Sync> FromRequestParts<S> for Handshake {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let headers = &parts.headers;
        let asks = parts.method == Method::GET
            && names(headers, &header::CONNECTION, "upgrade")
            && names(headers, &header::UPGRADE, "websocket");
        if !asks {
            return Err(upgrade_required("this path is a WebSocket: a request to upgrade is expected"));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
            return Err(upgrade_required("Sec-WebSocket-Version 13 is expected: the upgrade is of no other"));
        }
        let bad = |detail| Problem::new(StatusCode::BAD_REQUEST, detail).into_response();
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
        let key = key.ok_or_else(|| bad("Sec-WebSocket-Key must be 16 bytes in base64"))?;
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
        let accept = accept.map_err(|_| bad("Sec-WebSocket-Key cannot be answered"))?;
        let on_upgrade = parts.extensions.remove::<OnUpgrade>();
        let on_upgrade = on_upgrade.ok_or_else(|| bad("this connection cannot be upgraded"))?;
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        Ok(Self { headers: std::mem::take(&mut parts.headers), peer, accept, on_upgrade })
    }
}

/// Whether a list in a header names `token`, in any case.
fn names(headers: &HeaderMap, header: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|named| named.trim().eq_ignore_ascii_case(token))
}

fn is_key(key: &[u8]) -> bool {
    STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// 426, with what would have been right.
fn upgrade_required(detail: &str) -> Response {
    let mut response = Problem::new(StatusCode::UPGRADE_REQUIRED, detail).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, VERSION);
    response
}

impl Handshake {
    /// Accepts: `talk` gets the socket once the answer is written. Extensions that the client offers, such as
    /// compression, are not taken up. Messages of more than `max_bytes` are refused.
    pub fn accept<F>(
        self,
        max_bytes: usize,
        talk: impl FnOnce(Socket<Connection>) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send,
    {
        let Self { accept, on_upgrade, .. } = self;
        tokio::spawn(async move {
            // A client that left before it had the answer is nobody's concern.
            let Ok(upgraded) = on_upgrade.await else { return };
            // It is what the listener hands to HTTP.
            let Ok(parts) = upgraded.downcast::<TokioIo<Connection>>() else { return };
            let socket = Socket::accepted(parts.io.into_inner(), parts.read_buf, max_bytes);
            // Boxed, so that a client does not hold the room for its first moments as long as it stays.
            let socket = Box::pin(socket).await;
            Box::pin(talk(socket)).await;
        });
        let headers = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}
