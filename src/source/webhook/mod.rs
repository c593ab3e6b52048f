//! GitHub's webhooks as a source: a delivery is verified, recognised, translated, and published or kept on this disk.
//!
//! `verify` checks signatures, `known` recognises deliveries, `translate` makes events of them, `spool` keeps what the
//! broker does not take. The events go through the same intake as those of the other sources.

mod complaints;
mod known;
mod spool;
mod translate;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{Candidate, Intake, IntakeError};
use crate::alert::{Alerts, Subject};
use crate::clock::Clock;
use crate::delivery::{Answer, Deliveries, Delivery};
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::storage::{Storage, StorageError};
use crate::telemetry::names;
use complaints::Complaints;
use known::{Claim, Known};
use spool::{Spool, SpoolError};
use translate::{Translated, translate};
use verify::Secrets;

/// How long the broker may take to confirm before an event is kept here instead: GitHub gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// The longest delivery id that is taken, in bytes. GitHub's have 36.
const MAX_ID_BYTES: usize = 128;

/// How webhooks are received. Not to be printed: it holds secrets.
#[derive(Clone)]
pub struct Settings {
    /// What deliveries are signed with: one, or two while it is being changed.
    pub secrets: Vec<String>,
    /// Bytes of events that may wait on this disk.
    pub spool_bytes: u64,
    /// How long a delivery is remembered, in seconds.
    pub window: i64,
}

/// The source. Clones are the same one.
#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

struct Inner {
    secrets: Secrets,
    known: Known,
    spool: Spool,
    intake: Intake,
    storage: Storage,
    clock: Arc<dyn Clock>,
    alerts: Arc<Alerts>,
    /// Of deliveries that are not signed.
    unsigned: Complaints,
    /// Of those that cannot be taken or remembered; apart, for anybody can send the others.
    failed: Complaints,
    /// That something waits in the spool.
    waits: Notify,
}

impl Webhooks {
    /// Continues with the deliveries and events in `storage`; `alerts` hears where events cannot leave it.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn open(
        settings: &Settings,
        storage: &Storage,
        intake: Intake,
        alerts: Arc<Alerts>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StorageError> {
        Ok(Self(Arc::new(Inner {
            secrets: Secrets::new(settings.secrets.iter().map(String::as_str)),
            known: Known::open(storage, settings.window)?,
            spool: Spool::open(storage, settings.spool_bytes)?,
            intake,
            storage: storage.clone(),
            clock,
            alerts,
            unsigned: Complaints::default(),
            failed: Complaints::default(),
            waits: Notify::new(),
        })))
    }

    /// How many events wait on this disk.
    pub fn waiting(&self) -> u64 {
        self.0.spool.waiting()
    }

    /// How many events an earlier process has left in `storage`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn left_in(storage: &Storage) -> Result<u64, StorageError> {
        spool::left_in(storage)
    }

    /// Publishes what waits in the spool, in order, until shutdown. What is left then waits for the next start.
    ///
    /// # Errors
    /// When events can no longer be handed over by this process.
    pub async fn drain(self, mut shutdown: Shutdown) -> Result<(), IntakeError> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        loop {
            let some_waited = self.waiting() > 0;
            let pause = match self.0.publish_waiting().await {
                Ok(()) => {
                    if some_waited {
                        tracing::info!("all webhook events that waited on this disk are with the broker");
                    }
                    backoff.reset();
                    self.0.alerts.recovered(Subject::Webhooks);
                    None
                }
                Err(IntakeError::Stopped) => return Ok(()),
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => {
                    self.0.alerts.failed(Subject::Webhooks, &error);
                    Some(backoff.next_delay())
                }
            };
            let again = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => self.0.waits.notified().await,
                }
            };
            tokio::select! {
                () = again => {}
                () = shutdown.triggered() => return Ok(()),
            }
        }
    }
}

#[async_trait]
impl Deliveries for Webhooks {
    async fn take(&self, delivery: Delivery) -> Answer {
        let inner = self.0.clone();
        // In a task of its own, so that a caller who goes away does not stop it halfway.
        let taken = tokio::spawn(async move { inner.take(delivery).await }).await;
        let answer = taken.unwrap_or_else(|error| {
            tracing::error!(%error, "taking a webhook delivery ended badly");
            Answer::Unavailable
        });
        metrics::counter!(names::WEBHOOKS, "outcome" => answer.label()).increment(1);
        if let Answer::Ignored(reason) = answer {
            metrics::counter!(names::WEBHOOKS_IGNORED, "reason" => reason.label()).increment(1);
        }
        answer
    }
}

