//! From the body of a delivery to the event that GitHub's feed would show of the same thing.
//!
//! Only what the feed shows too, and by what the two can be matched: see [`natural`]. The parts of a body are copied byte
//! for byte, so a pull request keeps its size and language, which the feed has left out since October 2025.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::delivery::Ignored;
use crate::domain::github::natural;
use crate::event::{Event, EventKey, Text, lenient, members};
use crate::source::Candidate;

/// What a delivery turned out to be.
#[derive(Debug)]
pub enum Translated {
    /// An event in the feed's form.
    Event(Candidate),
    /// Nothing that becomes an event.
    Ignored(Ignored),
}

/// An event in the form of the feed, without its id, which is made of the rest.
#[derive(Serialize)]
struct Form<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    actor: Account<'a>,
    repo: Repo<'a>,
    payload: Payload<'a>,
    public: bool,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<Account<'a>>,
}

/// A person or an organisation as the feed shows them.
#[derive(Serialize)]
struct Account<'a> {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Repo<'a> {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a RawValue>,
}

/// The members that any type's payload has; those that are absent are left out.
#[derive(Default, Serialize)]
struct Payload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pull_request: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issue: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    review: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discussion: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forkee: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository_id: Option<u64>,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    branch: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a RawValue>,
}

/// An event's own part: its type, its payload, and where the moment is told at which it happened, best first.
struct Part<'a> {
    kind: &'static str,
    payload: Payload<'a>,
    moments: Vec<Option<&'a RawValue>>,
}

/// Translates the body of a delivery of type `event` that arrived at `now` (Unix seconds). The event's `created_at` is
/// what the body says; `now` stands in where it says nothing.
///
/// # Errors
/// When `body` is not one JSON object.
pub fn translate(event: &str, body: &str, now: i64) -> Result<Translated, serde_json::Error> {
    let [repository, sender, organization, action] =
        members(body, ["repository", "sender", "organization", "action"])?;
    let action: Option<Text<'_>> = lenient(action);
    let part = match part(event, action.as_ref().map_or("", Text::as_str), body)? {
        Ok(part) => part,
        Err(ignored) => return Ok(Translated::Ignored(ignored)),
    };
    let [repo_id, name, repo_url, private, visibility] =
        of_object(repository, ["id", "full_name", "url", "private", "visibility"]);
    let visibility: Option<Text<'_>> = lenient(visibility);
    if lenient(private) == Some(true) || visibility.is_some_and(|visibility| visibility.as_str() != "public")
    {
        return Ok(Translated::Ignored(Ignored::Private));
    }
    let (Some(actor), Some(repo_id)) = (account(sender), lenient(repo_id)) else {
        return Ok(Translated::Ignored(Ignored::Incomplete));
    };
    let Part { kind, mut payload, moments } = part;
    if payload.branch.is_some() {
        payload.repository_id = Some(repo_id);
    }
    let created_at = moments.into_iter().flatten().find_map(moment).unwrap_or(now);
    let form = Form {
        kind,
        actor,
        repo: Repo { id: repo_id, name, url: repo_url },
        payload,
        public: true,
        created_at: Timestamp::from_second(created_at).unwrap_or_default().to_string(),
        org: account(organization),
    };
    let rest = serde_json::to_string(&form)?;
    let Some(claim) = natural::claim(&Event::parse(&rest)?) else {
        return Ok(Translated::Ignored(Ignored::Incomplete));
    };
    let id = natural::webhook_id(claim);
    let raw = format!(r#"{{"id":"{id}",{}"#, &rest[1..]);
    Ok(Translated::Event(Candidate { key: EventKey { id, created_at }, raw: raw.into() }))
}

/// What the feed would show of it.
fn part<'a>(
    event: &str,
    action: &str,
    body: &'a str,
) -> Result<Result<Part<'a>, Ignored>, serde_json::Error> {
    let payload = Payload::default();
    Ok(match (event, action) {
        ("pull_request", "opened" | "closed" | "reopened") => {
            let [pull_request, number] = members(body, ["pull_request", "number"])?;
            let [created_at, closed_at, merged_at, updated_at] =
                of_object(pull_request, ["created_at", "closed_at", "merged_at", "updated_at"]);
            let (action, moments) = match action {
                "opened" => ("opened", vec![created_at, updated_at]),
                "closed" => ("closed", vec![merged_at, closed_at, updated_at]),
                _ => ("reopened", vec![updated_at]),
            };
            let payload = Payload { action: Some(action), number, pull_request, ..payload };
            Ok(Part { kind: "PullRequestEvent", payload, moments })
        }
        ("issues", "opened" | "closed" | "reopened") => {
            let [issue] = members(body, ["issue"])?;
            let [created_at, closed_at, updated_at] =
                of_object(issue, ["created_at", "closed_at", "updated_at"]);
            let (action, moments) = match action {
                "opened" => ("opened", vec![created_at, updated_at]),
                "closed" => ("closed", vec![closed_at, updated_at]),
                _ => ("reopened", vec![updated_at]),
            };
            Ok(Part {
                kind: "IssuesEvent",
                payload: Payload { action: Some(action), issue, ..payload },
                moments,
            })
        }
        ("push", _) => push(body)?,
        ("issue_comment", "created") => {
            let [issue, comment] = members(body, ["issue", "comment"])?;
            let payload = Payload { action: Some("created"), issue, comment, ..payload };
            Ok(made("IssueCommentEvent", payload, comment, "created_at"))
        }
        ("commit_comment", "created") => {
            let [comment] = members(body, ["comment"])?;
            let payload = Payload { action: Some("created"), comment, ..payload };
            Ok(made("CommitCommentEvent", payload, comment, "created_at"))
        }
        ("pull_request_review", "submitted") => {
            let [pull_request, review] = members(body, ["pull_request", "review"])?;
            // The feed's word for it.
            let payload = Payload { action: Some("created"), pull_request, review, ..payload };
            Ok(made("PullRequestReviewEvent", payload, review, "submitted_at"))
        }
        ("pull_request_review_comment", "created") => {
            let [pull_request, comment] = members(body, ["pull_request", "comment"])?;
            let payload = Payload { action: Some("created"), pull_request, comment, ..payload };
            Ok(made("PullRequestReviewCommentEvent", payload, comment, "created_at"))
        }
        ("discussion", "created") => {
            let [discussion] = members(body, ["discussion"])?;
            let payload = Payload { action: Some("created"), discussion, ..payload };
            Ok(made("DiscussionEvent", payload, discussion, "created_at"))
        }
        ("release", "published") => {
            let [release] = members(body, ["release"])?;
            let payload = Payload { action: Some("published"), release, ..payload };
            Ok(made("ReleaseEvent", payload, release, "published_at"))
        }
        ("fork", _) => {
            let [forkee] = members(body, ["forkee"])?;
            Ok(made("ForkEvent", Payload { forkee, ..payload }, forkee, "created_at"))
        }
        // `watch` tells of the same, but not when.
        ("star", "created") => {
            let [starred_at] = members(body, ["starred_at"])?;
            let payload = Payload { action: Some("started"), ..payload };
            Ok(Part { kind: "WatchEvent", payload, moments: vec![starred_at] })
        }
        (
            "pull_request"
            | "issues"
            | "issue_comment"
            | "commit_comment"
            | "pull_request_review"
            | "pull_request_review_comment"
            | "discussion"
            | "release"
            | "star",
            _,
        ) => Err(Ignored::Action),
        _ => Err(Ignored::Type),
    })
}

