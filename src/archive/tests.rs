//! Hours written, torn, gone on with, closed, and removed.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::hour::Hour;
use super::lost::Lost;
use super::open_hour::{OpenHour, closed_path, manifest_path, open_path};
use super::{Recorder, Settings, open, recover, retention};
use crate::alert::{Alerts, Limits, Routes};
use crate::clock::{Clock, ManualClock};
use crate::shutdown::{self, Trigger};

/// 2026-11-18T11:06:40Z
const START: i64 = 1_795_000_000;
const NAME: &str = "2026-11-18-11";
const KEEP: Duration = Duration::from_secs(100 * 3_600);

fn hour() -> Hour {
    Hour::of(START)
}

fn lines(ids: std::ops::Range<u64>) -> String {
    ids.map(|id| format!("{{\"id\":\"{id}\",\"type\":\"WatchEvent\",\"noise\":\"{:x}\"}}\n", id.pow(3)))
        .collect()
}

fn text(path: &Path) -> String {
    let mut text = String::new();
    MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn parsed(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "lock");
    names.sort();
    names
}

#[test]
fn a_closed_hour_is_gzip_lines_beside_a_manifest_that_is_true() {
    let directory = tempfile::tempdir().unwrap();
    let mut open = OpenHour::open(directory.path(), hour()).unwrap();
    open.write(6, lines(0..10).as_bytes()).unwrap();
    open.write(7, lines(10..15).as_bytes()).unwrap();
    open.write(59, b"{\"type\":\"PushEvent\"}\n").unwrap();
    open.close(3, Some(json!({ "captured": 97.5 }))).unwrap();
    assert_eq!(names(directory.path()), [format!("{NAME}.json.gz"), format!("{NAME}.manifest.json")]);
    let file = closed_path(directory.path(), hour());
    let expected = lines(0..15) + "{\"type\":\"PushEvent\"}\n";
    assert_eq!(text(&file), expected);
    let manifest = parsed(&manifest_path(directory.path(), hour()));
    let digest = ring::digest::digest(&ring::digest::SHA256, &std::fs::read(&file).unwrap());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(manifest["sha256"], digest);
    assert_eq!(manifest["bytes"], file.metadata().unwrap().len());
    assert_eq!(
        (&manifest["file"], &manifest["hour"]),
        (&json!(format!("{NAME}.json.gz")), &json!("2026-11-18T11:00:00Z"))
    );
    assert_eq!((&manifest["events"], &manifest["textBytes"]), (&json!(16), &json!(expected.len())));
    assert_eq!(manifest["types"], json!({ "PushEvent": 1, "WatchEvent": 15 }));
    let minutes = &manifest["minutes"]["WatchEvent"];
    assert_eq!((minutes.as_array().unwrap().len(), &minutes[6], &minutes[7]), (60, &json!(10), &json!(5)));
    assert_eq!((&manifest["lost"], &manifest["resumed"]), (&json!(3), &json!(0)));
    assert_eq!(manifest["coverage"]["captured"], 97.5);
}

#[test]
fn an_hour_without_events_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    OpenHour::open(directory.path(), hour()).unwrap().close(0, None).unwrap();
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn after_a_crash_the_hour_goes_on_behind_its_last_flush() {
    let directory = tempfile::tempdir().unwrap();
    let mut open = OpenHour::open(directory.path(), hour()).unwrap();
    open.write(6, lines(0..1_000).as_bytes()).unwrap();
    open.write(7, lines(1_000..2_000).as_bytes()).unwrap();
    open.flush().unwrap();
    open.write(7, lines(2_000..2_010).as_bytes()).unwrap();
    open.crash();
    let mut open = OpenHour::open(directory.path(), hour()).unwrap();
    open.write(9, lines(3_000..3_001).as_bytes()).unwrap();
    open.close(0, None).unwrap();
    assert_eq!(text(&closed_path(directory.path(), hour())), lines(0..2_000) + &lines(3_000..3_001));
    let manifest = parsed(&manifest_path(directory.path(), hour()));
    let minutes = &manifest["minutes"]["WatchEvent"];
    assert_eq!([&minutes[6], &minutes[7], &minutes[9]], [&json!(1_000), &json!(1_000), &json!(1)]);
    assert_eq!(manifest["resumed"], 1);
}

