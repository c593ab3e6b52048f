//! From messages to what they ask for: mutations, what is shown live, and what must go to the dead letters.

use crate::broker::{DeadLetter, Message};
use crate::domain::github::payload::PullRequestPayload;
use crate::domain::github::project::{PULL_REQUEST_EVENT, Projection, project};
use crate::domain::github::row::Row;
use crate::domain::github::sampling::Sample;
use crate::domain::github::{message, restore};
use crate::event::{Event, EventKey, Rejection};
use crate::mutation::{Mutation, Numbers};

/// A decoded batch.
#[derive(Debug, Default)]
pub struct Decoded {
    items: Vec<Item>,
    rejected: Vec<(Rejection, Message)>,
    /// What history gets, where it is written.
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Item {
    key: EventKey,
    mutation: Option<Mutation>,
    sample: Option<Sample>,
}

/// Decodes `messages` at `now` (Unix seconds). Events older than `live_max_age` seconds get no sample; rows are made
/// only where history is written.
pub fn decode(messages: &[Message], now: i64, live_max_age: Option<i64>, rows: bool) -> Decoded {
    let mut decoded = Decoded::default();
    let mut kept = rows.then(|| Vec::with_capacity(messages.len()));
    for message in messages {
        match item(&message.payload, now, live_max_age, kept.as_mut()) {
            Ok(item) => decoded.items.push(item),
            Err(reason) => decoded.rejected.push((reason, message.clone())),
        }
    }
    decoded.rows = kept.unwrap_or_default();
    decoded
}

fn item(
    message: &[u8],
    now: i64,
    live_max_age: Option<i64>,
    rows: Option<&mut Vec<Row>>,
) -> Result<Item, Rejection> {
    let parse = |raw| Some((raw, Event::parse(raw).ok()?));
    let parsed = message::unwrap(message).and_then(parse);
    let parsed = parsed.or_else(|| message::unwrap_foreign(message).and_then(parse));
    let (raw, event) = parsed.ok_or(Rejection::Malformed)?;
    let key = event.key().ok_or(Rejection::NoIdentity)?;
    let projection = project(&event)?;
    if let Some(rows) = rows {
        rows.extend(Row::of(&event));
    }
    let live = live_max_age.is_none_or(|age| now.saturating_sub(key.created_at) <= age);
    let sample = live.then(|| sample(raw, &event, &projection));
    let mutation = match projection {
        Projection::Counts(mutation) => Some(mutation),
        Projection::Shown | Projection::ShownOnRequest => None,
    };
    Ok(Item { key, mutation, sample })
}

fn sample(raw: &str, event: &Event<'_>, projection: &Projection) -> Sample {
    let is_pull_request = event.kind() == PULL_REQUEST_EVENT;
    let payload = is_pull_request.then(|| PullRequestPayload::parse(event.payload));
    let text = match (projection, &payload) {
        (Projection::Counts(mutation), Some(PullRequestPayload { pull_request: Some(text), .. })) => {
            let pull_request = payload.as_ref().map(PullRequestPayload::pull_request).unwrap_or_default();
            restore::restore(raw, text, &pull_request, mutation.outcome)
        }
        _ => raw.to_owned(),
    };
    Sample {
        event: text,
        numbers: Numbers::default(),
        kind: event.kind().to_owned(),
        repo_name: event.repo_name().to_owned(),
        actor_login: event.actor_login().to_owned(),
        action: payload.map(|payload| payload.action().to_owned()),
        on_request: *projection == Projection::ShownOnRequest,
    }
}

/// Where a message of the topic comes from, for people.
pub fn origin(message: &Message) -> String {
    match message::unwrap(&message.payload).and_then(|raw| Event::parse(raw).ok()?.id) {
        Some(event) => format!("message {}, event {event}", message.id.0),
        None => format!("message {}", message.id.0),
    }
}

/// What history gets of `messages`.
pub fn rows(messages: &[Message]) -> Vec<Row> {
    let mut rows = Vec::with_capacity(messages.len());
    for message in messages {
        // What is no event was seen when it was applied. None is young enough to be shown.
        let _ = item(&message.payload, 0, Some(i64::MIN), Some(&mut rows));
    }
    rows
}

impl Decoded {
    /// The mutations, in order.
    pub fn mutations(&self) -> Vec<Mutation> {
        self.items.iter().filter_map(|item| item.mutation.clone()).collect()
    }

    /// What history gets; empty afterwards, and where history is not written.
    pub fn take_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }

    /// When the newest event happened, in Unix seconds.
    pub fn newest(&self) -> Option<i64> {
        self.items.iter().map(|item| item.key.created_at).max()
    }

    /// What cannot be processed, each with the label of its reason. Trying again would not help: decoding depends
    /// on nothing but the bytes.
    pub fn dead_letters(&self) -> Vec<(&'static str, DeadLetter)> {
        let letter = |(reason, message): &(Rejection, Message)| DeadLetter {
            reason: reason.to_string(),
            origin: message.origin.as_deref().map_or_else(|| origin(message), str::to_owned),
            attempts: message.attempts + message.redeliveries + 1,
            body: message.payload.clone(),
            whole_bytes: message.payload.len(),
        };
        self.rejected.iter().map(|rejected| (rejected.0.label(), letter(rejected))).collect()
    }

    /// For each event in order: its key, whether it has a mutation, and what is shown of it.
    pub fn into_samples(self) -> impl Iterator<Item = (EventKey, bool, Option<Sample>)> {
        self.items.into_iter().map(|item| (item.key, item.mutation.is_some(), item.sample))
    }
}
