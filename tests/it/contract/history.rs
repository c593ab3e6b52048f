//! What `History` promises.

use std::sync::Arc;

use pulsehub::clock::SystemClock;
use pulsehub::domain::github::row::Row;
use pulsehub::event::{Day, Event};
use pulsehub::history::tidb::TidbHistory;
use pulsehub::history::{History, SeedPart};
use pulsehub::state::seed::{SeedChunk, SeedSet};
use pulsehub::state::{Base, DayCounts, YearSums};

use crate::support::mysql::Database;

/// How a suite gets at a backend: an empty one that may be written.
trait Backend {
    async fn open() -> Arc<dyn History>;
}

struct Tidb;

impl Backend for Tidb {
    async fn open() -> Arc<dyn History> {
        Arc::new(TidbHistory::new(Database::new().await.settings(true), Arc::new(SystemClock)))
    }
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod tidb {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
                super::$name(<super::Tidb as super::Backend>::open().await).await;
            })*
        }
    };
}

contract!(
    a_year_without_events_is_empty,
    each_outcome_counts_in_its_own_place,
    rows_written_twice_are_there_once,
    what_is_unknown_overwrites_nothing,
    years_are_told_apart_at_midnight_utc,
    a_merged_event_of_the_trimmed_form_counts_as_merged,
    other_types_are_kept_and_not_counted,
    rows_that_cannot_be_held_spare_their_neighbours,
    concurrent_writes_of_the_same_rows_add_up,
    a_seed_has_sets_of_open_days_and_counts_of_the_others,
    a_seed_of_a_large_year_comes_in_parts_without_repetition,
    a_seed_that_nobody_takes_ends,
);

const DAY: &str = "2016-03-04T05:06:07Z";

fn row(text: &str) -> Row {
    Row::of(&Event::parse(text).unwrap()).unwrap()
}

fn pull_request(id: i64, at: &str, action: &str, body: &str) -> Row {
    row(&format!(
        r#"{{"id":"{id}","type":"PullRequestEvent","actor":{{"id":{id}}},"repo":{{"id":7,"name":"o/r"}},
            "payload":{{"action":"{action}","pull_request":{body}}},"created_at":"{at}"}}"#
    ))
}

fn counts(base: &Base) -> DayCounts {
    base.days.values().next().copied().unwrap_or_default()
}

async fn a_year_without_events_is_empty(history: Arc<dyn History>) {
    for year in [2016, 2026, 1969, 2039, i16::MIN, i16::MAX] {
        assert_eq!(history.recount(year).await.unwrap(), Base::default(), "{year}");
    }
    history.write(&[]).await.unwrap();
}

