//! How fast archived events are released: as fast as possible, or N times as fast as they happened.

use std::str::FromStr;
use std::time::{Duration, Instant};

use super::archive::Chunk;
use crate::source::{Candidate, Rejected};

/// A century: what a replay at a tiny speed waits at most, so that adding it to the present cannot overflow.
const LONGEST_WAIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// An event further than this from the replay's clock, or than what passes in [`STALL`], is an outlier: it is due at once
/// and says nothing of those behind it.
const ASTRAY_SECONDS: u64 = 3600;
/// A stall that is caught up with, at any speed.
const STALL: Duration = Duration::from_secs(60);
/// So many outliers in a row are a gap in the archive, or another file's beginning: the clock is set to the last of them.
const GAP_EVENTS: u32 = 100;

/// The speed of a replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as the machine allows.
    Max,
    /// So many times as fast as the events happened.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Self::Max),
            Ok(times) if times > 0.0 && times.is_finite() => Ok(Self::Times(times)),
            _ => Err("a positive number or max is expected".to_owned()),
        }
    }
}

/// A part of a chunk that is released at once.
#[derive(Debug, Default)]
pub struct Part {
    /// Its events.
    pub candidates: Vec<Candidate>,
    /// What is no event.
    pub rejected: Vec<Rejected>,
    /// The chunk's end, with its last part.
    pub end: Option<u64>,
}

/// Decides when events are due.
#[derive(Debug)]
pub struct Pace {
    speed: Speed,
    /// When the first event was released, and when it happened (Unix seconds): the replay's clock goes on from there.
    origin: Option<(Instant, i64)>,
    /// Outliers in a row.
    astray: u32,
}

impl Pace {
    /// A pace whose clock starts with the first event.
    pub fn new(speed: Speed) -> Self {
        Self { speed, origin: None, astray: 0 }
    }

    /// The next part of `chunk` and how long to wait before it; `None` when nothing is left.
    pub fn next(&mut self, chunk: &mut Chunk) -> Option<(Duration, Part)> {
        if chunk.end == 0 {
            return None;
        }
        let (wait, count) = match self.speed {
            Speed::Max => (Duration::ZERO, chunk.candidates.len()),
            Speed::Times(times) => self.due(&chunk.candidates, times),
        };
        let rest = chunk.candidates.split_off(count);
        let last = rest.is_empty();
        let part = Part {
            candidates: std::mem::replace(&mut chunk.candidates, rest),
            rejected: std::mem::take(&mut chunk.rejected),
            end: last.then_some(chunk.end),
        };
        if last {
            chunk.end = 0;
        }
        Some((wait, part))
    }

    /// How many of the first candidates are due together, and in how long.
    fn due(&mut self, candidates: &[Candidate], times: f64) -> (Duration, usize) {
        let (now, mut wait, mut count) = (Instant::now(), Duration::ZERO, 0);
        for event in candidates {
            let at = self.due_at(event.key.created_at, now, times);
            if count == 0 {
                wait = at.saturating_duration_since(now);
            } else if at > now + wait {
                break;
            }
            count += 1;
        }
        (wait, count)
    }

    /// When an event is due. Archives are only roughly in order: what is late is due at once.
    fn due_at(&mut self, created_at: i64, now: Instant, times: f64) -> Instant {
        let (start, origin) = *self.origin.get_or_insert((now, created_at));
        let clock = origin + ((now - start).as_secs_f64() * times) as i64;
        if created_at.abs_diff(clock) <= ASTRAY_SECONDS.max((STALL.as_secs_f64() * times) as u64) {
            self.astray = 0;
            return start + seconds(created_at.saturating_sub(origin), times);
        }
        self.astray += 1;
        if self.astray == GAP_EVENTS {
            (self.origin, self.astray) = (Some((now, created_at)), 0);
        }
        now
    }
}

/// How long `event_seconds` take at a speed; nothing for negative ones.
fn seconds(event_seconds: i64, times: f64) -> Duration {
    let seconds = event_seconds.max(0) as f64 / times;
    Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKey;

    #[test]
    fn events_of_one_second_go_together_and_the_next_wait() {
        let mut chunk = Chunk {
            candidates: [100, 100, 99, 160, 100].map(candidate).into(),
            rejected: Vec::new(),
            end: 7,
        };
        let mut pace = Pace::new(Speed::Times(60.0));
        let (wait, part) = pace.next(&mut chunk).unwrap();
        assert_eq!((wait, part.candidates.len(), part.end), (Duration::ZERO, 3, None));
        let (wait, part) = pace.next(&mut chunk).unwrap();
        assert!(wait > Duration::from_millis(900) && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!((part.candidates.len(), part.end), (2, Some(7)));
        assert!(pace.next(&mut chunk).is_none());
    }

    #[test]
    fn a_chunk_without_events_still_reports_its_end() {
        let mut chunk = Chunk { candidates: Vec::new(), rejected: Vec::new(), end: 7 };
        assert_eq!(Pace::new(Speed::Max).next(&mut chunk).unwrap().1.end, Some(7));
    }

    #[test]
    fn speeds_are_positive_numbers_or_max() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("2.5".parse(), Ok(Speed::Times(2.5)));
        for bad in ["0", "-1", "inf", "NaN", "fast", ""] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }

    fn candidate(created_at: i64) -> Candidate {
        Candidate { key: EventKey { id: created_at, created_at }, raw: "{}".into() }
    }

    /// How long all events of `times` wait together, at their own speed.
    fn waited(pace: &mut Pace, times: &[i64]) -> Duration {
        let candidates: Vec<_> = times.iter().copied().map(candidate).collect();
        let mut chunk = Chunk { candidates, rejected: Vec::new(), end: 7 };
        let (mut waited, mut released) = (Duration::ZERO, 0);
        while let Some((wait, part)) = pace.next(&mut chunk) {
            waited = waited.max(wait);
            released += part.candidates.len();
        }
        assert_eq!(released, times.len());
        waited
    }

    #[test]
    fn an_outlier_stalls_nothing_behind_it() {
        let mut pace = Pace::new(Speed::Times(1.0));
        // The third is late by hours, the fourth as early as events that come twice; one is of the far future.
        let times = [1_000_000, 1_000_000, 985_000, 987_000, 253_402_300_799, 5, 1_000_000];
        assert_eq!(waited(&mut pace, &times), Duration::ZERO);
        let wait = waited(&mut pace, &[1_000_060]);
        assert!(
            wait > Duration::from_secs(55) && wait <= Duration::from_secs(60),
            "the clock went on: {wait:?}"
        );
    }

    #[test]
    fn what_was_missed_in_a_stall_is_caught_up_with_past_outliers() {
        let mut pace = Pace::new(Speed::Times(1.0));
        let stalled = Instant::now().checked_sub(Duration::from_secs(300)).unwrap();
        pace.origin = Some((stalled, 1_000_000));
        let times: Vec<_> = (1_000_000..1_000_299).flat_map(|second| [second, second - 90_000]).collect();
        assert_eq!(waited(&mut pace, &times), Duration::ZERO);
    }

    #[test]
    fn a_gap_is_skipped_and_what_is_behind_it_keeps_its_pace() {
        let mut pace = Pace::new(Speed::Times(1.0));
        assert_eq!(waited(&mut pace, &[1_000_000]), Duration::ZERO);
        assert_eq!(waited(&mut pace, &[2_000_000; 100]), Duration::ZERO);
        let wait = waited(&mut pace, &[2_000_050]);
        assert!(wait > Duration::from_secs(45) && wait <= Duration::from_secs(50), "{wait:?}");
    }
}
