//! The accept loop: HTTP/1 connections with limits on their number and their time, ended in order at shutdown.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_service::Service;

use super::connection::{Connection, Peer};
use super::limits::{Admitted, Connections, Refused};
use super::security::Encrypted;
use super::tls::Certificate;
use crate::shutdown::Shutdown;
use crate::telemetry::names;

/// A client that has not sent its first byte by then is disconnected.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);
/// A client that has not agreed on encryption by then is.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that has not sent its whole request head by then is, and so is one that sends no further request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Headers of a request at most,
const MAX_HEADERS: usize = 64;
/// and bytes of its head.
const MAX_HEAD_BYTES: usize = 32 << 10;
/// How long connections may take to end after shutdown.
const DRAIN: Duration = Duration::from_secs(3);

/// What a connection may be that ended before it was accepted.
const BROKEN_OFF: [ErrorKind; 2] = [ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset];
/// After the system refused to accept any.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Connections at the same time that are told why they are refused; others are just closed.
const REFUSALS: usize = 64;
/// How long one of them may take.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 10\r\nConnection: close\r\n\r\n";

/// How a listener treats connections.
pub struct Options {
    /// How many there may be.
    pub connections: Arc<Connections>,
    /// What they are encrypted with; absent where they are not.
    pub certificate: Option<Arc<Certificate>>,
}

/// Serves `router` on `listener` until shutdown, then lets requests end.
pub async fn serve(listener: TcpListener, router: Router, options: Options, mut shutdown: Shutdown) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES);
    let server = Arc::new(Server { http, router, options, refusals: Arc::new(Semaphore::new(REFUSALS)) });
    let mut connections = JoinSet::new();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = shutdown.triggered() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            // The client's business, and no other's.
            Err(error) if BROKEN_OFF.contains(&error.kind()) => continue,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                }
                failing = true;
                // Out of file descriptors, usually: accepting again at once would spin.
                shutdown.sleep(BETWEEN_TRIES).await;
                continue;
            }
        };
        failing = false;
        match server.options.connections.admit(address.ip()) {
            Ok(admitted) => {
                connections.spawn(server.clone().talk(stream, address, admitted, shutdown.clone()));
            }
            Err(refused) => server.refuse(stream, refused),
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(DRAIN, ended).await;
}

/// What all connections of a listener share.
struct Server {
    http: http1::Builder,
    router: Router,
    options: Options,
    refusals: Arc<Semaphore>,
}

impl Server {
    /// Serves one connection to its end, or until it is a WebSocket.
    async fn talk(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        admitted: Admitted,
        mut shutdown: Shutdown,
    ) {
        // Nothing is allocated for a client that says nothing.
        let spoke = tokio::select! {
            spoke = timeout(FIRST_BYTE_TIMEOUT, stream.readable()) => spoke,
            () = shutdown.triggered() => return,
        };
        let Ok(Ok(())) = spoke else { return };
        // Frames are small and wanted at once. Without it, it works all the same.
        let _ = stream.set_nodelay(true);
        let encrypted = self.options.certificate.is_some();
        let connection = match &self.options.certificate {
            None => Connection::plain(stream, admitted),
            Some(certificate) => {
                let accepted = timeout(TLS_TIMEOUT, certificate.acceptor().accept(stream)).await;
                let Ok(Ok(stream)) = accepted else { return };
                Connection::tls(stream, admitted)
            }
        };
        let router = &self.router;
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(address.ip().to_canonical()));
            if encrypted {
                request.extensions_mut().insert(Encrypted);
            }
            let mut router = router.clone();
            async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
        });
        let mut connection =
            pin!(self.http.serve_connection(TokioIo::new(connection), service).with_upgrades());
        // A connection that breaks off is its client's business.
        tokio::select! {
            _ = connection.as_mut() => {}
            () = shutdown.triggered() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }

    /// Says why, where that is quick and not asked too often. An encrypted connection is just closed.
    fn refuse(&self, mut stream: TcpStream, refused: Refused) {
        metrics::counter!(names::CONNECTIONS_REFUSED, "reason" => refused.label()).increment(1);
        if self.options.certificate.is_some() {
            return;
        }
        let Ok(place) = self.refusals.clone().try_acquire_owned() else { return };
        tokio::spawn(async move {
            let told = async {
                // The request is read first: closing with unread data would reset the connection.
                let mut request = [0; 4096];
                let _beginning = stream.read(&mut request).await?;
                stream.write_all(REFUSAL).await?;
                stream.shutdown().await?;
                while stream.read(&mut request).await? > 0 {}
                std::io::Result::Ok(())
            };
            let _ = timeout(REFUSAL_TIMEOUT, told).await;
            drop(place);
        });
    }
}