#[test]
fn a_closed_hour_is_opened_again_when_the_clock_steps_back() {
    let directory = tempfile::tempdir().unwrap();
    for part in 0..3 {
        let mut open = OpenHour::open(directory.path(), hour()).unwrap();
        open.write(5, lines(part..part + 1).as_bytes()).unwrap();
        open.close(0, None).unwrap();
    }
    assert_eq!(text(&closed_path(directory.path(), hour())), lines(0..3));
    std::fs::write(open_path(directory.path(), hour()), "another").unwrap();
    assert!(OpenHour::open(directory.path(), hour()).unwrap_err().to_string().contains("twice"));
    assert_eq!(text(&closed_path(directory.path(), hour())), lines(0..3));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn wherever_the_file_is_torn_whole_lines_stay_and_writing_goes_on(
        members in prop::collection::vec(1_u64..300, 1..5),
        cut in 0.0_f64..1.0,
        garbage in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let directory = tempfile::tempdir().unwrap();
        // Each member is flushed in its middle.
        let (mut open, mut id) = (OpenHour::open(directory.path(), hour()).unwrap(), 0);
        let path = open_path(directory.path(), hour());
        // Where each flush and each member ends in the file, and the events before that.
        let mut ends = vec![(0, 0)];
        for (minute, count) in members.iter().enumerate() {
            open.write(minute, lines(id..id + count / 2).as_bytes()).unwrap();
            open.flush().unwrap();
            ends.push((path.metadata().unwrap().len(), id + count / 2));
            open.write(minute, lines(id + count / 2..id + count).as_bytes()).unwrap();
            open.finish_member().unwrap();
            id += count;
            ends.push((path.metadata().unwrap().len(), id));
        }
        drop(open);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = (cut * bytes.len() as f64) as usize;
        bytes.truncate(at);
        bytes.extend(&garbage);
        std::fs::write(&path, &bytes).unwrap();

        let whole = ends.iter().rev().find(|(end, _)| *end <= at as u64).unwrap().1;
        let mut open = OpenHour::open(directory.path(), hour()).unwrap();
        open.write(30, lines(9_000..9_002).as_bytes()).unwrap();
        open.close(0, None).unwrap();
        let text = text(&closed_path(directory.path(), hour()));
        let events = text.lines().count() as u64 - 2;
        prop_assert_eq!(events, whole, "neither less nor what garbage makes of it");
        prop_assert!(text.starts_with(&lines(0..whole)));
        prop_assert!(text.ends_with(&lines(9_000..9_002)));
        prop_assert_eq!(&parsed(&manifest_path(directory.path(), hour()))["events"], &json!(events + 2));
    }
}

#[test]
fn a_torn_end_is_read_without_being_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = open_path(directory.path(), hour());
    let mut open = OpenHour::open(directory.path(), hour()).unwrap();
    open.write(3, lines(0..500).as_bytes()).unwrap();
    open.finish_member().unwrap();
    open.write(4, lines(500..900).as_bytes()).unwrap();
    open.flush().unwrap();
    open.crash();
    let before = std::fs::read(&path).unwrap();
    let found = recover::read(&path, hour()).unwrap();
    assert_eq!((found.tally.events(), found.tail_minute), (500, 4));
    assert_eq!(String::from_utf8(found.tail).unwrap(), lines(500..900));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn only_old_hours_with_a_manifest_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in
        ["2026-11-01-1.json.gz", "2026-11-01-1.manifest.json", "2026-11-01-2.json.gz", "notes.json.gz"]
    {
        std::fs::write(path(name), "").unwrap();
    }
    for name in [format!("{NAME}.json.gz"), format!("{NAME}.manifest.json")] {
        std::fs::write(path(&name), "").unwrap();
    }
    retention::trim(directory.path(), KEEP, START + 3_600).unwrap();
    let left = names(directory.path());
    assert_eq!(
        left,
        ["2026-11-01-2.json.gz", "2026-11-18-11.json.gz", "2026-11-18-11.manifest.json", "notes.json.gz"]
    );
    retention::trim(directory.path(), KEEP, START + 200 * 3_600).unwrap();
    assert_eq!(names(directory.path()).len(), 2);
}

/// A writer at work.
struct Writing {
    recorder: Option<Recorder>,
    clock: Arc<ManualClock>,
    thread: std::thread::JoinHandle<()>,
    trigger: Trigger,
}

