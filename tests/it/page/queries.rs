//! `/q/…` on recorded events: the rows that the answer's own statement gives in a database.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use pulsehub::app::{Running, Source};
use pulsehub::clock::ManualClock;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::NEXT_MORNING;
use crate::support::mysql::Database;
use crate::support::{TestApp, eventually, text, twelve_hours};

const QUERIES: [&str; 3] = [
    "live-time-base-information-hourly",
    "live-time-top-repos-by-prs-daily",
    "live-time-top-developers-by-prs-daily",
];

async fn ask(running: &Running, query: &str) -> Value {
    let response = reqwest::get(format!("http://{}/q/{query}", running.public.unwrap())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.unwrap()
}

async fn answers(running: &Running) -> Vec<Value> {
    let mut answers = Vec::new();
    for query in QUERIES {
        answers.push(ask(running, query).await);
    }
    answers
}

fn opened_in_all(answers: &[Value]) -> Option<u64> {
    answers[0]["data"][0]["opened_prs"].as_u64()
}

/// Bytes that the live feed holds: what follows it misses nothing of a file that is smaller, however busy the machine is.
const FEED_BYTES: usize = 32 << 20;

/// Every third pull request event of the recorded hours, as a file.
fn pull_request_events(directory: &Path) -> String {
    let mut lines = String::new();
    for hour in twelve_hours() {
        let packed = std::fs::File::open(hour).unwrap();
        let hour = std::io::read_to_string(flate2::read::MultiGzDecoder::new(packed)).unwrap();
        hour.lines().filter(|line| line.contains(r#""type":"PullRequestEvent""#)).step_by(3).for_each(
            |line| {
                lines.push_str(line);
                lines.push('\n');
            },
        );
    }
    assert!(lines.len() < FEED_BYTES, "{} bytes", lines.len());
    let path = directory.join("pull-requests.json");
    std::fs::write(&path, lines).unwrap();
    text(&path)
}

/// What a database says to the statements of `answers`, over the events in `file`.
fn in_a_database(answers: &[Value], file: &str) -> Vec<Value> {
    let statements: Vec<&Value> = answers.iter().map(|answer| &answer["sql"]).collect();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/day.py");
    let mut command = Command::new("python3");
    command.arg(program).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("python3 must be installed: it has the database");
    child.stdin.take().unwrap().write_all(json!(statements).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_pull_requests_give_what_the_answers_statements_give_also_after_a_restart() {
    let mut app = TestApp::new();
    app.clock = Arc::new(ManualClock::new(NEXT_MORNING));
    app.live = true;
    let file = pull_request_events(app.directory());
    let mut running = app.start(app.replay_of([file.clone()])).await;
    running.replayed().await.unwrap().unwrap();
    let statements = answers(&running).await;
    let expected = in_a_database(&statements, &file);
    let opened = expected[0][0]["opened_prs"].as_u64();
    assert!(opened > Some(200) && expected[1].as_array().unwrap().len() == 5, "{expected:?}");
    for restart in [false, true] {
        if restart {
            running.stop().await;
            running = app.start(Source::None).await;
        }
        eventually("all of it counted", async || opened_in_all(&answers(&running).await) == opened).await;
        for (answer, expected) in answers(&running).await.iter().zip(&expected) {
            assert_eq!(&answer["data"], expected, "{}", answer["sql"]);
        }
    }
    // What happened before the window began is left out of both.
    let in_the_window = expected[0][0].clone();
    let all = statements[0]["sql"].as_str().unwrap().replace("2016-01-01 06:00:00", "2016-01-01 00:00:00");
    let all = in_a_database(&[json!({ "sql": all })], &file);
    assert_ne!(all[0][0], in_the_window);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_has_the_columns_that_the_front_end_expects() {
    let mut app = TestApp::new();
    app.clock = Arc::new(ManualClock::new(NEXT_MORNING));
    app.live = true;
    let file = pull_request_events(app.directory());
    let running = app.start(app.replay_of([file])).await;
    eventually("rows", async || answers(&running).await.iter().all(|answer| !answer["data"][0].is_null()))
        .await;
    let counts = ["closed_prs", "merged_prs", "opened_prs"];
    let columns = [
        vec!["additions", "closed_prs", "deletions", "developers", "merged_prs", "opened_prs", "repos"],
        [&counts[..], &["repo_id", "repo_name", "total_pr_events"]].concat(),
        [&["actor_id", "actor_login"], &counts[..], &["total_pr_events"]].concat(),
    ];
    for (answer, columns) in answers(&running).await.iter().zip(columns) {
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let mut members = keys(answer);
        members.sort();
        assert_eq!(members, ["data", "finishedAt", "requestedAt", "spent", "sql"]);
        for row in answer["data"].as_array().unwrap() {
            let mut names = keys(row);
            names.sort();
            assert_eq!(names, columns);
            let text = |name: &&String| ["repo_name", "actor_login"].contains(&name.as_str());
            assert!(names.iter().all(|name| text(&name) == row[name].is_string()), "{row}");
        }
        assert_eq!(answer["requestedAt"], "2016-01-02T06:00:00Z");
        assert!(answer["spent"].is_number());
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_origins_may_read_them_as_far_as_origins_allow() {
    let origin = "https://live.ossinsight.io";
    for (origins, expected) in
        [(vec![], Some("*")), (vec![origin], Some(origin)), (vec!["https://other.example"], None)]
    {
        let mut app = TestApp::new();
        app.config.server.origins = origins.iter().map(|origin| origin.to_string()).collect();
        let running = app.start(Source::None).await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        for (method, prefix, status) in
            [(Method::GET, "", StatusCode::OK), (Method::OPTIONS, "/websocket", StatusCode::NO_CONTENT)]
        {
            let url = format!("http://{}{prefix}/q/{}", running.public.unwrap(), QUERIES[0]);
            let request = client.request(method, url).header(header::ORIGIN, origin);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), status);
            let allowed = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(allowed.map(|value| value.to_str().unwrap()), expected);
        }
        let unknown = format!("http://{}/q/live-time-nothing", running.public.unwrap());
        assert_eq!(client.get(unknown).send().await.unwrap().status(), StatusCode::NOT_FOUND);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_data_of_its_own_takes_the_last_24_hours_over_from_history() {
    let database = Database::new().await;
    let on_history = || {
        let mut app = TestApp::new();
        app.clock = Arc::new(ManualClock::new(NEXT_MORNING));
        app.live = true;
        app.config.disable.interval = true;
        database.configure(&mut app.config, true);
        app
    };
    let first = on_history();
    let file = pull_request_events(first.directory());
    let mut running = first.start(first.replay_of([file.clone()])).await;
    running.replayed().await.unwrap().unwrap();
    let expected = in_a_database(&answers(&running).await, &file);
    running.stop().await;
    let second = on_history();
    let running = second.start(Source::None).await;
    eventually("all of it", async || {
        answers(&running).await.iter().zip(&expected).all(|(answer, expected)| answer["data"] == *expected)
    })
    .await;
    running.stop().await;
}
