//! Fetches an hour of GH Archive into a file.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::ReplayOptions;
use crate::retry::Backoff;
use crate::shutdown::Shutdown;

const ATTEMPTS: u32 = 5;
/// A connection that delivers nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(30);

/// Why an hour cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The archive does not have it.
    #[error("the archive has no file for this hour")]
    Missing,
    /// The archive answered with an error.
    #[error("the archive answered {0}")]
    Status(reqwest::StatusCode),
    /// The archive cannot be reached, or broke off.
    #[error("cannot fetch from the archive")]
    Http(#[from] reqwest::Error),
    /// The file cannot be written.
    #[error("cannot write the fetched file")]
    Io(#[from] std::io::Error),
    /// Shutdown came first.
    #[error("stopped")]
    Stopped,
}

/// Fetches `hour` (`2026-11-01-5`) and returns its file, which is whole.
pub async fn hour(
    options: &ReplayOptions,
    hour: &str,
    shutdown: &mut Shutdown,
) -> Result<PathBuf, FetchError> {
    let client = reqwest::Client::builder()
        .user_agent(concat!("pulsehub/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(STALLED)
        // The file is kept as it is: compressed.
        .no_gzip()
        .build()?;
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        let attempted = tokio::select! {
            attempted = attempt(&client, options, hour) => attempted,
            () = shutdown.triggered() => return Err(FetchError::Stopped),
        };
        match attempted {
            Err(error @ (FetchError::Http(_) | FetchError::Status(_)))
                if backoff.failures() + 1 < ATTEMPTS =>
            {
                tracing::warn!(hour, error = %crate::error_chain(&error), "cannot fetch, trying again");
                if !shutdown.sleep(backoff.next_delay()).await {
                    return Err(FetchError::Stopped);
                }
            }
            result => return result,
        }
    }
}

async fn attempt(
    client: &reqwest::Client,
    options: &ReplayOptions,
    hour: &str,
) -> Result<PathBuf, FetchError> {
    let url = format!("{}{hour}.json.gz", options.archive_url);
    let mut response = client.get(url).send().await?;
    match response.status() {
        reqwest::StatusCode::NOT_FOUND => return Err(FetchError::Missing),
        status if !status.is_success() => return Err(FetchError::Status(status)),
        _ => {}
    }
    tokio::fs::create_dir_all(&options.downloads).await?;
    let partial = options.downloads.join(format!("{hour}.partial"));
    let mut file = tokio::fs::File::create(&partial).await?;
    while let Some(bytes) = response.chunk().await? {
        file.write_all(&bytes).await?;
    }
    file.flush().await?;
    let whole = options.downloads.join(format!("{hour}.json.gz"));
    tokio::fs::rename(partial, &whole).await?;
    Ok(whole)
}
