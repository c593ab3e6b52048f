//! Which types went silent: not seen for many times their usual gap, while others are.

use super::{KIND_COUNT, kind_index};

/// Times the usual gap after which a type is silent …
const GAPS: f64 = 20.0;
/// … and the least time, in seconds.
const LEAST: f64 = 300.0;
/// Events before a type has a usual gap; the usual gap is about the mean of the last so many, too.
const USUAL: f64 = 100.0;

#[derive(Debug, Clone, Copy, Default)]
struct Kind {
    /// When it was seen last, in Unix milliseconds.
    last: i64,
    events: f64,
    /// Mean gap in seconds.
    gap: f64,
}

/// When each type was seen last.
#[derive(Debug)]
pub struct Silence {
    kinds: [Kind; KIND_COUNT],
    /// When any was.
    last: i64,
}

impl Default for Silence {
    fn default() -> Self {
        Self { kinds: [Kind::default(); KIND_COUNT], last: i64::MIN }
    }
}

impl Silence {
    /// A new event of a type came.
    pub fn seen(&mut self, kind: &'static str, at: i64) {
        self.last = self.last.max(at);
        let kind = &mut self.kinds[kind_index(kind)];
        if kind.events > 0.0 {
            let gap = (at - kind.last).max(0) as f64 / 1_000.0;
            kind.gap += (gap - kind.gap) / kind.events.min(USUAL);
        }
        kind.events += 1.0;
        kind.last = kind.last.max(at);
    }

    /// For how many seconds a type was not seen while others were; `None` where it was never seen.
    pub fn seconds(&self, index: usize) -> Option<f64> {
        let kind = self.kinds[index];
        (kind.events > 0.0).then(|| (self.last - kind.last).max(0) as f64 / 1_000.0)
    }

    /// Whether that is unusually long.
    pub fn is_silent(&self, index: usize) -> bool {
        let kind = self.kinds[index];
        kind.events >= USUAL && self.seconds(index).is_some_and(|quiet| quiet > LEAST.max(GAPS * kind.gap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(silence: &Silence) -> Vec<usize> {
        (0..KIND_COUNT).filter(|&index| silence.is_silent(index)).collect()
    }

    #[test]
    fn a_type_is_silent_after_many_times_its_usual_gap_while_others_are_seen() {
        let mut silence = Silence::default();
        let second = |second: i64| second * 1_000;
        for at in 0..20_000 {
            silence.seen("PushEvent", second(at));
            if at % 5 == 0 && at < 15_000 {
                silence.seen("WatchEvent", second(at));
            }
            // One in two minutes: nothing is unusual yet.
            if at % 120 == 0 && at < 18_000 {
                silence.seen("PublicEvent", second(at));
            }
            let expected = if at > 14_995 + 300 { vec![kind_index("WatchEvent")] } else { vec![] };
            assert_eq!(silent(&silence), expected, "at {at}");
        }
        for at in 20_000..20_500 {
            silence.seen("PushEvent", second(at));
        }
        assert!(silence.is_silent(kind_index("PublicEvent")));
        silence.seen("WatchEvent", second(20_500));
        assert!(!silence.is_silent(kind_index("WatchEvent")));
    }

    #[test]
    fn nothing_is_silent_while_nothing_is_seen_at_all() {
        let mut silence = Silence::default();
        for at in 0..1_000 {
            silence.seen("PushEvent", at * 1_000);
        }
        assert_eq!((silent(&silence), silence.seconds(kind_index("PushEvent"))), (vec![], Some(0.0)));
        assert_eq!(silence.seconds(kind_index("ForkEvent")), None);
    }
}
