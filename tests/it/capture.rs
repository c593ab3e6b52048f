//! The poller against a GitHub with GitHub's rules, hour by simulated hour: how much of what is shown it has, and that it
//! never asks for more than it may.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pulsehub::source::github::{Feed, GitHubState, Poll, PollInterval, Priority};

use crate::mock_github::{Capture, FULL, Fault, Partition, Poller, Scenario, run};

const ADAPTIVE: Poller = Poller::Ours(PollInterval::Adaptive, Priority::PullRequests);
const OBEY: Poller = Poller::Ours(PollInterval::Obey, Priority::PullRequests);

/// Prints and returns it.
async fn captured(name: &str, scenario: Scenario) -> Capture {
    let (rate, identities, partition) = (scenario.rate, scenario.identities, scenario.partition);
    let capture = run(scenario).await;
    println!(
        "{rate} events/s, {identities} identities, {partition:?}, {name}: {:.2} % of pull requests, stars and issues, {:.2} % of pushes, {:.2} % of all by {} requests",
        capture.wanted(),
        capture.percent(&["PushEvent"]),
        capture.percent(&[]),
        capture.requests(),
    );
    let (most, beyond) = capture.most_in_an_hour();
    assert_eq!((beyond, capture.github.overlapping()), (0, 0), "{name}");
    println!("  at most {most} of them within an hour");
    capture
}

#[tokio::test(start_paused = true)]
async fn at_50_events_a_second_one_identity_captures_99_percent() {
    for partition in [Partition::Flowing, Partition::Sharded] {
        let ours = captured("adaptive", Scenario { partition, ..Scenario::new(50.0, ADAPTIVE, 1) }).await;
        assert!(ours.wanted() >= 99.0, "{partition:?}: {}", ours.wanted());
    }
    let obey = captured("obey", Scenario::new(50.0, OBEY, 1)).await;
    let page_one = captured("page 1 only", Scenario::new(50.0, Poller::PageOne, 1)).await;
    assert!(page_one.wanted() < obey.wanted() && obey.wanted() < 99.0);
}

#[tokio::test(start_paused = true)]
async fn at_170_events_a_second_one_identity_captures_97_percent_and_two_more() {
    for partition in [Partition::Flowing, Partition::Sharded] {
        let one = captured("adaptive", Scenario { partition, ..Scenario::new(170.0, ADAPTIVE, 1) }).await;
        let two = captured("adaptive", Scenario { partition, ..Scenario::new(170.0, ADAPTIVE, 2) }).await;
        assert!(one.wanted() >= 97.0, "{partition:?}: {}", one.wanted());
        assert!(two.wanted() >= 99.0, "{partition:?}: {}", two.wanted());
    }
    let obey = captured("obey", Scenario::new(170.0, OBEY, 1)).await;
    let page_one = captured("page 1 only", Scenario::new(170.0, Poller::PageOne, 1)).await;
    assert!(page_one.wanted() < obey.wanted() && obey.wanted() < 97.0);
}

#[tokio::test(start_paused = true)]
async fn the_quota_is_never_exceeded_in_any_of_three_hours() {
    // Far more is shown than any of them can see, so that all of every quota is wanted.
    for (identities, limit) in [(0, 60), (1, 300), (2, 5_000), (3, 700)] {
        let everything = Poller::Ours(PollInterval::Adaptive, Priority::Everything);
        let scenario = Scenario { limit, seconds: 3 * 3_600, ..Scenario::new(120.0, everything, identities) };
        let capture = captured("everything", scenario).await;
        let (most, _) = capture.most_in_an_hour();
        let limit = usize::try_from(limit).unwrap();
        assert!(most <= limit, "{most} of {limit} within an hour");
        // Nor is it left unused: three pages, asked once in 1.4 s at most, want 6,900 an hour in all.
        let wanted = limit.min(6_000 / identities.max(1));
        assert!(most * 100 >= wanted * 75, "{most} of {wanted}");
    }
}

