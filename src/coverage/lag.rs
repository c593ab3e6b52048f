//! How long after `created_at` events are seen first, in buckets that grow by a tenth.

use super::window::Window;

const GROWTH: f64 = 1.1;
/// The last one begins at about a day.
const BUCKETS: usize = 120;

#[derive(Debug)]
struct Cell([u32; BUCKETS]);

impl Default for Cell {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

/// Lags of late.
#[derive(Debug, Default)]
pub struct Lags(Window<Cell>);

impl Lags {
    /// An event was seen first at `at`, in Unix milliseconds.
    pub fn add(&mut self, at: i64, created_at: i64) {
        let seconds = (at as f64 / 1_000.0 - created_at as f64).max(0.0);
        let bucket = (seconds.ln_1p() / GROWTH.ln()) as usize;
        self.0.at(at).0[bucket.min(BUCKETS - 1)] += 1;
    }

    /// The lags, in seconds, that these shares of events stay below, within a tenth; `None` before the first event.
    pub fn quantiles<const N: usize>(&self, now: i64, shares: [f64; N]) -> Option<[f64; N]> {
        let mut sum = [0_u64; BUCKETS];
        for cell in self.0.cells(now) {
            sum.iter_mut().zip(cell.0).for_each(|(sum, count)| *sum += u64::from(count));
        }
        let total: u64 = sum.iter().sum();
        let quantile = |share: f64| {
            let mut left = (share * total as f64).ceil() as u64;
            let bucket = sum.iter().position(|&count| {
                left = left.saturating_sub(count);
                left == 0
            });
            GROWTH.powf(bucket.unwrap_or(BUCKETS) as f64 + 0.5) - 1.0
        };
        (total > 0).then(|| shares.map(quantile))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_a_tenth() {
        let mut lags = Lags::default();
        assert_eq!(lags.quantiles(0, [0.5]), None);
        for second in 1..=1_000 {
            lags.add(600_000, 600 - second);
        }
        let [median, p99] = lags.quantiles(600_000, [0.5, 0.99]).unwrap();
        assert!((450.0..550.0).contains(&median) && (890.0..1_090.0).contains(&p99), "{median} {p99}");
        // A clock behind GitHub's, and an event of another age.
        lags.add(600_000, 700);
        lags.add(600_000, -1_000_000_000);
        assert_eq!(lags.quantiles(600_000 + 3_600_000, [0.5]), None, "forgotten");
    }
}
