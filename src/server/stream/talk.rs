//! What the stream says to one client, whichever way it goes: answers, snapshots and differences, heartbeats, events.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use serde_json::{Map, Value};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::followed::Followed;
use super::message::Message;
use super::params::Params;
use super::reader::Reader;
use super::refused::{Code, Refused};
use super::subscription::{Asked, Subscription};
use crate::live::versions::{Counts, Window};
use crate::live::{FirstMessage, Frame, LanguageMap, SharedForm};
use crate::server::clients::Endpoint;
use crate::server::public::Public;
use crate::server::ws::{Conversation, InvalidParams};

/// How often a client that subscribed hears how things are.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Characters of an `id` that is given back.
const MAX_ID: usize = 64;

/// The talk with one client.
pub struct Talk {
    public: Arc<Public>,
    reader: Reader,
    /// What it asked for last.
    current: Option<Current>,
    counts: Option<Followed<FirstMessage, Counts>>,
    languages: Option<Followed<Arc<LanguageMap>, Window>>,
    /// What is to be said before anything else.
    answers: Vec<Message>,
}

struct Current {
    subscription: Subscription,
    form: SharedForm,
    beats: Interval,
}

impl Talk {
    /// Nothing is said before the client subscribed.
    pub fn new(public: Arc<Public>, endpoint: Endpoint) -> Self {
        let reader = Reader::new(public.feed.clone(), endpoint.label());
        Self { public, reader, current: None, counts: None, languages: None, answers: Vec::new() }
    }

    /// Takes a subscription; the answer comes with the next messages.
    ///
    /// # Errors
    /// What is wrong with it; the former one holds then.
    pub fn subscribe(&mut self, id: Option<&str>, params: Params) -> Result<(), Refused> {
        // Batches may be numbered by a clock that is ahead of this one.
        let latest = self.public.clock.unix_millis().max(self.public.feed.end().1.seq);
        let asked = Asked::read(params, latest)?;
        self.reader.restart();
        if self.current.is_none() {
            // It may have been silent for long.
            self.reader.go_to_end();
        }
        let gap = asked.since.and_then(|since| self.reader.resume(since));
        self.answers.push(Message::subscribed(id, self.reader.seen(), &asked.normal));
        let stream = &self.public.stream;
        (self.counts, self.languages) = (None, None);
        if asked.subscription.counts {
            let (followed, snapshot) = Followed::begin(&stream.counts);
            self.counts = Some(followed);
            self.answers.push(snapshot);
        }
        if asked.subscription.languages {
            let (followed, snapshot) = Followed::begin(&stream.languages);
            self.languages = Some(followed);
            self.answers.push(snapshot);
        }
        self.answers.push(heartbeat(&self.reader, &self.public));
        self.answers.extend(gap.map(Message::gap));
        let mut beats = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let form = self.public.feed.share(asked.form);
        self.current = Some(Current { subscription: asked.subscription, form, beats });
        Ok(())
    }

    /// Takes a message of the client.
    fn hear(&mut self, text: &str) {
        let mut members: Map<String, Value> = match serde_json::from_str(text) {
            Ok(members) => members,
            Err(error) => {
                let refused = Refused::whole(Code::Json, format!("one JSON object is expected: {error}"));
                return self.answers.push(Message::error(None, &refused));
            }
        };
        let id = match members.remove("id") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) if id.chars().count() <= MAX_ID => Some(id),
            Some(_) => {
                let field = Some("id".to_owned());
                let message = format!("a text of at most {MAX_ID} characters is expected");
                let refused = Refused { code: Code::Message, field, message };
                return self.answers.push(Message::error(None, &refused));
            }
        };
        let subscribed = match members.remove("type") {
            Some(Value::String(kind)) if kind == "subscribe" => {
                self.subscribe(id.as_deref(), Params::new(members))
            }
            _ => Err(Refused {
                code: Code::Message,
                field: Some("type".to_owned()),
                message: "`subscribe` is the only type of message".to_owned(),
            }),
        };
        if let Err(refused) = subscribed {
            self.answers.push(Message::error(id.as_deref(), &refused));
        }
    }

    /// Waits for what is to be said next. Cancel safe. Waits for ever before the first subscription.
    pub async fn messages(&mut self) -> Vec<Message> {
        if !self.answers.is_empty() {
            return std::mem::take(&mut self.answers);
        }
        let Some(current) = &mut self.current else { return std::future::pending().await };
        tokio::select! {
            // What comes now and then goes before what may come without end.
            biased;
            _ = current.beats.tick() => vec![heartbeat(&self.reader, &self.public)],
            Some(message) = OptionFuture::from(self.counts.as_mut().map(Followed::next)) => vec![message],
            Some(message) = OptionFuture::from(self.languages.as_mut().map(Followed::next)) => vec![message],
            messages = self.reader.next(&current.subscription, &current.form) => messages,
        }
    }
}

fn heartbeat(reader: &Reader, public: &Public) -> Message {
    Message::heartbeat(reader.seen(), reader.lost(), reader.skipped(), &public.stream.pulse.text())
}

impl Conversation for Talk {
    fn greeting(&mut self) -> Option<Frame> {
        None
    }

    fn params(&mut self, text: &str) -> Result<(), InvalidParams> {
        self.hear(text);
        Ok(())
    }

    fn listens(&self) -> bool {
        self.answers.is_empty()
    }

    async fn next(&mut self) -> Vec<Frame> {
        self.messages().await.into_iter().map(|message| message.frame).collect()
    }
}
