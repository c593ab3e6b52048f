//! How often a client may send something: a bucket that fills again.

use std::time::Duration;

use tokio::time::Instant;

/// How much is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// So many at once,
    pub burst: u32,
    /// and one more each time this has passed.
    pub refill: Duration,
}

/// What a client may still send.
#[derive(Debug)]
pub struct Allowance {
    rate: Rate,
    left: u32,
    /// Up to here `left` was filled.
    filled: Instant,
}

impl Allowance {
    /// A full one.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, left: rate.burst, filled: now }
    }

    /// Takes one; `false` where there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        let Rate { burst, refill } = self.rate;
        let passed = now.saturating_duration_since(self.filled);
        let more = u32::try_from(passed.as_millis() / refill.as_millis()).unwrap_or(burst).min(burst);
        self.left = (self.left + more).min(burst);
        self.filled = if more == burst { now } else { self.filled + refill * more };
        self.left.checked_sub(1).map(|left| self.left = left).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_two_a_second_for_ever() {
        let start = Instant::now();
        let mut allowance = Allowance::new(Rate { burst: 20, refill: Duration::from_millis(500) }, start);
        let taken = |allowance: &mut Allowance, now| (0..100).filter(|_| allowance.take(now)).count();
        assert_eq!(taken(&mut allowance, start), 20);
        // Asked a thousand times a second, for ten seconds.
        let granted = (1..=10_000).filter(|&ms| allowance.take(start + Duration::from_millis(ms))).count();
        assert_eq!(granted, 20);
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(3_600)), 20);
    }
}
