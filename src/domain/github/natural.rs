//! The natural key of an event: what tells it from all others where GitHub's id of it is not known.
//!
//! The feed gives an event an id, a webhook does not. What both say of it is enough to see that they tell of the same
//! thing: of a pull request its id and outcome, of a push the repository, ref and head, of most others the id of what was
//! made. Where the same may happen twice, as closing and reopening do, the two must also lie within ten minutes.
//!
//! Twins are found by a hash. It is a cryptographic one: anybody can push a ref of any name to a repository of their own,
//! and must not be able to make an event that is held for somebody else's.

use ring::digest::{SHA256, digest};
use serde_json::value::RawValue;

use super::payload::PullRequestPayload;
use super::project::PULL_REQUEST_EVENT;
use crate::event::{Event, Text, lenient, members};
use crate::mutation::{Claim, Outcome};

/// How far twins may lie apart where the same can happen again, in seconds.
const WITHIN: u32 = 600;

/// What `event` and its twin claim; `None` where its type has no natural key, or it lacks a part of it.
pub fn claim(event: &Event<'_>) -> Option<Claim> {
    let (key, within) = key(event)?;
    Some(Claim { natural: hash(&key), within })
}

/// The id of an event that came by a webhook: the negated hash of its natural key.
pub fn webhook_id(claim: Claim) -> i64 {
    -claim.natural
}

/// The natural key as text, and how far twins may lie apart. Only its last part may be any text, so that no key reads as
/// another one; of two such parts the first has its length before it.
fn key(event: &Event<'_>) -> Option<(String, Option<u32>)> {
    let payload = event.payload;
    let repo = || event.repo.as_ref()?.id;
    Some(match event.kind() {
        PULL_REQUEST_EVENT => {
            let payload = PullRequestPayload::parse(payload);
            let pull_request = payload.pull_request();
            let outcome = word(payload.outcome(&pull_request)?)?;
            (format!("pull_request/{}/{outcome}", pull_request.id?), Some(WITHIN))
        }
        "PushEvent" => {
            let [branch, head] = members(payload?.get(), ["ref", "head"]).ok()?;
            let (branch, head) = (text(branch)?, text(head)?);
            let (branch, head) = (branch.as_str(), head.as_str());
            (format!("push/{}/{}/{head}/{branch}", repo()?, head.len()), None)
        }
        "IssuesEvent" => {
            let (issue, action) = subject(payload, "issue")?;
            (format!("issue/{issue}/{}", action?.as_str()), Some(WITHIN))
        }
        "WatchEvent" => {
            let actor = event.actor.as_ref()?.id?;
            (format!("watch/{}/{actor}", repo()?), Some(WITHIN))
        }
        "ForkEvent" => (format!("fork/{}", subject(payload, "forkee")?.0), None),
        "ReleaseEvent" => (made(payload, "release")?, None),
        "IssueCommentEvent" => (format!("issue_{}", made(payload, "comment")?), None),
        "CommitCommentEvent" => (format!("commit_comment/{}", subject(payload, "comment")?.0), None),
        "PullRequestReviewEvent" => (made(payload, "review")?, None),
        "PullRequestReviewCommentEvent" => (format!("review_{}", made(payload, "comment")?), None),
        "DiscussionEvent" => (made(payload, "discussion")?, None),
        _ => return None,
    })
}

/// `name/id/action` of what the payload is about.
fn made(payload: Option<&RawValue>, name: &str) -> Option<String> {
    let (id, action) = subject(payload, name)?;
    Some(format!("{name}/{id}/{}", action?.as_str()))
}

/// The id of the payload's member `name`, and the payload's action.
fn subject<'a>(payload: Option<&'a RawValue>, name: &str) -> Option<(u64, Option<Text<'a>>)> {
    let [subject, action] = members(payload?.get(), [name, "action"]).ok()?;
    let [id] = members(subject?.get(), ["id"]).ok()?;
    Some((lenient(id)?, text(action)))
}

