//! Settling where the server can say that a write reached its disk. Debian's Redis cannot, so a fake says it.

use std::time::Duration;

use pulsehub::state::{State, StateError};

use super::{apply, assert_counted, merged};
use crate::support::redis::{RedisServer, settings, state};
use crate::support::waitaof::{Answer, Waitaof};
use crate::support::{TestApp, eventually, twelve_hours};

/// A server behind the fake, and a state that would never settle without `WAITAOF`.
async fn fixture() -> (RedisServer, Waitaof, std::sync::Arc<pulsehub::state::redis::RedisState>) {
    let server = RedisServer::start(&[]).await;
    let fake = Waitaof::before(server.host()).await;
    let mut settings = settings(&fake.host(), "");
    settings.settle_delay = Duration::from_secs(86_400);
    (server, fake, state(&settings))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_settled_with_the_answer_of_waitaof_and_not_before() {
    let (_server, fake, state) = fixture().await;
    let applied = apply(&state, &[merged(1)]).await;
    let persisting = tokio::spawn({
        let state = state.clone();
        async move { state.persist(applied.receipt).await }
    });
    eventually("it is asked for", async || fake.asked() == 1).await;
    // Reads go on meanwhile, on connections of their own.
    assert_counted(&state, 1, "applied").await;
    assert!(!persisting.is_finished());
    fake.answer(Answer::Synced);
    persisting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_wait_at_the_same_time_ask_once() {
    let (_server, fake, state) = fixture().await;
    fake.answer(Answer::Synced);
    let mut receipts = Vec::new();
    for id in 0..20 {
        receipts.push(apply(&state, &[merged(id)]).await.receipt);
    }
    let waits = receipts.into_iter().map(|receipt| state.persist(receipt));
    for result in futures_util::future::join_all(waits).await {
        result.unwrap();
    }
    assert_eq!(fake.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_is_not_in_time_lets_the_batch_be_applied_again() {
    let (_server, fake, state) = fixture().await;
    fake.answer(Answer::TimedOut);
    let applied = apply(&state, &[merged(1)]).await;
    let persisted = state.persist(applied.receipt).await;
    assert!(matches!(persisted, Err(StateError::Lost)), "{persisted:?}");
    fake.answer(Answer::Synced);
    let again = apply(&state, &[merged(1)]).await;
    state.persist(again.receipt).await.unwrap();
    assert_counted(&state, 1, "applied twice, counted once").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_while_it_waits_lets_the_batch_be_applied_again() {
    let (mut server, fake, state) = fixture().await;
    let applied = apply(&state, &[merged(1)]).await;
    let persisting = tokio::spawn({
        let state = state.clone();
        async move {
            loop {
                match state.persist(applied.receipt).await {
                    Err(StateError::Unreachable { .. } | StateError::Refused { .. }) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    result => break result,
                }
            }
        }
    });
    eventually("it is asked for", async || fake.asked() == 1).await;
    server.restart().await;
    // Whoever asks now is told that all is well: but of another run of the server.
    fake.answer(Answer::Synced);
    let persisted = persisting.await.unwrap();
    assert!(matches!(persisted, Err(StateError::Lost)), "{persisted:?}");
    let again = apply(&state, &[merged(1)]).await;
    state.persist(again.receipt).await.unwrap();
    assert_counted(&state, 1, "applied twice, counted once").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_over_a_disk_that_is_late_at_first_counts_everything_once() {
    let (server, hour) = (RedisServer::start(&[]).await, twelve_hours().remove(0));
    let fake = Waitaof::before(server.host()).await;
    fake.answer(Answer::TimedOut);
    let (mut app, plain) = (TestApp::new(), TestApp::new());
    app.config.redis.host = Some(fake.host().into());
    app.config.redis.settle_delay = "24h".parse().unwrap();
    let mut running = app.start(app.replay_of([hour.clone()])).await;
    eventually("it is asked for again", async || fake.asked() >= 3).await;
    fake.answer(Answer::Synced);
    running.replayed().await.unwrap().unwrap();
    running.stop().await;
    plain.replay([hour]).await;
    let (found, expected) = (app.stats(2016).await, plain.stats(2016).await);
    assert_eq!((&found["daily"], &found["sum"]), (&expected["daily"], &expected["sum"]));
}
