//! What is in the feed's pages, and what is remembered of each between two rounds.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderValue;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::PAGES;
use crate::retry::Backoff;
use crate::source::{Candidate, Rejected, scan};

/// What one round brought: the events of all pages, and what to remember once they are published.
#[derive(Debug, Default)]
pub struct Harvest {
    candidates: Vec<Candidate>,
    rejected: Vec<Rejected>,
    fresh: Vec<Fresh>,
}

/// A page that came in this round.
#[derive(Debug)]
struct Fresh {
    page: u8,
    etag: Option<HeaderValue>,
    rejected: HashSet<u64>,
}

impl Harvest {
    /// Adds the elements of a page, which keep their bytes as they came. Pages are added in their order.
    ///
    /// # Errors
    /// When `body` is not a JSON array; nothing is added then.
    pub fn add(
        &mut self,
        page: u8,
        body: &Bytes,
        etag: Option<HeaderValue>,
    ) -> Result<(), serde_json::Error> {
        let elements: Vec<&RawValue> = serde_json::from_slice(body)?;
        let mut fresh = Fresh { page, etag, rejected: HashSet::new() };
        for (index, element) in elements.into_iter().enumerate() {
            let raw = body.slice_ref(element.get().as_bytes());
            match scan::check(element.get()) {
                Ok(key) => self.candidates.push(Candidate { key, raw }),
                Err(reason) => {
                    fresh.rejected.insert(hash(&raw));
                    let place = format!("events page {page} index {index}");
                    self.rejected.push(Rejected { reason, place, body: raw });
                }
            }
        }
        self.fresh.push(fresh);
        Ok(())
    }

    /// Whether no page came.
    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty()
    }

    /// The events, oldest first, and what is no event.
    pub fn take(&mut self) -> (Vec<Candidate>, Vec<Rejected>) {
        // Pages are newest first: reversed, a stable sort keeps the feed's order within a second.
        self.candidates.reverse();
        self.candidates.sort_by_key(|candidate| candidate.key.created_at);
        (std::mem::take(&mut self.candidates), std::mem::take(&mut self.rejected))
    }
}

/// What is remembered of the pages.
#[derive(Debug)]
pub struct Pages([Page; PAGES as usize]);

#[derive(Debug)]
struct Page {
    etag: Option<HeaderValue>,
    /// Hashes of what was rejected, so that it goes to the dead letters once and not at every poll.
    rejected: HashSet<u64>,
    backoff: Backoff,
    failure: Option<Trouble>,
    not_before: Option<Instant>,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// From a closed set; trouble is said again only when this changes.
    pub kind: &'static str,
    /// For people.
    pub text: String,
}

impl Pages {
    /// A page that fails is first left alone for about `base`, then longer, up to `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self(std::array::from_fn(|_| Page {
            etag: None,
            rejected: HashSet::new(),
            backoff: Backoff::new(base, cap),
            failure: None,
            not_before: None,
        }))
    }

    /// The pages to ask for now, each with its etag.
    pub fn due(&self, now: Instant) -> impl Iterator<Item = (u8, Option<&HeaderValue>)> {
        let due = move |page: &Page| page.not_before.is_none_or(|at| at <= now);
        (1..)
            .zip(&self.0)
            .filter(move |(_, page)| due(page))
            .map(|(number, page)| (number, page.etag.as_ref()))
    }

    /// The page came, or has nothing new.
    pub fn worked(&mut self, page: u8) {
        let page = self.page(page);
        page.backoff.reset();
        (page.failure, page.not_before) = (None, None);
    }

    /// The page did not come; returns when it is due again.
    pub fn failed(&mut self, page: u8, trouble: Trouble, now: Instant) -> Instant {
        let page = self.page(page);
        let at = now + page.backoff.next_delay();
        (page.failure, page.not_before) = (Some(trouble), Some(at));
        at
    }

    /// What is wrong with the first page that fails.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.0.iter().find_map(|page| page.failure.as_ref())
    }

    /// Drops from `harvest` what was rejected before.
    pub fn drop_known(&self, harvest: &mut Harvest) {
        let known = |body: &Bytes| self.0.iter().any(|page| page.rejected.contains(&hash(body)));
        harvest.rejected.retain(|rejected| !known(&rejected.body));
    }

    /// Remembers the pages of `harvest`. Only for what is published: behind an etag that is kept too early, events
    /// that were not published would never be seen again.
    pub fn remember(&mut self, harvest: Harvest) {
        for fresh in harvest.fresh {
            let page = self.page(fresh.page);
            (page.etag, page.rejected) = (fresh.etag, fresh.rejected);
        }
    }

    fn page(&mut self, number: u8) -> &mut Page {
        &mut self.0[usize::from(number) - 1]
    }
}

