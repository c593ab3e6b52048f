//! Where workers show what they applied: to servers in this process, or to those of all processes.

use std::sync::Arc;

use super::LiveTopic;
use super::decode::Decoded;
use crate::broker::{BatchBuilder, MessageBatch, Producer};
use crate::live::{Arrival, Cursor, Feed, message};
use crate::mutation::Numbers;
use crate::state::Applied;

/// The way to the servers.
#[derive(Clone)]
pub enum Live {
    /// Handed over in memory.
    Memory(Arc<Feed>),
    /// Published on the live topic.
    Topic(Arc<LiveTopic>),
}

/// What was applied as the servers get it: every shown event with its numbers and its place, without those that lost to
/// their twin.
pub(super) fn arrivals(decoded: Decoded, applied: &Applied) -> Vec<Arrival> {
    let mut numbers = applied.numbers.iter().enumerate();
    let shown = decoded.into_samples().filter_map(|(key, is_mutation, sample)| {
        let (place, numbers) = match is_mutation {
            true => numbers.next().map(|(place, numbers)| (Some(place), *numbers))?,
            false => (None, Numbers::default()),
        };
        if place.is_some_and(|place| applied.lost.contains(&place)) {
            return None;
        }
        let mut sample = sample?;
        sample.numbers = numbers;
        Some((key, sample))
    });
    let arrival =
        |(index, (key, sample))| Arrival { cursor: Cursor { seq: applied.seq, index }, key, sample };
    (0..).zip(shown).map(arrival).collect()
}

/// The same as messages of the live topic; of events that are longer than its producer takes, nothing.
pub(super) fn messages(arrivals: &[Arrival], producer: &dyn Producer) -> MessageBatch {
    let mut batch = BatchBuilder::default();
    for message in arrivals.iter().map(message::encode) {
        if message.len() <= producer.max_message_bytes() {
            batch.push(&[message.as_bytes()]);
        }
    }
    batch.build()
}
