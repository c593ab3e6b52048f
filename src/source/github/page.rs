//! The elements of one answer: events that keep their bytes as they came, and what is no event.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::poll::{Feed, Seen, kind};
use crate::event::{Event, Rejection};
use crate::source::{Candidate, Rejected, scan};

/// What an answer held.
#[derive(Debug, Default)]
pub struct Page {
    /// Its events, in the feed's order: newest first.
    pub candidates: Vec<Candidate>,
    /// The same with their types.
    pub events: Vec<Seen>,
    /// What is no event.
    pub rejected: Vec<Rejected>,
}

impl Page {
    /// Reads the body of an answer of `feed`.
    ///
    /// # Errors
    /// When `body` is not a JSON array.
    pub fn parse(feed: &Feed, body: &Bytes) -> Result<Self, serde_json::Error> {
        let elements: Vec<&RawValue> = serde_json::from_slice(body)?;
        let mut page = Self::default();
        for (index, element) in elements.into_iter().enumerate() {
            let raw = body.slice_ref(element.get().as_bytes());
            match read(element.get()) {
                Ok(seen) => {
                    page.candidates.push(Candidate { key: seen.key, raw });
                    page.events.push(seen);
                }
                Err(reason) => {
                    let place = format!("events {feed} index {index}");
                    page.rejected.push(Rejected { reason, place, body: raw });
                }
            }
        }
        Ok(page)
    }

    /// The events, oldest first.
    pub fn take_candidates(&mut self) -> Vec<Candidate> {
        let mut candidates = std::mem::take(&mut self.candidates);
        // Reversed, a stable sort keeps the feed's order within a second.
        candidates.reverse();
        candidates.sort_by_key(|candidate| candidate.key.created_at);
        candidates
    }
}

fn read(raw: &str) -> Result<Seen, Rejection> {
    let event = match Event::parse(raw) {
        Ok(event) => event,
        // It says what else it is.
        Err(_) => return Err(scan::check(raw).err().unwrap_or(Rejection::Malformed)),
    };
    Ok(Seen { key: event.key().ok_or(Rejection::NoIdentity)?, kind: kind(event.kind()) })
}

/// Of a body, to recognise it by.
pub fn hash(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u32, second: u32) -> String {
        format!(r#"{{"id":"{id}", "type":"PushEvent","created_at":"2026-01-01T00:00:{second:02}Z"}}"#)
    }

    fn parse(text: &str) -> Result<Page, serde_json::Error> {
        Page::parse(&Feed::Page(2), &Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn events_are_handed_on_oldest_first_and_as_they_came() {
        let text = format!("[{},\n {},{},{}]", event(5, 3), event(6, 9), event(4, 2), event(3, 2));
        let mut page = parse(&text).unwrap();
        let shown: Vec<_> = page.events.iter().map(|event| (event.key.id, event.kind)).collect();
        assert_eq!(shown, [5, 6, 4, 3].map(|id| (id, "PushEvent")));
        let candidates = page.take_candidates();
        let ids: Vec<_> = candidates.iter().map(|candidate| candidate.key.id).collect();
        assert_eq!(ids, [3, 4, 5, 6]);
        assert_eq!(candidates[1].raw, event(4, 2));
        assert!(page.rejected.is_empty());
    }

    #[test]
    fn what_is_no_event_is_rejected_with_its_place_and_spares_its_neighbours() {
        let page = parse(&format!(r#"[null,{},7,{{"id":"1"}},"x"]"#, event(1, 1))).unwrap();
        assert_eq!((page.candidates.len(), page.events.len()), (1, 1));
        let found: Vec<_> =
            page.rejected.iter().map(|rejected| (rejected.reason, rejected.place.as_str())).collect();
        use Rejection::{NoIdentity, NotAnEvent};
        let place = ["0", "2", "3", "4"].map(|index| format!("events page 2 index {index}"));
        let [a, b, c, d] = place.each_ref().map(String::as_str);
        assert_eq!(found, [(NotAnEvent, a), (NotAnEvent, b), (NoIdentity, c), (NotAnEvent, d)]);
        assert_eq!(page.rejected[0].body, "null");
    }

    #[test]
    fn a_body_that_is_no_array_is_an_error() {
        for body in ["", "{}", "null", "[{}", "[{}] x", "<html>", "[\"\u{1}\"", "[{\"id\":\"1\"}"] {
            assert!(parse(body).is_err(), "{body}");
        }
        assert!(Page::parse(&Feed::Page(1), &Bytes::from_static(b"[\"\xff\"]")).is_err());
    }
}
