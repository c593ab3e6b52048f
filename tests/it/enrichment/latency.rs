//! How much later events come for being enriched.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pulsehub::enrich::{Answer, Enricher, WITHIN};

use super::github::{Asking, GraphQl, invented, stub};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_rate_of_the_feed_events_come_at_most_three_seconds_later_and_whole() {
    // 170 events/s have about ten pull requests; answers take 0.3 to 0.9 s, as GitHub's do.
    const RATE: u64 = 10;
    let all = Arc::new(invented(RATE * 20));
    let github = GraphQl::knowing(all.as_ref().clone()).await;
    github.delay(|| Duration::from_millis(fastrand::u64(300..900)));
    let Asking { enricher, .. } = &github.enricher();
    let mut asking = tokio::task::JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(1_000 / RATE));
    for id in 1..=RATE * 20 {
        ticks.tick().await;
        let (enricher, all) = (enricher.clone(), all.clone());
        asking.spawn(async move {
            let begun = Instant::now();
            let answer = enricher.details(vec![stub(id, &all[&id])], WITHIN).await.remove(0);
            (begun.elapsed(), matches!(answer, Answer::Known(_)))
        });
    }
    let mut answered = asking.join_all().await;
    answered.sort_unstable();
    let whole = answered.iter().filter(|(_, known)| *known).count();
    let percentile = |share: usize| answered[(answered.len() * share / 100).min(answered.len() - 1)].0;
    let points = github.queries().len();
    println!(
        "{} pull requests at {RATE}/s: {whole} complete, added latency p50 {:?}, p99 {:?}, {points} points",
        answered.len(),
        percentile(50),
        percentile(99)
    );
    assert!(percentile(99) <= Duration::from_secs(3), "{:?}", percentile(99));
    assert!(whole * 100 >= answered.len() * 99, "{whole} of {}", answered.len());
}
