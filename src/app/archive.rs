//! Whether and where what the source publishes is written as an archive.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::backends::{Engines, data_directory};
use super::running::Stage;
use super::{Plan, Source, StartError};
use crate::archive::{self, Recorder, Settings};
use crate::status::Status;

/// A crash of the process costs about so much of the archive.
const TICK: Duration = Duration::from_secs(1);

/// Starts the archive's writer, where one is wanted. A replay is not written: it comes from an archive.
pub(super) fn start(
    plan: &Plan,
    stage: &mut Stage,
    engines: &Engines,
    status: &Status,
) -> Result<Option<Recorder>, StartError> {
    let Plan { config, source, clock, .. } = plan;
    if !config.archive.write || matches!(source, Source::Replay(_)) {
        return Ok(None);
    }
    let directory = match (&config.archive.path, source) {
        (Some(path), Source::GitHub) => PathBuf::from(path),
        // What the sample invents stays with the rest of it.
        _ => data_directory(config, source).join("archive"),
    };
    let coverage = status.coverage();
    let settings = Settings {
        directory,
        keep: config.archive.keep.get(),
        // As the topic's log: what is counted goes first.
        reserve: u64::from(config.storage.reserve) << 21,
        tick: TICK,
        coverage: Arc::new(move || {
            coverage.borrow().as_deref().and_then(|report| serde_json::to_value(report).ok())
        }),
    };
    let (recorder, writer) =
        archive::open(settings, clock.clone(), engines.alerts.clone()).map_err(StartError::Archive)?;
    let shutdown = stage.shutdown();
    stage.spawn(async move {
        if let Err(error) = tokio::task::spawn_blocking(move || writer.run(&shutdown)).await {
            tracing::error!(%error, "the archive's writer ended badly");
        }
    });
    Ok(Some(recorder))
}
