//! Where front ends and operators connect.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::backends::Engines;
use super::running::Stage;
use super::{Plan, StartError};
use crate::config::Config;
use crate::delivery::Deliveries;
use crate::live::{Activity, Counters, Feed, Kept, Languages};
use crate::server::admin::{self, Admin};
use crate::server::{self, Clients, Hub, Public, Settings, Webhooks};
use crate::status::Status;

/// How long clients may take to hear that the server goes away.
const GOODBYE: Duration = Duration::from_secs(5);

async fn listen(host: &str, port: u16, key: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let bound = async {
        let listener = TcpListener::bind((host, port)).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source| StartError::Listen { address: format!("{host}:{port}"), key, source })
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
    serve.spawn(server::serve(listener, router, serve.shutdown()));
    serve.spawn(admin::refresh_gauges(engines.broker.clone(), plan.metrics.clone(), serve.shutdown()));
    Ok(address)
}

/// Opens the public listener. `whole_feed`: whether everything that is applied from now on comes to `feed`.
pub(super) async fn serve_public(
    plan: &Plan,
    serve: &mut Stage,
    engines: &Engines,
    feed: &Arc<Feed>,
    whole_feed: bool,
    status: &Arc<Status>,
    deliveries: Option<Arc<dyn Deliveries>>,
) -> Result<SocketAddr, StartError> {
    let Config { server: config, interval, api, .. } = &plan.config;
    let (listener, address) = listen(&config.host, config.port, "server.port").await?;
    let counters = Arc::new(Counters::open(engines.state.clone(), plan.clock.clone(), api.version).await?);
    let seq = counters.first_message().seq;
    if whole_feed && seq > 0 {
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
    let public = Arc::new(Public {
        settings,
        access: engines.live_keys.access(),
        feed: feed.clone(),
        counters: counters.clone(),
        languages: languages.clone(),
        activity: activity.clone(),
        stream: stream.clone(),
        broker: engines.broker.clone(),
        status: status.clone(),
        backfill: engines.backfill.clone(),
        webhooks: deliveries.map(Webhooks::new),
        clock: plan.clock.clone(),
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
    serve.spawn(server::serve(listener, server::router(public), serve.shutdown()));
    let mut shutdown = serve.shutdown();
    serve.spawn(async move {
        shutdown.triggered().await;
        // Sockets say goodbye before the process ends; one that does not take it is not waited for.
        let _ = tokio::time::timeout(GOODBYE, clients.gone()).await;
    });
    Ok(address)
}
