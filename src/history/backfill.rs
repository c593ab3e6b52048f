//! Backfill: what history says of a year becomes the state's base. One at a time, by the clock or when asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, watch};

use super::difference::{Difference, differences};
use super::seed::{SeedError, Seeder};
use super::{History, HistoryError};
use crate::alert::{Alerts, Subject};
use crate::clock::Clock;
use crate::event::year_of;
use crate::shutdown::Shutdown;
use crate::state::{Base, State, StateError};

/// After New Year's Eve the old year is counted on for so long: its last events arrive, and its loader ends.
const OLD_YEAR_SECONDS: i64 = 2 * 24 * 60 * 60;

/// Why a backfill did not happen.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// Another one is at it.
    #[error("a backfill is running already")]
    Running,
    /// Another process seeds the year.
    #[error("another process is taking over this year's counts; try again when it is done")]
    Elsewhere,
    /// History did not answer.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The state did not take it.
    #[error("the state cannot be read or written")]
    State(#[from] StateError),
}

impl From<SeedError> for BackfillError {
    fn from(error: SeedError) -> Self {
        match error {
            SeedError::Elsewhere | SeedError::Stopped => Self::Elsewhere,
            SeedError::History(error) => Self::History(error),
            SeedError::State(error) => Self::State(error),
        }
    }
}

/// How often it runs, and how often it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two runs.
    pub every: Duration,
    /// How often a run that failed is tried again.
    pub retries: u32,
    /// Between two tries.
    pub retry_wait: Duration,
}

/// Takes history's counts into the state.
pub struct Backfill {
    history: Arc<dyn History>,
    state: Arc<dyn State>,
    clock: Arc<dyn Clock>,
    alerts: Arc<Alerts>,
    pace: watch::Receiver<Pace>,
    seeder: Arc<Seeder>,
    running: Mutex<()>,
}

impl Backfill {
    /// A backfill from `history` to `state`; does nothing by itself.
    pub fn new(
        history: Arc<dyn History>,
        state: Arc<dyn State>,
        clock: Arc<dyn Clock>,
        alerts: Arc<Alerts>,
        pace: watch::Receiver<Pace>,
        seeder: Arc<Seeder>,
    ) -> Self {
        Self { history, state, clock, alerts, pace, seeder, running: Mutex::default() }
    }

    /// Who seeds from the same history into the same state.
    pub fn seeder(&self) -> Arc<Seeder> {
        self.seeder.clone()
    }

    /// The current UTC year.
    pub fn this_year(&self) -> i16 {
        year_of(self.clock.unix_seconds())
    }

    /// Backfills `year` now, once, and returns how the published values changed.
    ///
    /// # Errors
    /// [`BackfillError::Running`] where another one is at it; else when history or state fail.
    pub async fn now(&self, year: i16) -> Result<Vec<Difference>, BackfillError> {
        let _running = self.begin()?;
        self.backfill(year).await
    }

    /// Replaces the state's own counts of `year` too, and returns how the published values changed.
    ///
    /// # Errors
    /// [`HistoryError::NotWritable`] where history is somebody else's, who may not have all that was counted;
    /// [`BackfillError::Running`] where another one is at it, in any process; else when history or state fail.
    pub async fn overwrite(&self, year: i16) -> Result<Vec<Difference>, BackfillError> {
        if !self.seeder.may_replace() {
            return Err(HistoryError::NotWritable.into());
        }
        let _running = self.begin()?;
        let before = self.published(year).await?;
        self.seeder.replace(year).await?;
        Ok(differences(year, &before, &self.published(year).await?))
    }

    /// Starts a backfill of the years that are due and does not wait for it.
    ///
    /// # Errors
    /// [`BackfillError::Running`] where another one is at it.
    pub fn start(self: &Arc<Self>) -> Result<(), BackfillError> {
        drop(self.begin()?);
        let this = self.clone();
        tokio::spawn(async move {
            // Another one may have come in between; then that one will do.
            if let Ok(_running) = this.begin() {
                this.with_retries(None).await;
            }
        });
        Ok(())
    }

    /// Compares the state's own counts of `year` (left) with a recount from history (right).
    ///
    /// # Errors
    /// When history or state fail.
    pub async fn verify(&self, year: i16) -> Result<Vec<Difference>, BackfillError> {
        let recount = self.history.recount(year).await?;
        let own = self.state.own(year).await?;
        Ok(differences(year, &own, &recount))
    }

    /// Runs at once and then in intervals, until shutdown.
    pub async fn run(self: Arc<Self>, mut shutdown: Shutdown) {
        loop {
            // One that was asked for and is still at it has the same result.
            if let Ok(_running) = self.begin() {
                self.with_retries(Some(&mut shutdown)).await;
            }
            if !self.pause(&mut shutdown).await {
                return;
            }
        }
    }

    /// Waits until the next run is due, by the pace as it stands; `false` if shutdown came first.
    async fn pause(&self, shutdown: &mut Shutdown) -> bool {
        let (began, mut pace) = (tokio::time::Instant::now(), self.pace.clone());
        loop {
            let every = pace.borrow_and_update().every;
            tokio::select! {
                biased;
                () = shutdown.triggered() => return false,
                Ok(()) = pace.changed() => {}
                () = tokio::time::sleep(every.saturating_sub(began.elapsed())) => return true,
            }
        }
    }

    fn begin(&self) -> Result<MutexGuard<'_, ()>, BackfillError> {
        self.running.try_lock().map_err(|_| BackfillError::Running)
    }

    async fn with_retries(&self, shutdown: Option<&mut Shutdown>) {
        // Without one, nobody asks it to end early.
        let (_trigger, mut own) = crate::shutdown::channel();
        let shutdown = shutdown.unwrap_or(&mut own);
        let mut attempt = 0;
        loop {
            let result = tokio::select! {
                result = self.due_years() => result,
                () = shutdown.triggered() => return,
            };
            match result {
                Ok(()) => return self.alerts.recovered(Subject::Backfill),
                Err(error) => self.alerts.failed(Subject::Backfill, &error),
            }
            let pace = *self.pace.borrow();
            if attempt >= pace.retries || !shutdown.sleep(pace.retry_wait).await {
                return;
            }
            attempt += 1;
        }
    }

    /// This year, the old one while it is young, and any of which events were applied: one that comes after its day was
    /// closed is only in history.
    async fn due_years(&self) -> Result<(), BackfillError> {
        let now = self.clock.unix_seconds();
        let noted = self.seeder.take_noted();
        let mut years: BTreeSet<i16> = noted.clone();
        years.extend([year_of(now - OLD_YEAR_SECONDS), year_of(now)]);
        for year in years {
            match self.backfill(year).await {
                Ok(changed) => tracing::info!(year, changed = changed.len(), "backfilled from history"),
                Err(error) => {
                    self.seeder.note(noted.into_iter());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn backfill(&self, year: i16) -> Result<Vec<Difference>, BackfillError> {
        let base = self.history.recount(year).await?;
        let before = self.published(year).await?;
        self.state.set_base(year, base).await?;
        Ok(differences(year, &before, &self.published(year).await?))
    }

    async fn published(&self, year: i16) -> Result<Base, StateError> {
        let snapshot = self.state.snapshot(year).await?;
        Ok(Base { days: snapshot.days, sums: snapshot.sums })
    }
}
