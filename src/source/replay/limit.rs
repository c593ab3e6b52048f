//! Stops what decompresses to more than an archive can: a few kilobytes of gzip may hold a petabyte of nothing.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much may come out of a compressed file.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Decompressed bytes for each compressed one. Events compress to a sixth or a tenth; deflate itself ends at 1032.
    pub ratio: u64,
    /// So many decompressed bytes are free of the ratio: small files, and the blocks of NUL that some archives hold.
    pub free_bytes: u64,
    /// Decompressed bytes altogether.
    pub bytes: u64,
}

impl Limits {
    /// Of a file of the operator's: it may hold as many hours as were put into it.
    pub const FILE: Self = Self { ratio: 100, free_bytes: 64 << 20, bytes: u64::MAX };
    /// Of a fetched hour: the largest of GH Archive have about 1.5 GB.
    pub const HOUR: Self = Self { bytes: 16 << 30, ..Self::FILE };

    /// Decompressed bytes that may come of so many compressed ones.
    fn allowed(&self, compressed: u64) -> u64 {
        compressed.saturating_mul(self.ratio).max(self.free_bytes).min(self.bytes)
    }
}

/// A file decompresses to more than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{compressed} compressed bytes became more than {decompressed}")]
pub struct Bomb {
    /// Compressed bytes read so far.
    pub compressed: u64,
    /// Decompressed bytes after which it was stopped.
    pub decompressed: u64,
}

impl Bomb {
    /// The bomb that a reader reported as an error, if it was one.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// Counts what is read through it.
pub struct Counted<R> {
    input: R,
    bytes: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    /// Counts from zero; the counter can be read meanwhile.
    pub fn new(input: R) -> (Self, Arc<AtomicU64>) {
        let bytes = Arc::<AtomicU64>::default();
        (Self { input, bytes: bytes.clone() }, bytes)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Decompressed text, as long as it stays within the limits.
pub struct Limited<R> {
    text: R,
    compressed: Arc<AtomicU64>,
    decompressed: u64,
    limits: Limits,
}

impl<R> Limited<R> {
    /// Limits `text`, for which `compressed` counts what it is made of.
    pub fn new(text: R, compressed: Arc<AtomicU64>, limits: Limits) -> Self {
        Self { text, compressed, decompressed: 0, limits }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read(buffer)?;
        self.decompressed += read as u64;
        let compressed = self.compressed.load(Ordering::Relaxed);
        let allowed = self.limits.allowed(compressed);
        if self.decompressed > allowed {
            return Err(io::Error::other(Bomb { compressed, decompressed: allowed }));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(compressed: u64, decompressed: usize, limits: Limits) -> io::Result<usize> {
        let compressed = Arc::new(AtomicU64::new(compressed));
        let text = vec![b' '; decompressed];
        Limited::new(&text[..], compressed, limits).read_to_end(&mut Vec::new())
    }

    #[test]
    fn the_ratio_counts_behind_the_free_bytes_and_the_size_counts_always() {
        let limits = Limits { ratio: 10, free_bytes: 1_000, bytes: 50_000 };
        assert_eq!(read(1, 1_000, limits).unwrap(), 1_000);
        assert_eq!(read(500, 5_000, limits).unwrap(), 5_000);
        for (compressed, decompressed, stopped_at) in
            [(1, 1_001, 1_000), (500, 5_001, 5_000), (90_000, 50_001, 50_000)]
        {
            let error = read(compressed, decompressed, limits).unwrap_err();
            assert_eq!(Bomb::of(&error), Some(Bomb { compressed, decompressed: stopped_at }));
        }
        assert_eq!(Bomb::of(&io::Error::other("another")), None);
    }

    #[test]
    fn a_file_may_hold_days_and_an_hour_may_not() {
        let days = 2 << 30;
        assert_eq!(Limits::FILE.allowed(days), 200 << 30);
        assert_eq!(Limits::HOUR.allowed(days), 16 << 30);
        assert_eq!(Limits::FILE.allowed(0), 64 << 20);
    }
}
