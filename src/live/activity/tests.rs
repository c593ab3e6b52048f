use proptest::prelude::*;
use serde_json::json;

use super::query::{Counts, answers};
use super::*;
use crate::clock::ManualClock;
use crate::event::EventKey;
use crate::mutation::Outcome;
use crate::storage::Storage;

/// 2026-06-15T12:00:00Z in seconds.
const NOW: i64 = 1_781_524_800;

fn record(id: i64, age: i64, outcome: Outcome, [pull_request, repo, actor]: [u64; 3]) -> Record {
    Record {
        key: EventKey { id, created_at: NOW - age },
        outcome,
        pull_request,
        repo,
        repo_name: format!("owner/repo{repo}"),
        actor,
        actor_login: if actor == 9 { "helper[bot]".to_owned() } else { format!("user{actor}") },
        additions: 10,
        deletions: 3,
    }
}

fn table(records: &[Record]) -> Table {
    let mut table = Table::new(NOW - 60, MAX_EVENTS);
    for record in records {
        table.insert(record);
    }
    table
}

fn answers_of(records: &[Record]) -> Answers {
    answers(&table(records), &ManualClock::new(NOW * 1000))
}

#[test]
fn what_came_twice_counts_once_and_what_is_older_than_a_day_no_more() {
    let records = [
        record(1, 10, Outcome::Opened, [1, 1, 1]),
        record(1, 10, Outcome::Opened, [1, 1, 1]),
        record(2, 5, Outcome::Merged, [1, 1, 2]),
        // Another event that tells the same of the same pull request.
        record(3, 4, Outcome::Merged, [1, 1, 2]),
        record(4, WINDOW_SECONDS, Outcome::Opened, [7, 7, 7]),
        record(5, WINDOW_SECONDS - 1, Outcome::Closed, [8, 8, 8]),
    ];
    let answers = answers_of(&records);
    let totals = &answers.totals.data[0];
    assert_eq!((totals.developers, totals.repos), (3, 2));
    assert_eq!((totals.opened_prs, totals.merged_prs, totals.closed_prs), (1, 1, 1));
    assert_eq!((totals.additions, totals.deletions), (20, 6), "as the statement has it: by event");
    let first = &answers.repos.data[0];
    let counts = Counts { total_pr_events: 2, opened_prs: 1, closed_prs: 0, merged_prs: 1 };
    assert_eq!((first.repo_id, first.repo_name.as_str(), first.counts), (1, "owner/repo1", counts));
}

#[test]
fn programs_are_in_the_totals_and_in_no_ranking() {
    let records: Vec<_> = (1..=30_u64)
        .map(|number| record(number as i64, 1, Outcome::Opened, [number, number % 7, 1 + number % 9]))
        .collect();
    let answers = answers_of(&records);
    assert_eq!(answers.totals.data[0].developers, 9);
    assert_eq!(answers.developers.data.len(), 5);
    assert!(answers.developers.data.iter().all(|row| row.actor_id != 9));
    let of_people = |repo| records.iter().filter(|one| one.repo == repo && one.actor != 9).count() as u64;
    for row in &answers.repos.data {
        assert_eq!(row.counts.total_pr_events, of_people(row.repo_id));
    }
}

#[test]
fn a_name_is_the_one_that_was_seen_last_in_whatever_order() {
    let mut renamed = record(2, 5, Outcome::Closed, [2, 1, 1]);
    renamed.repo_name = "owner/renamed".to_owned();
    let before = record(1, 6, Outcome::Opened, [1, 1, 1]);
    for order in [[&before, &renamed], [&renamed, &before]] {
        let answers = answers_of(&order.map(Clone::clone));
        assert_eq!(answers.repos.data[0].repo_name, "owner/renamed");
    }
}

#[test]
fn beyond_its_bound_the_oldest_give_way_and_it_is_said() {
    let mut table = Table::new(NOW - 1_000, 10);
    for number in 0..25_u64 {
        let age = 500 - number as i64;
        table.insert(&record(number as i64, age, Outcome::Opened, [number, number, number]));
        table.expire(NOW - WINDOW_SECONDS);
    }
    let answers = answers(&table, &ManualClock::new(NOW * 1000));
    assert_eq!(answers.totals.data[0].opened_prs, 10);
    assert_eq!(table.since(), NOW - 500 + 14);
    let since = jiff::Timestamp::from_second(table.since()).unwrap().to_string();
    assert!(answers.totals.sql.contains(&since), "{}", answers.totals.sql);
}

#[test]
fn names_of_what_is_gone_are_forgotten() {
    let mut table = Table::new(NOW, MAX_EVENTS);
    for number in 0..5_000_u64 {
        table.insert(&record(number as i64, 100, Outcome::Opened, [number, number, number]));
    }
    table.expire(NOW - 50);
    assert_eq!((table.repo_name(7), table.actor_login(7)), ("", ""));
}

#[test]
fn sizes_beyond_all_measure_stop_at_the_largest_number() {
    let mut records = [1, 2].map(|id| record(id, 1, Outcome::Merged, [id as u64, 1, 1]));
    records.iter_mut().for_each(|record| (record.additions, record.deletions) = (u64::MAX, u64::MAX / 2 + 1));
    let totals = &answers_of(&records).totals.data[0];
    assert_eq!((totals.merged_prs, totals.additions, totals.deletions), (2, u64::MAX, u64::MAX));
}

