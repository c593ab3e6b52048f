//! What is remembered of one feed between two polls.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::client::Failure;
use super::focus;
use super::page::{Page, hash};
use super::poll::{Feed, Poll};
use super::rate_limit::RateHeaders;
use crate::event::EventKey;
use crate::retry::Backoff;
use crate::source::Rejected;

/// A feed that is polled.
#[derive(Debug)]
pub struct Watched {
    /// Which one.
    pub feed: Feed,
    path: String,
    /// Where it is instead if it is not there.
    otherwise: Option<String>,
    /// Whether it was looked for there since it last answered.
    turned: bool,
    /// Whether it was redirected since.
    moved: bool,
    page: u8,
    /// What each identity was shown last. GitHub's etags differ from token to token.
    shown: HashMap<u64, Shown>,
    former: Option<Former>,
    /// Hashes of what was rejected, so that it goes to the dead letters once and not at every poll.
    rejected: HashSet<u64>,
    backoff: Backoff,
    /// What is wrong with it.
    pub trouble: Option<Trouble>,
}

#[derive(Debug, Default)]
struct Shown {
    body: u64,
    /// Only of what was published: behind one that is kept too early, events that were not published would never be seen
    /// again.
    etag: Option<HeaderValue>,
}

/// The answer before.
#[derive(Debug)]
struct Former {
    asked: Instant,
    keys: HashSet<EventKey>,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// From a closed set; trouble is said again only when this changes.
    pub kind: &'static str,
    /// For people.
    pub text: String,
}

/// What to remember once an answer's events are published.
#[derive(Debug)]
pub struct Fresh {
    identity: u64,
    etag: Option<HeaderValue>,
    rejected: HashSet<u64>,
}

/// What an answer turned out to be.
#[derive(Debug)]
pub struct Found {
    /// For whoever measures coverage.
    pub poll: Poll,
    /// Whether this identity was shown something else last time.
    pub new: bool,
    /// To be published.
    pub page: Page,
    /// To be remembered then.
    pub fresh: Fresh,
}

impl Watched {
    /// A page of the public feed. When it fails it is first left alone for about `pause.0`, then longer, up to `pause.1`.
    pub fn page(number: u8, pause: (Duration, Duration)) -> Self {
        Self::new(Feed::Page(number), "events".to_owned(), None, number, pause)
    }

    /// An entry of `github.focus`; `None` where it is none.
    pub fn focus(entry: &str, pause: (Duration, Duration)) -> Option<Self> {
        let (path, otherwise) = focus::paths(entry).ok()?;
        Some(Self::new(Feed::Focus(entry.into()), path, otherwise, 1, pause))
    }

    fn new(
        feed: Feed,
        path: String,
        otherwise: Option<String>,
        page: u8,
        pause: (Duration, Duration),
    ) -> Self {
        Self {
            feed,
            path,
            otherwise,
            turned: false,
            moved: false,
            page,
            shown: HashMap::new(),
            former: None,
            rejected: HashSet::new(),
            backoff: Backoff::new(pause.0, pause.1),
            trouble: None,
        }
    }

    /// Where it is, below the API's root, and which page of it is read.
    pub fn place(&self) -> (String, u8) {
        (self.path.clone(), self.page)
    }

    /// The etag to ask with as `identity`.
    pub fn etag(&self, identity: u64) -> Option<HeaderValue> {
        self.shown.get(&identity)?.etag.clone()
    }

    /// Who was shown it already, and so can ask for what changed since: whoever has an etag.
    pub fn known_to(&self) -> Option<u64> {
        self.shown.iter().filter(|(_, shown)| shown.etag.is_some()).map(|(id, _)| *id).min()
    }

    /// Forgets what identities were shown that are no longer there.
    pub fn forget_identities(&mut self) {
        self.shown.clear();
    }

