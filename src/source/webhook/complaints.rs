//! What is said of deliveries that are refused or not remembered: once of each, and not more often than somebody can read.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Mutex, PoisonError};

/// Lines in a minute.
const LINES: u32 = 10;
/// Ids that are remembered as said.
const SAID: usize = 256;
/// Characters of an id that are said: GitHub's have 36, and anybody can send any.
const ID_CHARS: usize = 64;

/// What was said.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    said: VecDeque<String>,
    minute: i64,
    lines: u32,
    unsaid: u64,
}

impl Complaints {
    /// Says of delivery `id` that it is not signed, at `now` (Unix seconds).
    pub fn unsigned(&self, id: &str, now: i64) {
        let id = cut(id);
        if let Some(unsaid) = self.may_say(id, now) {
            tracing::warn!(
                delivery = id,
                unsaid,
                "a webhook delivery has no signature by webhooks.secrets, refused"
            );
        }
    }

    /// Says of delivery `id` that it can be neither published nor kept, at `now` (Unix seconds).
    pub fn unavailable(&self, id: &str, now: i64, error: &dyn Error) {
        let id = cut(id);
        if let Some(unsaid) = self.may_say(id, now) {
            let error = crate::error_chain(error);
            tracing::warn!(delivery = id, unsaid, error, "cannot take a webhook delivery");
        }
    }

    /// Says of delivery `id` that it was taken and may be again, at `now` (Unix seconds).
    pub fn unremembered(&self, id: &str, now: i64, error: &dyn Error) {
        let id = cut(id);
        if let Some(unsaid) = self.may_say(id, now) {
            let error = crate::error_chain(error);
            tracing::warn!(delivery = id, unsaid, error, "cannot remember a webhook delivery");
        }
    }

    /// How many complaints were kept back before this one; `None` where it is one of them.
    fn may_say(&self, id: &str, now: i64) -> Option<u64> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.said.iter().any(|said| said == id) {
            return None;
        }
        let minute = now.div_euclid(60);
        if minute != inner.minute {
            (inner.minute, inner.lines) = (minute, 0);
        }
        if inner.lines == LINES {
            inner.unsaid += 1;
            return None;
        }
        inner.lines += 1;
        if inner.said.len() == SAID {
            inner.said.pop_front();
        }
        inner.said.push_back(id.to_owned());
        Some(std::mem::take(&mut inner.unsaid))
    }
}

fn cut(id: &str) -> &str {
    id.char_indices().nth(ID_CHARS).map_or(id, |(end, _)| &id[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_complained_of_once() {
        let complaints = Complaints::default();
        assert_eq!(complaints.may_say("a", 0), Some(0));
        assert_eq!(complaints.may_say("a", 0), None);
        assert_eq!(complaints.may_say("a", 6_000), None);
        assert_eq!(complaints.may_say("b", 0), Some(0));
    }

    #[test]
    fn of_many_in_a_minute_the_rest_is_counted_and_said_with_the_next() {
        let complaints = Complaints::default();
        let said = (0..500).filter(|id| complaints.may_say(&id.to_string(), 59).is_some()).count();
        assert_eq!(said, LINES as usize);
        assert_eq!(complaints.may_say("next", 60), Some(490));
        assert_eq!(complaints.may_say("another", 60), Some(0));
    }
}
