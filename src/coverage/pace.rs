//! How the feed's rate went up and down, by the queue that is known best: the others go with it.
//!
//! Where most polls of a queue are gaps, a rate that is taken as steady is too low: its slow minutes are known, its fast
//! ones are only known to be no slower than a full page. What is no push has its rushes when pushes have theirs.

use super::queue::Interval;

/// Rates are told apart over so many milliseconds: shorter ones are noise where little passes.
const STEP: i64 = 10_000;

/// Events of one queue over time.
#[derive(Debug, Clone)]
pub struct Pace {
    start: i64,
    /// Events until the start, and then until the end of each step.
    sums: Vec<f64>,
    /// Events a millisecond on average.
    rate: f64,
}

impl Pace {
    /// The pace of a queue whose intervals are these, in their order; `None` without any.
    pub fn of<'a>(intervals: impl Iterator<Item = &'a Interval> + Clone) -> Option<Self> {
        let start = intervals.clone().map(|interval| interval.from).min()?;
        let end = intervals.clone().map(|interval| interval.to).max()?;
        let steps = usize::try_from(end.saturating_sub(start) / STEP).ok().filter(|steps| *steps < 1_000)?;
        let mut counts = vec![0.0; steps + 1];
        for interval in intervals {
            // Evenly over its length.
            let length = (interval.to - interval.from).max(1) as f64;
            for (step, count) in (0..).zip(&mut counts) {
                let (from, to) = (start + step * STEP, start + (step + 1) * STEP);
                let both = interval.to.min(to) - interval.from.max(from);
                *count += interval.events * both.max(0) as f64 / length;
            }
        }
        let total: f64 = counts.iter().sum();
        let sums = std::iter::once(0.0).chain(counts.iter().scan(0.0, |sum, count| {
            *sum += count;
            Some(*sum)
        }));
        let rate = total / (end - start).max(1) as f64;
        (rate > 0.0).then(|| Self { start, sums: sums.collect(), rate })
    }

    /// How long an interval would be, in seconds, if events came as evenly as on average.
    pub fn seconds(&self, interval: &Interval) -> f64 {
        (self.sum(interval.to) - self.sum(interval.from)).max(0.0) / self.rate / 1_000.0
    }

    /// Events until a moment; beyond both ends as on average.
    fn sum(&self, at: i64) -> f64 {
        let last = self.sums.len() - 1;
        let end = self.start + last as i64 * STEP;
        if at <= self.start {
            return (at - self.start) as f64 * self.rate;
        }
        if at >= end {
            return self.sums[last] + (at - end) as f64 * self.rate;
        }
        let step = usize::try_from((at - self.start) / STEP).unwrap_or(0);
        let part = (at - self.start) % STEP;
        self.sums[step] + (self.sums[step + 1] - self.sums[step]) * part as f64 / STEP as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_of_a_rush_is_as_long_as_what_passed_in_it() {
        let interval =
            |from, to, events| Interval { from: from * 1_000, to: to * 1_000, events, known: true };
        // Ten a second, then thirty, each for two minutes.
        let steady =
            (0..60).map(|step| interval(4 * step, 4 * step + 4, if step < 30 { 40.0 } else { 120.0 }));
        let steady: Vec<_> = steady.collect();
        let pace = Pace::of(steady.iter()).unwrap();
        let seconds = |from, to| pace.seconds(&interval(from, to, 0.0));
        assert!((seconds(20, 24) - 2.0).abs() < 0.1, "{}", seconds(20, 24));
        assert!((seconds(180, 184) - 6.0).abs() < 0.1, "{}", seconds(180, 184));
        assert!((seconds(0, 240) - 240.0).abs() < 0.1, "{}", seconds(0, 240));
        assert!(seconds(-5, 0) > 0.0 && seconds(240, 300) > 0.0);
        assert!(Pace::of([].iter()).is_none());
        assert!(Pace::of([interval(0, i64::MAX / 2_000, 1.0)].iter()).is_none());
    }
}
