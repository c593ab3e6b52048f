//! The load client, as a process of its own: a GitHub with events at an even rate, and thousands of clients on one thread
//! that look when each event reaches them.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::connection::{Connection, masked};
use crate::feed::Feed;
use crate::{Result, percentile};

/// The first argument of the process.
pub const COMMAND: &str = "load-client";

/// Clients whose connection is being made at the same time.
const CONNECTING: usize = 256;
/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(30);
/// A full event of the public feed has about so many.
const EVENT_BYTES: usize = 3_700;
/// Of the events so many go before those whose latency counts: they meet caches that are not there yet.
const WARM_UP: f64 = 0.2;

const REQUEST: &[u8] = b"GET /sampling HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/// Runs as the arguments say: clients, those that never read, those that read a byte a second, events a second, seconds,
/// params. Says on standard output how far it is, and waits for its word on standard input.
pub fn main(arguments: &[String]) -> Result<()> {
    let [clients, silent, trickling, per_second, seconds, params] = arguments else {
        return Err("six arguments are expected".into());
    };
    let [clients, silent, trickling] = [clients, silent, trickling].map(|number| number.parse::<usize>());
    let (clients, silent, trickling) = (clients?, silent?, trickling?);
    let (per_second, seconds) = (per_second.parse::<u64>()?, seconds.parse::<u64>()?);
    let events = usize::try_from(per_second * seconds)?;
    let feed = Feed::start(per_second, events, EVENT_BYTES)?;
    say(&format!("feed {}", feed.address.port()))?;
    let mut words = std::io::stdin().lines();
    let address = words.next().ok_or("no address")??.parse()?;
    let mut swarm = Swarm::new()?;
    let took = swarm.connect(address, clients + silent + trickling, &masked(params)?)?;
    say(&format!("connected {}", (clients + silent + trickling) as f64 / took.as_secs_f64()))?;
    let Some(word) = words.next() else { return Ok(()) };
    word?;
    swarm.leave(silent + trickling)?;
    feed.begin();
    let seen = swarm.follow(&feed, events, clients, trickling)?;
    let Seen { received, mut latencies, seconds } = seen;
    latencies.sort_by(f64::total_cmp);
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(&latencies, share));
    let share = received as f64 / (events * clients) as f64;
    say(&format!("received {share} {} {p50} {p99} {max}", received as f64 / seconds))
}

fn say(line: &str) -> Result<()> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}

/// All clients.
struct Swarm {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

/// What the clients that read saw.
struct Seen {
    received: u64,
    /// In milliseconds, behind the warm-up.
    latencies: Vec<f64>,
    /// From the first event to the last message.
    seconds: f64,
}

impl Swarm {
    fn new() -> Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            connections: Vec::new(),
            buffer: vec![0; 256 << 10],
        })
    }

    /// Connects `count` clients, waits until each was greeted, and has each send its params.
    fn connect(&mut self, address: SocketAddr, count: usize, params: &[u8]) -> Result<Duration> {
        let began = Instant::now();
        let (mut done, mut last) = (0, Instant::now());
        while done < count {
            while self.connections.len() < count && self.connections.len() - done < CONNECTING {
                let mut stream = TcpStream::connect(address)?;
                let token = Token(self.connections.len());
                self.poll.registry().register(&mut stream, token, Interest::WRITABLE)?;
                self.connections.push(Connection::new(stream));
            }
            self.poll.poll(&mut self.events, Some(Duration::from_secs(1)))?;
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                if event.is_writable() && !event.is_readable() {
                    connection.stream.write_all(REQUEST)?;
                    self.poll.registry().reregister(
                        &mut connection.stream,
                        event.token(),
                        Interest::READABLE,
                    )?;
                    continue;
                }
                if !connection.read(&mut self.buffer, |_| {})? {
                    return Err("a client was refused".into());
                }
                if connection.messages == 1 {
                    connection.messages += 1;
                    connection.stream.write_all(params)?;
                    (done, last) = (done + 1, Instant::now());
                }
            }
            if last.elapsed() > PATIENCE {
                return Err(format!("{done} of {count} clients are connected, and no more come").into());
            }
        }
        Ok(began.elapsed())
    }

    /// Stops looking at the last ones.
    fn leave(&mut self, count: usize) -> Result<()> {
        let readers = self.connections.len() - count;
        for connection in &mut self.connections[readers..] {
            self.poll.registry().deregister(&mut connection.stream)?;
        }
        Ok(())
    }

    /// Reads until each of the `clients` has all events, or nothing comes for long. The last ones `trickle`: they read a
    /// byte a second.
    fn follow(&mut self, feed: &Feed, events: usize, clients: usize, trickling: usize) -> Result<Seen> {
        let warm_up = (events as f64 * WARM_UP) as usize;
        let expected = (events * clients) as u64;
        let (mut received, mut latencies) = (0, Vec::with_capacity(events * clients));
        let (began, mut last, mut trickled) = (Instant::now(), Instant::now(), Instant::now());
        while received < expected && last.elapsed() < PATIENCE {
            self.poll.poll(&mut self.events, Some(Duration::from_millis(100)))?;
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                // Before the read: what waits behind other clients waits on this side.
                let now = Instant::now();
                let open = connection.read(&mut self.buffer, |head| {
                    let Some((index, sent)) = id(head).and_then(|id| feed.sent(id)) else { return };
                    received += 1;
                    if index >= warm_up {
                        let took = sent.map_or(Duration::ZERO, |sent| now.saturating_duration_since(sent));
                        latencies.push(took.as_secs_f64() * 1e3);
                    }
                })?;
                if !open {
                    return Err("a client that reads was disconnected".into());
                }
                last = now;
            }
            if trickled.elapsed() >= Duration::from_secs(1) {
                trickled = Instant::now();
                let first = self.connections.len() - trickling;
                for connection in &mut self.connections[first..] {
                    // The server may have given it up.
                    let _ = connection.stream.read(&mut [0; 1]);
                }
            }
        }
        Ok(Seen { received, latencies, seconds: (last - began).as_secs_f64() })
    }
}

/// The event's id, the first long number of a message.
fn id(head: &[u8]) -> Option<u64> {
    let numbers = head.split(|byte| !byte.is_ascii_digit()).filter(|digits| digits.len() >= 10);
    numbers.filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).next()
}
