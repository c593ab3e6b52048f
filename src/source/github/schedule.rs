//! When each feed is asked next: pure, from how it changes, how much of it matters and what the budget bears.

use std::time::Duration;

use tokio::time::Instant;

use super::poll::{Feed, Seen};
use super::share::{Demand, share};
use super::turnover::Turnover;

/// What the feed asks for where it does not say: the documentation's example.
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// With a budget that bears it a page is asked at least once in so many times `github.loop.break`.
const RELAXED: u32 = 5;
/// The same for a focus feed, whose next 100 events take their time.
const RELAXED_FOCUS: Duration = Duration::from_secs(60);
/// The part of what a feed wants without which it would show gaps: 60 new events of 100 instead of 35.
const NEED: f64 = 0.6;
/// However many focus feeds there are, together they matter this much beside the pages.
const FOCUS: f64 = 0.5;
/// How much more a feed matters that shows nothing but what has priority than one that shows none of it.
const PRIORITY: f64 = 15.0;
/// Weight of one answer in what is known of a feed's contents and costs.
const WEIGHT: f64 = 1.0 / 16.0;
/// An answer is taken to cost at least this share of a request, so that a feed of 304s is not asked without end.
const LEAST_COST: f64 = 0.05;
/// Requests a second for each identity at most, 304s included: secondary limits are 900 a minute.
const SECONDARY: f64 = 12.0;

/// `github.pollInterval`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PollInterval {
    /// Each page no sooner than `X-Poll-Interval` says.
    Obey,
    /// As its overlap calls for, slower in proportion when the header rises above its first value.
    #[default]
    Adaptive,
}

/// `github.priority`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Priority {
    /// Feeds that show pull requests, stars and issues come first.
    #[default]
    PullRequests,
    /// All feeds are alike.
    Everything,
}

/// How an operator wants GitHub to be asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Manner {
    /// Whether the header or the overlap decides.
    pub interval: PollInterval,
    /// What comes first when the budget does not bear everything.
    pub priority: Priority,
    /// The least time between two requests for a feed.
    pub least: Duration,
}

/// One feed's place in the schedule.
#[derive(Debug)]
pub struct Slot {
    is_page: bool,
    turnover: Turnover,
    /// Share of its events that have priority.
    relevance: f64,
    /// Requests that an answer costs, on average.
    cost: f64,
    interval: Option<Duration>,
    first_interval: Option<Duration>,
    asked: Option<Instant>,
    not_before: Option<Instant>,
    busy: bool,
    /// Since when it is polled, and after which part of its pause it is asked first.
    start: Option<(Instant, f64)>,
}

impl Slot {
    /// Due at once. What the pages of the public feed show mostly is assumed until it is measured.
    pub fn new(feed: &Feed) -> Self {
        Self {
            is_page: matches!(feed, Feed::Page(_)),
            turnover: Turnover::default(),
            relevance: if *feed == Feed::Page(1) { 0.02 } else { 0.6 },
            cost: 1.0,
            interval: None,
            first_interval: None,
            asked: None,
            not_before: None,
            busy: false,
            start: None,
        }
    }

    /// The same for one of many, from now on: due only after a part of its pause, so that they are not all due together.
    pub fn starting(self, now: Instant, part: f64) -> Self {
        Self { start: Some((now, part)), ..self }
    }

    /// A request leaves.
    pub fn asked(&mut self, now: Instant) {
        (self.asked, self.busy) = (Some(now), true);
    }

    /// Everything of the last request is done with.
    pub fn free(&mut self) {
        self.busy = false;
    }

    /// The last request came to nothing for whoever asked: the feed may be asked again at once, by somebody else.
    pub fn unasked(&mut self) {
        (self.asked, self.busy) = (None, false);
    }

    /// Whatever it waited for no longer counts.
    pub fn restart(&mut self, now: Instant) {
        (self.asked, self.not_before) = (None, None);
        self.start = self.start.map(|(_, part)| (now, part));
    }

    /// The feed failed: it is left alone until then.
    pub fn leave_until(&mut self, until: Instant) {
        (self.not_before, self.busy) = (Some(until), false);
    }

