//! What history keeps of an event: one row, whatever its type.

use serde_json::value::RawValue;

use super::details::Details;
use super::payload::PullRequestPayload;
use super::project::PULL_REQUEST_EVENT;
use crate::event::{Day, Event, EventKey, Text, lenient, members};
use crate::mutation::Outcome;

/// A row of the table `github_events`. `None` is what the event does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `id` and `created_at`: the row's identity.
    pub key: EventKey,
    /// The UTC day that it happened on.
    pub day: Day,
    /// Its type, empty when it has none.
    pub kind: String,
    /// `repo.id`.
    pub repo_id: Option<u64>,
    /// `repo.name`.
    pub repo_name: Option<String>,
    /// `actor.id`.
    pub actor_id: Option<u64>,
    /// `actor.login`.
    pub actor_login: Option<String>,
    /// `org.id`.
    pub org_id: Option<u64>,
    /// `org.login`.
    pub org_login: Option<String>,
    /// The base repository's primary language.
    pub language: Option<String>,
    /// Lines added by a pull request.
    pub additions: Option<u64>,
    /// Lines deleted by a pull request.
    pub deletions: Option<u64>,
    /// The payload's action; `closed` for a merged pull request, whatever GitHub calls it, so that statements written
    /// before October 2025 stay right.
    pub action: Option<String>,
    /// The number of the pull request or issue in its repository.
    pub number: Option<u64>,
    /// The number of the pull request or issue across GitHub.
    pub pr_or_issue_id: Option<u64>,
    /// Whether the pull request is merged, by the event as received.
    pub pr_merged: Option<bool>,
}

/// As much of any payload as a row keeps.
#[derive(Debug, Default)]
struct Payload<'a> {
    action: Option<Text<'a>>,
    number: Option<u64>,
    issue: Option<Numbered>,
    pull_request: Option<Numbered>,
}

#[derive(Debug, Default)]
struct Numbered {
    id: Option<u64>,
    number: Option<u64>,
}

impl Row {
    /// The event's row; `None` when it has no identity.
    pub fn of(event: &Event<'_>) -> Option<Self> {
        let key = event.key()?;
        let owned = |text: &Option<Text<'_>>| text.as_ref().map(|text| text.as_str().to_owned());
        let payload = Payload::parse(event.payload);
        let subject = payload.pull_request.or(payload.issue).unwrap_or_default();
        let mut row = Self {
            key,
            day: key.day()?,
            kind: event.kind().to_owned(),
            repo_id: event.repo.as_ref().and_then(|repo| repo.id),
            repo_name: event.repo.as_ref().and_then(|repo| owned(&repo.name)),
            actor_id: event.actor.as_ref().and_then(|actor| actor.id),
            actor_login: event.actor.as_ref().and_then(|actor| owned(&actor.login)),
            org_id: event.org.as_ref().and_then(|org| org.id),
            org_login: event.org.as_ref().and_then(|org| owned(&org.login)),
            language: None,
            additions: None,
            deletions: None,
            action: owned(&payload.action),
            number: payload.number.or(subject.number),
            pr_or_issue_id: subject.id,
            pr_merged: None,
        };
        if event.kind() == PULL_REQUEST_EVENT {
            row.describe_pull_request(&PullRequestPayload::parse(event.payload));
        }
        Some(row)
    }

    /// Takes over what the event did not say.
    pub fn learn(&mut self, details: &Details) {
        if self.language.is_none() {
            self.language = details.language.as_deref().map(str::to_owned);
        }
        if let Some(size) = details.size.filter(|_| self.kind == PULL_REQUEST_EVENT) {
            self.additions.get_or_insert(size.additions);
            self.deletions.get_or_insert(size.deletions);
        }
    }

    fn describe_pull_request(&mut self, payload: &PullRequestPayload<'_>) {
        let pull_request = payload.pull_request();
        let outcome = payload.outcome(&pull_request);
        self.language = pull_request.language().map(str::to_owned);
        self.additions = pull_request.additions;
        self.deletions = pull_request.deletions;
        self.pr_merged = match outcome {
            // The trimmed form does not say it of a closed one, and `pr_merged = false` is not true of NULL.
            Some(outcome) => Some(outcome == Outcome::Merged),
            None => pull_request.merged,
        };
        if outcome == Some(Outcome::Merged) {
            self.action = Some("closed".to_owned());
        }
    }
}

