//! Looks at the database's files before it opens them, for what it would take for a torn tail or not look at: its journals
//! and the lists of its tables.
//!
//! The database cuts a journal where it cannot read on. That is right behind the last sync, where a crash may tear
//! anything, and would silently drop what was synced where a bit flipped. So each synced commit ends with a mark: bytes
//! behind a mark were written after that sync, and damage before them is no torn tail. A commit's number, which the
//! database's own checksum leaves out, must grow, and the mark holds the least that it can be.
//!
//! ```text
//! start: 1 | count u32 | number u64     item: 2 | type u8 | compression u8 | table u64 | key length u16 | value length u32
//! end:   3 | xxh3 of items u64 | FJL3         | stored length u32 | key | value          clear: 4 | table u64
//! ```

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The key of a mark. Its value is the number that the database was at, as big-endian u64.
pub const MARK: &[u8; 16] = b"\0pulsehub\xffsynced";
const MAGIC: &[u8; 4] = b"FJL\x03";
/// From the start of a mark's key to the end of its commit.
const MARK_BYTES: u64 = 16 + 8 + 13;
const CHUNK_BYTES: usize = 1 << 20;

/// What was found.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// What was synced cannot be read any more.
    #[error("{file} is damaged at byte {byte}: {what}")]
    Damaged {
        /// Where.
        file: PathBuf,
        /// From which byte on.
        byte: u64,
        /// In which way.
        what: &'static str,
    },
    /// A file cannot be read, or a torn tail cannot be cut off.
    #[error("cannot check {file}")]
    Io {
        /// Which one.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Checks the database in `store`, where there is one, and cuts off its journal's torn tail.
///
/// # Errors
/// When something that was synced is damaged. Nothing was changed then.
pub fn check(store: &Path) -> Result<(), JournalError> {
    let mut journals = Vec::new();
    for path in entries(store)? {
        let number =
            path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        journals.extend(number.map(|number| (number, path)));
    }
    journals.sort_unstable();
    let (mut last, count) = (None, journals.len());
    for (index, (_, path)) in journals.iter().enumerate() {
        let io = |source| JournalError::Io { file: path.clone(), source };
        let end = whole_commits(path, &mut last)?;
        let tail = Tail::read(path, end).map_err(io)?;
        // All of a journal is synced before the next one is begun.
        let synced = if index + 1 < count { tail.last.is_some() } else { tail.goes_on_behind_a_mark() };
        if synced {
            let what = "a commit that was synced cannot be read";
            return Err(JournalError::Damaged { file: path.clone(), byte: end, what });
        }
        if let Some(until) = tail.last {
            let bytes = until + 1 - end;
            tracing::warn!(file = %path.display(), bytes, "cut off the journal's torn tail");
            let file = OpenOptions::new().write(true).open(path).map_err(io)?;
            file.set_len(end).and_then(|()| file.sync_all()).map_err(io)?;
        }
    }
    entries(&store.join("keyspaces"))?.iter().try_for_each(|tree| table_list(tree))
}

/// What lies in a directory; nothing where there is none.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let io = |source| JournalError::Io { file: directory.to_owned(), source };
    let found = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.map_err(io)?,
    };
    found.map(|entry| Ok(entry.map_err(io)?.path())).collect()
}

/// The list of a table's files has a checksum beside it, which the database writes and does not look at.
fn table_list(tree: &Path) -> Result<(), JournalError> {
    let file = tree.join("current");
    let current = match std::fs::read(&file) {
        // Not all of it was created: the database begins anew.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|source| JournalError::Io { file: file.clone(), source })?,
    };
    let damaged = |file, what| Err(JournalError::Damaged { file, byte: 0, what });
    let parts =
        current.split_first_chunk::<8>().and_then(|(id, rest)| Some((id, rest.split_first_chunk::<16>()?.0)));
    let Some((id, checksum)) = parts else { return damaged(file, "it is too short") };
    let file = tree.join(format!("v{}", u64::from_le_bytes(*id)));
    match std::fs::read(&file) {
        Ok(list) if xxh3_128(&list) == u128::from_le_bytes(*checksum) => Ok(()),
        Ok(_) => damaged(file, "its checksum does not match"),
        Err(error) if error.kind() == ErrorKind::NotFound => damaged(file, "it is missing"),
        Err(source) => Err(JournalError::Io { file, source }),
    }
}