fn hash(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Rejection;

    fn event(id: u32, second: u32) -> String {
        format!(r#"{{"id":"{id}", "created_at":"2026-01-01T00:00:{second:02}Z"}}"#)
    }

    fn harvest(pages: &[&str]) -> Harvest {
        let mut harvest = Harvest::default();
        for (number, page) in (1..).zip(pages) {
            harvest.add(number, &Bytes::copy_from_slice(page.as_bytes()), None).unwrap();
        }
        harvest
    }

    #[test]
    fn events_are_handed_on_oldest_first_and_as_they_came() {
        let one = format!("[{},\n {}]", event(5, 3), event(4, 2));
        let two = format!("[{},{},{}]", event(3, 2), event(6, 9), event(2, 2));
        let (candidates, rejected) = harvest(&[&one, &two, "[]"]).take();
        let ids: Vec<_> = candidates.iter().map(|candidate| candidate.key.id).collect();
        assert_eq!(ids, [2, 3, 4, 5, 6]);
        assert_eq!(candidates[2].raw, event(4, 2));
        assert!(rejected.is_empty());
    }

    #[test]
    fn what_is_no_event_is_rejected_with_its_place_and_spares_its_neighbours() {
        let page = format!(r#"[null,{},7,{{"id":"1"}},"x"]"#, event(1, 1));
        let (candidates, rejected) = harvest(&["[]", &page]).take();
        assert_eq!(candidates.len(), 1);
        let found: Vec<_> =
            rejected.iter().map(|rejected| (rejected.reason, rejected.place.as_str())).collect();
        use Rejection::{NoIdentity, NotAnEvent};
        let place = ["0", "2", "3", "4"].map(|index| format!("events page 2 index {index}"));
        let [a, b, c, d] = place.each_ref().map(String::as_str);
        assert_eq!(found, [(NotAnEvent, a), (NotAnEvent, b), (NoIdentity, c), (NotAnEvent, d)]);
        assert_eq!(rejected[0].body, "null");
    }

    #[test]
    fn what_stays_in_the_feed_is_rejected_once() {
        let mut pages = Pages::new(Duration::ZERO, Duration::ZERO);
        let mut first = harvest(&["[null, 1]", "[]"]);
        pages.drop_known(&mut first);
        assert_eq!(first.take().1.len(), 2);
        pages.remember(first);
        let mut second = harvest(&["[]", "[2, null]"]);
        pages.drop_known(&mut second);
        let rejected: Vec<_> = second.take().1.into_iter().map(|rejected| rejected.body).collect();
        assert_eq!(rejected, ["2"]);
    }

    #[test]
    fn a_page_that_is_no_array_adds_nothing() {
        let mut harvest = Harvest::default();
        for body in ["", "{}", "null", "[{}", "[{}] x", "<html>", "[\"\u{1}\"", "[{\"id\":\"1\"}"] {
            assert!(harvest.add(1, &Bytes::from_static(body.as_bytes()), None).is_err(), "{body}");
        }
        assert!(harvest.add(1, &Bytes::from_static(b"[\"\xff\"]"), None).is_err());
        assert!(harvest.is_empty());
    }

    #[test]
    fn a_failing_page_leaves_the_others_due() {
        let (mut pages, now) = (Pages::new(Duration::from_secs(1), Duration::from_secs(60)), Instant::now());
        let numbers = |pages: &Pages, at| pages.due(at).map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(numbers(&pages, now), [1, 2, 3]);
        let again = pages.failed(2, Trouble { kind: "timeout", text: "late".to_owned() }, now);
        assert_eq!(numbers(&pages, now), [1, 3]);
        assert_eq!(numbers(&pages, again), [1, 2, 3]);
        assert_eq!(pages.trouble().map(|trouble| trouble.kind), Some("timeout"));
        pages.worked(2);
        assert_eq!(numbers(&pages, now), [1, 2, 3]);
        assert!(pages.trouble().is_none());
    }
}
