//! One file of the log: records one after the other, named after the offset of its first message.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::record::{self, Damage, Header, PREFIX_BYTES};

/// A segment that can be read by many and is written by one.
#[derive(Debug)]
pub struct Segment {
    base: u64,
    path: PathBuf,
    file: File,
    /// Bytes that are durable; nothing behind them is read.
    length: AtomicU64,
}

/// One record as read.
#[derive(Debug)]
pub struct Record {
    /// Its header.
    pub header: Header,
    /// Its verified content, to be given to [`record::decode`].
    pub content: Vec<u8>,
    /// Where the next record starts.
    pub next: u64,
}

/// What reading at a position found.
#[derive(Debug)]
pub enum Found {
    /// An intact record.
    Record(Record),
    /// Damage; the next intact record of this segment starts at `resume`, if there is one.
    Damaged {
        /// What is wrong.
        damage: Damage,
        /// The position of the next intact record.
        resume: Option<u64>,
    },
    /// The end of what is durable.
    End,
}

impl Segment {
    /// Creates an empty segment and makes its name durable.
    pub fn create(directory: &Path, base: u64) -> io::Result<Self> {
        let path = directory.join(format!("{base:020}.log"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        File::open(directory)?.sync_all()?;
        Ok(Self { base, path, file, length: AtomicU64::new(0) })
    }

    /// Opens an existing segment; `None` when the name is not a segment's.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(base) = name.strip_suffix(".log").and_then(|digits| digits.parse().ok()) else {
            return Ok(None);
        };
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let length = AtomicU64::new(file.metadata()?.len());
        Ok(Some(Self { base, path: path.to_owned(), file, length }))
    }

    /// The offset of its first message.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Durable bytes.
    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// When it was last written.
    pub fn modified(&self) -> io::Result<std::time::SystemTime> {
        self.file.metadata()?.modified()
    }

    /// Appends `bytes` and waits until they are on the disk. On an error nothing of them remains.
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let at = self.length();
        let written = self.file.write_all_at(bytes, at).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Best effort: what stays behind the durable length is overwritten or cut off at the next start.
            let _ = self.file.set_len(at);
            return Err(error);
        }
        self.length.store(at + bytes.len() as u64, Ordering::Release);
        Ok(())
    }

    /// Reads the record at `position`.
    pub fn read(&self, position: u64) -> io::Result<Found> {
        if position >= self.length() {
            return Ok(Found::End);
        }
        match self.intact(position)? {
            Ok(record) => Ok(Found::Record(record)),
            Err(damage) => Ok(Found::Damaged { damage, resume: self.resynchronise(position + 1)? }),
        }
    }

    /// Cuts the file at `length`.
    pub fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.sync_all()?;
        self.length.store(length, Ordering::Release);
        Ok(())
    }

    fn intact(&self, position: u64) -> io::Result<Result<Record, Damage>> {
        let end = self.length();
        let mut prefix = [0; PREFIX_BYTES];
        if position + PREFIX_BYTES as u64 > end {
            return Ok(Err(Damage::Torn));
        }
        self.file.read_exact_at(&mut prefix, position)?;
        let (length, checksum) = match record::prefix(prefix) {
            Ok(parts) => parts,
            Err(damage) => return Ok(Err(damage)),
        };
        let start = position + PREFIX_BYTES as u64;
        let next = start + length as u64;
        if next > end {
            return Ok(Err(Damage::Torn));
        }
        let mut content = vec![0; length];
        self.file.read_exact_at(&mut content, start)?;
        Ok(record::verify(&content, checksum).map(|header| Record { header, content, next }))
    }

    /// The first position from `from` on where an intact record of this segment starts.
    fn resynchronise(&self, from: u64) -> io::Result<Option<u64>> {
        let end = self.length();
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(from)).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, from)?;
        for (index, window) in bytes.windows(PREFIX_BYTES).enumerate() {
            let Some(Ok((length, checksum))) = window.first_chunk().copied().map(record::prefix) else {
                continue;
            };
            let content = index + PREFIX_BYTES;
            let Some(content) = bytes.get(content..content + length) else { continue };
            // Checked before the checksum, which costs as much as the length says.
            let base = content.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
            if !base.is_some_and(|base| base >= self.base && base - self.base <= u64::from(u32::MAX)) {
                continue;
            }
            if record::verify(content, checksum).is_ok() {
                return Ok(Some(from + index as u64));
            }
        }
        Ok(None)
    }
}
