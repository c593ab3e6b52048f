//! Going on behind a cursor: where in the ring that is, and whether everything behind it is still there.

use std::sync::PoisonError;

use super::{Cursor, Feed, Position};

/// Batches are numbered by the milliseconds in which they were applied. One that was named by another instance and has not
/// come here this long after later ones will not come.
const PATIENCE_MS: i64 = 60_000;

/// Where a reader goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// From where on it reads.
    pub position: Position,
    /// Which of the events from there on it has not seen.
    pub unseen: Unseen,
    /// Whether these are all behind its cursor.
    pub complete: bool,
    /// The oldest event from there on; `None` where there is none yet.
    pub until: Option<Cursor>,
}

/// Which events a reader has not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unseen {
    /// All of them.
    All,
    /// Those with a larger cursor.
    Larger(Cursor),
    /// Those behind this one, which is still to come.
    Behind(Cursor),
}

/// Whether an event is one that a reader has not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It has not.
    New,
    /// It has.
    Known,
    /// It has not, and some in front of it are missing: the one that was waited for never came.
    NewBehindGap,
}

impl Unseen {
    /// Looks at the next event, in the order of the feed.
    pub fn look(&mut self, cursor: Cursor) -> Sight {
        match *self {
            Self::All => Sight::New,
            Self::Larger(seen) if cursor > seen => Sight::New,
            Self::Larger(_) => Sight::Known,
            Self::Behind(seen) if cursor == seen => {
                *self = Self::All;
                Sight::Known
            }
            Self::Behind(seen) if cursor.seq > seen.seq.saturating_add(PATIENCE_MS) => {
                *self = Self::All;
                Sight::NewBehindGap
            }
            Self::Behind(_) => Sight::Known,
        }
    }
}

