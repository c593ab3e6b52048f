//! Whose turn it is to write into history: a few at a time while it works, one alone while it does not.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit, watch};

use super::{GRACE, Stop, Worker};
use crate::alert::Subject;
use crate::domain::github::row::Row;
use crate::history::History;
use crate::retry::Backoff;
use crate::shutdown::Shutdown;

/// Batches of this process that are written at the same time; more would only wait for each other in the history.
const AT_ONCE: usize = 4;

/// The longest pause between two attempts while history fails. Only one batch tries, so that it may look often, and all
/// go on soon after its return.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The queue of the batches that wait for history, for all workers of a process. Without it each of them would try by
/// itself, hundreds of times a second.
///
/// Whoever waits here must be a task: a future that is not polled keeps its turn for ever.
#[derive(Debug)]
pub struct Turn {
    places: Semaphore,
    failing: watch::Sender<bool>,
    /// Held by the one that tries while history fails. Whoever takes it over goes on at the same pace.
    probe: Mutex<Backoff>,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            places: Semaphore::new(AT_ONCE),
            failing: watch::Sender::new(false),
            probe: Mutex::new(Backoff::new(Duration::from_millis(50), LONGEST_PAUSE)),
        }
    }
}

/// The right to make one attempt.
struct Attempt<'a> {
    turn: &'a Turn,
    probe: Option<MutexGuard<'a, Backoff>>,
}

impl Turn {
    /// Waits for one of the places.
    async fn place(&self, shutdown: &Shutdown) -> Result<SemaphorePermit<'_>, Stop> {
        tokio::select! {
            biased;
            // Never closed.
            place = self.places.acquire() => place.map_err(|_| Stop::Shutdown),
            () = self.hopeless(shutdown.clone()) => Err(Stop::Shutdown),
        }
    }

    /// Waits until the holder of a place may try: at once while history works, else as the only one and after a pause.
    async fn attempt(&self, shutdown: &mut Shutdown) -> Result<Attempt<'_>, Stop> {
        if !self.is_failing() {
            return Ok(Attempt { turn: self, probe: None });
        }
        let mut probe = tokio::select! {
            biased;
            probe = self.probe.lock() => probe,
            () = self.hopeless(shutdown.clone()) => return Err(Stop::Shutdown),
        };
        // The one before has found it working.
        if !self.is_failing() {
            probe.reset();
            return Ok(Attempt { turn: self, probe: None });
        }
        if !shutdown.sleep(probe.next_delay()).await {
            return Err(Stop::Shutdown);
        }
        Ok(Attempt { turn: self, probe: Some(probe) })
    }

    fn is_failing(&self) -> bool {
        *self.failing.borrow()
    }

    /// Returns when waiting makes no sense any more: the process ends, and history fails or does not get ready in time.
    async fn hopeless(&self, mut shutdown: Shutdown) {
        shutdown.triggered().await;
        let mut failing = self.failing.subscribe();
        tokio::select! {
            // An error would be a sender that is gone, which is `self`.
            _ = failing.wait_for(|failing| *failing) => {}
            () = shutdown.overdue(GRACE) => {}
        }
    }
}

impl Attempt<'_> {
    /// History answered: everybody may go on.
    fn works(mut self) {
        if let Some(probe) = &mut self.probe {
            probe.reset();
        }
        self.turn.failing.send_if_modified(|failing| std::mem::replace(failing, false));
    }

    /// History failed: from now on one tries at a time.
    fn failed(self) {
        self.turn.failing.send_replace(true);
    }
}

impl Worker {
    /// Writes rows, in turn, until history takes or refuses them.
    pub(super) async fn write_in_turn(
        &self,
        history: &dyn History,
        rows: &[Row],
        shutdown: &mut Shutdown,
    ) -> Result<(), Stop> {
        let overdue = shutdown.clone().overdue(GRACE);
        tokio::pin!(overdue);
        let _place = self.turn.place(shutdown).await?;
        loop {
            let attempt = self.turn.attempt(shutdown).await?;
            match self.attempt(Subject::History, history.write(rows), overdue.as_mut()).await {
                Ok(None) => attempt.failed(),
                Ok(Some(())) => {
                    attempt.works();
                    return Ok(());
                }
                Err(stop) => {
                    if matches!(stop, Stop::Refused(_)) {
                        attempt.works();
                    }
                    return Err(stop);
                }
            }
        }
    }
}
