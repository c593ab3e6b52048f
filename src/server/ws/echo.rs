//! An echo server from the same upgrade code, and the Autobahn test suite against it. In test builds only.

use std::process::Command;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;

use super::handshake::Handshake;
use super::socket::{Ending, Incoming, Socket};
use crate::live::Frame;
use crate::server::connection::Connection;
use crate::server::{Connections, Options, serve};
use crate::shutdown;

/// The suite sends up to 16 MiB.
const MAX_BYTES: usize = 32 << 20;
/// The first byte of a frame that is a whole binary message.
const BINARY: u8 = 0x82;

async fn connect(handshake: Handshake) -> Response {
    handshake.accept(MAX_BYTES, echo)
}

async fn echo(mut socket: Socket<Connection>) {
    loop {
        let frame = match socket.receive().await {
            Incoming::Text(text) => Frame::text(&text),
            Incoming::Binary(bytes) => Frame::encode(BINARY, &bytes),
            Incoming::Control => continue,
            Incoming::End(Ending::Gone | Ending::Stalled) => return,
            Incoming::End(Ending::Goodbye) => return socket.part().await,
            Incoming::End(Ending::Violation(code, reason)) => return socket.close(code, reason).await,
        };
        if socket.write(&[frame]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autobahn_test_suite_finds_no_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let (trigger, shutdown) = shutdown::channel();
    let options = Options { connections: Arc::new(Connections::unlimited()), certificate: None };
    let server = tokio::spawn(serve(listener, Router::new().route("/", get(connect)), options, shutdown));
    let suite = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/autobahn/run");
    let ran = tokio::task::spawn_blocking(move || Command::new(suite).arg(url).output());
    let output = ran.await.unwrap().unwrap();
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{text}");
    // Sections 1 to 7, 9 and 10 have so many cases.
    assert!(text.contains("cases: 301, failed: 0"), "{text}");
    drop(trigger);
    server.await.unwrap();
}
