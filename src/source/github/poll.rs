//! What one answer of a feed showed: the seam at which coverage is measured.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::event::EventKey;

/// Event types that are told apart, as GitHub spells them; any other is [`OTHER`].
pub const KINDS: [&str; 17] = [
    "CommitCommentEvent",
    "CreateEvent",
    "DeleteEvent",
    "DiscussionEvent",
    "ForkEvent",
    "GollumEvent",
    "IssueCommentEvent",
    "IssuesEvent",
    "MemberEvent",
    "PublicEvent",
    "PullRequestEvent",
    "PullRequestReviewCommentEvent",
    "PullRequestReviewEvent",
    "PullRequestReviewThreadEvent",
    "PushEvent",
    "ReleaseEvent",
    "WatchEvent",
];
/// Stands for every type that is not one of [`KINDS`].
pub const OTHER: &str = "other";

/// Where events are polled from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feed {
    /// A page of the public feed, counted from 1.
    Page(u8),
    /// The feed of an entry of `github.focus`, as it is written there.
    Focus(Arc<str>),
}

impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page(page) => write!(f, "page {page}"),
            Self::Focus(name) => write!(f, "focus {name}"),
        }
    }
}

/// An event as a poll showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What identifies it.
    pub key: EventKey,
    /// Its type: one of [`KINDS`], or [`OTHER`].
    pub kind: &'static str,
}

/// One answer with events; an answer that says that nothing changed is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Poll {
    /// Which feed answered.
    pub feed: Feed,
    /// When it was asked, in Unix milliseconds.
    pub asked_at: i64,
    /// Since the feed was last asked for a poll that brought events, or said that nothing changed; `None` for the first.
    pub since_former: Option<Duration>,
    /// What it showed, in the feed's order, whether published before or not.
    pub events: Vec<Seen>,
    /// How many of them the feed's former poll showed too; `None` for the first.
    pub overlap: Option<usize>,
}

impl Poll {
    /// Compares a feed's events with those of its former poll.
    pub fn new(
        feed: Feed,
        asked_at: i64,
        events: Vec<Seen>,
        former: Option<(&HashSet<EventKey>, Duration)>,
    ) -> Self {
        let overlap = former.map(|(keys, _)| events.iter().filter(|event| keys.contains(&event.key)).count());
        Self { feed, asked_at, since_former: former.map(|(_, since)| since), events, overlap }
    }

    /// Whether events may have come and gone since the former poll: nothing that it showed is left.
    pub fn is_gap(&self) -> bool {
        self.overlap == Some(0) && !self.events.is_empty()
    }
}

/// Told of every [`Poll`], before its events are published. It is called where polls are scheduled, so it must not block.
pub type Observer = Arc<dyn Fn(&Poll) + Send + Sync>;

/// The name under which a type is counted.
pub fn kind(name: &str) -> &'static str {
    KINDS.binary_search(&name).map_or(OTHER, |index| KINDS[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(ids: impl IntoIterator<Item = i64>) -> Vec<Seen> {
        let event = |id| Seen { key: EventKey { id, created_at: 0 }, kind: "PushEvent" };
        ids.into_iter().map(event).collect()
    }

    fn poll(now: Vec<Seen>, former: Option<Vec<Seen>>) -> Poll {
        let keys = former.map(|former| former.into_iter().map(|event| event.key).collect::<HashSet<_>>());
        let former = keys.as_ref().map(|keys| (keys, Duration::from_secs(1)));
        Poll::new(Feed::Page(2), 0, now, former)
    }

    #[test]
    fn overlap_is_what_both_polls_showed() {
        let of = |now, former| {
            let poll = poll(now, former);
            (poll.overlap, poll.is_gap())
        };
        assert_eq!(of(seen(0..9), None), (None, false), "a first poll cannot tell");
        assert_eq!(of(seen(5..9), Some(seen(0..7))), (Some(2), false));
        assert_eq!(of(seen(7..9), Some(seen(0..7))), (Some(0), true));
        assert_eq!(of(seen(0..0), Some(seen(0..7))), (Some(0), false), "an empty feed shows no gap");
    }

    #[test]
    fn types_that_are_not_known_are_counted_together() {
        assert!(KINDS.is_sorted());
        assert!(KINDS.iter().all(|&name| kind(name) == name));
        assert_eq!((kind("pushevent"), kind(""), kind("SponsorshipEvent")), (OTHER, OTHER, OTHER));
    }
}
