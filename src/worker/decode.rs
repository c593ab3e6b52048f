//! From messages to what they ask for: mutations, what is shown live, and what must go to the dead letters.

use std::collections::{BTreeSet, HashSet};

use crate::broker::{DeadLetter, Message, MessageId};
use crate::domain::github::payload::PullRequestPayload;
use crate::domain::github::project::{PULL_REQUEST_EVENT, Projection, project};
use crate::domain::github::row::Row;
use crate::domain::github::sampling::Sample;
use crate::domain::github::{message, natural, restore};
use crate::event::{Event, EventKey, Rejection};
use crate::mutation::Mutation;

/// A decoded batch.
#[derive(Debug, Default)]
pub struct Decoded {
    messages: Vec<Message>,
    items: Vec<Item>,
    /// By their place in `messages`.
    rejected: Vec<(Rejection, usize)>,
    /// What history gets, where it is written.
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Item {
    key: EventKey,
    mutation: Option<Mutation>,
    sample: Option<Sample>,
}

/// What is wanted of messages.
pub struct Asked {
    /// Mutations of one batch at most.
    pub limit: usize,
    /// The time, in Unix seconds.
    pub now: i64,
    /// Events older than this, in seconds, get no sample.
    pub max_age: Option<i64>,
    /// Whether there is a history that gets rows.
    pub rows: bool,
    /// Whether events of the feed have claims, as those of webhooks do.
    pub twins: bool,
}

/// Decodes `messages` into batches.
pub fn decode(messages: Vec<Message>, asked: &Asked) -> Vec<Decoded> {
    let mut batches = Vec::new();
    let (mut decoded, mut mutations) = (Decoded::default(), 0);
    for message in messages {
        let item = item(&message.payload, asked, &mut decoded.rows);
        mutations += usize::from(matches!(&item, Ok(Item { mutation: Some(_), .. })));
        match item {
            Ok(item) => decoded.items.push(item),
            Err(reason) => decoded.rejected.push((reason, decoded.messages.len())),
        }
        decoded.messages.push(message);
        if mutations == asked.limit {
            batches.push(std::mem::take(&mut decoded));
            mutations = 0;
        }
    }
    if !decoded.messages.is_empty() {
        batches.push(decoded);
    }
    batches
}

fn item(message: &[u8], asked: &Asked, rows: &mut Vec<Row>) -> Result<Item, Rejection> {
    let parse = |raw| Some((raw, Event::parse(raw).ok()?));
    let parsed = message::unwrap(message).and_then(parse);
    let parsed = parsed.or_else(|| message::unwrap_foreign(message).and_then(parse));
    let (raw, event) = parsed.ok_or(Rejection::Malformed)?;
    let key = event.key().ok_or(Rejection::NoIdentity)?;
    let projection = project(&event)?;
    if asked.rows {
        rows.extend(Row::of(&event));
    }
    let live = asked.max_age.is_none_or(|age| asked.now.saturating_sub(key.created_at) <= age);
    let sample = live.then(|| sample(raw, &event, &projection));
    let claim = if asked.twins || key.is_of_webhook() { natural::claim(&event) } else { None };
    let mutation = match projection {
        Projection::Counts(mutation) => Some(Mutation { claim, ..mutation }),
        Projection::Shown | Projection::ShownOnRequest => {
            claim.and_then(|claim| Mutation::claiming(key, claim))
        }
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
    let on_request = *projection == Projection::ShownOnRequest;
    Sample::of(event, payload.as_ref().map(PullRequestPayload::action), on_request, text)
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
    // None is young enough to be shown.
    let asked = Asked { limit: 0, now: 0, max_age: Some(i64::MIN), rows: true, twins: false };
    for message in messages {
        // What is no event was seen when it was applied.
        let _ = item(&message.payload, &asked, &mut rows);
    }
    rows
}

impl Decoded {
    /// The messages that it was decoded from; empty afterwards.
    pub fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.messages)
    }

    /// Their ids.
    pub fn ids(&self) -> Vec<MessageId> {
        self.messages.iter().map(|message| message.id).collect()
    }

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

    /// The events that lost to their twin; `lost` has their places among the mutations.
    pub fn lost(&self, lost: &BTreeSet<usize>) -> HashSet<EventKey> {
        if lost.is_empty() {
            return HashSet::new();
        }
        let keys: Vec<_> =
            self.items.iter().filter(|item| item.mutation.is_some()).map(|item| item.key).collect();
        lost.iter().filter_map(|&place| keys.get(place).copied()).collect()
    }

