//! Counts and languages: a snapshot and its differences make exactly the later snapshot.

use std::sync::Arc;

use pulsehub::clock::ManualClock;
use serde_json::{Map, Value, json};

use super::{Stream, World};
use crate::support::TestApp;
use crate::tap::{event, opened_in, pull_request};

/// 2026-06-15T12:00:00Z in milliseconds.
const NOON: i64 = 1_781_524_800_000;
const DAY: i64 = 24 * 60 * 60 * 1_000;

async fn at(clock: &Arc<ManualClock>, configure: impl FnOnce(&mut TestApp)) -> World {
    World::with(|app| {
        app.clock = clock.clone();
        app.config.interval.latest = "100ms".parse().unwrap();
        configure(app);
    })
    .await
}

/// What a client knows of one value, kept as the documentation tells it to.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    seq: u64,
    data: Value,
}

impl Known {
    fn of(snapshot: &Value) -> Self {
        assert_eq!(snapshot["type"], "snapshot");
        Self { seq: snapshot["seq"].as_u64().unwrap(), data: snapshot["data"].clone() }
    }

    fn take(&mut self, message: &Value) {
        if message["type"] == "snapshot" {
            return *self = Self::of(message);
        }
        assert_eq!(message["from"], self.seq, "it continues what was said before");
        self.seq = message["seq"].as_u64().unwrap();
        let data = message["data"].as_object().unwrap();
        if message["of"] == "languages" {
            let known = self.data["languages"].as_object_mut().unwrap();
            add(known, &data["languages"]);
            known.retain(|_, count| *count != 0);
            return;
        }
        for (day, numbers) in data["days"].as_object().unwrap() {
            let zero = json!({ "event": 0, "open": 0, "merge": 0, "close": 0, "dev": 0 });
            let known = self.data["days"].as_object_mut().unwrap().entry(day).or_insert(zero);
            add(known.as_object_mut().unwrap(), numbers);
        }
        add(self.data["sums"].as_object_mut().unwrap(), &data["sums"]);
        for name in ["today", "batch", "stale"] {
            self.data[name] = data[name].clone();
        }
    }
}

fn add(known: &mut Map<String, Value>, numbers: &Value) {
    for (name, number) in numbers.as_object().unwrap() {
        let before = known.get(name).and_then(Value::as_i64).unwrap_or(0);
        known.insert(name.clone(), (before + number.as_i64().unwrap()).into());
    }
}

fn both() -> Value {
    json!({ "events": false, "snapshots": ["counts", "languages"] })
}

/// Follows both values until they are what `expected` says.
async fn follow(stream: &mut Stream, known: &mut [Known; 2], expected: impl Fn(&[Known; 2]) -> bool) -> u32 {
    let mut differences = 0;
    while !expected(known) {
        let message = stream.next_of_any(&["snapshot", "difference"]).await;
        differences += u32::from(message["type"] == "difference");
        known[usize::from(message["of"] == "languages")].take(&message);
    }
    differences
}

async fn begin(world: &World) -> (Stream, [Known; 2]) {
    let (mut stream, _) = world.subscribe(both()).await;
    let counts = Known::of(&stream.next_of("snapshot").await);
    let languages = Known::of(&stream.next_of("snapshot").await);
    (stream, [counts, languages])
}

