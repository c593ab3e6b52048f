//! What an enricher answers while all is well.

use std::time::Duration;

use pulsehub::domain::github::details::{Details, Stub};
use pulsehub::enrich::{Answer, Enricher};
use pulsehub::mutation::Size;

use super::github::{Asking, GraphQl, Known, invented, settings, stub, stubs};
use crate::support::eventually;

/// Longer than anything takes here.
pub const LONG: Duration = Duration::from_secs(30);

/// What must be answered of a pull request.
pub fn known(of: &Known) -> Answer {
    Answer::Known(Details {
        size: Some(Size { additions: of.additions, deletions: of.deletions }),
        language: of.language.as_deref().map(Into::into),
    })
}

#[tokio::test]
async fn a_hundred_pull_requests_cost_a_point_and_each_gets_its_own_answer() {
    let all = invented(1_000);
    let github = GraphQl::knowing(all.clone()).await;
    let answers = github.enricher().enricher.details(stubs(&all), LONG).await;
    assert_eq!(answers, all.values().map(known).collect::<Vec<_>>());
    let sizes: Vec<_> = github.queries().iter().map(|query| query.ids.len()).collect();
    assert_eq!(sizes, [100; 10]);
    assert_eq!(github.points(), 10);
    assert!(github.queries().iter().all(|query| query.authorization == "Bearer a-token"));
}

#[tokio::test]
async fn workers_that_ask_for_the_same_at_once_share_a_query() {
    let all = invented(40);
    let github = GraphQl::knowing(all.clone()).await;
    let Asking { enricher, .. } = &github.enricher();
    let ask = |range: std::ops::Range<usize>| enricher.details(stubs(&all)[range].to_vec(), LONG);
    let (first, second, third) = tokio::join!(ask(0..30), ask(10..40), ask(0..40));
    let expected: Vec<_> = all.values().map(known).collect();
    assert_eq!((&first[..], &second[..], &third[..]), (&expected[0..30], &expected[10..40], &expected[..]));
    let sizes: Vec<_> = github.queries().iter().map(|query| query.ids.len()).collect();
    assert_eq!(sizes, [40]);
}

#[tokio::test]
async fn an_answer_is_given_again_to_events_from_before_it_and_never_to_a_later_one() {
    let all = invented(1);
    let github = GraphQl::knowing(all.clone()).await;
    let Asking { enricher, .. } = &github.enricher();
    let ask = async |created_at| enricher.details(vec![Stub { created_at, ..stub(1, &all[&1]) }], LONG).await;
    let now = jiff::Timestamp::now().as_second();
    for created_at in [now - 3_600, now - 60, 0] {
        assert_eq!(ask(created_at).await, [known(&all[&1])]);
    }
    assert_eq!(github.queries().len(), 1);
    // Merged since, with other lines.
    assert_eq!(ask(now + 60).await, [known(&all[&1])]);
    assert_eq!(github.queries().len(), 2);
}

#[tokio::test]
async fn a_language_that_was_once_learned_is_known_of_its_repository() {
    let all = invented(2);
    let github = GraphQl::knowing(all.clone()).await;
    let Asking { enricher, .. } = &github.enricher();
    assert_eq!(enricher.language(all[&1].repo), None);
    enricher.details(stubs(&all), LONG).await;
    for known in all.values() {
        assert_eq!(enricher.language(known.repo).as_deref(), known.language.as_deref());
    }
    assert_eq!(enricher.language(5), None);
}

#[tokio::test]
async fn without_a_token_nobody_is_asked_until_there_is_one() {
    let all = invented(3);
    let github = GraphQl::knowing(all.clone()).await;
    let Asking { enricher, settings: changes, .. } = &github.enricher_with(&[]);
    assert_eq!(enricher.details(stubs(&all), LONG).await, [Answer::Off, Answer::Off, Answer::Off]);
    assert!(github.queries().is_empty());
    changes.send_replace(settings(&["new-token"]));
    eventually("the new token asks", async || {
        enricher.details(stubs(&all), LONG).await == all.values().map(known).collect::<Vec<_>>()
    })
    .await;
    assert_eq!(github.queries()[0].authorization, "Bearer new-token");
}