    /// The feed answered: `shown` events, `overlap` of which it showed before, `since` its former answer.
    pub fn answered(&mut self, shown: usize, former: Option<(usize, Duration)>, cost: bool) {
        self.not_before = None;
        self.cost += WEIGHT * (f64::from(u8::from(cost)) - self.cost);
        if let Some((overlap, since)) = former {
            self.turnover.observe(shown, overlap, since);
        }
    }

    /// What it showed.
    pub fn showed(&mut self, events: &[Seen]) {
        if events.is_empty() {
            return;
        }
        let relevant = events.iter().filter(|event| has_priority(event.kind)).count();
        self.relevance += WEIGHT * (relevant as f64 / events.len() as f64 - self.relevance);
    }

    /// GitHub said how often it wants the feed to be asked. What it says first is usual, and at least the documentation's
    /// example: coming back to that is no load.
    pub fn interval(&mut self, interval: Option<Duration>) {
        self.interval = interval.or(self.interval);
        self.first_interval = self.first_interval.or(interval.map(|first| first.max(POLL_INTERVAL)));
    }

    /// The pause that would be right if the budget bore everything.
    fn wanted(&self, manner: &Manner) -> Duration {
        let stretch = match (self.interval, self.first_interval) {
            (Some(interval), Some(first)) => interval.div_duration_f64(first).max(1.0),
            _ => 1.0,
        };
        match manner.interval {
            PollInterval::Obey => self.interval.unwrap_or(POLL_INTERVAL).max(manner.least),
            PollInterval::Adaptive => {
                let wanted = if self.is_page {
                    self.turnover.wanted(manner.least, manner.least * RELAXED)
                } else if self.turnover == Turnover::default() {
                    // Many of them must not keep the pages waiting at the start.
                    RELAXED_FOCUS.max(manner.least)
                } else {
                    self.turnover.wanted(manner.least, RELAXED_FOCUS.max(manner.least))
                };
                wanted.mul_f64(stretch)
            }
        }
    }
}

/// The pause from one request to the next for each slot, when all together may make `rate` requests a second and
/// `identities` can ask.
pub fn pauses(slots: &[Slot], manner: &Manner, rate: f64, identities: usize) -> Vec<Duration> {
    let wanted: Vec<_> = slots.iter().map(|slot| slot.wanted(manner)).collect();
    let cost = |slot: &Slot| slot.cost.max(LEAST_COST);
    let own = |slot: &Slot| match manner.priority {
        Priority::PullRequests => 1.0 + PRIORITY * slot.relevance,
        Priority::Everything => 1.0,
    };
    let pages: f64 = slots.iter().filter(|slot| slot.is_page).map(own).sum();
    let focused = slots.iter().filter(|slot| !slot.is_page).count();
    let demand = |(slot, wanted): (&Slot, &Duration)| Demand {
        rate: cost(slot) / wanted.as_secs_f64().max(0.001),
        weight: if slot.is_page { own(slot) } else { own(slot).min(pages * FOCUS / focused as f64) },
    };
    let demands: Vec<_> = slots.iter().zip(&wanted).map(demand).collect();
    // What it takes to miss nothing while nothing unusual happens comes before room for bursts.
    let need: Vec<_> = demands.iter().map(|demand| Demand { rate: NEED * demand.rate, ..*demand }).collect();
    let first = share(rate, &need);
    let more: Vec<_> = demands
        .iter()
        .zip(&first)
        .map(|(demand, first)| Demand { rate: demand.rate - first, ..*demand })
        .collect();
    let second = share(rate - first.iter().sum::<f64>(), &more);
    let granted = first.iter().zip(second).zip(slots);
    let granted: Vec<_> = granted.map(|((first, second), slot)| (first + second) / cost(slot)).collect();
    let secondary = (SECONDARY * identities as f64 / granted.iter().sum::<f64>()).min(1.0);
    let pause = |(granted, wanted): (&f64, Duration)| {
        let pause = Duration::try_from_secs_f64((granted * secondary).recip()).unwrap_or(Duration::MAX);
        pause.max(wanted)
    };
    granted.iter().zip(wanted).map(pause).collect()
}

