//! What GitHub removed from pull requests in October 2025: whether an event lacks it, and what others know of it.

use std::sync::Arc;

use super::payload::PullRequest;
use crate::event::Event;
use crate::mutation::{Mutation, Outcome, Size};

/// A pull request of which an event does not say size or language: what somebody needs to find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stub {
    /// `pull_request.id`.
    pub pull_request: u64,
    /// Its number within its repository, where the event says it.
    pub number: Option<u64>,
    /// `repo.id`.
    pub repo: u64,
    /// `owner/name`, empty where the event does not say it.
    pub repo_name: String,
    /// When the event happened, in Unix seconds: what was known before then may have changed with it.
    pub created_at: i64,
}

/// What somebody else knows of an event's pull request or repository. It never stands in for what the event itself says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Lines added and deleted.
    pub size: Option<Size>,
    /// The base repository's primary language; `None` also where it has none.
    pub language: Option<Arc<str>>,
}

impl Stub {
    /// The stub in an event with this pull request; `None` where it says size and language, be it that there is no
    /// language, as full payloads do.
    ///
    /// The event must be one that counts: it has a key and the three ids.
    pub fn of(event: &Event<'_>, pull_request: &PullRequest<'_>, mutation: &Mutation) -> Option<Self> {
        let is_whole = pull_request.size().is_some() && pull_request.says_language;
        (!is_whole).then(|| Self {
            pull_request: mutation.pull_request,
            number: pull_request.number,
            repo: mutation.repo,
            repo_name: event.repo_name().to_owned(),
            created_at: mutation.key.created_at,
        })
    }
}

impl Mutation {
    /// Takes over what the event did not say. Only a merged pull request has a size that counts.
    pub fn learn(&mut self, details: &Details) {
        if self.outcome == Outcome::Merged {
            self.size = self.size.or(details.size);
        }
        if self.language.is_none() {
            self.language = details.language.as_deref().map(str::to_owned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::github::project::{Projection, project};

    fn mutation_and_stub(action: &str, pull_request: &str) -> (Mutation, Option<Stub>) {
        let raw = format!(
            r#"{{"id":"7","type":"PullRequestEvent","actor":{{"id":2}},"repo":{{"id":3,"name":"o/r"}},
                "payload":{{"action":"{action}","pull_request":{pull_request}}},"created_at":"2026-01-02T03:04:05Z"}}"#
        );
        let event = Event::parse(&raw).unwrap();
        let Ok(Projection::Counts(mutation, stub)) = project(&event) else { panic!() };
        (mutation, stub)
    }

    #[test]
    fn only_what_lacks_its_size_or_says_nothing_of_a_language_is_a_stub() {
        let stub = |body| mutation_and_stub("opened", body).1;
        let trimmed = stub(r#"{"id":5,"number":9,"base":{"repo":{"id":3}}}"#).unwrap();
        let expected = Stub {
            pull_request: 5,
            number: Some(9),
            repo: 3,
            repo_name: "o/r".to_owned(),
            created_at: 1_767_323_045,
        };
        assert_eq!(trimmed, expected);
        assert!(stub(r#"{"id":5,"additions":1,"deletions":2,"base":{"repo":{}}}"#).is_some());
        assert!(stub(r#"{"id":5,"additions":1,"base":{"repo":{"language":"C"}}}"#).is_some());
        let without_language = r#"{"id":5,"additions":1,"deletions":2,"base":{"repo":{"language":null}}}"#;
        assert_eq!(stub(without_language), None, "a full payload is never asked for");
    }

    #[test]
    fn the_events_own_word_stands_and_only_merged_ones_take_a_size() {
        let details =
            Details { size: Some(Size { additions: 7, deletions: 8 }), language: Some("Rust".into()) };
        let learned = |action, body| {
            let (mut mutation, _) = mutation_and_stub(action, body);
            mutation.learn(&details);
            (mutation.outcome, mutation.size, mutation.language)
        };
        let rust = || Some("Rust".to_owned());
        assert_eq!(learned("opened", r#"{"id":5}"#), (Outcome::Opened, None, rust()));
        assert_eq!(learned("closed", r#"{"id":5}"#), (Outcome::Closed, None, rust()));
        assert_eq!(learned("merged", r#"{"id":5}"#), (Outcome::Merged, details.size, rust()));
        let own = r#"{"id":5,"additions":1,"deletions":2,"base":{"repo":{"language":"C"}}}"#;
        let size = Some(Size { additions: 1, deletions: 2 });
        assert_eq!(learned("merged", own), (Outcome::Merged, size, Some("C".to_owned())));
    }
}
