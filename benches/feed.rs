//! A GitHub of one's own: the Events API's three pages on loopback, with new events at an even rate.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pulsehub::clock::{Clock, SystemClock};
use pulsehub::source::generate::{Generator, PayloadForm};

use serde_json::Value;

use super::Result;

/// Events that GitHub shows, newest first, in pages.
const SHOWN: usize = 300;
const PAGE: usize = 100;
/// Ids begin behind this one.
const BASE: u64 = 50_000_000_000;

/// The feed's end of the measurement.
pub struct Feed {
    /// `github.baseUrl`.
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    began: OnceLock<Instant>,
    per_second: u64,
    bytes: usize,
    events: Mutex<Events>,
    /// By event: microseconds from the beginning to the end of the first answer with it; 0 while there is none.
    sent: Vec<AtomicU64>,
}

struct Events {
    generator: Generator,
    /// In the order of their ids.
    texts: Vec<String>,
    /// Before it there is none that was in no answer.
    answered: usize,
}

impl Feed {
    /// Answers from now on, with empty pages before [`Feed::begin`]; at `events` it stands still. Each has at least so many
    /// `bytes`.
    pub fn start(per_second: u64, events: usize, bytes: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            began: OnceLock::new(),
            per_second,
            bytes,
            events: Mutex::new(Events {
                generator: Generator::new(1, BASE, PayloadForm::Full),
                texts: Vec::with_capacity(events),
                answered: 0,
            }),
            sent: (0..events).map(|_| AtomicU64::new(0)).collect(),
        });
        let shared = state.clone();
        // A thread for each connection. They end with the bench.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(|stream| stream.ok()) {
                let state = shared.clone();
                std::thread::spawn(move || state.serve(stream));
            }
        });
        Ok(Self { address, state })
    }

    /// From now on things happen.
    pub fn begin(&self) {
        let _ = self.state.began.set(Instant::now());
    }

    /// An event's number from 0, and when the first answer with it was written. The client may have read the answer
    /// before that is known.
    pub fn sent(&self, id: u64) -> Option<(usize, Option<Instant>)> {
        let index = usize::try_from(id.checked_sub(BASE + 1)?).ok()?;
        let micros = self.state.sent.get(index)?.load(Ordering::Acquire);
        let began = self.state.began.get()?;
        Some((index, (micros > 0).then(|| *began + Duration::from_micros(micros))))
    }
}

/// An event with its id in front, as GitHub writes it, and filled up with what does not compress to nothing.
fn sized(mut event: Value, bytes: usize) -> String {
    let id = event.as_object_mut().and_then(|event| event.remove("id")).unwrap_or_default();
    let missing = bytes.saturating_sub(event.to_string().len());
    if missing > 0 {
        event["payload"]["filler"] =
            std::iter::repeat_with(fastrand::alphanumeric).take(missing).collect::<String>().into();
    }
    let rest = event.to_string();
    format!("{{\"id\":{id},{}", rest.trim_start_matches('{'))
}

impl State {
    fn serve(&self, stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut writer = stream.try_clone().ok()?;
        let mut lines = BufReader::new(stream).lines();
        loop {
            let request = lines.next()?.ok()?;
            let page = request.split_once("&page=")?.1.split([' ', '&']).next()?.parse::<usize>().ok()?;
            while !lines.next()?.ok()?.is_empty() {}
            let (range, body) = self.page(page);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            writer.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()?;
            let now = u64::try_from(self.elapsed().as_micros()).ok()?;
            for sent in self.sent.get(range)? {
                // The first answer counts.
                let _ = sent.compare_exchange(0, now.max(1), Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.began.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// A page as it is now, and which events are in it.
    fn page(&self, page: usize) -> (std::ops::Range<usize>, String) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let due = (self.elapsed().as_secs_f64() * self.per_second as f64) as usize;
        let now = SystemClock.unix_seconds();
        while self.sent.get(events.answered).is_some_and(|sent| sent.load(Ordering::Acquire) > 0) {
            events.answered += 1;
        }
        // On a busy machine rounds can be too slow for the rate. Nothing is lost then: it comes later.
        let due = due.min(self.sent.len()).min(events.answered + SHOWN);
        while events.texts.len() < due {
            let event = sized(events.generator.event(now), self.bytes);
            events.texts.push(event);
        }
        let end = events.texts.len().saturating_sub((page - 1).min(SHOWN / PAGE) * PAGE);
        let start = end.saturating_sub(PAGE);
        let mut newest_first: Vec<&str> = events.texts[start..end].iter().map(String::as_str).collect();
        newest_first.reverse();
        (start..end, format!("[{}]", newest_first.join(",")))
    }
}
