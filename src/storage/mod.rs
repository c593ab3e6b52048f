//! The embedded data directory: its lock, the room on its disk, and the one LSM database that state, dedup and cursors
//! share.

mod journal;
mod lock;
mod space;
mod unfinished;

use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use journal::{JournalError, MARK};
pub use lock::{DirectoryLock, LockError, Owner};
pub use space::{NoSpace, RESERVE_BYTES, Space};

/// Bytes of one table's write buffer: tables are few and small, and the buffers count into the memory at rest.
const MEMTABLE_BYTES: u64 = 4 << 20;
const CACHE_BYTES: u64 = 8 << 20;

/// Why the embedded database failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Nothing was written, because the disk is as good as full.
    #[error(transparent)]
    Full(#[from] NoSpace),
    /// What is on the disk is not what was written to it.
    #[error(
        "the embedded database in {path} is damaged (restore storage.path from a backup, or move it away and replay)"
    )]
    Damaged {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// After a failed write the database refuses all others until it is opened again, because it no longer knows what
    /// is on the disk.
    #[error("the embedded database in {path} refuses to write after a failure{} (start again)", cause(*full))]
    Poisoned {
        /// Where it lies.
        path: PathBuf,
        /// Whether a full disk was the cause, most likely.
        full: bool,
    },
    /// Anything else.
    #[error("the embedded database in {path} failed")]
    Failed {
        /// Where it lies.
        path: PathBuf,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn cause(full: bool) -> &'static str {
    if full { ", most likely for there was no space left on device: free some first" } else { "" }
}

impl StorageError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Poisoned { .. } | Self::Damaged { .. })
    }

    /// Whether nothing was written for want of space.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

/// The embedded database of one data directory.
#[derive(Clone)]
pub struct Storage {
    database: Database,
    /// Where the marks of synced commits lie.
    marks: Keyspace,
    path: PathBuf,
    space: Space,
}

/// A named, ordered map of bytes.
#[derive(Clone)]
pub struct Table {
    keyspace: Keyspace,
    storage: Storage,
}

/// Writes to several tables that become visible, and survive, all or none.
pub struct Transaction {
    batch: fjall::OwnedWriteBatch,
    storage: Storage,
}

impl Storage {
    /// Opens or creates the database below `directory`, with the default reserve of free space. The caller holds the
    /// [`DirectoryLock`].
    ///
    /// # Errors
    /// When the files cannot be read or created, or are damaged beyond what the journal repairs.
    pub fn open(directory: &Path) -> Result<Self, StorageError> {
        Self::open_with_reserve(directory, RESERVE_BYTES)
    }

    /// The same with `reserve` bytes of the disk kept free.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub fn open_with_reserve(directory: &Path, reserve: u64) -> Result<Self, StorageError> {
        let path = directory.join("store");
        let space = Space::new(directory, reserve);
        unfinished::remove(&path)
            .map_err(|source| StorageError::Failed { path: path.clone(), source: source.into() })?;
        journal::check(&path).map_err(|error| match error {
            JournalError::Damaged { .. } => {
                StorageError::Damaged { path: path.clone(), source: error.into() }
            }
            JournalError::Io { .. } => StorageError::Failed { path: path.clone(), source: error.into() },
        })?;
        let opened = Database::builder(&path)
            .cache_size(CACHE_BYTES)
            .worker_threads(1)
            .max_journaling_size(64 << 20)
            // Durability is asked for where it is needed, by `commit_durable` and `sync`.
            .manual_journal_persist(true)
            .open();
        let opened = opened.and_then(|database| {
            let marks = database.keyspace("marks", options)?;
            Ok((database, marks))
        });
        match opened {
            Ok((database, marks)) => Ok(Self { database, marks, path, space }),
            Err(source) => Err(failed(&path, &space, source)),
        }
    }

    /// The room on its disk.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The table of that name, created when it is not there.
    ///
    /// # Errors
    /// When its files cannot be created.
    pub fn table(&self, name: &str) -> Result<Table, StorageError> {
        let keyspace = self.database.keyspace(name, options).map_err(|source| self.error(source))?;
        Ok(Table { keyspace, storage: self.clone() })
    }

    /// Names of all tables.
    pub fn table_names(&self) -> Vec<String> {
        self.database.list_keyspace_names().iter().map(|name| name.to_string()).collect()
    }

    /// Deletes a table with all it holds.
    ///
    /// # Errors
    /// When its files cannot be deleted.
    pub fn drop_table(&self, table: Table) -> Result<(), StorageError> {
        self.database.delete_keyspace(table.keyspace).map_err(|source| self.error(source))
    }

    /// An empty transaction.
    pub fn transaction(&self) -> Transaction {
        Transaction { batch: self.database.batch(), storage: self.clone() }
    }

    fn error(&self, source: fjall::Error) -> StorageError {
        failed(&self.path, &self.space, source)
    }
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
}

