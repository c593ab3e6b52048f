//! Archive replay: files, directories or hours of GH Archive, fed through the same intake as live events.

mod archive;
mod fetch;
mod input;
mod limit;
mod pace;
mod position;
mod progress;
mod rebase;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;

use super::{Intake, IntakeError, Rejected, Submitted};
use crate::clock::Clock;
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::storage::{Storage, StorageError};
use archive::Chunk;
pub use archive::{ArchiveError, open};
use fetch::{FetchError, Hours};
pub use input::{Input, InputError};
use pace::Pace;
pub use pace::Speed;
use position::{FileKey, Position, Positions};
use progress::Progress;
use rebase::Rebase;

/// Submissions under way at once: enough to hide the disk's latency.
const IN_FLIGHT: usize = 4;
/// Rejected lines of one file that the log names; the rest is counted.
const NAMED_REJECTIONS: u64 = 5;

/// What to replay, and how.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// Files, directories, or hours such as `2026-11-01-15`.
    pub sources: Vec<String>,
    /// How fast.
    pub speed: Speed,
    /// Whether to shift `created_at` so that the first event happens now.
    pub rebase: bool,
    /// Where hours are fetched from; ends with a slash.
    pub archive_url: String,
    /// Where fetched hours lie.
    pub downloads: PathBuf,
    /// Bytes of them that are kept for the next replay; those used least recently give way. 0 keeps none.
    pub cache_bytes: u64,
}

