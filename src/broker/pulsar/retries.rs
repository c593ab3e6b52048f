//! How a message waits for its time: what is written with it on the retry topic, and those that came too early.
//!
//! Pulsar holds a message back until its time on a shared subscription, but may deliver it up to a tick of its own early,
//! and at once where `delayedDeliveryEnabled` is off. So its time is written with it, and kept here too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pulsar::producer;
use pulsar::proto::KeyValue;
use tokio::time::Instant;

use crate::broker::{Message, Retry};
use crate::clock::{Clock, SystemClock};

const ATTEMPTS: &str = "attempts";
const NOT_BEFORE: &str = "notBefore";
const ORIGIN: &str = "origin";

/// The message as it is sent.
pub fn outgoing(retry: &Retry) -> producer::Message {
    let properties = [
        (ATTEMPTS, retry.attempts.to_string()),
        (NOT_BEFORE, retry.not_before.to_string()),
        (ORIGIN, retry.origin.to_string()),
    ];
    producer::Message {
        payload: retry.body.to_vec(),
        properties: properties.map(|(key, value)| (key.to_owned(), value)).into(),
        deliver_at_time: Some(retry.not_before),
        ..producer::Message::default()
    }
}

/// What is written with a message; nothing with one of the topic itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// How often it was tried.
    pub attempts: u32,
    /// When it may be delivered, in Unix milliseconds.
    pub not_before: i64,
    /// Where it came from first.
    pub origin: Option<Arc<str>>,
}

impl Header {
    /// Reads it; what is missing or unreadable stays as for a message of the topic itself.
    pub fn read(properties: &[KeyValue]) -> Self {
        let value = |key| properties.iter().find(|property| property.key == key).map(|found| &*found.value);
        Self {
            attempts: value(ATTEMPTS).and_then(|text| text.parse().ok()).unwrap_or(0),
            not_before: value(NOT_BEFORE).and_then(|text| text.parse().ok()).unwrap_or(0),
            origin: value(ORIGIN).map(Arc::from),
        }
    }
}

/// Messages that came before their time, bounded by what a consumer may hold.
#[derive(Default)]
pub struct Early(BTreeMap<(i64, u64), Message>);

impl Early {
    /// Keeps a message until `not_before`; gives it back where that has come.
    pub fn keep(&mut self, message: Message, not_before: i64) -> Option<Message> {
        if not_before <= SystemClock.unix_millis() {
            return Some(message);
        }
        self.0.insert((not_before, message.id.0), message);
        None
    }

    /// Takes those whose time has come.
    pub fn due(&mut self) -> impl Iterator<Item = Message> {
        let now = SystemClock.unix_millis();
        let later = self.0.split_off(&(now.saturating_add(1), 0));
        std::mem::replace(&mut self.0, later).into_values()
    }

    /// When the next one's time comes; `None` without any.
    pub fn next(&self) -> Option<Instant> {
        let (&(not_before, _), _) = self.0.first_key_value()?;
        let millis = not_before.saturating_sub(SystemClock.unix_millis());
        Some(Instant::now() + Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::MessageId;

    #[test]
    fn what_is_written_with_a_message_is_read_again() {
        let retry = Retry {
            body: "x".into(),
            attempts: 3,
            not_before: 1_700_000_000_000,
            origin: "file:1, ä".into(),
            is_extra: false,
        };
        let sent = outgoing(&retry);
        assert_eq!(sent.deliver_at_time, Some(retry.not_before));
        let properties: Vec<_> =
            sent.properties.into_iter().map(|(key, value)| KeyValue { key, value }).collect();
        let read = Header { attempts: 3, not_before: retry.not_before, origin: Some(retry.origin) };
        assert_eq!(Header::read(&properties), read);
        assert_eq!(Header::read(&[]), Header::default());
    }

    #[test]
    fn a_message_stays_until_its_time_and_others_do_not_wait_for_it() {
        let message = |id| Message {
            id: MessageId(id),
            payload: "".into(),
            redeliveries: 0,
            attempts: 1,
            origin: None,
        };
        let (mut early, now) = (Early::default(), SystemClock.unix_millis());
        assert!(early.keep(message(1), now).is_some() && early.next().is_none());
        assert!(early.keep(message(2), now + 3_600_000).is_none());
        assert!(early.keep(message(3), now + 1_800_000).is_none());
        assert_eq!(early.due().count(), 0);
        let next = early.next().unwrap().duration_since(Instant::now()).as_secs();
        assert!((1_700..=1_800).contains(&next), "{next}");
    }
}
