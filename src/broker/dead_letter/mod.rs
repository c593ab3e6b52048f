//! What could not be processed: how it is listed, and how it goes onto the topic again.

mod form;

use std::cmp::min;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BatchBuilder, Broker, BrokerError, MessageId};
pub(super) use form::{decode, encode};

/// Letters that are looked at, or published again, at once.
const CHUNK: usize = 32;

/// Bytes of a body that are listed.
const LISTED_BYTES: usize = 200;

/// Something that could not be processed, kept with the reason.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Why, for people.
    pub reason: String,
    /// Where it came from: a topic and message, or a file and line.
    pub origin: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The bytes that could not be processed, or their beginning.
    pub body: Bytes,
    /// How many bytes there were.
    pub whole_bytes: usize,
}

impl DeadLetter {
    /// Whether only the beginning of its body is kept.
    pub fn is_cut(&self) -> bool {
        self.body.len() < self.whole_bytes
    }
}

/// A dead letter in its topic.
#[derive(Debug, Clone)]
pub struct KeptLetter {
    /// Its place.
    pub id: MessageId,
    /// When it was written; of a letter of an earlier version it is not known.
    pub time: Option<Timestamp>,
    /// What it says.
    pub letter: DeadLetter,
}

/// A dead letter as it is listed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// When it was written.
    pub time: Option<Timestamp>,
    /// Why it could not be processed.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Where it came from.
    pub origin: String,
    /// The first bytes of its body; what is not UTF-8 is replaced.
    pub body: String,
    /// How many bytes its body had.
    pub body_bytes: usize,
}

/// What became of a replay.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Letters whose bodies are on the topic again, and which are gone.
    pub replayed: usize,
    /// Letters that stay, because only the beginning of their body is kept, or the broker takes none so long.
    pub incomplete: usize,
}

/// The first `limit` dead letters.
///
/// # Errors
/// When the broker cannot read them.
pub async fn list(broker: &dyn Broker, limit: usize) -> Result<Vec<Listed>, BrokerError> {
    let mut letters = broker.dead_letters().await?;
    let mut listed = Vec::new();
    while listed.len() < limit {
        let next = letters.next(min(CHUNK, limit - listed.len())).await?;
        if next.is_empty() {
            break;
        }
        listed.extend(next.into_iter().map(Listed::from));
    }
    Ok(listed)
}

/// Publishes the bodies of the first `limit` dead letters whose reason contains `reason`, and removes them once they are
/// confirmed. After a crash in between they are there twice, and counted once.
///
/// # Errors
/// When the broker cannot read, publish or remove them. What was published until then is removed.
pub async fn replay(broker: &dyn Broker, reason: &str, limit: usize) -> Result<Replayed, BrokerError> {
    let (mut letters, producer) = (broker.dead_letters().await?, broker.producer().await?);
    let mut done = Replayed::default();
    while done.replayed < limit {
        let next = letters.next(min(CHUNK, limit - done.replayed)).await?;
        if next.is_empty() {
            break;
        }
        let (mut batch, mut ids) = (BatchBuilder::default(), Vec::new());
        for KeptLetter { id, letter, .. } in next.iter().filter(|kept| kept.letter.reason.contains(reason)) {
            if letter.is_cut() || letter.body.len() > producer.max_message_bytes() {
                done.incomplete += 1;
                continue;
            }
            batch.push(&[&letter.body]);
            ids.push(*id);
        }
        if !ids.is_empty() {
            producer.publish(batch.build()).await?;
            letters.remove(&ids).await?;
            done.replayed += ids.len();
        }
    }
    Ok(done)
}

impl From<KeptLetter> for Listed {
    fn from(KeptLetter { time, letter, .. }: KeptLetter) -> Self {
        let shown = &letter.body[..min(LISTED_BYTES, letter.body.len())];
        Self {
            time,
            reason: letter.reason,
            attempts: letter.attempts,
            origin: letter.origin,
            body: String::from_utf8_lossy(shown).into_owned(),
            body_bytes: letter.whole_bytes,
        }
    }
}
