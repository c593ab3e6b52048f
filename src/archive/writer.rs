//! Writes what was recorded, on a thread of its own, through full disks and failures.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::hour::Hour;
use super::lost::Lost;
use super::open_hour::OpenHour;
use super::{Batch, Recorder, Settings, retention};
use crate::alert::{Alerts, Subject};
use crate::clock::Clock;
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::storage::{DirectoryLock, NoSpace, Space};
use crate::telemetry::names;

/// Sources may hand over their last events for so long after shutdown.
const GRACE: Duration = Duration::from_secs(5);
/// How often hours that are too old, and those left open, are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

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
    /// The last hour that was closed: nothing more goes there.
    closed: Option<Hour>,
    lost: Lost,
    /// Of hours in which writing failed how many events they had: read again, they may have fewer.
    had: BTreeMap<Hour, u64>,
    writing: Trying,
    housekeeping: Trying,
    _lock: DirectoryLock,
}

/// When something may be tried again.
struct Trying {
    /// Not before this.
    due: Instant,
    /// Whether it failed the last time.
    failing: bool,
    backoff: Backoff,
}

impl Trying {
    fn new() -> Self {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        Self { due: Instant::now(), failing: false, backoff }
    }

    fn is_due(&self) -> bool {
        Instant::now() >= self.due
    }

    fn failed(&mut self) {
        self.failing = true;
        self.due = Instant::now() + self.backoff.next_delay();
    }

    /// Whether it had failed before.
    fn succeeded(&mut self) -> bool {
        self.backoff.reset();
        std::mem::take(&mut self.failing)
    }
}

impl Writer {
    pub(super) fn new(
        settings: Settings,
        receiver: Receiver<Batch>,
        recorder: &Recorder,
        alerts: Arc<Alerts>,
        lock: DirectoryLock,
    ) -> Self {
        Self {
            space: Space::new(&settings.directory, settings.reserve),
            settings,
            receiver,
            queued: recorder.queued.clone(),
            clock: recorder.clock.clone(),
            alerts,
            open: None,
            closed: None,
            lost: recorder.lost.clone(),
            had: BTreeMap::new(),
            writing: Trying::new(),
            housekeeping: Trying::new(),
            _lock: lock,
        }
    }

