//! The log of one topic: appends in groups by one thread, reads by position, drops what is settled and old.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::record::{self, Header};
use super::segment::{Found, Segment};
use crate::broker::{BrokerError, MessageBatch};
use crate::clock::Clock;
use crate::storage::{NoSpace, Space};
use crate::telemetry::names;

/// Batches waiting for the writer thread; publishers beyond it wait.
const QUEUE_BATCHES: usize = 64;
/// Bytes written with one `fdatasync` at most, so that the first waiting publisher is not kept for long.
const GROUP_BYTES: usize = 4 << 20;
/// Bytes of recent batches kept in memory, so that consumers which keep up never read the disk.
const TAIL_BYTES: usize = 16 << 20;

/// Limits of a log.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// A segment is closed when it has reached this size, in bytes.
    pub segment_bytes: u64,
    /// How long a settled segment is kept; `None` keeps every segment, settled or not, until room is needed.
    pub retention: Option<Duration>,
    /// A log that has reached this size, in bytes, gives up its oldest segments that may go, and refuses to grow
    /// where there are none.
    pub limit_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, retention: Some(Duration::ZERO), limit_bytes: 16 << 30 }
    }
}

/// A record's place: segment and byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    segment: u64,
    byte: u64,
}

/// What reading found.
pub struct Entry {
    /// The offset of its first message.
    pub base: u64,
    /// Its messages.
    pub batch: MessageBatch,
    /// Where the next entry starts.
    pub next: Position,
}

/// A durable sequence of message batches.
pub struct TopicLog {
    queue: RwLock<Option<mpsc::Sender<Append>>>,
    shared: Arc<Shared>,
}

struct Append {
    batch: MessageBatch,
    done: oneshot::Sender<Result<(), BrokerError>>,
}

struct Shared {
    directory: PathBuf,
    options: LogOptions,
    clock: Arc<dyn Clock>,
    space: Space,
    segments: RwLock<Vec<Arc<Segment>>>,
    tail: RwLock<Tail>,
    /// The offset behind the last durable message.
    end: watch::Sender<u64>,
    /// Everything before this offset is settled.
    settled: AtomicU64,
}

#[derive(Default)]
struct Tail {
    order: VecDeque<Position>,
    entries: HashMap<Position, (u64, MessageBatch, Position)>,
    bytes: usize,
}

impl TopicLog {
    /// Opens or creates the log in `directory`, cuts off a torn tail, and starts the writer thread. It grows while there is
    /// `space`.
    ///
    /// # Errors
    /// When a file cannot be read, written or created.
    pub fn open(
        directory: &Path,
        options: LogOptions,
        clock: Arc<dyn Clock>,
        space: Space,
    ) -> Result<Arc<Self>, BrokerError> {
        std::fs::create_dir_all(directory).map_err(BrokerError::storage("create the log's directory"))?;
        let mut segments = Vec::new();
        let files = std::fs::read_dir(directory).map_err(BrokerError::storage("list the log's directory"))?;
        for file in files {
            let path = file.map_err(BrokerError::storage("list the log's directory"))?.path();
            segments.extend(Segment::open(&path).map_err(BrokerError::storage("open a segment"))?);
        }
        segments.sort_by_key(Segment::base);
        let end = match segments.last() {
            Some(last) => recover(last).map_err(BrokerError::storage("recover the last segment"))?,
            None => {
                segments
                    .push(Segment::create(directory, 0).map_err(BrokerError::storage("create a segment"))?);
                0
            }
        };
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            options,
            clock,
            space,
            segments: RwLock::new(segments.into_iter().map(Arc::new).collect()),
            tail: RwLock::default(),
            end: watch::Sender::new(end),
            settled: AtomicU64::new(0),
        });
        let (queue, appends) = mpsc::channel(QUEUE_BATCHES);
        let writer = shared.clone();
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.write_until_closed(appends))
            .map_err(BrokerError::storage("start the log's writer thread"))?;
        Ok(Arc::new(Self { queue: RwLock::new(Some(queue)), shared }))
    }

    /// Appends a batch and returns once it is durable.
    pub async fn append(&self, batch: MessageBatch) -> Result<(), BrokerError> {
        if batch.is_empty() {
            return Ok(());
        }
        let queue = read(&self.queue).clone().ok_or(BrokerError::Closed)?;
        let (done, result) = oneshot::channel();
        queue.send(Append { batch, done }).await.map_err(|_| BrokerError::Closed)?;
        result.await.map_err(|_| BrokerError::Closed)?
    }

    /// Accepts nothing more; what was accepted is still written.
    pub fn close(&self) {
        write(&self.queue).take();
    }

    /// The offset behind the last durable message, and its changes.
    pub fn end(&self) -> watch::Receiver<u64> {
        self.shared.end.subscribe()
    }

    /// The offset of the oldest message that is kept.
    pub fn start(&self) -> u64 {
        read(&self.shared.segments).first().map_or(0, |segment| segment.base())
    }

    /// A position from which reading forward reaches the message at `offset`, and the offset of the first message
    /// behind that position.
    pub fn position_before(&self, offset: u64) -> (Position, u64) {
        let segments = read(&self.shared.segments);
        let after = segments.partition_point(|segment| segment.base() <= offset);
        let segment = segments.get(after.saturating_sub(1)).map_or(0, |segment| segment.base());
        (Position { segment, byte: 0 }, segment)
    }

    /// The entry at `position`, or behind it where there is damage; `None` at the durable end.
    pub fn read(&self, position: Position) -> Result<Option<Entry>, BrokerError> {
        self.shared.read(position)
    }

    /// Whether a segment ends behind `settled` and at or before `offset`, so that [`TopicLog::release`] may drop more of them
    /// now or when room is needed.
    pub fn ends_a_segment(&self, settled: u64, offset: u64) -> bool {
        let segments = read(&self.shared.segments);
        segments.iter().skip(1).any(|segment| (settled + 1..=offset).contains(&segment.base()))
    }

    /// Drops segments whose messages all lie before `offset`, which is on the disk as settled, and which are older than the
    /// retention.
    pub fn release(&self, offset: u64) -> Result<(), BrokerError> {
        self.shared.release(offset).map_err(BrokerError::storage("delete a settled segment"))
    }
}

