//! The accept loop: HTTP/1 connections with time limits, ended in order at shutdown.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::shutdown::Shutdown;

/// A client that has not sent its whole request head by then is disconnected.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at the same time; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 20_000;
/// How long connections may take to end after shutdown.
const DRAIN: Duration = Duration::from_secs(3);

/// Serves `router` on `listener` until shutdown, then lets requests end.
pub async fn serve(listener: TcpListener, router: Router, mut shutdown: Shutdown) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_headers(64);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            Some(_) = connections.join_next() => continue,
            () = shutdown.triggered() => break,
        };
        let Some((stream, slot)) = accepted else { continue };
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut shutdown = shutdown.clone();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            // A connection that breaks off is its client's business.
            tokio::select! {
                _ = connection.as_mut() => {}
                () = shutdown.triggered() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
            drop(slot);
        });
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, ended).await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Frames are small and wanted at once.
            let _ = stream.set_nodelay(true);
            Some((stream, slot))
        }
        Err(error) => {
            // Out of file descriptors, usually: accepting again at once would spin.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
