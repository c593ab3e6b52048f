//! Bugs between the core and history.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use pulsehub::domain::github::row::Row;
use pulsehub::event::Day;
use pulsehub::history::{History, HistoryError, SeedPart};
use pulsehub::state::Base;
use tokio::sync::mpsc::Sender;

use super::Bug;
use super::engines::Later;
use crate::simulation::ledger::Ledger;

/// History as a process with a bug uses it.
pub struct PlantedHistory {
    pub bug: Bug,
    pub history: Arc<Ledger>,
    pub later: Weak<Later>,
}

#[async_trait]
impl History for PlantedHistory {
    async fn recount(&self, year: i16) -> Result<Base, HistoryError> {
        self.history.recount(year).await
    }

    async fn seed(&self, year: i16, open: &[Day], parts: Sender<SeedPart>) -> Result<(), HistoryError> {
        self.history.seed(year, open, parts).await
    }

    async fn write(&self, rows: &[Row]) -> Result<(), HistoryError> {
        match (self.bug, self.later.upgrade()) {
            (Bug::SettledBeforeInHistory, Some(later)) => {
                let (history, rows) = (self.history.clone(), rows.to_vec());
                later.until_done(move || {
                    let (history, rows) = (history.clone(), rows.clone());
                    async move { history.write(&rows).await }
                });
                Ok(())
            }
            (Bug::HistoryFailureIgnored, _) => {
                let _ = self.history.write(rows).await;
                Ok(())
            }
            _ => self.history.write(rows).await,
        }
    }
}
