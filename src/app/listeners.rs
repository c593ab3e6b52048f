//! Where front ends and operators connect.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use super::backends::Engines;
use super::running::Stage;
use super::{Plan, StartError};
use crate::config::{self, Config};
use crate::delivery::Deliveries;
use crate::live::{Activity, Counters, Feed, Kept, Languages};
use crate::server::admin::{self, Admin};
use crate::server::{
    self, Certificate, Clients, Connections, Hub, Options, Public, Settings, Webhooks, descriptors,
};
use crate::status::Status;

/// How long clients may take to hear that the server goes away.
const GOODBYE: Duration = Duration::from_secs(5);
/// Connections that the system holds until they are accepted: when a server comes back, all its clients do.
const QUEUE: u32 = 4_096;

async fn listen(host: &str, port: u16, key: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let bound = async {
        let mut last = None;
        // A name can have several addresses, of which not each is this machine's.
        for address in tokio::net::lookup_host((host, port)).await? {
            match bind(address) {
                Ok(listener) => {
                    let address = listener.local_addr()?;
                    return Ok((listener, address));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| std::io::ErrorKind::AddrNotAvailable.into()))
    };
    bound.await.map_err(|source| StartError::Listen { address: format!("{host}:{port}"), key, source })
}

/// What the system keeps for a client that is slow: by itself it would keep megabytes, and a slow client's news would only
/// be older. At 100 ms to the client it still lets 2 MB/s pass, ten times the whole feed at 50 events a second.
const SEND_BUFFER: u32 = 256 << 10;

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port of connections that are still ending can be listened on again.
    socket.set_reuseaddr(true)?;
    // Every connection has it from here.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}

/// The admin listener's limit: operators and what scrapes metrics.
const ADMIN_CONNECTIONS: usize = 256;
/// File descriptors that are left for all that is no client: stores, engines, the admin listener.
const OTHER_DESCRIPTORS: u64 = 1_024;

/// How many connections there may be, with what the system allows.
fn connections(config: &config::Server) -> Connections {
    let wanted = u64::from(config.max_connections);
    let allowed =
        descriptors::raise().map_or(wanted, |limit| limit.saturating_sub(OTHER_DESCRIPTORS).max(limit / 2));
    if allowed < wanted {
        tracing::info!(
            wanted,
            allowed,
            "the system's limit of open files allows fewer than server.maxConnections"
        );
    }
    let max = usize::try_from(wanted.min(allowed)).unwrap_or(usize::MAX);
    Connections::new(max, config.max_connections_per_address as usize, config.trusted_networks())
}

/// Opens the admin listener.
pub(super) async fn serve_admin(
    plan: &Plan,
    serve: &mut Stage,
    engines: &Engines,
) -> Result<SocketAddr, StartError> {
    let (listener, address) = listen(&plan.config.admin.host, plan.config.admin.port, "admin.port").await?;
    let router = admin::router(Arc::new(Admin {
        metrics: plan.metrics.clone(),
        state: engines.state.clone(),
        broker: engines.broker.clone(),
        clock: plan.clock.clone(),
        latest_during: plan.config.interval.latest_during_s,
        backfill: engines.backfill.clone(),
    }));
    let connections = Arc::new(Connections::new(ADMIN_CONNECTIONS, 0, Vec::new()));
    let options = Options { connections, certificate: None };
    serve.spawn(server::serve(listener, router, options, serve.shutdown()));
    serve.spawn(admin::refresh_gauges(engines.broker.clone(), plan.metrics.clone(), serve.shutdown()));
    Ok(address)
}

/// Opens the public listener. `begins_after`: batches up to this number, and up to what the state knows, were applied before;
/// `None` where not all that is applied from now on comes to `feed`.
pub(super) async fn serve_public(
    plan: &Plan,
    serve: &mut Stage,
    engines: &Engines,
    feed: &Arc<Feed>,
    begins_after: Option<i64>,
    status: &Arc<Status>,
    deliveries: Option<Arc<dyn Deliveries>>,
) -> Result<SocketAddr, StartError> {
    let Config { server: config, interval, api, .. } = &plan.config;
    let certificate = match config.tls.files() {
        Some((certificate, key)) => Some(Arc::new(Certificate::open(certificate, key)?)),
        None => None,
    };
    let (listener, address) = listen(&config.host, config.port, "server.port").await?;
    let counters = Arc::new(Counters::open(engines.state.clone(), plan.clock.clone(), api.version).await?);
    let known = counters.first_message().seq;
    if let Some(seq) = begins_after.map(|seq| seq.max(known)).filter(|&seq| seq > 0) {
        feed.begins_after(seq);
    }
    let window = i64::from(interval.latest_during_s);
    let languages = Languages::new(engines.state.clone(), plan.clock.clone(), window, interval.latest.get());
    let languages = Arc::new(languages);
    let kept = engines.data.opened().map(Kept::open).transpose()?;
    let activity = Arc::new(Activity::new(kept, engines.history.clone(), plan.clock.clone()));
    let settings = Settings {
        base_path: config.extra_prefix().unwrap_or_default().to_owned(),
        health: config.health.clone(),
        sync_event: config.sync_event.clone(),
        api_version: api.version,
    };
    let clients = Arc::new(Clients::default());
    let stream = Arc::new(Hub::new(
        &counters,
        &languages,
        interval.latest_during_s,
        status.clone(),
        clients.clone(),
        plan.clock.clone(),
    ));
    let connections = Arc::new(connections(config));
    let public = Arc::new(Public {
        settings,
        access: engines.live_keys.access(),
        feed: feed.clone(),
        counters: counters.clone(),
        languages: languages.clone(),
        last_difference: Default::default(),
        activity: activity.clone(),
        stream: stream.clone(),
        broker: engines.broker.clone(),
        status: status.clone(),
        backfill: engines.backfill.clone(),
        webhooks: deliveries.map(Webhooks::new),
        clock: plan.clock.clone(),
        connections: connections.clone(),
        clients: clients.clone(),
        shutdown: serve.shutdown(),
        started: std::time::Instant::now(),
    });
    serve.spawn(activity.follow(feed.clone(), serve.shutdown()));
    let shutdown = serve.shutdown();
    serve.spawn(async move { counters.run(shutdown).await });
    let shutdown = serve.shutdown();
    serve.spawn(async move { languages.run(shutdown).await });
    let (broker, shutdown) = (engines.broker.clone(), serve.shutdown());
    serve.spawn(async move { stream.run(broker, shutdown).await });
    if let Some(certificate) = certificate.clone() {
        let shutdown = serve.shutdown();
        serve.spawn(async move { certificate.follow(shutdown).await });
    }
    let options = Options { connections, certificate };
    serve.spawn(server::serve(listener, server::router(public), options, serve.shutdown()));
    let mut shutdown = serve.shutdown();
    serve.spawn(async move {
        shutdown.triggered().await;
        // Sockets say goodbye before the process ends; one that does not take it is not waited for.
        let _ = tokio::time::timeout(GOODBYE, clients.gone()).await;
    });
    Ok(address)
}
