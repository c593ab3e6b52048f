//! A bit flipped anywhere in the embedded stores' files: found and said, never served.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use metrics_exporter_prometheus::PrometheusBuilder;
use pulsehub::broker::embedded::{EmbeddedBroker, LogOptions};
use pulsehub::broker::{BatchBuilder, Broker, Producer, Retry};
use pulsehub::clock::{Clock, ManualClock};
use pulsehub::dedup::Dedup;
use pulsehub::event::EventKey;
use pulsehub::state::State;
use pulsehub::storage::Storage;

use super::{NOW, copy, count_of, counted, directory, files, merged, messages, open_log, state_in};

const EVENTS: u64 = 8_000;
/// Bits of the log and of the database each.
const FLIPS: u64 = 100;

fn flip(path: &Path, random: &mut fastrand::Rng) -> usize {
    let mut bytes = std::fs::read(path).unwrap();
    let bit = random.usize(..bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    std::fs::write(path, bytes).unwrap();
    bit
}

#[tokio::test]
async fn a_hundred_flipped_bits_of_the_log_are_counted_and_none_is_served() {
    let (origin, mut random) = (directory(), fastrand::Rng::with_seed(7));
    let options = LogOptions { segment_bytes: 2_000, ..LogOptions::default() };
    let log = open_log(origin.path(), &options);
    for start in (0..600).step_by(10) {
        let mut batch = BatchBuilder::default();
        (start..start + 10).for_each(|number| batch.push(&[format!("message {number}").as_bytes()]));
        log.publish(batch.build()).await.unwrap();
    }
    let all = messages(&log);
    log.close();
    drop(log);
    let paths = files(origin.path());
    assert!(all.len() == 600 && paths.len() > 3, "{paths:?}");
    for round in 0..FLIPS {
        let flipped = directory();
        copy(origin.path(), flipped.path());
        let path = &files(flipped.path())[random.usize(..paths.len())];
        let bit = flip(path, &mut random);
        let recorder = PrometheusBuilder::new().build_recorder();
        let read = metrics::with_local_recorder(&recorder, || messages(&open_log(flipped.path(), &options)));
        let counted = recorder.handle().render();
        let found = counted.lines().any(|line| {
            let damaged = line.strip_prefix("pulsehub_log_damaged_records_total ");
            let cut = line.strip_prefix("pulsehub_log_truncated_bytes_total ");
            damaged.or(cut).is_some_and(|count| count != "0")
        });
        let what = format!("round {round}, {}, bit {bit}", path.display());
        assert!(found, "{what} was not counted:\n{counted}");
        assert!(read.iter().all(|message| all.contains(message)), "{what} was served");
        assert_eq!(read.len(), 590, "{what}: its own record is lost and no other");
    }
}

/// The rows of each table.
type Content = BTreeMap<String, Vec<(Vec<u8>, Vec<u8>)>>;

/// All that a database holds.
fn content(storage: &Storage) -> Result<Content, String> {
    let mut tables = BTreeMap::new();
    for name in storage.table_names() {
        let table = storage.table(&name).map_err(|error| error.to_string())?;
        let rows = table.range(..).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        tables.insert(name, rows);
    }
    Ok(tables)
}

async fn fill(directory: &Path) {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let storage = Storage::open_with_reserve(directory, 0).unwrap();
    let state = state_in(&storage);
    let broker = EmbeddedBroker::open(directory, &storage, LogOptions::default(), &clock).unwrap();
    let dedup = Dedup::open(&storage, clock, 3_600).unwrap();
    for start in (0..EVENTS).step_by(500) {
        state.apply((start..start + 500).map(merged).collect(), NOW + start as i64).await.unwrap();
        let keys: Vec<_> = (0..100).map(|id| EventKey { id: start as i64 + id, created_at: 1 }).collect();
        dedup.confirm(&keys).unwrap();
        // So much that some of it leaves the journal, so alike that little is stored.
        let retry = Retry {
            body: vec![b'x'; 1 << 20].into(),
            attempts: 1,
            not_before: NOW + 1,
            origin: "a:1".into(),
            is_extra: false,
        };
        broker.retry(vec![retry]).await.unwrap();
    }
    broker.close().await.unwrap();
}

/// What is served of a database: everything in it, the counters, and the counters after redeliveries. An error where
/// damage was found.
async fn served(directory: &Path) -> Result<(Content, [u64; 6]), String> {
    let storage = Storage::open_with_reserve(directory, 0).map_err(|error| format!("{error:?}"))?;
    let content = content(&storage)?;
    let state = pulsehub::state::embedded::EmbeddedState::open(&storage, 3_600)
        .map_err(|error| format!("{error:?}"))?;
    for start in (0..EVENTS).step_by(2_000) {
        let batch = (start..start + 20).map(merged).collect();
        state.apply(batch, NOW + EVENTS as i64).await.map_err(|error| format!("{error:?}"))?;
    }
    Ok((content, counted(&state).await))
}

#[tokio::test]
async fn a_hundred_flipped_bits_of_the_database_are_found_or_change_nothing_that_is_served() {
    let (origin, mut random) = (directory(), fastrand::Rng::with_seed(8));
    fill(origin.path()).await;
    let store = origin.path().join("store");
    let whole = served_copy(origin.path()).await.unwrap();
    assert_eq!(whole.1, count_of(EVENTS));
    // Files that hold something; the journal has most of what was written last, tables the rest.
    let paths: Vec<_> = files(&store)
        .into_iter()
        .filter(|path| !super::without_padding(path).is_empty())
        .map(|path| path.strip_prefix(origin.path()).unwrap().to_owned())
        .collect();
    let tables: Vec<_> = paths.iter().filter(|path| path.to_string_lossy().contains("/tables/")).collect();
    assert!(tables.len() > 1, "the database has flushed something: {paths:?}");
    let (mut found, mut harmless, mut panicked, mut silent) = (0, Vec::new(), Vec::new(), Vec::new());
    for round in 0..FLIPS {
        let flipped = directory();
        copy(origin.path(), flipped.path());
        let path = match round % 3 {
            0 => Path::new("store/0.jnl"),
            1 => tables[random.usize(..tables.len())].as_path(),
            _ => paths[random.usize(..paths.len())].as_path(),
        };
        let bit = flip(&flipped.path().join(path), &mut random);
        let what = format!("{} bit {bit}", path.display());
        match AssertUnwindSafe(served(flipped.path())).catch_unwind().await {
            Ok(Err(_)) => found += 1,
            Ok(Ok(served)) if served == whole => harmless.push(what),
            Ok(Ok(_)) => silent.push(what),
            Err(_) => panicked.push(what),
        }
    }
    println!("{found} found, {} harmless: {harmless:?}", harmless.len());
    assert!(panicked.is_empty(), "panicked: {panicked:?}");
    assert!(silent.is_empty(), "served: {silent:?}");
    assert!(found > FLIPS / 2, "{found}");
}

async fn served_copy(origin: &Path) -> Result<(Content, [u64; 6]), String> {
    let copied = directory();
    copy(origin, copied.path());
    served(copied.path()).await
}
