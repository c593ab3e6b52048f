//! The way to Pulsar: one client for the process, made when it is first needed, and what is said when it is away.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pulsar::consumer::InitialPosition;
use pulsar::proto::MessageIdData;
use pulsar::{
    ConnectionRetryOptions, Consumer, ConsumerOptions, OperationRetryOptions, Pulsar, SubType, TokioExecutor,
};
use tokio::sync::Mutex;

use super::oauth::Tokens;
use super::place::Place;
use super::{PREFETCH, TopicName};
use crate::broker::BrokerError;

/// The client, on tokio.
pub type Client = Pulsar<TokioExecutor>;
/// A consumer of it, whose messages stay bytes.
pub type ClientConsumer = Consumer<Vec<u8>, TokioExecutor>;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long Pulsar may take to answer or confirm. Behind it a message is sent again, so it may come twice.
const ANSWER: Duration = Duration::from_secs(10);
/// Commands between the client and its socket, each up to a batch of messages.
const OUTBOUND: usize = 100;

/// What the client says when it cannot connect; what the certificate is refused for, it keeps to itself.
const NO_CONNECTION: &str = "fatal error when connecting";

/// Makes clients, and says once when Pulsar goes away and once when it is back.
pub struct Connector {
    url: String,
    /// The URL for people.
    shown: String,
    tokens: Option<Tokens>,
    /// Authorities that are trusted beside those that browsers trust.
    ca_file: Option<PathBuf>,
    client: Mutex<Option<Client>>,
    away: AtomicBool,
}

impl Connector {
    /// Connects to nothing yet.
    pub fn new(url: String, shown: String, tokens: Option<Tokens>, ca_file: Option<PathBuf>) -> Self {
        Self { url, shown, tokens, ca_file, client: Mutex::new(None), away: AtomicBool::new(false) }
    }

    /// The client. The first call connects; later the client itself does, where it must.
    ///
    /// Not cancel safe: a connection cancelled halfway blocks the client's later ones. Call it in a task.
    pub async fn client(&self) -> Result<Client, BrokerError> {
        let mut client = self.client.lock().await;
        if let Some(client) = client.as_ref() {
            return Ok(client.clone());
        }
        let connections = ConnectionRetryOptions {
            // Whoever needs a connection tries again with its own backoff.
            max_retries: 0,
            connection_timeout: CONNECT,
            keep_alive: Duration::from_secs(20),
            ..ConnectionRetryOptions::default()
        };
        let operations = OperationRetryOptions {
            operation_timeout: ANSWER,
            retry_delay: Duration::from_millis(500),
            max_retries: Some(3),
        };
        let mut builder = Pulsar::builder(self.url.clone(), TokioExecutor)
            .with_connection_retry_options(connections)
            .with_operation_retry_options(operations)
            .with_outbound_channel_size(OUTBOUND);
        if let Some(tokens) = &self.tokens {
            builder = builder.with_auth_provider(Box::new(tokens.clone()));
        }
        if let Some(path) = &self.ca_file {
            let certificates = tokio::fs::read(path).await;
            let certificates = certificates.map_err(BrokerError::storage("read the file of tls.ca"))?;
            builder = builder.with_certificate_chain(certificates);
        }
        let made = builder
            .build()
            .await
            .map_err(|error| BrokerError::storage("connect to Pulsar")(format!("{}: {error}", self.shown)))?;
        Ok(client.insert(made).clone())
    }

    /// A consumer on the shared subscription, which begins at the oldest message where it is new.
    pub async fn subscribe(&self, place: &Place) -> Result<ClientConsumer, BrokerError> {
        self.consumer(place, place.prefetch).await
    }

    /// Creates the subscription where it is missing: without one Pulsar does not keep what is published.
    pub async fn ensure_subscription(&self, place: &Place) -> Result<(), BrokerError> {
        // Of an old subscription it may be given one entry, which goes on to others when it leaves.
        let mut consumer = self.consumer(place, 1).await?;
        consumer.close().await.map_err(failure("subscribe to a topic of Pulsar"))
    }

    /// A consumer of its own that begins behind `start`, or behind what the topic holds. Nothing of it stays in Pulsar.
    pub async fn read(
        &self,
        topic: &TopicName,
        start: Option<MessageIdData>,
    ) -> Result<ClientConsumer, BrokerError> {
        let mut options = ConsumerOptions::default()
            .durable(false)
            .with_initial_position(InitialPosition::Latest)
            .with_receiver_queue_size(PREFETCH);
        options.start_message_id = start;
        let client = self.client().await?;
        let builder = client
            .consumer()
            .with_topic(topic.full())
            .with_subscription(format!("reader-{:016x}", fastrand::u64(..)))
            .with_subscription_type(SubType::Exclusive)
            .with_batch_size(PREFETCH)
            .with_options(options);
        builder.build().await.map_err(failure("read a topic of Pulsar"))
    }

    async fn consumer(&self, place: &Place, prefetch: u32) -> Result<ClientConsumer, BrokerError> {
        let options = ConsumerOptions::default()
            .durable(true)
            .with_initial_position(InitialPosition::Earliest)
            .with_receiver_queue_size(prefetch);
        let client = self.client().await?;
        let builder = client
            .consumer()
            .with_topic(place.topic.full())
            .with_subscription(&place.subscription)
            .with_subscription_type(SubType::Shared)
            .with_batch_size(prefetch)
            .with_options(options);
        builder.build().await.map_err(failure("subscribe to a topic of Pulsar"))
    }

    /// Says that Pulsar is away, unless that was said.
    pub fn is_away(&self, error: &BrokerError) {
        if !self.away.swap(true, Ordering::Relaxed) {
            let error = crate::error_chain(error);
            let token = self.tokens.as_ref().and_then(Tokens::refusal);
            let encrypted = self.url.starts_with("pulsar+ssl:") && error.contains(NO_CONNECTION);
            let hint =
                encrypted.then_some("its certificate may be for another name, or not be trusted: see tls.ca");
            tracing::warn!(url = self.shown, %error, token, hint, "Pulsar does not work, trying again until it does");
        }
    }

    /// Says that Pulsar is back, if it was away.
    pub fn is_back(&self) {
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(url = self.shown, "Pulsar works again");
        }
    }
}

/// Wraps the client's error. Its text says its causes already.
pub fn failure(action: &'static str) -> impl FnOnce(pulsar::Error) -> BrokerError {
    move |error| BrokerError::storage(action)(error.to_string())
}
