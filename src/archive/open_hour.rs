//! The hour that is being written, until it is closed under its own name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use ring::digest::{Context, SHA256};
use serde_json::Value;

use super::hour::Hour;
use super::manifest::{Manifest, Tally};
use super::recover::{self, RESUMED};

/// A member ends after this much text even within its minute: what is read again after a crash fits into memory.
const MAX_MEMBER_TEXT: u64 = 64 << 20;

/// Where an hour lies in a directory.
pub fn closed_path(directory: &Path, hour: Hour) -> PathBuf {
    directory.join(format!("{hour}.json.gz"))
}

/// Where it lies while it is open.
pub fn open_path(directory: &Path, hour: Hour) -> PathBuf {
    directory.join(format!("{hour}.json.gz.open"))
}

/// Where its manifest lies.
pub fn manifest_path(directory: &Path, hour: Hour) -> PathBuf {
    directory.join(format!("{hour}.manifest.json"))
}

/// An open hour.
#[derive(Debug)]
pub struct OpenHour {
    directory: PathBuf,
    hour: Hour,
    /// Positioned behind its last byte; taken by the member that is being written.
    file: Option<File>,
    member: Option<Member>,
    tally: Tally,
    resumed: u32,
    /// Whether the next member is the first after an interruption.
    resuming: bool,
}

/// A gzip member that is being written.
#[derive(Debug)]
struct Member {
    gzip: GzEncoder<File>,
    minute: usize,
    text_bytes: u64,
    flushed: bool,
}

impl OpenHour {
    /// Begins an hour, or goes on with it: behind what is whole in its file, with the whole lines of a torn end.
    ///
    /// # Errors
    /// When the file cannot be read or written. What is whole in it stays.
    pub fn open(directory: &Path, hour: Hour) -> io::Result<Self> {
        let (open, closed) = (open_path(directory, hour), closed_path(directory, hour));
        // Closed, and the clock stepped back.
        if closed.try_exists()? {
            if open.try_exists()? {
                return Err(io::Error::other(format!(
                    "{hour} is there twice, open and closed: move one away"
                )));
            }
            std::fs::rename(&closed, &open)?;
        }
        let existed = open.try_exists()?;
        let found = if existed { recover::read(&open, hour)? } else { recover::Found::default() };
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&open)?;
        file.set_len(found.whole_bytes)?;
        file.seek(SeekFrom::End(0))?;
        let recover::Found { tally, resumed, tail, tail_minute, .. } = found;
        let directory = directory.to_owned();
        let mut hour =
            Self { directory, hour, file: Some(file), member: None, tally, resumed, resuming: existed };
        if !existed {
            sync_directory(&hour.directory)?;
        }
        if !tail.is_empty() {
            hour.write(tail_minute, &tail)?;
            hour.finish_member()?;
        }
        Ok(hour)
    }

    /// Which hour it is.
    pub fn hour(&self) -> Hour {
        self.hour
    }

    /// How many events it has.
    pub fn events(&self) -> u64 {
        self.tally.events()
    }

    /// Appends whole lines that came in a minute of the hour.
    ///
    /// # Errors
    /// When the file cannot be written; the hour has to be opened again then.
    pub fn write(&mut self, minute: usize, lines: &[u8]) -> io::Result<()> {
        // Minutes only go on: a clock that steps back stays in the one that was begun.
        if self.member.as_ref().is_some_and(|it| it.minute < minute || it.text_bytes > MAX_MEMBER_TEXT) {
            self.finish_member()?;
        }
        if self.member.is_none() {
            self.begin_member(minute)?;
        }
        let Some(member) = &mut self.member else { return Ok(()) };
        member.gzip.write_all(lines)?;
        member.text_bytes += lines.len() as u64;
        member.flushed = false;
        self.tally.add(lines, member.minute);
        Ok(())
    }

    fn begin_member(&mut self, minute: usize) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Err(io::Error::other("the file is gone")) };
        let began = self.hour.start() + 60 * minute as i64;
        let mut header = GzBuilder::new().mtime(u32::try_from(began).unwrap_or(0));
        if std::mem::take(&mut self.resuming) {
            header = header.comment(RESUMED);
            self.resumed += 1;
        }
        let gzip = header.write(file, Compression::default());
        self.member = Some(Member { gzip, minute, text_bytes: 0, flushed: false });
        Ok(())
    }

    /// Hands what was written to the system: a crash of this process does not touch it then.
    ///
    /// # Errors
    /// As [`OpenHour::write`].
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.member {
            Some(member) if !member.flushed => {
                member.gzip.flush()?;
                member.flushed = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends the member of a minute, which is on the disk then.
    ///
    /// # Errors
    /// As [`OpenHour::write`].
    pub fn finish_member(&mut self) -> io::Result<()> {
        if let Some(member) = self.member.take() {
            let file = member.gzip.finish()?;
            file.sync_data()?;
            self.file = Some(file);
        }
        Ok(())
    }

    /// Closes it under its own name, beside its manifest; an hour without events leaves nothing.
    ///
    /// # Errors
    /// When a file cannot be written; the hour can be opened again then.
    pub fn close(mut self, lost: u64, coverage: Option<Value>) -> io::Result<()> {
        self.finish_member()?;
        let Self { directory, hour, file, tally, resumed, .. } = self;
        let (open, closed) = (open_path(&directory, hour), closed_path(&directory, hour));
        let manifest_path = manifest_path(&directory, hour);
        if tally.events() == 0 {
            return std::fs::remove_file(open);
        }
        if let Some(file) = file {
            file.sync_all()?;
        }
        let (bytes, sha256) = digest(&open)?;
        let name = closed.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let began = Timestamp::from_second(hour.start()).unwrap_or_default().to_string();
        let manifest =
            Manifest { bytes, sha256, resumed, lost, coverage, ..Manifest::new(name, began, tally) };
        // First the manifest: whoever finds the archive finds it too.
        let partial = manifest_path.with_extension("json.part");
        let mut file = File::create(&partial)?;
        serde_json::to_writer_pretty(&mut file, &manifest)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(partial, manifest_path)?;
        std::fs::rename(open, closed)?;
        sync_directory(&directory)
    }

    /// As if the process were killed now: nothing more is written.
    #[cfg(test)]
    pub fn crash(mut self) {
        if let Some(member) = self.member.take() {
            std::mem::forget(member);
        }
    }
}

/// Makes a new or renamed file of it survive.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// A file's length and SHA-256.
fn digest(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut sha256) = (File::open(path)?, Context::new(&SHA256));
    let (mut buffer, mut bytes) = (vec![0; 256 << 10], 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                sha256.update(&buffer[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((bytes, sha256.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()))
}
