//! Reads an archive file: decompresses it on one thread, finds its events on another.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use tokio::sync::mpsc;

use super::limit::{Bomb, Counted, Limited, Limits};
use crate::event::Rejection;
use crate::source::scan::{MAX_LINE_BYTES, Scanned, scan_lines};
use crate::source::{Candidate, Rejected};

/// Text scanned and submitted at once.
const CHUNK_BYTES: usize = 1 << 20;
const BUFFER_BYTES: usize = 256 << 10;
/// What gzip begins with (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Events of a part of a file.
#[derive(Debug)]
pub struct Chunk {
    /// Its events, in order.
    pub candidates: Vec<Candidate>,
    /// Its lines that are no events.
    pub rejected: Vec<Rejected>,
    /// How much of the decompressed file is read with it, in bytes.
    pub end: u64,
}

/// Why a file cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be opened or read.
    #[error("cannot read the file")]
    Io(#[source] std::io::Error),
    /// It holds neither gzip nor JSON.
    #[error("not an archive: it starts neither as gzip nor as JSON lines")]
    NotAnArchive,
    /// A fetched hour is not gzip, as all of GH Archive are: nothing at all, or a page that says something else.
    #[error("not an hour of the archive: it does not start as gzip")]
    NotGzip,
    /// Its gzip data is damaged or ends early; what came before was used.
    #[error("damaged or cut short after {bytes} decompressed bytes; what came before was used")]
    Damaged {
        /// Intact decompressed bytes.
        bytes: u64,
        /// What the decoder said.
        #[source]
        source: std::io::Error,
    },
    /// It decompresses to more than any archive holds; what came before was used.
    #[error("a gzip bomb, stopped there: {bomb}")]
    Bomb {
        /// What it was stopped at.
        bomb: Bomb,
    },
    /// It is of before 2015, when events had no ids.
    #[error("its events have the form before 2015, without ids: they cannot be counted exactly")]
    OldForm,
}

/// What the decompressing thread hands over.
enum Stretch {
    /// Whole lines.
    Lines(Vec<u8>),
    /// A line that was too long to keep, of so many bytes.
    TooLong(u64),
}

/// Reads `path` behind its first `skip` decompressed bytes. Ends after an error.
pub fn read(path: &Path, skip: u64) -> mpsc::Receiver<Result<Chunk, ArchiveError>> {
    let (chunks, receiver) = mpsc::channel(2);
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let (stretches, incoming) = sync_channel(2);
        std::thread::scope(|scope| {
            // Both ends notice by a closed channel that nobody reads on.
            let decompressing = scope.spawn(|| decompress(&path, stretches));
            let mut scanner = Scanner::new(&path, skip);
            for stretch in incoming {
                let chunk = scanner.scan(stretch);
                let failed = chunk.is_err();
                if let Some(chunk) = chunk.transpose()
                    && (chunks.blocking_send(chunk).is_err() || failed)
                {
                    return;
                }
            }
            let ended = decompressing.join().unwrap_or_else(|_| {
                let source = std::io::Error::other("the decompressing thread panicked");
                Err(ArchiveError::Damaged { bytes: scanner.end, source })
            });
            if let Err(error) = ended {
                let _ = chunks.blocking_send(Err(error));
            }
        });
    });
    receiver
}

/// Opens the text of an archive, gzip or plain, after a look at its start.
///
/// # Errors
/// When it cannot be read, or is neither gzip nor JSON.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>, ArchiveError> {
    let mut file = buffered(path)?;
    let start = file.fill_buf().map_err(ArchiveError::Io)?;
    let text = start.iter().find(|byte| !(byte.is_ascii_whitespace() || **byte == 0));
    match (start, text) {
        (start, _) if start.starts_with(&GZIP) => Ok(Box::new(decompressed(file, Limits::FILE))),
        (_, Some(b'{') | None) => Ok(Box::new(file)),
        // Only its first lines may be damaged.
        (start, _) if holds_an_event(start) => Ok(Box::new(file)),
        _ => Err(ArchiveError::NotAnArchive),
    }
}

/// Whether `path` begins as gzip does.
///
/// # Errors
/// When it cannot be read.
pub fn is_gzip(path: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(GZIP.len() as u64).read_to_end(&mut start)?;
    Ok(start == GZIP)
}

/// Reads `path`, a fetched hour, to its end, so that lengths and checksums of all its gzip members are compared.
///
/// # Errors
/// When it is not gzip, is damaged or ends early, or holds more than an hour can.
pub fn check(path: &Path) -> Result<(), ArchiveError> {
    if !is_gzip(path).map_err(ArchiveError::Io)? {
        return Err(ArchiveError::NotGzip);
    }
    let (mut text, mut bytes) = (decompressed(buffered(path)?, Limits::HOUR), 0);
    loop {
        match text.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(read) => {
                let length = read.len();
                text.consume(length);
                bytes += length as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error, bytes)),
        }
    }
}

fn buffered(path: &Path) -> Result<BufReader<File>, ArchiveError> {
    let file = File::open(path).map_err(ArchiveError::Io)?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, file))
}

fn decompressed(file: BufReader<File>, limits: Limits) -> impl BufRead {
    let (file, compressed) = Counted::new(file);
    let text = MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, file));
    BufReader::with_capacity(BUFFER_BYTES, Limited::new(text, compressed, limits))
}

