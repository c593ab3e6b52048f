//! From the live topic into this process's feed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::running::Stage;
use crate::broker::{Broadcast, BrokerError};
use crate::live::{Feed, message};
use crate::telemetry::names;

/// How long the start waits for the topic. Clients that come before it is read miss what happens until then; without
/// Pulsar they still get the counters.
const START: Duration = Duration::from_secs(3);

/// Fills `feed` until the stage ends. Whether the topic is read already.
pub(super) async fn follow(topic: Arc<dyn Broadcast>, feed: Arc<Feed>, stage: &mut Stage) -> bool {
    let (begun, begins) = oneshot::channel();
    let mut shutdown = stage.shutdown();
    stage.spawn(async move {
        let read = async {
            let mut reader = topic.reader().await?;
            // Nobody waits any more where it took long.
            let _ = begun.send(());
            loop {
                let mut arrivals = Vec::new();
                for read in reader.read().await? {
                    match message::decode(&read) {
                        Some(arrival) => arrivals.push(arrival),
                        None => metrics::counter!(names::LIVE_UNREADABLE).increment(1),
                    }
                }
                feed.publish(arrivals);
            }
        };
        tokio::select! {
            Err::<std::convert::Infallible, BrokerError>(error) = read => {
                // It goes on through all faults of Pulsar, so this is the end of the broker.
                tracing::error!(error = %crate::error_chain(&error), "the live feed ended");
            }
            () = shutdown.triggered() => {}
        }
    });
    matches!(tokio::time::timeout(START, begins).await, Ok(Ok(())))
}