#[tokio::test(start_paused = true)]
async fn identities_that_die_throttle_or_go_stale_are_set_aside_and_come_back() {
    let faults = vec![
        (0, Fault::Revoked, 600..1_200),
        (1, Fault::Stale, 900..1_500),
        (2, Fault::Throttled(Some(90)), 1_000..1_030),
        (2, Fault::Throttled(None), 1_600..1_610),
        (1, Fault::Suspended, 1_700..1_900),
    ];
    let scenario = Scenario { faults, partition: Partition::Sharded, ..Scenario::new(50.0, ADAPTIVE, 3) };
    let capture = captured("adaptive, with faults", scenario).await;
    // What a stale identity shows is not noticed at once.
    assert!(capture.wanted() >= 98.0, "{}", capture.wanted());
    assert_eq!(capture.status.state, GitHubState::Polling);
    assert_eq!(capture.status.aside, Vec::<String>::new());
    capture.github.inspect(|_, accounts| {
        // Each refusal is waited out: by what it says, else for a minute.
        let throttled = &accounts["Bearer token2"].throttled;
        assert!((2..=8).contains(&throttled.len()), "{throttled:?}");
        for number in 0..3 {
            let account = &accounts[&format!("Bearer token{number}")];
            assert!(account.last > Duration::from_secs(3_500), "{number} is asked again");
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_poll_interval_that_rises_slows_the_poller_down_in_proportion() {
    let polls = Arc::new(Mutex::new(Vec::<(Feed, i64)>::new()));
    let seen = polls.clone();
    let observer = Arc::new(move |poll: &Poll| seen.lock().unwrap().push((poll.feed.clone(), poll.asked_at)));
    let scenario = Scenario {
        observer,
        seconds: 1_800,
        load: vec![(600, 180), (1_200, 60)],
        ..Scenario::new(5.0, ADAPTIVE, 1)
    };
    run(scenario).await;
    let polls = polls.lock().unwrap();
    let begin = polls[0].1;
    let within = |from: i64, to: i64| {
        let span = begin + from * 1_000..begin + to * 1_000;
        polls.iter().filter(|(feed, at)| *feed == Feed::Page(2) && span.contains(at)).count()
    };
    let (before, during, after) = (within(100, 600), within(700, 1_200), within(1_300, 1_800));
    assert!((before / 4..=before * 2 / 5).contains(&during), "{before} {during} {after}");
    assert!(after.abs_diff(before) <= before / 10, "{before} {during} {after}");
}

#[tokio::test(start_paused = true)]
async fn a_focus_feed_shows_what_the_public_feed_left_out() {
    let focus = vec![("sample-org/repo7".to_owned(), 7), ("sample-org/repo9".to_owned(), 9)];
    let without = run(Scenario::new(170.0, OBEY, 1)).await;
    let with = run(Scenario { focus, payload: FULL, ..Scenario::new(170.0, OBEY, 1) }).await;
    let of = |capture: &Capture, repository| capture.github.inspect(|stream, _| stream.of(repository));
    for repository in [7, 9] {
        let (all, seen) = of(&with, repository);
        assert!(all > 50 && seen * 100 >= all * 95, "{seen} of {all}");
        let (all, seen) = of(&without, repository);
        assert!(seen * 2 < all, "{seen} of {all}");
    }
    let (all, seen) = of(&with, 8);
    assert!(seen * 2 < all, "{seen} of {all}");
}

/// Set in the process that a test starts to measure itself in.
const CHILD: &str = "PULSEHUB_TEST_A_DAY";

/// Alone in a process, whose memory nothing else uses.
#[test]
fn a_simulated_day_leaves_memory_flat() {
    if std::env::var_os(CHILD).is_some() {
        return a_day();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "capture::a_simulated_day_leaves_memory_flat", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    print!("{text}");
    assert!(output.status.success(), "{text}");
}

fn a_day() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let (measured, start) = (sizes.clone(), Mutex::new(None));
    let observer = Arc::new(move |poll: &Poll| {
        let begin = *start.lock().unwrap().get_or_insert(poll.asked_at);
        let hour = usize::try_from((poll.asked_at - begin) / 3_600_000).unwrap();
        let mut measured = measured.lock().unwrap();
        if measured.len() < hour {
            measured.push(resident_kib());
        }
    });
    let focus = vec![("sample-org/repo7".to_owned(), 7)];
    let scenario = Scenario {
        observer,
        focus,
        break_: Duration::from_secs(5),
        recorded: false,
        seconds: 24 * 3_600 + 60,
        ..Scenario::new(12.0, ADAPTIVE, 2)
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let capture = runtime.block_on(run(scenario));
    let sizes = sizes.lock().unwrap();
    println!("{} requests; KiB after each hour: {sizes:?}", capture.requests());
    assert_eq!(sizes.len(), 24);
    assert!(capture.requests() > 24 * 800);
    // The first hours fill caches and the allocator's pools.
    let (early, late) = (sizes[2..8].iter().max().unwrap(), sizes[18..].iter().max().unwrap());
    assert!(*late <= early + 2_048, "{sizes:?}");
}

/// Memory of this process.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