/// Finds the end of the last segment and cuts off a torn tail. Returns the next message's offset.
fn recover(segment: &Segment) -> std::io::Result<u64> {
    let (mut position, mut offset) = (0, segment.base());
    loop {
        match segment.read(position)? {
            Found::Record(record) => {
                offset = record.header.base + u64::from(record.header.count);
                position = record.next;
            }
            Found::Damaged { resume: Some(resume), .. } => position = resume,
            Found::Damaged { damage, resume: None } => {
                let cut = segment.length() - position;
                tracing::warn!(file = %segment.path().display(), bytes = cut, %damage, "cut off the log's torn tail");
                metrics::counter!(names::LOG_TRUNCATED_BYTES).increment(cut);
                segment.truncate(position)?;
                return Ok(offset);
            }
            Found::End => return Ok(offset),
        }
    }
}

impl Shared {
    fn write_until_closed(&self, mut appends: mpsc::Receiver<Append>) {
        let (mut buffer, mut failing) = (Vec::new(), false);
        while let Some(first) = appends.blocking_recv() {
            let mut bytes = first.batch.body().len();
            let mut group = vec![first];
            while bytes < GROUP_BYTES {
                let Ok(next) = appends.try_recv() else { break };
                bytes += next.batch.body().len();
                group.push(next);
            }
            match self.write_group(&group, &mut buffer) {
                Ok(()) => {
                    failing = false;
                    group.into_iter().for_each(|append| drop(append.done.send(Ok(()))));
                }
                Err(error) => {
                    // Whoever publishes tries again until it succeeds. A full disk has said so itself.
                    let full = std::error::Error::source(&error).is_some_and(|source| source.is::<NoSpace>());
                    if !full && !std::mem::replace(&mut failing, true) {
                        tracing::error!(error = %crate::error_chain(&error), "cannot append to the log");
                    }
                    let mut error = Some(error);
                    for append in group {
                        let answer = error.take().unwrap_or(BrokerError::Storage {
                            action: "append to the log",
                            source: "the group that it was written with failed".into(),
                        });
                        drop(append.done.send(Err(answer)));
                    }
                }
            }
        }
    }

    fn write_group(&self, group: &[Append], buffer: &mut Vec<u8>) -> Result<(), BrokerError> {
        self.make_room()?;
        let segment = self.active().map_err(BrokerError::storage("create a segment"))?;
        let start = segment.length();
        let mut end = *self.end.borrow();
        let mut entries = Vec::with_capacity(group.len());
        buffer.clear();
        for append in group {
            let byte = start + buffer.len() as u64;
            record::encode(end, &append.batch, buffer);
            let next = Position { segment: segment.base(), byte: start + buffer.len() as u64 };
            entries.push((Position { byte, ..next }, (end, append.batch.clone(), next)));
            end += append.batch.len() as u64;
        }
        segment.append(buffer).map_err(BrokerError::storage("append to the log"))?;
        let mut tail = write(&self.tail);
        entries.into_iter().for_each(|(position, entry)| tail.push(position, entry));
        drop(tail);
        self.end.send_replace(end);
        Ok(())
    }

