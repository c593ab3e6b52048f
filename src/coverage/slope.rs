//! A queue's rate from the ages of the events in one answer: all that there is where no two polls overlap.
//!
//! Events come newest first, so `created_at` falls with the position by 1/rate a position on average, whatever the
//! delay of publication is, as long as it does not depend on the position. A least-squares line through many answers
//! finds it; whole seconds and different delays are noise, which the standard error measures.

/// An event further than this from the middle of its answer is left out: published hours late, most likely.
const OUTLIER_SECONDS: f64 = 120.0;
/// Fewer positions say nothing.
const LEAST_EVENTS: usize = 10;

/// Sums of squares over answers, each around its own mean.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slope {
    xx: f64,
    xy: f64,
    yy: f64,
    count: f64,
}

impl Slope {
    /// Adds an answer: `created_at` of its events by position.
    pub fn add(&mut self, created_at: &[i64]) {
        let mut sorted = created_at.to_vec();
        sorted.sort_unstable();
        let Some(&middle) = sorted.get(sorted.len() / 2) else { return };
        let points = created_at.iter().enumerate().map(|(x, y)| (x as f64, (y - middle) as f64));
        let points: Vec<_> = points.filter(|(_, y)| y.abs() <= OUTLIER_SECONDS).collect();
        if points.len() < LEAST_EVENTS {
            return;
        }
        let count = points.len() as f64;
        let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        let (x, y) = (x / count, y / count);
        for (px, py) in &points {
            self.xx += (px - x) * (px - x);
            self.xy += (px - x) * (py - y);
            self.yy += (py - y) * (py - y);
        }
        self.count += count - 1.0;
    }

    /// All answers together.
    pub fn sum<'a>(cells: impl Iterator<Item = &'a Self>) -> Self {
        cells.fold(Self::default(), |sum, cell| Self {
            xx: sum.xx + cell.xx,
            xy: sum.xy + cell.xy,
            yy: sum.yy + cell.yy,
            count: sum.count + cell.count,
        })
    }

    /// Events a second, with the relative standard error; `None` where there is no line.
    pub fn rate(&self) -> Option<(f64, f64)> {
        if self.count < 2.0 || self.xx <= 0.0 {
            return None;
        }
        let slope = self.xy / self.xx;
        let residual = (self.yy - slope * self.xy).max(0.0) / (self.count - 1.0);
        let error = (residual / self.xx).sqrt();
        (slope < 0.0).then(|| (-1.0 / slope, error / -slope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_through_whole_seconds_and_delays() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut slope = Slope::default();
        for poll in 0..120 {
            // A hundred events at 110 a second, published up to two seconds late, one of them an hour.
            let now = f64::from(poll) * 5.0 + 1_000_000.0;
            let mut created: Vec<i64> =
                (0..100).map(|x| (now - f64::from(x) / 110.0 - 2.0 * random.f64()).floor() as i64).collect();
            created[random.usize(0..100)] -= 3_600;
            slope.add(&created);
        }
        let (rate, error) = slope.rate().unwrap();
        assert!((rate / 110.0 - 1.0).abs() < 3.0 * error && error < 0.05, "{rate}, {error}");
    }

    #[test]
    fn noise_is_not_taken_for_a_rate() {
        let mut random = fastrand::Rng::with_seed(4);
        let mut slope = Slope::default();
        for _ in 0..50 {
            slope.add(&(0..100).map(|_| random.i64(0..60)).collect::<Vec<_>>());
        }
        assert!(slope.rate().is_none_or(|(_, error)| error > 0.2), "{:?}", slope.rate());
        assert_eq!(Slope::default().rate(), None);
        slope.add(&[]);
    }
}
