//! When GraphQL may be asked again and how much at once: pure, from what its last answers said.
//!
//! Its points are apart from the requests of the REST API: 5,000 an hour for a user. The secondary limits are common to
//! both (docs.github.com, graphql/overview/rate-limits-and-query-limits-for-the-graphql-api).

use std::time::Duration;

use tokio::time::Instant;

use crate::retry::Backoff;

/// Pull requests in a query at most, however well it goes.
const LARGEST: usize = 100;
/// Smaller queries would not help: a single pull request costs as much.
const SMALLEST: usize = 5;
/// By how many a query grows after one that went well.
const GROWTH: usize = 10;
/// Queries under way at once. The quota may be overdrawn by no more than what they cost, so as much is left unspent.
pub const AT_ONCE: usize = 4;
/// The least time between two queries: 1,200 a minute, of the 2,000 points that the secondary limit allows.
const SPACING: Duration = Duration::from_millis(50);
/// How long a secondary limit lasts at least where the answer does not say (GitHub: "at least one minute").
const UNNAMED_LIMIT: Duration = Duration::from_secs(60);
const LONGEST_LIMIT: Duration = Duration::from_secs(3600);
/// Times of reset are whole seconds, possibly rounded down.
const RESET_SLACK: Duration = Duration::from_secs(1);

/// How it stands with GraphQL.
#[derive(Debug)]
pub struct Budget {
    size: usize,
    /// Not before, after a failure.
    failing_until: Option<Instant>,
    failures: Backoff,
    /// Not before, by a limit: answers to queries that went out before it do not lift it.
    limited_until: Option<Instant>,
    limits: Backoff,
    asked: Option<Instant>,
    /// How long answers take, as the slowest of late.
    slowest: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            size: LARGEST,
            failing_until: None,
            failures: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            limited_until: None,
            // Half of a backoff's delay is random: twice the minute is a minute at least.
            limits: Backoff::new(UNNAMED_LIMIT * 2, LONGEST_LIMIT),
            asked: None,
            slowest: Duration::ZERO,
        }
    }
}

impl Budget {
    /// Pull requests that the next query may have.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How long answers take, as the slowest of late.
    pub fn slowest(&self) -> Duration {
        self.slowest
    }

    /// Queries that may be under way at once: one alone while it is not known whether GraphQL works again.
    pub fn at_once(&self) -> usize {
        if self.failures.failures() > 0 { 1 } else { AT_ONCE }
    }

    /// When the next query may go out at the earliest, as far as limits and failures go.
    pub fn closed_until(&self, now: Instant) -> Option<Instant> {
        self.failing_until.max(self.limited_until).filter(|until| *until > now)
    }

    /// When the next query may go out at the earliest.
    pub fn earliest(&self, now: Instant) -> Instant {
        let spaced = self.asked.map_or(now, |asked| asked + SPACING);
        self.closed_until(now).map_or(spaced, |until| until.max(spaced)).max(now)
    }

    /// A query goes out.
    pub fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// An answer came, `took` after its query: whole, or `cut` short by what it takes.
    pub fn answered(&mut self, took: Duration, cut: bool) {
        self.failures.reset();
        self.limits.reset();
        self.failing_until = None;
        self.slowest = took.max(self.slowest.mul_f64(0.8));
        match cut {
            true => self.shrink(),
            false => self.size = (self.size + GROWTH).min(LARGEST),
        }
    }

    /// So many points are left, each query takes `cost`, and there are more after `reset_in`.
    pub fn left(&mut self, points: u64, cost: u64, reset_in: Duration, now: Instant) {
        if points < cost.max(1) * AT_ONCE as u64 {
            self.limited_until = self.limited_until.max(Some(now + reset_in + RESET_SLACK));
        }
    }

    /// GitHub said to ask less; for how long, where it said that.
    pub fn limited(&mut self, wait: Option<Duration>, now: Instant) {
        let wait = wait.unwrap_or_else(|| self.limits.next_delay());
        self.limited_until = self.limited_until.max(Some(now + wait.min(LONGEST_LIMIT)));
    }

    /// A query failed; `too_large` where a smaller one might not have.
    pub fn failed(&mut self, too_large: bool, now: Instant) {
        self.failing_until = Some(now + self.failures.next_delay());
        if too_large {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        self.size = (self.size / 2).max(SMALLEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn queries_halve_when_they_take_too_much_and_grow_again() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        let sizes: Vec<_> = (0..6)
            .map(|_| {
                budget.failed(true, now);
                budget.size()
            })
            .collect();
        assert_eq!(sizes, [50, 25, 12, 6, 5, 5]);
        budget.answered(SECOND, true);
        assert_eq!(budget.size(), 5);
        (0..20).for_each(|_| budget.answered(SECOND, false));
        assert_eq!(budget.size(), 100);
        budget.failed(false, now);
        assert_eq!(budget.size(), 100, "a lost connection says nothing of the size");
    }

    #[test]
    fn after_a_failure_one_query_at_a_time_tries_and_later_each_time() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        assert_eq!((budget.closed_until(now), budget.at_once()), (None, AT_ONCE));
        let mut longest = Duration::ZERO;
        for _ in 0..10 {
            budget.failed(false, now);
            longest = longest.max(budget.closed_until(now).unwrap() - now);
            assert_eq!(budget.at_once(), 1);
        }
        assert!((SECOND * 30..=SECOND * 60).contains(&longest), "{longest:?}");
        budget.answered(SECOND, false);
        assert_eq!((budget.closed_until(now), budget.at_once()), (None, AT_ONCE));
    }

    #[test]
    fn a_spent_quota_closes_until_its_reset_whatever_else_is_answered() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        budget.left(4, 1, SECOND * 100, now);
        assert_eq!(budget.closed_until(now), None);
        budget.left(3, 1, SECOND * 100, now);
        budget.answered(SECOND, false);
        assert_eq!(budget.closed_until(now), Some(now + SECOND * 101));
        assert_eq!(budget.closed_until(now + SECOND * 101), None);
        assert_eq!(budget.earliest(now), now + SECOND * 101);
    }

    #[test]
    fn a_limit_that_does_not_say_how_long_lasts_a_minute_and_then_longer() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        budget.limited(Some(SECOND * 5), now);
        assert_eq!(budget.closed_until(now), Some(now + SECOND * 5));
        budget.limited(None, now);
        let first = budget.closed_until(now).unwrap() - now;
        assert!((SECOND * 60..=SECOND * 120).contains(&first), "{first:?}");
        for _ in 0..9 {
            budget.limited(None, now);
        }
        let last = budget.closed_until(now).unwrap() - now;
        assert!((SECOND * 1800..=SECOND * 3600).contains(&last), "{last:?}");
    }

    #[test]
    fn queries_are_spaced() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        assert_eq!(budget.earliest(now), now);
        budget.asked(now);
        assert_eq!(budget.earliest(now), now + SPACING);
        assert_eq!(budget.earliest(now + SECOND), now + SECOND);
    }
}
