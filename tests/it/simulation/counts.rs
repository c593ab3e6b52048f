//! The counting of the simulated state: a set for each counter, which grows where its set took a new member.

use std::collections::{BTreeMap, BTreeSet};

use pulsehub::event::{Day, EventKey};
use pulsehub::mutation::{Mutation, Numbers, Outcome};
use pulsehub::state::{Base, DayCounts, YearSums};

use super::planted::Bug;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Set {
    Open(Day),
    Merge(Day),
    Close(Day),
    DayDev(Day),
    YearDev(i16),
    YearRepo(i16),
    /// Merged pull requests whose size counted.
    Sized(Day),
}

/// What applied events add up to.
#[derive(Debug, Default)]
pub struct Counts {
    members: BTreeSet<(Set, u64)>,
    days: BTreeMap<Day, DayCounts>,
    years: BTreeMap<i16, YearSums>,
    /// What each event changed when it came first.
    replies: BTreeMap<EventKey, Numbers>,
    in_language: BTreeSet<EventKey>,
    /// By natural key: who won, and who lost to it.
    claims: BTreeMap<i64, Vec<(EventKey, Option<EventKey>)>>,
    /// By second.
    pub languages: BTreeMap<i64, BTreeMap<String, u64>>,
    bug: Option<Bug>,
}

impl Counts {
    /// Nothing yet.
    pub fn new(bug: Option<Bug>) -> Self {
        Self { bug, ..Self::default() }
    }

    /// What a restart leaves beside what was on the disk: without a bug, nothing.
    pub fn keep(&mut self, before: Self) {
        match self.bug {
            Some(Bug::MembersLostAlone) => (self.days, self.years) = (before.days, before.years),
            Some(Bug::CountsLostAlone) => self.members = before.members,
            Some(Bug::ClaimsLostAlone) => self.claims.clear(),
            _ => {}
        }
    }

    /// Applies an event that arrived at `now` (Unix seconds); `None` where it lost to its twin.
    pub fn apply(&mut self, mutation: &Mutation, now: i64) -> Option<Numbers> {
        if !self.wins(mutation) {
            return None;
        }
        if mutation.outcome == Outcome::Uncounted {
            return Some(Numbers::default());
        }
        if let Some(language) = &mutation.language
            && (self.in_language.insert(mutation.key) || self.bug == Some(Bug::LanguageCountedAgain))
        {
            *self.languages.entry(now).or_default().entry(language.clone()).or_default() += 1;
        }
        let changed = self.count(mutation);
        Some(*self.replies.entry(mutation.key).or_insert(changed))
    }

    fn wins(&mut self, mutation: &Mutation) -> bool {
        let (Some(claim), event) = (mutation.claim, mutation.key) else { return true };
        let pairs = self.claims.entry(claim.natural).or_default();
        if let Some((winner, _)) = pairs.iter().find(|pair| pair.0 == event || pair.1 == Some(event)) {
            return *winner == event;
        }
        let near = |winner: EventKey| {
            let apart = winner.created_at.abs_diff(event.created_at);
            claim.within.is_none_or(|within| apart <= u64::from(within))
        };
        let twin = pairs
            .iter_mut()
            .find(|pair| pair.1.is_none() && (pair.0.id < 0) != (event.id < 0) && near(pair.0));
        match twin {
            Some((_, loser)) => *loser = Some(event),
            None => pairs.push((event, None)),
        }
        pairs.iter().any(|pair| pair.0 == event)
    }

    fn count(&mut self, mutation: &Mutation) -> Numbers {
        let Mutation { day, pull_request, actor, repo, .. } = *mutation;
        let again = self.bug == Some(Bug::Incremented) && self.replies.contains_key(&mutation.key);
        let mut add = |set, id| u8::from(self.members.insert((set, id)) || again);
        let mut numbers = Numbers { pr: 1, ..Numbers::default() };
        match mutation.outcome {
            Outcome::Opened => numbers.open = add(Set::Open(day), pull_request),
            Outcome::Merged => numbers.merge = add(Set::Merge(day), pull_request),
            Outcome::Closed => numbers.close = add(Set::Close(day), pull_request),
            Outcome::Reopened | Outcome::Uncounted => return numbers,
        }
        numbers.dev_day = add(Set::DayDev(day), actor);
        numbers.dev_year = add(Set::YearDev(day.year()), actor);
        numbers.repo_year = add(Set::YearRepo(day.year()), repo);
        let size = mutation.size.filter(|_| mutation.outcome == Outcome::Merged);
        let on_time = self.bug != Some(Bug::LateSizeDropped) || numbers.merge == 1;
        let known_again = self.bug == Some(Bug::LateSizeAddedAgain) && numbers.merge == 0;
        let size = size.filter(|_| on_time && (add(Set::Sized(day), pull_request) == 1 || known_again));
        let counts = self.days.entry(day).or_default();
        counts.open += u64::from(numbers.open);
        counts.merge += u64::from(numbers.merge);
        counts.close += u64::from(numbers.close);
        counts.dev += u64::from(numbers.dev_day);
        let sums = self.years.entry(day.year()).or_default();
        sums.dev += u64::from(numbers.dev_year);
        sums.repo += u64::from(numbers.repo_year);
        sums.additions += size.map_or(0, |size| size.additions);
        sums.deletions += size.map_or(0, |size| size.deletions);
        numbers
    }

    /// The counters of a year.
    pub fn of_year(&self, year: i16) -> Base {
        let days = self.days.iter().filter(|(day, _)| day.year() == year);
        let sums = self.years.get(&year).copied().unwrap_or_default();
        Base { days: days.map(|(day, counts)| (*day, *counts)).collect(), sums }
    }
}