/// When the slot is due, given its pause; `None` while a request of it is on its way, or it is granted none.
pub fn due(slot: &Slot, pause: Duration, now: Instant) -> Option<Instant> {
    if slot.busy {
        return None;
    }
    let at = match (slot.asked, slot.start) {
        (Some(asked), _) => asked.checked_add(pause)?,
        (None, Some((start, part))) => start.checked_add(pause.mul_f64(part))?.max(now),
        (None, None) => now,
    };
    Some(at.max(slot.not_before.unwrap_or(at)))
}

/// Pull requests, stars and issues.
fn has_priority(kind: &str) -> bool {
    kind.starts_with("PullRequest") || matches!(kind, "WatchEvent" | "IssuesEvent")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    /// One identity's 5,000 an hour.
    const ONE: f64 = 5_000.0 / 3_600.0;

    fn manner(interval: PollInterval, priority: Priority) -> Manner {
        Manner { interval, priority, least: SECOND }
    }

    /// Three pages, of which the first changes by so many events a second, the others by so many each.
    fn pages(first: usize, others: usize) -> Vec<Slot> {
        let slot = |page| {
            let mut slot = Slot::new(&Feed::Page(page));
            let fresh = if page == 1 { first } else { others };
            for _ in 0..200 {
                slot.answered(100, Some((100_usize.saturating_sub(fresh).max(1), SECOND)), true);
            }
            slot
        };
        (1..=3).map(slot).collect()
    }

    fn seconds(slots: &[Slot], manner: &Manner, rate: f64) -> Vec<f64> {
        pauses(slots, manner, rate, 1).iter().map(Duration::as_secs_f64).collect()
    }

    #[test]
    fn a_large_overlap_relaxes_and_a_thin_one_grows_up_to_the_quota() {
        let adaptive = manner(PollInterval::Adaptive, Priority::PullRequests);
        assert_eq!(seconds(&pages(1, 1), &adaptive, ONE), [5.0; 3]);
        let thin = seconds(&pages(60, 60), &adaptive, ONE);
        assert!(thin[1] < 1.7 && thin[2] < 1.7 && thin[0] > 5.0, "{thin:?}");
        let enough = seconds(&pages(60, 60), &adaptive, 3.0 * ONE);
        assert!(enough.iter().all(|pause| *pause < 1.2), "{enough:?}");
        let alike = seconds(&pages(60, 60), &manner(PollInterval::Adaptive, Priority::Everything), ONE);
        assert!(alike.iter().all(|pause| (alike[0] - pause).abs() < 0.01), "{alike:?}");
    }

    #[test]
    fn who_obeys_asks_no_sooner_than_the_header_says() {
        let (mut slots, obey) = (pages(100, 100), manner(PollInterval::Obey, Priority::Everything));
        assert_eq!(seconds(&slots, &obey, ONE), [60.0; 3], "the documentation's example");
        slots[1].interval(Some(SECOND * 240));
        slots[2].interval(Some(SECOND * 5));
        slots[2].interval(None);
        assert_eq!(seconds(&slots, &obey, ONE), [60.0, 240.0, 5.0]);
    }

    #[test]
    fn an_adaptive_one_slows_down_in_proportion_when_the_header_rises() {
        let (mut slots, adaptive) = (pages(1, 1), manner(PollInterval::Adaptive, Priority::PullRequests));
        slots[0].interval(Some(SECOND * 60));
        assert_eq!(seconds(&slots, &adaptive, ONE), [5.0; 3], "its first value is the usual one");
        slots[0].interval(Some(SECOND * 180));
        assert_eq!(seconds(&slots, &adaptive, ONE), [15.0, 5.0, 5.0]);
        slots[0].interval(Some(SECOND * 20));
        assert_eq!(seconds(&slots, &adaptive, ONE), [5.0; 3]);
        // A first value of a server that is not busy at all.
        slots[1].interval(Some(SECOND * 10));
        slots[1].interval(Some(SECOND * 60));
        assert_eq!(seconds(&slots, &adaptive, ONE), [5.0; 3]);
        slots[1].interval(Some(SECOND * 120));
        assert_eq!(seconds(&slots, &adaptive, ONE), [5.0, 10.0, 5.0]);
    }

    #[test]
    fn what_would_be_missed_comes_before_room_for_bursts() {
        // Pages 2 and 3 want 0.57 requests a second each, need 0.34, and matter more.
        let thin = seconds(&pages(30, 20), &manner(PollInterval::Adaptive, Priority::PullRequests), ONE);
        assert!(thin[0] < 2.0, "page 1 shows 60 new events of 100: {thin:?}");
        assert!(thin[1] < 3.0 && thin[2] < 3.0, "{thin:?}");
    }

    #[test]
    fn however_many_focus_feeds_there_are_the_pages_keep_most_of_the_budget() {
        let adaptive = manner(PollInterval::Adaptive, Priority::PullRequests);
        let mut slots = pages(30, 30);
        let before: f64 = seconds(&slots, &adaptive, ONE).iter().map(|pause| pause.recip()).sum();
        slots.extend((0..200).map(|_| Slot::new(&Feed::Focus("a/b".into()))));
        let after: f64 = seconds(&slots, &adaptive, ONE).iter().take(3).map(|pause| pause.recip()).sum();
        assert!(after > before * 0.6, "{after} {before}");
    }

    #[test]
    fn answers_that_cost_nothing_are_asked_for_more_often() {
        let adaptive = manner(PollInterval::Adaptive, Priority::Everything);
        let mut slots = pages(60, 60);
        let before = seconds(&slots, &adaptive, 0.1)[0];
        for _ in 0..200 {
            slots[0].answered(100, Some((40, SECOND)), false);
        }
        let after = seconds(&slots, &adaptive, 0.1)[0];
        assert!(after < before / 4.0, "{after} {before}");
    }

    #[test]
    fn a_page_is_never_asked_twice_at_a_time() {
        let (mut slot, now) = (Slot::new(&Feed::Page(1)), Instant::now());
        assert_eq!(due(&slot, SECOND, now), Some(now));
        slot.asked(now);
        assert_eq!(due(&slot, SECOND, now + SECOND * 9), None);
        slot.free();
        assert_eq!(due(&slot, SECOND, now), Some(now + SECOND));
        slot.leave_until(now + SECOND * 7);
        assert_eq!(due(&slot, SECOND, now), Some(now + SECOND * 7));
        assert_eq!(due(&slot, Duration::MAX, now), None, "granted nothing");
    }

    #[test]
    fn one_of_many_is_first_asked_after_its_part_of_the_pause() {
        let now = Instant::now();
        let mut slot = Slot::new(&Feed::Focus("a/b".into())).starting(now, 0.5);
        assert_eq!(due(&slot, SECOND * 60, now), Some(now + SECOND * 30));
        assert_eq!(due(&slot, SECOND * 60, now + SECOND * 31), Some(now + SECOND * 31));
        assert_eq!(due(&slot, Duration::MAX, now), None, "granted nothing");
        slot.asked(now);
        slot.free();
        assert_eq!(due(&slot, SECOND * 60, now), Some(now + SECOND * 60));
        slot.restart(now + SECOND * 90);
        assert_eq!(due(&slot, SECOND * 60, now), Some(now + SECOND * 120));
    }

    proptest! {
        #[test]
        fn all_pages_together_never_ask_more_than_the_budget_bears(
            rate in 0.01_f64..5.0, first in 0_usize..100, others in 0_usize..100, obey: bool, all: bool,
        ) {
            let interval = if obey { PollInterval::Obey } else { PollInterval::Adaptive };
            let priority = if all { Priority::Everything } else { Priority::PullRequests };
            let pauses = seconds(&pages(first, others), &manner(interval, priority), rate);
            let sum: f64 = pauses.iter().map(|pause| pause.recip()).sum();
            prop_assert!(sum <= rate + 1e-6, "{sum} of {rate}");
            let least = if obey { 60.0 } else { 1.0 };
            prop_assert!(pauses.iter().all(|pause| *pause >= least));
        }
    }
}
