//! One client's way through the feed: what it is sent of it, where it stands, what it missed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::message::{Gap, Message};
use super::subscription::Subscription;
use crate::live::{Cursor, Feed, LiveEvent, Position, SharedForm, Sight, Unseen};
use crate::server::ws::{WRITE_BYTES, WRITE_FRAMES};
use crate::telemetry::names;

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
    newest: Option<Pending>,
    due: Instant,
    lost: u64,
    skipped: u64,
    /// The metric's label.
    endpoint: &'static str,
}

/// An event that is sent unless a newer one comes.
struct Pending {
    event: Arc<LiveEvent>,
    place: Place,
}

/// Where an event stands: its position, and the event that was looked at before it.
#[derive(Debug, Clone, Copy)]
struct Place {
    position: Position,
    before: Cursor,
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

    /// Leaves out what has come since it was made.
    pub fn go_to_end(&mut self) {
        (self.position, self.seen) = self.feed.end();
        self.unseen = Unseen::All;
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
        if let Some(pending) = self.newest.take() {
            (self.position, self.seen) = (pending.place.position, pending.place.before);
        }
        (self.matched, self.due) = (0, Instant::now());
    }

    /// Everything up to here was looked at, and sent where it was to be.
    pub fn seen(&self) -> Cursor {
        self.newest.as_ref().map_or(self.seen, |pending| pending.place.before)
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
                    Looked::Event(_, event, matched) => {
                        if takes(subscription, event, matched) {
                            let frame = event.message(form);
                            bytes += frame.wire().len();
                            messages.push(Message::event(event.cursor, frame));
                        }
                    }
                }
                bytes <= WRITE_BYTES
            });
            if !messages.is_empty() {
                return messages;
            }
            // A whole ring of which nothing matches is much to look at in one go.
            tokio::task::yield_now().await;
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
                    if let Looked::Event(place, event, matched) = looked
                        && takes(subscription, event, matched)
                    {
                        let pending = Pending { event: event.clone(), place };
                        skipped += u64::from(newest.replace(pending).is_some());
                    }
                    true
                });
                (self.newest, self.skipped) = (newest, self.skipped + skipped);
                tokio::task::yield_now().await;
            }
            let now = Instant::now();
            if now >= self.due
                && let Some(Pending { event, .. }) = self.newest.take()
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

    /// Looks at the next events until `each` has enough: it gets every event with its place and how many have matched so far,
    /// which it counts on, and what is missing in between.
    fn look(&mut self, mut each: impl FnMut(Looked<'_>) -> bool) {
        let read = self.feed.read(&mut self.position, WRITE_FRAMES);
        if read.lost > 0 {
            self.lost += read.lost;
            metrics::counter!(names::DROPPED, "endpoint" => self.endpoint).increment(read.lost);
            let until = read.events.first().map(|event| event.cursor);
            each(Looked::Missing(Gap { reason: "slow", since: self.seen, until, lost: Some(read.lost) }));
        }
        let start = self.position - read.events.len() as Position;
        for (position, event) in (start..).zip(&read.events) {
            let sight = self.unseen.look(event.cursor);
            if sight == Sight::Known {
                continue;
            }
            if sight == Sight::NewBehindGap {
                let until = Some(event.cursor);
                each(Looked::Missing(Gap { reason: "expired", since: self.seen, until, lost: None }));
            }
            let place = Place { position, before: std::mem::replace(&mut self.seen, event.cursor) };
            if !each(Looked::Event(place, event, &mut self.matched)) {
                // The rest is read again once this is written.
                self.position = position + 1;
                return;
            }
        }
    }
}

/// What was found in the feed.
enum Looked<'e> {
    Missing(Gap),
    Event(Place, &'e Arc<LiveEvent>, &'e mut u64),
}

/// Whether a client is sent an event; counts those that match.
fn takes(subscription: &Subscription, event: &LiveEvent, matched: &mut u64) -> bool {
    if !(subscription.events && subscription.wanted.matches(event.facets())) {
        return false;
    }
    *matched += 1;
    subscription.share.takes(event.key, *matched)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::github::sampling::{Form, Sample};
    use crate::event::EventKey;
    use crate::live::Arrival;
    use crate::mutation::Numbers;
    use crate::server::stream::params::Params;
    use crate::server::stream::subscription::Asked;

    fn publish(feed: &Feed, seq: i64) {
        let sample = Sample {
            event: format!("{{\"id\":\"{seq}\"}}"),
            numbers: Numbers::default(),
            kind: "WatchEvent".to_owned(),
            repo_name: String::new(),
            actor_login: String::new(),
            action: None,
            on_request: false,
        };
        let key = EventKey { id: seq, created_at: 0 };
        feed.publish(vec![Arrival { cursor: Cursor { seq, index: 0 }, key, sample }]);
    }

    fn latest(interval_ms: u64) -> Subscription {
        let params = serde_json::json!({ "delivery": "latest", "intervalMs": interval_ms });
        Asked::read(Params::new(params.as_object().unwrap().clone()), i64::MAX).unwrap().subscription
    }

    /// The batch of the event that comes next, within so many milliseconds.
    async fn next(
        reader: &mut Reader,
        subscription: &Subscription,
        form: &SharedForm,
        ms: u64,
    ) -> Option<i64> {
        let next = reader.next(subscription, form);
        let messages = tokio::time::timeout(Duration::from_millis(ms), next).await.ok()?;
        messages[0].cursor.map(|cursor| cursor.seq)
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_that_waits_is_in_front_of_the_place_to_go_on_from() {
        let feed = Arc::new(Feed::default());
        let form = feed.share(Form::Whole);
        let mut reader = Reader::new(feed.clone(), "stream");
        let minute = latest(60_000);
        publish(&feed, 1);
        assert_eq!(next(&mut reader, &minute, &form, 1).await, Some(1));
        let mut before = BTreeSet::new();
        for seq in 2..5 {
            publish(&feed, seq);
            assert_eq!(next(&mut reader, &minute, &form, 1).await, None, "its time has not come");
            before.insert(reader.seen());
        }
        // 4 waits: a client that comes again with this cursor is shown it.
        assert_eq!((reader.seen().seq, before.len(), reader.skipped()), (1, 1, 0));
        // So is one that subscribes anew, at once and not when the former interval ends.
        reader.restart();
        let second = latest(1_000);
        assert_eq!(next(&mut reader, &second, &form, 1).await, Some(4));
        assert_eq!((reader.seen().seq, reader.skipped()), (4, 2));
    }
}
