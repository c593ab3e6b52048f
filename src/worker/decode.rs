//! From messages to what they ask for: mutations, what is shown live, and what must go to the dead letters.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::learned::Learned;
use crate::broker::{DeadLetter, Message, MessageId};
use crate::domain::github::details::{Details, Stub};
use crate::domain::github::payload::PullRequestPayload;
use crate::domain::github::project::{PULL_REQUEST_EVENT, Projection, project};
use crate::domain::github::row::Row;
use crate::domain::github::sampling::Sample;
use crate::domain::github::{message, natural, restore};
use crate::event::{Event, EventKey, Rejection};
use crate::mutation::{Mutation, Outcome};

/// How messages are decoded.
#[derive(Debug, Clone, Default)]
pub struct Decoding {
    /// Mutations in a batch at most.
    pub limit: usize,
    /// The time, in Unix seconds.
    pub now: i64,
    /// Events older than this, in seconds, get no sample.
    pub live_max_age: Option<i64>,
    /// Whether rows are made: only where history is written.
    pub rows: bool,
    /// Whether events of the feed have claims, as those of webhooks do.
    pub twins: bool,
    /// What others know of the events.
    pub learned: Learned,
}

/// A decoded batch.
#[derive(Debug, Default)]
pub struct Decoded {
    messages: Vec<Message>,
    items: Vec<Item>,
    /// By their place in `messages`.
    rejected: Vec<(Rejection, usize)>,
    learned: Learned,
}

#[derive(Debug)]
struct Item {
    /// In `messages`.
    place: usize,
    key: EventKey,
    /// Whether the event itself came before.
    is_copy: bool,
    mutation: Option<Mutation>,
    sample: Option<Sample>,
    /// What history gets, where it is written.
    row: Option<Row>,
    /// What it does not say.
    stub: Option<Stub>,
}

/// Decodes `messages` into batches.
pub fn decode(messages: Vec<Message>, decoding: &Decoding) -> Vec<Decoded> {
    let empty = || Decoded { learned: decoding.learned.clone(), ..Decoded::default() };
    let mut batches = Vec::new();
    let (mut decoded, mut mutations) = (empty(), 0);
    for message in messages {
        let place = decoded.messages.len();
        match item(place, &message.payload, decoding) {
            Ok(item) => {
                mutations += usize::from(item.mutation.is_some());
                decoded.items.push(item);
            }
            Err(reason) => decoded.rejected.push((reason, place)),
        }
        decoded.messages.push(message);
        if mutations == decoding.limit {
            batches.push(std::mem::replace(&mut decoded, empty()));
            mutations = 0;
        }
    }
    if !decoded.messages.is_empty() {
        batches.push(decoded);
    }
    batches
}

fn item(place: usize, message: &[u8], decoding: &Decoding) -> Result<Item, Rejection> {
    let parse = |raw| Some((raw, Event::parse(raw).ok()?));
    let parsed = message::unwrap(message).and_then(parse);
    let parsed = parsed.or_else(|| message::unwrap_foreign(message).and_then(parse));
    let (raw, event) = parsed.ok_or(Rejection::Malformed)?;
    let key = event.key().ok_or(Rejection::NoIdentity)?;
    let projection = project(&event)?;
    let details = decoding.learned.of(key, event.repo.as_ref().and_then(|repo| repo.id));
    let row = decoding.rows.then(|| Row::of(&event)).flatten().map(|mut row| {
        row.learn(&details);
        row
    });
    let young = decoding.live_max_age.is_none_or(|age| decoding.now.saturating_sub(key.created_at) <= age);
    // A copy that brings the rest was shown when the event itself came.
    let is_copy = message::asked(message) > 0;
    let sample = (young && !is_copy).then(|| sample(raw, &event, &projection, &details));
    let claim = if decoding.twins || key.is_of_webhook() { natural::claim(&event) } else { None };
    let (mutation, stub) = match projection {
        Projection::Counts(mut mutation, stub) => {
            mutation.learn(&details);
            mutation.claim = claim;
            (Some(mutation), stub.filter(|_| decoding.learned.completes()))
        }
        Projection::Shown | Projection::ShownOnRequest => {
            (claim.and_then(|claim| Mutation::claiming(key, claim)), None)
        }
    };
    Ok(Item { place, key, is_copy, mutation, sample, row, stub })
}

