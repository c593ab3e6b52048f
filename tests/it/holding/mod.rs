//! A server that holds: limits on connections, time limits, encryption, headers, and clients that mean harm.

mod abuse;
mod limits;
mod security;
mod tls;

use pulsehub::app::Running;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::Client;

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
