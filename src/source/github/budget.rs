//! How many requests an identity may still make: pure, from what it sent and what the answers' headers said.
//!
//! Two bounds hold at once: what GitHub says is left of its window, less what is in flight, and the limit itself over
//! any 3,600 seconds, whenever GitHub's windows begin. A 304 costs nothing, and shows so in the headers.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::rate_limit::{RESET_SLACK, RateHeaders, WINDOW};
use crate::retry::Pause;

/// Requests in a window without a token, where GitHub has not said it yet.
pub const ANONYMOUS_LIMIT: u64 = 60;
/// The same for a user or an installation.
pub const USER_LIMIT: u64 = 5_000;
/// Costs are remembered in slots of this length, for an hour.
const SLOT: Duration = Duration::from_secs(10);
/// The plan spends a limit evenly over a little more than its window, so that the bound over any hour never stops it.
const EVEN: Duration = Duration::from_secs(3_620);
/// Two times of reset that differ by less are of one window.
const SAME_WINDOW: Duration = Duration::from_secs(30);

/// One identity's account.
#[derive(Debug)]
pub struct Budget {
    /// Requests that a window allows.
    limit: u64,
    window: Known,
    in_flight: u64,
    /// Costs by slot, oldest first, each with the time from which it no longer counts: 361 at most.
    spent: VecDeque<(Instant, u64)>,
    /// By secondary limits.
    block: Pause,
}

/// What GitHub said of the window.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Known {
    /// Nothing yet, or its window has ended: one request asks.
    Nothing,
    /// It answers without a word about quotas, as a server of one's own may.
    Unlimited,
    /// So many are left until then.
    Left(u64, Instant),
}

impl Budget {
    /// `limit` is assumed until GitHub says it. A secondary limit without a time is waited out for `block.0` to `block.1`.
    pub fn new(limit: u64, block: (Duration, Duration)) -> Self {
        Self { limit, window: Known::Nothing, in_flight: 0, spent: VecDeque::new(), block: Pause::new(block) }
    }

    /// Requests a second that it bears from now on; infinite where GitHub sets no limit.
    pub fn rate(&self, now: Instant) -> f64 {
        if self.is_blocked(now) {
            return 0.0;
        }
        let even = self.limit as f64 / EVEN.as_secs_f64();
        match self.window(now) {
            Known::Unlimited => f64::INFINITY,
            Known::Nothing => even,
            Known::Left(left, reset) => {
                let seconds = (reset - now).as_secs_f64().max(1.0);
                (left.saturating_sub(self.in_flight) as f64 / seconds).min(even)
            }
        }
    }

    /// When one more request may be sent; `None` where only the answer to one in flight can tell.
    pub fn ready_at(&self, now: Instant) -> Option<Instant> {
        let window = match self.window(now) {
            Known::Unlimited => now,
            Known::Nothing if self.in_flight == 0 => now,
            Known::Nothing => return None,
            Known::Left(left, _) if left > self.in_flight => now,
            Known::Left(_, reset) => reset,
        };
        let hour = match self.window(now) {
            Known::Unlimited => now,
            _ => self.hour_allows_at(now)?,
        };
        Some(window.max(hour).max(self.block.until(now).unwrap_or(now)))
    }

    /// How many are left as GitHub said it.
    pub fn left(&self) -> Option<u64> {
        match self.window {
            Known::Left(left, _) => Some(left),
            Known::Nothing | Known::Unlimited => None,
        }
    }

    /// Whether it waits for a limit, primary or secondary.
    pub fn is_spent(&self, now: Instant) -> bool {
        self.ready_at(now).is_some_and(|at| at > now)
    }

    /// Whether it waits for a secondary limit.
    pub fn is_blocked(&self, now: Instant) -> bool {
        self.block.until(now).is_some()
    }

    /// When what it bears changes without an answer.
    pub fn changes_at(&self, now: Instant) -> Option<Instant> {
        let reset = match self.window {
            Known::Left(_, reset) => Some(reset),
            Known::Nothing | Known::Unlimited => None,
        };
        reset.filter(|at| *at > now).into_iter().chain(self.block.until(now)).min()
    }

    /// A request leaves.
    pub fn sent(&mut self) {
        self.in_flight += 1;
    }

