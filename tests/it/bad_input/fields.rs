//! Fields that are missing, of another type, or given twice.

use pulsehub::event::Rejection::{Incomplete, NoIdentity};
use serde_json::{Value, json};

use super::{changed, event, replay_lines, without};
use crate::support::{TestApp, text};

#[tokio::test]
async fn identities_of_other_types_are_rejected_where_they_stand() {
    let mut lines = vec![event(0)];
    for id in
        [json!({}), json!(true), json!(null), json!([]), json!(""), json!("abc"), json!(1.5), json!(1e30)]
    {
        lines.push(changed(1, "/id", id));
    }
    let moments = ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-02T03:04:05", "2026-01-02"];
    for created_at in moments.map(Value::from).into_iter().chain([json!(12), json!(null), json!({})]) {
        lines.push(changed(1, "/created_at", created_at));
    }
    lines.extend([without(1, "/id"), without(1, "/created_at"), event(2)]);
    let outcome = replay_lines(&lines).await;
    let places: Vec<_> = (2..lines.len()).map(|line| format!("f.json:{line}")).collect();
    let expected: Vec<_> = places.iter().map(|place| (NoIdentity, place.as_str())).collect();
    outcome.expect([0, 2], &expected);
}

#[tokio::test]
async fn a_pull_request_event_without_its_three_ids_is_dead_lettered() {
    let mut lines = vec![event(0)];
    let others = || [json!(null), json!(7), json!("x"), json!([7]), json!({}), json!({ "id": "1" })];
    for pointer in ["/actor", "/repo", "/payload/pull_request"] {
        lines.extend(others().map(|other| changed(1, pointer, other)));
        lines.push(without(1, pointer));
    }
    for id in [json!("12"), json!(-1), json!(1e30), json!(1.5), json!(null), json!([1])] {
        for pointer in ["/actor/id", "/repo/id", "/payload/pull_request/id"] {
            lines.push(changed(1, pointer, id.clone()));
        }
    }
    lines.push(event(2));
    // Ids of their own: else all but the first are duplicates.
    let numbered = lines.iter().enumerate().map(|(n, line)| line.replace("9000000001", &format!("91{n}")));
    let lines: Vec<_> = numbered.collect();
    let outcome = replay_lines(&lines).await;
    assert_eq!(outcome.counted, [0, 2]);
    assert_eq!(outcome.letters.len(), lines.len() - 2);
    assert!(
        outcome.letters.iter().all(|(reason, _)| *reason == Incomplete.to_string()),
        "{:?}",
        outcome.letters
    );
}

#[tokio::test]
async fn payloads_of_other_types_count_nowhere_and_are_no_fault() {
    let as_array = json!(["merged", { "id": 77, "additions": 1 << 20, "deletions": 1 }]);
    let payloads = [json!(null), json!(7), json!("x"), json!([]), json!({}), as_array];
    let mut lines: Vec<_> = payloads.map(|payload| changed(1, "/payload", payload)).into();
    let actions = [json!(7), json!(null), json!({}), json!("Closed"), json!("labeled")];
    lines.extend(actions.map(|action| changed(1, "/payload/action", action)));
    let types = [json!(7), json!(null), json!({}), json!("FutureEvent"), json!("pullrequestevent")];
    lines.extend(types.map(|kind| changed(1, "/type", kind)));
    lines.extend(["/payload", "/payload/action", "/type"].map(|pointer| without(1, pointer)));
    let numbered = lines.iter().enumerate().map(|(n, line)| line.replace("9000000001", &format!("91{n}")));
    let lines: Vec<_> = numbered.chain([event(2)]).collect();
    let outcome = replay_lines(&lines).await;
    outcome.expect([2], &[]);
    assert_eq!(outcome.stats["daily"]["2026-01-02"]["event"], 1);
    assert_eq!(outcome.summary.submitted.published, lines.len() as u64);
}

#[tokio::test]
async fn a_pull_request_given_as_an_array_has_no_id() {
    let body = json!([77, true, 1 << 20, 5, { "repo": { "language": "C" } }]);
    let outcome = replay_lines(&[changed(1, "/payload/pull_request", body), event(2)]).await;
    assert_eq!((outcome.counted.as_slice(), outcome.letters.len()), (&[2][..], 1));
    assert_eq!(outcome.stats["language"], json!({ "Rust": 1 }));
}