    /// What cannot be processed, each with the label of its reason. Trying again would not help: decoding depends
    /// on nothing but the bytes.
    pub fn dead_letters(&self) -> Vec<(&'static str, DeadLetter)> {
        let letter = |&(reason, place): &(Rejection, usize)| {
            let message = &self.messages[place];
            let letter = DeadLetter {
                reason: reason.to_string(),
                origin: message.origin.as_deref().map_or_else(|| origin(message), str::to_owned),
                attempts: message.attempts + message.redeliveries + 1,
                body: message.payload.clone(),
                whole_bytes: message.payload.len(),
            };
            (reason.label(), letter)
        };
        self.rejected.iter().map(letter).collect()
    }

    /// For each event in order: its key, whether it has a mutation, and what is shown of it.
    pub fn into_samples(self) -> impl Iterator<Item = (EventKey, bool, Option<Sample>)> {
        self.items.into_iter().map(|item| (item.key, item.mutation.is_some(), item.sample))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::Outcome;

    const ASKED: Asked = Asked { limit: 2, now: 0, max_age: None, rows: false, twins: false };

    fn message(id: u64, kind: &str) -> Message {
        let payload = format!(
            r#"{{"event":{{"id":"{id}","type":"{kind}","created_at":"2016-01-01T00:00:00Z","actor":{{"id":1}},"repo":{{"id":2}},
            "payload":{{"action":"opened","pull_request":{{"id":{id}}}}}}},"payload":{{}}}}"#
        );
        Message { id: MessageId(id), payload: payload.into(), redeliveries: 0, attempts: 0, origin: None }
    }

    #[test]
    fn batches_end_at_the_limit_of_mutations_and_together_hold_every_message_in_order() {
        let kinds =
            ["PullRequestEvent", "WatchEvent", "PullRequestEvent", "nonsense \" ", "PullRequestEvent"];
        let messages: Vec<_> = (1..).zip(kinds).map(|(id, kind)| message(id, kind)).collect();
        let batches = decode(messages, &Asked { rows: true, ..ASKED });
        let ids: Vec<Vec<u64>> =
            batches.iter().map(|batch| batch.ids().iter().map(|id| id.0).collect()).collect();
        assert_eq!(ids, [vec![1, 2, 3], vec![4, 5]]);
        let sizes = |of: fn(&Decoded) -> usize| batches.iter().map(of).collect::<Vec<_>>();
        assert_eq!(sizes(|batch| batch.mutations().len()), [2, 1]);
        assert_eq!(sizes(|batch| batch.rows.len()), [3, 1]);
        assert_eq!(sizes(|batch| batch.dead_letters().len()), [0, 1]);
    }

    #[test]
    fn without_a_mutation_there_is_one_batch_and_without_a_message_none() {
        let messages: Vec<_> = (1..6).map(|id| message(id, "WatchEvent")).collect();
        assert_eq!(decode(messages, &ASKED).len(), 1);
        assert!(decode(Vec::new(), &ASKED).is_empty());
    }

    #[test]
    fn claims_are_made_for_twins_and_always_for_webhook_events() {
        let claims = |id: &str, kind: &str, twins: bool| {
            let payload = format!(
                r#"{{"event":{{"id":"{id}","type":"{kind}","created_at":"2016-01-01T00:00:00Z","actor":{{"id":1}},
                "repo":{{"id":2}},"payload":{{"action":"opened","pull_request":{{"id":3}}}}}},"payload":{{}}}}"#
            );
            let message = Message { payload: payload.into(), ..message(1, kind) };
            let decoded = decode(vec![message], &Asked { twins, ..ASKED }).remove(0);
            decoded.mutations().into_iter().map(|one| (one.outcome, one.claim.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(claims("7", "PullRequestEvent", false), [(Outcome::Opened, false)]);
        assert_eq!(claims("7", "PullRequestEvent", true), [(Outcome::Opened, true)]);
        assert_eq!(claims("-7", "PullRequestEvent", false), [(Outcome::Opened, true)]);
        assert_eq!(claims("7", "WatchEvent", false), []);
        assert_eq!(claims("7", "WatchEvent", true), [(Outcome::Uncounted, true)]);
        assert_eq!(claims("7", "GollumEvent", true), []);
    }
}
