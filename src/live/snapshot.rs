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
use crate::state::{DayCounts, Snapshot, State, StateError};

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

    /// Refreshes until shutdown. While the state is away, the last snapshot stays.
    pub async fn run(&self, mut shutdown: Shutdown) {
        let mut failing = false;
        while shutdown.sleep(REFRESH).await {
            match self.refresh().await {
                Ok(()) => failing = false,
                Err(error) => {
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
        let snapshot = self.state.snapshot(today.year()).await?;
        let current = self.current.borrow().clone();
        let mut shown = snapshot;
        shown.days.entry(today).or_default();
        // Not by the number alone: a backfill changes what is shown and has none.
        if *current.snapshot == shown && !current.frame.is_empty() {
            return Ok(());
        }
        self.show(shown, today);
        Ok(())
    }

    fn show(&self, mut snapshot: Snapshot, today: Day) {
        snapshot.days.entry(today).or_default();
        let frame = self.frame(&snapshot);
        let snapshot = Arc::new(snapshot);
        self.current.send_replace(FirstMessage { seq: snapshot.seq, frame, snapshot });
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
