//! Cooperative shutdown: one trigger, any number of listeners.

use tokio::sync::watch;

/// Asks every listener to finish. Dropping it does so too.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Learns that it is time to finish.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// A connected pair.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Asks every listener, present and future, to finish.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Whether the trigger was pulled.
    pub fn is_triggered(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns once the trigger was pulled or dropped. Cancel safe.
    pub async fn triggered(&mut self) {
        // An error means that the trigger was dropped, which counts as pulled.
        let _ = self.0.wait_for(|pulled| *pulled).await;
    }

    /// Sleeps for `duration`; `false` if shutdown came first.
    pub async fn sleep(&mut self, duration: std::time::Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.triggered() => false,
        }
    }
}
