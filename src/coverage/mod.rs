//! How much of GitHub's feed is seen: measured from what the polls showed, and never assumed. Pure: the time is passed in.
//!
//! The feed's 300 places are queues (`queue`): as GitHub has partitioned them since 2026, pushes pass page 1 and all else pages
//! 2 and 3. Whether events go on from one page to the next is seen from whether they do (`chain`). Events that are seen again,
//! by another page's polls or by a page's own next one, tell how many came in between (capture–recapture, in the form that
//! fits a queue: the mark is an event's number, the recapture says how far it moved). So what passed is counted where polls
//! overlap, and estimated where they don't (`arrivals`, `slope`); the share seen is the distinct events over that. It assumes
//!
//! - that events keep their order in a queue, but for a few (the median of all marks decides);
//! - that misses hit all types of a queue alike;
//! - that the rate of a queue within gaps goes up and down with the queue that is known best (`pace`), or where none is,
//!   that it is steady: bursts of a third of it within gaps made the estimate 3 points too high.
//!
//! Textbook capture–recapture by odd and even polls of one page would be wrong here: polls at even intervals are not
//! independent. An event that stays for one and a half intervals is always seen, by both phases half of the time, and the
//! textbook says 89 %; one that stays for less than an interval is never seen twice, and the textbook says 0 %. Pages 2
//! and 3 have schedules of their own, so of what passes both, it is published as a check (`recaptured`): too low where
//! events need minutes for the way, and too high in bursts.
//!
//! Everything is bounded: twenty minutes of counts, a quarter of an hour of events at 170 a second.

mod arrivals;
mod chain;
mod concern;
mod focus;
mod lag;
mod pace;
mod queue;
mod report;
mod sightings;
mod silence;
mod slope;
mod window;

#[cfg(test)]
pub mod simulated;
#[cfg(test)]
mod tests;

use crate::source::github::{Feed, KINDS, OTHER, Poll};
use chain::Chain;
pub use concern::Concern;
use focus::Focus;
use lag::Lags;
use queue::{Passed, Queue};
use report::percent;
pub use report::{FocusReport, LagReport, PageReport, Report, Summary, TypeReport};
use sightings::Sightings;
use silence::Silence;
use window::{MINUTES, Window};

/// The known types, and `other`.
pub const KIND_COUNT: usize = KINDS.len() + 1;
/// Events by type, in the order of [`KINDS`], then `other`.
type Counts = [u64; KIND_COUNT];

/// Events of a full page.
const PAGE_EVENTS: i64 = 100;
/// Pages that are measured one by one.
const PAGES: usize = 3;
/// A type's events in queues of which nothing can be told are left out of its estimate up to this share of them.
const NEGLIGIBLE: f64 = 0.002;
/// Share of its time that must be known of a queue for the others to go by its pace.
const WELL_KNOWN: f64 = 0.8;
/// Standard error of a share above which it is not told: two of them are three points.
const MAX_ERROR: f64 = 0.015;
/// Events seen by both pages from which capture–recapture is told.
const LEAST_RECAPTURED: u64 = 30;

/// A type's place in [`Counts`].
fn kind_index(kind: &str) -> usize {
    KINDS.binary_search(&kind).unwrap_or(KINDS.len())
}

/// A type's name by its place.
fn kind_name(index: usize) -> &'static str {
    KINDS.get(index).copied().unwrap_or(OTHER)
}

#[derive(Debug, Default, Clone, Copy)]
struct PageCell {
    polls: u64,
    compared: u64,
    overlap: f64,
    gaps: u64,
}

/// Events of pages 2 and 3 by who showed them.
#[derive(Debug, Default)]
struct Recaptures {
    upper: Counts,
    lower: Counts,
    both: Counts,
}

/// What was asked for of enrichment.
#[derive(Debug, Default)]
struct Enriched {
    asked: u64,
    got: u64,
}

