//! The counts of the year by day, and its sums.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Content;
use crate::event::Day;
use crate::live::FirstMessage;
use crate::state::{DayCounts, Snapshot, YearSums};

/// The counters as they stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    today: Day,
    snapshot: Arc<Snapshot>,
    stale: bool,
}

impl Counts {
    /// The counters of a first message, on the UTC day `today`.
    pub fn of(first: &FirstMessage, today: Day) -> Self {
        Self { today, snapshot: first.snapshot.clone(), stale: first.stale }
    }

    /// The year that is shown. Around the turn of the year it is that of the days until the counters are read again.
    fn year(&self) -> i16 {
        self.snapshot.days.keys().next().map_or(self.today.year(), |day| day.year())
    }

    /// What is said anew each time, and not added.
    fn frame(&self) -> Map<String, Value> {
        let mut frame = Map::new();
        frame.insert("today".to_owned(), self.today.to_string().into());
        frame.insert("batch".to_owned(), self.snapshot.seq.into());
        frame.insert("stale".to_owned(), self.stale.into());
        frame
    }
}

/// A day's numbers by their names.
fn of_day(counts: &DayCounts) -> [(&'static str, u64); 5] {
    let DayCounts { open, merge, close, dev } = *counts;
    [("event", counts.event()), ("open", open), ("merge", merge), ("close", close), ("dev", dev)]
}

/// The year's numbers by their names.
fn of_year(sums: &YearSums) -> [(&'static str, u64); 4] {
    let YearSums { dev, repo, additions, deletions } = *sums;
    [("dev", dev), ("repo", repo), ("additions", additions), ("deletions", deletions)]
}

fn object<const N: usize>(numbers: [(&'static str, u64); N]) -> Value {
    Value::Object(numbers.map(|(name, number)| (name.to_owned(), number.into())).into_iter().collect())
}

/// The numbers that changed, by how much.
fn changed<const N: usize>(
    now: [(&'static str, u64); N],
    before: [(&'static str, u64); N],
) -> Map<String, Value> {
    let changed = now.into_iter().zip(before).filter(|(now, before)| now != before);
    changed
        .map(|((name, now), (_, before))| (name.to_owned(), now.wrapping_sub(before).cast_signed().into()))
        .collect()
}

impl Content for Counts {
    const NAME: &'static str = "counts";

    fn whole(&self) -> Value {
        let days = self.snapshot.days.iter().map(|(day, counts)| (day.to_string(), object(of_day(counts))));
        let mut whole = self.frame();
        whole.insert("year".to_owned(), self.year().into());
        whole.insert("days".to_owned(), Value::Object(days.collect()));
        whole.insert("sums".to_owned(), object(of_year(&self.snapshot.sums)));
        Value::Object(whole)
    }

    fn since(&self, before: &Self) -> Option<Value> {
        let (now, then) = (&self.snapshot, &before.snapshot);
        // A day that is gone cannot be told by adding.
        if self.year() != before.year() || then.days.keys().any(|day| !now.days.contains_key(day)) {
            return None;
        }
        let mut days = Map::new();
        for (day, counts) in &now.days {
            let known = then.days.get(day);
            if known != Some(counts) {
                let before = of_day(&known.copied().unwrap_or_default());
                days.insert(day.to_string(), Value::Object(changed(of_day(counts), before)));
            }
        }
        let mut difference = self.frame();
        difference.insert("days".to_owned(), Value::Object(days));
        difference.insert("sums".to_owned(), json!(changed(of_year(&now.sums), of_year(&then.sums))));
        Some(Value::Object(difference))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn day(number: u32) -> Day {
        Day::parse(&format!("2026-03-{number:02}")).unwrap()
    }

    prop_compose! {
        fn counts()(open in 0_u64..4, merge in 0_u64..4, close in 0_u64..4, dev in 0_u64..4) -> DayCounts {
            DayCounts { open, merge, close, dev }
        }
    }

    prop_compose! {
        fn some_counts()(
            days in prop::collection::btree_map(1_u32..5, counts(), 0..4),
            (dev, repo, additions, deletions) in (0..3_u64, 0..3_u64, any::<u32>(), any::<u32>()),
            (today, seq, stale) in (1_u32..5, 0_i64..5, any::<bool>()),
        ) -> Counts {
            let days: BTreeMap<Day, DayCounts> = days.into_iter().map(|(n, counts)| (day(n), counts)).collect();
            let sums = YearSums { dev, repo, additions: additions.into(), deletions: deletions.into() };
            Counts { today: day(today), snapshot: Arc::new(Snapshot { seq, days, sums, unseeded: false }), stale }
        }
    }

    /// What the documentation tells clients to do.
    fn apply(known: &mut Value, difference: &Value) {
        for (name, value) in difference.as_object().unwrap() {
            match name.as_str() {
                "days" => {
                    for (day, numbers) in value.as_object().unwrap() {
                        let zero = json!({ "event": 0, "open": 0, "merge": 0, "close": 0, "dev": 0 });
                        let known = known["days"].as_object_mut().unwrap().entry(day).or_insert(zero);
                        add(known, numbers);
                    }
                }
                "sums" => add(&mut known["sums"], value),
                other => known[other] = value.clone(),
            }
        }
    }

    fn add(known: &mut Value, numbers: &Value) {
        for (name, number) in numbers.as_object().unwrap() {
            known[name] = (known[name].as_i64().unwrap() + number.as_i64().unwrap()).into();
        }
    }

    proptest! {
        #[test]
        fn a_snapshot_and_differences_make_the_later_snapshot(all in prop::collection::vec(some_counts(), 1..6)) {
            let mut known = all[0].whole();
            for pair in all.windows(2) {
                match pair[1].since(&pair[0]) {
                    Some(difference) => apply(&mut known, &difference),
                    None => known = pair[1].whole(),
                }
                prop_assert_eq!(&known, &pair[1].whole());
            }
        }
    }

    #[test]
    fn another_year_and_lost_days_are_told_by_a_snapshot() {
        let of = |days: &[&str]| {
            let days = days.iter().map(|day| (Day::parse(day).unwrap(), DayCounts::default())).collect();
            let snapshot = Snapshot { days, ..Snapshot::default() };
            Counts { today: day(1), snapshot: Arc::new(snapshot), stale: false }
        };
        assert!(of(&["2026-03-01"]).since(&of(&["2026-03-01", "2026-03-02"])).is_none());
        assert!(of(&["2027-01-01"]).since(&of(&["2026-12-31"])).is_none());
        let new_day = of(&["2026-03-01", "2026-03-02"]).since(&of(&["2026-03-01"])).unwrap();
        assert_eq!(new_day["days"], json!({ "2026-03-02": {} }));
    }
}
