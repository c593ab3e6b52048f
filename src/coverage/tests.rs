//! The estimates beside the truth of a simulated feed.

use super::simulated::{Manner, Places, watch};
use super::*;
use crate::event::EventKey;
use crate::source::github::Seen;

const COUNTED: [&str; 3] = ["PullRequestEvent", "WatchEvent", "IssuesEvent"];
const STEADY: Manner =
    Manner { rate: 50.0, bursts: 0.0, swings: false, delay: 2.0, places: Places::Partitioned };

/// Asserts that what is published is within three points of the truth, for each of `kinds` that must be told; prints both.
#[track_caller]
fn assert_near_the_truth(name: &str, manner: Manner, periods: [f64; 3], told: &[&str]) {
    for seed in [1, 2] {
        let (feed, mut coverage, now) = watch(manner, periods, 24, seed);
        let report = coverage.report(now);
        for kind in COUNTED.into_iter().chain(["PushEvent"]) {
            let (truth, published) = (feed.captured(&[kind]), &report.types[kind]);
            println!(
                "{name} {kind}: {truth:.1} % seen, estimate {:?}, recaptured {:?}",
                published.captured, published.recaptured
            );
            match published.captured {
                Some(estimate) => {
                    assert!((estimate - truth).abs() <= 3.0, "{name} {kind}: {estimate} of {truth:.1}")
                }
                None => assert!(!told.contains(&kind), "{name} {kind}: not told"),
            }
        }
    }
}

const ALL: [&str; 4] = ["PullRequestEvent", "WatchEvent", "IssuesEvent", "PushEvent"];

#[test]
fn the_estimate_is_within_three_points_with_one_identity() {
    // 5,000 requests an hour, of which pages 2 and 3 get most where they need it.
    let fast = Manner { rate: 170.0, ..STEADY };
    assert_near_the_truth("50/s", STEADY, [2.2, 2.2, 2.2], &ALL);
    assert_near_the_truth("50/s, page 1 often", STEADY, [1.1, 4.2, 4.2], &ALL);
    assert_near_the_truth("170/s", fast, [5.0, 1.7, 1.7], &ALL);
    assert_near_the_truth("170/s, all alike", fast, [2.2, 2.2, 2.2], &ALL);
}

#[test]
fn the_estimate_is_within_three_points_where_half_of_the_polls_are_gaps() {
    let fast = Manner { rate: 170.0, ..STEADY };
    assert_near_the_truth("half of page 1", STEADY, [3.0, 2.0, 2.0], &ALL);
    assert_near_the_truth("thin", fast, [1.0, 3.2, 3.2], &ALL);
}

#[test]
fn bursts_and_late_publication_leave_the_estimate_near() {
    let bursts = Manner { bursts: 0.3, delay: 5.0, ..STEADY };
    assert_near_the_truth("bursts", bursts, [1.4, 3.5, 3.5], &ALL);
    let fast = Manner { rate: 170.0, ..bursts };
    assert_near_the_truth("bursts, fast", fast, [0.7, 1.7, 1.7], &ALL);
}

#[test]
fn a_rate_that_swings_leaves_the_estimate_near_although_most_polls_are_gaps() {
    // The delays leave nothing to be read off the ages.
    let swings = Manner { swings: true, delay: 60.0, ..STEADY };
    assert_near_the_truth("swings", swings, [4.1, 2.2, 2.2], &COUNTED);
    assert_near_the_truth("swings, fewer gaps", swings, [3.0, 2.5, 2.5], &ALL);
    let fast = Manner { rate: 170.0, ..swings };
    assert_near_the_truth("swings, two identities", fast, [1.2, 1.0, 1.0], &COUNTED);
    assert_near_the_truth("swings, one identity", fast, [5.0, 1.7, 1.7], &[]);
}

#[test]
fn bursts_in_which_polls_do_not_overlap_make_the_estimate_too_high_by_a_few_points() {
    let manner = Manner { rate: 170.0, bursts: 0.3, delay: 5.0, ..STEADY };
    let (feed, mut coverage, now) = watch(manner, [0.9, 3.0, 3.0], 24, 1);
    let kind = COUNTED[0];
    let (truth, published) = (feed.captured(&[kind]), coverage.report(now).types[kind].captured.unwrap());
    println!("{kind}: {truth:.1} % seen, estimate {published}");
    assert!((0.0..5.0).contains(&(published - truth)), "{published} of {truth:.1}");
}

