//! `run`: the pipeline until a signal ends it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Failure;
use super::reload::{Reload, Start};
use super::signals::Signals;
use crate::app::{self, Plan, Role, Running, Source};
use crate::cli::{Exit, PipelineArgs, RunArgs, SampleWhen};
use crate::clock::SystemClock;
use crate::config::Loaded;
use crate::source::github;
use crate::telemetry;

/// How long GitHub is tried before the sample takes its place.
const REACH_GITHUB: Duration = Duration::from_secs(3);
/// How long draining may take after the first signal.
const DRAIN: Duration = Duration::from_secs(30);

/// Runs until a signal.
pub async fn run(args: RunArgs) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let start = Start::read(args.pipeline.clone())?;
    let started = async {
        let source = choose_source(&start.loaded, &args).await;
        let plan = plan(&start.loaded, &args.pipeline, source, false)?;
        Ok::<_, Failure>(app::start(plan).await?)
    };
    let running = tokio::select! {
        running = started => running?,
        () = signals.stop() => return Ok(Exit::Success),
    };
    announce(&running);
    let reload = Reload::new(start, running.live_keys());
    serve(running, &mut signals, reload).await
}

/// What a command's flags and configuration come to.
pub fn plan(
    loaded: &Loaded,
    args: &PipelineArgs,
    source: Source,
    live_regardless_of_age: bool,
) -> Result<Plan, Failure> {
    let metrics = telemetry::install_metrics().map_err(|error| Failure::new(Exit::Failure, &error))?;
    let all = [Role::Poll, Role::Work, Role::Serve];
    let roles: BTreeSet<Role> =
        if args.roles.is_empty() { all.into() } else { args.roles.iter().copied().collect() };
    Ok(Plan {
        config: loaded.config.clone(),
        roles,
        source,
        live_regardless_of_age,
        clock: Arc::new(SystemClock),
        metrics: Some(metrics),
    })
}

/// Live data, unless the sample was asked for, or is allowed and nothing else can be had.
async fn choose_source(loaded: &Loaded, args: &RunArgs) -> Source {
    let sample = args.sample.unwrap_or(SampleWhen::Never);
    let roles = &args.pipeline.roles;
    if !(roles.is_empty() || roles.contains(&Role::Poll)) {
        return Source::None;
    }
    let config = &loaded.config;
    let auto = sample == SampleWhen::Auto && loaded.file_is_default && config.github.is_anonymous();
    if sample == SampleWhen::Always {
        return Source::Sample;
    }
    if auto && !github::reachable(config.github.base_url.as_str(), REACH_GITHUB).await {
        tracing::warn!(
            "GitHub cannot be reached: streaming a SAMPLE of generated events instead; restart for live data"
        );
        tokio::spawn(say_when_reachable(config.github.base_url.as_str().to_owned()));
        return Source::Sample;
    }
    if config.github.is_anonymous() {
        tracing::warn!(
            "no GitHub token: 60 requests an hour, most events are missed, and there are no sizes and no languages"
        );
    }
    Source::GitHub
}

/// The sample never turns live by itself: what was shown must not change its meaning under someone's eyes.
async fn say_when_reachable(base_url: String) {
    loop {
        tokio::time::sleep(Duration::from_secs(30)).await;
        if github::reachable(&base_url, REACH_GITHUB).await {
            tracing::warn!("GitHub can be reached again: restart for live data");
            return;
        }
    }
}

/// Says where to connect.
pub fn announce(running: &Running) {
    if let Some(address) = running.public.map(reachable_from_here) {
        let [ws, http] = if running.encrypted { ["wss", "https"] } else { ["ws", "http"] };
        for path in ["sampling", "language/latest", "language/watch"] {
            tracing::info!("serving {ws}://{address}/{path}");
        }
        tracing::info!("status  {http}://{address}/api/v1/status");
    }
    tracing::info!("metrics http://{}/metrics", reachable_from_here(running.admin));
}

/// Every interface is listened on, but cannot be connected to by that name.
fn reachable_from_here(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// Runs until a signal, or until nothing is counted any more.
pub async fn serve(running: Running, signals: &mut Signals, mut reload: Reload) -> Result<Exit, Failure> {
    let mut failure = running.failure();
    let failed = tokio::select! {
        () = signals.stop_or(&mut reload) => false,
        () = failure.triggered() => true,
    };
    let exit = stop(running, signals).await?;
    Ok(if failed { Exit::Failure } else { exit })
}

/// Drains; a second signal, or thirty seconds, end the process at once.
pub async fn stop(running: Running, signals: &mut Signals) -> Result<Exit, Failure> {
    tracing::info!("stopping: settling what is in flight (a second signal stops at once)");
    tokio::select! {
        () = running.stop() => {
            tracing::info!("stopped");
            Ok(Exit::Success)
        }
        () = signals.stop() => {
            tracing::warn!("stopped at once: what was in flight is delivered again at the next start");
            Ok(Exit::Failure)
        }
        () = tokio::time::sleep(DRAIN) => {
            tracing::error!("could not drain within {DRAIN:?}: what was in flight is delivered again");
            Ok(Exit::Failure)
        }
    }
}
