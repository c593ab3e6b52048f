//! The payload of a `PullRequestEvent`, as far as it is counted. Everything is optional: see `event.rs`.

use serde_json::value::RawValue;

use crate::event::{Text, lenient, members};
use crate::mutation::{Outcome, Size};

/// The payload of a `PullRequestEvent`.
#[derive(Debug, Default)]
pub struct PullRequestPayload<'a> {
    action: Option<Text<'a>>,
    /// The pull request as it came.
    pub pull_request: Option<&'a RawValue>,
}

/// A pull request, full or in the trimmed form of October 2025.
#[derive(Debug, Default)]
pub struct PullRequest<'a> {
    /// Its number across GitHub.
    pub id: Option<u64>,
    /// Whether it is merged; not in the trimmed form.
    pub merged: Option<bool>,
    /// Lines added; not in the trimmed form.
    pub additions: Option<u64>,
    /// Lines deleted; not in the trimmed form.
    pub deletions: Option<u64>,
    /// Its number within its repository.
    pub number: Option<u64>,
    /// Whether it has a word on its base repository's language, be it `null`; the trimmed form has none.
    pub says_language: bool,
    /// The branch that it is meant for, as it came.
    pub base: Option<&'a RawValue>,
    /// The repository of that branch, as it came.
    pub base_repo: Option<&'a RawValue>,
    language: Option<Text<'a>>,
}

impl<'a> PullRequestPayload<'a> {
    /// Reads a payload; one that is missing or not an object reads as empty.
    pub fn parse(payload: Option<&'a RawValue>) -> Self {
        let [action, pull_request] = of_object(payload, ["action", "pull_request"]);
        Self { action: lenient(action), pull_request }
    }

    /// The pull request; empty when it is missing or not an object.
    pub fn pull_request(&self) -> PullRequest<'a> {
        let [id, number, merged, additions, deletions, base] =
            of_object(self.pull_request, ["id", "number", "merged", "additions", "deletions", "base"]);
        let [base_repo] = of_object(base, ["repo"]);
        let [language] = of_object(base_repo, ["language"]);
        PullRequest {
            id: lenient(id),
            merged: lenient(merged),
            additions: lenient(additions),
            deletions: lenient(deletions),
            number: lenient(number),
            says_language: language.is_some(),
            base,
            base_repo,
            language: lenient(language),
        }
    }

    /// What happened, by the event as received; `None` for any other action.
    pub fn outcome(&self, pull_request: &PullRequest<'_>) -> Option<Outcome> {
        match self.action.as_ref()?.as_str() {
            "opened" => Some(Outcome::Opened),
            "merged" => Some(Outcome::Merged),
            "closed" if pull_request.merged == Some(true) => Some(Outcome::Merged),
            "closed" => Some(Outcome::Closed),
            "reopened" => Some(Outcome::Reopened),
            _ => None,
        }
    }

    /// The action as received, empty when there is none.
    pub fn action(&self) -> &str {
        self.action.as_ref().map_or("", Text::as_str)
    }
}

impl PullRequest<'_> {
    /// Its size, where both halves are known.
    pub fn size(&self) -> Option<Size> {
        Some(Size { additions: self.additions?, deletions: self.deletions? })
    }

    /// The base repository's language, where known.
    pub fn language(&self) -> Option<&str> {
        let language = self.language.as_ref()?.as_str();
        (!language.is_empty()).then_some(language)
    }
}

/// The members of what should be an object; none where it is not.
fn of_object<'a, const N: usize>(raw: Option<&'a RawValue>, names: [&str; N]) -> [Option<&'a RawValue>; N] {
    raw.and_then(|raw| members(raw.get(), names).ok()).unwrap_or([None; N])
}
