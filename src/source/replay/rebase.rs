//! Moves archived events to the present: shifts every `created_at` by the same time.

use std::sync::Arc;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::domain::github::selection::Selection;
use crate::source::Candidate;

/// Shifts events so that the first one happens now.
pub struct Rebase {
    clock: Arc<dyn Clock>,
    shift: Option<i64>,
    created_at: Selection,
}

impl Rebase {
    /// Goes on with `shift` seconds where an interrupted replay had chosen them.
    pub fn new(clock: Arc<dyn Clock>, shift: Option<i64>) -> Self {
        Self { clock, shift, created_at: Selection::new(["event.created_at"]) }
    }

    /// The shift in seconds; `None` before the first event.
    pub fn seconds(&self) -> Option<i64> {
        self.shift
    }

    /// Shifts `created_at` in the events' identities and texts.
    pub fn shift(&mut self, candidates: &mut [Candidate]) {
        let Some(first) = candidates.first() else { return };
        let shift = *self.shift.get_or_insert(self.clock.unix_seconds() - first.key.created_at);
        for candidate in candidates {
            if let Some(shifted) = self.shifted(candidate, shift) {
                *candidate = shifted;
            }
        }
    }

    fn shifted(&self, candidate: &Candidate, shift: i64) -> Option<Candidate> {
        let mut key = candidate.key;
        key.created_at += shift;
        let text = std::str::from_utf8(&candidate.raw).ok()?;
        let found = self.created_at.pick(&[("event", text)])[0]?;
        let start = found.as_ptr() as usize - text.as_ptr() as usize;
        let moment = Timestamp::from_second(key.created_at).ok()?;
        let raw = format!("{}\"{moment}\"{}", &text[..start], &text[start + found.len()..]);
        Some(Candidate { key, raw: raw.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::event::Event;

    #[test]
    fn identity_and_text_move_together_and_nested_times_stay() {
        let raw = r#"{"id":"1","payload":{"created_at":"2016-01-01T00:00:00Z"},"created_at":"2016-01-01T00:00:05Z"}"#;
        let key = Event::parse(raw).unwrap().key().unwrap();
        let mut candidates = vec![Candidate { key, raw: raw.into() }; 2];
        let mut rebase = Rebase::new(Arc::new(ManualClock::new(1_800_000_000_500)), None);
        rebase.shift(&mut candidates);
        let text = std::str::from_utf8(&candidates[1].raw).unwrap();
        assert_eq!(Event::parse(text).unwrap().key().unwrap(), candidates[1].key);
        assert_eq!(candidates[1].key.created_at, 1_800_000_000);
        assert!(text.contains(r#"{"created_at":"2016-01-01T00:00:00Z"}"#));
    }
}
