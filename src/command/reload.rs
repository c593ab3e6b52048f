//! The configuration of a command that runs the pipeline: read at its start, and again at SIGHUP.

use std::sync::Arc;

use super::{Failure, load};
use crate::app::LiveKeys;
use crate::cli::PipelineArgs;
use crate::config::{ConfigError, Loaded, LogFormat};
use crate::telemetry::log::{self, Format};

/// The configuration as it was read at the start.
pub struct Start {
    args: PipelineArgs,
    /// What was read.
    pub loaded: Loaded,
    level: log::Level,
}

impl Start {
    /// Loads the configuration, starts logging, and says what is odd.
    pub fn read(args: PipelineArgs) -> Result<Self, Failure> {
        let loaded = read(&args)?;
        let config = &loaded.config.log;
        let format = match config.format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        };
        let file = (!config.file.is_empty()).then(|| config.file.as_ref());
        let level = log::install(config.level.as_str(), format, file)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(Self { args, loaded, level })
    }
}

/// Reads the configuration again while the process runs.
pub struct Reload {
    start: Start,
    /// What was taken over last; its keys that are not live have never had an effect.
    current: Loaded,
    live: Arc<LiveKeys>,
}

impl Reload {
    /// From now on, what changes reaches the process by `live`.
    pub fn new(start: Start, live: Arc<LiveKeys>) -> Self {
        Self { current: start.loaded.clone(), start, live }
    }

    /// Takes over what can change live and names the rest; where anything is wrong, says all of it and changes nothing.
    pub fn again(&mut self) {
        let new = match read(&self.start.args) {
            Ok(new) => new,
            Err(error) => {
                // In one line, so that all of it is found together.
                let error = crate::error_chain(&error).replace('\n', "; ");
                return tracing::error!(error, "the configuration is wrong, the old one stays");
            }
        };
        for warning in new.warnings.iter().filter(|warning| !self.current.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        let waiting = self.start.loaded.changes(&new).at_next_start;
        if !waiting.is_empty() {
            tracing::warn!(
                keys = waiting.join(", "),
                "a change of these keys takes effect at the next start"
            );
        }
        let live = self.current.changes(&new).live;
        self.live.take_over(&new.config);
        tracing::info!(changed = live.join(", "), "the configuration was read again");
        // Last, for it may silence the line above.
        let (before, level) = (self.current.config.log.level, new.config.log.level);
        if before != level && !self.start.level.set(level.as_str()) {
            tracing::warn!("log.level has no effect: RUST_LOG overrides it");
        }
        self.current = new;
    }
}

/// All layers, with the flags of `args`.
fn read(args: &PipelineArgs) -> Result<Loaded, ConfigError> {
    let host =
        args.host.iter().map(|host| ("server.host".to_owned(), host.clone(), "flag --host".to_owned()));
    let port =
        args.port.iter().map(|port| ("server.port".to_owned(), port.to_string(), "flag --port".to_owned()));
    load(&args.file, host.chain(port).collect())
}