async fn each_outcome_counts_in_its_own_place(history: Arc<dyn History>) {
    let rows = [
        pull_request(1, DAY, "opened", r#"{"id":1}"#),
        pull_request(2, DAY, "closed", r#"{"id":2,"merged":true,"additions":30,"deletions":4}"#),
        pull_request(3, DAY, "closed", r#"{"id":3,"merged":false,"additions":500,"deletions":500}"#),
        pull_request(4, DAY, "reopened", r#"{"id":4}"#),
        pull_request(5, DAY, "labeled", r#"{"id":5}"#),
    ];
    history.write(&rows).await.unwrap();
    let base = history.recount(2016).await.unwrap();
    assert_eq!(base.days.len(), 1);
    assert_eq!(base.days.keys().next().unwrap().to_string(), "2016-03-04");
    assert_eq!(counts(&base), DayCounts { open: 1, merge: 1, close: 1, dev: 3 });
    assert_eq!(base.sums, YearSums { dev: 3, repo: 1, additions: 30, deletions: 4 });
}

async fn rows_written_twice_are_there_once(history: Arc<dyn History>) {
    let rows: Vec<_> =
        (0..1_234).map(|id| pull_request(id, DAY, "opened", &format!(r#"{{"id":{id}}}"#))).collect();
    let (first, second) = rows.split_at(700);
    history.write(first).await.unwrap();
    history.write(&rows).await.unwrap();
    history.write(second).await.unwrap();
    history.write(&[first[0].clone(), first[0].clone()]).await.unwrap();
    assert_eq!(
        counts(&history.recount(2016).await.unwrap()),
        DayCounts { open: 1_234, dev: 1_234, ..DayCounts::default() }
    );
}

async fn what_is_unknown_overwrites_nothing(history: Arc<dyn History>) {
    let trimmed = pull_request(2, DAY, "merged", r#"{"id":2}"#);
    let enriched =
        Row { additions: Some(30), deletions: Some(4), language: Some("C".to_owned()), ..trimmed.clone() };
    history.write(std::slice::from_ref(&trimmed)).await.unwrap();
    assert_eq!(history.recount(2016).await.unwrap().sums.additions, 0);
    history.write(&[enriched]).await.unwrap();
    history.write(&[trimmed]).await.unwrap();
    let sums = history.recount(2016).await.unwrap().sums;
    assert_eq!((sums.additions, sums.deletions), (30, 4));
}

async fn years_are_told_apart_at_midnight_utc(history: Arc<dyn History>) {
    let rows = [
        pull_request(1, "2015-12-31T23:59:59Z", "opened", r#"{"id":1}"#),
        pull_request(2, "2016-01-01T00:00:00Z", "opened", r#"{"id":2}"#),
        pull_request(3, "2016-12-31T23:59:59Z", "opened", r#"{"id":3}"#),
        pull_request(4, "2017-01-01T01:59:59+02:00", "opened", r#"{"id":4}"#),
    ];
    history.write(&rows).await.unwrap();
    let days = async |year| {
        let base = history.recount(year).await.unwrap();
        base.days.into_iter().map(|(day, counts)| (day.to_string(), counts.open)).collect::<Vec<_>>()
    };
    assert_eq!(days(2015).await, [("2015-12-31".to_owned(), 1)]);
    assert_eq!(days(2016).await, [("2016-01-01".to_owned(), 1), ("2016-12-31".to_owned(), 2)]);
    assert!(days(2017).await.is_empty());
}

async fn a_merged_event_of_the_trimmed_form_counts_as_merged(history: Arc<dyn History>) {
    history.write(&[pull_request(1, DAY, "merged", r#"{"id":1}"#)]).await.unwrap();
    let base = history.recount(2016).await.unwrap();
    assert_eq!(counts(&base), DayCounts { merge: 1, dev: 1, ..DayCounts::default() });
}

async fn other_types_are_kept_and_not_counted(history: Arc<dyn History>) {
    let push = row(&format!(r#"{{"id":"1","type":"PushEvent","actor":{{"id":1}},"created_at":"{DAY}"}}"#));
    history.write(&[push, row(&format!(r#"{{"id":"2","created_at":"{DAY}"}}"#))]).await.unwrap();
    assert_eq!(history.recount(2016).await.unwrap(), Base::default());
}

async fn rows_that_cannot_be_held_spare_their_neighbours(history: Arc<dyn History>) {
    let mut rows: Vec<_> =
        (1..=600).map(|id| pull_request(id, DAY, "opened", &format!(r#"{{"id":{id}}}"#))).collect();
    rows[250].actor_id = Some(u64::MAX);
    // Longer than any name: cut, not refused.
    rows[251].repo_name = Some("ä".repeat(5_000));
    rows[252].kind = "PullRequestEvent\0\"'\\; 漢字 \u{1f600}".to_owned();
    history.write(&rows).await.unwrap();
    assert_eq!(counts(&history.recount(2016).await.unwrap()).open, 598);
}

async fn concurrent_writes_of_the_same_rows_add_up(history: Arc<dyn History>) {
    let rows: Arc<Vec<_>> =
        Arc::new((1..=900).map(|id| pull_request(id, DAY, "opened", &format!(r#"{{"id":{id}}}"#))).collect());
    let writers = (0..8).map(|number| {
        let (history, rows) = (history.clone(), rows.clone());
        tokio::spawn(async move {
            let mut mine = rows.to_vec();
            mine.rotate_left(number * 100);
            history.write(&mine).await
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap().unwrap();
    }
    assert_eq!(counts(&history.recount(2016).await.unwrap()).open, 900);
}

async fn seed_of(history: &Arc<dyn History>, open: &[Day]) -> Vec<SeedPart> {
    let (sender, mut parts) = tokio::sync::mpsc::channel(1);
    let collect = async {
        let mut found = Vec::new();
        while let Some(part) = parts.recv().await {
            found.push(part);
        }
        found
    };
    let (read, parts) = tokio::join!(history.seed(2016, open, sender), collect);
    read.unwrap();
    parts
}

async fn a_seed_has_sets_of_open_days_and_counts_of_the_others(history: Arc<dyn History>) {
    let (first, second) = ("2016-03-04T05:06:07Z", "2016-03-05T00:00:00Z");
    let mut nobody = pull_request(11, second, "opened", r#"{"id":11}"#);
    nobody.actor_id = None;
    let rows = [
        pull_request(1, first, "opened", r#"{"id":1}"#),
        pull_request(2, first, "closed", r#"{"id":2,"merged":true,"additions":30,"deletions":4}"#),
        pull_request(3, first, "closed", r#"{"id":3,"merged":false,"additions":500,"deletions":500}"#),
        pull_request(4, first, "reopened", r#"{"id":4}"#),
        pull_request(5, second, "opened", r#"{"id":1}"#),
        pull_request(6, second, "closed", r#"{"id":2,"merged":true,"additions":1,"deletions":2}"#),
        pull_request(7, second, "merged", r#"{"id":6}"#),
        // The same pull request again, once with a size and once without.
        pull_request(8, second, "closed", r#"{"id":2,"merged":true}"#),
        pull_request(9, second, "closed", r#"{"id":7,"merged":false}"#),
        pull_request(10, "2015-03-05T00:00:00Z", "opened", r#"{"id":9}"#),
        nobody,
    ];
    history.write(&rows).await.unwrap();
    let day = |at: &str| Day::parse(&at[..10]).unwrap();
    let (closed, open) = (day(first), day(second));
    let members = |set, ids: &[u64]| SeedPart::Members(SeedChunk { set, ids: ids.to_vec() });
    let counts = DayCounts { open: 1, merge: 1, close: 1, dev: 3 };
    assert_eq!(
        seed_of(&history, &[open]).await,
        [
            members(SeedSet::YearDev, &[1, 2, 3, 5, 6, 7, 8, 9]),
            members(SeedSet::YearRepo, &[7]),
            members(SeedSet::DayDev(open), &[5, 6, 7, 8, 9]),
            members(SeedSet::Open(open), &[1]),
            members(SeedSet::Merge(open), &[2, 6]),
            members(SeedSet::Close(open), &[7]),
            members(SeedSet::Pending(open), &[6]),
            SeedPart::Closed(closed, counts),
            SeedPart::Sizes { additions: 31, deletions: 6 },
        ]
    );
}

async fn a_seed_of_a_large_year_comes_in_parts_without_repetition(history: Arc<dyn History>) {
    let rows: Vec<_> =
        (1..=21_000).map(|id| pull_request(id, DAY, "opened", &format!(r#"{{"id":{id}}}"#))).collect();
    history.write(&rows).await.unwrap();
    let mut ids = Vec::new();
    for part in seed_of(&history, &[]).await {
        if let SeedPart::Members(SeedChunk { set: SeedSet::YearDev, ids: part }) = part {
            assert!(part.len() <= 10_000, "{}", part.len());
            ids.extend(part);
        }
    }
    assert_eq!(ids, (1..=21_000).collect::<Vec<u64>>());
}

async fn a_seed_that_nobody_takes_ends(history: Arc<dyn History>) {
    history.write(&[pull_request(1, DAY, "opened", r#"{"id":1}"#)]).await.unwrap();
    let (sender, parts) = tokio::sync::mpsc::channel(1);
    drop(parts);
    assert!(!history.seed(2016, &[], sender).await.unwrap_err().is_retryable());
}
