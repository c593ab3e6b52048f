//! Files that are no archive, or only the beginning of one.

use std::io::Read;

use pulsehub::event::Rejection::Malformed;
use serde_json::json;

use super::{changed, event, gzip, replay, replay_text};
use crate::support::shared;

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
async fn empty_files_hold_nothing_and_are_no_fault() {
    let files =
        [("a.json", vec![]), ("b.json.gz", gzip(b"")), ("c.json", b"\n\n".to_vec()), ("d.json.gz", vec![])];
    let outcome = replay(files).await;
    outcome.expect([], &[]);
    assert_eq!((outcome.summary.files, outcome.summary.bad_files), (4, 0));
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
