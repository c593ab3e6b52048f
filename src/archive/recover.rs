//! Reads an hour that was not closed: what is whole in it stays, and of a torn end each line up to its last flush.
//!
//! A file is a row of gzip members, one for each minute in which events came; a member's time stamp (RFC 1952, section
//! 2.3.1) is that minute, so that the counts of the manifest can be made again.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::hour::Hour;
use super::manifest::Tally;
use crate::event::Event;

/// The comment of a member that begins after an interruption.
pub const RESUMED: &str = "resumed";
/// Text that is looked for in a member at most: more than twice what one is given.
const MAX_MEMBER_TEXT: usize = 160 << 20;
/// Small, for what was decompressed in the call that meets damage is lost.
const STEP_BYTES: usize = 16 << 10;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Bytes of the members that are whole.
    pub whole_bytes: u64,
    /// What they hold.
    pub tally: Tally,
    /// How often writing was interrupted.
    pub resumed: u32,
    /// Whole lines behind the last whole member, and the minute that they came in.
    pub tail: Vec<u8>,
    pub tail_minute: usize,
}

/// Ends what a flush wrote: an empty stored block (zlib's manual, `Z_SYNC_FLUSH`).
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];

/// Reads the file of `hour`.
///
/// # Errors
/// When it cannot be read; that it is torn is no error.
pub fn read(path: &Path, hour: Hour) -> io::Result<Found> {
    let mut file = BufReader::with_capacity(256 << 10, File::open(path)?);
    let (mut found, mut text) = (Found::default(), Vec::new());
    while !file.fill_buf()?.is_empty() {
        let mut member = GzDecoder::new(&mut file);
        let minute = member.header().map_or(found.tail_minute, |header| minute_of(header.mtime(), hour));
        let resumed = member.header().and_then(|header| header.comment()) == Some(RESUMED.as_bytes());
        text.clear();
        let whole = read_member(&mut member, &mut text);
        if !whole {
            file.seek(SeekFrom::Start(found.whole_bytes))?;
            (found.tail, found.tail_minute) = (flushed_lines(file)?, minute);
            return Ok(found);
        }
        found.tally.add(&text, minute);
        found.resumed += u32::from(resumed);
        found.tail_minute = minute;
        found.whole_bytes = file.stream_position()?;
    }
    Ok(found)
}

/// The lines of a torn member up to its last flush. What stands behind that may be anything after a power cut, and anything
/// decompresses to something, for instance to parts of other lines.
fn flushed_lines(member: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    member.take(MAX_MEMBER_TEXT as u64).read_to_end(&mut bytes)?;
    let flushed = bytes.windows(FLUSHED.len()).rposition(|window| window == FLUSHED);
    bytes.truncate(flushed.map_or(0, |at| at + FLUSHED.len()));
    let mut text = Vec::new();
    read_member(&mut GzDecoder::new(&bytes[..]), &mut text);
    let is_event = |line: &&[u8]| {
        line.ends_with(b"\n") && std::str::from_utf8(line).is_ok_and(|line| Event::parse(line).is_ok())
    };
    Ok(text.split_inclusive(|&byte| byte == b'\n').filter(is_event).collect::<Vec<_>>().concat())
}

/// Appends a member's text; whether all of it could be read.
fn read_member(member: &mut impl Read, text: &mut Vec<u8>) -> bool {
    let mut step = [0; STEP_BYTES];
    loop {
        match member.read(&mut step) {
            Ok(0) => return true,
            Ok(_) if text.len() > MAX_MEMBER_TEXT => return false,
            Ok(read) => text.extend_from_slice(&step[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// The minute of the hour that a member's time stamp names.
fn minute_of(mtime: u32, hour: Hour) -> usize {
    usize::try_from((i64::from(mtime) - hour.start()).div_euclid(60))
        .unwrap_or(0)
        .min(super::manifest::MINUTES - 1)
}
