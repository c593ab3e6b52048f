//! The embedded data directory: its lock, and the one LSM database that state, dedup and cursors share.

mod lock;

use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

pub use lock::{DirectoryLock, LockError, Owner};

/// Bytes of one table's write buffer: tables are few and small, and the buffers count into the memory at rest.
const MEMTABLE_BYTES: u64 = 4 << 20;
const CACHE_BYTES: u64 = 8 << 20;

/// Why the embedded database failed.
#[derive(Debug, thiserror::Error)]
#[error("the embedded database in {path} failed")]
pub struct StorageError {
    path: PathBuf,
    #[source]
    source: fjall::Error,
}

impl StorageError {
    /// Whether the same call may succeed later. After a failed write the database refuses all others until it is
    /// opened again, because it no longer knows what is on the disk.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.source, fjall::Error::Poisoned)
    }
}

/// The embedded database of one data directory.
#[derive(Clone)]
pub struct Storage {
    database: Database,
    path: PathBuf,
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
    /// Opens or creates the database below `directory`. The caller holds the [`DirectoryLock`].
    ///
    /// # Errors
    /// When the files cannot be read or created, or are damaged beyond what the journal repairs.
    pub fn open(directory: &Path) -> Result<Self, StorageError> {
        let path = directory.join("store");
        let opened = Database::builder(&path)
            .cache_size(CACHE_BYTES)
            .worker_threads(1)
            .max_journaling_size(64 << 20)
            // Durability is asked for where it is needed, by `commit_durable` and `sync`.
            .manual_journal_persist(true)
            .open();
        match opened {
            Ok(database) => Ok(Self { database, path }),
            Err(source) => Err(StorageError { path, source }),
        }
    }

    /// The table of that name, created when it is not there.
    ///
    /// # Errors
    /// When its files cannot be created.
    pub fn table(&self, name: &str) -> Result<Table, StorageError> {
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
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
        StorageError { path: self.path.clone(), source }
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
        self.batch.commit().map_err(|source| self.storage.error(source))
    }

    /// Makes the writes visible and waits until they are on the disk.
    pub fn commit_durable(self) -> Result<(), StorageError> {
        let batch = self.batch.durability(Some(PersistMode::SyncData));
        batch.commit().map_err(|source| self.storage.error(source))
    }
}
