//! Seeding: what history says of a year becomes the state's own counts, before events of the year are applied.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use super::{History, HistoryError, SeedPart};
use crate::alert::{Alerts, Subject};
use crate::clock::Clock;
use crate::event::{Day, year_of};
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::state::seed::{Claimed, SeedChunk, SeedLease, SeedSet};
use crate::state::{Base, State, StateError};

/// Between two looks at a seed that another process is at.
const LOOK: Duration = Duration::from_millis(500);
/// A lease is renewed while history takes its time: a third of what it lasts.
const RENEW: Duration = Duration::from_secs(10);
/// How long giving a lease back may take when the process ends.
const RELEASE: Duration = Duration::from_secs(2);
/// Parts that are read ahead of the state.
const AHEAD: usize = 4;

/// Why a seed did not come about.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Another process has the year.
    #[error("another process is seeding this year")]
    Elsewhere,
    /// The process ends.
    #[error("the process ends")]
    Stopped,
    /// History did not answer.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The state did not take it.
    #[error("the state does not take the seed")]
    State(#[from] StateError),
}

/// Seeds a state from history.
pub struct Seeder {
    history: Arc<dyn History>,
    state: Arc<dyn State>,
    clock: Arc<dyn Clock>,
    alerts: Arc<Alerts>,
    /// Whether the history's table is this program's own.
    own_table: bool,
    turn: Mutex<()>,
    noted: StdMutex<BTreeSet<i16>>,
}

impl Seeder {
    /// Seeds from `history` into `state`; does nothing by itself.
    pub fn new(
        history: Arc<dyn History>,
        state: Arc<dyn State>,
        clock: Arc<dyn Clock>,
        alerts: Arc<Alerts>,
        own_table: bool,
    ) -> Self {
        Self { history, state, clock, alerts, own_table, turn: Mutex::default(), noted: StdMutex::default() }
    }

    /// Whether counts may be replaced from this history.
    pub fn may_replace(&self) -> bool {
        self.own_table
    }

