//! How long closed hours are kept.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::hour::Hour;
use super::open_hour::{closed_path, manifest_path, open_path};

/// Removes hours that ended more than `keep` before `now` (Unix seconds). Only those that have a manifest: others are
/// somebody else's. One that cannot be removed does not keep the others.
///
/// # Errors
/// When the directory cannot be listed or a file not removed: the first of these.
pub fn trim(directory: &Path, keep: Duration, now: i64) -> io::Result<()> {
    let oldest = now.saturating_sub(i64::try_from(keep.as_secs()).unwrap_or(i64::MAX));
    let mut result = Ok(());
    for hour in hours(directory, ".json.gz")? {
        if hour.end() < oldest && manifest_path(directory, hour).exists() {
            result = result.and(remove(directory, hour));
        }
    }
    result
}

fn remove(directory: &Path, hour: Hour) -> io::Result<()> {
    std::fs::remove_file(closed_path(directory, hour))?;
    std::fs::remove_file(manifest_path(directory, hour))?;
    tracing::info!(%hour, "an hour of the archive is older than archive.keep, removed");
    Ok(())
}

/// Hours that were not closed, the oldest first.
///
/// # Errors
/// When the directory cannot be listed.
pub fn left_open(directory: &Path) -> io::Result<Vec<Hour>> {
    let mut hours = hours(directory, ".json.gz.open")?;
    hours.retain(|hour| open_path(directory, *hour).is_file());
    hours.sort_unstable();
    Ok(hours)
}

fn hours(directory: &Path, end: &str) -> io::Result<Vec<Hour>> {
    let mut hours = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        hours.extend(name.strip_suffix(end).and_then(Hour::parse));
    }
    Ok(hours)
}
