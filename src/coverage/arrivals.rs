//! How many events passed a queue, from how far it moved between polls: exactly where a poll shows events that were seen
//! before, by maximum likelihood where it does not.
//!
//! A poll that shows nothing known says only that at least so many events passed: it is censored. Counts of known and of
//! censored intervals together give the rate of a Poisson process by expectation–maximisation (Dempster, Laird, Rubin 1977):
//! leaving censored intervals out, or taking them at their least, would hide just those bursts in which events are missed.

/// Rounds of expectation–maximisation; a dozen are enough in practice.
const ROUNDS: usize = 60;
/// Intervals that must be known for the rate to rest on them: so many, and this share of all.
const LEAST_KNOWN: (f64, f64) = (5.0, 0.01);

/// Intervals between the polls of a queue. Seconds may be of any clock by which the rate is steady.
#[derive(Debug, Clone, Default)]
pub struct Intervals {
    /// Events that passed in the known ones, and how many and how long those were, in seconds.
    known: f64,
    known_count: u32,
    known_seconds: f64,
    /// Seconds of each censored one, and events that passed at least.
    censored: Vec<(f64, f64)>,
}

impl Intervals {
    /// `events` passed in `seconds`.
    pub fn known(&mut self, seconds: f64, events: f64) {
        self.known += events;
        self.known_seconds += seconds;
        self.known_count += 1;
    }

    /// At least `events` passed in `seconds`.
    pub fn at_least(&mut self, seconds: f64, events: f64) {
        self.censored.push((seconds, events));
    }

    /// Seconds of all of them.
    pub fn seconds(&self) -> f64 {
        self.known_seconds + self.censored.iter().map(|(seconds, _)| seconds).sum::<f64>()
    }

    /// Events a second; `None` where too few intervals are known to tell.
    pub fn rate(&self) -> Option<f64> {
        let intervals = f64::from(self.known_count) + self.censored.len() as f64;
        let seconds = self.seconds();
        let (count, share) = LEAST_KNOWN;
        if f64::from(self.known_count) < count.max(share * intervals) || seconds <= 0.0 {
            return None;
        }
        let least: f64 = self.censored.iter().map(|(_, events)| events).sum();
        let mut rate = (self.known + least) / seconds;
        for _ in 0..ROUNDS {
            let before = rate;
            rate = (self.known + self.hidden(before)) / seconds;
            if (rate - before).abs() < 1e-6 * before {
                break;
            }
        }
        Some(rate)
    }

    /// Events that passed at `rate`, known ones exactly.
    pub fn passed(&self, rate: f64) -> f64 {
        self.known + self.hidden(rate)
    }

    fn hidden(&self, rate: f64) -> f64 {
        self.censored.iter().map(|&(seconds, least)| expected(rate * seconds, least)).sum()
    }
}

/// The mean of a Poisson variable of mean `mean`, given that it is at least `least`; by the normal approximation, which is
/// good to a fraction of an event at the dozens that pass between two polls.
fn expected(mean: f64, least: f64) -> f64 {
    if mean <= 0.0 {
        return least;
    }
    let deviation = mean.sqrt();
    (mean + deviation * hazard((least - 0.5 - mean) / deviation)).max(least)
}

/// Density over upper tail of the standard normal distribution (the inverse of Mills' ratio).
fn hazard(z: f64) -> f64 {
    if z > 3.0 {
        return z + 1.0 / z - 2.0 / z.powi(3);
    }
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    density / upper_tail(z)
}

/// Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.17: off by less than 7.5e-8.
fn upper_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let polynomial = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = polynomial.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    let tail = sum * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if z < 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knuth's way: as many uniform numbers as their product stays above e^-mean, in parts that do not underflow.
    fn poisson(random: &mut fastrand::Rng, mut mean: f64) -> f64 {
        let mut count = 0.0;
        while mean > 0.0 {
            let part = mean.min(200.0);
            let (limit, mut product) = ((-part).exp(), random.f64());
            while product > limit {
                count += 1.0;
                product *= random.f64();
            }
            mean -= part;
        }
        count
    }

    #[test]
    fn tails_and_hazards_are_those_of_the_tables() {
        for (z, tail) in [(0.0, 0.5), (1.0, 0.158_655), (-1.0, 0.841_345), (2.5, 0.006_210)] {
            assert!((upper_tail(z) - tail).abs() < 1e-6, "{z}");
        }
        for (z, expected) in [(0.0, 0.797_885), (-4.0, 0.000_134), (2.0, 2.373_216), (3.5, 3.752)] {
            assert!((hazard(z) - expected).abs() < 0.02, "{z}: {}", hazard(z));
        }
    }

    #[test]
    fn the_rate_is_found_although_intervals_are_censored() {
        let mut random = fastrand::Rng::with_seed(1);
        // From no interval censored, over half, to nine of ten.
        for (rate, mean_seconds) in [(50.0, 1.0), (100.0, 1.0), (115.0, 1.0), (40.0, 2.5)] {
            let (mut intervals, mut truth, mut known) = (Intervals::default(), 0.0, 0.0);
            for _ in 0..400 {
                let seconds = mean_seconds * (0.95 + 0.1 * random.f64());
                let events = poisson(&mut random, rate * seconds);
                truth += events;
                if events < 100.0 {
                    intervals.known(seconds, events);
                    known += events;
                } else {
                    intervals.at_least(seconds, 100.0);
                }
            }
            let estimate = intervals.rate().unwrap();
            assert!((estimate / rate - 1.0).abs() < 0.015, "{rate}: {estimate}");
            let passed = intervals.passed(estimate);
            assert!((passed / truth - 1.0).abs() < 0.015, "{passed} of {truth}, {known} known");
        }
    }

    #[test]
    fn what_is_censored_throughout_has_no_rate() {
        let mut intervals = Intervals::default();
        assert_eq!(intervals.rate(), None);
        for _ in 0..100 {
            intervals.at_least(1.0, 100.0);
        }
        assert_eq!(intervals.rate(), None);
        for _ in 0..10 {
            intervals.known(0.5, 60.0);
        }
        assert!(intervals.rate().unwrap() > 100.0);
    }
}
