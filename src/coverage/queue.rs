//! One queue of the feed: events enter at the top of its first page and leave at the bottom of its last one.
//!
//! Each event gets a number in the order of the queue, so that events seen again tell how many came since: what moved from
//! place 30 to place 80 let fifty pass. Polls of different pages, and odd and even polls of one page, mark and see again for
//! one another.

use super::arrivals::Intervals;
use super::pace::Pace;
use super::sightings::{Sighting, Sightings};
use super::slope::Slope;
use super::window::Window;
use super::{Counts, PAGE_EVENTS, kind_index};
use crate::source::github::Seen;

/// So many known events place a poll: one alone may be an old event that came again.
const LEAST_SHARED: usize = 2;

/// Intervals that a minute remembers: more than a poller may ask for.
const MAX_INTERVALS: usize = 1_000;

/// From one poll to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// When it began and ended, in Unix milliseconds.
    pub from: i64,
    pub to: i64,
    /// Events that passed in it …
    pub events: f64,
    /// … or, where it is not known how many did, that passed at least.
    pub known: bool,
}

impl Interval {
    fn seconds(&self) -> f64 {
        (self.to - self.from) as f64 / 1_000.0
    }
}

/// What a minute brought.
#[derive(Debug, Default)]
pub struct Cell {
    intervals: Vec<Interval>,
    slope: Slope,
    /// Distinct events that came since the start, by type.
    captured: Counts,
}

/// A queue.
#[derive(Debug)]
pub struct Queue {
    number: usize,
    first_page: u8,
    last_page: u8,
    cells: Window<Cell>,
    /// The last poll: when, in Unix milliseconds, and how many events had come by then.
    last: Option<(i64, i64)>,
    /// Number of the newest event that was seen.
    newest: i64,
    /// Events a second, as of the last estimate.
    rate: f64,
}

/// What passed a queue of late.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Passed {
    /// Distinct events that were seen, by type.
    pub captured: Counts,
    /// How many passed, and the relative standard error of that; `None` where nothing can be told.
    pub all: Option<(f64, f64)>,
}

impl Queue {
    /// The queue of these pages, with a number of its own.
    pub fn new(number: usize, first_page: u8, last_page: u8) -> Self {
        Self { number, first_page, last_page, cells: Window::default(), last: None, newest: 0, rate: 0.0 }
    }

    /// Whether a page belongs to it.
    pub fn has(&self, page: u8) -> bool {
        (self.first_page..=self.last_page).contains(&page)
    }

    /// A page showed `events`, newest first. Calls `fresh` for each that was not known.
    pub fn observe(
        &mut self,
        page: u8,
        at: i64,
        events: &[Seen],
        known: &mut Sightings,
        mut fresh: impl FnMut(&Seen),
    ) {
        if events.is_empty() {
            return;
        }
        let offset = i64::from(page - self.first_page) * PAGE_EVENTS;
        let places = || (offset..).zip(events);
        let mut anchors: Vec<i64> = places()
            .filter_map(|(place, event)| {
                let sighting = known.get(&event.key).filter(|sighting| sighting.queue == self.number)?;
                Some(sighting.sequence? + place)
            })
            .collect();
        let arrived = self.arrived(page, at, events.len(), &mut anchors);
        if let Some(arrived) = arrived {
            self.newest = self.newest.max(arrived - offset);
        }
        let bit = 1 << page;
        for (place, event) in places() {
            let sighting = match known.get(&event.key) {
                Some(seen) if seen.pages & bit != 0 => continue,
                Some(seen) => Sighting { pages: seen.pages | bit, ..seen },
                None => {
                    let sequence = arrived.map(|arrived| arrived - place);
                    // What was there at the start is no part of what passed.
                    if sequence.is_none_or(|sequence| sequence > 0) {
                        self.cells.at(at).captured[kind_index(event.kind)] += 1;
                    }
                    fresh(event);
                    Sighting { queue: self.number, sequence, pages: bit }
                }
            };
            known.put(event.key, sighting);
        }
        let created: Vec<i64> = events.iter().map(|event| event.key.created_at).collect();
        self.cells.at(at).slope.add(&created);
    }

    /// How many events had come when a page was asked for, with the interval since the last poll noted; `None` where that
    /// cannot be told.
    fn arrived(&mut self, page: u8, at: i64, shown: usize, anchors: &mut [i64]) -> Option<i64> {
        let Some((last_at, last)) = self.last else {
            // All that it shows came before the start.
            self.last = Some((at, 0));
            return Some(0);
        };
        // Answers of two pages may overtake each other.
        let to = at.max(last_at);
        let (known, arrived, events) = if anchors.len() >= LEAST_SHARED {
            let middle = anchors.len() / 2;
            let arrived = (*anchors.select_nth_unstable(middle).1).max(last);
            (true, arrived, arrived - last)
        } else if page == self.first_page {
            // Even the lowest that it shows came after all that was seen.
            let least = (self.newest + shown as i64).max(last);
            let likely = last + (self.rate * (to - last_at) as f64 / 1_000.0) as i64;
            (false, least.max(likely), least - last)
        } else {
            // Lower pages show what came long ago, perhaps all of it between two polls of the upper ones: that says nothing of
            // how much came since.
            return None;
        };
        self.last = Some((to, arrived));
        let intervals = &mut self.cells.at(at).intervals;
        if intervals.len() < MAX_INTERVALS {
            intervals.push(Interval { from: last_at, to, events: events as f64, known });
        }
        Some(arrived)
    }

    fn intervals(&self, now: i64) -> impl Iterator<Item = &Interval> + Clone {
        self.cells.cells(now).flat_map(|cell| &cell.intervals)
    }

    /// Share of its time in which it is known how many passed.
    pub fn known(&self, now: i64) -> f64 {
        let (known, all) = self.intervals(now).fold((0.0, 0.0), |(known, all), interval| {
            let seconds = interval.seconds();
            (known + if interval.known { seconds } else { 0.0 }, all + seconds)
        });
        if all > 0.0 { known / all } else { 0.0 }
    }

    /// How its rate went up and down.
    pub fn pace(&self, now: i64) -> Option<Pace> {
        Pace::of(self.intervals(now))
    }

    /// What passed until `now`, at a rate that goes up and down with `pace`.
    pub fn passed(&mut self, now: i64, pace: Option<&Pace>) -> Passed {
        let mut intervals = Intervals::default();
        for interval in self.intervals(now) {
            let seconds = pace.map_or_else(|| interval.seconds(), |pace| pace.seconds(interval));
            if interval.known {
                intervals.known(seconds, interval.events);
            } else {
                intervals.at_least(seconds, interval.events);
            }
        }
        let captured = self.cells.cells(now).fold(Counts::default(), |mut sum, cell| {
            sum.iter_mut().zip(cell.captured).for_each(|(sum, count)| *sum += count);
            sum
        });
        let all = match intervals.rate() {
            // What is left of an error there is far below that of the assumptions.
            Some(rate) => Some((rate, intervals.passed(rate), 0.0)),
            None => {
                let slope = Slope::sum(self.cells.cells(now).map(|cell| &cell.slope)).rate();
                slope.map(|(rate, error)| (rate, rate * intervals.seconds(), error))
            }
        };
        self.rate = all.map_or(self.rate, |(rate, ..)| rate);
        // Not fewer than were seen.
        let least = captured.iter().sum::<u64>() as f64;
        Passed { captured, all: all.map(|(_, passed, error)| (passed.max(least), error)) }
    }
}