    /// The segment to write to: a new one when the last has reached its size.
    fn active(&self) -> std::io::Result<Arc<Segment>> {
        if let Some(last) = read(&self.segments).last()
            && last.length() < self.options.segment_bytes
        {
            return Ok(last.clone());
        }
        let segment = Arc::new(Segment::create(&self.directory, *self.end.borrow())?);
        write(&self.segments).push(segment.clone());
        Ok(segment)
    }

    /// Retention is a courtesy, room is not: a full log drops what it would otherwise have kept for a while.
    fn make_room(&self) -> Result<(), BrokerError> {
        let limit_bytes = self.options.limit_bytes;
        while self.size() > limit_bytes {
            let may_go = match self.options.retention {
                Some(_) => self.settled.load(Ordering::Acquire),
                None => u64::MAX,
            };
            let dropped =
                self.drop_oldest(may_go, Duration::ZERO).map_err(BrokerError::storage("make room"))?;
            if !dropped {
                return Err(BrokerError::Full { limit_bytes });
            }
            if self.options.retention.is_none() {
                tracing::warn!(log = %self.directory.display(), limit_bytes, "the log is full, its oldest entries gave way");
            }
        }
        while let Err(full) = self.space.check() {
            // Letters are kept until someone deals with them: the disk is not theirs alone.
            let settled = self.settled.load(Ordering::Acquire);
            let dropped = self.options.retention.is_some()
                && self.drop_oldest(settled, Duration::ZERO).map_err(BrokerError::storage("make room"))?;
            if !dropped {
                return Err(BrokerError::storage("append to the log")(full));
            }
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        read(&self.segments).iter().map(|segment| segment.length()).sum()
    }

    fn read(&self, mut position: Position) -> Result<Option<Entry>, BrokerError> {
        loop {
            if let Some((base, batch, next)) = read(&self.tail).entries.get(&position) {
                return Ok(Some(Entry { base: *base, batch: batch.clone(), next: *next }));
            }
            let (segment, following) = self.segments_at(position);
            let Some(segment) = segment else { return Ok(None) };
            if segment.base() != position.segment {
                // The segment was dropped: go on with the oldest that is left.
                position = Position { segment: segment.base(), byte: 0 };
                continue;
            }
            match segment.read(position.byte).map_err(BrokerError::storage("read the log"))? {
                Found::Record(found) => {
                    let next = Position { byte: found.next, ..position };
                    let Header { base, .. } = found.header;
                    match record::decode(&found.content) {
                        Ok(batch) => return Ok(Some(Entry { base, batch, next })),
                        Err(damage) => report(&segment, position.byte, damage),
                    }
                    position = next;
                }
                Found::Damaged { damage, resume } => {
                    report(&segment, position.byte, damage);
                    position.byte = resume.unwrap_or_else(|| segment.length());
                }
                Found::End => match following {
                    Some(base) => position = Position { segment: base, byte: 0 },
                    None => return Ok(None),
                },
            }
        }
    }

    /// The segment that `position` lies in, or the next one if that is gone, and the base of the one behind it.
    fn segments_at(&self, position: Position) -> (Option<Arc<Segment>>, Option<u64>) {
        let segments = read(&self.segments);
        let index = segments.partition_point(|segment| segment.base() < position.segment);
        (segments.get(index).cloned(), segments.get(index + 1).map(|segment| segment.base()))
    }

    fn release(&self, offset: u64) -> std::io::Result<()> {
        self.settled.store(offset, Ordering::Release);
        let Some(retention) = self.options.retention else { return Ok(()) };
        while self.drop_oldest(offset, retention)? {}
        Ok(())
    }

    /// Deletes the oldest segment if all of it lies before `offset`, it is older than `age`, and it is not the last.
    fn drop_oldest(&self, offset: u64, age: Duration) -> std::io::Result<bool> {
        let mut segments = write(&self.segments);
        let [first, second, ..] = segments.as_slice() else { return Ok(false) };
        let written = first.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now = u128::try_from(self.clock.unix_millis()).unwrap_or(0);
        if second.base() > offset || now.saturating_sub(written.as_millis()) < age.as_millis() {
            return Ok(false);
        }
        match std::fs::remove_file(first.path()) {
            // Someone else made room.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        segments.remove(0);
        Ok(true)
    }
}

fn report(segment: &Segment, byte: u64, damage: record::Damage) {
    tracing::error!(file = %segment.path().display(), byte, %damage, "skipped a damaged record of the log");
    metrics::counter!(names::LOG_DAMAGED_RECORDS).increment(1);
}

impl Tail {
    fn push(&mut self, position: Position, entry: (u64, MessageBatch, Position)) {
        self.bytes += entry.1.body().len();
        self.order.push_back(position);
        self.entries.insert(position, entry);
        while self.bytes > TAIL_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some((_, batch, _)) = self.entries.remove(&oldest) {
                self.bytes -= batch.body().len();
            }
        }
    }
}

// A panic while a lock was held leaves these maps whole: each change to them is a single step.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
