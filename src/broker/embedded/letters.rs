//! The dead letters: a log of their own, and which of them are gone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::cursor::Cursor;
use super::log::{Position, TopicLog};
use crate::broker::{BrokerError, DeadLetters, KeptLetter, MessageId, dead_letter};
use crate::storage::{Storage, Table};

const GONE_KEY: &[u8] = b"dead-letter";

/// The dead letters of a topic.
pub struct Shelf {
    log: Arc<TopicLog>,
    table: Table,
    /// The offsets of those that were removed.
    gone: Mutex<Cursor>,
}

impl Shelf {
    /// The letters in `log`; which are gone lies in `storage`.
    pub fn open(log: Arc<TopicLog>, storage: &Storage) -> Result<Arc<Self>, BrokerError> {
        let table = storage.table("cursor").map_err(BrokerError::storage("open the cursor"))?;
        let mut gone = Cursor::stored(&table, GONE_KEY, *log.end().borrow())?;
        gone.raise(log.start());
        Ok(Arc::new(Self { log, table, gone: Mutex::new(gone) }))
    }

    /// A way through the letters that are there now.
    pub fn read(self: &Arc<Self>) -> Letters {
        let (position, _) = self.log.position_before(self.log.start());
        let end = *self.log.end().borrow();
        Letters { shelf: self.clone(), position, end, read: VecDeque::new() }
    }

    fn is_gone(&self, offset: u64) -> bool {
        self.gone().contains(offset)
    }

    fn remove(&self, ids: &[MessageId]) -> Result<(), BrokerError> {
        let mut gone = self.gone();
        ids.iter().for_each(|id| gone.insert(id.0));
        self.table.insert(GONE_KEY, &gone.to_bytes()).map_err(BrokerError::storage("write the cursor"))?;
        drop(gone);
        self.table.sync().map_err(BrokerError::storage("write the cursor"))
    }

    fn gone(&self) -> std::sync::MutexGuard<'_, Cursor> {
        // Each change is whole before anything can panic.
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A way through a shelf.
pub struct Letters {
    shelf: Arc<Shelf>,
    position: Position,
    /// The offset behind the last letter of this way.
    end: u64,
    read: VecDeque<KeptLetter>,
}

impl Letters {
    /// Reads the next entry; `false` at the end.
    fn advance(&mut self) -> Result<bool, BrokerError> {
        let Some(entry) = self.shelf.log.read(self.position)?.filter(|entry| entry.base < self.end) else {
            return Ok(false);
        };
        self.position = entry.next;
        for index in 0..entry.batch.len() {
            let offset = entry.base + index as u64;
            if let Some(bytes) = entry.batch.get(index).filter(|_| !self.shelf.is_gone(offset)) {
                self.read.push_back(dead_letter::decode(MessageId(offset), &bytes));
            }
        }
        Ok(true)
    }
}

#[async_trait]
impl DeadLetters for Letters {
    async fn next(&mut self, max: usize) -> Result<Vec<KeptLetter>, BrokerError> {
        while self.read.len() < max && self.advance()? {}
        let count = max.min(self.read.len());
        Ok(self.read.drain(..count).collect())
    }

    async fn remove(&mut self, ids: &[MessageId]) -> Result<(), BrokerError> {
        let (shelf, ids) = (self.shelf.clone(), ids.to_vec());
        super::blocking(move || shelf.remove(&ids)).await
    }
}
