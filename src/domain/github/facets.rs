//! What a client of the stream can ask for, read from an event once.

use std::sync::LazyLock;

use super::bots::is_bot;
use super::project::PULL_REQUEST_EVENT;
use super::sampling::Sample;
use super::selection::Selection;

/// Names in lower case, for they match whatever their case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facets {
    /// The event's type.
    pub kind: String,
    /// The payload's action; of a merged pull request always `merged`, however GitHub says it.
    pub action: Option<String>,
    /// `owner/name` of the repository.
    pub repo: String,
    /// The name of the organisation that the repository belongs to.
    pub org: Option<String>,
    /// The name of the account that did it.
    pub actor: String,
    /// The repository's primary language, where the event says it.
    pub language: Option<String>,
    /// Whether a machine did it.
    pub is_bot: bool,
    /// Whether it is left out unless its action is asked for.
    pub on_request: bool,
}

/// Action, whether it is merged, organisation, and the places where a language stands.
static PATHS: LazyLock<Selection> = LazyLock::new(|| {
    Selection::new([
        "e.payload.action",
        "e.payload.pull_request.merged",
        "e.org.login",
        "e.payload.pull_request.base.repo.language",
        "e.payload.forkee.language",
    ])
});

impl Facets {
    /// Those of an event that is shown.
    pub fn of(sample: &Sample) -> Self {
        let found = PATHS.pick(&[("e", &sample.event)]);
        let text = |slot: usize| {
            let text: Option<String> = found[slot].and_then(|raw| serde_json::from_str(raw).ok());
            text.map(|text| text.to_ascii_lowercase()).filter(|text| !text.is_empty())
        };
        let mut action = text(0);
        let is_pull_request = sample.kind == PULL_REQUEST_EVENT;
        if is_pull_request && action.as_deref() == Some("closed") && found[1] == Some("true") {
            action = Some("merged".to_owned());
        }
        Self {
            kind: sample.kind.to_ascii_lowercase(),
            action,
            repo: sample.repo_name.to_ascii_lowercase(),
            org: text(2),
            actor: sample.actor_login.to_ascii_lowercase(),
            language: text(3).or_else(|| text(4)),
            is_bot: is_bot(&sample.actor_login),
            on_request: sample.on_request,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    fn facets(kind: &str, payload: &str) -> Facets {
        let text = format!(
            r#"{{"id":"1","type":"{kind}","actor":{{"login":"Me[bot]"}},"repo":{{"name":"Owner/Repo"}},"org":{{"login":"Owner"}},"payload":{payload}}}"#
        );
        Facets::of(&Sample::of(&Event::parse(&text).unwrap(), None, false, text.clone()))
    }

    #[test]
    fn names_are_in_lower_case_and_a_merge_is_a_merge_however_it_is_said() {
        let old = r#"{"action":"closed","pull_request":{"merged":true,"base":{"repo":{"language":"Rust"}}}}"#;
        let old = facets("PullRequestEvent", old);
        assert_eq!((old.kind.as_str(), old.repo.as_str()), ("pullrequestevent", "owner/repo"));
        assert_eq!((old.org.as_deref(), old.actor.as_str(), old.is_bot), (Some("owner"), "me[bot]", true));
        assert_eq!((old.action.as_deref(), old.language.as_deref()), (Some("merged"), Some("rust")));
        let new = facets("PullRequestEvent", r#"{"action":"merged","pull_request":{}}"#);
        assert_eq!((new.action.as_deref(), new.language), (Some("merged"), None));
        let closed = facets("PullRequestEvent", r#"{"action":"closed","pull_request":{"merged":false}}"#);
        assert_eq!(closed.action.as_deref(), Some("closed"));
    }

    #[test]
    fn values_of_another_type_read_as_missing() {
        let odd = facets("ForkEvent", r#"{"action":{},"forkee":{"language":["C"]}}"#);
        assert_eq!((odd.action, odd.language), (None, None));
        assert_eq!(facets("ForkEvent", r#"{"forkee":{"language":"C"}}"#).language.as_deref(), Some("c"));
        assert_eq!(facets("WatchEvent", "null").action, None);
    }
}