    /// Notes years of which events were applied: some may have come too late for their day, which history has then.
    pub fn note(&self, years: impl Iterator<Item = i16>) {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).extend(years);
    }

    /// The years that were noted since it was last asked.
    pub fn take_noted(&self) -> BTreeSet<i16> {
        std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Seeds this year, if it has to be.
    pub async fn this_year(self: Arc<Self>, shutdown: Shutdown) {
        self.ensure(year_of(self.clock.unix_seconds()), &shutdown).await;
    }

    /// Waits until events of `year` may be applied, and seeds it unless that is done or another process is at it. Faults
    /// are said once and tried again. `false` where shutdown came first.
    pub async fn ensure(self: &Arc<Self>, year: i16, shutdown: &Shutdown) -> bool {
        // In a task of its own: whoever gives up waiting, for its consumer failed, leaves no seed half-way.
        let (this, mut shutdown) = (self.clone(), shutdown.clone());
        let waiting = tokio::spawn(async move { this.wait_for(year, &mut shutdown).await });
        waiting.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => false,
        })
    }

    async fn wait_for(&self, year: i16, shutdown: &mut Shutdown) -> bool {
        let _turn = tokio::select! {
            turn = self.turn.lock() => turn,
            () = shutdown.triggered() => return false,
        };
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let (mut said, mut seeds) = (false, true);
        loop {
            let delay = match self.claim_and_fill(year, false, seeds, shutdown).await {
                Ok(()) => {
                    self.alerts.recovered(Subject::Seed);
                    return true;
                }
                Err(SeedError::Stopped) => return false,
                Err(SeedError::Elsewhere) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::info!(year, "another process takes the year's counts over, waiting for it");
                    }
                    LOOK
                }
                Err(SeedError::History(error)) if seeds && !self.own_table && !error.is_retryable() => {
                    // The operator's own statements may well read what the seed cannot: what they give is the base.
                    let error = crate::error_chain(&error);
                    tracing::warn!(
                        error,
                        year,
                        "cannot seed from this history: earlier days come by backfill only"
                    );
                    seeds = false;
                    Duration::ZERO
                }
                Err(error) => {
                    self.alerts.failed(Subject::Seed, &error);
                    backoff.next_delay()
                }
            };
            if !shutdown.sleep(delay).await {
                return false;
            }
        }
    }

    /// Seeds `year` again, in place of the counts that it has. Workers wait meanwhile, and apply again what they have not
    /// settled.
    ///
    /// # Errors
    /// When another process is at it, or history or state fail; workers then seed the year before they go on.
    pub async fn replace(&self, year: i16) -> Result<(), SeedError> {
        if !self.own_table {
            return Err(HistoryError::NotWritable.into());
        }
        let _turn = self.turn.lock().await;
        let (_trigger, mut shutdown) = crate::shutdown::channel();
        self.claim_and_fill(year, true, true, &mut shutdown).await
    }

    async fn claim_and_fill(
        &self,
        year: i16,
        again: bool,
        seeds: bool,
        shutdown: &mut Shutdown,
    ) -> Result<(), SeedError> {
        let claim = self.state.claim_seed(year, again, self.now());
        let claimed = tokio::select! {
            claimed = claim => claimed?,
            () = shutdown.triggered() => return Err(SeedError::Stopped),
        };
        let lease = match claimed {
            Claimed::NotNeeded => return Ok(()),
            Claimed::Elsewhere => return Err(SeedError::Elsewhere),
            Claimed::Granted(lease) => lease,
        };
        tracing::info!(year, "taking the year's counts over from history, workers wait");
        let filled = tokio::select! {
            filled = self.fill(&lease, seeds) => filled,
            () = shutdown.triggered() => Err(SeedError::Stopped),
        };
        if filled.is_err() && tokio::time::timeout(RELEASE, self.state.release_seed(&lease)).await.is_err() {
            tracing::warn!(year, "cannot give the seed back, others wait until its lease ends");
        }
        filled
    }

    /// Everything between a claim and the first apply: the seed, and the base beside it.
    async fn fill(&self, lease: &SeedLease, seeds: bool) -> Result<(), SeedError> {
        let (year, started) = (lease.year, std::time::Instant::now());
        let now = self.clock.unix_seconds();
        let open: Vec<Day> = [now - 86_400, now, now + 86_400]
            .into_iter()
            .filter_map(Day::of)
            .filter(|day| day.year() == year)
            .collect();
        let own = match seeds {
            true => self.take_over(lease, &open).await?,
            false => Base::default(),
        };
        match self.renewing(lease, self.history.recount(year)).await? {
            Ok(base) => self.state.set_base(year, base).await?,
            // What the seed says is enough to go on; the backfill says what is wrong with its statements.
            Err(error) if !error.is_retryable() => self.alerts.failed(Subject::Backfill, &error),
            Err(error) => return Err(error.into()),
        }
        self.state.finish_seed(lease, &own, &open, self.now()).await?;
        let (days, sums, seconds) = (own.days.len(), own.sums, started.elapsed().as_secs_f64());
        tracing::info!(
            year,
            days,
            developers = sums.dev,
            repositories = sums.repo,
            seconds,
            "seeded from history"
        );
        Ok(())
    }

    /// Reads history and fills the state's sets at the same time. Returns what they count.
    async fn take_over(&self, lease: &SeedLease, open: &[Day]) -> Result<Base, SeedError> {
        let (sender, mut parts) = mpsc::channel(AHEAD);
        let reading = self.history.seed(lease.year, open, sender);
        let writing = async move {
            let mut own = Base::default();
            while let Some(part) = self.renewing(lease, parts.recv()).await? {
                match part {
                    SeedPart::Members(chunk) => {
                        self.state.seed(lease, &chunk, self.now()).await?;
                        count(&mut own, &chunk);
                    }
                    SeedPart::Closed(day, counts) => drop(own.days.insert(day, counts)),
                    SeedPart::Sizes { additions, deletions } => {
                        (own.sums.additions, own.sums.deletions) = (additions, deletions);
                    }
                }
            }
            Ok::<_, SeedError>(own)
        };
        match tokio::join!(reading, writing) {
            // Where the state failed, nobody took what history had: that is no fault of history.
            (_, Err(error)) => Err(error),
            (Err(error), _) => Err(error.into()),
            (Ok(()), Ok(own)) => Ok(own),
        }
    }

    /// Waits for `work` and keeps the lease meanwhile.
    async fn renewing<T>(&self, lease: &SeedLease, work: impl Future<Output = T>) -> Result<T, StateError> {
        tokio::pin!(work);
        loop {
            if let Ok(done) = tokio::time::timeout(RENEW, &mut work).await {
                return Ok(done);
            }
            self.state.renew_seed(lease, self.now()).await?;
        }
    }

    fn now(&self) -> i64 {
        self.clock.unix_millis()
    }
}

/// Counts a part's members, which no other part has.
fn count(own: &mut Base, chunk: &SeedChunk) {
    let members = chunk.ids.len() as u64;
    match chunk.set {
        SeedSet::YearDev => own.sums.dev += members,
        SeedSet::YearRepo => own.sums.repo += members,
        SeedSet::Open(day) => own.days.entry(day).or_default().open += members,
        SeedSet::Merge(day) => own.days.entry(day).or_default().merge += members,
        SeedSet::Close(day) => own.days.entry(day).or_default().close += members,
        SeedSet::DayDev(day) => own.days.entry(day).or_default().dev += members,
        SeedSet::Pending(_) => {}
    }
}
