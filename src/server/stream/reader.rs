//! One client's way through the feed: what it is sent of it, where it stands, what it missed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::message::{Gap, Message};
use super::subscription::Subscription;
use crate::live::{Cursor, Feed, LiveEvent, Position, SharedForm, Sight, Unseen};
use crate::telemetry::names;

/// Events looked at before what matches is written: keeps a client that catches up from filling memory.
const READ_EVENTS: usize = 256;
/// Bytes of messages gathered before they are written, the last message aside.
const WRITE_BYTES: usize = 256 << 10;

/// A place in the feed.
pub struct Reader {
    feed: Arc<Feed>,
    head: watch::Receiver<Position>,
    position: Position,
    unseen: Unseen,
    /// The last event that was looked at, in the order of the feed.
    seen: Cursor,
    /// Events that matched since the subscription began.
    matched: u64,
    /// For `latest`: the newest that matched, until its time comes.
    newest: Option<Arc<LiveEvent>>,
    due: Instant,
    lost: u64,
    skipped: u64,
    /// The metric's label.
    endpoint: &'static str,
}

impl Reader {
    /// Stands behind the newest event.
    pub fn new(feed: Arc<Feed>, endpoint: &'static str) -> Self {
        let (position, seen) = feed.end();
        let (head, due) = (feed.head(), Instant::now());
        Self {
            feed,
            head,
            position,
            unseen: Unseen::All,
            seen,
            matched: 0,
            newest: None,
            due,
            lost: 0,
            skipped: 0,
            endpoint,
        }
    }

    /// Goes on behind `since`; says what is missing there.
    pub fn resume(&mut self, since: Cursor) -> Option<Gap> {
        let resumed = self.feed.resume(since);
        (self.position, self.unseen, self.seen) = (resumed.position, resumed.unseen, since);
        let gap = Gap { reason: "expired", since, until: resumed.until, lost: None };
        (!resumed.complete).then_some(gap)
    }

    /// Begins another subscription where it stands.
    pub fn restart(&mut self) {
        (self.matched, self.newest) = (0, None);
    }

    /// Everything up to here was looked at.
    pub fn seen(&self) -> Cursor {
        self.seen
    }

    /// Events that it was too slow for.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Events that matched and that `latest` left out.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Waits for what is to be sent next. Cancel safe.
    pub async fn next(&mut self, subscription: &Subscription, form: &SharedForm) -> Vec<Message> {
        match subscription.latest {
            None => self.next_of_all(subscription, form).await,
            Some(interval) => vec![self.next_newest(subscription, form, interval).await],
        }
    }

    async fn next_of_all(&mut self, subscription: &Subscription, form: &SharedForm) -> Vec<Message> {
        loop {
            self.arrival().await;
            let (mut messages, mut bytes) = (Vec::new(), 0);
            self.look(|looked| {
                match looked {
                    Looked::Missing(gap) if subscription.events => messages.push(Message::gap(gap)),
                    Looked::Missing(_) => {}
                    Looked::Event(event, matched) => {
                        if takes(subscription, event, matched) {
                            let frame = event.message(form);
                            bytes += frame.as_str().len();
                            messages.push(Message::event(event.cursor, frame));
                        }
                    }
                }
                bytes <= WRITE_BYTES
            });
            if !messages.is_empty() {
                return messages;
            }
        }
    }

    async fn next_newest(
        &mut self,
        subscription: &Subscription,
        form: &SharedForm,
        interval: Duration,
    ) -> Message {
        loop {
            match &self.newest {
                Some(_) => sleep_until(self.due).await,
                None => self.arrival().await,
            }
            while self.head.borrow().gt(&self.position) {
                let (mut newest, mut skipped) = (self.newest.take(), 0);
                // What is missing is older than the newest, which is all that was asked for.
                self.look(|looked| {
                    if let Looked::Event(event, matched) = looked
                        && takes(subscription, event, matched)
                    {
                        skipped += u64::from(newest.replace(event.clone()).is_some());
                    }
                    true
                });
                (self.newest, self.skipped) = (newest, self.skipped + skipped);
            }
            let now = Instant::now();
            if now >= self.due
                && let Some(event) = self.newest.take()
            {
                self.due = now + interval;
                return Message::event(event.cursor, event.message(form));
            }
        }
    }

    /// Waits until there is something behind it. For ever at the end of the feed, which this holds.
    async fn arrival(&mut self) {
        let position = self.position;
        if self.head.wait_for(|&head| head > position).await.is_err() {
            std::future::pending().await
        }
    }

    /// Looks at the next events until `each` has enough: it gets every event with how many have matched so far, which it
    /// counts on, and what is missing in between.
    fn look(&mut self, mut each: impl FnMut(Looked<'_>) -> bool) {
        let read = self.feed.read(&mut self.position, READ_EVENTS);
        if read.lost > 0 {
            self.lost += read.lost;
            metrics::counter!(names::DROPPED, "endpoint" => self.endpoint).increment(read.lost);
            let until = read.events.first().map(|event| event.cursor);
            each(Looked::Missing(Gap { reason: "slow", since: self.seen, until, lost: Some(read.lost) }));
        }
        for (index, event) in read.events.iter().enumerate() {
            let sight = self.unseen.look(event.cursor);
            if sight == Sight::Known {
                continue;
            }
            if sight == Sight::NewBehindGap {
                let until = Some(event.cursor);
                each(Looked::Missing(Gap { reason: "expired", since: self.seen, until, lost: None }));
            }
            self.seen = event.cursor;
            if !each(Looked::Event(event, &mut self.matched)) {
                // The rest is read again once this is written.
                self.position -= (read.events.len() - index - 1) as Position;
                return;
            }
        }
    }
}

/// What was found in the feed.
enum Looked<'e> {
    Missing(Gap),
    Event(&'e Arc<LiveEvent>, &'e mut u64),
}

/// Whether a client is sent an event; counts those that match.
fn takes(subscription: &Subscription, event: &LiveEvent, matched: &mut u64) -> bool {
    if !(subscription.events && subscription.wanted.matches(event.facets())) {
        return false;
    }
    *matched += 1;
    subscription.share.takes(event.key, *matched)
}
