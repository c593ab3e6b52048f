//! The payload of a `PullRequestEvent`, as far as it is counted. Everything is optional: see `event.rs`.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::{Text, lenient};
use crate::mutation::{Outcome, Size};

/// The payload of a `PullRequestEvent`.
#[derive(Debug, Default, Deserialize)]
pub struct PullRequestPayload<'a> {
    #[serde(default, borrow, deserialize_with = "lenient")]
    action: Option<Text<'a>>,
    /// The pull request as it came.
    #[serde(default, borrow)]
    pub pull_request: Option<&'a RawValue>,
}

/// A pull request, full or in the trimmed form of October 2025.
#[derive(Debug, Default, Deserialize)]
pub struct PullRequest<'a> {
    /// Its number across GitHub.
    #[serde(default, deserialize_with = "lenient")]
    pub id: Option<u64>,
    /// Whether it is merged; not in the trimmed form.
    #[serde(default, deserialize_with = "lenient")]
    pub merged: Option<bool>,
    /// Lines added; not in the trimmed form.
    #[serde(default, deserialize_with = "lenient")]
    pub additions: Option<u64>,
    /// Lines deleted; not in the trimmed form.
    #[serde(default, deserialize_with = "lenient")]
    pub deletions: Option<u64>,
    #[serde(default, borrow, deserialize_with = "lenient")]
    base: Option<Base<'a>>,
}

#[derive(Debug, Deserialize)]
struct Base<'a> {
    #[serde(default, borrow, deserialize_with = "lenient")]
    repo: Option<BaseRepo<'a>>,
}

#[derive(Debug, Deserialize)]
struct BaseRepo<'a> {
    #[serde(default, borrow, deserialize_with = "lenient")]
    language: Option<Text<'a>>,
}

impl<'a> PullRequestPayload<'a> {
    /// Reads a payload; one that is missing or not an object reads as empty.
    pub fn parse(payload: Option<&'a RawValue>) -> Self {
        payload.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    /// The pull request; empty when it is missing or not an object.
    pub fn pull_request(&self) -> PullRequest<'a> {
        self.pull_request.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
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
        let language = self.base.as_ref()?.repo.as_ref()?.language.as_ref()?.as_str();
        (!language.is_empty()).then_some(language)
    }
}
