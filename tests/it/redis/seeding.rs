//! A seed's lease while Redis is searched for what an earlier seed left.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use pulsehub::clock::Clock;
use pulsehub::state::State;
use pulsehub::state::redis::RedisState;
use pulsehub::state::seed::{Claimed, LEASE_MILLIS, Seeds};

use super::{NOW, merged};
use crate::support::redis::{RedisServer, connect, settings};

/// A clock on which each look takes a second.
struct Slow(AtomicI64);

impl Clock for Slow {
    fn unix_millis(&self) -> i64 {
        self.0.fetch_add(1_000, Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_holds_however_long_the_store_is_searched() {
    let server = RedisServer::start(&[]).await;
    let clock = Arc::new(Slow(AtomicI64::new(NOW)));
    let state = || Arc::new(RedisState::new(&settings(&server.host(), ""), clock.clone()).unwrap());
    let (one, other) = (state(), state());
    // Counts, so that there is something to be searched for, among the keys of others.
    one.apply(vec![merged(1)], NOW).await.unwrap();
    let mut redis = connect(&server.host()).await;
    let fill = "for i = 1, 5000 do redis.call('SET', ARGV[1] .. i, '') end";
    for part in 0..20 {
        let fill = redis::cmd("EVAL").arg(fill).arg(0).arg(format!("other:{part}:")).to_owned();
        fill.query_async::<()>(&mut redis).await.unwrap();
    }
    let begun = clock.0.load(Ordering::SeqCst);
    let claiming = tokio::spawn(async move { one.claim_seed(2026, true, begun).await.unwrap() });
    let mut asked = 0;
    while !claiming.is_finished() {
        let now = clock.0.load(Ordering::SeqCst);
        // Before the first claim is made, this one would be granted.
        let seeding: Option<String> =
            redis::cmd("HGET").arg("ph:seed:2026").arg("state").query_async(&mut redis).await.unwrap();
        if seeding.is_some() {
            assert_eq!(
                other.claim_seed(2026, false, now).await.unwrap(),
                Claimed::Elsewhere,
                "after {asked}"
            );
            asked += 1;
        }
    }
    assert!(matches!(claiming.await.unwrap(), Claimed::Granted(_)));
    let took = clock.0.load(Ordering::SeqCst) - begun;
    assert!(took > 2 * LEASE_MILLIS && asked > 10, "{took} ms, asked {asked} times");
}