fn sample(raw: &str, event: &Event<'_>, projection: &Projection, details: &Details) -> Sample {
    let is_pull_request = event.kind() == PULL_REQUEST_EVENT;
    // Reviews and their comments have a pull request too, of which only the language is ever written back.
    let has_one = is_pull_request || details.language.is_some() && event.kind().starts_with("PullRequest");
    let payload = has_one.then(|| PullRequestPayload::parse(event.payload));
    let outcome: Option<Outcome> = match projection {
        Projection::Counts(mutation, _) => Some(mutation.outcome),
        Projection::Shown | Projection::ShownOnRequest => None,
    };
    let text = match &payload {
        Some(payload @ PullRequestPayload { pull_request: Some(text), .. }) => {
            restore::restore(raw, text, &payload.pull_request(), outcome, details)
        }
        _ => raw.to_owned(),
    };
    let on_request = *projection == Projection::ShownOnRequest;
    let action = payload.as_ref().filter(|_| is_pull_request).map(PullRequestPayload::action);
    Sample::of(event, action, on_request, text)
}

/// Where a message of the topic comes from, for people.
pub fn origin(message: &Message) -> String {
    match message::unwrap(&message.payload).and_then(|raw| Event::parse(raw).ok()?.id) {
        Some(event) => format!("message {}, event {event}", message.id.0),
        None => format!("message {}", message.id.0),
    }
}

/// What history gets of `messages`.
pub fn rows(messages: &[Message], learned: &Learned) -> Vec<Row> {
    // What is no event was seen when it was applied. None is young enough to be shown.
    let decoding = Decoding {
        live_max_age: Some(i64::MIN),
        rows: true,
        learned: learned.clone(),
        ..Decoding::default()
    };
    let row = |message: &Message| item(0, &message.payload, &decoding).ok()?.row;
    messages.iter().filter_map(row).collect()
}

