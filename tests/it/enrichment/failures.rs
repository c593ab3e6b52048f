//! What GitHub's GraphQL API does to those who ask it: errors, limits, holes, wrong ids, other hosts, silence.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use pulsehub::enrich::{Answer, Enricher};
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::answers::{LONG, known};
use super::github::{Asking, GraphQl, PullRequests, invented, stubs};
use crate::support::eventually;

fn all_known(all: &PullRequests) -> Vec<Answer> {
    all.values().map(known).collect()
}

fn are_later(answers: &[Answer]) -> bool {
    answers.iter().all(|answer| matches!(answer, Answer::Later(_)))
}

#[tokio::test]
async fn a_query_that_ends_in_502_is_asked_in_halves() {
    let all = invented(100);
    let github = GraphQl::knowing(all.clone()).await;
    github.script(|_, query| (query.len() > 30).then(|| ResponseTemplate::new(502)));
    let answers = github.enricher().enricher.details(stubs(&all), LONG).await;
    assert_eq!(answers, all_known(&all));
    let sizes: Vec<_> = github.queries().iter().take(3).map(|query| query.len()).collect();
    assert_eq!(sizes, [100, 50, 25]);
}

#[tokio::test]
async fn an_answer_cut_short_by_its_limits_is_used_and_the_rest_is_asked_for_in_less() {
    let all = invented(100);
    let github = GraphQl::knowing(all.clone()).await;
    github.change(|answer| {
        let nodes = answer["data"]["nodes"].as_array_mut().unwrap();
        let cut: Vec<Value> = (40..nodes.len())
            .map(
                |place| json!({"type": "RESOURCE_LIMITS_EXCEEDED", "path": ["nodes", place], "message": "…"}),
            )
            .collect();
        nodes.iter_mut().skip(40).for_each(|node| *node = Value::Null);
        answer["errors"] = cut.into();
    });
    let answers = github.enricher().enricher.details(stubs(&all), LONG).await;
    assert_eq!(answers, all_known(&all));
    let sizes: Vec<_> = github.queries().iter().map(|query| query.len()).collect();
    assert_eq!(
        sizes,
        [100, 50, 20],
        "the 60 that were cut off in two queries, of which the first was cut off again"
    );
}

#[tokio::test]
async fn a_query_refused_for_what_it_takes_is_asked_in_halves() {
    let all = invented(100);
    let github = GraphQl::knowing(all.clone()).await;
    github.script(|_, query| {
        let refused = json!({"errors": [{"type": "RESOURCE_LIMITS_EXCEEDED", "message": "too much"}]});
        (query.len() > 50).then(|| ResponseTemplate::new(200).set_body_json(refused))
    });
    assert_eq!(github.enricher().enricher.details(stubs(&all), LONG).await, all_known(&all));
    assert_eq!(github.queries()[1].len(), 50);
}

