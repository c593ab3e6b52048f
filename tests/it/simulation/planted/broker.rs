//! Bugs between the core and the broker.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use pulsehub::broker::{
    Broker, BrokerError, Consumer, DeadLetter, DeadLetters, Message, MessageBatch, MessageId, Producer, Retry,
};
use pulsehub::dedup::Dedup;
use pulsehub::event::EventKey;

use super::Bug;
use super::engines::Later;
use crate::simulation::events::{Events, Known, is_copy};
use crate::simulation::topic::Topic;

/// The broker as a process with a bug uses it.
#[derive(Clone)]
pub struct PlantedBroker {
    pub bug: Bug,
    pub topic: Topic,
    pub events: Arc<Events>,
    /// Of its process; what is left of one that is gone must not keep it.
    pub dedup: Weak<Dedup>,
    pub later: Weak<Later>,
}

impl PlantedBroker {
    /// Does nothing in a process that is gone.
    fn later<F>(&self, attempt: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), BrokerError>> + Send,
    {
        if let Some(later) = self.later.upgrade() {
            later.until_done(attempt);
        }
    }

    fn keys(&self, batch: &MessageBatch) -> Vec<EventKey> {
        let known = (0..batch.len()).filter_map(|index| self.events.known(&batch.get(index)?));
        let key = |known| match known {
            Known::Event(index) => Some(self.events.facts[index].key),
            Known::Garbage(_) | Known::Line(_) => None,
        };
        known.filter_map(key).collect()
    }
}

#[async_trait]
impl Broker for PlantedBroker {
    async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        self.topic.producer().await?;
        Ok(Arc::new(self.clone()))
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, BrokerError> {
        let consumer = self.topic.consumer().await?;
        Ok(Box::new(PlantedConsumer { broker: self.clone(), consumer, batches: BTreeMap::new() }))
    }

    async fn retry(&self, retries: Vec<Retry>) -> Result<(), BrokerError> {
        let copies = retries.iter().any(|retry| is_copy(&retry.body));
        match (self.bug, copies) {
            (Bug::NeverAskedAgain, true) => return Ok(()),
            (Bug::SettledBeforeRetried, false) | (Bug::SettledBeforeAskedAgain, true) => {}
            _ => return self.topic.retry(retries).await,
        }
        let topic = self.topic.clone();
        self.later(move || {
            let (topic, retries) = (topic.clone(), retries.clone());
            async move { topic.retry(retries).await }
        });
        Ok(())
    }

    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), BrokerError> {
        if self.bug != Bug::SettledBeforeBuried {
            return self.topic.dead_letter(letters).await;
        }
        let topic = self.topic.clone();
        self.later(move || {
            let (topic, letters) = (topic.clone(), letters.clone());
            async move { topic.dead_letter(letters).await }
        });
        Ok(())
    }

    async fn dead_letters(&self) -> Result<Box<dyn DeadLetters>, BrokerError> {
        self.topic.dead_letters().await
    }

    async fn backlog(&self) -> Result<u64, BrokerError> {
        self.topic.backlog().await
    }

    async fn close(&self) -> Result<(), BrokerError> {
        self.topic.close().await
    }
}

#[async_trait]
impl Producer for PlantedBroker {
    async fn publish(&self, batch: MessageBatch) -> Result<(), BrokerError> {
        match self.bug {
            Bug::ConfirmedBeforePublished => {
                let topic = self.topic.clone();
                self.later(move || {
                    let (topic, batch) = (topic.clone(), batch.clone());
                    async move { topic.publish(batch).await }
                });
                Ok(())
            }
            Bug::PublishFailureIgnored => {
                let _ = self.topic.publish(batch).await;
                Ok(())
            }
            Bug::SeenBeforePublished => {
                if let Some(dedup) = self.dedup.upgrade() {
                    dedup.confirm(&self.keys(&batch)).unwrap();
                }
                self.topic.publish(batch).await
            }
            _ => self.topic.publish(batch).await,
        }
    }

    fn max_message_bytes(&self) -> usize {
        self.topic.max_message_bytes()
    }
}

struct PlantedConsumer {
    broker: PlantedBroker,
    consumer: Box<dyn Consumer>,
    /// What was received together, by each of its messages.
    batches: BTreeMap<MessageId, Vec<MessageId>>,
}

#[async_trait]
impl Consumer for PlantedConsumer {
    async fn receive(&mut self, max: usize) -> Result<Vec<Message>, BrokerError> {
        let messages = self.consumer.receive(max).await?;
        let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
        match self.broker.bug {
            Bug::SettledBeforeApplied => drop(self.consumer.settle(&ids).await),
            Bug::ReceivedAndDropped => self.broker.topic.pause().await,
            Bug::BatchSettledWhole => self.batches.extend(ids.iter().map(|id| (*id, ids.clone()))),
            _ => {}
        }
        Ok(messages)
    }

    async fn settle(&mut self, ids: &[MessageId]) -> Result<(), BrokerError> {
        let batches: Vec<_> = ids.iter().filter_map(|id| self.batches.get(id)).flatten().copied().collect();
        self.consumer.settle(if batches.is_empty() { ids } else { &batches }).await
    }
}
