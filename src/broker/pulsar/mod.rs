//! The broker on Apache Pulsar: one topic, one `Shared` subscription, a retry topic and a dead-letter topic beside it.
//!
//! Connects when it is first used, and goes on trying: Pulsar's absence is never an error at the start. What is to be
//! tried again goes to the retry topic, on which the same workers have the same subscription.

mod admin;
mod broadcast;
mod connection;
mod consumer;
mod entry;
mod letters;
mod member;
mod oauth;
mod outstanding;
mod place;
mod producer;
mod retries;
mod topic;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::{Broker, BrokerError, Consumer, DeadLetter, DeadLetters, Producer, Retry};
use crate::clock::{Clock, SystemClock};
use crate::shutdown::{self, Shutdown, Trigger};
use admin::{Admin, AdminError, Backlog};
pub use broadcast::PulsarBroadcast;
use connection::Connector;
use consumer::PulsarConsumer;
use entry::{EntryKey, Returned};
use letters::Letters;
use member::Member;
use oauth::Tokens;
pub use oauth::{KeyFileError, OAuth};
use outstanding::Outstanding;
use place::Place;
pub use producer::MAX_MESSAGE_BYTES;
use producer::{Publishing, PulsarProducer};
use topic::TopicName;

/// Behind the topic's name, the topic of what cannot be processed.
const DEAD_LETTER_SUFFIX: &str = "-dead-letter";
/// The subscription that keeps dead letters until someone deals with them.
const DEAD_LETTER_SUBSCRIPTION: &str = "dead-letter";
/// Behind the topic's name, the topic of what is to be tried again.
const RETRY_SUFFIX: &str = "-retry";
/// Prefetched messages per consumer: enough to bridge a round trip at full speed, few enough to share fairly.
const PREFETCH: u32 = 2_000;
/// The same where speed does not matter.
const PREFETCH_FEW: u32 = 100;
/// How long nothing may be settled here until what is left counts as somebody else's.
const ELSEWHERE: Duration = Duration::from_secs(60);
/// How long closing waits for consumers to send their acknowledgements.
const CLOSE: Duration = Duration::from_secs(5);

/// What the broker needs to know.
#[derive(Debug, Clone)]
pub struct PulsarOptions {
    /// `pulsar://` or `pulsar+ssl://` and host.
    pub url: String,
    /// The URL as people may see it.
    pub shown_url: String,
    /// Where events are published.
    pub producer_topic: String,
    /// Where they are consumed.
    pub consumer_topic: String,
    /// The subscription that all workers share.
    pub subscription: String,
    /// How often a batch is published again before its source gets the error.
    pub retries: u32,
    /// The admin API, for the backlog.
    pub admin_url: Option<String>,
    /// Authentication.
    pub oauth: Option<OAuth>,
    /// PEM file of authorities that are trusted beside those that browsers trust.
    pub ca_file: Option<PathBuf>,
    /// Whether somebody waits until what this process publishes is settled, by its own workers.
    pub ends: bool,
    /// How long a backlog may lie without a delivery.
    pub stall_after: Duration,
}

/// What cannot be used in the options.
#[derive(Debug, thiserror::Error)]
pub enum PulsarOptionsError {
    /// The name of a topic.
    #[error("{0:?} is not the name of a Pulsar topic")]
    Topic(String),
    /// The key file.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The admin API's address.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// The broker on Pulsar.
pub struct PulsarBroker {
    shared: Arc<Shared>,
    producer_topic: TopicName,
    retries: u32,
    /// Producers of these are made when they are first needed.
    retrying: OnceCell<PulsarProducer>,
    dead_letters: OnceCell<PulsarProducer>,
    dead_letter_place: Arc<Place>,
    trigger: Trigger,
}

/// What consumers share.
struct Shared {
    connector: Arc<Connector>,
    topic: Arc<Place>,
    retries: Arc<Place>,
    admin: Option<Admin>,
    returned: Arc<Returned>,
    outstanding: Option<Arc<Outstanding>>,
    stall_after: Duration,
    /// Consumers that go.
    leaving: Mutex<JoinSet<()>>,
    shutdown: Shutdown,
}

impl PulsarBroker {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When the options cannot be used, whatever Pulsar does.
    pub fn new(options: PulsarOptions) -> Result<Self, PulsarOptionsError> {
        let topic =
            |name: &str| TopicName::parse(name).ok_or_else(|| PulsarOptionsError::Topic(name.to_owned()));
        let producer_topic = topic(&options.producer_topic)?;
        let consumer_topic = topic(&options.consumer_topic)?;
        let dead_letters = Place::new(
            consumer_topic.with_suffix(DEAD_LETTER_SUFFIX),
            DEAD_LETTER_SUBSCRIPTION,
            PREFETCH_FEW,
        );
        let retries =
            Place::new(consumer_topic.with_suffix(RETRY_SUFFIX), &options.subscription, PREFETCH_FEW);
        let tokens = options.oauth.as_ref().map(Tokens::open).transpose()?;
        let admin = options.admin_url.as_deref().map(|url| Admin::new(url, tokens.clone())).transpose()?;
        let (trigger, shutdown) = shutdown::channel();
        let shared = Shared {
            connector: Arc::new(Connector::new(options.url, options.shown_url, tokens, options.ca_file)),
            topic: Arc::new(Place::new(consumer_topic, &options.subscription, PREFETCH)),
            retries: Arc::new(retries),
            outstanding: (admin.is_none() && options.ends).then(Arc::default),
            admin,
            returned: Arc::default(),
            stall_after: options.stall_after,
            leaving: Mutex::default(),
            shutdown,
        };
        Ok(Self {
            shared: Arc::new(shared),
            producer_topic,
            retries: options.retries,
            retrying: OnceCell::new(),
            dead_letters: OnceCell::new(),
            dead_letter_place: Arc::new(dead_letters),
            trigger,
        })
    }

