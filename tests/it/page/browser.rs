//! The dashboard in a real Chromium. What each scenario does stands in `tests/browser/scenarios`; screenshots go to
//! target/screenshots.

use std::sync::Arc;

use pulsehub::clock::ManualClock;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::scenario::Scenario;
use crate::process::{Process, command};
use crate::support::TestApp;
use crate::tap::{Tap, event, opened_in, pull_request};

/// 2026-06-15T12:00:00Z in milliseconds.
const NOON: i64 = 1_781_524_800_000;
/// 2026-12-31T23:50:00Z in milliseconds.
const LAST_EVENING: i64 = 1_798_761_000_000;
/// 2027-01-03T00:05:00Z in milliseconds.
const THIRD_OF_JANUARY: i64 = 1_798_934_700_000;

/// The program with its sample.
async fn sample() -> (TempDir, Process, String) {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(command(directory.path(), &["run", "--sample", "always"]));
    let address = process.public().await;
    (directory, process, address)
}

async fn holds(scenario: &str) {
    let (_directory, _process, address) = sample().await;
    Scenario::start(scenario, &format!("http://{address}/")).await.passes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_numbers_are_there_within_a_second_of_the_first_byte_and_the_page_is_small() {
    holds("first").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_themes_are_accessible_and_the_readers_choice_lasts() {
    holds("themes").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_shows_everything_in_one_column_and_nothing_moves_where_that_is_not_liked() {
    holds("phone").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_change_what_is_shown_on_the_same_connection_and_stand_in_the_address() {
    holds("filters").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_on_the_page_is_reached_and_used_by_keyboard_alone() {
    holds("keyboard").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_base_path_the_page_works_the_same() {
    let (_directory, _process, address) = sample().await;
    Scenario::start("themes", &format!("http://{address}/websocket")).await.passes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_that_the_server_is_away_and_comes_back_by_itself() {
    let (directory, mut process, address) = sample().await;
    let port = address.rsplit_once(':').unwrap().1.to_owned();
    let mut scenario = Scenario::start("reconnect", &format!("http://{address}/")).await;
    assert_eq!(scenario.line().await, "stop");
    process.signal("TERM");
    assert!(process.ended().await.success(), "{}", process.log());
    scenario.answer("stopped").await;
    assert_eq!(scenario.line().await, "start");
    let mut again = command(directory.path(), &["run", "--sample", "always"]);
    again.env("PULSEHUB__SERVER__PORT", port);
    let mut process = Process::start(again);
    assert_eq!(process.public().await, address);
    scenario.answer("started").await;
    scenario.passes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_filters_lost_events_and_another_version_leave_the_page_counting() {
    holds("stream").await;
}

/// A pull request opened at `time`, of a repository and in a language.
fn opened_at(id: u64, time: &str, repo: &str) -> Value {
    let mut event = opened_in(id, "Rust");
    event["created_at"] = json!(time);
    event["repo"] = json!({ "id": repo.len(), "name": repo });
    event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_left_open_goes_on_after_an_empty_race_under_a_click_and_past_the_new_year() {
    let tap = Tap::new().await;
    let mut app = TestApp::new();
    let clock = Arc::new(ManualClock::new(LAST_EVENING));
    app.clock = clock.clone();
    app.config.interval.latest_during_s = 60;
    let running = tap.start(&mut app).await;
    let mut scenario = Scenario::start("wall", &format!("http://{}/", running.public.unwrap())).await;
    assert_eq!(scenario.line().await, "begin");
    tap.pour(&[
        opened_at(1, "2026-12-30T23:58:00Z", "owner/repo1"),
        opened_at(2, "2026-12-31T23:49:50Z", "owner/repo1"),
    ]);
    scenario.answer("begun").await;
    assert_eq!(scenario.line().await, "nothing for five minutes");
    clock.advance_millis(5 * 60_000);
    scenario.answer("they are over").await;
    assert_eq!(scenario.line().await, "go on");
    tap.pour(&[3, 4, 5].map(|id| opened_at(id, "2026-12-31T23:54:50Z", "owner/busy")));
    scenario.answer("it does").await;
    assert_eq!(scenario.line().await, "new year");
    clock.advance_millis(THIRD_OF_JANUARY - (LAST_EVENING + 5 * 60_000));
    tap.pour(&[opened_at(6, "2027-01-03T00:04:50Z", "owner/new")]);
    scenario.answer("happy").await;
    scenario.passes().await;
    running.stop().await;
}

/// Events with names that nobody on GitHub can have, and everybody else may send.
fn hostile() -> Vec<Value> {
    let names = [
        "<script>window.hacked=1</script>/x",
        "<img src=x onerror=window.hacked=1>/x",
        "owner/\u{202e}gpj.exe\u{2066}\u{200b}",
        "owner/\u{0}\u{7}\u{1b}[31m\n\t\u{85}",
        "javascript:alert(1)/x",
        "owner/..%2f\"onclick=\"window.hacked=1",
    ];
    let long = "x".repeat(100 << 10);
    let names =
        names.iter().map(|name| name.to_string()).chain([format!("owner/{long}"), "real/one".to_owned()]);
    let named = |(id, name): (u64, String)| {
        let mut event = pull_request(id, "opened");
        event["repo"]["name"] = json!(name);
        event["actor"]["login"] = json!(name.replace("owner/", ""));
        event["payload"]["pull_request"]["base"]["repo"]["language"] = json!(match id {
            1 => "constructor",
            2 => "__proto__",
            _ => "<b>Language</b>\u{202e}",
        });
        event
    };
    (1..).zip(names).map(named).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_are_text_on_the_page_and_never_markup() {
    let tap = Tap::new().await;
    let mut app = TestApp::new();
    app.clock = Arc::new(ManualClock::new(NOON));
    let running = tap.start(&mut app).await;
    let url = format!("http://{}/", running.public.unwrap());
    let mut scenario = Scenario::start("hostile", &url).await;
    assert_eq!(scenario.line().await, "pour");
    let events = hostile();
    tap.pour(&events);
    tap.pour(&[opened_in(100, "Rust"), event(101, "constructor")]);
    let names: Vec<&Value> = events.iter().map(|event| &event["repo"]["name"]).collect();
    scenario.answer(&json!(names).to_string()).await;
    scenario.passes().await;
    running.stop().await;
}
