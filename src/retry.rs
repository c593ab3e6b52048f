//! Exponential backoff with full jitter, after Marc Brooker, "Exponential Backoff And Jitter" (AWS, 2015).

use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;

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
