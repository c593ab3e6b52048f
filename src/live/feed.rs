//! The live feed: a ring of the last applied events that every reader walks at its own pace.
//!
//! There is no queue per reader. A reader keeps a cursor; one that is slower than the ring loses what has left it,
//! learns how much that was, and delays nobody.

mod asked;
mod resume;

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::forms::{Forms, SharedForm};
use super::frame::Frame;
use super::memo::{Budget, Memo};
use crate::domain::github::facets::Facets;
use crate::domain::github::sampling::{Form, Sample};
use crate::event::EventKey;
pub use resume::{Resumed, Sight, Unseen};

/// The ring keeps at most this many events,
const RING_EVENTS: usize = 10_000;
/// for at most this long,
const RING_AGE: Duration = Duration::from_secs(60);
/// and at most this many bytes of them.
const RING_BYTES: usize = 32 << 20;
/// Bytes of written frames that are kept for others who want the same; beyond that the oldest events lose theirs.
const FRAME_BYTES: usize = 32 << 20;
/// Bytes of frames that can be written between two events besides; what does not fit is written for each client.
const FRAME_BYTES_BETWEEN: usize = 16 << 20;

/// A place in the feed: the number of a batch, and the index of an event in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cursor {
    /// The batch's number.
    pub seq: i64,
    /// The event's index within the batch.
    pub index: u32,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.seq, self.index)
    }
}

impl Cursor {
    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, index) = text.split_once('.')?;
        Some(Self { seq: seq.parse().ok()?, index: index.parse().ok()? })
    }

    /// Behind every event of batch `seq`.
    pub fn after_batch(seq: i64) -> Self {
        Self { seq, index: u32::MAX }
    }
}

/// An event that was applied, as workers hand it over.
#[derive(Debug)]
pub struct Arrival {
    /// Its place.
    pub cursor: Cursor,
    /// What identifies it.
    pub key: EventKey,
    /// What is shown of it.
    pub sample: Sample,
}

/// One event of the feed.
#[derive(Debug)]
pub struct LiveEvent {
    /// Its place.
    pub cursor: Cursor,
    /// What identifies it.
    pub key: EventKey,
    /// What is shown of it.
    pub sample: Sample,
    /// As what it was written, once for all clients that want the same.
    written: Memo,
    /// What clients of the stream ask for it by, once one does.
    facets: OnceLock<Facets>,
    received: Instant,
}

impl LiveEvent {
    /// The event as a frame of the given form.
    pub fn frame(&self, form: &SharedForm) -> Frame {
        self.frame_in("", form, |_, text| text)
    }

    /// The same with something around it: `wrap` gets the event and its text in that form. What it returns is shared by
    /// all that name the same `envelope` and form, so it must depend on nothing else.
    pub fn frame_in(
        &self,
        envelope: &'static str,
        form: &SharedForm,
        wrap: impl FnOnce(&Self, String) -> String,
    ) -> Frame {
        let write = || Frame::from(wrap(self, form.write(&self.sample)));
        if !form.is_shared() {
            return write();
        }
        self.written.get_or_write((form.number(), envelope), write)
    }
}

/// What a reader got.
#[derive(Debug, Default)]
pub struct Read {
    /// Events behind the reader's place, in order.
    pub events: Vec<Arc<LiveEvent>>,
    /// Events that had left the ring before they were read.
    pub lost: u64,
}

/// A reader's position: counts events ever put into the feed.
pub type Position = u64;

/// The feed.
#[derive(Debug)]
pub struct Feed {
    ring: RwLock<Ring>,
    head: watch::Sender<Position>,
    forms: Forms,
    budget: Arc<Budget>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<LiveEvent>>,
    keys: HashSet<EventKey>,
    bytes: usize,
    /// The position of the first event in the ring.
    start: Position,
    /// The largest cursor that left the ring, or that was given out before the feed began; `None` where that is not known.
    gone: Option<Cursor>,
    /// The event that left the ring last.
    left: Option<Cursor>,
    /// Events before this position have no frames any more.
    plain: Position,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            ring: RwLock::default(),
            head: watch::Sender::new(0),
            forms: Forms::default(),
            budget: Arc::new(Budget::new(FRAME_BYTES + FRAME_BYTES_BETWEEN)),
        }
    }
}