impl Writing {
    fn start(directory: &Path, at: i64, reserve: u64) -> Self {
        let clock = Arc::new(ManualClock::new(at * 1_000));
        let limits = Limits { tolerance: 0, within: Duration::ZERO, pause: Duration::ZERO };
        let routes = watch::channel(Routes { limits, lark: None, webhook: None }).1;
        let alerts = Arc::new(Alerts::new(routes, clock.clone()));
        let settings = Settings {
            directory: directory.to_owned(),
            keep: KEEP,
            reserve,
            tick: Duration::from_millis(10),
            coverage: Arc::new(|| Some(json!({ "captured": 99.0 }))),
        };
        let (recorder, writer) = open(settings, clock.clone(), alerts).unwrap();
        let (trigger, shutdown) = shutdown::channel();
        let thread = std::thread::spawn(move || writer.run(&shutdown));
        Self { recorder: Some(recorder), clock, thread, trigger }
    }

    fn record(&self, ids: std::ops::Range<u64>) {
        self.recorder.as_ref().unwrap().record(lines(ids).lines());
    }

    fn stop(mut self) {
        self.recorder = None;
        self.trigger.trigger();
        self.thread.join().unwrap();
    }
}

/// Waits until `state` holds; panics with `what` after 20 s.
fn eventually(what: &str, mut state: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !state() {
        assert!(began.elapsed().as_secs() < 20, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_hour_is_closed_when_it_is_over_also_when_nothing_comes_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let writing = Writing::start(directory.path(), START, 0);
    writing.record(0..100);
    writing.clock.advance_millis(60_000);
    writing.record(100..150);
    eventually("the open file", || open_path(directory.path(), hour()).exists());
    writing.clock.advance_millis(3_600_000);
    eventually("the closed file", || closed_path(directory.path(), hour()).exists());
    assert_eq!(text(&closed_path(directory.path(), hour())), lines(0..150));
    let manifest = parsed(&manifest_path(directory.path(), hour()));
    assert_eq!((&manifest["events"], &manifest["coverage"]["captured"]), (&json!(150), &json!(99.0)));
    let minutes = &manifest["minutes"]["WatchEvent"];
    assert_eq!((&minutes[6], &minutes[7]), (&json!(100), &json!(50)));
    writing.stop();
}

#[test]
fn a_restart_within_the_hour_goes_on_and_one_after_it_closes_what_was_left() {
    let directory = tempfile::tempdir().unwrap();
    for part in 0..3 {
        let writing = Writing::start(directory.path(), START + 60 * part, 0);
        let part = u64::try_from(part).unwrap();
        writing.record(100 * part..100 * (part + 1));
        writing.stop();
        assert_eq!(names(directory.path()), [format!("{NAME}.json.gz.open")]);
    }
    let writing = Writing::start(directory.path(), START + 7_200, 0);
    eventually("the closed file", || closed_path(directory.path(), hour()).exists());
    assert_eq!(text(&closed_path(directory.path(), hour())), lines(0..300));
    assert_eq!(parsed(&manifest_path(directory.path(), hour()))["resumed"], 2);
    writing.stop();
}

#[test]
fn hours_go_on_while_the_clock_steps_back() {
    let directory = tempfile::tempdir().unwrap();
    let writing = Writing::start(directory.path(), START, 0);
    writing.record(0..5);
    eventually("the open file", || open_path(directory.path(), hour()).exists());
    writing.clock.advance_millis(-7_200_000);
    writing.record(5..9);
    writing.clock.advance_millis(7_200_000 + 3_600_000);
    eventually("the closed file", || closed_path(directory.path(), hour()).exists());
    assert_eq!(text(&closed_path(directory.path(), hour())), lines(0..9));
    assert_eq!(names(directory.path()).len(), 2);
    writing.stop();
}

#[test]
fn an_hour_that_cannot_be_closed_is_closed_later_with_all_that_was_lost_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let writing = Writing::start(directory.path(), START, 0);
    writing.record(0..5);
    eventually("the open file", || open_path(directory.path(), hour()).exists());
    // More than the writer takes at once.
    let long = "x".repeat(super::QUEUED_BYTES);
    writing.recorder.as_ref().unwrap().record([long.as_str(), "{}"]);
    drop(long);
    let in_the_way = closed_path(directory.path(), hour());
    std::fs::create_dir(&in_the_way).unwrap();
    std::fs::write(in_the_way.join("something"), "").unwrap();
    writing.clock.advance_millis(3_600_000);
    // The last that is written before the file takes its name.
    eventually("the manifest", || manifest_path(directory.path(), hour()).exists());
    writing.record(5..9);
    let next = open_path(directory.path(), hour().next());
    eventually("the next hour", || next.exists());
    std::fs::remove_dir_all(&in_the_way).unwrap();
    eventually("the closed file", || in_the_way.is_file());
    assert_eq!(text(&in_the_way), lines(0..5));
    let manifest = parsed(&manifest_path(directory.path(), hour()));
    assert_eq!((&manifest["events"], &manifest["lost"]), (&json!(5), &json!(2)));
    writing.clock.advance_millis(3_600_000);
    let next = manifest_path(directory.path(), hour().next());
    eventually("the next manifest", || next.exists());
    assert_eq!((&parsed(&next)["events"], &parsed(&next)["lost"]), (&json!(4), &json!(0)));
    writing.stop();
}

#[test]
fn one_bad_hour_keeps_neither_later_ones_open_nor_old_ones_from_leaving() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["2026-11-01-1.json.gz", "2026-11-01-1.manifest.json"] {
        std::fs::write(path(name), "").unwrap();
    }
    // There twice.
    for name in ["2026-11-18-9.json.gz", "2026-11-18-9.json.gz.open"] {
        std::fs::write(path(name), "").unwrap();
    }
    let mut open = OpenHour::open(directory.path(), hour()).unwrap();
    open.write(6, lines(0..10).as_bytes()).unwrap();
    open.finish_member().unwrap();
    drop(open);
    let writing = Writing::start(directory.path(), START + 3_600, 0);
    eventually("the later hour is closed", || closed_path(directory.path(), hour()).exists());
    eventually("the old hour has left", || !path("2026-11-01-1.manifest.json").exists());
    writing.record(10..20);
    eventually("the open file", || open_path(directory.path(), hour().next()).exists());
    assert!(path("2026-11-18-9.json.gz.open").exists());
    writing.stop();
}

