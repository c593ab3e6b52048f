//! How often a client may send params: a bucket that fills again.

use std::time::Duration;

use tokio::time::Instant;

/// So many params can come at once, as when someone tries filters.
const BURST: u32 = 20;
/// One more is allowed each time this has passed.
const REFILL: Duration = Duration::from_millis(500);

/// What a client may still send.
#[derive(Debug)]
pub struct Allowance {
    left: u32,
    /// Up to here `left` was filled.
    filled: Instant,
}

impl Allowance {
    /// A full one.
    pub fn new(now: Instant) -> Self {
        Self { left: BURST, filled: now }
    }

    /// Takes one; `false` where there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled);
        let more = u32::try_from(passed.as_millis() / REFILL.as_millis()).unwrap_or(BURST).min(BURST);
        self.left = (self.left + more).min(BURST);
        self.filled = if more == BURST { now } else { self.filled + REFILL * more };
        self.left.checked_sub(1).map(|left| self.left = left).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_two_a_second_for_ever() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let taken = |allowance: &mut Allowance, now| (0..100).filter(|_| allowance.take(now)).count();
        assert_eq!(taken(&mut allowance, start), 20);
        // Asked a thousand times a second, for ten seconds.
        let granted = (1..=10_000)
            .filter(|&ms| allowance.take(start + Duration::from_millis(ms)))
            .count();
        assert_eq!(granted, 20);
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(3_600)), 20);
    }
}