    /// A request that was sent got no answer, and never will: whether it cost anything is not known, so it did.
    pub fn lost(&mut self, now: Instant) {
        self.landed(true, now);
    }

    /// A request was answered. It `cost` one unless the answer was 304; it `worked` when it was a page or 304.
    pub fn answered(&mut self, headers: &RateHeaders, cost: bool, worked: bool, now: Instant) {
        self.landed(cost, now);
        let remaining = headers.quota.map_or(0, |quota| quota.remaining);
        self.limit = headers.limit.unwrap_or(self.limit.max(remaining));
        let Some(quota) = headers.quota else {
            if worked && self.window == Known::Nothing {
                self.window = Known::Unlimited;
            }
            return;
        };
        let reset = now + quota.reset_in + RESET_SLACK;
        self.window = match self.window {
            Known::Left(_, known) if reset + SAME_WINDOW < known => self.window,
            // Answers may have overtaken each other: what is left never grows within a window.
            Known::Left(left, known) if reset <= known + SAME_WINDOW => {
                Known::Left(left.min(quota.remaining), known.max(reset))
            }
            _ => Known::Left(quota.remaining, reset),
        };
    }

    /// GitHub did not refuse a request that left at `sent`.
    pub fn worked(&mut self, sent: Instant) {
        self.block.worked(sent);
    }

    /// GitHub refused a request that left at `sent` for their number: nothing is sent for `wait`, or where that is not said,
    /// for a minute, then twice as long each time.
    pub fn limited(&mut self, wait: Option<Duration>, sent: Instant, now: Instant) {
        self.block.failed(wait, sent, now);
    }

    fn landed(&mut self, cost: bool, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.spent.retain(|(until, _)| *until > now);
        if !cost {
            return;
        }
        if let Known::Left(left, reset) = self.window {
            self.window = Known::Left(left.saturating_sub(1), reset);
        }
        // Counted until an hour after the end of its slot.
        let until = now + WINDOW + SLOT;
        match self.spent.back_mut() {
            Some((last, count)) if until < *last + SLOT => *count += 1,
            _ => self.spent.push_back((until, 1)),
        }
    }

    /// When the bound over any hour allows one more; `None` when only answers to those in flight can tell.
    fn hour_allows_at(&self, now: Instant) -> Option<Instant> {
        let counted = self.spent.iter().filter(|(until, _)| *until > now);
        let mut sum = counted.clone().map(|(_, count)| count).sum::<u64>() + self.in_flight;
        if sum < self.limit {
            return Some(now);
        }
        for (until, count) in counted {
            sum -= count;
            if sum < self.limit {
                return Some(*until);
            }
        }
        None
    }

