//! Where dedup keeps its claims: the real database.
//!
//! To open one takes threads and files, which was a quarter of the time of all. So most lives go on with the one that is
//! open; what a process keeps in memory is gone with it either way.

use std::path::Path;
use std::sync::Arc;

use pulsehub::clock::Clock;
use pulsehub::dedup::Dedup;
use pulsehub::storage::Storage;

/// Dedup's database.
pub struct Claims {
    // Closed before its directory is removed: another thread with the same seed may take the same name at once.
    storage: Option<Storage>,
    directory: tempfile::TempDir,
}

impl Claims {
    /// An empty one, in memory where the machine has such a place: a disk would only add the time of its syncs.
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let directory =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        Self { storage: None, directory }
    }

    /// The database is closed, and the next process reads it from its files.
    pub fn close(&mut self) {
        self.storage = None;
    }

    /// Dedup as a new process has it, with a window in seconds.
    pub fn dedup(&mut self, clock: Arc<dyn Clock>, window: i64) -> Dedup {
        Dedup::open(&self.storage(), clock, window).unwrap()
    }

    fn storage(&mut self) -> Storage {
        let Self { storage, directory } = self;
        storage.get_or_insert_with(|| Storage::open(directory.path()).unwrap()).clone()
    }
}
