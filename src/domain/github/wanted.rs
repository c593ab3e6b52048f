//! Which events a client of the stream wants.

use std::collections::HashSet;

use super::facets::Facets;
use super::repo_names::RepoNames;

/// Names in lower case; empty: all.
pub type Names = HashSet<Box<str>>;

/// What must hold of an event, all of it; of a list, one item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Types.
    pub kinds: Names,
    /// Actions; `*` is any, also none. Empty: all, but of pull requests only those of the four outcomes.
    pub actions: Names,
    /// Repositories.
    pub repos: RepoNames,
    /// Organisations.
    pub orgs: Names,
    /// Accounts.
    pub actors: Names,
    /// Languages.
    pub languages: Names,
    /// Machines only, people only, or both.
    pub bots: Option<bool>,
}

impl Wanted {
    /// Whether an event with these facets is wanted.
    pub fn matches(&self, facets: &Facets) -> bool {
        let one_of = |names: &Names, name: &str| names.is_empty() || names.contains(name);
        // What an event does not say is no item of any list.
        let said = |names: &Names, name: &Option<String>| one_of(names, name.as_deref().unwrap_or_default());
        one_of(&self.kinds, &facets.kind)
            && self.matches_action(facets)
            && (self.repos.is_empty() || self.repos.contains(&facets.repo))
            && said(&self.orgs, &facets.org)
            && one_of(&self.actors, &facets.actor)
            && said(&self.languages, &facets.language)
            && self.bots.is_none_or(|bots| bots == facets.is_bot)
    }

    fn matches_action(&self, facets: &Facets) -> bool {
        if self.actions.is_empty() {
            return !facets.on_request;
        }
        self.actions.contains("*")
            || facets.action.as_deref().is_some_and(|action| self.actions.contains(action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facets() -> Facets {
        Facets {
            kind: "pullrequestevent".to_owned(),
            action: Some("opened".to_owned()),
            repo: "owner/repo".to_owned(),
            org: None,
            actor: "me".to_owned(),
            language: Some("rust".to_owned()),
            is_bot: false,
            on_request: false,
        }
    }

    fn names<const N: usize>(names: [&str; N]) -> Names {
        names.map(Into::into).into()
    }

    #[test]
    fn everything_that_is_asked_for_must_hold() {
        let all = Wanted {
            kinds: names(["watchevent", "pullrequestevent"]),
            actions: names(["opened"]),
            actors: names(["me"]),
            languages: names(["rust", "c"]),
            bots: Some(false),
            ..Wanted::default()
        };
        assert!(Wanted::default().matches(&facets()) && all.matches(&facets()));
        for other in [
            Wanted { kinds: names(["watchevent"]), ..all.clone() },
            Wanted { actions: names(["closed"]), ..all.clone() },
            Wanted { orgs: names(["owner"]), ..all.clone() },
            Wanted { actors: names(["you"]), ..all.clone() },
            Wanted { languages: names(["c"]), ..all.clone() },
            Wanted { bots: Some(true), ..all.clone() },
        ] {
            assert!(!other.matches(&facets()), "{other:?}");
        }
        let mut repos = Wanted::default();
        repos.repos.add("other/*").unwrap();
        assert!(!repos.matches(&facets()));
        repos.repos.add("own*/*").unwrap();
        assert!(repos.matches(&facets()));
    }

    #[test]
    fn unusual_actions_of_pull_requests_are_for_those_who_ask() {
        let labeled = Facets { action: Some("labeled".to_owned()), on_request: true, ..facets() };
        let asking = |actions: Names| Wanted { actions, ..Wanted::default() };
        assert!(!asking(Names::new()).matches(&labeled) && !asking(names(["opened"])).matches(&labeled));
        assert!(asking(names(["labeled"])).matches(&labeled) && asking(names(["*"])).matches(&labeled));
        let push = Facets { action: None, ..facets() };
        assert!(asking(Names::new()).matches(&push) && asking(names(["*"])).matches(&push));
        assert!(!asking(names(["opened"])).matches(&push));
    }
}
