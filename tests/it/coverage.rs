//! What is published of coverage beside the truth of the mock GitHub, and where it is published.

use std::sync::{Arc, Mutex};

use pulsehub::app::Source;
use pulsehub::config::Address;
use pulsehub::coverage::{Coverage, Report};
use pulsehub::source::github::{PollInterval, Priority};

use crate::mock_github::{Capture, Partition, Poller, Scenario, run};
use crate::support::{Client, TestApp};

const KINDS: [&str; 4] = ["PullRequestEvent", "WatchEvent", "IssuesEvent", "PushEvent"];

/// An hour of the adaptive poller, and what it says of itself at its end.
async fn hour(rate: f64, identities: usize, partition: Partition) -> (Capture, Report) {
    let measured = Arc::new(Mutex::new((Coverage::default(), 0)));
    let told = measured.clone();
    let poller = Poller::Ours(PollInterval::Adaptive, Priority::PullRequests);
    let scenario = Scenario {
        partition,
        observer: Arc::new(move |poll| {
            let (coverage, last) = &mut *told.lock().unwrap();
            coverage.observe(poll);
            *last = poll.asked_at;
        }),
        ..Scenario::new(rate, poller, identities)
    };
    let capture = run(scenario).await;
    let (coverage, last) = &mut *measured.lock().unwrap();
    let report = coverage.report(*last);
    for kind in KINDS {
        let truth = capture.percent(&[kind]);
        let estimate = report.types[kind].captured;
        println!(
            "{rate} events/s, {identities} identities, {partition:?}, {kind}: {truth:.1} %, estimate {estimate:?}"
        );
    }
    (capture, report)
}

/// Asserts that what is told is within three points of the truth, and that it is told of `told`.
#[track_caller]
fn assert_near(capture: &Capture, report: &Report, told: &[&str]) {
    for kind in KINDS {
        match report.types[kind].captured {
            Some(estimate) => {
                let truth = capture.percent(&[kind]);
                assert!((estimate - truth).abs() <= 3.0, "{kind}: {estimate} of {truth:.1}");
            }
            None => assert!(!told.contains(&kind), "{kind} is not told"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_one_identity_the_published_estimate_is_within_three_points_of_the_truth() {
    for partition in [Partition::Flowing, Partition::Sharded] {
        let (capture, report) = hour(50.0, 1, partition).await;
        assert_near(&capture, &report, &KINDS);
        let (capture, report) = hour(170.0, 1, partition).await;
        // Of page 1 no two polls overlap, so that nobody can tell how many pushes passed.
        assert_near(&capture, &report, &KINDS[..3]);
    }
}

#[tokio::test(start_paused = true)]
async fn with_two_identities_and_a_fast_feed_it_is_too() {
    let (capture, report) = hour(170.0, 2, Partition::Sharded).await;
    assert_near(&capture, &report, &KINDS[..3]);
    assert!(report.types.values().all(|kind| !kind.silent), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coverage_is_in_the_status_and_in_streams_that_ask_for_it() {
    let (github, mut app) = (crate::archive_out::github().await, TestApp::new());
    app.config.github.base_url = Address::from(format!("{}/", github.uri()));
    app.config.github.tokens = vec!["token".into()];
    let running = app.start(Source::GitHub).await;
    let mut clients = Vec::new();
    for asks in [true, false] {
        let mut client = Client::connect(&running, "/sampling").await;
        assert_eq!(client.json().await["firstMessageTag"], true);
        client.send(&format!(r#"{{"samplingRate":1000000,"coverage":{asks}}}"#)).await;
        clients.push(client);
    }
    let frame = clients[0].json().await;
    assert_eq!(frame.as_object().unwrap().len(), 1);
    assert!(
        frame["coverage"]["types"].is_object() && frame["coverage"]["silent"] == serde_json::json!([]),
        "{frame}"
    );
    let status = format!("http://{}/api/v1/status", running.public.unwrap());
    let status: serde_json::Value = crate::process::get(&status).await.json().await.unwrap();
    assert!(status["coverage"]["pages"]["2"]["polls"].as_u64() >= Some(1), "{status}");
    assert_eq!(status["coverage"]["windowSeconds"], 1_200);
    // Who did not ask was told nothing before this.
    clients[1].send("{}").await;
    assert_eq!(clients[1].json().await["error"]["field"], "samplingRate");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_asks_for_coverage_gets_it_only_where_it_is_measured() {
    let app = TestApp::new();
    let running = app.start(app.replay_of([])).await;
    let mut client = Client::connect(&running, "/sampling").await;
    client.json().await;
    client.send(r#"{"samplingRate":1,"coverage":"yes"}"#).await;
    assert_eq!(client.json().await["error"]["field"], "coverage");
    let status = format!("http://{}/api/v1/status", running.public.unwrap());
    let status: serde_json::Value = crate::process::get(&status).await.json().await.unwrap();
    assert_eq!(status.get("coverage"), None, "nothing is polled here");
    running.stop().await;
}
