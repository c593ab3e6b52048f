//! The two queries for pull requests, and what their answers say of each: pure.
//!
//! `nodes(ids:)` takes 100 for one point (docs.github.com, graphql/overview/rate-limits-and-query-limits-for-the-graphql-api);
//! where a computed id is refused, the pull request is asked for by repository and number, 50 at once. Only numbers and a
//! name are asked for: 100 bodies were seen to end in a 502.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::node_id;
use crate::domain::github::details::{Details, Stub};
use crate::mutation::Size;

/// How pull requests are named in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// By computed node ids.
    Node,
    /// By repository and number.
    Name,
}

impl By {
    /// Pull requests in one query at most.
    pub fn limit(self) -> usize {
        match self {
            Self::Node => 100,
            Self::Name => 50,
        }
    }
}

/// What an answer says of one pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// What it is.
    Details(Details),
    /// Nothing is there under this id or name, or nothing that may be seen, or another one than asked for.
    Nothing,
    /// Left out because the query as a whole was too much, or failed inside.
    Cut,
}

/// The quota as an answer's body tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct RateLimit {
    /// Points that the query took.
    pub cost: u64,
    /// Points that are left.
    pub remaining: u64,
    /// When there are more.
    #[serde(rename = "resetAt")]
    pub reset_at: Timestamp,
}

/// An answer that has something to say of the pull requests.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// In the order in which they were asked for.
    pub found: Vec<Found>,
    /// The quota, where it is told.
    pub rate_limit: Option<RateLimit>,
}

/// Why an answer says nothing of any pull request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not JSON in the form of a GraphQL answer.
    #[error("the answer is not one of GraphQL")]
    NotAnAnswer,
    /// The quota is spent, or was asked too fast.
    #[error("the GraphQL rate limit is reached")]
    RateLimited,
    /// The query took more than one may.
    #[error("the query took more than GitHub allows")]
    TooMuch,
    /// Anything else.
    #[error("GitHub refuses the query: {0}")]
    Refused(String),
}

const RATE_LIMIT: &str = "rateLimit{cost remaining resetAt}";
const FIELDS: &str = "id additions deletions baseRepository{primaryLanguage{name}}";

/// Whether a pull request can be asked for by name. Only such names are written into a query.
pub fn has_name(stub: &Stub) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name = stub.repo_name.split_once('/');
    let sound = |(owner, name): (&str, &str)| {
        [owner, name].into_iter().all(|part| !part.is_empty() && part.chars().all(plain))
    };
    stub.number.is_some_and(|number| i32::try_from(number).is_ok()) && name.is_some_and(sound)
}

/// The body of a request for `stubs`. Those asked for by name must have one.
pub fn body(by: By, stubs: &[Stub]) -> Value {
    match by {
        By::Node => {
            let ids: Vec<_> = stubs.iter().map(id).collect();
            let query = format!(
                "query($ids:[ID!]!){{{RATE_LIMIT} nodes(ids:$ids){{__typename ...on PullRequest{{{FIELDS}}}}}}}"
            );
            json!({ "query": query, "variables": { "ids": ids } })
        }
        By::Name => {
            let mut query = format!("query{{{RATE_LIMIT}");
            for (index, stub) in stubs.iter().enumerate() {
                let (owner, name) = stub.repo_name.split_once('/').unwrap_or_default();
                let number = stub.number.unwrap_or_default();
                // Writing to a string cannot fail. `has_name` leaves nothing that needs escaping.
                let _ = write!(
                    query,
                    r#" p{index}:repository(owner:"{owner}",name:"{name}"){{databaseId pullRequest(number:{number}){{{FIELDS}}}}}"#
                );
            }
            query.push('}');
            json!({ "query": query })
        }
    }
}

