//! A feed of known truth: 300 places, of which page 1 holds nearly only pushes and pages 2 and 3 the rest, as GitHub has
//! partitioned them since 2026, or all in one queue as before.
//!
//! Events arrive as a Poisson process, with bursts where asked for, and are published some seconds after they were created;
//! a few of them hours after. What no page shows any more is gone.

use std::collections::{HashSet, VecDeque};

use super::{Counts, Coverage, KIND_COUNT, kind_index};
use crate::event::EventKey;
use crate::source::github::{Feed, Poll, Seen};

/// Share of each type among all events, in thousandths, about as in GH Archive of 2024.
const MIX: [(&str, u32); 9] = [
    ("PushEvent", 650),
    ("CreateEvent", 110),
    ("PullRequestEvent", 75),
    ("IssueCommentEvent", 50),
    ("WatchEvent", 45),
    ("DeleteEvent", 30),
    ("IssuesEvent", 20),
    ("ForkEvent", 15),
    ("GollumEvent", 5),
];
/// Of the events that are no pushes this share gets on page 1, which makes it 95 % pushes.
const STRAYS: f64 = 0.1;
const START_MILLIS: i64 = 1_795_000_000_000;

/// How a feed behaves.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Events a second.
    pub rate: f64,
    /// Relative height of the bursts: 0 for none, 1 for a rate between none and double, each minute.
    pub bursts: f64,
    /// Whether the rate also swings by 30 % in ten minutes, and doubles for three seconds in each.
    pub swings: bool,
    /// Seconds of delay of publication on average.
    pub delay: f64,
    /// How its places are filled.
    pub places: Places,
}

/// How the 300 places are filled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Places {
    /// Pushes pass page 1, the rest pages 2 and 3.
    Partitioned,
    /// Each page by itself: what is no push is on page 2 or on page 3.
    Sharded,
    /// All in one queue.
    One,
}

/// The feed.
pub struct SimulatedFeed {
    manner: Manner,
    random: fastrand::Rng,
    /// Newest first, each with the pages that it fills.
    queues: Vec<(VecDeque<Seen>, std::ops::RangeInclusive<u8>)>,
    /// Seconds since the start.
    now: f64,
    next: f64,
    published: Counts,
    shown: HashSet<EventKey>,
    captured: Counts,
    /// Events before this id came before the measurement.
    first_id: i64,
    next_id: i64,
}

impl SimulatedFeed {
    /// Full pages, from which the truth is counted.
    pub fn new(manner: Manner, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let pages = match manner.places {
            Places::Partitioned => vec![1..=1, 2..=3],
            Places::Sharded => vec![1..=1, 2..=2, 3..=3],
            Places::One => vec![1..=3],
        };
        let queues = pages.into_iter().map(|pages| (VecDeque::new(), pages)).collect();
        let mut feed = Self {
            manner,
            random,
            queues,
            now: 0.0,
            next: 0.0,
            published: [0; KIND_COUNT],
            shown: HashSet::new(),
            captured: [0; KIND_COUNT],
            first_id: 0,
            next_id: 1,
        };
        // Full pages to begin with.
        while feed.queues.iter().map(|(queue, _)| queue.len()).sum::<usize>() < 300 {
            feed.publish();
        }
        (feed.first_id, feed.published) = (feed.next_id, [0; KIND_COUNT]);
        feed
    }

    /// Goes on to so many seconds after the start.
    fn advance(&mut self, to: f64) {
        loop {
            if self.next <= self.now {
                let minute = (self.now * std::f64::consts::TAU / 60.0).sin();
                let mut rate = self.manner.rate * (1.0 + self.manner.bursts * minute);
                if self.manner.swings {
                    let rush = if (20.0..23.0).contains(&(self.now % 60.0)) { 2.0 } else { 1.0 };
                    rate *= rush * (1.0 + 0.3 * (self.now * std::f64::consts::TAU / 600.0).sin());
                }
                self.next = self.now - (1.0 - self.random.f64()).ln() / rate.max(0.1);
            }
            if self.next > to {
                self.now = to;
                return;
            }
            self.now = self.next;
            self.publish();
        }
    }