    /// Writes until all recorders are gone, or for a moment after shutdown. Blocks its thread. The hour that is not over stays
    /// open, for the next start to go on with.
    pub fn run(mut self, shutdown: &Shutdown) {
        let (mut ticked, mut ending) = (Instant::now(), None);
        self.keep_house();
        loop {
            match self.receiver.recv_timeout(self.settings.tick) {
                Ok(batch) => self.take(&batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if ticked.elapsed() >= self.settings.tick {
                ticked = Instant::now();
                self.tick();
            }
            if shutdown.is_triggered() && ending.get_or_insert_with(Instant::now).elapsed() > GRACE {
                break;
            }
        }
        self.tick();
        self.attempt(|writer| Ok(writer.open.as_mut().map_or(Ok(()), OpenHour::finish_member)?));
    }

    fn take(&mut self, batch: &Batch) {
        self.queued.fetch_sub(batch.lines.len(), Ordering::Relaxed);
        let hour = self.hour_of(batch);
        if self.open.as_ref().is_some_and(|open| open.hour() < hour) {
            self.close();
        }
        if self.attempt(|writer| writer.write(hour, batch)) {
            metrics::counter!(names::ARCHIVE_WRITTEN).increment(batch.events);
            // Only what was written says so, not that there was nothing to do.
            if self.writing.succeeded() {
                self.alerts.recovered(Subject::Archive);
            }
        } else {
            self.lost.add(hour, batch.events);
        }
    }

    /// Where a batch belongs. Hours only go on, also when the clock steps back, or when one ended between the batch's
    /// stamp and its turn.
    fn hour_of(&self, batch: &Batch) -> Hour {
        let first = self.open.as_ref().map(OpenHour::hour).max(self.closed.map(Hour::next));
        first.map_or(Hour::of(batch.at), |first| first.max(Hour::of(batch.at)))
    }

    /// Does something to the open hour, unless a failure is too recent; whether it was done. After a failure the hour's file
    /// is read again before it goes on.
    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> Result<(), WriteError>) -> bool {
        if !self.writing.is_due() {
            return false;
        }
        let Err(error) = work(self) else { return true };
        if let WriteError::Io(_) = error
            && let Some(open) = self.open.take()
        {
            self.had.insert(open.hour(), open.events());
        }
        self.alerts.failed(Subject::Archive, &error);
        self.writing.failed();
        false
    }

    fn write(&mut self, hour: Hour, batch: &Batch) -> Result<(), WriteError> {
        self.space.check()?;
        if self.open.is_none() {
            self.open = Some(self.open_hour(hour)?);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let minute = usize::try_from((batch.at - hour.start()).div_euclid(60)).unwrap_or(0);
        Ok(open.write(minute, &batch.lines)?)
    }

    /// Opens an hour; what a failure cost it is lost.
    fn open_hour(&mut self, hour: Hour) -> io::Result<OpenHour> {
        let open = OpenHour::open(&self.settings.directory, hour)?;
        if let Some(had) = self.had.remove(&hour) {
            self.lost.add(hour, had.saturating_sub(open.events()));
        }
        Ok(open)
    }

    /// Closes the hour when it is over, or makes what was written survive this process; sees to the others.
    fn tick(&mut self) {
        let now = self.clock.unix_seconds();
        // What waits in the queue came before.
        let is_over = |open: &OpenHour| open.hour().end() <= now && self.queued.load(Ordering::Relaxed) == 0;
        if self.open.as_ref().is_some_and(is_over) {
            self.close();
        } else {
            self.attempt(|writer| Ok(writer.open.as_mut().map_or(Ok(()), OpenHour::flush)?));
        }
        if self.housekeeping.is_due() {
            self.keep_house();
        }
    }

    /// Closes the open hour. Where that fails, it is left to the housekeeping: the next hour goes on.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let coverage = (self.settings.coverage)();
        if let Err(error) = self.close_hour(open, coverage) {
            self.alerts.failed(Subject::Archive, &error);
            self.housekeeping.failed();
        }
    }

    fn close_hour(&mut self, open: OpenHour, coverage: Option<Value>) -> Result<(), WriteError> {
        let (hour, events, lost) = (open.hour(), open.events(), self.lost.of(open.hour()));
        // Whether it succeeds or not: what comes late would open it again.
        self.closed = self.closed.max(Some(hour));
        if let Err(error) = open.close(lost, coverage) {
            self.had.insert(hour, events);
            return Err(error.into());
        }
        self.lost.written(hour, lost);
        tracing::info!(%hour, lost, "an hour of the archive is written");
        Ok(())
    }

    /// Removes hours that are too old, and closes those that an earlier process, or a failure, left open. What is wrong with
    /// them does not concern the open hour.
    fn keep_house(&mut self) {
        let kept = self.trim_and_close();
        self.housekeeping.due = Instant::now() + HOUSEKEEPING;
        match kept {
            Ok(()) if self.housekeeping.succeeded() && !self.writing.failing => {
                self.alerts.recovered(Subject::Archive);
            }
            Ok(()) => {}
            Err(error) => {
                self.alerts.failed(Subject::Archive, &error);
                self.housekeeping.failed();
            }
        }
    }

    /// Goes on after a failure, and returns the first.
    fn trim_and_close(&mut self) -> Result<(), WriteError> {
        let (now, directory) = (self.clock.unix_seconds(), self.settings.directory.clone());
        let mut result = retention::trim(&directory, self.settings.keep, now).map_err(WriteError::from);
        let left_open = retention::left_open(&directory)?;
        // Of the others somebody else has taken care.
        self.had.retain(|hour, _| left_open.contains(hour));
        for hour in left_open {
            let is_open = self.open.as_ref().is_some_and(|open| open.hour() == hour);
            if hour.end() <= now && !is_open {
                let open = self.open_hour(hour).map_err(WriteError::from);
                result = result.and(open.and_then(|open| self.close_hour(open, None)));
            }
        }
        result
    }
}