fn sum(known: &Known, name: &str) -> u64 {
    let days = known.data["days"].as_object().unwrap();
    days.values().map(|day| day[name].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_and_its_differences_equal_a_later_snapshot() {
    let clock = Arc::new(ManualClock::new(NOON));
    // The window is short, so that languages also leave it.
    let world = at(&clock, |app| app.config.interval.latest_during_s = 4).await;
    let (mut stream, mut known) = begin(&world).await;
    assert_eq!((sum(&known[0], "event"), &known[0].data["today"]), (0, &json!("2026-06-15")));
    let rounds = 12;
    for round in 0..rounds {
        let first = 1 + round * 10;
        let language = |id: u64| ["C", "Rust", "Go"][usize::try_from(id % 3).unwrap()];
        let mut events: Vec<_> = (first..first + 5).map(|id| opened_in(id, language(id))).collect();
        events.extend((first + 5..first + 8).map(|id| pull_request(id, "closed")));
        events.push(event(first + 8, "WatchEvent"));
        for event in &mut events {
            event["created_at"] = format!("2026-06-{:02}T11:00:00Z", 1 + round % 9).into();
        }
        world.tap.pour(&events);
        let target = (round + 1) * 8;
        assert!(follow(&mut stream, &mut known, |known| sum(&known[0], "event") == target).await > 0);
        // Another client that comes now, until both know the same version.
        let (mut other, mut late) = begin(&world).await;
        for value in 0..2 {
            while late[value].seq != known[value].seq {
                let (behind, of) = match late[value].seq < known[value].seq {
                    true => (&mut other, &mut late),
                    false => (&mut stream, &mut known),
                };
                let seq = of[value].seq;
                follow(behind, of, |of| of[value].seq > seq).await;
            }
            assert_eq!(known[value], late[value]);
        }
        clock.advance_millis(1_000);
    }
    clock.advance_millis(10_000);
    let languages = |known: &Known| known.data["languages"].as_object().unwrap().len();
    follow(&mut stream, &mut known, |known| languages(&known[1]) == 0).await;
    assert_eq!(known[0].data["days"].as_object().unwrap().len(), 10, "nine with data, and today");
    assert_eq!(known[0].data["sums"]["dev"], rounds * 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_and_the_events_behind_their_batch_make_the_later_counts() {
    let world = at(&Arc::new(ManualClock::new(NOON)), |_| {}).await;
    let opened = |ids: std::ops::Range<u64>| ids.map(|id| pull_request(id, "opened")).collect::<Vec<_>>();
    let asked = json!({ "fields": ["payload.open", "payload.devYear"], "snapshots": ["counts"] });
    let (mut early, _) = world.subscribe(asked.clone()).await;
    let nothing = Known::of(&early.next_of("snapshot").await);
    world.tap.pour(&opened(1..51));
    // In the middle of it.
    let mut known = [nothing.clone(), nothing];
    follow(&mut early, &mut known, |known| sum(&known[0], "open") > 0).await;
    let (mut stream, _) = world.subscribe(asked.clone()).await;
    let counts = Known::of(&stream.next_of("snapshot").await);
    let batch = counts.data["batch"].as_i64().unwrap();
    let (mut opened_then, mut people) = (sum(&counts, "open"), counts.data["sums"]["dev"].as_u64().unwrap());
    for id in 51..60 {
        world.tap.pour(&opened(id..id + 1));
    }
    // Cursors end with an index, so this one is behind all that is in the counts.
    let since =
        json!({ "fields": ["payload.open", "payload.devYear"], "since": format!("{batch}.{}", u32::MAX) });
    let (mut behind, _) = world.subscribe(since).await;
    while opened_then < 59 {
        let event = behind.next_of_any(&["event", "gap"]).await;
        let (seq, _) = event["cursor"].as_str().unwrap_or_else(|| panic!("{event}")).split_once('.').unwrap();
        assert!(seq.parse::<i64>().unwrap() > batch);
        opened_then += event["data"]["payload.open"].as_u64().unwrap();
        people += event["data"]["payload.devYear"].as_u64().unwrap();
    }
    let mut last = [counts.clone(), counts];
    follow(&mut stream, &mut last, |known| sum(&known[0], "open") >= 59).await;
    assert_eq!((sum(&last[0], "open"), &last[0].data["sums"]["dev"]), (opened_then, &json!(people)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_day_is_a_difference_and_a_new_year_a_snapshot() {
    let clock = Arc::new(ManualClock::new(NOON));
    let world = at(&clock, |_| {}).await;
    let (mut stream, mut known) = begin(&world).await;
    let zero = json!({ "event": 0, "open": 0, "merge": 0, "close": 0, "dev": 0 });
    assert_eq!(
        (&known[0].data["year"], &known[0].data["days"]),
        (&json!(2026), &json!({ "2026-06-15": zero }))
    );
    // A day without anything is not kept, and no difference tells of that.
    world.tap.pour(&[pull_request(1, "opened")]);
    follow(&mut stream, &mut known, |known| sum(&known[0], "event") == 1).await;
    clock.advance_millis(DAY);
    let differences =
        follow(&mut stream, &mut known, |known| known[0].data["days"]["2026-06-16"] == zero).await;
    assert!(differences > 0 && known[0].data["today"] == "2026-06-16", "{known:?}");
    clock.advance_millis(200 * DAY);
    follow(&mut stream, &mut known, |known| known[0].data["year"] == 2027).await;
    assert_eq!(known[0].data["days"], json!({ "2027-01-02": zero }));
}