#[tokio::test]
async fn optional_fields_of_other_types_read_as_missing() {
    let mut lines = Vec::new();
    let values = || [json!(null), json!("5"), json!(-1), json!(1.5), json!([]), json!({})];
    for (n, value) in values().into_iter().enumerate() {
        lines.push(changed(n as u32, "/payload/pull_request/additions", value));
    }
    for (n, value) in values().into_iter().enumerate() {
        let pointer = ["/base", "/base/repo", "/base/repo/language"][n % 3];
        let event = changed(10 + n as u32, &format!("/payload/pull_request{pointer}"), value);
        // A text in the place of the language is a language.
        lines.push(event.replace(r#""language":"5""#, r#""language":5"#));
    }
    let truth = [json!("true"), json!(1), json!(null)];
    let merged = |(n, value)| changed(20 + n as u32, "/payload/pull_request/merged", value);
    lines.extend(truth.into_iter().enumerate().map(merged));
    let outcome = replay_lines(&lines).await;
    outcome.expect(10..16, &[]);
    let day = &outcome.stats["daily"]["2026-01-02"];
    assert_eq!((&day["merge"], &day["close"], &day["dev"]), (&json!(12), &json!(3), &json!(15)));
    assert_eq!(outcome.stats["language"], json!({ "Rust": 9 }));
}

#[tokio::test]
async fn events_without_actor_or_repo_are_lost_only_where_they_would_count() {
    let watch = |n, pointer| without(n, pointer).replace("PullRequestEvent", "WatchEvent");
    let outcome =
        replay_lines(&[watch(0, "/actor"), watch(1, "/repo"), without(2, "/actor"), event(3)]).await;
    assert_eq!((outcome.counted.as_slice(), outcome.letters.len()), (&[3][..], 1));
    assert_eq!(outcome.summary.submitted.published, 4);
}

#[tokio::test]
async fn escaped_nul_and_lone_surrogates_are_text() {
    let outcome = replay_lines(&[
        event(0).replace("a/b0", r"a\u0000\ud800/b"),
        event(1).replace("user1", r"\u0000"),
        event(2).replace("Rust", r"Ru\u0000st"),
        event(3).replace(r#""public""#, r#""title":"\udfff","public""#),
    ])
    .await;
    outcome.expect(0..4, &[]);
    assert_eq!(outcome.stats["language"], json!({ "Rust": 3, "Ru\0st": 1 }));
}

#[tokio::test]
async fn an_event_counts_on_its_utc_day_whatever_its_zone() {
    let at = |n, moment: &str| changed(n, "/created_at", json!(moment));
    let lines = [
        at(0, "2026-01-01T01:30:00+02:00"),
        at(1, "2025-12-31T23:30:00-05:00"),
        at(2, "2026-01-02T03:04:05.999Z"),
        at(3, "9999-12-31T23:59:59Z"),
        at(4, "9999-06-01T00:00:00Z"),
        at(5, "1969-12-31T23:59:59.5Z"),
        at(6, "0001-01-01T00:00:00Z"),
        // The same moments again, written differently, are the same events.
        at(0, "2025-12-31T23:30:00Z"),
        at(2, "2026-01-02T03:04:05Z"),
    ];
    let (app, directory) = (TestApp::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("f.json");
    std::fs::write(&path, lines.join("\n")).unwrap();
    let summary = app.replay([text(&path)]).await;
    assert_eq!((summary.submitted.published, summary.submitted.duplicates), (7, 2));
    let mut days = Vec::new();
    for year in [1, 1969, 2025, 2026, 9999] {
        let stats = app.stats(year).await;
        let additions = stats["sum"]["additions"].clone();
        days.push((
            stats["daily"].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" "),
            additions,
        ));
    }
    let expected = [
        ("0001-01-01", 1 << 6),
        ("1969-12-31", 1 << 5),
        ("2025-12-31", 1),
        ("2026-01-01 2026-01-02", 0b110),
        ("9999-06-01 9999-12-31", 0b11000),
    ];
    assert_eq!(days, expected.map(|(days, additions)| (days.to_owned(), json!(additions))));
}

#[tokio::test]
async fn pull_request_ids_up_to_the_largest_integer_are_counted() {
    let id = |n, id: u64| changed(n, "/payload/pull_request/id", json!(id));
    let outcome = replay_lines(&[id(0, u64::MAX), id(1, 0), id(2, 1 << 53), id(3, (1 << 53) + 1)]).await;
    outcome.expect(0..4, &[]);
    assert_eq!(outcome.stats["daily"]["2026-01-02"]["merge"], 4);
}

#[tokio::test]
async fn of_a_name_given_twice_the_last_value_counts() {
    let twice = |n, name: &str, before: &str| {
        event(n).replacen(&format!(r#""{name}":"#), &format!(r#""{name}":{before},"{name}":"#), 1)
    };
    let outcome = replay_lines(&[
        twice(0, "id", "5"),
        twice(1, "actor", "null"),
        twice(2, "payload", r#"{"action":"opened"}"#),
        twice(3, "action", r#""opened""#),
        twice(4, "pull_request", r#"{"id":5}"#),
        twice(5, "additions", "1099511627776"),
        twice(6, "base", "{}"),
        twice(7, "language", r#""C""#),
        twice(8, "created_at", r#""2025-01-01T00:00:00Z""#),
        event(9),
    ])
    .await;
    outcome.expect(0..10, &[]);
    assert_eq!(outcome.stats["daily"]["2026-01-02"]["merge"], 10);
    assert_eq!(outcome.stats["language"], json!({ "Rust": 10 }));
}
