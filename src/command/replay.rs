//! `replay`: the pipeline fed from archives.

use std::path::PathBuf;

use super::Failure;
use super::reload::{Reload, Start};
use super::run::{announce, plan, serve, stop};
use super::signals::Signals;
use crate::app::{self, Source};
use crate::cli::{Exit, ReplayArgs};
use crate::config::Config;
use crate::source::replay::ReplayOptions;

/// Replays, then serves until a signal, or ends with `--exit`.
pub async fn replay(args: ReplayArgs) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let start = Start::read(args.pipeline.clone())?;
    let config = &start.loaded.config;
    let services = services(config);
    if args.rebase && !args.force && !services.is_empty() {
        let services = services.join(", ");
        let message =
            format!("--rebase would put invented times into {services}; say --force if that is wanted");
        return Err(Failure { message, exit: Exit::BadConfig });
    }
    let source = Source::Replay(ReplayOptions {
        sources: args.sources,
        speed: args.speed,
        rebase: args.rebase,
        archive_url: config.archive.base_url.as_str().to_owned(),
        downloads: PathBuf::from(&config.storage.path).join("archive-cache"),
        cache_bytes: u64::from(config.archive.cache) << 20,
    });
    let plan = plan(&start.loaded, &args.pipeline, source, args.live)?;
    let mut running = tokio::select! {
        running = app::start(plan) => running?,
        () = signals.stop() => return Ok(Exit::Success),
    };
    announce(&running);
    let mut reload = Reload::new(start, running.live_keys());
    let mut failure = running.failure();
    let replayed = tokio::select! {
        replayed = running.replayed() => replayed,
        () = signals.stop_or(&mut reload) => return stop(running, &mut signals).await,
        () = failure.triggered() => return stop(running, &mut signals).await.map(|_| Exit::Failure),
    };
    let exit = match replayed {
        Some(Ok(summary)) if summary.bad_files > 0 => Exit::BadData,
        Some(Ok(_)) | None => Exit::Success,
        Some(Err(error)) => {
            tracing::error!(error = %crate::error_chain(&error), "the replay ended early");
            Exit::Failure
        }
    };
    if !args.exit && exit != Exit::Failure {
        return serve(running, &mut signals, reload).await;
    }
    match stop(running, &mut signals).await? {
        Exit::Success => Ok(exit),
        failed => Ok(failed),
    }
}

/// The keys of the services that a replay would change.
fn services(config: &Config) -> Vec<&'static str> {
    let changed = [
        ("pulsar", config.pulsar.url().is_some()),
        ("redis.host", config.redis.host.is_some()),
        ("tidb.host", config.tidb.host.is_some() && config.writes_history()),
    ];
    changed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
}