#[test]
fn however_the_pages_are_filled_it_is_recognised() {
    let chain = Manner { places: Places::One, ..STEADY };
    assert_near_the_truth("one queue", chain, [2.5, 2.5, 2.5], &ALL);
    let sharded = Manner { places: Places::Sharded, ..STEADY };
    assert_near_the_truth("each page by itself", sharded, [2.2, 2.2, 2.2], &ALL);
    assert_near_the_truth(
        "each page by itself, fast",
        Manner { rate: 170.0, ..sharded },
        [5.0, 1.7, 1.7],
        &ALL,
    );
    assert_near_the_truth(
        "each page by itself, thin",
        Manner { rate: 170.0, ..sharded },
        [3.0, 4.5, 4.0],
        &COUNTED,
    );
}

#[test]
fn what_an_anonymous_poller_misses_is_told_or_not_known() {
    assert_near_the_truth("anonymous", STEADY, [180.0, 180.0, 180.0], &[]);
}

#[test]
fn polls_overlaps_gaps_and_lags_are_counted() {
    let (_, mut coverage, now) = watch(Manner { rate: 170.0, ..STEADY }, [5.0, 1.0, 1.0], 24, 4);
    let report = coverage.report(now);
    let page = |page| &report.pages[&page];
    // Twenty minutes, of a poll each five seconds.
    assert!((230..=245).contains(&page(1).polls), "{:?}", report.pages);
    assert_eq!((page(1).gaps, page(1).overlap), (page(1).polls, Some(0.0)));
    // 54 of a hundred are new after a second.
    assert!((40.0..52.0).contains(&page(2).overlap.unwrap()) && page(2).gaps == 0, "{:?}", report.pages);
    let lag = report.lag.unwrap();
    // Exponential with a mean of 2 s, whole seconds, and what passes until a poll.
    assert!((1.5..4.0).contains(&lag.p50) && (8.0..20.0).contains(&lag.p99), "{lag:?}");
    assert!(report.types.values().all(|kind| !kind.silent));
}

#[test]
fn memory_is_bounded_over_hours_of_a_fast_feed() {
    // Old enough that generations of events were forgotten, and twice as old.
    let [earlier, later] = [20, 40].map(|minutes| {
        let (_, coverage, _) = watch(Manner { rate: 800.0, ..STEADY }, [0.5, 0.5, 0.5], minutes, 5);
        format!("{coverage:?}").len()
    });
    assert!(later < earlier * 3 / 2, "{later} after {earlier}");
}

fn polled(feed: Feed, at: i64, ids: std::ops::Range<i64>) -> Poll {
    let event = |id| Seen { key: EventKey { id, created_at: at / 1_000 + 1 }, kind: "WatchEvent" };
    Poll::new(feed, at, ids.map(event).collect(), None)
}

#[test]
fn a_focus_feed_is_compared_with_the_public_one_once_its_events_had_their_time() {
    let mut coverage = Coverage::default();
    let focus = |at, ids| polled(Feed::Focus("a/b".into()), at, ids);
    coverage.observe(&polled(Feed::Page(2), 0, 1_000..1_100));
    let shown = focus(10_000, 0..40);
    coverage.observe(&shown);
    // Some of them come in the public feed meanwhile.
    let mut page = shown.clone();
    (page.feed, page.asked_at) = (Feed::Page(2), 60_000);
    page.events.truncate(30);
    coverage.observe(&page);
    assert_eq!(coverage.report(200_000).focus, None);
    let focus = coverage.report(320_000).focus.unwrap();
    assert_eq!((focus.events, focus.captured), (40, 75.0));
}

#[test]
fn the_enriched_share_is_of_those_that_were_asked_for() {
    let mut coverage = Coverage::default();
    assert_eq!(coverage.report(0).enriched, None);
    coverage.enriched(0, 100, 99);
    coverage.enriched(1_000, 100, 98);
    assert_eq!(coverage.report(2_000).enriched, Some(98.5));
    assert_eq!(coverage.report(3_600_000).enriched, None);
}

#[test]
fn odd_polls_do_no_harm() {
    let mut coverage = Coverage::default();
    for (page, at, ids) in [
        (0, 0, 0..9),
        (1, 5_000, 0..0),
        (2, 4_000, 0..100),
        (2, 3_000, 0..100),
        (9, 0, 0..9),
        (3, i64::MIN / 2, 0..1),
        (1, i64::MAX / 2, 5..300),
    ] {
        coverage.observe(&polled(Feed::Page(page), at, ids));
        coverage.report(at);
    }
    coverage.report(i64::MAX / 2 + 1);
}
