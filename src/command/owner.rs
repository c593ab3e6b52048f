//! The process that owns the data directory, asked over its admin listener.

use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde::de::DeserializeOwned;

use super::Failure;
use crate::cli::Exit;
use crate::storage::Owner;

/// How long a connection on this machine may take.
const CONNECT: Duration = Duration::from_secs(5);

/// What `owner` answers to a request below its root. How long it may take is the request's to say.
pub(super) async fn ask<T: DeserializeOwned>(
    owner: &Owner,
    request: impl FnOnce(&Client, String) -> RequestBuilder,
) -> Result<T, Failure> {
    let pid = owner.pid;
    if owner.admin.is_empty() {
        let message = format!(
            "process {pid} has the data and takes no requests: it is starting, or is another command; try again when it is done"
        );
        return Err(Failure { message, exit: Exit::InUse });
    }
    let unavailable = |message| Failure { message, exit: Exit::Unavailable };
    let silent = |error: reqwest::Error| {
        let error = crate::error_chain(&error);
        unavailable(format!("process {pid} owns the data, but its admin listener does not answer: {error}"))
    };
    let client = Client::builder().connect_timeout(CONNECT).no_proxy().build().map_err(silent)?;
    let response = request(&client, format!("http://{}", owner.admin)).send().await.map_err(silent)?;
    if response.status().is_success() {
        return response.json().await.map_err(silent);
    }
    // Its own problems say why.
    let problem: serde_json::Value = response.json().await.map_err(silent)?;
    let detail = problem.get("detail").and_then(|detail| detail.as_str()).unwrap_or("it refused");
    Err(unavailable(format!("process {pid}, which owns the data: {detail}")))
}
