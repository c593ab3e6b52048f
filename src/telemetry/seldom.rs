//! A warning that may be due thousands of times a minute: it is said once in a while, with how much it stands for.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts what is not said each time.
#[derive(Debug)]
pub struct Seldom {
    pause: Duration,
    /// When it was last said, and what has come since.
    state: Mutex<(Option<Instant>, u64)>,
}

impl Seldom {
    /// Says something at most once in `pause`.
    pub const fn once_in(pause: Duration) -> Self {
        Self { pause, state: Mutex::new((None, 0)) }
    }

    /// So many more at `now`; returns how many there are since it was last said, where it is to be said now.
    pub fn count(&self, more: u64, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, count) = &mut *state;
        *count += more;
        if said.is_some_and(|said| now.saturating_duration_since(said) < self.pause) {
            return None;
        }
        *said = Some(now);
        Some(std::mem::take(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_said_is_in_the_next_count() {
        let (seldom, now) = (Seldom::once_in(Duration::from_secs(60)), Instant::now());
        assert_eq!(seldom.count(3, now), Some(3));
        assert_eq!(seldom.count(4, now), None);
        assert_eq!(seldom.count(5, now + Duration::from_secs(59)), None);
        assert_eq!(seldom.count(6, now + Duration::from_secs(60)), Some(15));
    }
}
