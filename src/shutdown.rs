//! Cooperative shutdown: one trigger, any number of listeners.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Asks every listener to finish. Dropping it does so too.
#[derive(Debug)]
pub struct Trigger(Arc<Signal>);

/// Learns that it is time to finish.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<Signal>);

/// Listeners wake in the order in which they began to wait, which a simulation relies on.
#[derive(Debug, Default)]
struct Signal {
    /// When it was pulled first.
    pulled: OnceLock<Instant>,
    waiting: Notify,
}

/// A connected pair.
pub fn channel() -> (Trigger, Shutdown) {
    let signal = Arc::<Signal>::default();
    (Trigger(signal.clone()), Shutdown(signal))
}

impl Trigger {
    /// Asks every listener, present and future, to finish.
    pub fn trigger(&self) {
        self.0.pulled.get_or_init(Instant::now);
        self.0.waiting.notify_waiters();
    }
}

impl Drop for Trigger {
    fn drop(&mut self) {
        self.trigger();
    }
}

impl Shutdown {
    /// Whether the trigger was pulled or dropped.
    pub fn is_triggered(&self) -> bool {
        self.0.pulled.get().is_some()
    }

    /// Returns once the trigger was pulled or dropped. Cancel safe.
    pub async fn triggered(&mut self) {
        // Made before looking: from then on it hears of the trigger.
        let notified = self.0.waiting.notified();
        if !self.is_triggered() {
            notified.await;
        }
    }

    /// Returns `grace` after the trigger was pulled or dropped, whenever the waiting began.
    pub async fn overdue(mut self, grace: Duration) {
        self.triggered().await;
        if let Some(pulled) = self.0.pulled.get() {
            sleep_until(*pulled + grace).await;
        }
    }

    /// Sleeps for `duration`; `false` if shutdown came first.
    pub async fn sleep(&mut self, duration: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.triggered() => false,
            () = tokio::time::sleep(duration) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_listener_learns_of_the_trigger_and_of_its_end() {
        for drops in [false, true] {
            let (trigger, mut early) = channel();
            assert!(!early.is_triggered());
            let waiting = tokio::spawn({
                let mut shutdown = early.clone();
                async move { shutdown.sleep(Duration::from_secs(3_600)).await }
            });
            // Let it begin to wait.
            tokio::task::yield_now().await;
            // Kept to the end where it is pulled: dropping it would pull it too.
            let _kept = (!drops).then_some(trigger).inspect(Trigger::trigger);
            let slept = tokio::time::timeout(Duration::from_secs(10), waiting).await;
            assert!(!slept.expect("an end in time").unwrap());
            early.triggered().await;
            assert!(early.is_triggered() && early.clone().is_triggered());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_begins_after_the_trigger_has_no_more_time_than_what_was_there() {
        let (trigger, shutdown) = channel();
        let begun = Instant::now();
        trigger.trigger();
        for after in [4, 10, 20] {
            sleep_until(begun + Duration::from_secs(after)).await;
            // Pulled again, as by its drop, it gives no time either.
            trigger.trigger();
            shutdown.clone().overdue(Duration::from_secs(10)).await;
            assert_eq!(begun.elapsed().as_secs(), after.max(10));
        }
    }
}
