//! What `/sampling` shows of an event: which ones match a client's params, and how they are written.

use std::hash::{Hash, Hasher};

use super::selection::Selection;
use crate::event::Event;
use crate::mutation::Numbers;

/// An event ready to be shown: its text, what it changed, and what clients can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The event as GitHub sent it, with what the trimmed form lacks written back.
    pub event: String,
    /// What it changed.
    pub numbers: Numbers,
    /// Its type.
    pub kind: String,
    /// `owner/name` of its repository.
    pub repo_name: String,
    /// The name of its actor.
    pub actor_login: String,
    /// For pull request events, the action.
    pub action: Option<String>,
    /// Whether it is left out unless its action is asked for.
    pub on_request: bool,
}

impl Sample {
    /// What is shown of `event` as `text`, with its `action` where it is a pull request event. Its numbers are not
    /// known yet.
    pub fn of(event: &Event<'_>, action: Option<&str>, on_request: bool, text: String) -> Self {
        Self {
            event: text,
            numbers: Numbers::default(),
            kind: event.kind().to_owned(),
            repo_name: event.repo_name().to_owned(),
            actor_login: event.actor_login().to_owned(),
            action: action.map(str::to_owned),
            on_request,
        }
    }
}

/// Which events a client wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matcher {
    /// Only this type.
    pub kind: Option<String>,
    /// Only this repository.
    pub repo_name: Option<String>,
    /// Only this actor.
    pub actor_login: Option<String>,
    /// Actions of pull request events; `*` is any. Empty: those of the four outcomes.
    pub actions: Vec<String>,
}

/// How a client wants events written. Two are equal that write the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Form {
    /// `{"event":…,"payload":…}`.
    Whole,
    /// An object from each path to its value.
    Map(Fields),
    /// An array of values in the order of the paths.
    List(Fields),
}

/// The paths that a client asked for.
#[derive(Debug, Clone)]
pub struct Fields {
    paths: Vec<String>,
    selection: Selection,
}

impl Matcher {
    /// Whether the client wants `sample`.
    pub fn matches(&self, sample: &Sample) -> bool {
        let is =
            |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        is(&self.kind, &sample.kind)
            && is(&self.repo_name, &sample.repo_name)
            && is(&self.actor_login, &sample.actor_login)
            && self.matches_action(sample)
    }

    fn matches_action(&self, sample: &Sample) -> bool {
        match (&sample.action, self.actions.is_empty()) {
            (Some(action), false) => self.actions.iter().any(|wanted| wanted == "*" || wanted == action),
            (Some(_), true) => !sample.on_request,
            (None, _) => true,
        }
    }
}

/// The selection is made from the paths.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.paths == other.paths
    }
}

impl Eq for Fields {}

impl Hash for Fields {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.paths.hash(state);
    }
}

/// Paths that a client may ask for: the real front end has twelve.
const MAX_PATHS: usize = 100;
/// Levels of all paths together: the real front end has 44. Each takes memory as long as the client is there.
const MAX_LEVELS: usize = 512;

/// Why a list of paths is refused.
#[derive(Debug, thiserror::Error)]
pub enum TooMuch {
    /// It has too many.
    #[error("at most {MAX_PATHS} paths are accepted")]
    Paths,
    /// They have too many levels together.
    #[error("at most {MAX_LEVELS} levels in all paths together are accepted")]
    Levels,
}

impl Fields {
    /// Whether so much may be asked for.
    ///
    /// # Errors
    /// Where it may not.
    pub fn check(paths: &[String]) -> Result<(), TooMuch> {
        if paths.len() > MAX_PATHS {
            return Err(TooMuch::Paths);
        }
        let levels: usize = paths.iter().map(|path| path.split('.').count()).sum();
        if levels > MAX_LEVELS { Err(TooMuch::Levels) } else { Ok(()) }
    }

    /// Fields named by paths that start with `event` or `payload`; any other path has no value.
    pub fn new(paths: Vec<String>) -> Self {
        let selection = Selection::new(paths.iter().map(String::as_str));
        Self { paths, selection }
    }
}

impl Form {
    /// The frame for `sample`.
    pub fn write(&self, sample: &Sample) -> String {
        let numbers = json(&sample.numbers);
        let texts = [("event", sample.event.as_str()), ("payload", numbers.as_str())];
        let values = |fields: &Fields| {
            let found = fields.selection.pick(&texts);
            found.into_iter().map(|value| value.unwrap_or("null")).collect::<Vec<_>>()
        };
        match self {
            Self::Whole => format!(r#"{{"event":{},"payload":{numbers}}}"#, sample.event),
            Self::List(fields) => format!("[{}]", values(fields).join(",")),
            Self::Map(fields) => {
                let entries = fields.paths.iter().zip(values(fields));
                let entries: Vec<_> =
                    entries.map(|(path, value)| format!("{}:{value}", json(path))).collect();
                format!("{{{}}}", entries.join(","))
            }
        }
    }
}

fn json(value: &impl serde::Serialize) -> String {
    // Numbers and strings always serialise.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sample {
        Sample {
            event: r#"{"id":"1","actor":{"login":"me"}}"#.to_owned(),
            numbers: Numbers { pr: 1, dev_day: 1, ..Numbers::default() },
            kind: "PullRequestEvent".to_owned(),
            repo_name: "a/b".to_owned(),
            actor_login: "me".to_owned(),
            action: Some("labeled".to_owned()),
            on_request: true,
        }
    }

    #[test]
    fn each_form_writes_the_same_values() {
        let paths =
            ["event.id", "event.actor.login.x", "payload.devDay", "no.such", ""].map(str::to_owned).to_vec();
        let whole = r#"{"event":{"id":"1","actor":{"login":"me"}},"payload":{"pr":1,"open":0,"merge":0,"close":0,"devDay":1,"devYear":0,"repoYear":0}}"#;
        assert_eq!(Form::Whole.write(&sample()), whole);
        assert_eq!(Form::List(Fields::new(paths.clone())).write(&sample()), r#"["1",null,1,null,null]"#);
        let map = r#"{"event.id":"1","event.actor.login.x":null,"payload.devDay":1,"no.such":null,"":null}"#;
        assert_eq!(Form::Map(Fields::new(paths)).write(&sample()), map);
    }

    #[test]
    fn an_unusual_action_is_shown_only_to_those_who_ask() {
        let matches = |actions: &[&str]| {
            let actions = actions.iter().map(|&action| action.to_owned()).collect();
            Matcher { actions, ..Matcher::default() }.matches(&sample())
        };
        assert!(!matches(&[]) && !matches(&["opened"]));
        assert!(matches(&["labeled"]) && matches(&["*"]));
        let other_repo =
            Matcher { repo_name: Some("A/b".to_owned()), actions: vec!["*".into()], ..Matcher::default() };
        assert!(!other_repo.matches(&sample()));
    }
}