/// The measurement.
#[derive(Debug)]
pub struct Coverage {
    chain: Chain,
    queues: Vec<Queue>,
    known: Sightings,
    pages: [Window<PageCell>; PAGES],
    /// Pages that have answered since what is known was known.
    answered: [bool; PAGES],
    recaptures: Window<Recaptures>,
    silence: Silence,
    lags: Lags,
    focus: Focus,
    /// When the public feed was first seen, in Unix seconds: what is older was never on offer.
    started: Option<i64>,
    enriched: Window<Enriched>,
}

impl Default for Coverage {
    fn default() -> Self {
        let chain = Chain::default();
        Self {
            queues: chain.queues(),
            chain,
            known: Sightings::default(),
            pages: Default::default(),
            answered: Default::default(),
            recaptures: Window::default(),
            silence: Silence::default(),
            lags: Lags::default(),
            focus: Focus::default(),
            started: None,
            enriched: Window::default(),
        }
    }
}

impl Coverage {
    /// A feed answered.
    pub fn observe(&mut self, poll: &Poll) {
        match &poll.feed {
            Feed::Page(page) if (1..=PAGES).contains(&usize::from(*page)) => self.page(*page, poll),
            Feed::Page(_) => {}
            Feed::Focus(_) => {
                let Some(started) = self.started else { return };
                let offered = poll.events.iter().filter(|event| event.key.created_at > started);
                offered.for_each(|event| self.focus.shows(event.key, poll.asked_at));
                self.focus.judge(poll.asked_at, &self.known);
            }
        }
    }

    /// `asked` more pull request events lack details, and `got` have them now, also of those that were asked for before.
    pub fn enriched(&mut self, now: i64, asked: u64, got: u64) {
        let cell = self.enriched.at(now);
        cell.asked += asked;
        cell.got += got;
    }

    fn page(&mut self, page: u8, poll: &Poll) {
        let at = poll.asked_at;
        self.started.get_or_insert(at.div_euclid(1_000));
        let cell = self.pages[usize::from(page) - 1].at(at);
        cell.polls += 1;
        cell.gaps += u64::from(poll.is_gap());
        if let Some(overlap) = poll.overlap.filter(|_| !poll.events.is_empty()) {
            cell.compared += 1;
            cell.overlap += overlap as f64 / poll.events.len() as f64;
        }
        if self.chain.observe(page, &poll.events, &self.known) {
            self.queues = self.chain.queues();
            self.known.clear();
            self.focus.start_over();
            self.answered = Default::default();
        }
        self.recapture(page, poll);
        let first = !std::mem::replace(&mut self.answered[usize::from(page) - 1], true);
        let Self { queues, known, silence, lags, .. } = self;
        if let Some(queue) = queues.iter_mut().find(|queue| queue.has(page)) {
            queue.observe(page, at, &poll.events, known, |event| {
                silence.seen(event.kind, at);
                // What a page's first answer shows is as old as the feed is long.
                if !first {
                    lags.add(at, event.key.created_at);
                }
            });
        }
        self.focus.judge(at, &self.known);
    }

    fn recapture(&mut self, page: u8, poll: &Poll) {
        if page < 2 {
            return;
        }
        let (own, other) = (1 << page, if page == 2 { 1 << 3 } else { 1 << 2 });
        for event in &poll.events {
            let pages = self.known.get(&event.key).map_or(0, |sighting| sighting.pages);
            if pages & own != 0 {
                continue;
            }
            let (kind, cell) = (kind_index(event.kind), self.recaptures.at(poll.asked_at));
            let counts = if page == 2 { &mut cell.upper } else { &mut cell.lower };
            counts[kind] += 1;
            cell.both[kind] += u64::from(pages & other != 0);
        }
    }