/// What the answer to `body(by, stubs)` says. An answer that has some data and some errors is used as far as it goes.
///
/// # Errors
/// When it says nothing of any of them.
pub fn read(by: By, stubs: &[Stub], answer: &[u8]) -> Result<Reply, Refusal> {
    let answer: Value = serde_json::from_slice(answer).map_err(|_| Refusal::NotAnAnswer)?;
    let errors: Vec<_> = answer["errors"].as_array().into_iter().flatten().map(QueryError::read).collect();
    let data = &answer["data"];
    let places = |index: usize| match by {
        By::Node => data["nodes"].get(index),
        By::Name => data.get(format!("p{index}")),
    };
    let is_there = match by {
        By::Node => data["nodes"].is_array(),
        By::Name => data.is_object(),
    };
    let limited = errors.iter().any(|error| error.kind == "RATE_LIMITED");
    if limited || !is_there {
        let of_kind = |kind| errors.iter().find(|error| error.kind == kind);
        return Err(match errors.first() {
            _ if limited => Refusal::RateLimited,
            _ if of_kind(RESOURCE_LIMITS_EXCEEDED).is_some() => Refusal::TooMuch,
            Some(first) => Refusal::Refused(first.message.clone()),
            None => Refusal::NotAnAnswer,
        });
    }
    let found = stubs.iter().enumerate().map(|(index, stub)| {
        let place = places(index).unwrap_or(&Value::Null);
        let node = match by {
            By::Node => place,
            By::Name => &place["pullRequest"],
        };
        match node {
            Value::Null if errors.iter().any(|error| error.cuts(by, index)) => Found::Cut,
            Value::Null => Found::Nothing,
            node if !is_same(by, stub, place, node) => Found::Nothing,
            node => details(node).map_or(Found::Nothing, Found::Details),
        }
    });
    let found: Vec<_> = found.collect();
    if !found.is_empty() && found.iter().all(|found| *found == Found::Cut) {
        return Err(Refusal::TooMuch);
    }
    let rate_limit = RateLimit::deserialize(&data["rateLimit"]).ok();
    Ok(Reply { found, rate_limit })
}

const RESOURCE_LIMITS_EXCEEDED: &str = "RESOURCE_LIMITS_EXCEEDED";

/// An entry of `errors`.
struct QueryError {
    kind: String,
    message: String,
    /// What it befell; empty where that is the whole query.
    path: Vec<Value>,
}

impl QueryError {
    fn read(error: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let kind = text(&error["type"]).or_else(|| text(&error["extensions"]["code"]));
        Self {
            kind: kind.unwrap_or_default().to_ascii_uppercase(),
            message: text(&error["message"]).unwrap_or_else(|| "it does not say why".to_owned()),
            path: error["path"].as_array().cloned().unwrap_or_default(),
        }
    }

    /// Whether it is why nothing is at this place, although something may be there.
    fn cuts(&self, by: By, index: usize) -> bool {
        // What says that there is nothing to see.
        let absent = ["NOT_FOUND", "FORBIDDEN", "INSUFFICIENT_SCOPES"].contains(&self.kind.as_str());
        let here = match (by, self.path.as_slice()) {
            (_, []) => true,
            (By::Node, [first]) => first == "nodes",
            (By::Node, [first, place, ..]) => first == "nodes" && *place == json!(index),
            (By::Name, [first, ..]) => *first == json!(format!("p{index}")),
        };
        here && !absent
    }
}

fn id(stub: &Stub) -> String {
    node_id::pull_request(stub.repo, stub.pull_request)
}

/// Whether a node is the pull request that was asked for, as far as it says. A name may belong to another repository by now.
fn is_same(by: By, stub: &Stub, place: &Value, node: &Value) -> bool {
    match by {
        By::Node => node["id"].as_str().is_none_or(|given| given == id(stub)),
        By::Name => place["databaseId"].as_u64().is_none_or(|repo| repo == stub.repo),
    }
}

