//! The counters as section 3 of the design has them, counted from the facts: distinct by UTC day and year.

use std::collections::{BTreeMap, BTreeSet};

use pulsehub::event::Day;
use pulsehub::mutation::Outcome;
use pulsehub::state::{Base, DayCounts, YearSums};

use super::events::{Fact, Kind};

type Sets<K> = BTreeMap<K, BTreeSet<u64>>;

/// What must be published of `year` once exactly these events were applied, however often each.
pub fn recount<'a>(facts: impl Iterator<Item = &'a Fact>, year: i16) -> Base {
    let [mut opened, mut merged, mut closed, mut developers] = [const { Sets::<Day>::new() }; 4];
    let [mut developers_of_the_year, mut repositories] = [const { BTreeSet::new() }; 2];
    let mut sizes = BTreeMap::new();
    for fact in facts {
        let day = fact.key.day().unwrap();
        let Kind::PullRequest(outcome) = fact.kind else { continue };
        let of_a_day = match outcome {
            Outcome::Opened => &mut opened,
            Outcome::Merged => &mut merged,
            Outcome::Closed => &mut closed,
            Outcome::Reopened | Outcome::Uncounted => continue,
        };
        if day.year() != year {
            continue;
        }
        of_a_day.entry(day).or_default().insert(fact.pull_request);
        developers.entry(day).or_default().insert(fact.actor);
        developers_of_the_year.insert(fact.actor);
        repositories.insert(fact.repo);
        if let Some(size) = fact.size {
            sizes.insert((day, fact.pull_request), size);
        }
    }
    let count = |sets: &Sets<Day>, day| sets.get(day).map_or(0, BTreeSet::len) as u64;
    let counts = |day| DayCounts {
        open: count(&opened, day),
        merge: count(&merged, day),
        close: count(&closed, day),
        dev: count(&developers, day),
    };
    let sums = YearSums {
        dev: developers_of_the_year.len() as u64,
        repo: repositories.len() as u64,
        additions: sizes.values().map(|(additions, _)| additions).sum(),
        deletions: sizes.values().map(|(_, deletions)| deletions).sum(),
    };
    Base { days: developers.keys().map(|day| (*day, counts(day))).collect(), sums }
}

/// How many of these events say each language.
pub fn languages<'a>(facts: impl Iterator<Item = &'a Fact>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let counted = facts.filter(|fact| matches!(fact.kind, Kind::PullRequest(_)));
    for language in counted.filter_map(|fact| fact.language) {
        *counts.entry(language.to_owned()).or_default() += 1;
    }
    counts
}
