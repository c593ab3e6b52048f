//! Bodies as GitHub sends them, and what they become.

use serde_json::{Value, json};

use super::*;
use crate::domain::github::project::{Projection, project};
use crate::mutation::{Outcome, Size};

/// 2026-06-15T12:00:00Z, when everything arrives.
const NOW: i64 = 1_781_524_800;

/// A body with what all have, and `own`.
fn body(own: Value) -> Value {
    let mut body = json!({
        "repository": {
            "id": 3, "name": "r", "full_name": "o/r", "private": false, "visibility": "public",
            "url": "https://api.github.com/repos/o/r", "owner": {"login": "o", "id": 4},
        },
        "organization": {"id": 4, "login": "o", "url": "https://api.github.com/orgs/o", "description": "x"},
        "sender": {"id": 2, "login": "me", "avatar_url": "https://a/2", "type": "User", "site_admin": false},
    });
    for (name, value) in own.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn event(kind: &str, own: Value) -> (EventKey, Value) {
    match translate(kind, &body(own).to_string(), NOW).unwrap() {
        Translated::Event(Candidate { key, raw }) => {
            let text = std::str::from_utf8(&raw).unwrap();
            let parsed = Event::parse(text).unwrap();
            assert_eq!(parsed.key(), Some(key), "{text}");
            (key, serde_json::from_str(text).unwrap())
        }
        Translated::Ignored(reason) => panic!("{kind} is ignored: {reason:?}"),
    }
}

fn ignored(kind: &str, own: Value) -> Ignored {
    match translate(kind, &body(own).to_string(), NOW).unwrap() {
        Translated::Ignored(reason) => reason,
        Translated::Event(event) => panic!("{event:?}"),
    }
}

fn closed(merged: bool) -> Value {
    json!({"action": "closed", "number": 7, "pull_request": {
        "id": 5, "number": 7, "merged": merged, "additions": 30, "deletions": 4,
        "created_at": "2026-06-14T10:00:00Z", "updated_at": "2026-06-15T11:00:03Z",
        "closed_at": "2026-06-15T11:00:01Z", "merged_at": if merged { json!("2026-06-15T11:00:00Z") } else { json!(null) },
        "base": {"repo": {"id": 3, "language": "Rust"}},
    }})
}

#[test]
fn a_merged_pull_request_becomes_an_event_of_the_feed_with_its_size_and_language() {
    let (key, event) = event("pull_request", closed(true));
    assert!(key.id < 0);
    assert_eq!(event["id"], key.id.to_string());
    assert_eq!(event["type"], "PullRequestEvent");
    assert_eq!(event["created_at"], "2026-06-15T11:00:00Z", "when it was merged, not when it arrived");
    assert_eq!(event["actor"], json!({"id": 2, "login": "me", "avatar_url": "https://a/2"}));
    assert_eq!(event["repo"], json!({"id": 3, "name": "o/r", "url": "https://api.github.com/repos/o/r"}));
    assert_eq!(event["org"], json!({"id": 4, "login": "o", "url": "https://api.github.com/orgs/o"}));
    assert_eq!((&event["public"], &event["payload"]["number"]), (&json!(true), &json!(7)));
    assert_eq!(event["payload"]["pull_request"], closed(true)["pull_request"]);
    let text = event.to_string();
    let Ok(Projection::Counts(mutation, None)) = project(&Event::parse(&text).unwrap()) else {
        panic!("{text}")
    };
    assert_eq!((mutation.outcome, mutation.pull_request), (Outcome::Merged, 5));
    assert_eq!(mutation.size, Some(Size { additions: 30, deletions: 4 }));
    assert_eq!(mutation.language.as_deref(), Some("Rust"));
}

#[test]
fn each_action_happened_when_the_body_says_so() {
    let at = |action: &str| {
        let mut own = closed(false);
        own["action"] = json!(action);
        event("pull_request", own).1["created_at"].clone()
    };
    assert_eq!(at("opened"), "2026-06-14T10:00:00Z");
    assert_eq!(at("closed"), "2026-06-15T11:00:01Z");
    assert_eq!(at("reopened"), "2026-06-15T11:00:03Z");
    let mut timeless = closed(false);
    timeless["pull_request"] = json!({"id": 5, "closed_at": "soon", "updated_at": null});
    assert_eq!(event("pull_request", timeless).1["created_at"], "2026-06-15T12:00:00Z");
}

#[test]
fn the_twin_in_the_feed_has_the_same_natural_key() {
    let of_feed = |kind: &str, payload: Value| {
        let raw = json!({"id": "9", "type": kind, "actor": {"id": 2}, "repo": {"id": 3}, "payload": payload,
            "created_at": "2026-06-15T11:00:30Z"});
        natural::webhook_id(natural::claim(&Event::parse(&raw.to_string()).unwrap()).unwrap())
    };
    let comment = json!({"id": 6, "created_at": "2026-06-15T11:00:00Z"});
    for (kind, own, feed_kind, payload) in [
        (
            "pull_request",
            closed(true),
            "PullRequestEvent",
            json!({"action": "merged", "pull_request": {"id": 5}}),
        ),
        (
            "pull_request",
            closed(false),
            "PullRequestEvent",
            json!({"action": "closed", "pull_request": {"id": 5}}),
        ),
        (
            "push",
            json!({"ref": "refs/heads/a/b", "before": "00aa", "after": "11bb", "deleted": false, "commits": []}),
            "PushEvent",
            json!({"repository_id": 3, "push_id": 8, "ref": "refs/heads/a/b", "head": "11bb", "before": "00aa"}),
        ),
        (
            "issues",
            json!({"action": "closed", "issue": {"id": 6, "closed_at": "2026-06-15T11:00:00Z"}}),
            "IssuesEvent",
            json!({"action": "closed", "issue": {"id": 6}}),
        ),
        (
            "issue_comment",
            json!({"action": "created", "issue": {"id": 1}, "comment": comment}),
            "IssueCommentEvent",
            json!({"action": "created", "issue": {"id": 1}, "comment": {"id": 6}}),
        ),
        (
            "commit_comment",
            json!({"action": "created", "comment": comment}),
            "CommitCommentEvent",
            json!({"comment": {"id": 6}}),
        ),
        (
            "pull_request_review",
            json!({"action": "submitted", "review": {"id": 6}, "pull_request": {"id": 5}}),
            "PullRequestReviewEvent",
            json!({"action": "created", "review": {"id": 6}, "pull_request": {"id": 5}}),
        ),
        (
            "pull_request_review_comment",
            json!({"action": "created", "comment": comment}),
            "PullRequestReviewCommentEvent",
            json!({"action": "created", "comment": {"id": 6}}),
        ),
        (
            "discussion",
            json!({"action": "created", "discussion": {"id": 6}}),
            "DiscussionEvent",
            json!({"action": "created", "discussion": {"id": 6}}),
        ),
        (
            "release",
            json!({"action": "published", "release": {"id": 6}}),
            "ReleaseEvent",
            json!({"action": "published", "release": {"id": 6}}),
        ),
        ("fork", json!({"forkee": {"id": 6}}), "ForkEvent", json!({"forkee": {"id": 6}})),
        (
            "star",
            json!({"action": "created", "starred_at": "2026-06-15T11:00:00Z"}),
            "WatchEvent",
            json!({"action": "started"}),
        ),
    ] {
        let (key, event) = event(kind, own);
        assert_eq!(event["type"], feed_kind);
        assert_eq!(key.id, of_feed(feed_kind, payload), "{kind}");
    }
}

#[test]
fn a_push_happened_when_the_repository_was_pushed_to() {
    let mut own = json!({"ref": "refs/heads/main", "before": "00", "after": "11"});
    own["repository"] = body(json!({}))["repository"].clone();
    own["repository"]["pushed_at"] = json!(NOW - 60);
    let (key, event) = event("push", own);
    assert_eq!(key.created_at, NOW - 60);
    let payload = json!({"repository_id": 3, "ref": "refs/heads/main", "head": "11", "before": "00"});
    assert_eq!(event["payload"], payload);
}

#[test]
fn what_the_feed_does_not_show_is_ignored_with_its_reason() {
    let pull_request = json!({"id": 5});
    for action in ["labeled", "synchronize", "edited", ""] {
        let own = json!({"action": action, "pull_request": pull_request});
        assert_eq!(ignored("pull_request", own), Ignored::Action, "{action}");
    }
    assert_eq!(ignored("issues", json!({"action": "pinned"})), Ignored::Action);
    for kind in ["workflow_run", "watch", "member", "create", "security_advisory"] {
        assert_eq!(ignored(kind, json!({"action": "completed"})), Ignored::Type, "{kind}");
    }
    assert_eq!(ignored("push", json!({"ref": "refs/tags/v1", "after": "11"})), Ignored::Ref);
    let deletion = json!({"ref": "refs/heads/a", "after": "00", "deleted": true});
    assert_eq!(ignored("push", deletion), Ignored::Ref);
}

#[test]
fn what_is_private_or_lacks_an_id_is_ignored() {
    for private in
        [json!({"private": true}), json!({"visibility": "internal"}), json!({"visibility": "private"})]
    {
        let mut own = closed(true);
        own["repository"] = body(json!({}))["repository"].clone();
        for (name, value) in private.as_object().unwrap() {
            own["repository"][name] = value.clone();
        }
        assert_eq!(ignored("pull_request", own), Ignored::Private, "{private}");
    }
    for (name, value) in
        [("sender", json!({"login": "x"})), ("repository", json!({})), ("pull_request", json!({}))]
    {
        let mut own = closed(true);
        own[name] = value;
        assert_eq!(ignored("pull_request", own), Ignored::Incomplete, "{name}");
    }
    assert_eq!(ignored("fork", json!({"forkee": null})), Ignored::Incomplete);
}

#[test]
fn what_is_no_object_is_an_error() {
    for body in ["", "[]", "null", "payload=%7B%7D", r#"{"action":"opened""#, "{} {}"] {
        assert!(translate("pull_request", body, NOW).is_err(), "{body}");
    }
}
