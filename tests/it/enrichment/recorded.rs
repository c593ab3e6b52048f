//! Recorded hours in today's form, completed to what the same hours in their full form give.

use std::collections::BTreeMap;

use pulsehub::app::Source;
use pulsehub::broker::BatchBuilder;
use serde_json::{Value, json};

use super::github::{GraphQl, recorded};
use crate::known_answers::recount;
use crate::support::{Client, TestApp, shared, text};

pub fn trimmed(hour: u8) -> String {
    text(&shared(&format!("data/trimmed/2016-01-01-{hour}.trimmed.json.gz")))
}

pub fn full(hour: u8) -> String {
    text(&shared(&format!("data/gharchive/2016-01-01-{hour}.json.gz")))
}

/// What the full hour gives; the third but for one pull request whose language changed between its two events, which the
/// data's README names.
pub async fn expected(hour: u8) -> Value {
    let mut expected = recount(2016, [full(hour)]).await;
    if hour == 3 {
        assert_eq!(expected["language"]["C#"], 26);
        expected["language"]["C#"] = json!(27);
    }
    expected
}

#[tokio::test(flavor = "multi_thread")]
async fn trimmed_hours_are_completed_to_the_counters_and_languages_of_the_full_ones() {
    for (hour, events, pull_requests) in [(3, 427, 311), (4, 382, 290)] {
        let github = GraphQl::knowing(recorded(hour)).await;
        let mut app = TestApp::new();
        github.configure(&mut app);
        app.replay([trimmed(hour)]).await;
        assert_eq!(app.stats(2016).await, expected(hour).await, "hour {hour}");
        let asked: usize = github.queries().iter().map(|query| query.len()).sum();
        assert_eq!(asked, pull_requests, "each is asked for once");
        println!("hour {hour}: {events} events of {pull_requests} pull requests, {} points", github.points());
        assert!(github.points() <= events / 100, "{} points", github.points());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_payloads_are_used_as_they_are() {
    let github = GraphQl::knowing(recorded(3)).await;
    let mut app = TestApp::new();
    github.configure(&mut app);
    app.replay([full(3)]).await;
    assert_eq!(app.stats(2016).await, recount(2016, [full(3)]).await);
    assert!(github.queries().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_where_that_is_not_wanted() {
    let github = GraphQl::knowing(recorded(3)).await;
    let mut app = TestApp::new();
    github.configure(&mut app);
    app.config.github.enrich = pulsehub::config::Enrich::Never;
    app.replay([trimmed(3)]).await;
    assert!(github.queries().is_empty());
}

/// What the real front end asks for.
const FRONT_END: &str = r#"{"samplingRate":1,"filter":["event.id","event.payload.action","event.payload.pull_request.number","event.repo.name","event.actor.login","event.payload.pull_request.merged","event.payload.pull_request.base.repo.language","event.payload.pull_request.additions","event.payload.pull_request.deletions","payload.devDay","payload.devYear","payload.repoYear"],"eventType":"PullRequestEvent","returnType":"list"}"#;

fn lines(file: &str) -> Vec<String> {
    let mut text = String::new();
    let bytes = std::fs::File::open(file).unwrap();
    std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(bytes), &mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_says_merged_size_and_language_at_the_old_places() {
    let (github, known) = (GraphQl::knowing(recorded(3)).await, recorded(3));
    let mut app = TestApp::new();
    github.configure(&mut app);
    app.live = true;
    let running = app.start(Source::None).await;
    let mut client = Client::connect(&running, "/sampling").await;
    assert_eq!(client.json().await["firstMessageTag"], true);
    client.send(FRONT_END).await;
    let events = lines(&trimmed(3));
    let mut expected = BTreeMap::new();
    let mut batch = BatchBuilder::default();
    for raw in &events {
        batch.push(&[br#"{"event":"#, raw.as_bytes(), br#","payload":{}}"#]);
        let event: Value = serde_json::from_str(raw).unwrap();
        if event["type"] == "PullRequestEvent" {
            let payload = &event["payload"];
            let known = &known[&payload["pull_request"]["id"].as_u64().unwrap()];
            let merged = payload["action"] == "merged";
            let fields = json!([
                event["id"],
                payload["action"],
                payload["number"],
                event["repo"]["name"],
                event["actor"]["login"],
                merged,
                known.language,
                known.additions,
                known.deletions,
            ]);
            expected.insert(event["id"].as_str().unwrap().to_owned(), fields);
        }
    }
    running.producer().await.unwrap().publish(batch.build()).await.unwrap();
    let mut seen = BTreeMap::new();
    while seen.len() < expected.len() {
        let mut frame = client.json().await;
        frame.as_array_mut().unwrap().truncate(9);
        assert_eq!(seen.insert(frame[0].as_str().unwrap().to_owned(), frame), None, "twice");
    }
    assert_eq!(seen, expected);
    running.stop().await;
}