impl Feed {
    /// Adds events, except for those that are still in the ring.
    pub fn publish(&self, arrivals: Vec<Arrival>) {
        if arrivals.is_empty() {
            return;
        }
        let received = Instant::now();
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        for Arrival { cursor, key, sample } in arrivals {
            if ring.keys.insert(key) {
                let (written, facets) = (Memo::new(self.budget.clone()), OnceLock::new());
                ring.push(Arc::new(LiveEvent { cursor, key, sample, written, facets, received }));
            }
        }
        ring.trim(received);
        ring.forget_frames(&self.budget);
        // Before the ring is free: another worker's larger head must not be followed by this one.
        self.head.send_replace(ring.end());
    }

    /// A form that is shared with all who ask for the same: an event is written in it once.
    pub fn share(&self, form: Form) -> SharedForm {
        self.forms.share(form)
    }

    /// The position behind the newest event, and its changes.
    pub fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    /// The position of the first event behind `cursor`, or of the oldest in the ring.
    pub fn position_after(&self, cursor: Cursor) -> Position {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        // Workers hand their batches over in any order, so a place behind all that is larger is not found by halving.
        let index = ring.events.iter().position(|event| event.cursor > cursor).unwrap_or(ring.events.len());
        ring.start + index as Position
    }

    /// Up to `max` events from `position` on; moves `position` behind them.
    pub fn read(&self, position: &mut Position, max: usize) -> Read {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let lost = ring.start.saturating_sub(*position);
        let from = (*position).max(ring.start);
        let skip = usize::try_from(from - ring.start).unwrap_or(usize::MAX).min(ring.events.len());
        let end = skip.saturating_add(max).min(ring.events.len());
        let events: Vec<_> = ring.events.range(skip..end).cloned().collect();
        *position = from + events.len() as Position;
        Read { events, lost }
    }
}

/// What an event takes without its frames.
fn bytes(event: &LiveEvent) -> usize {
    event.sample.event.len()
}

impl Ring {
    fn end(&self) -> Position {
        self.start + self.events.len() as Position
    }

    fn push(&mut self, event: Arc<LiveEvent>) {
        self.bytes += bytes(&event);
        self.events.push_back(event);
    }

    fn trim(&mut self, now: Instant) {
        while let Some(oldest) = self.events.front() {
            let old = now.saturating_duration_since(oldest.received) > RING_AGE;
            // The newest event stays, however large it is: someone has to be able to read it.
            let full = self.events.len() > RING_EVENTS || self.bytes > RING_BYTES && self.events.len() > 1;
            if !(old || full) {
                return;
            }
            self.bytes -= bytes(oldest);
            self.gone = self.gone.max(Some(oldest.cursor));
            self.left = Some(oldest.cursor);
            self.keys.remove(&oldest.key);
            self.events.pop_front();
            self.start += 1;
        }
    }

