//! The pull request events of the last 24 hours, and who was busiest in them.
//!
//! It follows the live feed, so it has what clients were shown. What was before its process comes from the data directory,
//! where the process has one, and from history, where one is configured; elsewhere it begins empty. Its answers say since
//! when it has seen what.

mod kept;
mod query;
mod record;
mod table;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinError;

pub use kept::Kept;
use kept::Seen;
pub use query::{Answer, Answers};
use record::Record;
use table::{Away, Table};

use super::Feed;
use crate::clock::Clock;
use crate::domain::github::project::PULL_REQUEST_EVENT;
use crate::domain::github::row::Row;
use crate::history::{History, HistoryError};
use crate::shutdown::Shutdown;

/// What the answers look back at, in seconds.
pub const WINDOW_SECONDS: i64 = 24 * 60 * 60;
/// Events of the window at most, about 60 MiB of them; the oldest give way. GitHub has some 300,000 a day.
const MAX_EVENTS: usize = 500_000;
/// What comes within this is kept in one go. A replay at full speed fills the feed's ring in some three times as long.
const GATHER: Duration = Duration::from_millis(50);
/// How often it is kept that someone looks, also where nothing comes.
const LOOK: Duration = Duration::from_secs(20);
/// After so many seconds without a look a restart says that events may be missing.
const BREAK_SECONDS: i64 = 60;
/// Events read of the feed at once.
const READ_EVENTS: usize = 1_000;
/// Until history is asked again, where it was away.
const BETWEEN_TRIES: Duration = Duration::from_secs(10);
/// How old answers may be: computing them passes over the whole window.
const FRESH: Duration = Duration::from_secs(2);

/// The last 24 hours.
pub struct Activity {
    table: Mutex<Table>,
    kept: Option<Kept>,
    history: Option<Arc<dyn History>>,
    clock: Arc<dyn Clock>,
    answers: Mutex<Computed>,
}

/// Answers, computed once for all who ask within [`FRESH`].
struct Computed {
    at: Instant,
    answers: Arc<OnceCell<Arc<Answers>>>,
}

impl Activity {
    /// Knows nothing yet; remembers in `kept`, and begins with what `history` has, where there is one.
    pub fn new(kept: Option<Kept>, history: Option<Arc<dyn History>>, clock: Arc<dyn Clock>) -> Self {
        let table = Mutex::new(Table::new(clock.unix_seconds(), MAX_EVENTS));
        let answers = Mutex::new(Computed { at: Instant::now(), answers: Arc::default() });
        Self { table, kept, history, clock, answers }
    }

    /// What the last 24 hours say, at most two seconds old.
    ///
    /// # Errors
    /// When the computation was cut off by the end of the process.
    pub async fn answers(self: &Arc<Self>) -> Result<Arc<Answers>, JoinError> {
        let cell = {
            let mut computed = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            if computed.at.elapsed() >= FRESH {
                *computed = Computed { at: Instant::now(), answers: Arc::default() };
            }
            computed.answers.clone()
        };
        let compute = async || {
            let activity = self.clone();
            tokio::task::spawn_blocking(move || Arc::new(query::answers(&activity.table(), &*activity.clock)))
                .await
        };
        cell.get_or_try_init(compute).await.cloned()
    }

    /// Follows `feed` until shutdown, the last events included, and takes over what was before.
    pub async fn follow(self: Arc<Self>, feed: Arc<Feed>, mut shutdown: Shutdown) {
        self.off_thread(|activity| activity.restore()).await;
        let mut until = shutdown.clone();
        let before = async {
            tokio::select! {
                () = self.take_over() => {}
                () = until.triggered() => {}
            }
        };
        let mut looking = shutdown.clone();
        let looks = async {
            while looking.sleep(LOOK).await {
                self.off_thread(Self::look).await;
            }
        };
        tokio::join!(before, looks, self.follow_live(&feed, &mut shutdown));
        self.off_thread(Self::look).await;
    }