    /// The window as it is now.
    fn window(&self, now: Instant) -> Known {
        match self.window {
            Known::Left(_, reset) if reset <= now => Known::Nothing,
            known => known,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::github::rate_limit::Quota;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(3_600));

    fn says(remaining: u64, reset_in: Duration, limit: u64) -> RateHeaders {
        let quota = Some(Quota { remaining, reset_in });
        RateHeaders { quota, limit: Some(limit), any_limit: true, ..RateHeaders::default() }
    }

    fn request(budget: &mut Budget, headers: &RateHeaders, cost: bool, now: Instant) {
        budget.sent();
        budget.answered(headers, cost, true, now);
    }

    #[test]
    fn before_the_first_answer_one_request_asks() {
        let (mut budget, now) = (Budget::new(USER_LIMIT, MINUTE), Instant::now());
        assert_eq!(budget.ready_at(now), Some(now));
        budget.sent();
        assert_eq!(budget.ready_at(now), None);
        budget.answered(&says(4_999, SECOND * 3_600, 5_000), true, true, now);
        assert_eq!(budget.ready_at(now), Some(now));
        assert!((1.38..1.39).contains(&budget.rate(now)), "{}", budget.rate(now));
    }

    #[test]
    fn what_is_left_is_shared_with_what_is_in_flight_and_waits_for_the_reset() {
        let (mut budget, now) = (Budget::new(USER_LIMIT, MINUTE), Instant::now());
        request(&mut budget, &says(2, SECOND * 600, 5_000), true, now);
        budget.sent();
        assert!(!budget.is_spent(now));
        budget.sent();
        assert_eq!(budget.ready_at(now), Some(now + SECOND * 601));
        // It cost nothing, so it is there again.
        budget.answered(&says(2, SECOND * 600, 5_000), false, true, now);
        assert_eq!(budget.ready_at(now), Some(now));
    }

    #[test]
    fn an_answer_that_was_overtaken_gives_nothing_back() {
        let (mut budget, now) = (Budget::new(USER_LIMIT, MINUTE), Instant::now());
        request(&mut budget, &says(10, SECOND * 600, 5_000), true, now);
        request(&mut budget, &says(30, SECOND * 600, 5_000), true, now);
        assert!(budget.left() <= Some(10));
        request(&mut budget, &says(4_000, SECOND * 100, 5_000), true, now);
        assert!(budget.left() <= Some(10), "of a window before");
        request(&mut budget, &says(4_999, SECOND * 3_600, 5_000), true, now);
        assert_eq!(budget.left(), Some(4_999), "of a new one");
    }

    #[test]
    fn a_server_without_quotas_is_asked_without_them() {
        let (mut budget, now) = (Budget::new(ANONYMOUS_LIMIT, MINUTE), Instant::now());
        for _ in 0..1_000 {
            request(&mut budget, &RateHeaders::default(), true, now);
        }
        assert_eq!((budget.rate(now), budget.is_spent(now)), (f64::INFINITY, false));
    }

    #[test]
    fn a_secondary_limit_is_waited_out_for_a_minute_then_twice_as_long() {
        let (mut budget, mut now) = (Budget::new(USER_LIMIT, MINUTE), Instant::now());
        request(&mut budget, &says(4_999, SECOND * 3_600, 5_000), true, now);
        let mut waits = Vec::new();
        for _ in 0..3 {
            let sent = now;
            now += SECOND;
            budget.limited(None, sent, now);
            budget.limited(None, sent, now);
            assert!(budget.rate(now) < f64::EPSILON);
            let until = budget.ready_at(now).unwrap();
            waits.push((until - now).as_secs());
            now = until;
        }
        assert!((60..=120).contains(&waits[0]) && (120..=240).contains(&waits[1]), "{waits:?}");
        assert!((240..=480).contains(&waits[2]), "{waits:?}");
        budget.limited(Some(SECOND * 7), now, now);
        assert_eq!(budget.ready_at(now), Some(now + SECOND * 7));
    }

    proptest! {
        /// Against an account with GitHub's rules, whose windows begin with their first request.
        #[test]
        fn the_quota_is_never_exceeded_in_a_window_nor_in_any_hour(
            limit in 1_u64..300, latency in 0_u64..5, free in 0_u8..4, eager: bool,
            starts in proptest::collection::vec(0_u64..5_000, 1..200),
        ) {
            let (mut budget, start) = (Budget::new(USER_LIMIT, MINUTE), Instant::now());
            let (mut window, mut remaining) = (start, 0);
            let (mut in_flight, mut sent) = (VecDeque::new(), VecDeque::new());
            let mut now = start;
            for (index, pause) in starts.iter().cycle().take(2_000).enumerate() {
                now += if eager { SECOND } else { Duration::from_millis(*pause) };
                while in_flight.front().is_some_and(|(at, _, _)| *at <= now) {
                    let (at, headers, cost) = in_flight.pop_front().unwrap();
                    budget.answered(&headers, cost, true, at);
                }
                if budget.ready_at(now) != Some(now) {
                    continue;
                }
                if now >= window {
                    (window, remaining) = (now + WINDOW, limit);
                }
                let cost = free == 0 || index % usize::from(free) > 0;
                prop_assert!(!cost || remaining > 0, "refused by GitHub");
                remaining -= u64::from(cost);
                sent.extend(cost.then_some(now));
                while sent.front().is_some_and(|at| *at + WINDOW <= now) {
                    sent.pop_front();
                }
                prop_assert!(sent.len() as u64 <= limit, "{} within an hour", sent.len());
                budget.sent();
                in_flight.push_back((now + SECOND * latency as u32, says(remaining, window - now, limit), cost));
            }
            prop_assert!(budget.spent.len() <= 362);
        }
    }
}
