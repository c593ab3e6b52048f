//! One pull request event as the last 24 hours remember it, in memory and on the disk: its names cut to [`MAX_NAME`] bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::github::project::PULL_REQUEST_EVENT;
use crate::domain::github::row::Row;
use crate::event::{Event, EventKey};
use crate::mutation::Outcome;

/// Bytes of a name that are kept. GitHub's have 140 at most (an owner of 39, a repository of 100); others may send any.
const MAX_NAME: usize = 256;

/// An opened, merged or closed pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub key: EventKey,
    pub outcome: Outcome,
    pub pull_request: u64,
    pub repo: u64,
    pub repo_name: String,
    pub actor: u64,
    pub actor_login: String,
    pub additions: u64,
    pub deletions: u64,
}

/// How it is written; the key stands beside it.
#[derive(Serialize, Deserialize)]
struct Written<'a>(u8, u64, u64, Cow<'a, str>, u64, Cow<'a, str>, u64, u64);

impl Record {
    /// The event in `text`; `None` where it does not count.
    pub fn parse(text: &str) -> Option<Self> {
        Self::of(Row::of(&Event::parse(text).ok()?)?)
    }

    /// What a row says; `None` where it does not count.
    pub fn of(row: Row) -> Option<Self> {
        let outcome = match (row.action.as_deref()?, row.pr_merged) {
            ("opened", _) => Outcome::Opened,
            ("closed", Some(true)) => Outcome::Merged,
            ("closed", _) => Outcome::Closed,
            _ => return None,
        };
        (row.kind == PULL_REQUEST_EVENT).then_some(())?;
        Some(Self {
            key: row.key,
            outcome,
            pull_request: row.pr_or_issue_id?,
            repo: row.repo_id?,
            repo_name: name(row.repo_name),
            actor: row.actor_id?,
            actor_login: name(row.actor_login),
            additions: row.additions.unwrap_or(0),
            deletions: row.deletions.unwrap_or(0),
        })
    }

    /// Its bytes, without its key.
    pub fn write(&self) -> Vec<u8> {
        let outcome = match self.outcome {
            Outcome::Opened => 0,
            Outcome::Merged => 1,
            _ => 2,
        };
        let Self { pull_request, repo, repo_name, actor, actor_login, additions, deletions, .. } = self;
        let (name, login) = (repo_name.into(), actor_login.into());
        let written = Written(outcome, *pull_request, *repo, name, *actor, login, *additions, *deletions);
        // Numbers and strings always serialise.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// Reads what [`Record::write`] wrote of `key`.
    pub fn read(key: EventKey, bytes: &[u8]) -> Option<Self> {
        let Written(outcome, pull_request, repo, repo_name, actor, actor_login, additions, deletions) =
            serde_json::from_slice(bytes).ok()?;
        let outcome = match outcome {
            0 => Outcome::Opened,
            1 => Outcome::Merged,
            _ => Outcome::Closed,
        };
        let (repo_name, actor_login) = (repo_name.into_owned(), actor_login.into_owned());
        Some(Self { key, outcome, pull_request, repo, repo_name, actor, actor_login, additions, deletions })
    }
}

fn name(text: Option<String>) -> String {
    let mut name = text.unwrap_or_default();
    let end = (0..=name.len().min(MAX_NAME)).rev().find(|&end| name.is_char_boundary(end));
    name.truncate(end.unwrap_or_default());
    name
}
