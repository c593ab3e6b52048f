//! One attempt at a download, which goes on behind what earlier ones brought.
//!
//! Resumed by `Range` with `If-Range`: a file that changed on the server comes whole instead (RFC 9110, sections 13.1.5
//! and 14). Without a validator that allows it the download starts over.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Client, Response, StatusCode};
use tokio::io::AsyncWriteExt;

use super::{FetchError, MAX_BYTES};
use crate::storage::Space;

/// A download that is not finished: `NAME.part`, and what identifies the file on the server in `NAME.part.tag`.
#[derive(Clone)]
pub struct Part {
    text: PathBuf,
    tag: PathBuf,
}

impl Part {
    /// The part of the file that will be `whole`.
    pub fn of(whole: &Path) -> Self {
        let with = |end: &str| PathBuf::from(format!("{}{end}", whole.display()));
        Self { text: with(".part"), tag: with(".part.tag") }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.text
    }

    /// How much of it is there.
    pub fn bytes(&self) -> u64 {
        self.text.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Makes it the whole file, durably. Blocks.
    pub fn finish(&self, whole: &Path) -> io::Result<()> {
        std::fs::File::open(&self.text)?.sync_all()?;
        std::fs::rename(&self.text, whole)?;
        absent(std::fs::remove_file(&self.tag))
    }

    /// Forgets it. Blocks.
    pub fn discard(&self) -> io::Result<()> {
        absent(std::fs::remove_file(&self.tag))?;
        absent(std::fs::remove_file(&self.text))
    }

    /// How much is there, and of which file, where that is known.
    fn resumable(&self) -> Option<(u64, String)> {
        let tag = std::fs::read_to_string(&self.tag).ok().filter(|tag| !tag.is_empty())?;
        Some((self.bytes(), tag)).filter(|(bytes, _)| *bytes > 0)
    }

    /// Opens it to be written behind its first `from` bytes.
    async fn open(&self, from: u64, headers: &HeaderMap) -> io::Result<tokio::fs::File> {
        if from > 0 {
            return tokio::fs::File::options().append(true).open(&self.text).await;
        }
        // The old tag must not outlive the old bytes.
        absent(std::fs::remove_file(&self.tag))?;
        let file = tokio::fs::File::create(&self.text).await?;
        if let Some(tag) = validator(headers) {
            tokio::fs::write(&self.tag, tag).await?;
        }
        Ok(file)
    }
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// What a part of the file can be asked for by. A weak ETag does not identify bytes.
fn validator(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    text(ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| text(LAST_MODIFIED))
}

/// Fetches what is missing of `part`; it is as long as the archive says afterwards.
pub async fn attempt(client: &Client, url: &str, part: &Part, space: &Space) -> Result<(), FetchError> {
    space.check()?;
    let resumed = part.resumable();
    let mut request = client.get(url);
    if let Some((from, tag)) = &resumed {
        request = request.header(RANGE, format!("bytes={from}-")).header(IF_RANGE, tag);
    }
    let mut response = request.send().await?;
    let have = resumed.map_or(0, |(bytes, _)| bytes);
    let from = match response.status() {
        StatusCode::NOT_FOUND | StatusCode::GONE => return Err(FetchError::Missing),
        StatusCode::PARTIAL_CONTENT if have > 0 && range(&response).0 == Some(have) => have,
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 && range(&response).1 == Some(have) => return Ok(()),
        // Not what was asked for: the next attempt asks for all.
        status @ (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE) => {
            let part = part.clone();
            super::blocking(move || part.discard()).await?;
            return Err(FetchError::Status(status));
        }
        status if !status.is_success() => return Err(FetchError::Status(status)),
        _ => 0,
    };
    let expected = match range(&response).1 {
        Some(total) if from > 0 => Some(total),
        _ => response.content_length().map(|rest| from + rest),
    };
    if expected.is_some_and(|bytes| bytes > MAX_BYTES) {
        return Err(FetchError::TooLarge);
    }
    let mut file = part.open(from, response.headers()).await?;
    let copied = copy(&mut response, &mut file, from, space).await;
    // Also after a failure: the next attempt goes on behind it.
    file.flush().await?;
    let have = copied?;
    match expected {
        Some(expected) if expected != have => Err(FetchError::Short { have, expected }),
        _ => Ok(()),
    }
}

/// Appends the answer's body to a file of `bytes` bytes; returns how many it has then.
async fn copy(
    response: &mut Response,
    file: &mut tokio::fs::File,
    mut bytes: u64,
    space: &Space,
) -> Result<u64, FetchError> {
    while let Some(chunk) = response.chunk().await? {
        bytes += chunk.len() as u64;
        if bytes > MAX_BYTES {
            return Err(FetchError::TooLarge);
        }
        space.check()?;
        file.write_all(&chunk).await?;
    }
    Ok(bytes)
}

/// Where the bytes of an answer begin in the file, and how long that is: `bytes 7-9/10`, or `bytes */10`.
fn range(response: &Response) -> (Option<u64>, Option<u64>) {
    let parts = || {
        let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
        text.strip_prefix("bytes ")?.split_once('/')
    };
    let Some((range, total)) = parts() else { return (None, None) };
    (range.split_once('-').and_then(|(from, _)| from.parse().ok()), total.parse().ok())
}
