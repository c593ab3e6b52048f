//! Room on the disk: work is refused while little is left, so that no write of the stores ever fails halfway.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::telemetry::names;

/// Bytes kept free for what goes on by itself, such as the database's flushes and compactions, where nothing else is
/// configured.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// The disk is as good as full. Holds no number that changes, so that an outage reads as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no space left on device: less than {} MiB is free under {path}, see storage.reserve (free some, it goes on by itself)",
    reserve >> 20
)]
pub struct NoSpace {
    path: PathBuf,
    reserve: u64,
}

/// The file system that a data directory lies on.
#[derive(Debug, Clone)]
pub struct Space {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    reserve: u64,
    /// Whether it was said that there is none left.
    full: AtomicBool,
}

impl Space {
    /// The file system of `path`, of which `reserve` bytes stay free.
    pub fn new(path: &Path, reserve: u64) -> Self {
        let inner = Inner { path: path.to_owned(), reserve, full: AtomicBool::new(false) };
        Self { inner: Arc::new(inner) }
    }

    /// The same file system for what comes in: it ends while there is still room to settle what was taken.
    pub fn for_intake(&self) -> Self {
        Self::new(&self.inner.path, self.inner.reserve.saturating_mul(2))
    }

    /// Whether something may be written. Takes about a microsecond, so it is asked before each write.
    ///
    /// # Errors
    /// While less than the reserve is free.
    pub fn check(&self) -> Result<(), NoSpace> {
        let Inner { path, reserve, full } = self.inner.as_ref();
        // Who cannot be asked is not the one to stand in the way: the write itself will say what is wrong.
        let Some(free) = self.free() else { return Ok(()) };
        metrics::gauge!(names::STORAGE_FREE).set(free as f64);
        if free >= *reserve {
            if full.load(Ordering::Relaxed) && full.swap(false, Ordering::Relaxed) {
                tracing::info!(path = %path.display(), free, "there is space on the disk again, going on");
            }
            return Ok(());
        }
        let error = NoSpace { path: path.clone(), reserve: *reserve };
        if !full.swap(true, Ordering::Relaxed) {
            tracing::error!(free, "{error}");
        }
        Err(error)
    }

    /// Whether a write may have failed for want of space.
    pub fn is_short(&self) -> bool {
        self.free().is_some_and(|free| free < self.inner.reserve.max(RESERVE_BYTES))
    }

    fn free(&self) -> Option<u64> {
        let system = rustix::fs::statvfs(&self.inner.path).ok()?;
        Some(system.f_bavail.saturating_mul(system.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_the_reserve_is_no_space_and_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        Space::new(directory.path(), 0).check().unwrap();
        let refused = Space::new(directory.path(), u64::MAX).check().unwrap_err();
        let said = refused.to_string();
        assert!(said.starts_with("no space left on device") && said.contains("storage.reserve"), "{said}");
        assert!(said.contains(&directory.path().display().to_string()), "{said}");
    }
}
