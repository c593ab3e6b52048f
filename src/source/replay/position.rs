//! How far a replay is, kept so that it can go on after an interruption.

use super::{Input, ReplayOptions};
use crate::storage::{Storage, StorageError, Table};

/// How far one file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// To this decompressed byte; everything before it is confirmed.
    Byte(u64),
    /// To its end.
    Done,
}

/// Names a file of a replay.
pub struct FileKey(Vec<u8>);

/// The positions of one replay, known by what it reads.
pub struct Positions {
    storage: Storage,
    table: Table,
    /// Names the replay: another list of sources is another replay.
    session: Vec<u8>,
    shift: Option<i64>,
}

const DONE: u64 = u64::MAX;

impl Positions {
    /// The positions that an interrupted replay of the same sources left, or none.
    pub fn open(storage: &Storage, options: &ReplayOptions) -> Result<Self, StorageError> {
        let table = storage.table("replays")?;
        let mut session = format!("{}\0{}\0", options.rebase, options.sources.join("\0")).into_bytes();
        session.push(0);
        let mut positions = Self { storage: storage.clone(), table, session, shift: None };
        let stored = positions.table.get(&positions.shift_key())?;
        positions.shift =
            stored.and_then(|bytes| bytes.first_chunk().map(|bytes| i64::from_be_bytes(*bytes)));
        Ok(positions)
    }

    /// Names a file by its place and name: a directory may hold other files the next time.
    pub fn key(&self, index: usize, input: &Input) -> FileKey {
        let name = match input {
            Input::File(path) => path.as_os_str().as_encoded_bytes(),
            Input::Hour(hour) => hour.as_bytes(),
        };
        FileKey([&self.session[..], b"file", &(index as u64).to_be_bytes(), name].concat())
    }

    /// Where the file stands.
    pub fn of(&self, file: &FileKey) -> Position {
        let stored = self.table.get(&file.0).ok().flatten();
        match stored.and_then(|bytes| bytes.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))) {
            Some(DONE) => Position::Done,
            byte => Position::Byte(byte.unwrap_or(0)),
        }
    }

    /// Everything before `byte` of the file is confirmed. For want of space the position stays where it was: what is then
    /// read twice changes nothing.
    pub fn advance(&self, file: &FileKey, byte: u64) -> Result<(), StorageError> {
        unless_full(self.table.insert(&file.0, &byte.to_be_bytes()))
    }

    /// The file is read.
    pub fn done(&self, file: &FileKey) -> Result<(), StorageError> {
        self.advance(file, DONE)
    }

    /// By how many seconds the interrupted replay had shifted its events: events keep their identity that way.
    pub fn shift(&self) -> Option<i64> {
        self.shift
    }

    /// Keeps the shift, durably: the first shifted event must not outlive it. Where it fails for want of space, it can be
    /// called again.
    pub fn set_shift(&mut self, seconds: i64) -> Result<(), StorageError> {
        if self.shift != Some(seconds) {
            self.table.insert(&self.shift_key(), &seconds.to_be_bytes())?;
            self.table.sync()?;
            self.shift = Some(seconds);
        }
        Ok(())
    }

    /// The replay came to its end: the next one of the same sources starts over.
    pub fn forget(&self) -> Result<(), StorageError> {
        let mut end = self.session.clone();
        end.push(u8::MAX);
        let mut transaction = self.storage.transaction();
        for entry in self.table.range(self.session.clone()..end) {
            transaction.remove(&self.table, &entry?.0);
        }
        unless_full(transaction.commit())
    }

    fn shift_key(&self) -> Vec<u8> {
        [&self.session[..], b"shift"].concat()
    }
}

fn unless_full(result: Result<(), StorageError>) -> Result<(), StorageError> {
    result.or_else(|error| if error.is_full() { Ok(()) } else { Err(error) })
}
