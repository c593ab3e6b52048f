//! The database's journal torn at any byte of what it was given last: redelivered in other batches, with another start in
//! between, all is counted once.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use pulsehub::broker::Broker;
use pulsehub::broker::Retry;
use pulsehub::broker::embedded::{EmbeddedBroker, LogOptions};
use pulsehub::clock::{Clock, ManualClock};
use pulsehub::mutation::Mutation;
use pulsehub::state::State;
use pulsehub::storage::{Storage, StorageError};

use super::{NOW, copy, count_of, counted, directory, merged, state_in, without_padding};

const JOURNAL: &str = "store/0.jnl";

fn open(directory: &Path) -> Storage {
    Storage::open_with_reserve(directory, 0).unwrap()
}

/// What a crash does to the last bytes of a journal.
#[derive(Debug, Clone, Copy)]
enum Tear {
    /// They are gone.
    Short(usize),
    /// The room for them is there, without them.
    Zeros(usize),
    /// One block of them is not there, those behind it are.
    Hole(usize),
}

impl Tear {
    fn apply(self, whole: &[u8], from: usize) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        match self {
            Self::Short(at) => bytes.truncate(at),
            Self::Zeros(at) => bytes[at..].fill(0),
            Self::Hole(at) => bytes[at.max(from)..(at + 64).min(whole.len() - 1)].fill(0),
        }
        bytes
    }
}

async fn apply(directory: &Path, batches: &[&[Mutation]]) -> [u64; 6] {
    let state = state_in(&open(directory));
    for batch in batches {
        state.apply(batch.to_vec(), NOW).await.unwrap();
    }
    counted(&state).await
}

#[tokio::test]
async fn five_hundred_torn_journals_neither_lose_nor_double_anything() {
    let origin = directory();
    let (first, second): (Vec<_>, Vec<_>) = ((0..20).map(merged).collect(), (20..40).map(merged).collect());
    assert_eq!(apply(origin.path(), &[&first]).await, count_of(20));
    let journal = origin.path().join(JOURNAL);
    let start = without_padding(&journal).len();
    assert_eq!(apply(origin.path(), &[&second]).await, count_of(40));
    let whole = without_padding(&journal);
    let length = whole.len() - start;
    // Each of the last 200 bytes, and as many as that again and half over all of the commit, each way.
    let mut tears: Vec<Tear> = (whole.len() - 200..whole.len()).map(Tear::Short).collect();
    tears.extend((0..150).map(|index| Tear::Zeros(start + length * index / 150)));
    tears.extend((0..150).map(|index| Tear::Hole(start + length * index / 150)));
    assert!(tears.len() >= 500);
    for tear in tears {
        let torn = directory();
        copy(origin.path(), torn.path());
        std::fs::write(torn.path().join(JOURNAL), tear.apply(&whole, start)).unwrap();
        let after = apply(torn.path(), &[]).await;
        assert_eq!(after, count_of(20), "{tear:?}: a commit is there as a whole or not at all");
        // What was not settled comes again, in other batches, with a start in between.
        apply(torn.path(), &[&second[..7]]).await;
        assert_eq!(apply(torn.path(), &[&second[5..], &second[..7]]).await, count_of(40), "{tear:?}");
        assert_eq!(apply(torn.path(), &[&first]).await, count_of(40), "{tear:?}, third start");
    }
}

#[tokio::test]
async fn a_database_that_was_left_before_its_first_commit_opens_after_it() {
    let directory = tempfile::tempdir().unwrap();
    for table in ["a", "b"] {
        open(directory.path()).table(table).unwrap();
    }
    let one: &[Mutation] = &[merged(1)];
    assert_eq!(apply(directory.path(), &[one]).await, count_of(1));
    assert_eq!(apply(directory.path(), &[one]).await, count_of(1));
}

#[tokio::test]
async fn a_database_whose_creation_was_cut_short_begins_anew() {
    for files in [&[][..], &["lock"], &["lock", "0.jnl"], &["lock", "0.jnl", "version"]] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("store/keyspaces")).unwrap();
        for file in files {
            std::fs::write(directory.path().join("store").join(file), []).unwrap();
        }
        let one: &[Mutation] = &[merged(1)];
        assert_eq!(apply(directory.path(), &[one]).await, count_of(1), "{files:?}");
        // What is whole stays.
        assert_eq!(apply(directory.path(), &[one]).await, count_of(1), "{files:?}");
    }
}