    /// Reads an answer to what `identity` asked at `asked`, `asked_at` in Unix milliseconds.
    ///
    /// # Errors
    /// When it is not a JSON array; nothing is remembered then.
    pub fn read(
        &mut self,
        identity: u64,
        body: &Bytes,
        etag: Option<HeaderValue>,
        asked: Instant,
        asked_at: i64,
    ) -> Result<Found, serde_json::Error> {
        let mut page = Page::parse(&self.feed, body)?;
        let former = self.former.as_ref().map(|former| (&former.keys, asked - former.asked));
        let poll = Poll::new(self.feed.clone(), asked_at, std::mem::take(&mut page.events), former);
        let keys = poll.events.iter().map(|event| event.key).collect();
        self.former = Some(Former { asked, keys });
        let shown = self.shown.entry(identity).or_default();
        let body = hash(body);
        let new = std::mem::replace(&mut shown.body, body) != body;
        let rejected = page.rejected.iter().map(|rejected| hash(&rejected.body)).collect();
        page.rejected.retain(|Rejected { body, .. }| !self.rejected.contains(&hash(body)));
        self.answered();
        Ok(Found { poll, new, page, fresh: Fresh { identity, etag, rejected } })
    }

    /// Nothing changed since the former answer: how many events it showed, and how long before `asked`.
    pub fn unchanged(&mut self, asked: Instant) -> Option<(usize, Duration)> {
        self.answered();
        let former = self.former.as_mut()?;
        let since = asked - std::mem::replace(&mut former.asked, asked);
        Some((former.keys.len(), since))
    }

    fn answered(&mut self) {
        self.backoff.reset();
        (self.trouble, self.turned, self.moved) = (None, false, false);
    }

    /// An answer's events were published.
    pub fn published(&mut self, fresh: Fresh) {
        self.shown.entry(fresh.identity).or_default().etag = fresh.etag;
        self.rejected = fresh.rejected;
    }

    /// What a failure that came with `rate` says of this feed. GitHub blocks single repositories, and answers whoever asks
    /// for one with 403 and his quota; a suspended account is told no quota.
    pub fn meant(&self, failure: Failure, rate: &RateHeaders) -> Failure {
        match failure {
            failure if matches!(self.feed, Feed::Page(_)) => failure,
            Failure::Forbidden if rate.any_limit => Failure::Blocked,
            Failure::Redirected { path: Some(_), .. } if self.moved => Failure::Renamed,
            failure => failure,
        }
    }

    /// It failed; returns how long to leave it alone.
    pub fn failed(&mut self, trouble: Trouble) -> Duration {
        self.trouble = Some(trouble);
        self.backoff.next_delay()
    }

    /// There is no such feed: it is looked for at its other place from now on. Whether it was not looked for there since it
    /// last answered.
    pub fn elsewhere(&mut self) -> bool {
        let Some(otherwise) = &mut self.otherwise else { return false };
        std::mem::swap(&mut self.path, otherwise);
        self.turned = !self.turned;
        self.turned
    }