fn failed(path: &Path, space: &Space, source: fjall::Error) -> StorageError {
    use fjall::Error::{Io, KeyspaceDeleted, Locked, Poisoned, Storage};
    let path = path.to_owned();
    match source {
        Poisoned => StorageError::Poisoned { path, full: space.is_short() },
        Io(_) | Storage(fjall::LsmError::Io(_)) | Locked | KeyspaceDeleted => {
            StorageError::Failed { path, source: source.into() }
        }
        // The rest is what cannot be read as what was written.
        source => StorageError::Damaged { path, source: source.into() },
    }
}

impl Table {
    /// The value of `key`.
    pub fn get(
        &self,
        key: &[u8],
    ) -> Result<Option<impl std::ops::Deref<Target = [u8]> + use<>>, StorageError> {
        self.keyspace.get(key).map_err(|source| self.storage.error(source))
    }

    /// Whether `key` has a value.
    pub fn contains(&self, key: &[u8]) -> Result<bool, StorageError> {
        self.keyspace.contains_key(key).map_err(|source| self.storage.error(source))
    }

    /// About how many entries it has.
    pub fn approximate_len(&self) -> u64 {
        self.keyspace.approximate_len() as u64
    }

    /// Sets one value, durable after the next sync.
    pub fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        self.storage.space.check()?;
        self.keyspace.insert(key, value).map_err(|source| self.storage.error(source))
    }

    /// Entries with keys in `range`, ascending.
    pub fn range<'a, R: std::ops::RangeBounds<Vec<u8>> + 'a>(
        &'a self,
        range: R,
    ) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), StorageError>> + 'a {
        let read = |entry: fjall::Guard| entry.into_inner().map_err(|source| self.storage.error(source));
        self.keyspace
            .range(range)
            .map(move |entry| read(entry).map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    /// Everything written to the database so far is on the disk when this returns.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.storage.space.check()?;
        self.storage.database.persist(PersistMode::SyncData).map_err(|source| self.storage.error(source))
    }
}

impl Transaction {
    /// Sets a value.
    pub fn insert(&mut self, table: &Table, key: &[u8], value: &[u8]) {
        self.batch.insert(&table.keyspace, key, value);
    }

    /// Removes a key.
    pub fn remove(&mut self, table: &Table, key: &[u8]) {
        self.batch.remove(&table.keyspace, key);
    }

    /// Makes the writes visible; they are durable after the next sync.
    pub fn commit(self) -> Result<(), StorageError> {
        self.storage.space.check()?;
        self.batch.commit().map_err(|source| self.storage.error(source))
    }

    /// Makes the writes visible and waits until they are on the disk.
    pub fn commit_durable(self) -> Result<(), StorageError> {
        self.storage.space.check()?;
        let Self { mut batch, storage } = self;
        if batch.is_empty() {
            return Ok(());
        }
        // The last of it, so that whatever stands behind it was written after the sync.
        batch.insert(&storage.marks, MARK.as_slice(), storage.database.seqno().to_be_bytes());
        batch.durability(Some(PersistMode::SyncData)).commit().map_err(|source| storage.error(source))
    }
}
