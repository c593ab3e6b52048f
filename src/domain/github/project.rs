//! Projects an event onto what it changes: the one place that decides what counts.

use crate::domain::github::details::Stub;
use crate::domain::github::payload::PullRequestPayload;
use crate::event::{Event, Rejection};
use crate::mutation::{Mutation, Outcome};

/// The type of the events that are counted.
pub const PULL_REQUEST_EVENT: &str = "PullRequestEvent";

/// What an event asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Projection {
    /// It changes counters; where it does not say all of its pull request, with what somebody needs to find the rest.
    Counts(Mutation, Option<Stub>),
    /// It counts nowhere and is only shown.
    Shown,
    /// It counts nowhere and is only shown to those who ask for its action: a pull request event whose action is
    /// none of the four outcomes.
    ShownOnRequest,
}

/// What `event` asks for.
///
/// # Errors
/// When it has no identity, or counts but lacks one of the three ids that counting needs.
pub fn project(event: &Event<'_>) -> Result<Projection, Rejection> {
    let key = event.key().ok_or(Rejection::NoIdentity)?;
    if event.kind() != PULL_REQUEST_EVENT {
        return Ok(Projection::Shown);
    }
    let payload = PullRequestPayload::parse(event.payload);
    let pull_request = payload.pull_request();
    let Some(outcome) = payload.outcome(&pull_request) else { return Ok(Projection::ShownOnRequest) };
    let actor = event.actor.as_ref().and_then(|actor| actor.id);
    let repo = event.repo.as_ref().and_then(|repo| repo.id);
    let (Some(pull_request_id), Some(actor), Some(repo)) = (pull_request.id, actor, repo) else {
        return Err(Rejection::Incomplete);
    };
    let mutation = Mutation {
        key,
        day: key.day().ok_or(Rejection::NoIdentity)?,
        outcome,
        pull_request: pull_request_id,
        actor,
        repo,
        size: pull_request.size().filter(|_| outcome == Outcome::Merged),
        language: pull_request.language().map(str::to_owned),
        claim: None,
    };
    let stub = Stub::of(event, &pull_request, &mutation);
    Ok(Projection::Counts(mutation, stub))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::Size;

    fn pull_request(action: &str, body: &str) -> String {
        format!(
            r#"{{"id":"7","type":"PullRequestEvent","actor":{{"id":2}},"repo":{{"id":3}},
                "payload":{{"action":"{action}","pull_request":{body}}},"created_at":"2026-01-02T03:04:05Z"}}"#
        )
    }

    fn outcome(action: &str, body: &str) -> Option<Outcome> {
        let raw = pull_request(action, body);
        match project(&Event::parse(&raw).unwrap()).unwrap() {
            Projection::Counts(mutation, _) => Some(mutation.outcome),
            Projection::ShownOnRequest => None,
            Projection::Shown => panic!("not a pull request event"),
        }
    }

    #[test]
    fn the_outcome_comes_from_action_and_merged() {
        assert_eq!(outcome("opened", r#"{"id":1}"#), Some(Outcome::Opened));
        assert_eq!(outcome("merged", r#"{"id":1}"#), Some(Outcome::Merged));
        assert_eq!(outcome("closed", r#"{"id":1,"merged":true}"#), Some(Outcome::Merged));
        assert_eq!(outcome("closed", r#"{"id":1,"merged":"true"}"#), Some(Outcome::Closed));
        assert_eq!(outcome("closed", r#"{"id":1}"#), Some(Outcome::Closed));
        assert_eq!(outcome("reopened", r#"{"id":1}"#), Some(Outcome::Reopened));
        assert_eq!(outcome("labeled", "null"), None);
    }

    #[test]
    fn sizes_and_language_are_taken_where_they_are_whole() {
        let body = r#"{"id":1,"additions":5,"deletions":6,"base":{"repo":{"language":"C"}}}"#;
        let raw = pull_request("merged", body);
        let Ok(Projection::Counts(mutation, _)) = project(&Event::parse(&raw).unwrap()) else { panic!() };
        assert_eq!(mutation.size, Some(Size { additions: 5, deletions: 6 }));
        assert_eq!(mutation.language.as_deref(), Some("C"));
        let raw = pull_request("merged", r#"{"id":1,"additions":5,"base":{"repo":[]}}"#);
        let Ok(Projection::Counts(mutation, _)) = project(&Event::parse(&raw).unwrap()) else { panic!() };
        assert_eq!((mutation.size, mutation.language), (None, None));
    }

    #[test]
    fn a_counting_event_without_an_id_is_rejected_and_any_other_is_shown() {
        for body in ["null", "{}", r#"{"id":"1"}"#, r#"{"id":-1}"#] {
            let raw = pull_request("opened", body);
            assert_eq!(project(&Event::parse(&raw).unwrap()), Err(Rejection::Incomplete), "{body}");
        }
        let project_raw = |raw| project(&Event::parse(raw).unwrap());
        assert_eq!(project_raw(r#"{"type":"WatchEvent"}"#), Err(Rejection::NoIdentity));
        let bare = r#"{"id":"1","type":"FutureEvent","created_at":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(project_raw(bare), Ok(Projection::Shown));
        let no_payload = r#"{"id":"1","type":"PullRequestEvent","created_at":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(project_raw(no_payload), Ok(Projection::ShownOnRequest));
    }
}
