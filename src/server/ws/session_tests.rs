//! A session on a connection in memory, in paused time: who is pinged, who is given up, and when.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::Conversation;
use super::params::InvalidParams;
use super::session;
use super::socket::Socket;
use crate::live::Frame;
use crate::server::clients::Endpoint;
use crate::server::connection::{Patient, STALL};
use crate::shutdown::{self, Trigger};

/// What waits in memory between the two sides.
const BUFFER: usize = 4 << 10;
const MAX_BYTES: usize = 1 << 10;

/// Says `x` of a length as long as params were sent that ask for it.
struct Talkative {
    bytes: Option<usize>,
}

impl Conversation for Talkative {
    fn greeting(&mut self) -> Option<Frame> {
        Some(Frame::text("hello"))
    }

    fn params(&mut self, text: &str) -> Result<(), InvalidParams> {
        self.bytes = text.parse().ok();
        Ok(())
    }

    async fn next(&mut self) -> Vec<Frame> {
        match self.bytes {
            Some(bytes) => vec![Frame::text(&"x".repeat(bytes)); 3],
            None => std::future::pending().await,
        }
    }
}

/// A session and the other side of its connection.
async fn session() -> (JoinHandle<()>, DuplexStream, Trigger) {
    session_over(BUFFER).await
}

/// The same where so many bytes wait between the two.
async fn session_over(buffer: usize) -> (JoinHandle<()>, DuplexStream, Trigger) {
    let (near, far) = tokio::io::duplex(buffer);
    let (trigger, shutdown) = shutdown::channel();
    let socket = Socket::accepted(Patient::new(near), Bytes::new(), MAX_BYTES).await;
    let talk = session::run(socket, Endpoint::Sampling, Talkative { bytes: None }, shutdown);
    (tokio::spawn(talk), far, trigger)
}

async fn client(far: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(far, Role::Client, None).await
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_stays_for_hours_and_is_pinged_each_25_seconds() {
    let (session, far, _trigger) = session().await;
    let mut client = client(far).await;
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("hello"));
    let began = Instant::now();
    for count in 1..=500 {
        // Reading answers it.
        assert!(client.next().await.unwrap().unwrap().is_ping());
        client.flush().await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(25) * count);
    }
    assert!(!session.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_given_up_after_the_second() {
    let (session, mut far, _trigger) = session().await;
    let began = Instant::now();
    // As from a connection whose other end vanished: nothing is ever answered.
    let mut read = Vec::new();
    far.read_to_end(&mut read).await.unwrap();
    session.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 75);
    assert_eq!(read, [&b"\x81\x05hello"[..], b"\x89\0\x89\0"].concat());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_given_up_after_a_minute() {
    let (session, far, _trigger) = session().await;
    let mut client = client(far).await;
    client.send(Message::text("1000")).await.unwrap();
    let began = Instant::now();
    session.await.unwrap();
    assert_eq!(began.elapsed(), STALL);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_gets_whole_frames() {
    let (session, far, _trigger) = session().await;
    let mut client = client(far).await;
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("hello"));
    client.send(Message::text("70000")).await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        loop {
            match client.next().await.unwrap().unwrap() {
                Message::Text(text) => break assert_eq!(text.as_str(), "x".repeat(70_000)),
                other => assert!(other.is_ping()),
            }
        }
    }
    assert!(!session.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_answers_stand_behind_what_it_has_still_to_read_is_not_silent() {
    // As much as a system holds for a connection, and four kilobytes a second: what is sent comes two minutes later.
    let (session, far, _trigger) = session_over(512 << 10).await;
    let mut client = client(far).await;
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("hello"));
    client.send(Message::text("60000")).await.unwrap();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(15)).await;
        while client.next().await.unwrap().unwrap().is_ping() {}
    }
    assert!(!session.is_finished());
}

#[tokio::test(start_paused = true)]
async fn pings_of_a_client_that_reads_nothing_take_no_memory_and_end_with_1008() {
    let (session, far, _trigger) = session().await;
    let ping = [&[0x89, 0x80 | 125][..], &[0; 4], &[b'x'; 125]].concat();
    let (mut far, mut pings) = tokio::io::split(far);
    // As fast as they are taken.
    let flood = tokio::spawn(async move { pings.write_all(&ping.repeat(1_000)).await });
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut read = Vec::new();
    far.read_to_end(&mut read).await.unwrap();
    let _refused = flood.await.unwrap();
    let close = b"\x03\xf0too many messages";
    // Beside it there may be the answer to the last ping.
    assert!(read.windows(close.len()).any(|bytes| bytes == close), "{:?}", String::from_utf8_lossy(&read));
    // What the pipe took, and what may wait beside it.
    assert!(read.len() < BUFFER + (2 << 10), "{}", read.len());
    session.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn params_again_and_again_end_with_1008_and_at_a_humane_pace_do_not() {
    let (session, far, _trigger) = session().await;
    let mut patient = client(far).await;
    for _ in 0..200 {
        patient.send(Message::text("none")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(!session.is_finished());
    // A thousand a second.
    let (mut code, mut sent) = (None, 0);
    while code.is_none() {
        sent += 1;
        assert!(sent < 100, "never refused");
        if patient.send(Message::text("none")).await.is_err() {
            break;
        }
        if let Ok(Some(Ok(Message::Close(Some(frame))))) =
            timeout(Duration::from_millis(1), patient.next()).await
        {
            code = Some((u16::from(frame.code), frame.reason.to_string()));
        }
    }
    assert_eq!(code, Some((1008, "too many messages".to_owned())));
    assert!((20..=25).contains(&sent), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn each_violation_has_its_code() {
    // Masked with zeros; the header says what is wrong.
    let masked = |header: &[u8], payload: &[u8]| [header, &[0; 4], payload].concat();
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("compressed, which was not agreed on", masked(&[0xc1, 0x82], b"hi"), 1002),
        ("an unknown opcode", masked(&[0x83, 0x80], b""), 1002),
        ("not masked", b"\x81\x02hi".to_vec(), 1002),
        ("a fragmented ping", masked(&[0x09, 0x80], b""), 1002),
        ("a long ping", masked(&[0x89, 0xfe, 0, 126], &[b'x'; 126]), 1002),
        ("a continuation of nothing", masked(&[0x80, 0x82], b"hi"), 1002),
        ("text that is not UTF-8", masked(&[0x81, 0x82], b"\xff\xfe"), 1007),
        ("a message over the limit", masked(&[0x81, 0xfe, 4, 1], &[b' '; 1025]), 1009),
        ("a frame that claims to be huge", masked(&[0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0], b""), 1009),
    ];
    for (what, bytes, code) in cases {
        let (session, mut far, _trigger) = session().await;
        far.write_all(&bytes).await.unwrap();
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        let close = &read[b"\x81\x05hello".len()..];
        assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, code), "{what}: {close:?}");
        drop(far);
        session.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_said_while_much_is_to_be_said_too() {
    let (session, far, trigger) = session().await;
    let mut client = client(far).await;
    client.send(Message::text("100")).await.unwrap();
    client.next().await.unwrap().unwrap();
    trigger.trigger();
    loop {
        if let Message::Close(frame) = client.next().await.unwrap().unwrap() {
            break assert_eq!(u16::from(frame.unwrap().code), 1001);
        }
    }
    while client.next().await.is_some() {}
    drop(client);
    session.await.unwrap();
}