fn details(node: &Value) -> Option<Details> {
    let size = Size { additions: node["additions"].as_u64()?, deletions: node["deletions"].as_u64()? };
    let language = node["baseRepository"]["primaryLanguage"]["name"].as_str();
    Some(Details {
        size: Some(size),
        language: language.filter(|language| !language.is_empty()).map(Into::into),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stubs(count: u64) -> Vec<Stub> {
        let stub = |index| Stub {
            pull_request: 100 + index,
            number: Some(index),
            repo: 7,
            repo_name: "an-owner/a.repo_1".to_owned(),
            created_at: 0,
        };
        (0..count).map(stub).collect()
    }

    fn node(stub: &Stub) -> Value {
        json!({
            "id": id(stub), "additions": stub.pull_request, "deletions": 2,
            "baseRepository": { "primaryLanguage": { "name": "Rust" } },
        })
    }

    fn details_of(stub: &Stub) -> Found {
        let size = Some(Size { additions: stub.pull_request, deletions: 2 });
        Found::Details(Details { size, language: Some("Rust".into()) })
    }

    fn read_json(by: By, stubs: &[Stub], answer: Value) -> Result<Reply, Refusal> {
        read(by, stubs, answer.to_string().as_bytes())
    }

    #[test]
    fn what_an_answer_has_is_used_and_what_it_lacks_is_told_apart() {
        let stubs = stubs(5);
        let mut other = node(&stubs[3]);
        other["id"] = "PR_of_another".into();
        let answer = json!({
            "data": {
                "rateLimit": { "cost": 1, "remaining": 4_990, "resetAt": "2026-01-01T00:00:00Z" },
                "nodes": [node(&stubs[0]), null, null, other, { "__typename": "Issue" }],
            },
            "errors": [
                { "type": "NOT_FOUND", "path": ["nodes", 1], "message": "Could not resolve to a node" },
                { "type": "RESOURCE_LIMITS_EXCEEDED", "path": ["nodes", 2], "message": "too much" },
            ],
        });
        let reply = read_json(By::Node, &stubs, answer).unwrap();
        let nothing = || Found::Nothing;
        assert_eq!(reply.found, [details_of(&stubs[0]), nothing(), Found::Cut, nothing(), nothing()]);
        assert_eq!(reply.rate_limit.unwrap().remaining, 4_990);
    }

    #[test]
    fn by_name_a_repository_that_is_another_one_now_has_nothing() {
        let stubs = stubs(4);
        let of = |repo: u64, stub| json!({ "databaseId": repo, "pullRequest": node(stub) });
        let answer = json!({
            "data": {
                "p0": of(7, &stubs[0]), "p1": of(8, &stubs[1]), "p2": null, "p3": { "pullRequest": null },
            },
            "errors": [{ "type": "NOT_FOUND", "path": ["p2"], "message": "Could not resolve to a Repository" }],
        });
        let found = read_json(By::Name, &stubs, answer).unwrap().found;
        assert_eq!(found, [details_of(&stubs[0]), Found::Nothing, Found::Nothing, Found::Nothing]);
    }

    #[test]
    fn answers_without_any_data_say_why() {
        let refused = |answer| read_json(By::Node, &stubs(2), answer).unwrap_err();
        let error = |kind: &str| json!({ "errors": [{ "type": kind, "message": "why" }] });
        assert_eq!(refused(error("RATE_LIMITED")), Refusal::RateLimited);
        assert_eq!(refused(error("RESOURCE_LIMITS_EXCEEDED")), Refusal::TooMuch);
        assert_eq!(refused(error("MAX_NODE_LIMIT_EXCEEDED")), Refusal::Refused("why".to_owned()));
        let code =
            json!({ "data": null, "errors": [{ "extensions": { "code": "resource_limits_exceeded" } }] });
        assert_eq!(refused(code), Refusal::TooMuch);
        let cut = |place: u64| json!({ "type": "INTERNAL", "path": ["nodes", place], "message": "why" });
        let nothing_but_cuts = json!({ "data": { "nodes": [null, null] }, "errors": [cut(0), cut(1)] });
        assert_eq!(refused(nothing_but_cuts), Refusal::TooMuch);
        assert_eq!(refused(json!({ "message": "Server Error" })), Refusal::NotAnAnswer);
        assert_eq!(read(By::Name, &stubs(1), b"<html>"), Err(Refusal::NotAnAnswer));
    }

    #[test]
    fn only_plain_names_are_written_into_a_query() {
        let named =
            |repo_name: &str, number| Stub { number, repo_name: repo_name.to_owned(), ..stubs(1).remove(0) };
        assert!(has_name(&named("a-b/c.d_e", Some(1))));
        for odd in ["", "a", "a/", "/b", "a/b/c", "a/b\"){id} x:repository(owner:\"c", "a/b\\", "a b/c"] {
            assert!(!has_name(&named(odd, Some(1))), "{odd}");
        }
        assert!(!has_name(&named("a/b", None)) && !has_name(&named("a/b", Some(1 << 31))));
        let query = body(By::Name, &stubs(2))["query"].as_str().unwrap().to_owned();
        assert!(query.contains(r#"p1:repository(owner:"an-owner",name:"a.repo_1"){"#), "{query}");
        assert_eq!(query.matches('{').count(), query.matches('}').count());
        let query = body(By::Node, &stubs(2));
        assert_eq!(query["variables"]["ids"][1], id(&stubs(2)[1]));
    }
}
