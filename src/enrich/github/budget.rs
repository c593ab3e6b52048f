//! When GraphQL may be asked again and how much at once: pure, from what its last answers said.
//!
//! Its points are apart from the requests of the REST API: 5,000 an hour for a user. The secondary limits are common to
//! both (docs.github.com, graphql/overview/rate-limits-and-query-limits-for-the-graphql-api).

use std::time::Duration;

use tokio::time::Instant;

use crate::retry::Pause;

/// Pull requests in a query at most, however well it goes.
const LARGEST: usize = 100;
/// Smaller queries would not help: a single pull request costs as much.
pub const SMALLEST: usize = 5;
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
    failures: Pause,
    limits: Pause,
    /// Not before, for want of points.
    spent_until: Option<Instant>,
    asked: Option<Instant>,
    /// How long answers take, as the slowest of late.
    slowest: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            size: LARGEST,
            failures: Pause::new((Duration::from_secs(1), Duration::from_secs(60))),
            // Half of a pause is random: twice the minute is a minute at least.
            limits: Pause::new((UNNAMED_LIMIT * 2, LONGEST_LIMIT)),
            spent_until: None,
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
        if self.failures.is_failing() { 1 } else { AT_ONCE }
    }

    /// When the next query may go out at the earliest, as far as limits and failures go.
    pub fn closed_until(&self, now: Instant) -> Option<Instant> {
        let spent = self.spent_until.filter(|until| *until > now);
        self.failures.until(now).max(self.limits.until(now)).max(spent)
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

    /// An answer came to a query that went out at `sent`: whole, or short of some of the `cut` that were asked for, by what
    /// they take.
    pub fn answered(&mut self, cut: Option<usize>, sent: Instant, now: Instant) {
        self.failures.worked(sent);
        self.limits.worked(sent);
        self.slowest = now.saturating_duration_since(sent).max(self.slowest.mul_f64(0.8));
        match cut {
            Some(asked) => self.shrink(asked),
            None => self.size = (self.size + GROWTH).min(LARGEST),
        }
    }

    /// So many points are left, each query takes `cost`, and there are more after `reset_in`.
    pub fn left(&mut self, points: u64, cost: u64, reset_in: Duration, now: Instant) {
        if points < cost.max(1) * AT_ONCE as u64 {
            self.spent_until = self.spent_until.max(Some(now + reset_in + RESET_SLACK));
        }
    }

    /// GitHub answered a query that went out at `sent` with the word to ask less; for how long, where it said that.
    pub fn limited(&mut self, wait: Option<Duration>, sent: Instant, now: Instant) {
        self.limits.failed(wait.map(|wait| wait.min(LONGEST_LIMIT)), sent, now);
    }

    /// A query that went out at `sent` failed; where one for less than `too_many` might not have.
    pub fn failed(&mut self, too_many: Option<usize>, sent: Instant, now: Instant) {
        self.failures.failed(None, sent, now);
        if let Some(asked) = too_many {
            self.shrink(asked);
        }
    }

    /// Half of what was too much: queries that went out together ask for less once.
    fn shrink(&mut self, asked: usize) {
        self.size = self.size.min(asked / 2).max(SMALLEST);
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
                let asked = budget.size();
                (0..AT_ONCE).for_each(|_| budget.failed(Some(asked), now, now));
                budget.size()
            })
            .collect();
        assert_eq!(sizes, [50, 25, 12, 6, 5, 5]);
        budget.answered(Some(5), now, now);
        assert_eq!(budget.size(), 5);
        (0..20).for_each(|_| budget.answered(None, now, now));
        assert_eq!(budget.size(), 100);
        budget.failed(None, now, now);
        assert_eq!(budget.size(), 100, "a lost connection says nothing of the size");
    }

    #[test]
    fn after_a_failure_one_query_at_a_time_tries_and_later_each_time() {
        let (mut budget, mut now) = (Budget::default(), Instant::now());
        assert_eq!((budget.closed_until(now), budget.at_once()), (None, AT_ONCE));
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let sent = now;
            now += SECOND;
            // All that were under way.
            (0..AT_ONCE).for_each(|_| budget.failed(None, sent, now));
            let until = budget.closed_until(now).unwrap();
            pauses.push(until - now);
            assert_eq!(budget.at_once(), 1);
            now = until;
        }
        assert!(pauses[0] <= SECOND && pauses[1] <= SECOND * 2, "{pauses:?}");
        assert!((SECOND * 30..=SECOND * 60).contains(&pauses[9]), "{pauses:?}");
        budget.answered(None, now, now + SECOND);
        assert_eq!((budget.closed_until(now), budget.at_once()), (None, AT_ONCE));
    }

    #[test]
    fn a_spent_quota_closes_until_its_reset_whatever_else_is_answered() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        budget.left(4, 1, SECOND * 100, now);
        assert_eq!(budget.closed_until(now), None);
        budget.left(3, 1, SECOND * 100, now);
        budget.answered(None, now, now + SECOND);
        assert_eq!(budget.closed_until(now), Some(now + SECOND * 101));
        assert_eq!(budget.closed_until(now + SECOND * 101), None);
        assert_eq!(budget.earliest(now), now + SECOND * 101);
    }

    #[test]
    fn a_limit_that_does_not_say_how_long_lasts_a_minute_and_then_longer() {
        let (mut budget, mut now) = (Budget::default(), Instant::now());
        budget.limited(Some(SECOND * 5), now, now);
        assert_eq!(budget.closed_until(now), Some(now + SECOND * 5));
        let mut limits = Vec::new();
        for _ in 0..10 {
            now += SECOND * 10;
            (0..AT_ONCE).for_each(|_| budget.limited(None, now, now));
            let until = budget.closed_until(now).unwrap();
            limits.push(until - now);
            now = until;
        }
        assert!((SECOND * 60..=SECOND * 120).contains(&limits[0]), "{limits:?}");
        assert!((SECOND * 1800..=SECOND * 3600).contains(&limits[9]), "{limits:?}");
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
