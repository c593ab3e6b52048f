//! The simulated history: rows by their event's key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pulsehub::domain::github::row::Row;
use pulsehub::event::{Day, EventKey};

use pulsehub::history::{History, HistoryError, SeedPart};
use pulsehub::state::Base;

use tokio::sync::mpsc::Sender;

use super::faults::Fault;
use super::world::World;

/// The history.
pub struct Ledger {
    world: Arc<World>,
    rows: Mutex<BTreeMap<EventKey, Row>>,
}

impl Ledger {
    /// An empty history.
    pub fn new(world: Arc<World>) -> Self {
        Self { world, rows: Mutex::default() }
    }

    /// Whether it has an event's row.
    pub fn has(&self, key: EventKey) -> bool {
        self.rows.lock().unwrap().contains_key(&key)
    }

    fn add(&self, rows: &[Row]) {
        let mut kept = self.rows.lock().unwrap();
        kept.extend(rows.iter().map(|row| (row.key, row.clone())));
        self.world.note(format_args!("history: wrote {} rows, has {}", rows.len(), kept.len()));
    }
}

fn unavailable() -> HistoryError {
    HistoryError::Unavailable { address: "simulated".to_owned(), source: "simulated".into() }
}

#[async_trait]
impl History for Ledger {
    async fn recount(&self, _year: i16) -> Result<Base, HistoryError> {
        // Nobody asks: a run has no backfill.
        Err(HistoryError::NotConfigured)
    }

    async fn seed(&self, _year: i16, _open: &[Day], _parts: Sender<SeedPart>) -> Result<(), HistoryError> {
        Err(HistoryError::NotConfigured)
    }

    async fn write(&self, rows: &[Row]) -> Result<(), HistoryError> {
        self.world.step().await;
        if self.world.happens(Fault::HistoryUnfit) {
            return Err(HistoryError::Unfit { action: "write rows", source: "simulated".into() });
        }
        if self.world.happens(Fault::HistoryCut) {
            self.add(&rows[..self.world.draw(|random| random.usize(0..=rows.len()))]);
            return Err(unavailable());
        }
        self.add(rows);
        self.world.step().await;
        if self.world.happens(Fault::HistoryReplyLost) {
            return Err(unavailable());
        }
        Ok(())
    }
}
