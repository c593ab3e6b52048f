//! What is no event, or only half of one: it counts nowhere, is named, and never harms its neighbours.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use pulsehub::app::Source;
use pulsehub::broker::BatchBuilder;
use pulsehub::broker::embedded::{LogOptions, TopicLog};
use pulsehub::clock::SystemClock;
use pulsehub::event::Rejection::{self, Incomplete, Malformed, NoIdentity, NotAnEvent, TooLong};
use pulsehub::source::generate::{Generator, PayloadForm};
use pulsehub::source::replay::Summary;
use pulsehub::source::scan::{MAX_LINE_BYTES, scan_lines};
use pulsehub::storage::Space;
use serde_json::{Value, json};

use crate::support::{TestApp, eventually, shared, text};

/// The `n`-th event, `n` < 40: a pull request of its own, merged, with 2ⁿ additions. The year's additions thus say
/// exactly which events were counted.
fn event(n: u32) -> String {
    let additions = 1_u64 << n;
    format!(
        r#"{{"id":"{}","type":"PullRequestEvent","actor":{{"id":{n},"login":"user{n}"}},"repo":{{"id":{n},"name":"a/b{n}"}},"payload":{{"action":"closed","number":7,"pull_request":{{"id":{n},"merged":true,"additions":{additions},"deletions":0,"base":{{"repo":{{"id":{n},"language":"Rust"}}}}}}}},"public":true,"created_at":"2026-01-02T03:04:05Z"}}"#,
        9_000_000_000 + u64::from(n)
    )
}

/// The `n`-th event with another value at a JSON pointer.
fn changed(n: u32, pointer: &str, value: Value) -> String {
    let mut event: Value = serde_json::from_str(&event(n)).unwrap();
    *event.pointer_mut(pointer).unwrap() = value;
    event.to_string()
}

/// The `n`-th event without the field at a JSON pointer.
fn without(n: u32, pointer: &str) -> String {
    let mut event: Value = serde_json::from_str(&event(n)).unwrap();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).unwrap();
    event.to_string()
}

/// What became of files.
#[derive(Debug)]
struct Outcome {
    summary: Summary,
    /// Which events were counted in 2026.
    counted: Vec<u32>,
    stats: Value,
    /// Reason and origin of every dead letter, in the order of the lines.
    letters: Vec<(String, String)>,
}

impl Outcome {
    /// Asserts which events were counted and what was rejected where.
    #[track_caller]
    fn expect(&self, counted: impl IntoIterator<Item = u32>, letters: &[(Rejection, &str)]) {
        let letters: Vec<_> =
            letters.iter().map(|(reason, origin)| (reason.to_string(), (*origin).to_owned())).collect();
        assert_eq!(self.counted, counted.into_iter().collect::<Vec<_>>(), "counted; {:?}", self.letters);
        assert_eq!(self.letters, letters, "dead letters");
    }
}

/// Replays files given by name and content.
async fn replay<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Outcome {
    let (app, directory) = (TestApp::new(), tempfile::tempdir().unwrap());
    let write = |(name, content): (&str, Vec<u8>)| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        text(&path)
    };
    let files: Vec<_> = files.into_iter().map(write).collect();
    let summary = app.replay(files).await;
    outcome(&app, summary).await
}

/// Replays one file, `f.json`.
async fn replay_text(content: impl Into<Vec<u8>>) -> Outcome {
    let outcome = replay([("f.json", content.into())]).await;
    assert_eq!((outcome.summary.files, outcome.summary.bad_files), (1, 0));
    outcome
}

/// Replays lines, each with its end.
async fn replay_lines(lines: &[String]) -> Outcome {
    replay_text(lines.iter().map(|line| format!("{line}\n")).collect::<String>()).await
}

async fn outcome(app: &TestApp, summary: Summary) -> Outcome {
    let stats = app.stats(2026).await;
    let additions = stats["sum"]["additions"].as_u64().unwrap();
    let counted = (0..64).filter(|n| additions >> n & 1 == 1).collect();
    Outcome { summary, counted, stats, letters: letters(&app.directory().join("dead-letter")) }
}

