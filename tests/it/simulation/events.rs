//! What happened on GitHub in a run: facts, of which the product sees only the JSON.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use jiff::Timestamp;
use pulsehub::domain::github::message;
use pulsehub::event::EventKey;
use pulsehub::mutation::Outcome;
use serde_json::json;

use super::world::BEGIN;

/// A message that the broker takes is at most this long.
pub const MAX_MESSAGE_BYTES: usize = 2_000;

/// What kind of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A pull request event that counts.
    PullRequest(Outcome),
    /// A pull request event that does not count.
    Labeled,
    /// An event of another type.
    Watched,
    /// A pull request event without its actor, which no worker can count.
    Incomplete,
    /// An event that is longer than the broker takes.
    Long,
}

/// One event as it really happened.
#[derive(Debug, Clone)]
pub struct Fact {
    pub key: EventKey,
    pub kind: Kind,
    pub pull_request: u64,
    pub actor: u64,
    pub repo: u64,
    /// Lines added and deleted, where somebody knows them.
    pub size: Option<(u64, u64)>,
    /// Where somebody knows it.
    pub language: Option<&'static str>,
    /// Whether the event says neither, so that the enricher must be asked.
    pub hidden: bool,
    /// When the source begins to show it, since the beginning of the run.
    pub appears: Duration,
    /// The index of the event from the other source that tells of the same thing.
    pub twin: Option<usize>,
}

const LANGUAGES: [&str; 3] = ["Rust", "C", "Lua"];

/// The size of a pull request.
pub fn size_of(pull_request: u64) -> (u64, u64) {
    (pull_request + 1, pull_request * 3)
}

/// The language of a repository, where an enricher knows it.
pub fn language_of(repo: u64) -> &'static str {
    LANGUAGES[usize::try_from(repo).unwrap() % LANGUAGES.len()]
}

impl Fact {
    fn draw(id: i64, of: u64, enriched: bool, random: &mut Rng) -> Self {
        use Outcome::{Closed, Merged, Opened, Reopened};
        let kind = match random.u8(0..20) {
            0 => Kind::Incomplete,
            1 => Kind::Long,
            2 => Kind::Labeled,
            3..6 => Kind::Watched,
            _ => {
                Kind::PullRequest(random.choice([Opened, Opened, Merged, Merged, Closed, Reopened]).unwrap())
            }
        };
        let created_at = BEGIN + random.choice([0, -40 * 3600]).unwrap() + random.i64(-300..300);
        let pull_request = random.u64(0..of);
        let repo = random.u64(0..of / 2 + 1);
        let is_merged = kind == Kind::PullRequest(Merged);
        Self {
            key: EventKey { id, created_at },
            kind,
            pull_request,
            actor: random.u64(0..of),
            repo,
            // Of a pull request always the same, for any of its events may be the first to arrive. An enricher knows all.
            size: (is_merged && (enriched || random.bool())).then_some(size_of(pull_request)),
            language: match enriched {
                true => Some(language_of(repo)),
                false => random.bool().then(|| random.choice(LANGUAGES).unwrap()),
            },
            hidden: enriched && matches!(kind, Kind::PullRequest(_)) && random.u8(0..3) > 0,
            appears: Duration::from_millis(random.u64(0..90_000)),
            twin: None,
        }
    }

    /// Gives this event, which is in the feed, a twin at `index` that came by a webhook. They share what no other event
    /// has, so that nobody else is their twin.
    fn with_twin(&mut self, own_index: usize, index: usize, random: &mut Rng) -> Self {
        let number = 1_000 + own_index as u64;
        (self.pull_request, self.twin) = (number, Some(index));
        if self.kind == Kind::Watched {
            (self.actor, self.repo) = (number, number);
        }
        self.size = self.size.map(|_| (number + 1, number * 3));
        let created_at = self.key.created_at + random.choice([-600, -1, 0, 0, 2, 600]).unwrap();
        Self {
            key: EventKey { id: -(index as i64), created_at },
            appears: Duration::from_millis(random.u64(0..90_000)),
            twin: Some(own_index),
            ..self.clone()
        }
    }

    /// Its index among the facts.
    pub fn index(key: EventKey) -> usize {
        usize::try_from(key.id.unsigned_abs()).unwrap()
    }

