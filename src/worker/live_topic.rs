//! The live topic as workers use it: waited for, but not for ever, since counting does not depend on it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Stop;
use crate::broker::Producer;

/// How long the topic may take nothing before its events are given up. A broker that is started again takes less; a
/// topic that Pulsar can't open any more stays away until somebody deletes it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries from then on, of which one batch makes one.
const BETWEEN_TRIES: Duration = Duration::from_secs(10);
/// How long such a try may take.
const TRY: Duration = Duration::from_secs(2);

/// The way to the servers of all processes, for all workers of one.
pub struct LiveTopic {
    producer: Arc<dyn Producer>,
    /// When it is tried again; `None` while it works.
    given_up: Mutex<Option<Instant>>,
}

impl LiveTopic {
    /// Publishes through `producer`.
    pub fn new(producer: Arc<dyn Producer>) -> Self {
        Self { producer, given_up: Mutex::new(None) }
    }

    pub(super) fn producer(&self) -> &dyn Producer {
        self.producer.as_ref()
    }

    /// Waits for `publish` as long as that is worth it. `false` where it was given up, or not begun.
    pub(super) async fn in_time(
        &self,
        publish: impl Future<Output = Result<(), Stop>>,
    ) -> Result<bool, Stop> {
        let Some(patience) = self.patience() else { return Ok(false) };
        let published = timeout(patience, publish).await;
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        match published {
            Ok(Ok(())) => {
                if given_up.take().is_some() {
                    tracing::info!("the live topic takes events again");
                }
                Ok(true)
            }
            Ok(Err(stop)) => Err(stop),
            Err(_) => {
                if given_up.replace(Instant::now() + BETWEEN_TRIES).is_none() {
                    tracing::warn!("the live topic takes nothing: events are counted and not shown");
                }
                Ok(false)
            }
        }
    }

    /// How long a batch may wait; `None` where it is not its turn to try.
    fn patience(&self) -> Option<Duration> {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(next) = given_up.as_mut() else { return Some(PATIENCE) };
        let now = Instant::now();
        (*next <= now).then(|| {
            *next = now + BETWEEN_TRIES;
            TRY
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use async_trait::async_trait;

    use super::*;
    use crate::broker::{BrokerError, MessageBatch};

    struct Nothing;

    #[async_trait]
    impl Producer for Nothing {
        async fn publish(&self, _: MessageBatch) -> Result<(), BrokerError> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_takes_nothing_is_given_up_and_tried_now_and_then() {
        let topic = LiveTopic::new(Arc::new(Nothing));
        let begun = Instant::now();
        assert!(!topic.in_time(pending()).await.unwrap());
        assert_eq!(begun.elapsed(), PATIENCE);
        // The next ones do not wait, and do not even try.
        assert!(!topic.in_time(async { panic!("tried") }).await.unwrap());
        assert_eq!(begun.elapsed(), PATIENCE);
        tokio::time::advance(BETWEEN_TRIES).await;
        let tried = Instant::now();
        assert!(!topic.in_time(pending()).await.unwrap());
        assert_eq!(tried.elapsed(), TRY);
        tokio::time::advance(BETWEEN_TRIES).await;
        assert!(topic.in_time(ready(Ok(()))).await.unwrap());
        // From then on it is waited for as before.
        let again = Instant::now();
        assert!(!topic.in_time(pending()).await.unwrap());
        assert_eq!(again.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_ends_with_its_process_gives_nothing_up() {
        let topic = LiveTopic::new(Arc::new(Nothing));
        assert!(matches!(topic.in_time(ready(Err(Stop::Shutdown))).await, Err(Stop::Shutdown)));
        assert!(topic.in_time(ready(Ok(()))).await.unwrap());
    }
}