impl Decoded {
    /// The messages that it was decoded from; empty afterwards.
    pub fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.messages)
    }

    /// What others know of its events.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// What its events do not say.
    pub fn stubs(&self) -> impl Iterator<Item = (EventKey, &Stub)> {
        self.items.iter().filter_map(|item| Some((item.key, item.stub.as_ref()?)))
    }

    /// How many of its stubs are asked for the first time.
    pub fn first_asked(&self) -> u64 {
        self.items.iter().filter(|item| item.stub.is_some() && !item.is_copy).count() as u64
    }

    /// The same batch, now that others have told what they know of its stubs.
    pub fn learn(&mut self, decoding: &Decoding) {
        for item in self.items.iter_mut().filter(|item| item.stub.is_some()) {
            // It was an event before, and is one still.
            if let Ok(whole) = self::item(item.place, &self.messages[item.place].payload, decoding) {
                *item = whole;
            }
        }
        self.learned = decoding.learned.clone();
    }

    /// The messages of which others know more later, and when it makes sense to ask them again; not those of events that
    /// `lost` to their twin.
    pub fn incomplete(&self, lost: &HashSet<EventKey>) -> impl Iterator<Item = (&Message, Duration)> {
        let pause = |item: &Item| Some((&self.messages[item.place], self.learned.later(item.key)?));
        self.items.iter().filter(|item| !lost.contains(&item.key)).filter_map(pause)
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
        self.items.iter_mut().filter_map(|item| item.row.take()).collect()
    }

    /// When the newest event happened, in Unix seconds; `None` where there are only copies, which are late on purpose.
    pub fn newest(&self) -> Option<i64> {
        self.items.iter().filter(|item| !item.is_copy).map(|item| item.key.created_at).max()
    }

    /// Events in it, without copies of those that came before.
    pub fn events(&self) -> u64 {
        self.items.iter().filter(|item| !item.is_copy).count() as u64
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
    use std::sync::Arc;

    use super::*;
    use crate::enrich::{Answer, Enricher};
    use crate::mutation::Size;

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
        let batches = decode(messages, &Decoding { limit: 2, rows: true, ..Decoding::default() });
        let ids: Vec<Vec<u64>> =
            batches.iter().map(|batch| batch.ids().iter().map(|id| id.0).collect()).collect();
        assert_eq!(ids, [vec![1, 2, 3], vec![4, 5]]);
        let sizes = |of: fn(&Decoded) -> usize| batches.iter().map(of).collect::<Vec<_>>();
        assert_eq!(sizes(|batch| batch.mutations().len()), [2, 1]);
        assert_eq!(sizes(|batch| batch.dead_letters().len()), [0, 1]);
        let rows: Vec<_> = batches.into_iter().map(|mut batch| batch.take_rows().len()).collect();
        assert_eq!(rows, [3, 1]);
    }

    /// Knows one pull request, and the language of every repository.
    struct Knowing;

    #[async_trait::async_trait]
    impl Enricher for Knowing {
        async fn details(&self, _: Vec<Stub>, _: Duration) -> Vec<Answer> {
            Vec::new()
        }

        fn language(&self, _: u64) -> Option<Arc<str>> {
            Some("Lua".into())
        }
    }

    #[test]
    fn what_others_know_goes_into_mutation_row_and_sample_and_what_they_do_not_is_asked_for_again() {
        let learned = Learned::nothing(Some(Arc::new(Knowing)));
        let decoding = Decoding { limit: 10, rows: true, learned, ..Decoding::default() };
        let messages =
            [1, 2, 3].map(|id| message(id, if id == 3 { "WatchEvent" } else { "PullRequestEvent" }));
        let mut batch = decode(messages.into(), &decoding).remove(0);
        let stubs: Vec<_> = batch.stubs().map(|(key, stub)| (key, stub.pull_request)).collect();
        assert_eq!(stubs.iter().map(|(_, id)| *id).collect::<Vec<_>>(), [1, 2]);
        let size = Some(Size { additions: 7, deletions: 8 });
        let known = Answer::Known(Details { size, language: Some("C".into()) });
        let answers = [(stubs[0].0, known), (stubs[1].0, Answer::Later(Duration::from_secs(5)))];
        let learned = decoding.learned.with(answers.into_iter());
        batch.learn(&Decoding { learned, ..decoding });
        let languages: Vec<_> =
            batch.mutations().into_iter().map(|mutation| mutation.language.unwrap()).collect();
        assert_eq!(languages, ["C", "Lua"]);
        let incomplete: Vec<_> =
            batch.incomplete(&HashSet::new()).map(|(message, pause)| (message.id.0, pause)).collect();
        assert_eq!(incomplete, [(2, Duration::from_secs(5))]);
        let lost = HashSet::from([stubs[1].0]);
        assert_eq!(batch.incomplete(&lost).count(), 0, "its twin counts, not it");
        let rows: Vec<_> =
            batch.take_rows().into_iter().map(|row| (row.additions, row.language.unwrap())).collect();
        let lua = || (None, "Lua".to_owned());
        assert_eq!(rows, [(Some(7), "C".to_owned()), lua(), lua()]);
        let shown: Vec<_> = batch.into_samples().map(|(_, _, sample)| sample.unwrap().event).collect();
        assert!(shown[0].contains(r#""additions":7,"deletions":8"#), "{}", shown[0]);
        assert!(shown[1].contains(r#""language":"Lua""#) && !shown[1].contains("additions"), "{}", shown[1]);
    }

    #[test]
    fn a_copy_counts_and_is_not_shown() {
        let mut copy = message(1, "PullRequestEvent");
        copy.payload = message::wrap_again(message::unwrap(&copy.payload).unwrap(), 2).into();
        let batch = decode(vec![copy], &Decoding { limit: 10, ..Decoding::default() }).remove(0);
        assert_eq!(batch.mutations().len(), 1);
        assert!(batch.into_samples().all(|(_, counts, sample)| counts && sample.is_none()));
    }

    #[test]
    fn without_a_mutation_there_is_one_batch_and_without_a_message_none() {
        let messages: Vec<_> = (1..6).map(|id| message(id, "WatchEvent")).collect();
        let decoding = Decoding { limit: 2, ..Decoding::default() };
        assert_eq!(decode(messages, &decoding).len(), 1);
        assert!(decode(Vec::new(), &decoding).is_empty());
    }

    #[test]
    fn claims_are_made_for_twins_and_always_for_webhook_events() {
        let claims = |id: &str, kind: &str, twins: bool| {
            let payload = format!(
                r#"{{"event":{{"id":"{id}","type":"{kind}","created_at":"2016-01-01T00:00:00Z","actor":{{"id":1}},
                "repo":{{"id":2}},"payload":{{"action":"opened","pull_request":{{"id":3}}}}}},"payload":{{}}}}"#
            );
            let message = Message { payload: payload.into(), ..message(1, kind) };
            let decoded =
                decode(vec![message], &Decoding { limit: 2, twins, ..Decoding::default() }).remove(0);
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
