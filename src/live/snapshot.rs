//! The counters as clients first see them: a snapshot kept in memory, refreshed when batches were applied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use serde::Serialize;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::event::Day;
use crate::shutdown::Shutdown;
use crate::state::{Base, DayCounts, Snapshot, State, StateError};

/// How old a snapshot may be. The feed's ring reaches further back at any rate of events that it is made for.
const REFRESH: Duration = Duration::from_millis(250);

/// The first message of `/sampling`, as sent, and the number of the last batch that is in it.
#[derive(Debug, Clone, Default)]
pub struct FirstMessage {
    /// Events with a larger number are not in it.
    pub seq: i64,
    /// The frame.
    pub frame: Utf8Bytes,
    /// What it was made from.
    pub snapshot: Arc<Snapshot>,
    /// Whether the state has it no more, or not yet: it was lost or is being replaced, or cannot be asked.
    pub stale: bool,
}

/// Keeps the snapshot of the current UTC year.
pub struct Counters {
    state: Arc<dyn State>,
    clock: Arc<dyn Clock>,
    api_version: u32,
    current: watch::Sender<FirstMessage>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Frame {
    first_message_tag: bool,
    api_version: u32,
    event_map: BTreeMap<String, String>,
    open_map: BTreeMap<String, String>,
    merge_map: BTreeMap<String, String>,
    close_map: BTreeMap<String, String>,
    dev_map: BTreeMap<String, String>,
    sum_map: BTreeMap<&'static str, String>,
}

impl Counters {
    /// Reads the first snapshot. While a service that has it is away, today without any counts stands in.
    ///
    /// # Errors
    /// When the state can be reached but not be read.
    pub async fn open(
        state: Arc<dyn State>,
        clock: Arc<dyn Clock>,
        api_version: u32,
    ) -> Result<Self, StateError> {
        let counters = Self { state, clock, api_version, current: watch::Sender::default() };
        match counters.refresh().await {
            Err(error @ (StateError::Unreachable { .. } | StateError::Refused { .. })) => {
                tracing::warn!(error = %crate::error_chain(&error), "cannot read the counters, starting with empty ones");
                if let Some(today) = Day::of(counters.clock.unix_seconds()) {
                    counters.show(Snapshot::default(), today);
                }
            }
            result => result?,
        }
        Ok(counters)
    }

    /// The current first message.
    pub fn first_message(&self) -> FirstMessage {
        self.current.borrow().clone()
    }

    /// The current first message, marked as changed whenever it is another.
    pub fn updates(&self) -> watch::Receiver<FirstMessage> {
        self.current.subscribe()
    }

    /// Refreshes until shutdown. While the state is away, the last snapshot stays.
    pub async fn run(&self, mut shutdown: Shutdown) {
        let (mut failing, mut emptied) = (false, self.state.emptied());
        while shutdown.sleep(REFRESH).await {
            let before = self.first_message().snapshot;
            match self.refresh().await {
                Ok(()) => {
                    failing = false;
                    if emptied.has_changed().unwrap_or(false) {
                        emptied.mark_unchanged();
                        self.say_what_is_lost(&before);
                    }
                }
                Err(error) => {
                    self.current.send_if_modified(|current| !std::mem::replace(&mut current.stale, true));
                    if !failing {
                        tracing::warn!(error = %crate::error_chain(&error), "cannot read the counters, keeping the last snapshot");
                    }
                    failing = true;
                }
            }
        }
    }

    async fn refresh(&self) -> Result<(), StateError> {
        let Some(today) = Day::of(self.clock.unix_seconds()) else { return Ok(()) };
        let mut shown = self.state.snapshot(today.year()).await?;
        let current = self.first_message();
        if shown.unseeded && is_of(&current.snapshot, today.year()) {
            shown = kept(&current.snapshot, shown);
        }
        shown.days.entry(today).or_default();
        // Not by the number alone: a backfill changes what is shown and has none.
        if *current.snapshot != shown || current.frame.is_empty() || current.stale != shown.unseeded {
            self.show(shown, today);
        }
        Ok(())
    }

    fn show(&self, mut snapshot: Snapshot, today: Day) {
        snapshot.days.entry(today).or_default();
        let (frame, stale) = (self.frame(&snapshot), snapshot.unseeded);
        let snapshot = Arc::new(snapshot);
        self.current.send_replace(FirstMessage { seq: snapshot.seq, frame, snapshot, stale });
    }

    /// Where no history has it, what was shown last is the only trace of what the state held.
    fn say_what_is_lost(&self, before: &Snapshot) {
        let now = self.first_message();
        if now.stale {
            return;
        }
        let events: u64 = before.days.values().map(DayCounts::event).sum();
        let (days, sums) = (before.days.len(), before.sums);
        tracing::error!(
            days,
            events,
            developers = sums.dev,
            repositories = sums.repo,
            additions = sums.additions,
            deletions = sums.deletions,
            "these counts of the year are lost, for there is no history: counting goes on from what arrives"
        );
    }

    fn frame(&self, snapshot: &Snapshot) -> Utf8Bytes {
        let map = |value: fn(&DayCounts) -> u64| {
            snapshot.days.iter().map(|(day, counts)| (day.to_string(), value(counts).to_string())).collect()
        };
        let sums = snapshot.sums;
        let frame = Frame {
            first_message_tag: true,
            api_version: self.api_version,
            event_map: map(DayCounts::event),
            open_map: map(|counts| counts.open),
            merge_map: map(|counts| counts.merge),
            close_map: map(|counts| counts.close),
            dev_map: map(|counts| counts.dev),
            sum_map: BTreeMap::from([
                ("additions", sums.additions.to_string()),
                ("deletions", sums.deletions.to_string()),
                ("dev", sums.dev.to_string()),
                ("repo", sums.repo.to_string()),
            ]),
        };
        // Strings and numbers always serialise.
        serde_json::to_string(&frame).unwrap_or_default().into()
    }
}

fn is_of(snapshot: &Snapshot, year: i16) -> bool {
    snapshot.days.keys().any(|day| day.year() == year)
}

/// What is shown of a year that waits for its seed: nothing less than before.
fn kept(before: &Snapshot, now: Snapshot) -> Snapshot {
    let seq = before.seq.max(now.seq);
    let before = Base { days: before.days.clone(), sums: before.sums };
    let now = Base { days: now.days, sums: now.sums };
    Snapshot { seq, unseeded: true, ..Snapshot::published(before, now) }
}
