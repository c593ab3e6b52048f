//! When a fault is worth an alert: pure, the time is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What the operator tolerates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many failures are tolerated …
    pub tolerance: u32,
    /// … within this time.
    pub within: Duration,
    /// Least time between two alerts about the same subject.
    pub pause: Duration,
}

/// A subject's failures of late.
#[derive(Debug, Default)]
pub struct Tolerance {
    /// When they happened; never more than the tolerance and one.
    failures: VecDeque<Instant>,
    alerted: Option<Instant>,
}

impl Tolerance {
    /// Counts a failure; whether it calls for an alert.
    pub fn failed(&mut self, limits: &Limits, now: Instant) -> bool {
        let tolerated = usize::try_from(limits.tolerance).unwrap_or(usize::MAX).min(100_000);
        self.failures.push_back(now);
        while self.failures.len() > tolerated + 1 {
            self.failures.pop_front();
        }
        let recent = self.failures.iter().filter(|at| now.duration_since(**at) <= limits.within).count();
        let paused = self.alerted.is_some_and(|at| now.duration_since(at) < limits.pause);
        let due = recent > tolerated && !paused;
        if due {
            self.alerted = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_alert_is_sent_past_the_tolerance_and_then_pauses() {
        let limits = Limits { tolerance: 3, within: 10 * MINUTE, pause: 60 * MINUTE };
        let (mut tolerance, start) = (Tolerance::default(), Instant::now());
        let mut at = |minute| tolerance.failed(&limits, start + minute * MINUTE);
        assert_eq!([at(0), at(1), at(2), at(3), at(4)], [false, false, false, true, false]);
        assert!(!at(62));
        assert_eq!([at(63), at(64), at(65)], [false, false, true]);
    }

    #[test]
    fn failures_far_apart_are_tolerated() {
        let limits = Limits { tolerance: 1, within: 10 * MINUTE, pause: MINUTE };
        let (mut tolerance, start) = (Tolerance::default(), Instant::now());
        for hour in 0..50 {
            assert!(!tolerance.failed(&limits, start + hour * 60 * MINUTE));
        }
        let limits = Limits { tolerance: 0, ..limits };
        assert!(tolerance.failed(&limits, start + 60 * 60 * MINUTE));
    }
}
