//! A running process, and the order in which it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::backends::DataDirectory;
use super::live_keys::LiveKeys;
use super::sources::Replaying;
use crate::broker::{Broker, BrokerError, Producer};
use crate::retry::Backoff;
use crate::shutdown::{self, Shutdown, Trigger};
use crate::source::replay::{ReplayError, Summary};

/// A running process.
pub struct Running {
    /// Where front ends connect; absent without the role `serve`.
    pub public: Option<SocketAddr>,
    /// Whether they connect with TLS.
    pub encrypted: bool,
    /// Where operators connect.
    pub admin: SocketAddr,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) live_keys: Arc<LiveKeys>,
    pub(super) source: Stage,
    pub(super) work: Stage,
    pub(super) serve: Stage,
    pub(super) replay: Option<Replaying>,
    pub(super) failure: Failure,
    /// Whether workers run in this process.
    pub(super) works: bool,
    /// Held until the end.
    pub(super) _data: DataDirectory,
}

/// Says that a worker or a source failed for good. Kept beside them, so that nothing is said when there are none.
pub(super) struct Failure {
    trigger: Arc<Trigger>,
    triggered: Shutdown,
}

impl Failure {
    pub fn new() -> Self {
        let (trigger, triggered) = shutdown::channel();
        Self { trigger: Arc::new(trigger), triggered }
    }

    /// What they pull.
    pub fn trigger(&self) -> Arc<Trigger> {
        self.trigger.clone()
    }
}

/// Tasks that end together.
pub(super) struct Stage {
    trigger: Trigger,
    shutdown: Shutdown,
    tasks: Vec<JoinHandle<()>>,
}

impl Stage {
    pub fn new() -> Self {
        let (trigger, shutdown) = shutdown::channel();
        Self { trigger, shutdown, tasks: Vec::new() }
    }

    /// Ends with the stage.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(tokio::spawn(task));
    }

    async fn end(self) {
        self.trigger.trigger();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task ended badly");
            }
        }
    }
}

impl Running {
    /// One more producer on the topic, for events that come from outside this process's source.
    ///
    /// # Errors
    /// When the broker cannot give one.
    pub async fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        self.broker.producer().await
    }

    /// What can change while it runs.
    pub fn live_keys(&self) -> Arc<LiveKeys> {
        self.live_keys.clone()
    }

    /// Triggered when a worker or a source failed for good: less or nothing is published or counted then, and the process
    /// had better start anew.
    pub fn failure(&self) -> Shutdown {
        self.failure.triggered.clone()
    }

    /// Waits until a replay has handed over everything and all of it is settled; `None` without a replay.
    pub async fn replayed(&mut self) -> Option<Result<Summary, ReplayError>> {
        let result = match self.replay.as_mut()?.await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.replay = None;
        if result.is_ok() {
            self.drained().await;
        }
        Some(result)
    }

    /// Waits until what was published is settled, through failures of the broker too.
    async fn drained(&self) {
        if !self.works
            && let Err(error @ BrokerError::BacklogUnknown) = self.broker.backlog().await
        {
            tracing::warn!(%error, "other processes do the work, whose end cannot be seen: not waiting for it");
            return;
        }
        let mut said = false;
        // Asking can mean a request to Pulsar.
        let mut pauses = Backoff::new(Duration::from_millis(5), Duration::from_millis(200));
        loop {
            match self.broker.is_drained().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) if !error.is_retryable() => {
                    tracing::warn!(%error, "cannot see whether everything is settled: not waiting for it");
                    return;
                }
                Err(error) => {
                    if !std::mem::replace(&mut said, true) {
                        let error = crate::error_chain(&error);
                        tracing::warn!(%error, "cannot see whether everything is settled, trying again");
                    }
                }
            }
            tokio::time::sleep(pauses.next_delay()).await;
        }
    }

    /// Ends in the order of the flow: sources first, then workers with what they have in hand, then sockets.
    pub async fn stop(self) {
        self.source.end().await;
        if let Some(replay) = self.replay {
            // Its result does not matter any more: it was interrupted, and goes on at the next start.
            let _ = replay.await;
        }
        self.work.end().await;
        self.serve.end().await;
        if let Err(error) = self.broker.close().await {
            tracing::error!(error = %crate::error_chain(&error), "cannot close the broker");
        }
    }
}