#[test]
fn names_are_cut_where_a_character_ends_and_others_are_kept_whole() {
    let event = |name: &str| {
        let pull_request = json!({ "id": 5, "number": 1, "merged": false });
        json!({
            "id": "1", "type": "PullRequestEvent", "created_at": "2026-06-15T11:59:59Z",
            "actor": { "id": 2, "login": name }, "repo": { "id": 3, "name": name },
            "payload": { "action": "opened", "number": 1, "pull_request": pull_request },
        })
        .to_string()
    };
    let record = Record::parse(&event(&format!("x{}", "ü".repeat(50_000)))).unwrap();
    let expected = format!("x{}", "ü".repeat(127));
    assert_eq!((record.repo_name, record.actor_login), (expected.clone(), expected));
    let longest = "n".repeat(140);
    assert_eq!(Record::parse(&event(&longest)).unwrap().repo_name, longest);
}

#[test]
fn events_that_were_missed_are_said_until_they_would_be_out_of_the_window() {
    let mut table = Table::new(NOW, MAX_EVENTS);
    let missed = |table: &mut Table, events: u64, at: i64| table.missed(events, at - WINDOW_SECONDS, at);
    missed(&mut table, 10, NOW);
    missed(&mut table, 7, NOW + 5);
    missed(&mut table, 0, NOW + 60);
    let said = |table: &Table, at: i64| answers(table, &ManualClock::new(at * 1000)).totals.sql;
    assert!(said(&table, NOW + WINDOW_SECONDS).contains(" 17 events "));
    assert!(!said(&table, NOW + WINDOW_SECONDS + 5).contains("missing.\n"));
    missed(&mut table, 3, NOW + WINDOW_SECONDS + 9);
    assert!(said(&table, NOW + WINDOW_SECONDS + 9).contains(" 3 events "), "the former ones are over");
}

#[test]
fn a_break_between_two_processes_is_said_as_long_as_it_is_in_the_window() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW * 1000));
    let storage = Storage::open(directory.path()).unwrap();
    let restarted = || {
        let activity = Activity::new(Some(Kept::open(&storage).unwrap()), None, clock.clone());
        activity.restore();
        activity
    };
    let said = |activity: &Activity| answers(&activity.table(), &*clock).totals.sql;
    let first = restarted();
    first.add(vec![record(1, 10, Outcome::Opened, [1, 1, 1])], 0);
    // Nothing comes for an hour, but it is there.
    clock.advance_millis(3_600_000);
    first.look();
    clock.advance_millis(30_000);
    let second = restarted();
    assert!(!said(&second).contains("break"), "a short restart: {}", said(&second));
    second.look();
    clock.advance_millis(8 * 3_600_000);
    let expected =
        "since 2026-06-15T12:00:00Z, with a break from 2026-06-15T13:00:30Z to 2026-06-15T21:00:30Z;";
    assert!(said(&restarted()).contains(expected), "{}", said(&restarted()));
    clock.advance_millis(10_000);
    let last = restarted();
    assert!(said(&last).contains(expected), "the next restart knows it too: {}", said(&last));
    clock.advance_millis(WINDOW_SECONDS * 1000);
    assert!(!said(&last).contains("break"), "{}", said(&last));
}

#[test]
fn what_was_kept_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW * 1000));
    let storage = Storage::open(directory.path()).unwrap();
    let open = || Arc::new(Activity::new(Some(Kept::open(&storage).unwrap()), None, clock.clone()));
    let before = open();
    before.restore();
    let mut hostile = record(2, 20, Outcome::Merged, [2, 2, 2]);
    hostile.repo_name = "owner/\"quoted\"\u{202e}\n".to_owned();
    before.add(vec![record(1, 10, Outcome::Opened, [1, 1, 1]), hostile.clone()], 0);
    clock.advance_millis(60_000);
    let after = open();
    after.restore();
    let table = after.table();
    assert_eq!(table.since(), NOW);
    assert_eq!(table.after(0).count(), 2);
    assert_eq!(table.repo_name(2), hostile.repo_name);
    drop(table);
    clock.advance_millis(WINDOW_SECONDS * 1000);
    after.add(Vec::new(), 0);
    let last = open();
    last.restore();
    assert_eq!(last.table().after(0).count(), 0, "what is over is removed from the disk too");
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(
        numbers in prop::array::uniform5(0..u64::MAX), name in ".{0,40}", login in ".{0,20}", which in 0..3_usize,
    ) {
        let [pull_request, repo, actor, additions, deletions] = numbers;
        let outcome = [Outcome::Opened, Outcome::Merged, Outcome::Closed][which];
        let key = EventKey { id: -5, created_at: NOW };
        let (repo_name, actor_login) = (name, login);
        let record =
            Record { key, outcome, pull_request, repo, repo_name, actor, actor_login, additions, deletions };
        prop_assert_eq!(Record::read(key, &record.write()), Some(record));
    }
}
