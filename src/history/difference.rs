//! Where two counts of a year disagree.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::state::{Base, DayCounts, YearSums};

/// A counter with two values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The day or the year.
    pub period: String,
    /// Which counter of it.
    pub counter: String,
    /// Its value on the left: before, or in the state.
    pub left: u64,
    /// Its value on the right: after, or in history.
    pub right: u64,
}

/// What differs between two counts of `year`: its days first, then its sums.
pub fn differences(year: i16, left: &Base, right: &Base) -> Vec<Difference> {
    let mut found = Vec::new();
    let days: BTreeSet<_> = left.days.keys().chain(right.days.keys()).collect();
    for day in days {
        let [left, right] = [left, right].map(|base| base.days.get(day).copied().unwrap_or_default());
        compare(&day.to_string(), of_day(left), of_day(right), &mut found);
    }
    compare(&year.to_string(), of_year(left.sums), of_year(right.sums), &mut found);
    found
}

type Named<'a> = [(&'a str, u64); 4];

fn of_day(DayCounts { open, merge, close, dev }: DayCounts) -> Named<'static> {
    [("open", open), ("merge", merge), ("close", close), ("dev", dev)]
}

fn of_year(YearSums { dev, repo, additions, deletions }: YearSums) -> Named<'static> {
    [("dev", dev), ("repo", repo), ("additions", additions), ("deletions", deletions)]
}

fn compare(period: &str, left: Named<'_>, right: Named<'_>, found: &mut Vec<Difference>) {
    for ((counter, left), (_, right)) in left.into_iter().zip(right) {
        if left != right {
            found.push(Difference { period: period.to_owned(), counter: counter.to_owned(), left, right });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Day;

    #[test]
    fn a_day_that_only_one_side_knows_differs_in_what_it_has() {
        let counts = DayCounts { open: 3, ..DayCounts::default() };
        let one = Base { days: [(Day::first_of(2016), counts)].into(), ..Base::default() };
        let found = differences(2016, &one, &Base::default());
        let expected =
            Difference { period: "2016-01-01".to_owned(), counter: "open".to_owned(), left: 3, right: 0 };
        assert_eq!(found, [expected]);
        assert!(differences(2016, &one, &one).is_empty());
    }
}
