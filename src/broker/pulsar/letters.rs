//! A way through the dead letters on their topic.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::consumer::PulsarConsumer;
use crate::broker::{BrokerError, Consumer, DeadLetters, KeptLetter, MessageId, dead_letter};

/// Where nothing comes for so long, there is nothing more: Pulsar does not tell the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a consumer of the dead letters gets. It holds at most as many as a consumer may: that is the end, too.
pub struct Letters {
    consumer: PulsarConsumer,
    /// Letters of later are not of this way.
    opened: Timestamp,
}

impl Letters {
    /// A way that begins now; `consumer` is connected.
    pub fn new(consumer: PulsarConsumer) -> Self {
        Self { consumer, opened: Timestamp::now() }
    }
}

#[async_trait]
impl DeadLetters for Letters {
    async fn next(&mut self, max: usize) -> Result<Vec<KeptLetter>, BrokerError> {
        loop {
            let Ok(received) = tokio::time::timeout(PATIENCE, self.consumer.receive(max)).await else {
                return Ok(Vec::new());
            };
            let received = received?;
            let letters = received.iter().map(|message| dead_letter::decode(message.id, &message.payload));
            let letters: Vec<_> =
                letters.filter(|kept| kept.time.is_none_or(|time| time <= self.opened)).collect();
            if !letters.is_empty() {
                return Ok(letters);
            }
        }
    }

    async fn remove(&mut self, ids: &[MessageId]) -> Result<(), BrokerError> {
        self.consumer.settle(ids).await
    }
}