/// What a replay did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Over all files.
    pub submitted: Submitted,
    /// Files read to their end.
    pub files: u64,
    /// Files that are no archives, end too early, or cannot be fetched.
    pub bad_files: u64,
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A source cannot be found.
    #[error("cannot replay")]
    Input(#[from] InputError),
    /// Events could not be handed over.
    #[error("cannot hand over events")]
    Intake(#[from] IntakeError),
    /// The position cannot be kept.
    #[error("cannot keep the replay's position")]
    Position(#[from] StorageError),
    /// Hours cannot be asked for.
    #[error("cannot prepare requests to the archive")]
    Client(#[from] reqwest::Error),
}

/// How reading a file ended.
enum Ended {
    Whole,
    Bad,
    Stopped,
}

/// A submission under way, with the position behind it.
type Submission = BoxFuture<'static, (Option<u64>, Result<Submitted, IntakeError>)>;

/// A replay.
pub struct Replay {
    hours: Hours,
    inputs: Vec<Input>,
    intake: Arc<Intake>,
    positions: Positions,
    rebase: Option<Rebase>,
    pace: Pace,
    progress: Progress,
    shutdown: Shutdown,
    summary: Summary,
}

impl Replay {
    /// Prepares a replay; its positions lie in `storage`.
    ///
    /// # Errors
    /// When a source does not exist or the positions cannot be read.
    pub fn new(
        options: ReplayOptions,
        intake: Intake,
        storage: &Storage,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> Result<Self, ReplayError> {
        let inputs = Input::resolve(&options.sources)?;
        let positions = Positions::open(storage, &options)?;
        let space = storage.space().for_intake();
        let hours = Hours::new(&options.archive_url, &options.downloads, options.cache_bytes, space)?;
        Ok(Self {
            progress: Progress::new(&inputs),
            rebase: options.rebase.then(|| Rebase::new(clock, positions.shift())),
            pace: Pace::new(options.speed),
            summary: Summary::default(),
            intake: Arc::new(intake),
            hours,
            inputs,
            positions,
            shutdown,
        })
    }

    /// Replays everything, or until shutdown. A replay that was interrupted goes on where it stood when it is
    /// started again with the same sources; one that came to its end starts over.
    ///
    /// # Errors
    /// When events can no longer be handed over. Files that cannot be read are reported and skipped.
    pub async fn run(mut self) -> Result<Summary, ReplayError> {
        for (index, input) in std::mem::take(&mut self.inputs).into_iter().enumerate() {
            let key = self.positions.key(index, &input);
            let from = match self.positions.of(&key) {
                Position::Done => {
                    self.progress.skip(&input);
                    continue;
                }
                Position::Byte(byte) => byte,
            };
            let path = match self.local(&input).await {
                Ok(path) => path,
                // The next start goes on here.
                Err(FetchError::Stopped) => return Ok(self.summary),
                Err(error) => {
                    tracing::error!(hour = %input, error = %crate::error_chain(&error), "cannot fetch an hour, leaving it out");
                    self.summary.bad_files += 1;
                    continue;
                }
            };
            self.progress.start(&input);
            let ended = self.file(&path, &key, from).await?;
            match ended {
                Ended::Whole => self.summary.files += 1,
                Ended::Bad => self.summary.bad_files += 1,
                Ended::Stopped => return Ok(self.summary),
            }
            self.positions.done(&key)?;
            if let Input::Hour(_) = input {
                self.hours.used(&path, matches!(ended, Ended::Whole)).await;
            }
        }
        self.positions.forget()?;
        self.progress.finish(&self.summary);
        Ok(self.summary)
    }

    /// The file of an input, fetched first where it is an hour of the archive.
    async fn local(&mut self, input: &Input) -> Result<PathBuf, FetchError> {
        match input {
            Input::File(path) => Ok(path.clone()),
            Input::Hour(hour) => self.hours.get(hour, &mut self.shutdown).await,
        }
    }

    /// Feeds one file from `byte` on.
    async fn file(&mut self, path: &Path, key: &FileKey, byte: u64) -> Result<Ended, ReplayError> {
        let mut chunks = archive::read(path, byte);
        let mut submissions: FuturesOrdered<Submission> = FuturesOrdered::new();
        let mut named = 0;
        let mut shutdown = self.shutdown.clone();
        let ended = loop {
            tokio::select! {
                () = shutdown.triggered() => return Ok(Ended::Stopped),
                Some(submission) = submissions.next() => self.settle(key, submission)?,
                chunk = chunks.recv(), if submissions.len() < IN_FLIGHT => match chunk {
                    Some(Ok(chunk)) => {
                        name_rejections(&chunk.rejected, &mut named);
                        if !self.feed(chunk, key, &mut submissions).await? {
                            return Ok(Ended::Stopped);
                        }
                    }
                    Some(Err(error)) => {
                        tracing::error!(file = %path.display(), error = %crate::error_chain(&error), "bad archive file");
                        break Ended::Bad;
                    }
                    None => break Ended::Whole,
                },
            }
        };
        while let Some(submission) = submissions.next().await {
            self.settle(key, submission)?;
        }
        if named > NAMED_REJECTIONS {
            tracing::warn!(file = %path.display(), lines = named, "lines of this file went to the dead letters");
        }
        Ok(ended)
    }

    /// Starts submitting a chunk, at its pace; `false` when shutdown came first.
    async fn feed(
        &mut self,
        mut chunk: Chunk,
        key: &FileKey,
        submissions: &mut FuturesOrdered<Submission>,
    ) -> Result<bool, ReplayError> {
        if let Some(rebase) = &mut self.rebase {
            rebase.shift(&mut chunk.candidates);
            if let Some(seconds) = rebase.seconds()
                && !self.keep_shift(seconds).await?
            {
                return Ok(false);
            }
        }
        while let Some((wait, part)) = self.pace.next(&mut chunk) {
            if !wait.is_zero() {
                // Nothing stays unconfirmed over a pause.
                while let Some(submission) = submissions.next().await {
                    self.settle(key, submission)?;
                }
                if !self.shutdown.sleep(wait).await {
                    return Ok(false);
                }
            }
            let intake = self.intake.clone();
            submissions.push_back(Box::pin(async move {
                (part.end, intake.submit(part.candidates, part.rejected).await)
            }));
        }
        Ok(true)
    }

    /// Keeps the shift, as soon as there is space for it; `false` when shutdown came first.
    async fn keep_shift(&mut self, seconds: i64) -> Result<bool, StorageError> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        loop {
            match self.positions.set_shift(seconds) {
                // The disk's guard has said it.
                Err(error) if error.is_full() => {}
                kept => return kept.map(|()| true),
            }
            if !self.shutdown.sleep(backoff.next_delay()).await {
                return Ok(false);
            }
        }
    }

    fn settle(
        &mut self,
        key: &FileKey,
        (end, result): (Option<u64>, Result<Submitted, IntakeError>),
    ) -> Result<(), ReplayError> {
        let submitted = result?;
        if let Some(end) = end {
            self.positions.advance(key, end)?;
        }
        self.progress.advance(submitted);
        self.summary.submitted.add(submitted);
        Ok(())
    }
}

fn name_rejections(rejected: &[Rejected], named: &mut u64) {
    for rejected in rejected {
        *named += 1;
        if *named <= NAMED_REJECTIONS {
            tracing::warn!(at = rejected.place, reason = %rejected.reason, "not an event");
        }
    }
}