    /// Reads what history has, however long it is away.
    async fn take_over(self: &Arc<Self>) {
        let Some(history) = &self.history else { return };
        loop {
            let from = self.clock.unix_seconds() - WINDOW_SECONDS;
            let (sender, mut parts) = mpsc::channel::<Vec<Row>>(4);
            let take = async {
                while let Some(rows) = parts.recv().await {
                    self.off_thread(|activity| {
                        activity.add(rows.into_iter().filter_map(Record::of).collect(), 0)
                    })
                    .await;
                }
            };
            match tokio::join!(history.pull_requests(from, MAX_EVENTS, sender), take).0 {
                Ok(()) => return self.table().knows_history(),
                Err(error) if error.is_retryable() => tokio::time::sleep(BETWEEN_TRIES).await,
                // Its owner did not promise these columns; workers that write it say more of it.
                Err(HistoryError::Table { problem }) => {
                    return tracing::info!(
                        "the last 24 hours begin empty: the table github_events {problem}"
                    );
                }
                Err(error) => {
                    let error = crate::error_chain(&error);
                    tracing::warn!(%error, "cannot read the last 24 hours from history, going on with what comes");
                    return;
                }
            }
        }
    }

    async fn follow_live(self: &Arc<Self>, feed: &Feed, shutdown: &mut Shutdown) {
        let (mut position, mut goes_on) = (0, true);
        let mut head = feed.head();
        while goes_on {
            tokio::select! {
                _ = head.wait_for(|&end| end > position) => {}
                () = shutdown.triggered() => {}
            }
            goes_on = shutdown.sleep(GATHER).await;
            loop {
                let read = feed.read(&mut position, READ_EVENTS);
                if read.events.is_empty() {
                    break;
                }
                self.off_thread(move |activity| {
                    let events = read.events.iter().filter(|event| event.sample.kind == PULL_REQUEST_EVENT);
                    let records = events.filter_map(|event| Record::parse(&event.sample.event)).collect();
                    activity.add(records, read.lost);
                })
                .await;
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads and writes the disk, and may wait for whoever computes.
    async fn off_thread(self: &Arc<Self>, work: impl FnOnce(&Self) + Send + 'static) {
        let activity = self.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || work(&activity)).await {
            tracing::error!(%error, "cannot follow the last 24 hours");
        }
    }

    fn restore(&self) {
        let Some(kept) = &self.kept else { return };
        match kept.read() {
            Ok((seen, records)) => {
                let mut table = self.table();
                let now = self.clock.unix_seconds();
                if let Some(Seen { since, away, until }) = seen {
                    let unseen = (now - until > BREAK_SECONDS).then_some(Away { from: until, until: now });
                    table.seen_since(since, unseen.or(away));
                }
                records.into_iter().for_each(|record| _ = table.insert(&record));
                let dropped = table.expire(now - WINDOW_SECONDS);
                kept.write(self.seen(&table), &[], &dropped);
            }
            Err(error) => {
                tracing::warn!(error = %crate::error_chain(&error), "cannot read the last 24 hours, beginning with none");
            }
        }
    }

    fn add(&self, mut records: Vec<Record>, lost: u64) {
        let mut table = self.table();
        let now = self.clock.unix_seconds();
        let from = now - WINDOW_SECONDS;
        table.missed(lost, from, now);
        records.retain(|record| record.key.created_at > from && table.insert(record));
        let dropped = table.expire(from);
        let seen = self.seen(&table);
        drop(table);
        if let Some(kept) = &self.kept
            && !(records.is_empty() && dropped.is_empty())
        {
            kept.write(seen, &records, &dropped);
        }
    }

    /// Keeps that someone looks.
    fn look(&self) {
        if let Some(kept) = &self.kept {
            let seen = self.seen(&self.table());
            kept.write(seen, &[], &[]);
        }
    }

    /// When something was seen, up to now.
    fn seen(&self, table: &Table) -> Seen {
        let until = self.clock.unix_seconds();
        Seen { since: table.since(), away: table.away(until - WINDOW_SECONDS), until }
    }
}