    /// A repository that was renamed is at another place of the same server, where GitHub says: it is asked there from now on.
    /// Whether it is; once between two answers.
    pub fn follow(&mut self, failure: &Failure) -> bool {
        let (Failure::Redirected { path: Some(path), .. }, Feed::Focus(name)) = (failure, &self.feed) else {
            return false;
        };
        tracing::warn!(focus = %name, "it was renamed and is followed, github.focus should give its new name");
        // Where it is not there either, its old name may have been given to another one.
        self.otherwise = Some(std::mem::replace(&mut self.path, path.clone()));
        self.moved = true;
        self.shown.clear();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: (Duration, Duration) = (Duration::ZERO, Duration::ZERO);

    fn event(id: u32) -> String {
        format!(r#"{{"id":"{id}","created_at":"2026-01-01T00:00:00Z"}}"#)
    }

    fn read(feed: &mut Watched, identity: u64, elements: &[String], asked: Instant) -> Found {
        let body = Bytes::from(format!("[{}]", elements.join(",")));
        feed.read(identity, &body, Some(HeaderValue::from_static("\"x\"")), asked, 0).unwrap()
    }

    #[test]
    fn what_stays_in_the_feed_is_rejected_once() {
        let (mut feed, now) = (Watched::page(1, NONE), Instant::now());
        let null = "null".to_owned();
        let found = read(&mut feed, 1, &[null.clone(), "1".to_owned()], now);
        assert_eq!(found.page.rejected.len(), 2);
        let again = read(&mut feed, 1, std::slice::from_ref(&null), now);
        assert_eq!(again.page.rejected.len(), 1, "they were not published");
        feed.published(found.fresh);
        let again = read(&mut feed, 1, &["2".to_owned(), null], now);
        let rejected: Vec<_> = again.page.rejected.into_iter().map(|rejected| rejected.body).collect();
        assert_eq!(rejected, ["2"]);
    }

    #[test]
    fn an_etag_belongs_to_whoever_was_shown_the_page_once_it_is_published() {
        let (mut feed, now) = (Watched::page(1, NONE), Instant::now());
        let found = read(&mut feed, 7, &[event(1)], now);
        assert_eq!((feed.etag(7), feed.known_to()), (None, None));
        feed.published(found.fresh);
        assert!(feed.etag(7).is_some() && feed.etag(8).is_none());
        assert_eq!(feed.known_to(), Some(7));
    }

    #[test]
    fn overlap_is_measured_against_the_answer_before_whoever_asked() {
        let (mut feed, now) = (Watched::page(1, NONE), Instant::now());
        let first = read(&mut feed, 1, &[event(1), event(2)], now);
        assert_eq!((first.poll.overlap, first.poll.since_former, first.new), (None, None, true));
        let later = now + Duration::from_secs(2);
        let second = read(&mut feed, 2, &[event(2), event(3)], later);
        assert_eq!((second.poll.overlap, second.new), (Some(1), true));
        assert_eq!(second.poll.since_former, Some(Duration::from_secs(2)));
        assert!(!read(&mut feed, 2, &[event(2), event(3)], later).new);
        assert_eq!(feed.unchanged(later + Duration::from_secs(1)), Some((2, Duration::from_secs(1))));
    }

    #[test]
    fn an_owner_is_looked_for_among_organisations_and_users_by_turns() {
        let mut feed = Watched::focus("torvalds", NONE).unwrap();
        let places = ["users/torvalds/events/public", "orgs/torvalds/events"];
        assert_eq!(feed.place().0, places[1]);
        for turn in 0..4 {
            assert_eq!(feed.elsewhere(), turn % 2 == 0, "at every second time both are missing");
            assert_eq!(feed.place().0, places[turn % 2]);
        }
        assert!(feed.elsewhere());
        // Found as a user, and an organisation since.
        read(&mut feed, 1, &[event(1)], Instant::now());
        assert!(feed.elsewhere());
        assert_eq!(feed.place().0, places[1]);
        assert!(!Watched::focus("a/b", NONE).unwrap().elsewhere());
    }

    #[test]
    fn a_renamed_repository_is_followed_once_until_it_answers() {
        let mut feed = Watched::focus("a/b", NONE).unwrap();
        let to = |path: Option<&str>| Failure::Redirected {
            origin: "https://api.github.com".to_owned(),
            path: path.map(str::to_owned),
        };
        assert!(!feed.follow(&to(None)), "to another server");
        assert!(!Watched::page(1, NONE).follow(&to(Some("repositories/7/events"))));
        assert!(feed.follow(&to(Some("repositories/7/events"))));
        assert_eq!(feed.place().0, "repositories/7/events");
        let again = feed.meant(to(Some("repositories/8/events")), &RateHeaders::default());
        assert!(matches!(again, Failure::Renamed) && !feed.follow(&again));
        read(&mut feed, 1, &[event(1)], Instant::now());
        assert!(feed.elsewhere(), "it is gone, and its name may be given again");
        assert_eq!(feed.place().0, "repos/a/b/events");
    }
}