    /// The event as GitHub shows it.
    fn json(&self) -> String {
        let (event_type, action, merged) = match self.kind {
            Kind::PullRequest(Outcome::Opened) => ("PullRequestEvent", "opened", false),
            Kind::PullRequest(Outcome::Merged) => ("PullRequestEvent", "closed", true),
            Kind::PullRequest(Outcome::Closed) => ("PullRequestEvent", "closed", false),
            Kind::PullRequest(Outcome::Reopened) => ("PullRequestEvent", "reopened", false),
            Kind::PullRequest(Outcome::Uncounted) => unreachable!("never drawn"),
            Kind::Labeled => ("PullRequestEvent", "labeled", false),
            Kind::Incomplete => ("PullRequestEvent", "opened", false),
            Kind::Watched | Kind::Long => ("WatchEvent", "started", false),
        };
        let mut pull_request = json!({
            "id": self.pull_request,
            "number": self.pull_request,
            "merged": merged,
            "base": { "repo": { "id": self.repo } },
        });
        if !self.hidden {
            pull_request["base"]["repo"]["language"] = self.language.into();
        }
        if let Some((additions, deletions)) = self.size.filter(|_| !self.hidden) {
            (pull_request["additions"], pull_request["deletions"]) = (additions.into(), deletions.into());
        }
        let mut event = json!({
            "id": self.key.id.to_string(),
            "type": event_type,
            "actor": { "id": self.actor, "login": format!("user{}", self.actor) },
            "repo": { "id": self.repo, "name": format!("owner/repo{}", self.repo) },
            "payload": { "action": action, "pull_request": pull_request },
            "created_at": Timestamp::from_second(self.key.created_at).unwrap().to_string(),
        });
        match self.kind {
            Kind::Incomplete => event["actor"] = json!(null),
            Kind::Long => event["padding"] = "x".repeat(MAX_MESSAGE_BYTES).into(),
            _ => {}
        }
        event.to_string()
    }

    /// Whether it ends among the dead letters instead of being counted or shown.
    pub fn is_rejected(&self) -> bool {
        matches!(self.kind, Kind::Incomplete | Kind::Long)
    }
}

/// What a message or a dead letter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// An event, by its index.
    Event(usize),
    /// A message of another program that nobody can process, by its index.
    Garbage(usize),
    /// Something that the source read and that is no event, by its index.
    Line(usize),
}

/// Whether a message is a copy that goes around once more for what its event does not say.
pub fn is_copy(message: &[u8]) -> bool {
    message::asked(message) > 0
}

/// All that is sent in a run.
pub struct Events {
    pub facts: Vec<Fact>,
    /// Messages of another program on the same topic: events in its own form, and garbage.
    pub foreign: Vec<Bytes>,
    /// What the source reads and cannot take for events.
    pub lines: Vec<Bytes>,
    /// The events as GitHub shows them, by their index.
    pub raw: Vec<Bytes>,
    known: HashMap<Bytes, Known>,
}

impl Events {
    /// Draws a run's events.
    pub fn draw(enriched: bool, random: &mut Rng) -> Self {
        let count = random.choice([5, 10, 30, 100]).unwrap();
        // Few people and pull requests: most events meet sets that know them.
        let of = random.u64(2..40);
        let mut facts: Vec<Fact> = (0..count).map(|id| Fact::draw(id, of, enriched, random)).collect();
        for index in 0..facts.len() {
            let may_have = matches!(facts[index].kind, Kind::PullRequest(_) | Kind::Watched);
            if may_have && random.u8(0..5) == 0 {
                let twin_index = facts.len();
                let twin = facts[index].with_twin(index, twin_index, random);
                facts.push(twin);
            }
        }
        let raw: Vec<Bytes> = facts.iter().map(|fact| fact.json().into()).collect();
        let mut known = HashMap::new();
        let mut foreign = Vec::new();
        for (index, fact) in facts.iter().enumerate() {
            let text = std::str::from_utf8(&raw[index]).unwrap();
            known.insert(format!(r#"{{"event":{text},"payload":{{}}}}"#).into(), Known::Event(index));
            if fact.kind == Kind::Long {
                // It never becomes a message: its dead letter has it as the source read it.
                known.insert(raw[index].clone(), Known::Event(index));
            } else if random.u8(0..10) == 0 {
                let message = Bytes::from(format!(r#"{{ "payload": {{"pr":1}}, "event": {text} }}"#));
                known.insert(message.clone(), Known::Event(index));
                foreign.push(message);
            }
        }
        let mut unreadable = |what, count, known_as: fn(usize) -> Known| -> Vec<Bytes> {
            let texts: Vec<_> = (0..count).map(|index| Bytes::from(format!("{what} {index}"))).collect();
            known.extend(texts.iter().cloned().zip((0..count).map(known_as)));
            texts
        };
        foreign.extend(unreadable("garbage", random.usize(0..3), Known::Garbage));
        let lines = unreadable("line", random.usize(0..3), Known::Line);
        Self { facts, foreign, lines, raw, known }
    }

    /// What a message, its copy or the body of a dead letter is; `None` when nobody sent it.
    pub fn known(&self, body: &[u8]) -> Option<Known> {
        if is_copy(body) {
            let raw = message::unwrap(body)?.as_bytes();
            return self.raw.iter().position(|of| of == raw).map(Known::Event);
        }
        self.known.get(body).copied()
    }
}
