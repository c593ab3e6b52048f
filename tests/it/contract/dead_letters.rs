//! What `Broker` promises of dead letters: kept byte for byte, listed, removed, replayed.

use std::sync::Arc;

use bytes::Bytes;
use pulsehub::broker::dead_letter::{Replayed, list, replay};
use pulsehub::broker::{Broker, DeadLetter, KeptLetter};
use pulsehub::clock::{Clock, SystemClock};

use super::broker::{Backend, embedded, pulsar, receive, receives_nothing_now, small_segments};

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod embedded { $(#[tokio::test] async fn $name() { super::$name(super::embedded()).await; })* }
        mod small_segments { $(#[tokio::test] async fn $name() { super::$name(super::small_segments()).await; })* }
        mod pulsar { $(#[tokio::test] async fn $name() { super::$name(super::pulsar()).await; })* }
    };
}

contract!(
    letters_are_kept_byte_for_byte_and_reading_removes_none,
    removed_letters_are_gone_after_a_restart_and_their_neighbours_stay,
    a_replay_publishes_what_was_asked_for_and_leaves_the_rest,
);

fn letter(reason: &str, body: impl Into<Bytes>) -> DeadLetter {
    let body = body.into();
    DeadLetter {
        reason: reason.to_owned(),
        origin: "file:1".to_owned(),
        attempts: 5,
        whole_bytes: body.len(),
        body,
    }
}

async fn read(broker: &Arc<dyn Broker>) -> Vec<KeptLetter> {
    let mut letters = broker.dead_letters().await.unwrap();
    let mut all = Vec::new();
    loop {
        let next = letters.next(2).await.unwrap();
        assert!(next.len() <= 2);
        if next.is_empty() {
            return all;
        }
        all.extend(next);
    }
}

fn bodies(letters: &[KeptLetter]) -> Vec<&[u8]> {
    letters.iter().map(|kept| &kept.letter.body[..]).collect()
}

async fn letters_are_kept_byte_for_byte_and_reading_removes_none(backend: impl Backend) {
    let broker = backend.open().await;
    assert!(read(&broker).await.is_empty());
    let before = SystemClock.unix_millis();
    let written = ["{\"a\":1}".into(), Bytes::from_static(b"\xff\x00{"), Bytes::new()];
    for body in &written {
        broker.dead_letter(vec![letter("broken", body.clone())]).await.unwrap();
    }
    for _ in 0..2 {
        let found = read(&broker).await;
        assert_eq!(bodies(&found), written);
        for KeptLetter { time, letter, .. } in found {
            let time = time.unwrap().as_millisecond();
            assert!((before..=SystemClock.unix_millis()).contains(&time), "{time}");
            assert_eq!((&letter.reason[..], &letter.origin[..], letter.attempts), ("broken", "file:1", 5));
        }
    }
}

async fn removed_letters_are_gone_after_a_restart_and_their_neighbours_stay(backend: impl Backend) {
    let broker = backend.open().await;
    let written = ["a", "b", "c", "d", "e"].map(|body| letter("broken", body));
    broker.dead_letter(written.to_vec()).await.unwrap();
    let mut letters = broker.dead_letters().await.unwrap();
    let found = letters.next(5).await.unwrap();
    let ids: Vec<_> = [0, 2, 3].iter().map(|&index: &usize| found[index].id).collect();
    letters.remove(&ids).await.unwrap();
    drop(letters);
    assert_eq!(bodies(&read(&broker).await), [b"b", b"e"]);
    broker.close().await.unwrap();
    drop(broker);
    let broker = backend.open().await;
    assert_eq!(bodies(&read(&broker).await), [b"b", b"e"]);
    broker.dead_letter(vec![letter("broken", "f")]).await.unwrap();
    let listed = list(broker.as_ref(), 2).await.unwrap();
    assert_eq!(listed.iter().map(|listed| &listed.body[..]).collect::<Vec<_>>(), ["b", "e"]);
}

async fn a_replay_publishes_what_was_asked_for_and_leaves_the_rest(backend: impl Backend) {
    let broker = backend.open().await;
    let cut = DeadLetter { whole_bytes: 100, ..letter("refused", "only the b") };
    let binary = Bytes::from_static(b"\xfe\0");
    let written =
        vec![letter("refused, late", "1"), letter("malformed", "2"), cut, letter("refused", binary.clone())];
    broker.dead_letter(written).await.unwrap();
    let replayed = replay(broker.as_ref(), "refused", 1).await.unwrap();
    assert_eq!(replayed, Replayed { replayed: 1, incomplete: 0 });
    let replayed = replay(broker.as_ref(), "refused", usize::MAX).await.unwrap();
    assert_eq!(replayed, Replayed { replayed: 1, incomplete: 1 });
    let mut consumer = broker.consumer().await.unwrap();
    let messages = receive(consumer.as_mut(), 2).await;
    assert_eq!([&messages[0].payload, &messages[1].payload], [&Bytes::from_static(b"1"), &binary]);
    assert!(receives_nothing_now(consumer.as_mut()).await);
    assert_eq!(bodies(&read(&broker).await), [&b"2"[..], b"only the b"]);
}
