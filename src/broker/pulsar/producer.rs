//! The publishing side: one task owns the client's producer, and makes a new one when it fails.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use pulsar::compression::{Compression, CompressionLz4};
use pulsar::producer::SendFuture;
use pulsar::{ProducerOptions, TokioExecutor};
use tokio::sync::{mpsc, oneshot};

use super::connection::{Connector, failure};
use super::outstanding::Outstanding;
use super::place::Place;
use super::retries;
use super::topic::TopicName;
use crate::broker::{BrokerError, MessageBatch, Producer, Retry};
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::telemetry::names;

/// Bytes of the largest message. Pulsar takes 5 MiB with all around the message; what does not compress grows by one
/// in 255.
pub const MAX_MESSAGE_BYTES: usize = (5 << 20) - (64 << 10);
/// Messages in one batch: the client has one batch in flight, so this over the round trip is the throughput.
const BATCH_MESSAGES: u32 = 1_000;
/// Bytes of a full batch, in front of compression. The message that fills it may pass it by its whole length.
const BATCH_BYTES: usize = 1 << 20;
/// How long the first message of a batch waits for more.
const BATCH_WAIT: Duration = Duration::from_millis(2);
/// Publish calls that wait for the task or for their confirmation; more wait in their caller.
const MAX_REQUESTS: usize = 16;

/// A handle on the task.
pub struct PulsarProducer {
    requests: mpsc::Sender<Request>,
    retries: u32,
}

struct Request {
    messages: Outgoing,
    done: oneshot::Sender<Result<(), BrokerError>>,
}

/// What goes out with one call.
#[derive(Clone)]
enum Outgoing {
    Batch(MessageBatch),
    Retries(Arc<[Retry]>),
}

type Confirmation = BoxFuture<'static, Result<(), BrokerError>>;

/// What the task needs.
pub struct Publishing {
    /// The way to Pulsar.
    pub connector: Arc<Connector>,
    /// Where to.
    pub topic: TopicName,
    /// A subscription that must be there before the first message is published, if any.
    pub subscription: Option<Arc<Place>>,
    /// Whether messages share entries. Pulsar delays and removes whole entries only.
    pub batched: bool,
    /// Who is told what was confirmed.
    pub outstanding: Option<Arc<Outstanding>>,
    /// How often a batch is sent again before its publisher gets the error.
    pub retries: u32,
}

impl PulsarProducer {
    /// Starts the task, which connects by itself and ends with `shutdown` or with the handle.
    pub fn start(publishing: Publishing, shutdown: Shutdown) -> Self {
        let (requests, receiver) = mpsc::channel(MAX_REQUESTS);
        let retries = publishing.retries;
        tokio::spawn(Task { publishing, requests: receiver, shutdown }.run());
        Self { requests, retries }
    }

    /// Publishes messages that are to be delivered later; the producer must not be a batched one.
    pub async fn retry(&self, retries: Vec<Retry>) -> Result<(), BrokerError> {
        self.send_until_confirmed(Outgoing::Retries(retries.into())).await
    }

    async fn send_until_confirmed(&self, messages: Outgoing) -> Result<(), BrokerError> {
        let largest = messages.lengths().max();
        if let Some(bytes) = largest.filter(|&bytes| bytes > MAX_MESSAGE_BYTES) {
            return Err(BrokerError::TooLarge { bytes, limit_bytes: MAX_MESSAGE_BYTES });
        }
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            match self.send(messages.clone()).await {
                Err(error) if error.is_retryable() && backoff.failures() < self.retries => {
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                result => return result,
            }
        }
    }

    async fn send(&self, messages: Outgoing) -> Result<(), BrokerError> {
        let (done, answer) = oneshot::channel();
        self.requests.send(Request { messages, done }).await.map_err(|_| BrokerError::Closed)?;
        // The task drops what it cannot answer when its producer fails.
        answer.await.unwrap_or_else(|_| {
            let closed = self.requests.is_closed();
            Err(if closed { BrokerError::Closed } else { interrupted() })
        })
    }
}

#[async_trait]
impl Producer for PulsarProducer {
    async fn publish(&self, batch: MessageBatch) -> Result<(), BrokerError> {
        self.send_until_confirmed(Outgoing::Batch(batch)).await
    }

    fn max_message_bytes(&self) -> usize {
        MAX_MESSAGE_BYTES
    }
}

impl Outgoing {
    fn lengths(&self) -> Box<dyn Iterator<Item = usize> + Send + '_> {
        match self {
            Self::Batch(batch) => {
                Box::new((0..batch.len()).filter_map(|index| batch.get(index)).map(|message| message.len()))
            }
            Self::Retries(retries) => Box::new(retries.iter().map(|retry| retry.body.len())),
        }
    }
}

fn interrupted() -> BrokerError {
    BrokerError::storage("publish to Pulsar")("the connection was lost before Pulsar confirmed")
}

struct Task {
    publishing: Publishing,
    requests: mpsc::Receiver<Request>,
    shutdown: Shutdown,
}