/// The end of the last commit up to which all are whole. `last` is the last commit's number. The first one's is 0 where the
/// database was opened and closed before it.
fn whole_commits(path: &Path, last: &mut Option<u64>) -> Result<u64, JournalError> {
    let io = |source| JournalError::Io { file: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let mut reader = Commits { reader: BufReader::with_capacity(1 << 16, file), bytes: 0 };
    let mut end = 0;
    loop {
        match reader.commit() {
            Ok((number, least)) => {
                if last.is_some_and(|last| number <= last) || number < least || number > u64::MAX / 4 {
                    let what = "a commit's number is wrong";
                    return Err(JournalError::Damaged { file: path.to_owned(), byte: end, what });
                }
                (*last, end) = (Some(number), reader.bytes);
            }
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => {
                return Ok(end);
            }
            Err(error) => return Err(io(error)),
        }
    }
}

struct Commits {
    reader: BufReader<File>,
    bytes: u64,
}

impl Commits {
    fn take<const N: usize>(&mut self) -> std::io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.bytes += N as u64;
        Ok(bytes)
    }

    /// Reads one commit: its number, and the least that its mark allows, 0 without one.
    fn commit(&mut self) -> std::io::Result<(u64, u64)> {
        expect(self.take()? == [1])?;
        let count = u32::from_le_bytes(self.take()?);
        let (number, mut least) = (u64::from_le_bytes(self.take()?), 0);
        let (mut hasher, mut item) = (Xxh3::new(), Vec::new());
        for _ in 0..count {
            item.clear();
            match self.take()? {
                [2] => least = self.item(&mut item)?.unwrap_or(least),
                [4] => {
                    item.push(4);
                    item.extend(self.take::<8>()?);
                }
                _ => expect(false)?,
            }
            hasher.update(&item);
        }
        expect(self.take()? == [3])?;
        expect(u64::from_le_bytes(self.take()?) == hasher.digest())?;
        expect(&self.take()? == MAGIC)?;
        Ok((number, least))
    }

    /// Reads the rest of an item into `item`; what its value says where it is a mark.
    fn item(&mut self, item: &mut Vec<u8>) -> std::io::Result<Option<u64>> {
        item.push(2);
        item.extend(self.take::<2>()?);
        item.extend(self.take::<8>()?);
        let key: [u8; 2] = self.take()?;
        let (value, stored): ([u8; 4], [u8; 4]) = (self.take()?, self.take()?);
        item.extend(key);
        item.extend(value);
        item.extend(stored);
        let start = item.len();
        let (key, stored) = (u64::from(u16::from_le_bytes(key)), u64::from(u32::from_le_bytes(stored)));
        // Grows with what is there, whatever a damaged length says.
        let read = self.reader.by_ref().take(key + stored).read_to_end(item)? as u64;
        self.bytes += read;
        if read < key + stored {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let value = item[start..].strip_prefix(MARK).and_then(|value| value.try_into().ok());
        Ok(value.map(u64::from_be_bytes))
    }
}

fn expect(holds: bool) -> std::io::Result<()> {
    if holds { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

/// Whether this is a mark, or was one before a bit of it flipped.
fn is_mark(bytes: &[u8]) -> bool {
    bytes.iter().zip(MARK).map(|(byte, mark)| (byte ^ mark).count_ones()).sum::<u32>() <= 1
}

/// What lies behind the whole commits; the database keeps room there, filled with zeros.
#[derive(Default)]
struct Tail {
    /// Where the first mark starts.
    mark: Option<u64>,
    /// The last byte that is not zero.
    last: Option<u64>,
}

impl Tail {
    fn read(path: &Path, mut from: u64) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        let (mut tail, mut chunk) = (Self::default(), Vec::new());
        loop {
            let read = file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
            if read == 0 {
                return Ok(tail);
            }
            if let Some(index) = chunk.iter().rposition(|byte| *byte != 0) {
                tail.last = Some(from + index as u64);
                if tail.mark.is_none() {
                    let mark = chunk.windows(MARK.len()).position(is_mark);
                    tail.mark = mark.map(|index| from + index as u64);
                }
            }
            // A mark may lie across two chunks.
            let kept = chunk.len().min(MARK.len() - 1);
            from += (chunk.len() - kept) as u64;
            chunk.drain(..chunk.len() - kept);
        }
    }

    fn goes_on_behind_a_mark(&self) -> bool {
        self.mark.zip(self.last).is_some_and(|(mark, last)| last >= mark + MARK_BYTES)
    }
}