/// The feed shows pushes to branches; a tag is a `CreateEvent` there, and a branch that is gone a `DeleteEvent`.
fn push(body: &str) -> Result<Result<Part<'_>, Ignored>, serde_json::Error> {
    let [branch, before, head, deleted, repository] =
        members(body, ["ref", "before", "after", "deleted", "repository"])?;
    let to_branch = lenient(branch).is_some_and(|name: Text<'_>| name.as_str().starts_with("refs/heads/"));
    if !to_branch || lenient(deleted) == Some(true) {
        return Ok(Err(Ignored::Ref));
    }
    let [pushed_at] = of_object(repository, ["pushed_at"]);
    let payload = Payload { branch, head, before, ..Payload::default() };
    Ok(Ok(Part { kind: "PushEvent", payload, moments: vec![pushed_at] }))
}

/// An event of something that was made, which says when.
fn made<'a>(
    kind: &'static str,
    payload: Payload<'a>,
    subject: Option<&'a RawValue>,
    moment: &'static str,
) -> Part<'a> {
    let [moment] = of_object(subject, [moment]);
    Part { kind, payload, moments: vec![moment] }
}

fn account(raw: Option<&RawValue>) -> Option<Account<'_>> {
    let [id, login, url, avatar_url] = of_object(raw, ["id", "login", "url", "avatar_url"]);
    Some(Account { id: lenient(id)?, login, url, avatar_url })
}

/// A moment in Unix seconds: GitHub writes it as text, and in pushes as a number.
fn moment(raw: &RawValue) -> Option<i64> {
    let text: Option<Text<'_>> = lenient(Some(raw));
    let seconds = match text {
        Some(text) => text.as_str().parse::<Timestamp>().ok()?.as_second(),
        None => lenient(Some(raw))?,
    };
    Timestamp::from_second(seconds).ok().map(Timestamp::as_second)
}

/// The members of what should be an object; none where it is not.
fn of_object<'a, const N: usize>(raw: Option<&'a RawValue>, names: [&str; N]) -> [Option<&'a RawValue>; N] {
    raw.and_then(|raw| members(raw.get(), names).ok()).unwrap_or([None; N])
}

#[cfg(test)]
mod tests;
