//! Logs: text or JSON, to standard error or a file.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging for the process. `level` is one of `tracing`'s; `RUST_LOG` overrides it, for debugging.
///
/// # Errors
/// When the file cannot be opened for appending.
pub fn install(level: &str, format: Format, file: Option<&Path>) -> std::io::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        // Libraries' details are of no use to operators. The Pulsar client writes a line for every attempt; what goes
        // wrong there is said by our own broker, once.
        EnvFilter::new(format!("warn,pulsar=off,pulsehub={level}"))
    });
    let ansi = file.is_none() && std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_ansi(ansi);
    // A subscriber that is set already stays: tests start several instances in one process.
    let _ = match (format, file) {
        (Format::Text, None) => builder.with_writer(std::io::stderr).try_init(),
        (Format::Json, None) => builder.json().flatten_event(true).with_writer(std::io::stderr).try_init(),
        (Format::Text, Some(path)) => builder.with_writer(append(path)?).try_init(),
        (Format::Json, Some(path)) => {
            builder.json().flatten_event(true).with_writer(append(path)?).try_init()
        }
    };
    Ok(())
}

fn append(path: &Path) -> std::io::Result<Mutex<std::fs::File>> {
    OpenOptions::new().create(true).append(true).open(path).map(Mutex::new)
}