    /// Takes frames from the oldest events, which hardly anybody still reads, while there are too many.
    fn forget_frames(&mut self, budget: &Budget) {
        self.plain = self.plain.max(self.start);
        while budget.used() > FRAME_BYTES && self.plain < self.end() {
            let index = usize::try_from(self.plain - self.start).unwrap_or(usize::MAX);
            if let Some(event) = self.events.get(index) {
                event.written.forget();
            }
            self.plain += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::Numbers;

    pub(super) fn batch(seq: i64, ids: std::ops::Range<i64>) -> Vec<Arrival> {
        let sample = |id: i64| Sample {
            event: format!("{{\"id\":\"{id}\"}}"),
            numbers: Numbers::default(),
            kind: "WatchEvent".to_owned(),
            repo_name: String::new(),
            actor_login: String::new(),
            action: None,
            on_request: false,
        };
        let arrival = |(index, id)| Arrival {
            cursor: Cursor { seq, index },
            key: EventKey { id, created_at: 0 },
            sample: sample(id),
        };
        (0..).zip(ids).map(arrival).collect()
    }

    pub(super) fn ids(read: &Read) -> Vec<i64> {
        read.events.iter().map(|event| event.key.id).collect()
    }

    #[test]
    fn a_reader_gets_everything_behind_its_cursor_in_order() {
        let feed = Feed::default();
        feed.publish(batch(10, 0..3));
        feed.publish(batch(11, 3..5));
        let mut position = feed.position_after(Cursor { seq: 10, index: 1 });
        assert_eq!(ids(&feed.read(&mut position, 2)), [2, 3]);
        assert_eq!(ids(&feed.read(&mut position, 9)), [4]);
        assert_eq!(feed.position_after(Cursor::after_batch(10)), 3);
        assert_eq!(*feed.head().borrow(), 5);
    }

    #[test]
    fn clients_that_want_the_same_share_one_frame() {
        let feed = Feed::default();
        feed.publish(batch(1, 0..1));
        let event = feed.read(&mut 0, 1).events.remove(0);
        let paths = || crate::domain::github::sampling::Fields::new(vec!["event.id".to_owned()]);
        let [list, same, map] =
            [Form::List(paths()), Form::List(paths()), Form::Map(paths())].map(|form| feed.share(form));
        let frames = [&list, &same, &map].map(|form| event.frame(form));
        assert_eq!(frames[0].wire().as_ptr(), frames[1].wire().as_ptr(), "the same bytes");
        assert_eq!(frames[0].as_str(), r#"["0"]"#);
        assert_eq!(frames[2].as_str(), r#"{"event.id":"0"}"#);
        let wrapped = |mark: &'static str| {
            event.frame_in("marked", &list, |event, text| format!("{}{mark}{text}", event.cursor))
        };
        assert_eq!(wrapped("a").as_str(), r#"1.0a["0"]"#);
        assert_eq!(wrapped("b"), wrapped("a"), "written once for its name and form");
    }

    #[test]
    fn frames_are_bounded_in_all_and_the_oldest_go_first() {
        let feed = Feed::default();
        let paths = crate::domain::github::sampling::Fields::new(vec!["event".to_owned()]);
        let forms = [Form::Whole, Form::List(paths)].map(|form| feed.share(form));
        let _of_other_clients = forms.clone();
        let filler = "x".repeat(1 << 20);
        for seq in 0..40 {
            let mut arrivals = batch(seq, seq..seq + 1);
            arrivals[0].sample.event = format!("{{\"id\":\"{seq}\",\"filler\":\"{filler}\"}}");
            feed.publish(arrivals);
            let mut position = feed.position_after(Cursor::after_batch(seq - 1));
            let read = feed.read(&mut position, 1);
            for form in &forms {
                read.events[0].frame(form);
            }
            assert!(feed.budget.used() <= FRAME_BYTES + 3 * filler.len(), "{}", feed.budget.used());
        }
        let kept = feed.read(&mut feed.position_after(Cursor::default()), 100).events;
        let shared = |event: &LiveEvent| {
            let frames = [event.frame(&forms[0]), event.frame(&forms[0])];
            frames[0].wire().as_ptr() == frames[1].wire().as_ptr()
        };
        assert!(kept.len() > 20 && !shared(&kept[0]) && shared(&kept[kept.len() - 1]));
    }

    #[test]
    fn what_one_client_alone_wants_is_written_for_it_and_not_kept() {
        let feed = Feed::default();
        feed.publish(batch(1, 0..1));
        let event = feed.read(&mut 0, 1).events.remove(0);
        let form = feed.share(Form::Whole);
        let alone = event.frame(&form);
        assert_eq!(feed.budget.used(), 0);
        let _other = feed.share(Form::Whole);
        assert_eq!(event.frame(&form).as_str(), alone.as_str());
        assert_eq!(feed.budget.used(), alone.wire().len());
    }

    #[test]
    fn an_event_still_in_the_ring_is_not_shown_again() {
        let feed = Feed::default();
        feed.publish(batch(1, 0..3));
        feed.publish(batch(2, 1..4));
        assert_eq!(ids(&feed.read(&mut 0, 9)), [0, 1, 2, 3]);
    }

    #[test]
    fn the_head_is_the_end_of_the_ring_however_many_workers_publish() {
        let feed = Arc::new(Feed::default());
        for round in 0..200 {
            std::thread::scope(|scope| {
                for worker in 0..4 {
                    let feed = feed.clone();
                    let first = round * 40 + worker * 10;
                    scope.spawn(move || feed.publish(batch(first, first..first + 10)));
                }
            });
            assert_eq!(*feed.head().borrow(), (round as u64 + 1) * 40);
        }
    }

    #[test]
    fn a_slow_reader_loses_its_own_messages_and_learns_how_many() {
        let feed = Feed::default();
        let total = RING_EVENTS as i64 + 500;
        feed.publish(batch(1, 0..total));
        let mut position = 0;
        let read = feed.read(&mut position, 1);
        assert_eq!((read.lost, ids(&read)), (500, vec![500]));
        assert_eq!(position, 501);
    }
}
