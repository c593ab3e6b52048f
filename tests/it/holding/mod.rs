//! A server that holds: limits on connections, time limits, encryption, headers, and clients that mean harm.

mod abuse;
mod idle;
mod limits;
mod security;
mod tls;

use std::path::Path;

use pulsehub::app::Running;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::process::{Process, command};
use crate::support::Client;

/// The built program without events, of which what is kept would grow beside the clients, and with one thread, of which the
/// allocator keeps less for each.
fn quiet(directory: &Path) -> Process {
    let mut command = command(directory, &["run", "--sample", "never"]);
    command.env("PULSEHUB__DISABLE__PRODUCER", "true").env("TOKIO_WORKER_THREADS", "1");
    Process::start(command)
}

/// Resident memory in KiB, without what is only a file's.
fn memory(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A client of `/sampling` that sends one more header.
async fn connect_with(running: &Running, header: (&'static str, &str)) -> Result<Client, u16> {
    let url = format!("ws://{}/sampling", running.public.unwrap());
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert(header.0, header.1.parse().unwrap());
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(Client(socket)),
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// The same without anything that matters.
async fn connect(running: &Running) -> Result<Client, u16> {
    connect_with(running, ("x-nothing", "")).await
}
