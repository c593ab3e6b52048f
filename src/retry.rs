//! Exponential backoff with full jitter, after Marc Brooker, "Exponential Backoff And Jitter" (AWS, 2015).

use std::time::Duration;

use tokio::time::Instant;

/// An error of an engine.
pub trait Failure: std::error::Error {
    /// Whether this process cannot use the engine any more, so that only a new one could succeed.
    fn is_fatal(&self) -> bool;

    /// Whether the engine is there and refuses what it was given, so that it may take something else.
    fn blames_data(&self) -> bool {
        false
    }
}

/// Delays for one operation's consecutive failures: random between half and all of `base × 2ⁿ`, capped.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// The first delay is at most `base`, none is longer than `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0, random: fastrand::Rng::new() }
    }

    /// The delay before the next attempt. Half of it is fixed, so that a failing peer is never hammered.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.base.saturating_mul(1_u32 << self.failures.min(20)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        ceiling / 2 + (ceiling / 2).mul_f64(self.random.f64())
    }

    /// How often [`Backoff::next_delay`] was asked since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets the failures: call it after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A time in which somebody is left alone after a failure, longer each time. Of requests that are on their way together only
/// the first one that fails says something: what left before the pause began does not end it, and lengthens it only where it
/// says until when.
#[derive(Debug, Clone)]
pub struct Pause {
    backoff: Backoff,
    /// When the last one began, until a request that left after it worked.
    since: Option<Instant>,
    until: Option<Instant>,
}

impl Pause {
    /// Pauses of about `first` at first, and of `longest` at most, where nobody says how long they are.
    pub fn new((first, longest): (Duration, Duration)) -> Self {
        Self { backoff: Backoff::new(first, longest), since: None, until: None }
    }

    /// A request that left at `sent` failed; `wait` is how long it said that the pause is at least. Whether it tells anything
    /// that was not known.
    pub fn failed(&mut self, wait: Option<Duration>, sent: Instant, now: Instant) -> bool {
        let fresh = self.since.is_none_or(|since| sent > since);
        let wait = if fresh { Some(wait.unwrap_or_else(|| self.backoff.next_delay())) } else { wait };
        if fresh {
            self.since = Some(now);
        }
        self.until = self.until.max(wait.map(|wait| now + wait));
        fresh
    }

    /// A request that left at `sent` worked; whether one had failed before it left.
    pub fn worked(&mut self, sent: Instant) -> bool {
        let again = self.since.is_some_and(|since| sent > since);
        if again {
            self.backoff.reset();
            (self.since, self.until) = (None, None);
        }
        again
    }

    /// When the pause ends; `None` outside of one.
    pub fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// Whether nothing has worked since the last failure.
    pub fn is_failing(&self) -> bool {
        self.since.is_some()
    }

    /// Pauses since something worked whose length nobody told.
    pub fn failures(&self) -> u32 {
        self.backoff.failures()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_are_on_their_way_together_fail_once() {
        let (mut pause, begun) =
            (Pause::new((Duration::from_secs(1), Duration::from_secs(60))), Instant::now());
        let second = |n| begun + Duration::from_secs(n);
        assert!(pause.failed(None, begun, second(1)));
        let until = pause.until(second(1)).unwrap();
        for _ in 0..9 {
            assert!(!pause.failed(None, second(1), second(1)));
        }
        assert!(!pause.worked(begun), "it left before the pause");
        assert_eq!((pause.until(second(1)), pause.failures()), (Some(until), 1));
        assert!(!pause.failed(Some(Duration::from_secs(9)), begun, second(1)));
        assert_eq!(pause.until(second(1)), Some(second(10)), "what is said holds");
        assert!(pause.failed(None, second(10), second(11)));
        assert_eq!(pause.failures(), 2);
        assert!(pause.worked(second(20)) && !pause.is_failing() && pause.until(second(11)).is_none());
        assert!(!pause.worked(second(21)));
    }

    #[test]
    fn delays_grow_to_the_cap_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let first = backoff.next_delay();
        assert!((Duration::from_millis(50)..=Duration::from_millis(100)).contains(&first), "{first:?}");
        for _ in 0..40 {
            assert!(backoff.next_delay() <= Duration::from_secs(2));
        }
        assert!(backoff.next_delay() >= Duration::from_secs(1));
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }
}