/// The dead letters below `directory`.
fn letters(directory: &Path) -> Vec<(String, String)> {
    let log =
        TopicLog::open(directory, LogOptions::default(), Arc::new(SystemClock), Space::new(directory, 0))
            .unwrap();
    let (mut position, mut letters) = (log.position_before(0).0, Vec::new());
    while let Some(entry) = log.read(position).unwrap() {
        position = entry.next;
        for index in 0..entry.batch.len() {
            let letter: Value = serde_json::from_slice(&entry.batch.get(index).unwrap()).unwrap();
            let text = |field: &str| letter[field].as_str().unwrap().to_owned();
            letters.push((text("reason"), text("origin")));
        }
    }
    // Parts of a file are rejected concurrently.
    letters.sort_by_key(|(_, origin)| (origin.len(), origin.clone()));
    letters
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn malformed_lines_are_named_by_file_and_line() {
    let lines = [
        event(0),
        "not json".to_owned(),
        event(1),
        r#"{"id":"5",}"#.to_owned(),
        event(2).replace("true", "tru"),
        event(3) + "}",
        "NaN".to_owned(),
        event(4),
    ];
    let outcome = replay_lines(&lines).await;
    let malformed = |line: &'static str| (Malformed, line);
    let expected = ["f.json:2", "f.json:4", "f.json:5", "f.json:6", "f.json:7"].map(malformed);
    outcome.expect([0, 1, 3, 4], &expected);
    assert_eq!((outcome.summary.submitted.published, outcome.summary.submitted.rejected), (4, 5));
}

#[tokio::test]
async fn a_first_line_that_is_no_event_does_not_cost_the_rest_of_a_plain_file() {
    for first in ["not json", "null", "[]", "\u{feff}", "\"type\":\"PushEvent\"}", "\n \n x"] {
        let outcome = replay_text(format!("{first}\n{}\n{}\n", event(0), event(1))).await;
        assert_eq!((outcome.counted.as_slice(), outcome.letters.len()), (&[0, 1][..], 1), "{first:?}");
    }
    let outcome = replay_text(format!("\u{feff}{}", event(0))).await;
    outcome.expect([0], &[(Malformed, "f.json:1")]);
}

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
async fn nul_blocks_spare_their_neighbours() {
    let block = "\0".repeat(300_000);
    let one = event(1);
    let torn = format!("{}\0\0{}", &one[..70], &one[70..]);
    let content = format!("{block}{}\n{block}\n{torn}\n{}{block}", event(0), event(2));
    let outcome = replay_text(content).await;
    outcome.expect([0, 2], &[(Malformed, "f.json:3"), (Malformed, "f.json:3")]);
}

#[tokio::test]
async fn line_ends_of_any_kind_separate_events() {
    let content = format!("{}\r\n\r\n\n  {}\t\n{}\r{}", event(0), event(1), event(2), event(3));
    replay_text(content).await.expect([0, 1, 2, 3], &[]);
}

#[tokio::test]
async fn empty_files_hold_nothing_and_are_no_fault() {
    let files =
        [("a.json", vec![]), ("b.json.gz", gzip(b"")), ("c.json", b"\n\n".to_vec()), ("d.json.gz", vec![])];
    let outcome = replay(files).await;
    outcome.expect([], &[]);
    assert_eq!((outcome.summary.files, outcome.summary.bad_files), (4, 0));
}

#[tokio::test]
async fn truncated_lines_cost_only_themselves() {
    let (one, three) = (event(1), event(3));
    let content = format!("{}\n{}\n{}\n{}", event(0), &one[..one.len() - 1], event(2), &three[..50]);
    replay_text(content).await.expect([0, 2], &[(Malformed, "f.json:2"), (Malformed, "f.json:4")]);
}

#[tokio::test]
async fn several_objects_on_one_line_are_several_events() {
    let content = format!(
        "{}{}\n{} {}{{}}{}\n{},{}\n",
        event(0),
        event(1),
        event(2),
        event(3),
        event(4),
        event(5),
        event(6)
    );
    replay_text(content).await.expect(0..7, &[(NoIdentity, "f.json:2"), (Malformed, "f.json:3")]);
}

#[tokio::test]
async fn a_line_spliced_into_another_is_found() {
    let one = event(1);
    for at in [1, 5, 40, 100, 180, one.find("\"payload\":").unwrap() + 10, one.len() - 1] {
        let spliced = format!("{}{}{}", &one[..at], event(2), &one[at..]);
        let cut = format!("{}{}", &one[..at], event(3));
        let outcome = replay_lines(&[event(0), spliced, cut, event(4)]).await;
        assert_eq!(outcome.counted, [0, 2, 3, 4], "cut at {at}");
        let mut lines: Vec<_> = outcome.letters.iter().map(|(_, origin)| origin.as_str()).collect();
        lines.dedup();
        assert_eq!(lines, ["f.json:2", "f.json:3"]);
    }
}

#[tokio::test]
async fn a_splice_is_found_whatever_the_order_of_an_events_fields() {
    // As `generate` and many tools write them: sorted by name.
    let sorted = |n| changed(n, "/public", json!(true));
    let one = sorted(1);
    assert!(one.starts_with(r#"{"actor":"#));
    let outcome = replay_lines(&[sorted(0), format!("{}{}", &one[..100], sorted(2)), sorted(3)]).await;
    outcome.expect([0, 2, 3], &[(Malformed, "f.json:2")]);
}

#[tokio::test]
async fn lines_made_to_be_slow_are_given_up() {
    let numbers = "1 ".repeat(500_000) + &event(1);
    let objects = "{}".repeat(500_000) + &event(2);
    let lines = [
        event(0),
        r#"{"id":"#.repeat(200_000),
        r#"{"id":[{"x":""#.repeat(100_000),
        numbers,
        objects,
        event(3),
    ];
    let outcome = replay_lines(&lines).await;
    assert_eq!(outcome.counted, [0, 1, 2, 3]);
    let letters = |line| outcome.letters.iter().filter(|(_, origin)| origin == line).count();
    assert_eq!(["f.json:2", "f.json:3", "f.json:4", "f.json:5"].map(letters), [1, 1, 1, 1_001]);
}

#[tokio::test]
async fn bytes_that_are_not_utf8_cost_their_event() {
    let mut broken = event(1).into_bytes();
    broken.splice(100..101, [0xff, 0xc0]);
    let content =
        [event(0).as_bytes(), b"\n", &broken, event(2).as_bytes(), b"\n", event(3).as_bytes()].concat();
    replay_text(content).await.expect([0, 2, 3], &[(Malformed, "f.json:2")]);
}

/// Forty events that hardly compress.
fn forty_noisy_events() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(3);
    let mut noise = || (0..4_000).map(|_| random.alphanumeric()).collect::<String>();
    (0..40).map(|n| event(n).replace("user", &noise()) + "\n").collect::<String>().into_bytes()
}

#[tokio::test]
async fn a_truncated_gz_counts_up_to_where_it_ends_and_is_a_bad_file() {
    let whole = gzip(&forty_noisy_events());
    for cut in [20, whole.len() / 3, whole.len() / 2, whole.len() - 4] {
        let mut readable = Vec::new();
        let _ = flate2::read::MultiGzDecoder::new(&whole[..cut]).read_to_end(&mut readable);
        let lines = readable.split(|&byte| byte == b'\n').count() as u32 - 1;
        let after =
            ("after.json", changed(0, "/id", json!("77")).replace("\"additions\":1,", "").into_bytes());
        let outcome = replay([("f.json.gz", whole[..cut].to_vec()), after]).await;
        assert_eq!(outcome.counted, (0..lines).collect::<Vec<_>>(), "cut at {cut}");
        assert_eq!((outcome.summary.files, outcome.summary.bad_files), (1, 1));
        assert_eq!(outcome.summary.submitted.published, u64::from(lines) + 1, "the next file is read");
        let half_a_line = !readable.is_empty() && !readable.ends_with(b"\n");
        assert_eq!(outcome.letters.len(), usize::from(half_a_line));
    }
    let lines = forty_noisy_events().split(|&byte| byte == b'\n').count();
    assert_eq!(lines, 41);
}

#[tokio::test]
async fn a_gz_damaged_in_the_middle_counts_what_came_before() {
    let mut damaged = gzip(&forty_noisy_events());
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    let outcome = replay([("f.json.gz", damaged)]).await;
    assert_eq!((outcome.summary.files, outcome.summary.bad_files), (0, 1));
    let count = outcome.counted.len() as u32;
    assert!((5..40).contains(&count), "{count}");
    assert_eq!(outcome.counted, (0..count).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_gz_of_several_members_is_one_file() {
    let (one, two) = (event(1), event(2));
    let members = [format!("{}\n{}", event(0), &one[..80]), format!("{}\n{two}", &one[80..]), String::new()];
    let content: Vec<u8> = members.iter().flat_map(|member| gzip(member.as_bytes())).collect();
    let outcome = replay([("f.json.gz", content)]).await;
    outcome.expect([0, 1, 2], &[]);
    assert_eq!((outcome.summary.files, outcome.summary.bad_files), (1, 0));
}

#[tokio::test]
async fn a_file_that_is_neither_gzip_nor_json_is_rejected_as_a_file() {
    let corrupt = std::fs::read(shared("data/gharchive/odd/2015-01-01-11.corrupt.json.gz")).unwrap();
    let noise: Vec<u8> = {
        let mut random = fastrand::Rng::with_seed(5);
        (0..300_000).map(|_| random.u8(..)).collect()
    };
    let html = b"<html><body>404 Not Found</body></html>\n".to_vec();
    let outcome = replay([
        ("before.json", event(0).into()),
        ("corrupt.json.gz", corrupt),
        ("noise.json.gz", noise),
        ("html.json.gz", html),
        ("after.json.gz", gzip(event(1).as_bytes())),
    ])
    .await;
    outcome.expect([0, 1], &[]);
    assert_eq!((outcome.summary.files, outcome.summary.bad_files), (2, 3));
}

#[tokio::test]
async fn the_form_before_2015_is_rejected_as_a_file() {
    let old = std::fs::read(shared("data/gharchive/odd/2012-06-14-15.json.gz")).unwrap();
    let outcome = replay([("2012-06-14-15.json.gz", old), ("after.json", event(0).into())]).await;
    outcome.expect([0], &[]);
    assert_eq!((outcome.summary.files, outcome.summary.bad_files), (1, 1));
    assert_eq!(outcome.summary.submitted.rejected, 0);
}

#[tokio::test]
async fn a_line_of_245_kb_is_an_event_like_any_other() {
    let title = "é\\u0000\\\"".repeat(24_500);
    let long = event(1).replace(r#""public""#, &format!(r#""title":"{title}","public""#));
    assert!(long.len() > 245_000);
    replay_lines(&[event(0), long, event(2)]).await.expect([0, 1, 2], &[]);
}

#[tokio::test]
async fn a_line_longer_than_the_limit_is_rejected_wherever_it_stands() {
    let long = |n| event(n).replace("user", &"x".repeat(MAX_LINE_BYTES + (1 << 20)));
    for before in [0, 500_000, 1 << 20] {
        let padding = " ".repeat(before);
        let content = format!("{}{padding}\n{}\n{}\n{}", event(0), long(1), event(2), long(3));
        let file = gzip(content.as_bytes());
        let outcome = replay([("f.json", file)]).await;
        outcome.expect([0, 2], &[(TooLong, "f.json:2"), (TooLong, "f.json:4")]);
    }
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
async fn json_that_is_no_object_is_no_event() {
    let lines = ["null", "[]", "1", "\"x\"", "true", "{}"].map(str::to_owned);
    let whole = format!("[{}]", event(9));
    let lines = [&[event(0)][..], &lines, &[whole, event(1)]].concat();
    let outcome = replay_lines(&lines).await;
    let reasons: Vec<_> = outcome.letters.iter().map(|(reason, _)| reason.clone()).collect();
    assert_eq!(outcome.counted, [0, 1]);
    let expected = [NotAnEvent, NotAnEvent, NotAnEvent, NotAnEvent, NotAnEvent, NoIdentity, NotAnEvent];
    assert_eq!(reasons, expected.map(|reason| reason.to_string()));
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

#[tokio::test]
async fn deep_nesting_beside_what_is_counted_loses_nothing() {
    let nested = |depth: usize| format!("{}{}", r#"{"a":["#.repeat(depth), "]}".repeat(depth));
    let beside = |n, name: &str, depth| {
        event(n).replace(&format!(r#""{name}":"#), &format!(r#""deep":{},"{name}":"#, nested(depth)))
    };
    let outcome = replay_lines(&[
        beside(0, "action", 200),
        beside(1, "merged", 200),
        beside(2, "public", 200),
        beside(3, "login", 200),
        beside(4, "language", 200),
        beside(5, "action", 100_000),
        event(6),
        r#"{"a":["#.repeat(100_000),
        event(7),
    ])
    .await;
    outcome.expect(0..8, &[(Malformed, "f.json:8")]);
}

#[tokio::test]
async fn foreign_messages_on_the_topic_are_dead_lettered_and_spare_their_neighbours() {
    let mut app = TestApp::new();
    app.config.pulsar.consumer.concurrency = 4;
    let running = app.start(Source::None).await;
    let wrapped = |event: &str| format!(r#"{{"event":{event},"payload":{{}}}}"#).into_bytes();
    let good = [
        wrapped(&event(0)),
        format!(r#" {{"payload":{{"pr":1,"devDay":1}}, "event": {} }}"#, event(1)).into_bytes(),
        format!(r#"{{"event":{},"more":[],"payload":{{}}}}"#, event(2)).into_bytes(),
    ];
    let bad = [
        b"hello".to_vec(),
        Vec::new(),
        b"\0\0\0".to_vec(),
        vec![0xff, 0xfe],
        b"{}".to_vec(),
        b"null".to_vec(),
        event(30).into_bytes(),
        format!("[{}]", event(31)).into_bytes(),
        wrapped("null"),
        wrapped("[]"),
        wrapped("{}"),
        wrapped("\"x\""),
        wrapped(&event(32)[..100]),
        wrapped(&without(33, "/actor")),
        wrapped(&format!("{}{}", event(34), event(35))),
        vec![b'['; 1 << 20],
    ];
    let producer = running.producer().await.unwrap();
    for (good, bad) in good.iter().zip(bad.chunks(6)) {
        let mut batch = BatchBuilder::default();
        for message in bad {
            batch.push(&[message]);
            batch.push(&[good]);
        }
        producer.publish(batch.build()).await.unwrap();
    }
    let ready = format!("http://{}/api/v1/stats?year=2026", running.admin);
    eventually("the good messages are counted", async || {
        let stats: Value = reqwest::get(&ready).await.unwrap().json().await.unwrap();
        stats["sum"]["additions"] == 0b111
    })
    .await;
    running.stop().await;
    // What was in hand at the stop is settled by now; what was not yet received comes again here.
    let running = app.start(Source::None).await;
    eventually("nothing is left", async || letters_so_far(&app) >= bad.len()).await;
    running.stop().await;
    let outcome = outcome(&app, Summary::default()).await;
    assert_eq!(outcome.counted, [0, 1, 2]);
    assert_eq!(outcome.letters.len(), bad.len(), "{:?}", outcome.letters);
    assert!(outcome.letters.iter().all(|(_, origin)| origin.starts_with("message ")));
    assert_eq!(outcome.letters.iter().filter(|(reason, _)| *reason == Incomplete.to_string()).count(), 1);
}

/// Letters in a log that a running process writes.
fn letters_so_far(app: &TestApp) -> usize {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(app.directory().join("dead-letter")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    letters(copy.path()).len()
}

/// One damage to a text.
#[derive(Debug, Clone)]
enum Damage {
    Flip(usize, u8),
    Insert(usize, Vec<u8>),
    Delete(usize, usize),
    /// A copy of a part, put elsewhere.
    Splice(usize, usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = || 0..1_000_000_usize;
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
        prop::sample::select(vec![&b"\n"[..], b"\0\0\0", b"{", b"}", b"\"", b"{\"id\":", b"\\", b"null"])
            .prop_map(<[u8]>::to_vec),
    ];
    prop_oneof![
        (at(), 1..=255_u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        (at(), bytes).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (at(), 1..2_000_usize).prop_map(|(at, count)| Damage::Delete(at, count)),
        (at(), 1..2_000_usize, at()).prop_map(|(from, count, to)| Damage::Splice(from, count, to)),
    ]
}

impl Damage {
    /// Damages `text`, whose bytes each carry the line that they belong to; what is new belongs to none.
    fn apply(&self, text: &mut Vec<(u8, Option<usize>)>) {
        let length = text.len();
        if length == 0 {
            return;
        }
        match self {
            Self::Flip(at, bits) => text[at % length] = (text[at % length].0 ^ bits, None),
            Self::Insert(at, bytes) => {
                let at = at % length;
                text.splice(at..at, bytes.iter().map(|&byte| (byte, None)));
            }
            Self::Delete(at, count) => {
                let at = at % length;
                text.drain(at..(at + count).min(length));
            }
            Self::Splice(from, count, to) => {
                let from = from % length;
                let part = &text[from..(from + count).min(length)];
                let part: Vec<_> = part.iter().map(|&(byte, _)| (byte, None)).collect();
                let to = to % length;
                text.splice(to..to, part);
            }
        }
    }
}

/// Thirty generated events with their ids.
fn thirty_events() -> Vec<(i64, String)> {
    let mut generator = Generator::new(30, 1_000, PayloadForm::Full);
    let event = |second: i64| {
        let event = generator.event(1_780_000_000 + second);
        (event["id"].as_str().unwrap().parse().unwrap(), event.to_string())
    };
    (0..30_i64).map(event).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_stops_the_scanner_or_costs_an_untouched_line(damages in prop::collection::vec(damage(), 1..6)) {
        let events = thirty_events();
        let mut marked = Vec::new();
        for (line, (_, event)) in events.iter().enumerate() {
            marked.extend(event.bytes().chain([b'\n']).map(|byte| (byte, Some(line))));
        }
        damages.iter().for_each(|damage| damage.apply(&mut marked));
        let text: Vec<u8> = marked.iter().map(|(byte, _)| *byte).collect();
        let scanned = scan_lines(&Bytes::from(text), 1, |line| line.to_string());
        let untouched = marked.split_inclusive(|(byte, _)| *byte == b'\n').filter_map(|line| {
            let number = line[0].1?;
            let whole = line.len() == events[number].1.len() + 1;
            (whole && line.iter().all(|(_, from)| *from == Some(number))).then_some(events[number].0)
        });
        let found: Vec<i64> = scanned.candidates.iter().map(|candidate| candidate.key.id).collect();
        for id in untouched {
            prop_assert!(found.contains(&id), "{id} is not among {found:?}");
        }
        for rejected in &scanned.rejected {
            prop_assert!((1..=scanned.lines).contains(&rejected.place.parse().unwrap()));
        }
    }
}