fn text(raw: Option<&RawValue>) -> Option<Text<'_>> {
    lenient(raw)
}

fn word(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Opened => Some("opened"),
        Outcome::Merged => Some("merged"),
        Outcome::Closed => Some("closed"),
        Outcome::Reopened => Some("reopened"),
        Outcome::Uncounted => None,
    }
}

/// The first 63 bits of the SHA-256, 1 in place of 0: negated it must be a negative id.
fn hash(key: &str) -> i64 {
    let first =
        digest(&SHA256, key.as_bytes()).as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    i64::try_from(first >> 1).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim_of(kind: &str, payload: &str) -> Option<Claim> {
        let raw = format!(r#"{{"type":"{kind}","actor":{{"id":2}},"repo":{{"id":3}},"payload":{payload}}}"#);
        claim(&Event::parse(&raw).unwrap())
    }

    #[test]
    fn the_outcome_is_the_key_and_not_its_name() {
        let merged = claim_of("PullRequestEvent", r#"{"action":"merged","pull_request":{"id":5}}"#).unwrap();
        let closed = r#"{"action":"closed","pull_request":{"id":5,"merged":true,"additions":7}}"#;
        assert_eq!(claim_of("PullRequestEvent", closed), Some(merged));
        assert_eq!(merged.within, Some(600));
        let unmerged =
            claim_of("PullRequestEvent", r#"{"action":"closed","pull_request":{"id":5}}"#).unwrap();
        assert_ne!(unmerged.natural, merged.natural);
        assert_eq!(claim_of("PullRequestEvent", r#"{"action":"labeled","pull_request":{"id":5}}"#), None);
    }

    #[test]
    fn ids_of_webhook_events_stay_what_they_are() {
        let merged = claim_of("PullRequestEvent", r#"{"action":"merged","pull_request":{"id":5}}"#).unwrap();
        // printf pull_request/5/merged | sha256sum, the first 16 digits halved and negated.
        assert_eq!(webhook_id(merged), -8_081_222_020_101_854_556);
    }

    #[test]
    fn a_key_holds_what_tells_it_from_others() {
        let push = |branch: &str, head: &str| {
            claim_of("PushEvent", &format!(r#"{{"ref":"{branch}","head":"{head}"}}"#)).unwrap()
        };
        assert_eq!(push("refs/heads/a", "1"), push("refs/heads/a", "1"));
        assert_ne!(push("refs/heads/a", "1").natural, push("refs/heads/b", "1").natural);
        assert_ne!(push("refs/heads/a", "1").natural, push("refs/heads/a", "2").natural);
        assert_ne!(push("b/c", "1").natural, push("c", "1/b").natural, "no part can pass for two");
        assert_eq!(push("refs/heads/a", "1").within, None);
        let comment = r#"{"action":"created","comment":{"id":5}}"#;
        let comments = ["IssueCommentEvent", "CommitCommentEvent", "PullRequestReviewCommentEvent"];
        let mut keys: Vec<_> = comments.iter().map(|kind| claim_of(kind, comment).unwrap().natural).collect();
        keys.dedup();
        assert_eq!(keys.len(), 3, "ids of different things may be equal");
    }

    #[test]
    fn without_a_part_of_the_key_there_is_none() {
        for (kind, payload) in [
            ("PullRequestEvent", r#"{"action":"opened","pull_request":{}}"#),
            ("PushEvent", r#"{"ref":"refs/heads/a"}"#),
            ("IssuesEvent", r#"{"issue":{"id":5}}"#),
            ("ReleaseEvent", r#"{"action":"published","release":[]}"#),
            ("ForkEvent", "null"),
            ("GollumEvent", r#"{"pages":[]}"#),
            ("FutureEvent", "{}"),
        ] {
            assert_eq!(claim_of(kind, payload), None, "{kind}");
        }
        assert!(claim_of("WatchEvent", r#"{"action":"started"}"#).is_some());
        assert_eq!(claim(&Event::parse(r#"{"type":"WatchEvent","repo":{"id":3}}"#).unwrap()), None);
    }
}
