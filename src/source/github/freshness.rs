//! Whether an identity is still shown what happens: pure. GitHub has been seen to answer one with the same page for hours.

use std::time::Duration;

use tokio::time::Instant;

/// Answers in a row, over at least this long, that show what the ones before showed, …
const SAME: u32 = 20;
const SPAN: Duration = Duration::from_secs(120);
/// … where more than this share of answers showed something new before. A server where little happens is not stale.
const LIVELY: f64 = 0.5;
/// Weight of one answer in that share.
const WEIGHT: f64 = 1.0 / 16.0;

/// What an identity was shown lately.
#[derive(Debug, Clone, Default)]
pub struct Freshness {
    lively: f64,
    same: u32,
    since: Option<Instant>,
}

impl Freshness {
    /// A page showed this identity something new, or the same as last time; whether it is stale now.
    pub fn observe(&mut self, new: bool, now: Instant) -> bool {
        if new {
            let quiet = (1.0 - WEIGHT).powi(i32::try_from(self.same).unwrap_or(i32::MAX));
            self.lively = self.lively * quiet * (1.0 - WEIGHT) + WEIGHT;
            (self.same, self.since) = (0, None);
            return false;
        }
        let since = *self.since.get_or_insert(now);
        self.same = self.same.saturating_add(1);
        self.same >= SAME && now - since >= SPAN && self.lively > LIVELY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lively_feed_that_stands_still_is_stale_until_it_moves() {
        let (mut freshness, mut now) = (Freshness::default(), Instant::now());
        for _ in 0..30 {
            assert!(!freshness.observe(true, now));
        }
        for second in 0..=120 {
            assert_eq!(freshness.observe(false, now + SECOND * second), second == 120, "{second}");
        }
        now += SECOND * 600;
        assert!(freshness.observe(false, now), "tried again, it is as stale as before");
        assert!(!freshness.observe(true, now));
        assert!(!freshness.observe(false, now));
    }

    #[test]
    fn a_feed_in_which_little_happens_is_never_stale() {
        let (mut freshness, now) = (Freshness::default(), Instant::now());
        for second in 0..10_000 {
            assert!(!freshness.observe(second % 30 == 0, now + SECOND * second));
        }
    }
}
