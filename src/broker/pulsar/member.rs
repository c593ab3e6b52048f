//! A worker's membership of the subscription: a consumer on the topic and one on the retry topic.

use async_trait::async_trait;

use super::consumer::PulsarConsumer;
use crate::broker::{BrokerError, Consumer, Message, MessageId};

/// Receives from whichever has something. Each connects and fails by itself: without the right to a retry topic the
/// topic is still consumed.
pub struct Member {
    /// On the topic.
    pub topic: PulsarConsumer,
    /// On the retry topic.
    pub retries: PulsarConsumer,
}

#[async_trait]
impl Consumer for Member {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BrokerError> {
        tokio::select! {
            received = self.topic.receive(max) => received,
            received = self.retries.receive(max) => received,
        }
    }

    async fn settle(&mut self, ids: &[MessageId]) -> Result<(), BrokerError> {
        // Each ignores the ids of the other: they are unique in the process.
        self.topic.settle(ids).await?;
        self.retries.settle(ids).await
    }
}