    fn publish(&mut self) {
        let mut left = self.random.u32(0..1_000);
        let kind = MIX.iter().find(|(_, share)| left.checked_sub(*share).map(|rest| left = rest).is_none());
        let kind = kind.map_or("PushEvent", |(kind, _)| kind);
        let mut delay = -self.manner.delay * (1.0 - self.random.f64()).ln();
        if self.random.u32(0..1_000) == 0 {
            delay += 3_600.0;
        }
        let created = START_MILLIS as f64 / 1_000.0 + self.now - delay;
        let key = EventKey { id: self.next_id, created_at: created.floor() as i64 };
        self.next_id += 1;
        self.published[kind_index(kind)] += 1;
        let is_low = kind != "PushEvent" && self.random.f64() >= STRAYS;
        let index = match self.manner.places {
            Places::Partitioned => usize::from(is_low),
            Places::Sharded if is_low => self.random.usize(1..3),
            Places::Sharded | Places::One => 0,
        };
        let (queue, pages) = &mut self.queues[index];
        queue.push_front(Seen { key, kind });
        queue.truncate(100 * pages.clone().count());
    }

    /// What a page shows after so many seconds, newest first.
    pub fn page(&mut self, page: u8, seconds: f64) -> Vec<Seen> {
        self.advance(seconds);
        let (queue, pages) = self.queues.iter().find(|(_, pages)| pages.contains(&page)).unwrap();
        let place = 100 * usize::from(page - pages.start());
        let events: Vec<Seen> = queue.iter().skip(place).take(100).copied().collect();
        for event in events.iter().filter(|event| event.key.id >= self.first_id) {
            if self.shown.insert(event.key) {
                self.captured[kind_index(event.kind)] += 1;
            }
        }
        events
    }

    /// Percent of what was published that a page showed to somebody: the truth.
    pub fn captured(&self, kinds: &[&str]) -> f64 {
        let kinds = kinds.iter().map(|kind| kind_index(kind));
        let (shown, all) =
            kinds.fold((0, 0), |sum, kind| (sum.0 + self.captured[kind], sum.1 + self.published[kind]));
        100.0 * shown as f64 / all as f64
    }

    /// Forgets what was published and shown so far: the truth counts from here.
    pub fn count_anew(&mut self) {
        (self.published, self.captured) = ([0; KIND_COUNT], [0; KIND_COUNT]);
        (self.first_id, self.shown) = (self.next_id, HashSet::new());
    }
}

/// Polls three pages, each in a period of its own, for so many minutes, of which the last twenty count.
pub fn watch(manner: Manner, periods: [f64; 3], minutes: u32, seed: u64) -> (SimulatedFeed, Coverage, i64) {
    let (mut feed, mut coverage) = (SimulatedFeed::new(manner, seed), Coverage::default());
    let mut random = fastrand::Rng::with_seed(seed + 1);
    let end = f64::from(minutes) * 60.0;
    let (mut due, mut former) = ([0.0_f64, 0.3, 0.7], [const { None }; 3]);
    let mut counting = false;
    loop {
        let (index, at) = due.iter().copied().enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        if at >= end {
            break;
        }
        // The window is of whole minutes, the current one included.
        if !counting && at >= end - 1_200.0 {
            feed.count_anew();
            counting = true;
        }
        // Nothing on a network is exact.
        due[index] = at + periods[index] * (0.95 + 0.1 * random.f64());
        let page = u8::try_from(index).unwrap() + 1;
        let events = feed.page(page, at);
        let keys: HashSet<EventKey> = events.iter().map(|event| event.key).collect();
        let former = former[index].replace(keys);
        let since = std::time::Duration::from_secs_f64(periods[index]);
        let now = START_MILLIS + (at * 1_000.0) as i64;
        let compared = former.as_ref().map(|keys| (keys, since));
        coverage.observe(&Poll::new(Feed::Page(page), now, events, compared));
        if random.u32(0..20) == 0 {
            coverage.report(now);
        }
    }
    (feed, coverage, START_MILLIS + (end * 1_000.0) as i64 - 1)
}
