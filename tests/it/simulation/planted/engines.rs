//! What a process works on: the simulated engines, with a bug between it and them where one is planted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pulsehub::broker::Broker;
use pulsehub::dedup::Dedup;
use pulsehub::history::History;
use pulsehub::live::Feed;
use pulsehub::state::State;
use tokio::task::JoinSet;

use super::super::process::Outside;
use super::broker::PlantedBroker;
use super::history::PlantedHistory;
use super::state::PlantedState;

/// The ports of one process.
pub struct Engines {
    pub broker: Arc<dyn Broker>,
    pub state: Arc<dyn State>,
    pub history: Option<Arc<dyn History>>,
    _later: Arc<Later>,
}

impl Engines {
    /// The engines of `outside`, for a process with this memory of published events and this feed.
    pub fn of(outside: &Outside, dedup: &Arc<Dedup>, feed: &Arc<Feed>) -> Self {
        let later = Arc::<Later>::default();
        let (topic, store) = (outside.topic.clone(), outside.store.clone());
        let history = outside.history.clone();
        let Some(bug) = outside.bug else {
            let history = history.map(|history| history as Arc<dyn History>);
            return Self { broker: Arc::new(topic), state: store, history, _later: later };
        };
        let broker = PlantedBroker {
            bug,
            topic,
            events: outside.events.clone(),
            dedup: Arc::downgrade(dedup),
            later: Arc::downgrade(&later),
        };
        let planted = |history| {
            let later = Arc::downgrade(&later);
            Arc::new(PlantedHistory { bug, history, later }) as Arc<dyn History>
        };
        Self {
            broker: Arc::new(broker),
            state: Arc::new(PlantedState { bug, store, feed: feed.clone() }),
            history: history.map(planted),
            _later: later,
        }
    }
}

/// What a process with a bug still has to do when it should have done it. It dies with the process, as its only
/// owner is there.
#[derive(Default)]
pub struct Later(Mutex<JoinSet<()>>);

impl Later {
    /// Repeats `attempt` in the background until it succeeds.
    pub fn until_done<E, F>(&self, attempt: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), E>> + Send,
        E: Send,
    {
        self.0.lock().unwrap().spawn(async move {
            while attempt().await.is_err() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
}