#[tokio::test]
async fn a_spent_limit_is_obeyed_and_those_who_cannot_wait_are_told_for_how_long() {
    let all = invented(20);
    let github = GraphQl::knowing(all.clone()).await;
    let reset = Timestamp::now() + SignedDuration::from_secs(4);
    github.script(move |number, _| {
        let limited = json!({"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]});
        let answer = ResponseTemplate::new(200)
            .set_body_json(limited)
            .insert_header("x-ratelimit-remaining", "0")
            .insert_header("x-ratelimit-limit", "5000")
            .insert_header("x-ratelimit-reset", reset.as_second().to_string());
        (number == 0).then_some(answer)
    });
    let Asking { enricher, .. } = &github.enricher();
    let answers = enricher.details(stubs(&all), Duration::from_millis(2_500)).await;
    assert!(matches!(answers[0], Answer::Later(pause) if pause > Duration::from_secs(1)), "{:?}", answers[0]);
    assert!(are_later(&answers));
    // Nobody asks again before that, and nobody waits for nothing.
    let begun = Instant::now();
    assert!(are_later(&enricher.details(stubs(&all), Duration::from_millis(100)).await));
    assert!(begun.elapsed() < Duration::from_millis(90), "{:?}", begun.elapsed());
    assert_eq!(github.queries().len(), 1);
    assert_eq!(enricher.details(stubs(&all), LONG).await, all_known(&all));
    assert!(Timestamp::now() >= reset);
}

/// As much more as is left unspent for what is under way: whoever spent that too would be seen.
#[tokio::test]
async fn a_quota_that_is_told_too_large_is_seen_to_be_overdrawn() {
    let all = invented(1_000);
    let github = GraphQl::knowing(all.clone()).await;
    github.grant(6, Timestamp::now() + SignedDuration::from_secs(600));
    github.delay(|| Duration::from_millis(400));
    github.change(|answer| {
        let remaining = &mut answer["data"]["rateLimit"]["remaining"];
        *remaining = (remaining.as_u64().unwrap() + 4).into();
    });
    github.enricher().enricher.details(stubs(&all), Duration::from_millis(2_800)).await;
    assert!(github.overdrawn() > 0);
}

#[tokio::test]
async fn a_new_token_does_not_wait_for_what_its_predecessor_was_refused() {
    let all = invented(20);
    let github = GraphQl::knowing(all.clone()).await;
    github.script(|_, query| {
        let limited = || ResponseTemplate::new(403).insert_header("retry-after", "600");
        (query.authorization != "Bearer new").then(limited)
    });
    let Asking { enricher, settings, .. } = &github.enricher_with(&["former"]);
    assert!(are_later(&enricher.details(stubs(&all), Duration::from_millis(2_500)).await));
    settings.send_replace(super::github::settings(&["new"]));
    eventually("the new token asks", async || {
        enricher.details(stubs(&all), Duration::from_millis(2_500)).await == all_known(&all)
    })
    .await;
    assert_eq!(github.queries().len(), 2);
}

#[tokio::test]
async fn a_pull_request_that_every_answer_leaves_out_costs_few_points_and_holds_up_nobody() {
    let all = invented(20);
    let github = GraphQl::knowing(all.clone()).await;
    github.change(|answer| {
        // The last of each query; alone it is nothing but cut.
        let nodes = answer["data"]["nodes"].as_array_mut().unwrap();
        let left_out = nodes.iter().position(|node| node["additions"] == 200);
        if let Some(place) = left_out {
            nodes[place] = Value::Null;
            answer["errors"] = json!([{"type": "INTERNAL", "path": ["nodes", place], "message": "…"}]);
        }
    });
    let Asking { enricher, .. } = &github.enricher();
    let answers = enricher.details(stubs(&all), Duration::from_millis(2_800)).await;
    assert_eq!(answers[..19], all_known(&all)[..19]);
    assert!(are_later(&answers[19..]), "{:?}", answers[19]);
    assert!(github.queries().len() <= 4, "{} points", github.queries().len());
}

#[tokio::test]
async fn a_secondary_limit_is_obeyed() {
    let all = invented(20);
    let github = GraphQl::knowing(all.clone()).await;
    github.script(|number, _| {
        (number == 0).then(|| ResponseTemplate::new(403).insert_header("retry-after", "2"))
    });
    let begun = Instant::now();
    assert_eq!(github.enricher().enricher.details(stubs(&all), LONG).await, all_known(&all));
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(github.queries().len(), 2);
}

#[tokio::test]
async fn the_quota_is_never_overdrawn() {
    let all = invented(1_000);
    let github = GraphQl::knowing(all.clone()).await;
    github.grant(6, Timestamp::now() + SignedDuration::from_secs(600));
    // So that others are under way when an answer says what is left.
    github.delay(|| Duration::from_millis(400));
    let Asking { enricher, .. } = &github.enricher();
    let answers = enricher.details(stubs(&all), Duration::from_millis(2_800)).await;
    let known = answers.iter().filter(|answer| matches!(answer, Answer::Known(_))).count();
    assert!((200..=600).contains(&known), "{known}");
    assert_eq!(github.overdrawn(), 0);
    let long = |answer: &&Answer| matches!(answer, Answer::Later(pause) if pause.as_secs() > 500);
    assert_eq!(known + answers.iter().filter(long).count(), 1_000);
}

#[tokio::test]
async fn what_is_gone_is_asked_for_by_name_once_and_then_remembered() {
    let (all, here) = (invented(30), invented(27));
    let github = GraphQl::knowing(here.clone()).await;
    let Asking { enricher, .. } = &github.enricher();
    let mut expected = all_known(&here);
    expected.extend([Answer::Gone, Answer::Gone, Answer::Gone]);
    assert_eq!(enricher.details(stubs(&all), LONG).await, expected);
    assert_eq!(enricher.details(stubs(&all), LONG).await, expected);
    let sizes: Vec<_> = github.queries().iter().map(|query| (query.ids.len(), query.names.len())).collect();
    assert_eq!(sizes, [(30, 0), (0, 3)]);
}

#[tokio::test]
async fn where_computed_ids_are_refused_names_are_asked_for_and_soon_nothing_else() {
    let all = invented(160);
    let github = GraphQl::knowing(all.clone()).await;
    github.change(|answer| {
        for node in answer["data"]["nodes"].as_array_mut().into_iter().flatten() {
            *node = Value::Null;
        }
    });
    let Asking { enricher, .. } = &github.enricher();
    let (first, second) = all.iter().map(|(id, known)| (*id, known.clone())).partition(|(id, _)| *id <= 80);
    assert_eq!(enricher.details(stubs(&first), LONG).await, all_known(&first));
    let by_node = |github: &GraphQl| github.queries().iter().filter(|query| !query.ids.is_empty()).count();
    assert_eq!(by_node(&github), 1);
    assert_eq!(enricher.details(stubs(&second), LONG).await, all_known(&second));
    assert_eq!(by_node(&github), 1);
}

#[tokio::test]
async fn a_query_by_ids_that_is_refused_as_a_whole_is_asked_by_names() {
    let all = invented(10);
    let github = GraphQl::knowing(all.clone()).await;
    github.script(|_, query| {
        let refused =
            json!({"errors": [{"message": "Variable $ids of type [ID!]! was provided invalid value"}]});
        (!query.ids.is_empty()).then(|| ResponseTemplate::new(200).set_body_json(refused))
    });
    assert_eq!(github.enricher().enricher.details(stubs(&all), LONG).await, all_known(&all));
}

#[tokio::test]
async fn a_node_that_is_another_pull_request_is_not_believed() {
    let all = invented(10);
    let github = GraphQl::knowing(all.clone()).await;
    github.change(|answer| {
        if let Some(nodes) = answer["data"]["nodes"].as_array_mut() {
            nodes.rotate_left(1);
        }
    });
    assert_eq!(github.enricher().enricher.details(stubs(&all), LONG).await, all_known(&all));
    assert_eq!(github.queries()[1].names.len(), 10);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_no_other_host_sees_the_token() {
    let (all, other) = (invented(5), MockServer::start().await);
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&other).await;
    for status in [301, 302, 303, 307, 308] {
        let (github, target) = (GraphQl::knowing(all.clone()).await, other.uri());
        github.script(move |_, _| {
            Some(ResponseTemplate::new(status).insert_header("location", target.as_str()))
        });
        let Asking { enricher, .. } = &github.enricher();
        assert!(are_later(&enricher.details(stubs(&all), Duration::from_millis(2_000)).await), "{status}");
        assert!(!github.queries().is_empty());
    }
    assert_eq!(other.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_refused_token_gives_way_to_the_next_and_without_any_that_works_events_go_on() {
    let all = invented(5);
    let github = GraphQl::knowing(all.clone()).await;
    github.script(|_, query| {
        let refused = query.authorization != "Bearer good";
        refused.then(|| ResponseTemplate::new(401).set_body_json(json!({"message": "Bad credentials"})))
    });
    let Asking { enricher, .. } = &github.enricher_with(&["revoked", "good"]);
    assert_eq!(enricher.details(stubs(&all), LONG).await, all_known(&all));
    let tokens: BTreeSet<_> = github.queries().iter().map(|query| query.authorization.clone()).collect();
    assert_eq!(tokens.len(), 2);

    let Asking { enricher, .. } = &github.enricher_with(&["revoked"]);
    let answers = enricher.details(stubs(&all), Duration::from_millis(2_800)).await;
    let long = |answer: &Answer| matches!(answer, Answer::Later(pause) if pause.as_secs() >= 10);
    assert!(answers.iter().all(long), "{answers:?}");
}

#[tokio::test]
async fn nobody_waits_longer_than_he_said_and_what_comes_too_late_is_there_for_the_next() {
    let all = invented(100);
    let github = GraphQl::knowing(all.clone()).await;
    github.delay(|| Duration::from_millis(1_500));
    let Asking { enricher, .. } = &github.enricher();
    let begun = Instant::now();
    assert!(are_later(&enricher.details(stubs(&all), Duration::from_millis(500)).await));
    assert!((500..1_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    eventually("the answer is remembered", async || {
        enricher.details(stubs(&all), Duration::from_millis(100)).await == all_known(&all)
    })
    .await;
    assert_eq!(github.queries().len(), 1);
}

#[tokio::test]
async fn an_api_that_is_away_holds_up_only_the_first() {
    let (all, closed) = (invented(5), GraphQl::knowing(invented(5)).await);
    closed.script(|_, _| Some(ResponseTemplate::new(200).set_body_string("<html>maintenance</html>")));
    let Asking { enricher, .. } = &closed.enricher();
    let begun = Instant::now();
    for _ in 0..12 {
        assert!(are_later(&enricher.details(stubs(&all), Duration::from_millis(2_000)).await));
    }
    // With pauses that double from a second on, most of twelve know at once that there is no use.
    assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
    closed.recover();
    eventually("it answers again", async || {
        enricher.details(stubs(&all), Duration::from_millis(2_000)).await == all_known(&all)
    })
    .await;
}