impl Task {
    async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let failed = match self.connect().await {
                Ok(mut producer) => {
                    self.publishing.connector.is_back();
                    let confirmed = self.serve(&mut producer).await;
                    let Err((error, any)) = confirmed else {
                        // Whatever was not confirmed was not promised.
                        let _ = producer.close().await;
                        return;
                    };
                    metrics::counter!(names::RECONNECTS, "side" => "producer").increment(1);
                    if any {
                        backoff.reset();
                    }
                    error
                }
                Err(error) => error,
            };
            self.publishing.connector.is_away(&failed);
            if !self.refuse_for(backoff.next_delay()).await {
                return;
            }
        }
    }

    async fn connect(&self) -> Result<pulsar::Producer<TokioExecutor>, BrokerError> {
        let Publishing { connector, topic, subscription, batched, .. } = &self.publishing;
        let client = connector.client().await?;
        let options = ProducerOptions {
            batch_size: batched.then_some(BATCH_MESSAGES),
            batch_byte_size: batched.then_some(BATCH_BYTES),
            batch_timeout: batched.then_some(BATCH_WAIT),
            compression: Some(Compression::Lz4(CompressionLz4::default())),
            block_queue_if_full: true,
            ..ProducerOptions::default()
        };
        let builder = client.producer().with_topic(topic.full()).with_options(options);
        let producer = builder.build().await.map_err(failure("publish to a topic of Pulsar"))?;
        if let Some(subscription) = subscription {
            connector.ensure_subscription(subscription).await?;
        }
        Ok(producer)
    }

    /// Answers with an error for `pause`; `false` when the handle or the broker is gone.
    async fn refuse_for(&mut self, pause: Duration) -> bool {
        let pause = tokio::time::sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return true,
                () = self.shutdown.triggered() => return false,
                request = self.requests.recv() => match request {
                    None => return false,
                    // Dropping it is the answer.
                    Some(request) => drop(request),
                },
            }
        }
    }

    /// Publishes until the handle or the broker is gone (`Ok`) or the producer fails; then says whether it had
    /// confirmed anything.
    async fn serve(
        &mut self,
        producer: &mut pulsar::Producer<TokioExecutor>,
    ) -> Result<(), (BrokerError, bool)> {
        let mut confirming: FuturesUnordered<Confirmation> = FuturesUnordered::new();
        let mut any = false;
        loop {
            tokio::select! {
                biased;
                Some(result) = confirming.next() => {
                    result.map_err(|error| (error, any))?;
                    any = true;
                }
                () = self.shutdown.triggered() => break,
                request = self.requests.recv(), if confirming.len() < MAX_REQUESTS => {
                    let Some(request) = request else { break };
                    let sent = self.send(producer, &request.messages).await.map_err(|error| (error, any))?;
                    confirming.push(Box::pin(confirm(sent, request.done, self.publishing.outstanding.clone())));
                }
            }
        }
        while let Some(result) = confirming.next().await {
            result.map_err(|error| (error, any))?;
        }
        Ok(())
    }

    /// Hands a request's messages to the client, which batches them or not.
    async fn send(
        &self,
        producer: &mut pulsar::Producer<TokioExecutor>,
        messages: &Outgoing,
    ) -> Result<Vec<SendFuture>, BrokerError> {
        let failed = || failure("publish to Pulsar");
        let mut sent = Vec::new();
        match messages {
            Outgoing::Batch(batch) => {
                for message in (0..batch.len()).filter_map(|index| batch.get(index)) {
                    // An open batch holds less than BATCH_BYTES. With a large message it could pass Pulsar's limit, on
                    // which Pulsar closes the connection, again and again; so a large one begins a batch.
                    if self.publishing.batched && message.len() > MAX_MESSAGE_BYTES - BATCH_BYTES {
                        producer.send_batch().await.map_err(failed())?;
                    }
                    sent.push(producer.send_non_blocking(message.to_vec()).await.map_err(failed())?);
                }
            }
            Outgoing::Retries(retries) => {
                for message in retries.iter().map(retries::outgoing) {
                    sent.push(producer.send_non_blocking(message).await.map_err(failed())?);
                }
            }
        }
        Ok(sent)
    }
}

/// Waits until Pulsar confirmed every message of a request, and answers it.
async fn confirm(
    sent: Vec<SendFuture>,
    done: oneshot::Sender<Result<(), BrokerError>>,
    outstanding: Option<Arc<Outstanding>>,
) -> Result<(), BrokerError> {
    let mut entries = HashSet::new();
    for message in sent {
        let receipt = message.await.map_err(failure("publish to Pulsar"))?;
        if let (Some(id), true) = (receipt.message_id, outstanding.is_some()) {
            entries.insert((id.ledger_id, id.entry_id));
        }
    }
    if let Some(outstanding) = outstanding {
        outstanding.published(entries.into_iter());
    }
    // Nobody waits any more where the publisher was cancelled.
    let _ = done.send(Ok(()));
    Ok(())
}