impl Inner {
    async fn take(self: Arc<Self>, delivery: Delivery) -> Answer {
        let now = self.clock.unix_seconds();
        let Some(delivery) = self.clone().signed(delivery).await else { return Answer::Unsigned };
        let Delivery { id, event, body, .. } = delivery;
        if id.is_empty() || id.len() > MAX_ID_BYTES || event.is_empty() {
            return Answer::Malformed("X-GitHub-Delivery or X-GitHub-Event is missing or is not GitHub's");
        }
        if event == "ping" {
            tracing::info!(delivery = id, "GitHub reaches this webhook and its signature is right");
            return Answer::Pong;
        }
        let _in_hand = match self.known.claim(&id, now) {
            Ok(Claim::New(in_hand)) => in_hand,
            Ok(Claim::Taken) => return Answer::Known,
            Ok(Claim::InHand) => return Answer::Unavailable,
            Err(error) => return self.unavailable(&id, now, &error),
        };
        let translated =
            blocking(move || translate(&event, std::str::from_utf8(&body).ok()?, now).ok()).await;
        let candidate = match translated {
            Some(Translated::Event(candidate)) => candidate,
            Some(Translated::Ignored(reason)) => return Answer::Ignored(reason),
            None => return NOT_JSON,
        };
        if self.publish(&candidate).await {
            // Published it is, remembered or not: should it come again, it is the same event.
            if let Err(error) = self.clone().remember(id.clone(), now).await {
                self.failed.unremembered(&id, now, &error);
            }
            return Answer::Published;
        }
        match self.clone().spool(id.clone(), candidate, now).await {
            Ok(()) => Answer::Spooled,
            Err(error) => self.unavailable(&id, now, &error),
        }
    }

    fn unavailable(&self, id: &str, now: i64, error: &(dyn std::error::Error + 'static)) -> Answer {
        self.failed.unavailable(id, now, error);
        Answer::Unavailable
    }

    /// The delivery, if it is signed. A long one takes long, so it is looked at where that blocks nobody.
    async fn signed(self: Arc<Self>, delivery: Delivery) -> Option<Delivery> {
        let id = delivery.id.clone();
        let inner = self.clone();
        let verified = blocking(move || {
            let signature = delivery.signature.as_deref().unwrap_or_default();
            inner.secrets.signed(&delivery.body, signature).then_some(delivery)
        });
        let signed = verified.await;
        if signed.is_none() {
            self.unsigned.unsigned(&id, self.clock.unix_seconds());
        }
        signed
    }

    /// Whether the broker confirmed the event. It is not asked while others wait: they go first.
    async fn publish(&self, candidate: &Candidate) -> bool {
        if self.spool.waiting() > 0 {
            return false;
        }
        let submitted =
            tokio::time::timeout(PATIENCE, self.intake.submit(vec![candidate.clone()], Vec::new()));
        match submitted.await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::warn!(error = %crate::error_chain(&error), "keeping webhook events on this disk");
                false
            }
            // It may be published all the same: published twice it counts once.
            Err(_) => {
                tracing::warn!("the broker does not confirm, keeping webhook events on this disk");
                false
            }
        }
    }

    async fn remember(self: Arc<Self>, id: String, now: i64) -> Result<(), StorageError> {
        blocking(move || {
            let mut transaction = self.storage.transaction();
            let remembering = self.known.remember(&id, now, &mut transaction)?;
            transaction.commit_durable()?;
            remembering.committed();
            Ok(())
        })
        .await
    }

    async fn spool(self: Arc<Self>, id: String, candidate: Candidate, now: i64) -> Result<(), SpoolError> {
        blocking(move || {
            self.spool
                .append(&candidate, |transaction| self.known.remember(&id, now, transaction))?
                .committed();
            self.waits.notify_one();
            Ok(())
        })
        .await
    }

    /// Publishes all that waits. Where the disk does not let it be removed, that holds nothing up: it is published once
    /// by this process, and removed later.
    async fn publish_waiting(self: &Arc<Self>) -> Result<(), IntakeError> {
        while self.spool.waiting() > 0 {
            let inner = self.clone();
            let oldest = blocking(move || inner.spool.oldest()).await?;
            self.intake.submit(oldest.candidates.clone(), Vec::new()).await?;
            let inner = self.clone();
            blocking(move || {
                inner.spool.published(&oldest);
                // Tried again below, where it is said.
                let _ = inner.spool.remove_published();
            })
            .await;
        }
        let inner = self.clone();
        Ok(blocking(move || inner.spool.remove_published()).await?)
    }
}

const NOT_JSON: Answer =
    Answer::Malformed("the body is no JSON object: set the webhook's content type to application/json");

/// Runs `work` where it may block. A panic in it goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
