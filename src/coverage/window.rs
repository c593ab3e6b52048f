//! What was counted of late: a cell for each of the last minutes.

use std::collections::VecDeque;

/// Minutes that an estimate looks back: long enough for two thousand events of a rare type such as issues.
pub const MINUTES: i64 = 20;
const MINUTE_MILLIS: i64 = 60_000;

/// Counts of the last [`MINUTES`], the current one included.
#[derive(Debug, Default)]
pub struct Window<T> {
    cells: VecDeque<(i64, T)>,
}

impl<T: Default> Window<T> {
    /// The cell of the minute in which `now` lies (Unix milliseconds). A clock that steps back goes on counting in the newest.
    pub fn at(&mut self, now: i64) -> &mut T {
        let minute = now.div_euclid(MINUTE_MILLIS);
        if self.cells.back().is_none_or(|(newest, _)| *newest < minute) {
            self.cells.push_back((minute, T::default()));
        }
        self.forget(minute);
        let last = self.cells.len() - 1;
        &mut self.cells[last].1
    }

    /// The cells that are young enough at `now`, the oldest first.
    pub fn cells(&self, now: i64) -> impl Iterator<Item = &T> + Clone {
        let oldest = now.div_euclid(MINUTE_MILLIS) - MINUTES;
        self.cells.iter().filter(move |(minute, _)| *minute > oldest).map(|(_, cell)| cell)
    }

    fn forget(&mut self, minute: i64) {
        while self.cells.len() > 1
            && self.cells.front().is_some_and(|(oldest, _)| *oldest <= minute - MINUTES)
        {
            self.cells.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_forgotten_after_twenty_and_a_clock_may_step_back() {
        let mut window = Window::<u32>::default();
        for minute in 0..100 {
            *window.at(minute * MINUTE_MILLIS + 7) += 1;
            *window.at(minute * MINUTE_MILLIS - 90_000) += 1;
        }
        let now = 99 * MINUTE_MILLIS;
        assert_eq!(window.cells(now).copied().collect::<Vec<_>>(), [2; 20]);
        assert_eq!(window.cells(now + 4 * MINUTE_MILLIS).count(), 16);
        assert_eq!(window.cells(now + 40 * MINUTE_MILLIS).count(), 0);
        assert!(window.cells.len() <= 20);
    }
}