#[test]
fn what_was_stamped_in_an_hour_that_is_closed_goes_into_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let writing = Writing::start(directory.path(), START, 0);
    writing.record(0..5);
    eventually("the open file", || open_path(directory.path(), hour()).exists());
    writing.clock.advance_millis(3_600_000);
    eventually("the closed file", || closed_path(directory.path(), hour()).exists());
    writing.clock.advance_millis(-3_600_000);
    writing.record(5..9);
    eventually("the next hour", || open_path(directory.path(), hour().next()).exists());
    writing.clock.advance_millis(7_200_000);
    eventually("the next manifest", || manifest_path(directory.path(), hour().next()).exists());
    eventually("the next closed file", || closed_path(directory.path(), hour().next()).exists());
    assert_eq!(text(&closed_path(directory.path(), hour())), lines(0..5));
    assert_eq!(text(&closed_path(directory.path(), hour().next())), lines(5..9));
    writing.stop();
}

#[test]
fn a_full_disk_costs_the_archive_its_events_and_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let writing = Writing::start(directory.path(), START, u64::MAX);
    for part in 0..1_000 {
        writing.record(part..part + 1);
    }
    writing.stop();
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn what_the_writer_is_too_slow_for_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START * 1_000));
    let (sender, receiver) = std::sync::mpsc::sync_channel(2);
    let recorder = Recorder { sender, queued: Arc::default(), lost: Lost::default(), clock };
    for _ in 0..5 {
        recorder.record(["{}"]);
    }
    recorder.record([]);
    assert_eq!(receiver.try_iter().count(), 2);
    assert_eq!((recorder.queued.load(Ordering::Relaxed), recorder.lost.of(hour())), (6, 3));
    let long = "x".repeat(super::QUEUED_BYTES);
    recorder.record([long.as_str()]);
    assert_eq!((receiver.try_iter().count(), recorder.lost.of(hour())), (0, 4));
    recorder.record(["{\n\"a\":\r\n1}"]);
    assert_eq!(receiver.recv().unwrap().lines, b"{ \"a\":  1}\n");
    drop(directory);
}

#[test]
fn a_directory_has_one_writer() {
    let directory: TempDir = tempfile::tempdir().unwrap();
    let writing = Writing::start(directory.path(), START, 0);
    let refused = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let started = std::panic::catch_unwind(|| Writing::start(directory.path(), START, 0));
            refused.store(started.is_err(), Ordering::Relaxed);
        });
    });
    assert!(refused.load(Ordering::Relaxed));
    writing.stop();
}
