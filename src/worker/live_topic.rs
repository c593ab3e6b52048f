//! The live topic as workers use it: waited for, but not for ever, since counting does not depend on it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Stop;
use crate::alert::{Alerts, Subject};
use crate::broker::{BrokerError, Producer};

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
    standing: Mutex<Standing>,
}

/// How it stands with the topic.
#[derive(Default)]
struct Standing {
    /// When it is tried again; `None` while it works.
    given_up: Option<Instant>,
    /// When it last confirmed something.
    worked: Option<Instant>,
}

impl LiveTopic {
    /// Publishes through `producer`.
    pub fn new(producer: Arc<dyn Producer>) -> Self {
        Self { producer, standing: Mutex::default() }
    }

    pub(super) fn producer(&self) -> &dyn Producer {
        self.producer.as_ref()
    }

    /// Waits for `publish` as long as that is worth it. `false` where it was given up, of which `alerts` hears, or not begun.
    pub(super) async fn in_time(
        &self,
        publish: impl Future<Output = Result<(), Stop>>,
        alerts: &Alerts,
    ) -> Result<bool, Stop> {
        let Some(patience) = self.patience() else { return Ok(false) };
        let begun = Instant::now();
        let published = timeout(patience, publish).await;
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        match published {
            Ok(Ok(())) => {
                standing.worked = Some(Instant::now());
                if standing.given_up.take().is_some() {
                    tracing::info!("the live topic takes events again");
                }
                Ok(true)
            }
            Ok(Err(stop)) => Err(stop),
            // It has worked meanwhile: only this batch got lost.
            Err(_) if standing.worked.is_some_and(|worked| worked > begun) => Ok(false),
            Err(_) => {
                if standing.given_up.replace(Instant::now() + BETWEEN_TRIES).is_none() {
                    tracing::warn!("the live topic takes nothing: events are counted and not shown");
                }
                let silent = format!("no confirmation within {} s", patience.as_secs());
                alerts.failed(Subject::Live, &BrokerError::storage("publish")(silent));
                Ok(false)
            }
        }
    }

    /// How long a batch may wait; `None` where it is not its turn to try.
    fn patience(&self) -> Option<Duration> {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(next) = standing.given_up.as_mut() else { return Some(PATIENCE) };
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

    use tokio::sync::watch;

    use super::*;
    use crate::alert::{Limits, Routes};
    use crate::broker::{BrokerError, MessageBatch};
    use crate::clock::SystemClock;

    struct Nothing;

    #[async_trait]
    impl Producer for Nothing {
        async fn publish(&self, _: MessageBatch) -> Result<(), BrokerError> {
            Ok(())
        }
    }

    impl LiveTopic {
        /// Alerting nobody.
        async fn shows(&self, publish: impl Future<Output = Result<(), Stop>>) -> Result<bool, Stop> {
            let limits = Limits { tolerance: 0, within: Duration::ZERO, pause: Duration::ZERO };
            let routes = watch::channel(Routes { limits, lark: None, webhook: None }).1;
            self.in_time(publish, &Alerts::new(routes, Arc::new(SystemClock))).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_takes_nothing_is_given_up_and_tried_now_and_then() {
        let topic = LiveTopic::new(Arc::new(Nothing));
        let begun = Instant::now();
        assert!(!topic.shows(pending()).await.unwrap());
        assert_eq!(begun.elapsed(), PATIENCE);
        // The next ones do not wait, and do not even try.
        assert!(!topic.shows(async { panic!("tried") }).await.unwrap());
        assert_eq!(begun.elapsed(), PATIENCE);
        tokio::time::advance(BETWEEN_TRIES).await;
        let tried = Instant::now();
        assert!(!topic.shows(pending()).await.unwrap());
        assert_eq!(tried.elapsed(), TRY);
        tokio::time::advance(BETWEEN_TRIES).await;
        assert!(topic.shows(ready(Ok(()))).await.unwrap());
        // From then on it is waited for as before.
        let again = Instant::now();
        assert!(!topic.shows(pending()).await.unwrap());
        assert_eq!(again.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_ends_with_its_process_gives_nothing_up() {
        let topic = LiveTopic::new(Arc::new(Nothing));
        assert!(matches!(topic.shows(ready(Err(Stop::Shutdown))).await, Err(Stop::Shutdown)));
        assert!(topic.shows(ready(Ok(()))).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_got_lost_while_others_were_taken_gives_nothing_up() {
        let topic = LiveTopic::new(Arc::new(Nothing));
        let lost = topic.shows(pending());
        tokio::pin!(lost);
        assert!(futures_util::poll!(&mut lost).is_pending());
        tokio::time::advance(BETWEEN_TRIES).await;
        assert!(topic.shows(ready(Ok(()))).await.unwrap());
        assert!(!lost.await.unwrap());
        assert!(topic.shows(ready(Ok(()))).await.unwrap(), "it goes on at once");
    }
}
