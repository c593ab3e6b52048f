//! The built program as operators drive it: commands, exit codes, signals, what it prints and what it never prints.

mod commands;
mod config;
mod drain;
mod reload;
mod sample;
mod signals;
mod tail;

use std::path::Path;

use tokio::time::Duration;

use crate::process::{run, stdout};

/// Within this long something moves after a start.
const SOON: Duration = Duration::from_secs(10);

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    crate::support::text(&path)
}

/// An archive of synthetic events.
fn archive(directory: &Path, events: u64) -> String {
    let output =
        run(directory, &["generate", "--events", &events.to_string(), "--start", "2026-03-01T00:00:00Z"]);
    assert!(output.status.success());
    write(directory, "archive.json", &stdout(&output))
}

fn entries(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
