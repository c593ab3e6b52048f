//! The broker on Apache Pulsar: one topic, one `Shared` subscription, a dead-letter topic beside it.
//!
//! Connects when it is first used, and goes on trying: Pulsar's absence is never an error at the start. A message that
//! fails is not published to a retry topic: workers try engines again in place, and decoding the same bytes again gives
//! the same result.

mod admin;
mod connection;
mod consumer;
mod entry;
mod oauth;
mod outstanding;
mod producer;
mod topic;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::{Broker, BrokerError, Consumer, DeadLetter, MessageBatch, Producer};
use crate::shutdown::{self, Shutdown, Trigger};
use admin::{Admin, AdminError, Backlog};
use connection::Connector;
use consumer::PulsarConsumer;
use entry::{EntryKey, Returned};
use oauth::Tokens;
pub use oauth::{KeyFileError, OAuth};
use outstanding::Outstanding;
pub use producer::MAX_MESSAGE_BYTES;
use producer::{Publishing, PulsarProducer};
use topic::TopicName;

/// Behind the topic's name, the topic of what cannot be processed.
const DEAD_LETTER_SUFFIX: &str = "-dead-letter";
/// The subscription that keeps dead letters until someone deals with them.
const DEAD_LETTER_SUBSCRIPTION: &str = "dead-letter";
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
    dead_letters: tokio::sync::OnceCell<PulsarProducer>,
    trigger: Trigger,
}

/// What consumers share.
struct Shared {
    connector: Arc<Connector>,
    topic: TopicName,
    subscription: String,
    admin: Option<Admin>,
    returned: Arc<Returned>,
    outstanding: Option<Arc<Outstanding>>,
    stall_after: Duration,
    /// Whether a stall was reported and has not ended.
    stalled: AtomicBool,
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
        let tokens = options.oauth.as_ref().map(Tokens::open).transpose()?;
        let admin = options.admin_url.as_deref().map(|url| Admin::new(url, tokens.clone())).transpose()?;
        let (trigger, shutdown) = shutdown::channel();
        let shared = Shared {
            connector: Arc::new(Connector::new(options.url, options.shown_url, tokens, options.ca_file)),
            topic: topic(&options.consumer_topic)?,
            subscription: options.subscription,
            outstanding: admin.is_none().then(Arc::default),
            admin,
            returned: Arc::default(),
            stall_after: options.stall_after,
            stalled: AtomicBool::new(false),
            leaving: Mutex::default(),
            shutdown,
        };
        Ok(Self {
            shared: Arc::new(shared),
            producer_topic,
            retries: options.retries,
            dead_letters: tokio::sync::OnceCell::new(),
            trigger,
        })
    }

    fn publisher(&self, publishing: Publishing) -> PulsarProducer {
        PulsarProducer::start(publishing, self.shared.shutdown.clone())
    }
}

#[async_trait]
impl Broker for PulsarBroker {
    async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        Ok(Arc::new(self.publisher(Publishing {
            connector: self.shared.connector.clone(),
            topic: self.producer_topic.clone(),
            subscription: (self.shared.topic.clone(), self.shared.subscription.clone()),
            outstanding: self.shared.outstanding.clone(),
            retries: self.retries,
        })))
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, BrokerError> {
        Ok(Box::new(PulsarConsumer::new(self.shared.clone())))
    }

    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), BrokerError> {
        let producer = self.dead_letters.get_or_init(async || {
            let topic = self.shared.topic.with_suffix(DEAD_LETTER_SUFFIX);
            self.publisher(Publishing {
                connector: self.shared.connector.clone(),
                subscription: (topic.clone(), DEAD_LETTER_SUBSCRIPTION.to_owned()),
                topic,
                outstanding: None,
                retries: self.retries,
            })
        });
        let batch: MessageBatch = super::dead_letter::encode(&letters, MAX_MESSAGE_BYTES);
        producer.await.publish(batch).await
    }

    async fn backlog(&self) -> Result<u64, BrokerError> {
        let backlog = self.shared.subscription_backlog().await.ok_or(BrokerError::BacklogUnknown)?;
        Ok(backlog.map_err(BrokerError::storage("read the backlog"))?.messages)
    }

    async fn is_drained(&self) -> Result<bool, BrokerError> {
        match &self.shared.outstanding {
            Some(outstanding) => Ok(outstanding.is_empty()),
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
    async fn subscription_backlog(&self) -> Option<Result<Backlog, AdminError>> {
        Some(self.admin.as_ref()?.backlog(&self.topic, &self.subscription).await)
    }

    /// Notes whether the subscription stands still; says whether that is news.
    fn stalled(&self, stalled: bool) -> bool {
        self.stalled.swap(stalled, Ordering::Relaxed) != stalled
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
