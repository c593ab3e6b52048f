//! Lines of an archive that are broken, spliced, too long or made to be slow.

use pulsehub::event::Rejection::{Malformed, NoIdentity, NotAnEvent, TooLong};
use pulsehub::source::scan::MAX_LINE_BYTES;
use serde_json::json;

use super::{changed, event, gzip, replay, replay_lines, replay_text};

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
