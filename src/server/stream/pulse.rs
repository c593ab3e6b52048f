//! What heartbeats tell all clients alike, written once a second at most.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::server::clients::Clients;
use crate::shutdown::Shutdown;
use crate::status::Status;

/// How long one text serves all heartbeats.
const FRESH: Duration = Duration::from_secs(1);
/// How often the broker is asked for its backlog.
const ASK: Duration = Duration::from_secs(2);

/// Knows how everything is.
pub struct Pulse {
    status: Arc<Status>,
    clients: Arc<Clients>,
    clock: Arc<dyn Clock>,
    backlog: watch::Sender<Option<u64>>,
    written: Mutex<Option<(Instant, Arc<str>)>>,
}

impl Pulse {
    /// That of a process.
    pub fn new(status: Arc<Status>, clients: Arc<Clients>, clock: Arc<dyn Clock>) -> Self {
        Self { status, clients, clock, backlog: watch::Sender::new(None), written: Mutex::new(None) }
    }

    /// Asks for the backlog until shutdown; nothing while nobody is connected.
    pub async fn run(&self, broker: Arc<dyn Broker>, mut shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = self.clients.present() => {}
                () = shutdown.triggered() => return,
            }
            self.backlog.send_replace(broker.backlog().await.ok());
            if !shutdown.sleep(ASK).await {
                return;
            }
        }
    }

    /// The members of a heartbeat that are the same for all.
    pub fn text(&self) -> Arc<str> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &*written {
            Some((at, text)) if now.duration_since(*at) < FRESH => text.clone(),
            _ => {
                let text: Arc<str> = self.write().into();
                *written = Some((now, text.clone()));
                text
            }
        }
    }

    fn write(&self) -> String {
        let source = self.status.source();
        let coverage = self.status.coverage().borrow().as_deref().map(crate::coverage::Report::summary);
        let members = serde_json::json!({
            "time": self.clock.unix_millis(),
            "source": source.kind,
            "state": source.state,
            "lagSeconds": self.status.lag_seconds(),
            "backlog": *self.backlog.borrow(),
            "clients": self.clients.count(),
            "coverage": coverage,
        });
        let text = members.to_string();
        text[1..text.len() - 1].to_owned()
    }
}
