//! Writes what was recorded, on a thread of its own, through full disks and failures.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::hour::Hour;
use super::open_hour::OpenHour;
use super::{Batch, Settings, retention};
use crate::alert::{Alerts, Subject};
use crate::clock::Clock;
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::storage::{DirectoryLock, NoSpace, Space};
use crate::telemetry::names;

/// Sources may hand over their last events for so long after shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Full(#[from] NoSpace),
    #[error("cannot write the archive")]
    Io(#[from] io::Error),
}

/// The archive's writing end.
pub struct Writer {
    settings: Settings,
    receiver: Receiver<Batch>,
    queued: Arc<AtomicUsize>,
    clock: Arc<dyn Clock>,
    alerts: Arc<Alerts>,
    space: Space,
    open: Option<OpenHour>,
    /// Events of the open hour that were not written.
    lost: u64,
    /// After a failure: not before this.
    not_before: Option<Instant>,
    backoff: Backoff,
    _lock: DirectoryLock,
}

impl Writer {
    pub(super) fn new(
        settings: Settings,
        receiver: Receiver<Batch>,
        queued: Arc<AtomicUsize>,
        clock: Arc<dyn Clock>,
        alerts: Arc<Alerts>,
        space: Space,
        lock: DirectoryLock,
    ) -> Self {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let (open, lost, not_before) = (None, 0, None);
        Self {
            settings,
            receiver,
            queued,
            clock,
            alerts,
            space,
            open,
            lost,
            not_before,
            backoff,
            _lock: lock,
        }
    }

    /// Writes until all recorders are gone, or for a moment after shutdown. Blocks its thread. The hour that is not over stays
    /// open, for the next start to go on with.
    pub fn run(mut self, shutdown: &Shutdown) {
        let (mut ticked, mut ending) = (Instant::now(), None);
        self.attempt(Self::housekeeping);
        loop {
            match self.receiver.recv_timeout(self.settings.tick) {
                Ok(batch) => self.take(&batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if ticked.elapsed() >= self.settings.tick {
                ticked = Instant::now();
                self.attempt(Self::tick);
            }
            if shutdown.is_triggered() && ending.get_or_insert_with(Instant::now).elapsed() > GRACE {
                break;
            }
        }
        self.attempt(Self::tick);
        self.attempt(|writer| Ok(writer.open.as_mut().map_or(Ok(()), OpenHour::finish_member)?));
    }

    fn take(&mut self, batch: &Batch) {
        self.queued.fetch_sub(batch.lines.len(), Ordering::Relaxed);
        if self.attempt(|writer| writer.write(batch)) {
            metrics::counter!(names::ARCHIVE_WRITTEN).increment(batch.events);
        } else {
            self.lost += batch.events;
            metrics::counter!(names::ARCHIVE_LOST).increment(batch.events);
        }
    }

    /// Does something, unless a failure is too recent; whether it was done. After a failure in the open hour its file is read
    /// again before it goes on.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<(), WriteError>) -> bool {
        if self.not_before.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        let failing = self.not_before.take().is_some();
        match work(self) {
            Ok(()) => {
                if failing {
                    self.backoff.reset();
                    self.alerts.recovered(Subject::Archive);
                }
                true
            }
            Err(error) => {
                if let WriteError::Io(_) = error {
                    self.open = None;
                }
                self.alerts.failed(Subject::Archive, &error);
                self.not_before = Some(Instant::now() + self.backoff.next_delay());
                false
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<(), WriteError> {
        self.space.check()?;
        // Hours only go on, also when the clock steps back.
        let hour = Hour::of(batch.at).max(self.open.as_ref().map_or(Hour::of(batch.at), OpenHour::hour));
        if self.open.as_ref().is_some_and(|open| open.hour() < hour) {
            self.close()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(OpenHour::open(&self.settings.directory, hour)?),
        };
        let minute = usize::try_from((batch.at - hour.start()).div_euclid(60)).unwrap_or(0);
        Ok(open.write(minute, &batch.lines)?)
    }

    /// Closes the hour when it is over, or makes what was written survive this process.
    fn tick(&mut self) -> Result<(), WriteError> {
        let now = self.clock.unix_seconds();
        match &mut self.open {
            // What waits in the queue came before.
            Some(open) if open.hour().end() <= now && self.queued.load(Ordering::Relaxed) == 0 => {
                self.close()
            }
            Some(open) => Ok(open.flush()?),
            None => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), WriteError> {
        if let Some(open) = self.open.take() {
            let (hour, lost) = (open.hour(), std::mem::take(&mut self.lost));
            open.close(lost, (self.settings.coverage)())?;
            tracing::info!(%hour, lost, "an hour of the archive is written");
        }
        // What is wrong with older files does not concern the next hour.
        self.housekeeping().or_else(|error| {
            self.alerts.failed(Subject::Archive, &error);
            Ok(())
        })
    }

    /// Closes hours that an earlier process left open, and removes those that are too old.
    fn housekeeping(&mut self) -> Result<(), WriteError> {
        let (now, directory) = (self.clock.unix_seconds(), &self.settings.directory);
        for hour in retention::left_open(directory)? {
            let is_open = self.open.as_ref().is_some_and(|open| open.hour() == hour);
            if hour.end() <= now && !is_open {
                OpenHour::open(directory, hour)?.close(0, None)?;
            }
        }
        Ok(retention::trim(directory, self.settings.keep, now)?)
    }
}