/// What stands behind a synced commit proves that it was synced: damage before it is no torn tail.
#[tokio::test]
async fn damage_before_what_was_synced_is_not_taken_for_a_torn_tail() {
    let origin = directory();
    let events: Vec<Vec<_>> =
        (0..3).map(|batch| (batch * 20..batch * 20 + 20).map(merged).collect()).collect();
    let mut ends = Vec::new();
    for batch in &events {
        apply(origin.path(), &[batch]).await;
        ends.push(without_padding(&origin.path().join(JOURNAL)).len());
    }
    let whole = without_padding(&origin.path().join(JOURNAL));
    for byte in (ends[0]..ends[1]).step_by(11).chain(ends[1] - 60..ends[1]) {
        let torn = directory();
        copy(origin.path(), torn.path());
        let mut flipped = whole.clone();
        flipped[byte] ^= 1 << (byte % 8);
        std::fs::write(torn.path().join(JOURNAL), &flipped).unwrap();
        let refused = Storage::open_with_reserve(torn.path(), 0)
            .err()
            .unwrap_or_else(|| panic!("byte {byte} is damaged"));
        assert!(matches!(refused, StorageError::Damaged { .. }), "byte {byte}: {refused:?}");
        assert_eq!(std::fs::read(torn.path().join(JOURNAL)).unwrap(), flipped, "it is left as it was");
    }
}

/// All of a journal is synced before the next one is begun, also what was written to it without a sync of its own.
#[test]
fn damage_at_the_end_of_a_journal_that_has_a_next_one_is_no_torn_tail() {
    let origin = directory();
    let journal = origin.path().join(JOURNAL);
    let mut ends = Vec::new();
    for durable in [true, false, true] {
        let storage = open(origin.path());
        let table = storage.table("a").unwrap();
        let mut transaction = storage.transaction();
        transaction.insert(&table, b"key", &[7; 50]);
        if durable { transaction.commit_durable() } else { transaction.commit() }.unwrap();
        drop((table, storage));
        ends.push(without_padding(&journal).len());
    }
    let whole = without_padding(&journal);
    let (first, next) = whole.split_at(ends[1]);
    std::fs::write(origin.path().join("store/1.jnl"), next).unwrap();
    for byte in ends[0]..ends[1] {
        let mut flipped = first.to_vec();
        flipped[byte] ^= 1 << (byte % 8);
        std::fs::write(&journal, &flipped).unwrap();
        let refused = Storage::open_with_reserve(origin.path(), 0).err();
        assert!(matches!(refused, Some(StorageError::Damaged { .. })), "byte {byte}: {refused:?}");
        assert_eq!(std::fs::read(&journal).unwrap(), flipped, "it is left as it was");
    }
}

#[tokio::test]
async fn a_torn_retry_is_there_as_a_whole_or_not_at_all_and_those_before_it_stay() {
    let origin = directory();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let retry = |body: &'static [u8]| Retry {
        body: Bytes::from_static(body),
        attempts: 1,
        not_before: NOW,
        origin: "file:1".into(),
        is_extra: false,
    };
    let broker = |directory: &Path| {
        EmbeddedBroker::open(directory, &open(directory), LogOptions::default(), &clock).unwrap()
    };
    let journal = origin.path().join(JOURNAL);
    let first = broker(origin.path());
    first.retry(vec![retry(b"one")]).await.unwrap();
    drop(first);
    let start = without_padding(&journal).len();
    let second = broker(origin.path());
    second.retry(vec![retry(b"two"), retry(b"three")]).await.unwrap();
    drop(second);
    let whole = without_padding(&journal);
    for cut in start..whole.len() {
        let torn = directory();
        copy(origin.path(), torn.path());
        std::fs::write(torn.path().join(JOURNAL), &whole[..cut]).unwrap();
        let after = broker(torn.path());
        assert_eq!(after.backlog().await.unwrap(), 1, "cut at {cut}");
        after.retry(vec![retry(b"two"), retry(b"three")]).await.unwrap();
        drop(after);
        let again = broker(torn.path());
        let mut consumer = again.consumer().await.unwrap();
        let received = consumer.receive(10).await.unwrap();
        let bodies: Vec<_> = received.iter().map(|message| &message.payload[..]).collect();
        assert_eq!(bodies, [&b"one"[..], b"two", b"three"], "cut at {cut}");
    }
}
