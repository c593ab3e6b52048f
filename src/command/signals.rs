//! The signals that the process acts on.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::reload::Reload;

/// The signals that the process acts on. One that comes while nobody waits is not lost: a SIGHUP during the start is
/// heard after it, and one during the drain by nobody, for the next start reads the configuration anyway.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> Result<Self, std::io::Error> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns with the next SIGINT or SIGTERM. Cancel safe.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// The same, and reads the configuration again at each SIGHUP. Cancel safe.
    pub async fn stop_or(&mut self, reload: &mut Reload) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => reload.again(),
            }
        }
    }
}
