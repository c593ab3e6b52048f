//! The numbers of recorded and generated events: the known answers, and what an independent recount says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pulsehub::app::Source;
use pulsehub::clock::ManualClock;
use pulsehub::source::generate::{Generator, PayloadForm};
use pulsehub::source::replay::{ReplayOptions, Speed};
use serde_json::{Value, json};

use crate::support::{TestApp, eventually, shared, text, twelve_hours};

/// A moment of 2026 in Unix milliseconds.
const SOME_DAY_IN_2026: i64 = 1_780_000_000_000;
const HOUR_MILLIS: i64 = 3_600_000;

/// What `tests/oracle/recount.py` says of `files`. Without Python 3 the test fails.
pub async fn recount(year: i16, files: impl IntoIterator<Item = String>) -> Value {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/recount.py");
    let mut command = Command::new("python3");
    command.arg(program).args(["--year", &year.to_string(), "--languages"]).args(files);
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().expect("python3 must be installed: it runs the recount");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// An application that publishes again whatever comes again, and works on it with `concurrency` workers.
fn without_dedup(concurrency: u32) -> TestApp {
    let mut app = TestApp::new();
    app.config.dedup.window = "0s".parse().unwrap();
    app.config.pulsar.consumer.concurrency = concurrency;
    app
}

/// The recorded hours of 2015 and the excerpt of 2021.
fn other_years() -> [String; 3] {
    ["2015-01-01-1.json.gz", "2015-01-01-15.json.gz", "excerpt-2021-07-21.jsonl"]
        .map(|name| text(&shared(&format!("data/gharchive/{name}"))))
}

fn language_events(stats: &Value) -> u64 {
    stats["language"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

/// Writes `lines` to a new file in `directory`.
fn write_lines(directory: &Path, name: &str, lines: &[String]) -> String {
    let path = directory.join(name);
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    text(&path)
}

fn parsed(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_recorded_hours_give_the_known_answers_and_those_of_the_recount() {
    let app = TestApp::new();
    let (summary, expected) = tokio::join!(app.replay(twelve_hours()), recount(2016, twelve_hours()));
    assert_eq!((summary.files, summary.bad_files), (12, 0));
    assert_eq!(summary.submitted.published, 143_714);
    assert_eq!((summary.submitted.duplicates, summary.submitted.rejected), (0, 0));
    let stats = app.stats(2016).await;
    let day = json!({ "event": 5_041, "open": 2_733, "merge": 1_938, "close": 370, "dev": 2_440 });
    assert_eq!(stats["daily"], json!({ "2016-01-01": day }));
    let sum = json!({ "dev": 2_440, "repo": 2_439, "additions": 1_107_911, "deletions": 391_224 });
    assert_eq!(stats["sum"], sum);
    assert_eq!(language_events(&stats), 4_553);
    assert_eq!(stats, expected);
    assert_eq!(app.stats(2015).await["daily"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_given_twice_in_another_order_to_eight_workers_and_again_after_two_days_change_nothing() {
    let mut app = without_dedup(8);
    let clock = Arc::new(ManualClock::new(SOME_DAY_IN_2026));
    app.clock = clock.clone();
    let mut twice = [twelve_hours(), twelve_hours()].concat();
    fastrand::Rng::with_seed(49).shuffle(&mut twice);
    let (summary, expected) = tokio::join!(app.replay(twice), recount(2016, twelve_hours()));
    assert_eq!(summary.submitted.published, 2 * 143_714);
    assert_eq!(app.stats(2016).await, expected);

    clock.advance_millis(49 * HOUR_MILLIS);
    let summary = app.replay(twelve_hours()).await;
    assert_eq!(summary.submitted.published, 143_714);
    // Languages count by arrival: the former window has gone, and the new one has each event once.
    assert_eq!(app.stats(2016).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn remembered_events_are_not_published_again_within_the_window() {
    let app = TestApp::new();
    let hours = twelve_hours().split_off(10);
    let first = app.replay(hours.clone()).await;
    let stats = app.stats(2016).await;
    let again = app.replay(hours).await;
    assert_eq!((again.submitted.published, again.submitted.duplicates), (0, first.submitted.published));
    assert_eq!(app.stats(2016).await, stats);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_stopped_twice_and_started_again_gives_the_same_numbers() {
    let app = TestApp::new();
    let hours = || twelve_hours().into_iter().take(6);
    let (expected, events) = (recount(2016, hours()).await, "/daily/2016-01-01/event");
    let count = |stats: &Value| stats.pointer(events).and_then(Value::as_u64).unwrap_or(0);
    // First within a chunk, at a pace that would take ten minutes to the end; then with submissions under way.
    for speed in [Speed::Times(36.0), Speed::Max] {
        let Source::Replay(options) = app.replay_of(hours()) else { unreachable!() };
        let running = app.start(Source::Replay(ReplayOptions { speed, ..options })).await;
        let url = format!("http://{}/api/v1/stats?year=2016", running.admin);
        let before = if speed == Speed::Max { 200 } else { 0 };
        eventually("some events are counted", async || {
            count(&reqwest::get(&url).await.unwrap().json().await.unwrap()) > before
        })
        .await;
        running.stop().await;
        let stats = app.stats(2016).await;
        if speed != Speed::Max {
            assert!(count(&stats) < count(&expected), "the replay was stopped before its end");
        }
    }
    let summary = app.replay(hours()).await;
    assert!(summary.files <= 6 && summary.bad_files == 0);
    assert_eq!(app.stats(2016).await, expected);
    let again = app.replay(hours()).await;
    assert_eq!((again.files, again.submitted.published), (6, 0), "a replay that ended starts over");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trimmed_form_counts_merges_without_sizes_and_the_full_form_brings_the_rest_once() {
    let trimmed = text(&shared("data/trimmed/2016-01-01-3.trimmed.json.gz"));
    let full = text(&shared("data/gharchive/2016-01-01-3.json.gz"));
    let app = without_dedup(3);
    let summary = app.replay([trimmed.clone()]).await;
    assert_eq!((summary.submitted.published, summary.submitted.rejected), (11_954, 0));
    assert_eq!(dead_letters(&app), 0);
    let (stats, expected) = (app.stats(2016).await, recount(2016, [full.clone()]).await);
    assert_eq!(stats["daily"], expected["daily"], "the action `merged` counts as a merge");
    let numbers = |sum: &Value| (sum["additions"].clone(), sum["deletions"].clone());
    assert_eq!(numbers(&stats["sum"]), (json!(0), json!(0)));
    assert_eq!(stats["language"], json!({}));
    assert_eq!(stats, recount(2016, [trimmed.clone()]).await);

    app.replay([full.clone()]).await;
    assert_eq!(app.stats(2016).await, expected, "late sizes and languages are added once");
    app.replay([full, trimmed]).await;
    assert_eq!(app.stats(2016).await, expected);
}

/// Bytes in the log of dead letters.
fn dead_letters(app: &TestApp) -> u64 {
    let files = std::fs::read_dir(app.directory().join("dead-letter")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_of_other_years_equal_the_recount() {
    let app = TestApp::new();
    app.replay(other_years()).await;
    for (year, days) in [(2015, 1), (2021, 1), (2016, 0)] {
        let (stats, expected) = (app.stats(year).await, recount(year, other_years()).await);
        assert_eq!(stats["daily"].as_object().unwrap().len(), days, "{year}");
        assert_eq!(stats, expected, "{year}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_events_in_both_forms_shuffled_and_repeated_equal_the_recount() {
    // Two hours before the end of 2025: the events lie on both sides of a year's end.
    const START: i64 = 1_767_218_400;
    let events = |form| {
        let mut generator = Generator::new(8, 50_000_000_000, form);
        (0..3_000).map(|index| generator.event(START + index * 5).to_string()).collect::<Vec<_>>()
    };
    let (full, trimmed) = (events(PayloadForm::Full), events(PayloadForm::Trimmed));
    assert_ne!(full, trimmed);
    let directory = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(8);
    let mut shuffled = |name: &str, parts: &[&[String]]| {
        let mut lines = parts.concat();
        random.shuffle(&mut lines);
        write_lines(directory.path(), name, &lines)
    };
    // The same events in both forms: sizes and languages come late for some and early for others.
    let mixed = shuffled("mixed.json", &[&full, &trimmed, &full]);
    let (full, trimmed) =
        (shuffled("full.json", &[&full, &full]), shuffled("trimmed.json", &[&trimmed, &trimmed]));
    for (given, counted) in [(&full, &full), (&trimmed, &trimmed), (&mixed, &full)] {
        let app = without_dedup(8);
        app.replay([given.clone()]).await;
        for year in [2025, 2026] {
            let (stats, expected) = (app.stats(year).await, recount(year, [counted.clone()]).await);
            assert!(stats["sum"]["dev"].as_u64() > Some(50), "{year}: {stats}");
            assert_eq!(stats, expected, "{given}, {year}");
        }
    }
}

/// Damages `text` at some places: flips, cuts, blocks of NUL, parts put elsewhere.
fn damage(text: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..40) {
        let (at, other) = (random.usize(0..text.len()), random.usize(0..text.len()));
        let part = at..(at + random.usize(0..3_000)).min(text.len());
        match random.u8(0..6) {
            0 => text[at] = random.u8(..),
            1 => drop(text.drain(part)),
            2 => text[part].fill(0),
            3 => drop(text.splice(other..other, text[part].to_vec())),
            4 => text[part].iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' '),
            _ => drop(text.splice(at..at, *b"\r\nnull\n{}[]{\"id\":\"7\"}")),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_equal_the_recount() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(13);
    let files: Vec<String> = (0..40)
        .map(|file| {
            let form = if file % 2 == 0 { PayloadForm::Full } else { PayloadForm::Trimmed };
            let mut generator = Generator::new(file, 1_000_000 * file, form);
            let event = |index| format!("{}\n", generator.event(SOME_DAY_IN_2026 / 1_000 + index));
            let mut text = (0..200).map(event).collect::<String>().into_bytes();
            damage(&mut text, &mut random);
            let path = directory.path().join(format!("{file}.json"));
            std::fs::write(&path, text).unwrap();
            self::text(&path)
        })
        .collect();
    let app = without_dedup(3);
    let summary = app.replay(files.clone()).await;
    assert_eq!((summary.files, summary.bad_files), (40, 0));
    assert!(summary.submitted.rejected > 100, "{summary:?}");
    assert_eq!(app.stats(2026).await, recount(2026, files).await);
}

/// The recorded answers of the Events API by name, each as its events.
fn recorded_answers() -> BTreeMap<String, Vec<Value>> {
    let mut answers = BTreeMap::new();
    let files = |directory: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(shared(&format!("data/events_api/{directory}"))).unwrap();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
    };
    for path in files("hub4j-2019-pages") {
        if let Value::Array(page) = parsed(&path) {
            answers.insert(format!("hub4j {}", path.display()), page);
        }
    }
    let samples = files("one-per-type").iter().map(|path| parsed(path)).collect();
    answers.insert("one per type".to_owned(), samples);
    let lines = std::fs::read_to_string(shared("data/events_api/trimmed-2026/quoted-lines.jsonl")).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    answers.insert("trimmed 2026".to_owned(), lines);
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_answers_of_the_events_api_replay_and_equal_the_recount() {
    let directory = tempfile::tempdir().unwrap();
    let answers = recorded_answers();
    assert_eq!(answers.len(), 12);
    let files: Vec<String> = answers
        .values()
        .enumerate()
        .map(|(index, events)| {
            let lines: Vec<String> = events.iter().map(Value::to_string).collect();
            write_lines(directory.path(), &format!("{index}.jsonl"), &lines)
        })
        .collect();
    let app = TestApp::new();
    let summary = tokio::time::timeout(Duration::from_secs(30), app.replay(files.clone())).await.unwrap();
    assert_eq!((summary.files, summary.bad_files), (12, 0));
    let events: usize = answers.values().map(Vec::len).sum();
    let submitted = summary.submitted;
    assert_eq!(submitted.published + submitted.duplicates + submitted.rejected, events as u64);
    for year in [2017, 2018, 2019, 2020, 2021, 2022, 2023, 2024, 2025, 2026] {
        assert_eq!(app.stats(year).await, recount(year, files.clone()).await, "{year}");
    }
}