    /// How it stands at `now`, in Unix milliseconds.
    pub fn report(&mut self, now: i64) -> Report {
        self.focus.judge(now, &self.known);
        let best = self.queues.iter().max_by(|a, b| a.known(now).total_cmp(&b.known(now)));
        let pace = best.filter(|best| best.known(now) >= WELL_KNOWN).and_then(|best| best.pace(now));
        let passed: Vec<Passed> =
            self.queues.iter_mut().map(|queue| queue.passed(now, pace.as_ref())).collect();
        let recaptures = self.recaptured(now);
        let types = (0..KIND_COUNT).filter_map(|index| {
            let quiet_seconds = self.silence.seconds(index)?.round();
            let (seen, estimate) = estimate(&passed, |counts| counts[index]);
            let report = TypeReport {
                seen,
                captured: estimate.map(percent),
                recaptured: recaptures[index],
                quiet_seconds,
                silent: self.silence.is_silent(index),
            };
            Some((kind_name(index), report))
        });
        let pages = (1..).zip(&self.pages).map(|(page, window)| (page, page_report(window, now)));
        let enriched =
            self.enriched.cells(now).fold((0, 0), |sum, cell| (sum.0 + cell.asked, sum.1 + cell.got));
        let tenth = |seconds: f64| (10.0 * seconds).round() / 10.0;
        Report {
            window_seconds: (MINUTES * 60).unsigned_abs(),
            captured: estimate(&passed, |counts| counts.iter().sum()).1.map(percent),
            types: types.collect(),
            pages: pages.collect(),
            focus: self.focus.share().map(|(events, share)| FocusReport { events, captured: percent(share) }),
            lag: self
                .lags
                .quantiles(now, [0.5, 0.99])
                .map(|[p50, p99]| LagReport { p50: tenth(p50), p99: tenth(p99) }),
            // Some of those that have them now may have been asked for before the window.
            enriched: (enriched.0 > 0).then(|| percent((enriched.1 as f64 / enriched.0 as f64).min(1.0))),
        }
    }

    /// By Chapman's estimator (1951), which is that of Lincoln and Petersen without its bias.
    fn recaptured(&self, now: i64) -> [Option<f64>; KIND_COUNT] {
        let sum = self.recaptures.cells(now).fold(Recaptures::default(), |mut sum, cell| {
            let add = |sum: &mut Counts, counts: &Counts| {
                sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            };
            add(&mut sum.upper, &cell.upper);
            add(&mut sum.lower, &cell.lower);
            add(&mut sum.both, &cell.both);
            sum
        });
        std::array::from_fn(|kind| {
            let (upper, lower, both) = (sum.upper[kind], sum.lower[kind], sum.both[kind]);
            let all = (upper + 1) as f64 * (lower + 1) as f64 / (both + 1) as f64 - 1.0;
            let seen = (upper + lower).saturating_sub(both) as f64;
            (both >= LEAST_RECAPTURED).then(|| percent((seen / all).min(1.0)))
        })
    }
}

/// Events seen, and which share of those that passed they are, where that can be told.
fn estimate(passed: &[Passed], count: impl Fn(&Counts) -> u64) -> (u64, Option<f64>) {
    let (mut seen, mut known, mut all, mut variance) = (0.0, 0.0, 0.0, 0.0);
    for queue in passed {
        let (captured, of_all_types) =
            (count(&queue.captured) as f64, queue.captured.iter().sum::<u64>() as f64);
        seen += captured;
        if let Some((passed, error)) = queue.all
            && captured > 0.0
        {
            // Misses hit all types of a queue alike.
            let passed = captured / of_all_types * passed;
            known += captured;
            all += passed;
            variance += (passed * error).powi(2);
        }
    }
    let share = known / all;
    let told = known > 0.0 && seen - known <= NEGLIGIBLE * seen && share * variance.sqrt() / all <= MAX_ERROR;
    (seen as u64, told.then_some(share))
}

fn page_report(window: &Window<PageCell>, now: i64) -> PageReport {
    let sum = window.cells(now).fold(PageCell::default(), |sum, cell| PageCell {
        polls: sum.polls + cell.polls,
        compared: sum.compared + cell.compared,
        overlap: sum.overlap + cell.overlap,
        gaps: sum.gaps + cell.gaps,
    });
    let overlap = (sum.compared > 0).then(|| percent(sum.overlap / sum.compared as f64));
    PageReport { polls: sum.polls, overlap, gaps: sum.gaps }
}