impl Feed {
    /// Says that batches up to `seq` were applied before the feed began, so that a cursor from then is known to be too old.
    pub fn begins_after(&self, seq: i64) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        ring.gone = ring.gone.max(Some(Cursor::after_batch(seq)));
    }

    /// The place behind the newest event: what is published from now on. Its cursor is the one to go on from later.
    pub fn end(&self) -> (Position, Cursor) {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let newest = ring.events.back().map(|event| event.cursor).or(ring.gone);
        (ring.end(), newest.unwrap_or_default())
    }

    /// Where a reader goes on that saw everything up to `since`, in the order of this feed or of another instance's.
    ///
    /// Behind the event itself where it is still there, because cursors may go back in a feed: batches are applied
    /// concurrently. Otherwise with all that is larger; that is all there was, unless something larger has left the ring or
    /// was there before the feed began.
    pub fn resume(&self, since: Cursor) -> Resumed {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let at =
            |index: usize| (ring.start + index as Position, ring.events.get(index).map(|event| event.cursor));
        if let Some(index) = ring.events.iter().rposition(|event| event.cursor == since) {
            let (position, until) = at(index + 1);
            return Resumed { position, unseen: Unseen::All, complete: true, until };
        }
        if ring.left == Some(since) {
            let (position, until) = at(0);
            return Resumed { position, unseen: Unseen::All, complete: true, until };
        }
        let larger = ring.events.iter().position(|event| event.cursor > since);
        let (position, until) = at(larger.unwrap_or(ring.events.len()));
        let complete = match ring.gone {
            // Behind the largest itself smaller ones may have left too, unless it is a place behind a whole batch.
            Some(gone) => since > gone || since == gone && since.index == u32::MAX,
            None => ring.events.front().is_some_and(|oldest| since >= oldest.cursor),
        };
        // A place behind a whole batch is no event that could still come.
        let ahead = larger.is_none() && complete && since.index != u32::MAX;
        let unseen = if ahead { Unseen::Behind(since) } else { Unseen::Larger(since) };
        Resumed { position, unseen, complete, until }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{batch, ids};
    use super::super::{RING_EVENTS, Read};
    use super::*;

    const fn cursor(seq: i64, index: u32) -> Cursor {
        Cursor { seq, index }
    }

    /// The ids of what a reader gets that goes on behind `since`, and whether that is all.
    fn after(feed: &Feed, since: Cursor) -> (Vec<i64>, bool) {
        let Resumed { mut position, mut unseen, complete, .. } = feed.resume(since);
        let mut read = feed.read(&mut position, usize::MAX);
        read.events.retain(|event| unseen.look(event.cursor) != Sight::Known);
        (ids(&read), complete)
    }

    #[test]
    fn what_stands_behind_an_event_follows_it_also_where_cursors_go_back() {
        let feed = Feed::default();
        feed.begins_after(5);
        feed.publish(batch(11, 0..2));
        feed.publish(batch(10, 2..4));
        assert_eq!(after(&feed, cursor(11, 1)), (vec![2, 3], true));
        assert_eq!(after(&feed, cursor(10, 0)), (vec![3], true));
        assert_eq!(after(&feed, cursor(10, 1)), (vec![], true));
        assert_eq!(feed.end(), (4, cursor(10, 1)));
    }

    #[test]
    fn a_place_between_events_is_followed_by_all_that_is_larger() {
        let feed = Feed::default();
        feed.begins_after(5);
        assert_eq!(feed.end(), (0, Cursor::after_batch(5)));
        feed.publish(batch(10, 0..2));
        feed.publish(batch(20, 2..4));
        assert_eq!(after(&feed, Cursor::after_batch(5)), (vec![0, 1, 2, 3], true));
        assert_eq!(after(&feed, Cursor::after_batch(10)), (vec![2, 3], true));
        assert_eq!(after(&feed, Cursor::after_batch(20)), (vec![], true));
        assert_eq!(after(&feed, cursor(15, 3)), (vec![2, 3], true));
    }

    #[test]
    fn what_was_before_the_feed_began_or_left_the_ring_is_missing_and_known_to_be() {
        let feed = Feed::default();
        feed.publish(batch(10, 0..2));
        assert_eq!(after(&feed, cursor(9, 0)), (vec![0, 1], false), "nobody said when it began");
        feed.begins_after(8);
        assert_eq!(after(&feed, cursor(9, 0)), (vec![0, 1], true));
        assert_eq!(after(&feed, cursor(8, 0)), (vec![0, 1], false), "batch 8 may have had more");
        feed.publish(batch(20, 2..2 + RING_EVENTS as i64));
        assert_eq!(feed.resume(cursor(10, 0)).until, Some(cursor(20, 0)));
        assert!(!after(&feed, cursor(10, 0)).1, "10.1 has left the ring");
        assert!(after(&feed, cursor(10, 1)).1);
    }

    #[test]
    fn behind_an_event_that_left_the_ring_smaller_ones_are_shown_or_known_to_be_missing() {
        let feed = Feed::default();
        feed.begins_after(5);
        feed.publish(batch(12, 0..2));
        feed.publish(batch(11, 2..4));
        // Batch 12 leaves the ring.
        feed.publish(batch(13, 4..2 + RING_EVENTS as i64));
        let (ids, complete) = after(&feed, cursor(12, 1));
        assert_eq!((&ids[..3], complete), (&[2, 3, 4][..], true));
        // Batch 11 too.
        feed.publish(batch(14, 20_000..20_002));
        assert!(!after(&feed, cursor(12, 1)).1);
        assert!(after(&feed, cursor(11, 1)).1, "it left last");
    }

    #[test]
    fn a_reader_that_was_further_on_another_instance_waits_for_its_event() {
        let feed = Feed::default();
        feed.begins_after(5);
        feed.publish(batch(11, 0..2));
        let Resumed { mut position, mut unseen, complete, until } = feed.resume(cursor(12, 0));
        assert_eq!((unseen, complete, until), (Unseen::Behind(cursor(12, 0)), true, None));
        feed.publish(batch(13, 2..3));
        feed.publish(batch(12, 3..5));
        feed.publish(batch(10, 5..6));
        let Read { events, .. } = feed.read(&mut position, usize::MAX);
        let sights: Vec<_> = events.iter().map(|event| unseen.look(event.cursor)).collect();
        assert_eq!(
            sights,
            [Sight::Known, Sight::Known, Sight::New, Sight::New],
            "13.0 came before 12.0 there too"
        );
        let mut never = Unseen::Behind(cursor(12, 0));
        assert_eq!(never.look(cursor(12 + PATIENCE_MS, 0)), Sight::Known);
        assert_eq!(never.look(cursor(13 + PATIENCE_MS, 0)), Sight::NewBehindGap);
        assert_eq!(never.look(cursor(1, 0)), Sight::New);
    }
}
