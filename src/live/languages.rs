//! The language window: counts of the last `latestDuring` seconds, held in memory and refreshed every second.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::shutdown::Shutdown;
use crate::state::{LanguageSeconds, State, StateError};

/// Language → events, of one window.
pub type LanguageMap = BTreeMap<String, u64>;

/// Seconds that are read again each time, because workers may still be writing them.
const REREAD_SECONDS: i64 = 10;

/// Keeps the window and publishes its map.
pub struct Languages {
    state: Arc<dyn State>,
    clock: Arc<dyn Clock>,
    /// The window's length in seconds.
    window: i64,
    interval: Duration,
    map: watch::Sender<Arc<LanguageMap>>,
}

impl Languages {
    /// A window of `window` seconds over `state`, refreshed every `interval`.
    pub fn new(state: Arc<dyn State>, clock: Arc<dyn Clock>, window: i64, interval: Duration) -> Self {
        Self { state, clock, window, interval, map: watch::Sender::default() }
    }

    /// The map, marked as changed at every refresh, also when it stayed the same.
    pub fn map(&self) -> watch::Receiver<Arc<LanguageMap>> {
        self.map.subscribe()
    }

    /// Refreshes until shutdown. While the state is away, the last map stays; while it hangs, the ticks go on.
    pub async fn run(&self, mut shutdown: Shutdown) {
        let mut known = Known::new(self.state.emptied());
        let mut failing = false;
        let mut reading = None;
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    if reading.is_none() {
                        reading = Some(Box::pin(self.read(known.missing(self.window, self.clock.unix_seconds()))));
                        continue;
                    }
                }
                Some(read) = OptionFuture::from(reading.as_mut()) => {
                    reading = None;
                    match read {
                        Ok((range, fresh)) => {
                            failing = false;
                            known.add(self.window, range, fresh);
                        }
                        Err(error) => {
                            if !failing {
                                tracing::warn!(error = %crate::error_chain(&error), "cannot read the languages, keeping the last map");
                            }
                            failing = true;
                        }
                    }
                }
                () = shutdown.triggered() => return,
            }
            self.map.send_replace(Arc::new(known.sum(self.window, self.clock.unix_seconds())));
        }
    }

    async fn read(&self, range: Range) -> Result<(Range, LanguageSeconds), StateError> {
        Ok((range.clone(), self.state.languages(range).await?))
    }
}

/// Seconds from the first to the last.
type Range = RangeInclusive<i64>;

/// What is known of the window, of so many seconds each time.
struct Known {
    seconds: LanguageSeconds,
    /// The last second that was read.
    to: Option<i64>,
    /// Up to here the state lost what it had: it is here alone, and only grows.
    kept_to: i64,
    emptied: watch::Receiver<u64>,
}

impl Known {
    /// Nothing yet; `emptied` changes when the state lost what it had.
    fn new(emptied: watch::Receiver<u64>) -> Self {
        Self { seconds: LanguageSeconds::new(), to: None, kept_to: i64::MIN, emptied }
    }

    /// What is not known yet, and the last known seconds again.
    fn missing(&self, window: i64, now: i64) -> Range {
        let oldest = now - window + 1;
        // A clock that stepped back makes seconds current again that may have been dropped, so all are read again.
        match self.to {
            Some(known) if known <= now => (known - REREAD_SECONDS).max(oldest)..=now,
            _ => oldest..=now,
        }
    }

    /// Adds what was read of `range`.
    fn add(&mut self, window: i64, range: Range, fresh: LanguageSeconds) {
        let now = *range.end();
        if self.emptied.has_changed().unwrap_or(false) {
            self.emptied.mark_unchanged();
            self.kept_to = now;
        }
        let replaced = (*range.start()).max(self.kept_to.saturating_add(1))..=now;
        self.seconds.retain(|second, _| *second > now - window && !replaced.contains(second));
        for (second, counts) in fresh {
            let known = self.seconds.entry(second).or_default();
            for (language, count) in counts {
                let known = known.entry(language).or_default();
                *known = count.max(*known);
            }
        }
        self.to = Some(now);
    }

    /// The map of the window that ends at `now`, inclusive.
    fn sum(&self, window: i64, now: i64) -> LanguageMap {
        let mut map = LanguageMap::new();
        for (language, count) in self.seconds.range(now - window + 1..=now).flat_map(|(_, counts)| counts) {
            *map.entry(language.clone()).or_default() += count;
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::event::EventKey;
    use crate::mutation::{Mutation, Outcome};
    use crate::state::embedded::EmbeddedState;
    use crate::storage::Storage;

    const START: i64 = 1_800_000_000;
    const WINDOW: i64 = 60;

    fn open(directory: &std::path::Path) -> (Arc<dyn State>, Languages) {
        let clock = Arc::new(ManualClock::new(START * 1000));
        let state: Arc<dyn State> =
            Arc::new(EmbeddedState::open(&Storage::open(directory).unwrap(), WINDOW).unwrap());
        let languages = Languages::new(state.clone(), clock, WINDOW, Duration::from_secs(1));
        (state, languages)
    }

    async fn count(state: &Arc<dyn State>, id: i64, second: i64) {
        let key = EventKey { id, created_at: START };
        let mutation = Mutation {
            key,
            day: key.day().unwrap(),
            outcome: Outcome::Opened,
            pull_request: id.unsigned_abs(),
            actor: 1,
            repo: 1,
            size: None,
            language: Some("C".to_owned()),
            claim: None,
        };
        state.apply(vec![mutation], second * 1000).await.unwrap();
    }

    #[tokio::test]
    async fn late_writes_appear_and_old_seconds_leave() {
        let directory = tempfile::tempdir().unwrap();
        let (state, languages) = open(directory.path());
        let mut known = Known::new(state.emptied());
        let mut map_at = async |now| {
            let (range, fresh) = languages.read(known.missing(WINDOW, now)).await.unwrap();
            known.add(WINDOW, range, fresh);
            known.sum(WINDOW, now).get("C").copied().unwrap_or(0)
        };
        count(&state, 1, START).await;
        assert_eq!(map_at(START).await, 1);
        count(&state, 2, START).await;
        assert_eq!(map_at(START + 1).await, 2, "written after its second was read");
        assert_eq!(map_at(START + WINDOW - 1).await, 2);
        assert_eq!(map_at(START + WINDOW).await, 0, "the window is half open");
        assert_eq!(map_at(START + 3 * WINDOW).await, 0);
        assert_eq!(map_at(START + 5).await, 2, "the clock stepped back");
    }
}