impl<'a> Payload<'a> {
    /// Reads a payload; one that is missing or not an object reads as empty.
    fn parse(payload: Option<&'a RawValue>) -> Self {
        let parsed = payload
            .and_then(|raw| members(raw.get(), ["action", "number", "issue", "pull_request"]).ok())
            .unwrap_or_default();
        let [action, number, issue, pull_request] = parsed;
        Self {
            action: lenient(action),
            number: lenient(number),
            issue: Numbered::parse(issue),
            pull_request: Numbered::parse(pull_request),
        }
    }
}

impl Numbered {
    fn parse(raw: Option<&RawValue>) -> Option<Self> {
        let [id, number] = members(raw?.get(), ["id", "number"]).ok()?;
        Some(Self { id: lenient(id), number: lenient(number) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::Size;

    fn row(kind: &str, payload: &str) -> Row {
        let raw = format!(
            r#"{{"id":"7","type":"{kind}","actor":{{"id":2,"login":"a"}},"repo":{{"id":3,"name":"o/r"}},
                "org":{{"id":4,"login":"o"}},"payload":{payload},"created_at":"2026-01-02T03:04:05Z"}}"#
        );
        Row::of(&Event::parse(&raw).unwrap()).unwrap()
    }

    #[test]
    fn a_merged_pull_request_is_a_closed_one_whatever_github_calls_it() {
        let trimmed = row("PullRequestEvent", r#"{"action":"merged","number":9,"pull_request":{"id":5}}"#);
        assert_eq!((trimmed.action.as_deref(), trimmed.pr_merged), (Some("closed"), Some(true)));
        assert_eq!((trimmed.number, trimmed.pr_or_issue_id, trimmed.additions), (Some(9), Some(5), None));
        let full = r#"{"action":"closed","pull_request":{"id":5,"number":9,"merged":true,"additions":7,"deletions":8,
            "base":{"repo":{"language":"C"}}}}"#;
        let full = row("PullRequestEvent", full);
        assert_eq!((full.action.as_deref(), full.pr_merged), (Some("closed"), Some(true)));
        assert_eq!((full.number, full.additions, full.deletions), (Some(9), Some(7), Some(8)));
        assert_eq!(full.language.as_deref(), Some("C"));
    }

    #[test]
    fn a_closed_one_of_the_trimmed_form_is_not_merged() {
        let closed = row("PullRequestEvent", r#"{"action":"closed","pull_request":{"id":5}}"#);
        assert_eq!((closed.action.as_deref(), closed.pr_merged), (Some("closed"), Some(false)));
        let labeled = row("PullRequestEvent", r#"{"action":"labeled","pull_request":{"id":5}}"#);
        assert_eq!((labeled.action.as_deref(), labeled.pr_merged), (Some("labeled"), None));
    }

    #[test]
    fn what_others_know_fills_what_the_event_did_not_say() {
        let details =
            Details { size: Some(Size { additions: 7, deletions: 8 }), language: Some("Rust".into()) };
        let learned = |kind, payload| {
            let mut row = row(kind, payload);
            row.learn(&details);
            (row.additions, row.deletions, row.language.unwrap())
        };
        let opened = r#"{"action":"opened","pull_request":{"id":5}}"#;
        assert_eq!(learned("PullRequestEvent", opened), (Some(7), Some(8), "Rust".to_owned()));
        let own =
            r#"{"action":"opened","pull_request":{"id":5,"additions":1,"base":{"repo":{"language":"C"}}}}"#;
        assert_eq!(learned("PullRequestEvent", own), (Some(1), Some(8), "C".to_owned()));
        assert_eq!(learned("PushEvent", "{}"), (None, None, "Rust".to_owned()));
    }

    #[test]
    fn other_types_keep_what_they_have_in_common() {
        let issue = row("IssuesEvent", r#"{"action":"opened","issue":{"id":5,"number":6}}"#);
        assert_eq!((issue.pr_or_issue_id, issue.number, issue.pr_merged), (Some(5), Some(6), None));
        let push = row("PushEvent", r#"{"size":1}"#);
        assert_eq!((push.action, push.number, push.org_id), (None, None, Some(4)));
        assert_eq!((push.repo_name.as_deref(), push.actor_login.as_deref()), (Some("o/r"), Some("a")));
        let bare = Event::parse(r#"{"id":"1","created_at":"2026-01-02T03:04:05Z"}"#).unwrap();
        assert_eq!(Row::of(&bare).unwrap().kind, "");
        assert!(Row::of(&Event::parse(r#"{"id":"1"}"#).unwrap()).is_none());
    }
}
