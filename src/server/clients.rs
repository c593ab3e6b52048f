//! Who is connected to which endpoint, and who may be.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::watch::Sender;

use super::error::Problem;
use super::limits::{Admitted, Refused};
use super::proxy;
use super::public::Public;
use crate::telemetry::names;

/// What a client is connected to.
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

/// Counts connected clients.
#[derive(Debug, Default)]
pub struct Clients(Sender<u64>);

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
struct Entered {
    clients: Arc<Clients>,
    endpoint: Endpoint,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.clients.0.send_modify(|count| *count -= 1);
        metrics::gauge!(names::CLIENTS, "endpoint" => self.endpoint.label()).decrement(1.0);
    }
}

/// What a client holds as long as it is connected.
pub struct Held {
    _entered: Entered,
    _admitted: Option<Admitted>,
}

/// Lets a client in that comes from `peer`, which may be a proxy.
///
/// # Errors
/// Where its origin may not connect, and where its address has too many connections.
pub fn admit(
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    public: &Public,
    endpoint: Endpoint,
) -> Result<Held, Problem> {
    if !origin_allowed(headers, &public.access.borrow().origins) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "this origin may not connect"));
    }
    let connections = &public.connections;
    // Other clients were counted when their connection was accepted.
    let behind_proxy = peer.filter(|&peer| connections.trusts(peer));
    let client = behind_proxy.and_then(|proxy| match proxy::client(headers, |hop| connections.trusts(hop)) {
        Ok(client) => client,
        // All of them are one: otherwise whoever muddles the headers had no limit.
        Err(proxy::Unclear) => Some(proxy),
    });
    let admitted = client.map(|client| connections.admit_passed_on(client)).transpose().map_err(|_| {
        metrics::counter!(names::CONNECTIONS_REFUSED, "reason" => Refused::Address.label()).increment(1);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many connections from this address")
    })?;
    Ok(Held { _entered: public.clients.enter(endpoint), _admitted: admitted })
}

/// Browsers always send an origin; other clients that send none are not what origins protect from. The server's own pages
/// may connect wherever it is reached.
fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    allowed.is_empty()
        || allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
        || is_own(origin, headers.get(header::HOST))
}

/// Whether an origin, `https://live.example.org`, is the host that was asked.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = host.and_then(|host| host.to_str().ok());
    origin.zip(host).is_some_and(|((_, authority), host)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: &str, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        headers.insert(header::HOST, host.parse().unwrap());
        origin_allowed(&headers, &["https://wall.example".to_owned()])
    }

    #[test]
    fn a_listed_origin_and_the_servers_own_may_connect_and_no_other() {
        assert!(allowed("https://wall.example", "live.example"));
        assert!(allowed("https://live.example", "live.example"));
        assert!(allowed("http://127.0.0.1:8080", "127.0.0.1:8080"));

        for foreign in
            ["https://evil.example", "https://live.example.evil.example", "https://live.example:8443", "null"]
        {
            assert!(!allowed(foreign, "live.example"), "{foreign}");
        }
    }
}