/// Why decompression ended after `bytes` decompressed bytes.
fn unreadable(source: std::io::Error, bytes: u64) -> ArchiveError {
    match Bomb::of(&source) {
        Some(bomb) => ArchiveError::Bomb { bomb },
        None => ArchiveError::Damaged { bytes, source },
    }
}

fn holds_an_event(start: &[u8]) -> bool {
    !scan_lines(&Bytes::copy_from_slice(start), 1, |_| String::new()).candidates.is_empty()
}

/// Sends the text of `path` in stretches of whole lines, the last line with or without its end.
fn decompress(path: &Path, stretches: SyncSender<Stretch>) -> Result<(), ArchiveError> {
    let mut input = open(path)?;
    let (mut text, mut bytes) = (Vec::new(), 0);
    loop {
        // A line longer than a chunk makes the buffer grow.
        let room = CHUNK_BYTES.max(text.len());
        let read = fill(&mut input, &mut text, room);
        let failed = read.as_ref().is_err_and(|error| error.kind() != ErrorKind::Interrupted);
        let ended = failed || matches!(read, Ok(0));
        if !ended && text.len() > MAX_LINE_BYTES && !text.contains(&b'\n') {
            let skipped = input.skip_until(b'\n');
            let dropped = text.len() as u64 + *skipped.as_ref().unwrap_or(&0) as u64;
            text.clear();
            bytes += dropped;
            if stretches.send(Stretch::TooLong(dropped)).is_err() {
                return Ok(());
            }
            skipped.map_err(|source| unreadable(source, bytes))?;
            continue;
        }
        let is_bomb = read.as_ref().is_err_and(|error| Bomb::of(error).is_some());
        if failed && !is_bomb {
            text.extend(salvage(path, bytes + text.len() as u64));
        }
        let whole = if ended {
            text.len()
        } else {
            text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1)
        };
        if whole > 0 {
            let rest = text.split_off(whole);
            bytes += whole as u64;
            if stretches.send(Stretch::Lines(std::mem::replace(&mut text, rest))).is_err() {
                return Ok(());
            }
        }
        match read {
            Err(source) if failed => return Err(unreadable(source, bytes)),
            Ok(0) => return Ok(()),
            _ => {}
        }
    }
}

/// What can be decompressed of `path` behind its first `from` decompressed bytes. The decoder forgets what it had
/// decompressed when it meets damage within the same call, so the last stretch is read again byte by byte.
fn salvage(path: &Path, from: u64) -> Vec<u8> {
    let Ok(file) = File::open(path) else { return Vec::new() };
    let mut input = MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, file));
    let mut salvaged = Vec::new();
    if std::io::copy(&mut input.by_ref().take(from), &mut std::io::sink()).is_ok_and(|read| read == from) {
        let mut byte = [0];
        while salvaged.len() < MAX_LINE_BYTES && input.read(&mut byte).is_ok_and(|read| read == 1) {
            salvaged.extend(byte);
        }
    }
    salvaged
}

/// Appends up to `room` bytes; 0 only at the end of the input.
fn fill(input: &mut impl Read, text: &mut Vec<u8>, room: usize) -> std::io::Result<usize> {
    text.reserve(room);
    input.take(room as u64).read_to_end(text)
}

/// Turns stretches into chunks.
struct Scanner {
    name: String,
    skip: u64,
    end: u64,
    line: u64,
    found_events: bool,
}

impl Scanner {
    fn new(path: &Path, skip: u64) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { name, skip, end: 0, line: 1, found_events: false }
    }

    /// The chunk for a stretch; `None` for one that is skipped.
    fn scan(&mut self, stretch: Stretch) -> Result<Option<Chunk>, ArchiveError> {
        let place = |line: u64| format!("{}:{line}", self.name);
        let (scanned, bytes) = match stretch {
            Stretch::TooLong(bytes) => {
                let (reason, place) = (Rejection::TooLong, place(self.line));
                let rejected = vec![Rejected { reason, place, body: Bytes::new() }];
                (Scanned { rejected, lines: 1, ..Scanned::default() }, bytes)
            }
            Stretch::Lines(text) => {
                let bytes = text.len() as u64;
                let skipped = self.end + bytes <= self.skip;
                let text = Bytes::from(text);
                if skipped {
                    let lines = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
                    (Scanned { lines, ..Scanned::default() }, bytes)
                } else {
                    (scan_lines(&text, self.line, place), bytes)
                }
            }
        };
        self.end += bytes;
        self.line += scanned.lines;
        if self.end <= self.skip {
            self.found_events = true;
            return Ok(None);
        }
        self.found_events |= !scanned.candidates.is_empty();
        if !self.found_events && scanned.rejected.iter().any(is_old_form) {
            return Err(ArchiveError::OldForm);
        }
        let Scanned { candidates, rejected, .. } = scanned;
        Ok(Some(Chunk { candidates, rejected, end: self.end }))
    }
}

/// Before 2015 the actor was a name, not an object.
fn is_old_form(rejected: &Rejected) -> bool {
    #[derive(serde::Deserialize)]
    struct Old {
        #[serde(rename = "actor")]
        _actor: String,
    }
    rejected.reason == Rejection::NoIdentity && serde_json::from_slice::<Old>(&rejected.body).is_ok()
}
