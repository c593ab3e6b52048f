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

    /// Whether the row of a pull request's event has size and language.
    pub fn is_complete(&self, key: EventKey) -> bool {
        let rows = self.rows.lock().unwrap();
        let row = rows.get(&key);
        row.is_some_and(|row| row.language.is_some() && row.additions.is_some() && row.deletions.is_some())
    }

    fn add(&self, rows: &[Row]) {
        let mut kept = self.rows.lock().unwrap();
        for row in rows {
            let mut row = row.clone();
            // What is not known never overwrites what is.
            if let Some(old) = kept.get(&row.key) {
                row.language = row.language.or_else(|| old.language.clone());
                row.additions = row.additions.or(old.additions);
                row.deletions = row.deletions.or(old.deletions);
            }
            kept.insert(row.key, row);
        }
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
