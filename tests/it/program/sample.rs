//! The sample: when it runs, what it moves, and what is said of it.

use serde_json::Value;
use tokio::time::timeout;

use super::{SOON, directory, entries, write};
use crate::process::{Process, command, get, run, stderr, stdout};
use crate::support::eventually;

/// Reads until something moves on each endpoint.
async fn assert_everything_moves(process: &mut Process) {
    let mut sampling = process.client("/sampling").await;
    let mut latest = process.client("/language/latest").await;
    let mut watch = process.client("/language/watch").await;
    sampling.send(r#"{"samplingRate":1}"#).await;
    latest.send("{}").await;
    watch.send("{}").await;
    assert_eq!(sampling.json().await["firstMessageTag"], true);
    let repo = sampling.json().await["event"]["repo"]["name"].as_str().unwrap().to_owned();
    assert!(repo.starts_with("sample-org/"), "{repo}");
    assert_eq!(watch.json().await["firstMessageTag"], true);
    assert!(!watch.json().await["additions"].as_object().unwrap().is_empty());
    while latest.json().await.as_object().unwrap().is_empty() {}
}

async fn source_of(process: &mut Process) -> (Value, String) {
    let url = format!("http://{}/api/v1/status", process.public().await);
    let response = get(&url).await;
    let header = response.headers()["x-pulsehub-source"].to_str().unwrap().to_owned();
    (response.json::<Value>().await.unwrap()["source"].clone(), header)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sample_moves_every_endpoint_and_says_what_it_is() {
    let directory = directory();
    let mut process = Process::start(command(directory.path(), &["run", "--sample", "always"]));
    timeout(SOON, assert_everything_moves(&mut process)).await.expect("something moves within 10 s");
    let (source, header) = source_of(&mut process).await;
    assert_eq!((source["kind"].as_str(), header.as_str()), (Some("sample"), "sample"));
    assert!(source["notes"][0].as_str().unwrap().contains("not being watched"), "{source}");
    assert_eq!(entries(&directory.path().join("data")), ["sample"], "a directory of its own");
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sample_takes_the_place_of_github_only_where_it_may() {
    let may = directory();
    // No flag at all would be `run`, too.
    let mut sample = command(may.path(), &["--sample", "auto"]);
    sample.env("PULSEHUB__GITHUB__BASEURL", "http://127.0.0.1:9/");
    let mut sample = Process::start(sample);
    timeout(SOON, assert_everything_moves(&mut sample)).await.expect("something moves within 10 s");
    assert_eq!(source_of(&mut sample).await.0["kind"], "sample");
    assert!(sample.log().contains("SAMPLE"), "{}", sample.log());

    let default = directory();
    write(default.path(), "config.yaml", include_str!("../../../config/config.yaml"));
    let configured = directory();
    write(configured.path(), "config.yaml", "log: {level: info}\n");
    let plain = directory();
    for (directory, token, sample, expected) in [
        (&default, None, "auto", "sample"),
        (&configured, None, "auto", "live"),
        (&plain, Some("ghp_0123"), "auto", "live"),
        (&plain, None, "never", "live"),
    ] {
        let mut command = command(directory.path(), &["run", "--sample", sample]);
        command.env("PULSEHUB__GITHUB__BASEURL", "http://127.0.0.1:9/");
        command.envs(token.map(|token| ("GITHUB_TOKEN", token)));
        let mut process = Process::start(command);
        let (source, header) = source_of(&mut process).await;
        assert_eq!((source["kind"].as_str(), header.as_str()), (Some(expected), expected), "{token:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_of_a_running_sample_are_the_samples() {
    let directory = directory();
    let mut process = Process::start(command(directory.path(), &["run", "--sample", "always"]));
    process.public().await;
    eventually("the sample's counters", async || {
        let output = run(directory.path(), &["stats"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
        !report["daily"].as_object().unwrap().is_empty() && stderr(&output).contains("sample")
    })
    .await;
    assert_eq!(entries(&directory.path().join("data")), ["sample"], "asking creates nothing");
}
