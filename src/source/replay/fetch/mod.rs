//! Fetches hours of GH Archive: whole and checked, or not at all; what was fetched before is not fetched again.
//!
//! `download` makes one attempt and goes on where the last one ended, to where `redirect` lets it, `cache` bounds what is
//! kept.

mod cache;
mod download;
mod redirect;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::archive::{self, ArchiveError};
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::storage::{NoSpace, Space};
use download::Part;

/// Attempts without a byte of progress, after which an hour is left out.
const ATTEMPTS: u32 = 5;
/// A connection that delivers nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(30);
/// Compressed bytes that an hour may have; the largest have 150 MB.
const MAX_BYTES: u64 = 2 << 30;

/// Why an hour cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The archive does not have it.
    #[error("the archive has no file for this hour (404)")]
    Missing,
    /// The archive answered with an error.
    #[error("the archive answered {0}")]
    Status(reqwest::StatusCode),
    /// The archive cannot be reached, or broke off.
    #[error("cannot fetch from the archive")]
    Http(#[from] reqwest::Error),
    /// The archive ended its answer early.
    #[error("the archive's answer ended after {have} of {expected} bytes")]
    Short {
        /// Bytes on the disk.
        have: u64,
        /// Bytes that it said the file has.
        expected: u64,
    },
    /// What was fetched is damaged, or no archive at all.
    #[error("what was fetched cannot be used")]
    Bad(#[source] ArchiveError),
    /// The archive sends more than an hour can have.
    #[error("the archive sends more than {MAX_BYTES} bytes, which no hour has")]
    TooLarge,
    /// There is no room for the file.
    #[error(transparent)]
    Full(#[from] NoSpace),
    /// The file cannot be written.
    #[error("cannot write the fetched file")]
    Io(#[from] std::io::Error),
    /// Shutdown came first.
    #[error("stopped")]
    Stopped,
}

/// What follows from a failed attempt.
enum Next {
    /// Nothing will change by itself.
    GiveUp,
    /// It counts, and is made again.
    Again,
    /// It is made again as soon as there is room.
    AwaitSpace,
}

impl FetchError {
    fn next(&self) -> Next {
        match self {
            // It would be sent there again.
            Self::Http(error) if error.is_redirect() => Next::GiveUp,
            Self::Http(_) | Self::Status(_) | Self::Short { .. } => Next::Again,
            // Damaged on its way, perhaps; the second time it is what the archive has.
            Self::Bad(ArchiveError::Damaged { .. }) => Next::Again,
            Self::Full(_) => Next::AwaitSpace,
            Self::Missing | Self::TooLarge | Self::Bad(_) | Self::Io(_) | Self::Stopped => Next::GiveUp,
        }
    }
}

/// The hours of one archive.
pub struct Hours {
    client: reqwest::Client,
    /// Ends with a slash.
    archive_url: String,
    directory: PathBuf,
    /// Bytes of fetched hours that are kept; 0 for none.
    keep_bytes: u64,
    space: Space,
}

impl Hours {
    /// Fetches from `archive_url` into `directory` and keeps up to `keep_bytes` there, on the disk of `space`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        archive_url: &str,
        directory: &Path,
        keep_bytes: u64,
        space: Space,
    ) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("pulsehub/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(STALLED)
            .redirect(redirect::policy(archive_url))
            // The file is kept as it is: compressed.
            .no_gzip()
            .build()?;
        Ok(Self {
            client,
            archive_url: archive_url.to_owned(),
            directory: directory.to_owned(),
            keep_bytes,
            space,
        })
    }

    /// The file of `hour` (`2026-11-01-5`), fetched unless it is there.
    pub async fn get(&self, hour: &str, shutdown: &mut Shutdown) -> Result<PathBuf, FetchError> {
        let whole = self.directory.join(format!("{hour}.json.gz"));
        if self.has(&whole).await? {
            tracing::debug!(hour, "fetched before");
            return Ok(whole);
        }
        let fetched = self.fetch(hour, &whole, shutdown).await;
        if fetched.as_ref().is_err_and(|error| !matches!(error, FetchError::Stopped)) {
            // Its part may be left.
            self.trim().await;
        }
        fetched.map(|()| whole)
    }

    /// Whether a file is there, and what an hour is; it is used now, then.
    async fn has(&self, whole: &Path) -> io::Result<bool> {
        let whole = whole.to_owned();
        blocking(move || {
            let has = whole.try_exists()? && archive::is_gzip(&whole)?;
            if has {
                cache::touch(&whole);
            }
            Ok(has)
        })
        .await
    }

    async fn fetch(&self, hour: &str, whole: &Path, shutdown: &mut Shutdown) -> Result<(), FetchError> {
        tokio::fs::create_dir_all(&self.directory).await?;
        let part = Part::of(whole);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let mut damaged = false;
        loop {
            let before = part.bytes();
            let attempted = tokio::select! {
                attempted = self.attempt(hour, &part) => attempted,
                () = shutdown.triggered() => return Err(FetchError::Stopped),
            };
            let error = match attempted {
                Ok(()) => return finish(part, whole).await,
                // As a file of the operator's: what is whole in it is used, and it is said to be damaged.
                Err(FetchError::Bad(ArchiveError::Damaged { .. })) if damaged => {
                    return finish(part, whole).await;
                }
                Err(error) => error,
            };
            if matches!(error, FetchError::Bad(_) | FetchError::TooLarge) {
                damaged = true;
                let part = part.clone();
                blocking(move || part.discard()).await?;
            } else if part.bytes() > before {
                // A slow and weary archive still gets there.
                backoff.reset();
            }
            match error.next() {
                Next::Again if backoff.failures() + 1 < ATTEMPTS => {
                    let error = crate::error_chain(&error);
                    tracing::warn!(hour, error, bytes = part.bytes(), "cannot fetch, trying again");
                }
                // The disk's guard has said it.
                Next::AwaitSpace => {}
                Next::Again | Next::GiveUp => return Err(error),
            }
            if !shutdown.sleep(backoff.next_delay()).await {
                return Err(FetchError::Stopped);
            }
        }
    }

    /// Fetches what is missing and checks the whole.
    async fn attempt(&self, hour: &str, part: &Part) -> Result<(), FetchError> {
        let url = format!("{}{hour}.json.gz", self.archive_url);
        download::attempt(&self.client, &url, part, &self.space).await?;
        let path = part.path().to_owned();
        match blocking(move || Ok(archive::check(&path))).await? {
            Ok(()) => Ok(()),
            Err(ArchiveError::Io(source)) => Err(FetchError::Io(source)),
            Err(error) => Err(FetchError::Bad(error)),
        }
    }

    /// The hour in `file` was read, to its end where it is `intact`: keeps it within the bound, or not.
    pub async fn used(&self, file: &Path, intact: bool) {
        if !intact {
            // The next replay asks the archive again.
            let _ = tokio::fs::remove_file(file).await;
        }
        self.trim().await;
    }

    async fn trim(&self) {
        let (directory, bytes) = (self.directory.clone(), self.keep_bytes);
        if let Err(error) = blocking(move || cache::trim(&directory, bytes)).await {
            tracing::warn!(%error, directory = %self.directory.display(), "cannot bound the fetched hours");
        }
    }
}

/// Syncs it, which takes long.
async fn finish(part: Part, whole: &Path) -> Result<(), FetchError> {
    let whole = whole.to_owned();
    Ok(blocking(move || part.finish(&whole)).await?)
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
