//! The archive that is written: what sources publish, as hourly files like GH Archive's, filed by the hour of arrival.
//!
//! A [`Recorder`] is what sources hand events to; it never waits. The [`Writer`] takes them on a thread of its own:
//! `open_hour` writes, `recover` goes on after a crash, `manifest` says what is in a file and `lost` what is not,
//! `retention` what is kept.

mod hour;
mod lost;
mod manifest;
mod open_hour;
mod recover;
mod retention;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use serde_json::Value;

use crate::alert::Alerts;
use crate::clock::Clock;
use crate::storage::{DirectoryLock, LockError};
use hour::Hour;
use lost::Lost;
pub use writer::Writer;

/// Batches, and bytes in them, that wait for the writer; what comes then is lost to the archive, and counted.
const QUEUED_BATCHES: usize = 4_096;
const QUEUED_BYTES: usize = 64 << 20;

/// Where and how.
pub struct Settings {
    /// The directory, for this process alone.
    pub directory: PathBuf,
    /// How long closed hours are kept.
    pub keep: Duration,
    /// Bytes of its disk that stay free.
    pub reserve: u64,
    /// How often what was written is handed to the system, and the end of an hour is looked for.
    pub tick: Duration,
    /// How much of the feed is seen, for the manifests.
    pub coverage: Arc<dyn Fn() -> Option<Value> + Send + Sync>,
}

/// Lines that came together.
struct Batch {
    /// When, in Unix seconds.
    at: i64,
    lines: Vec<u8>,
    events: u64,
}

/// Takes events for the archive.
#[derive(Clone)]
pub struct Recorder {
    sender: SyncSender<Batch>,
    queued: Arc<AtomicUsize>,
    lost: Lost,
    clock: Arc<dyn Clock>,
}

/// Prepares both ends; nothing is written before [`Writer::run`].
///
/// # Errors
/// When the directory cannot be used, or is in use.
pub fn open(
    settings: Settings,
    clock: Arc<dyn Clock>,
    alerts: Arc<Alerts>,
) -> Result<(Recorder, Writer), LockError> {
    let lock = DirectoryLock::acquire(&settings.directory)?;
    let (sender, receiver) = sync_channel(QUEUED_BATCHES);
    let queued = Arc::<AtomicUsize>::default();
    let recorder = Recorder { sender, queued, lost: Lost::default(), clock };
    let writer = Writer::new(settings, receiver, &recorder, alerts, lock);
    Ok((recorder, writer))
}

impl Recorder {
    /// Takes the events, each one JSON object, as having come now. Where the writer is too far behind, they are lost to
    /// the archive.
    pub fn record<'a>(&self, events: impl IntoIterator<Item = &'a str>) {
        let (mut lines, mut count) = (Vec::new(), 0);
        for event in events {
            // Line ends in JSON are only between its tokens.
            lines.extend(event.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
            lines.push(b'\n');
            count += 1;
        }
        if count == 0 {
            return;
        }
        let bytes = lines.len();
        let at = self.clock.unix_seconds();
        let batch = Batch { at, lines, events: count };
        let fits = self.queued.fetch_add(bytes, Ordering::Relaxed) + bytes <= QUEUED_BYTES;
        if !fits || self.sender.try_send(batch).is_err() {
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
            self.lost.add(Hour::of(at), count);
        }
    }
}