    /// Another topic of the same Pulsar, which every reader sees whole.
    ///
    /// # Errors
    /// When `name` is not the name of a topic.
    pub fn broadcast(&self, name: &str) -> Result<PulsarBroadcast, PulsarOptionsError> {
        Ok(PulsarBroadcast {
            connector: self.shared.connector.clone(),
            topic: TopicName::parse(name).ok_or_else(|| PulsarOptionsError::Topic(name.to_owned()))?,
            retries: self.retries,
            shutdown: self.shared.shutdown.clone(),
        })
    }

    /// A producer on `topic`, which makes the subscription of `place` first.
    fn publisher(&self, topic: &TopicName, place: &Arc<Place>, batched: bool) -> PulsarProducer {
        let publishing = Publishing {
            connector: self.shared.connector.clone(),
            topic: topic.clone(),
            subscription: Some(place.clone()),
            batched,
            // Dead letters are not waited for.
            outstanding: self
                .shared
                .outstanding
                .clone()
                .filter(|_| !Arc::ptr_eq(place, &self.dead_letter_place)),
            retries: self.retries,
        };
        PulsarProducer::start(publishing, self.shared.shutdown.clone())
    }
}

#[async_trait]
impl Broker for PulsarBroker {
    async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        Ok(Arc::new(self.publisher(&self.producer_topic, &self.shared.topic, true)))
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, BrokerError> {
        let consumer = |place: &Arc<Place>| PulsarConsumer::new(self.shared.clone(), place.clone());
        Ok(Box::new(Member { topic: consumer(&self.shared.topic), retries: consumer(&self.shared.retries) }))
    }

    async fn retry(&self, retries: Vec<Retry>) -> Result<(), BrokerError> {
        let place = &self.shared.retries;
        let producer = self.retrying.get_or_init(async || self.publisher(&place.topic, place, false));
        producer.await.retry(retries).await
    }

    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), BrokerError> {
        let place = &self.dead_letter_place;
        let producer = self.dead_letters.get_or_init(async || self.publisher(&place.topic, place, false));
        let now = SystemClock.unix_millis();
        producer.await.publish(super::dead_letter::encode(&letters, now, MAX_MESSAGE_BYTES)).await
    }

    async fn dead_letters(&self) -> Result<Box<dyn DeadLetters>, BrokerError> {
        let (shared, place) = (self.shared.clone(), self.dead_letter_place.clone());
        // In a task, because the client does not bear a connection that is cancelled halfway.
        let connecting = tokio::spawn(async move {
            let consumer = shared.connector.subscribe(&place).await?;
            Ok(PulsarConsumer::connected(shared, place, consumer))
        });
        let consumer = connecting.await.map_err(BrokerError::storage("subscribe to a topic of Pulsar"))??;
        Ok(Box::new(Letters::new(consumer)))
    }

    async fn backlog(&self) -> Result<u64, BrokerError> {
        let mut messages = 0;
        // In this order: a message is on the retry topic before it is settled on the topic.
        for place in [&self.shared.topic, &self.shared.retries] {
            let backlog = self.shared.backlog(place).await.ok_or(BrokerError::BacklogUnknown)?;
            messages += backlog.map_err(BrokerError::storage("read the backlog"))?.messages;
        }
        Ok(messages)
    }

    async fn is_drained(&self) -> Result<bool, BrokerError> {
        match &self.shared.outstanding {
            Some(outstanding) if outstanding.is_empty() => Ok(true),
            // The rest may be with the workers of another process, whose settlements are not seen here.
            Some(outstanding) if outstanding.quiet_for() > ELSEWHERE => Err(BrokerError::BacklogUnknown),
            Some(_) => Ok(false),
            None => Ok(self.backlog().await? == 0),
        }
    }

    async fn close(&self) -> Result<(), BrokerError> {
        self.trigger.trigger();
        let leaving = std::mem::take(&mut *self.shared.leaving());
        // Acknowledgements that do not arrive bring messages again, which the state counts once.
        let _ = tokio::time::timeout(CLOSE, leaving.join_all()).await;
        Ok(())
    }
}

impl Shared {
    /// `None` without an admin API.
    async fn backlog(&self, place: &Place) -> Option<Result<Backlog, AdminError>> {
        Some(self.admin.as_ref()?.backlog(place).await)
    }

    fn settled(&self, key: EntryKey) {
        if let Some(outstanding) = &self.outstanding {
            outstanding.settled(key);
        }
    }

    fn leaving(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a consumer go in a task of its own, for which closing waits.
    fn leave(&self, going: impl Future<Output = ()> + Send + 'static) {
        // Outside a runtime the process is at its end, and with it the connection.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let mut leaving = self.leaving();
            while leaving.try_join_next().is_some() {}
            leaving.spawn_on(going, &runtime);
        }
    }
}
