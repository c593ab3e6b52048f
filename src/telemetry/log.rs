//! Logs: text or JSON, to standard error or a file, from a level on that can change.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::reload::{Error, Handle};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

type Set = dyn Fn(EnvFilter) -> Result<(), Error> + Send + Sync;

/// The level from which on lines are written.
pub struct Level(Option<Box<Set>>);

impl Level {
    /// Writes from `level` on, one of `tracing`'s; `false` where `RUST_LOG` overrides it.
    pub fn set(&self, level: &str) -> bool {
        // Without a handle RUST_LOG rules; an error means that nothing is logged here anyway.
        self.0.as_ref().is_some_and(|set| set(filter(level)).is_ok())
    }
}

/// Starts logging for the process. `level` is one of `tracing`'s; `RUST_LOG` overrides it, for debugging.
///
/// # Errors
/// When the file cannot be opened for appending.
pub fn install(level: &str, format: Format, file: Option<&Path>) -> std::io::Result<Level> {
    let environment = EnvFilter::try_from_default_env().ok();
    let overridden = environment.is_some();
    let ansi = file.is_none() && std::io::stderr().is_terminal();
    let writer = match file {
        None => BoxMakeWriter::new(std::io::stderr),
        Some(path) => BoxMakeWriter::new(append(path)?),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(environment.unwrap_or_else(|| filter(level)))
        .with_target(false)
        .with_ansi(ansi)
        // It would say on standard error that standard error can't be written, and panic where that fails.
        .log_internal_errors(false)
        .with_writer(writer);
    // A subscriber that is set already stays: tests start several instances in one process.
    let level = match format {
        Format::Text => {
            let builder = builder.with_filter_reloading();
            let level = changing(builder.reload_handle());
            let _ = builder.try_init();
            level
        }
        Format::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let level = changing(builder.reload_handle());
            let _ = builder.try_init();
            level
        }
    };
    Ok(if overridden { Level(None) } else { level })
}

/// Libraries' details are of no use to operators. The Pulsar client writes a line for every attempt; what goes wrong there
/// is said by our own broker, once.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("warn,pulsar=off,pulsehub={level}"))
}

fn changing<S: 'static>(handle: Handle<EnvFilter, S>) -> Level {
    Level(Some(Box::new(move |filter| handle.reload(filter))))
}

fn append(path: &Path) -> std::io::Result<Mutex<std::fs::File>> {
    OpenOptions::new().create(true).append(true).open(path).map(Mutex::new)
}
