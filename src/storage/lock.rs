//! One owner per data directory: an advisory file lock that also says who holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Who holds a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its process id.
    pub pid: u32,
    /// Where its admin listener can be reached, for example `127.0.0.1:8081`; empty until it listens.
    pub admin: String,
}

/// Why a data directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{path} is in use by process {} (stop it, or set storage.path to another directory)", owner.pid)]
    Held {
        /// The directory.
        path: PathBuf,
        /// Who has it.
        owner: Owner,
    },
    /// The lock file cannot be used.
    #[error("cannot lock the data directory {path}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A data directory held by this process until dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    file: File,
    path: PathBuf,
}

impl DirectoryLock {
    /// Takes `directory`, creating it when needed.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process has it.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(io)?;
        let path = directory.join("lock");
        // Not truncated: the content is the owner's until the lock is ours.
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let owner = read_owner(&mut file).map_err(io)?;
                return Err(LockError::Held { path: directory.to_owned(), owner });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut lock = Self { file, path: directory.to_owned() };
        lock.announce("")?;
        Ok(lock)
    }

    /// Whether `directory` ever had an owner, and so may hold data. Creates nothing.
    pub fn was_taken(directory: &Path) -> bool {
        directory.join("lock").exists()
    }

    /// Who holds `directory` now; `None` where nobody does. Creates nothing.
    pub fn holder(directory: &Path) -> Option<Owner> {
        let mut file = File::open(directory.join("lock")).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => read_owner(&mut file).ok(),
            _ => None,
        }
    }

    /// Writes this process's id and admin address into the lock file, for whoever finds it held.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&mut self, admin: &str) -> Result<(), LockError> {
        let owner = Owner { pid: std::process::id(), admin: admin.to_owned() };
        let text = serde_json::json!(owner).to_string();
        let written = self.file.set_len(0).and_then(|()| self.file.rewind());
        let written = written.and_then(|()| self.file.write_all(text.as_bytes()));
        if written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull) {
            // The lock holds without the text, which only says whose it is.
            tracing::warn!(path = %self.path.display(), "no space left on device: other processes cannot see who has it");
            return Ok(());
        }
        written.map_err(|source| LockError::Io { path: self.path.clone(), source })
    }
}

fn read_owner(file: &mut File) -> std::io::Result<Owner> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text).unwrap_or(Owner { pid: 0, admin: String::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_with_the_first_ones_process_id() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = DirectoryLock::acquire(directory.path()).unwrap();
        first.announce("127.0.0.1:9").unwrap();
        let refused = DirectoryLock::acquire(directory.path()).unwrap_err();
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        let LockError::Held { owner, .. } = refused else { panic!("{refused}") };
        assert_eq!(owner.admin, "127.0.0.1:9");
        drop(first);
        DirectoryLock::acquire(directory.path()).unwrap();
    }
}
