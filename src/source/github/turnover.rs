//! How fast a feed changes, measured by each poll's overlap with the one before: pure.

use std::time::Duration;

/// Events of a poll that are to be new, of the [`FULL`] that one shows: the rest is the overlap that absorbs a burst of
/// three times the usual rate.
const FRESH: f64 = 35.0;
/// Events that one answer shows at most.
const FULL: f64 = 100.0;
/// Weight of a poll that shows more change than was expected; of one that shows less, half of it is forgotten in
/// [`CALMING`].
const ATTACK: f64 = 0.6;
const CALMING: Duration = Duration::from_secs(60);
/// A poll without overlap shows only that the feed is faster than was measured: by how much is guessed.
const GAP: f64 = 1.5;

/// A feed's measured pace.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Turnover {
    /// New events a second; `None` before two polls.
    rate: Option<f64>,
}

impl Turnover {
    /// A poll showed `shown` events, `overlap` of which its predecessor showed too, `elapsed` after that one.
    pub fn observe(&mut self, shown: usize, overlap: usize, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64().max(0.001);
        let mut observed = shown.saturating_sub(overlap) as f64 / seconds;
        if overlap == 0 && shown > 0 {
            observed = observed.max(self.rate.unwrap_or(0.0)) * GAP;
        }
        let former = self.rate.unwrap_or(observed);
        let weight =
            if observed > former { ATTACK } else { 1.0 - 0.5_f64.powf(seconds / CALMING.as_secs_f64()) };
        // Bounded, so that a feed that never overlaps does not grow it without end.
        self.rate = Some((former + weight * (observed - former)).min(FULL * 1_000.0));
    }

    /// How long after a poll the next one is wanted, between `shortest` and `longest`.
    pub fn wanted(&self, shortest: Duration, longest: Duration) -> Duration {
        // Not known: as soon as may be.
        let Some(rate) = self.rate else { return shortest };
        let wanted = Duration::try_from_secs_f64(FRESH / rate).unwrap_or(longest);
        wanted.min(longest).max(shortest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Polls a feed of `rate` for a while, as it wants it; returns the last pause.
    fn polled(turnover: &mut Turnover, rate: f64, polls: usize) -> Duration {
        let mut pause = SECOND;
        for _ in 0..polls {
            let fresh = (rate * pause.as_secs_f64()).round().min(100.0) as usize;
            turnover.observe(100, 100 - fresh, pause);
            pause = turnover.wanted(SECOND / 10, SECOND * 10);
        }
        pause
    }

    #[test]
    fn the_pause_grows_with_the_overlap_and_shrinks_as_it_gets_thin() {
        let mut turnover = Turnover::default();
        assert_eq!(turnover.wanted(SECOND, SECOND * 10), SECOND);
        let slow = polled(&mut turnover, 7.0, 200);
        assert!((4.0..6.0).contains(&slow.as_secs_f64()), "{slow:?}");
        let fast = polled(&mut turnover, 35.0, 3);
        assert!(fast.as_secs_f64() < 1.4, "{fast:?}");
        let idle = polled(&mut turnover, 0.0, 200);
        assert_eq!(idle, SECOND * 10);
    }

    #[test]
    fn without_any_overlap_it_asks_faster_each_time_until_it_finds_some() {
        let mut turnover = Turnover::default();
        let pauses: Vec<_> = (0..5)
            .map(|_| {
                turnover.observe(100, 0, SECOND * 5);
                turnover.wanted(Duration::ZERO, SECOND * 10)
            })
            .collect();
        assert!(pauses.windows(2).all(|pair| pair[1] < pair[0]), "{pauses:?}");
    }

    proptest! {
        #[test]
        fn whatever_was_seen_the_pause_stays_within_its_bounds(
            polls in proptest::collection::vec((0_usize..150, 0_usize..150, 0_u64..100_000), 0..60),
        ) {
            let mut turnover = Turnover::default();
            for (shown, overlap, millis) in polls {
                turnover.observe(shown, overlap, Duration::from_millis(millis));
                let wanted = turnover.wanted(SECOND, SECOND * 5);
                prop_assert!((SECOND..=SECOND * 5).contains(&wanted));
                prop_assert!(turnover.rate.is_none_or(f64::is_finite));
            }
        }

        #[test]
        fn a_steady_feed_is_polled_with_two_thirds_of_overlap(rate in 5.0_f64..300.0) {
            let mut turnover = Turnover::default();
            let pause = polled(&mut turnover, rate, 300).as_secs_f64();
            prop_assert!((20.0..60.0).contains(&(pause * rate)), "{} new a poll", pause * rate);
        }
    }
}
