//! Thousands of clients of the built program, on loopback: driven by a process of its own, so that what they cost is not
//! the server's.

pub mod client;
mod connection;
mod sharing;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::process::{Guard, cpu_seconds, memory_mb, program};
use super::table::Row;
use super::{Bench, Result};
pub use sharing::rows as sharing_rows;

/// What the real front end asks for.
const TWELVE_FIELDS: &str = r#"{"samplingRate":1,"filter":["event.id","event.payload.action","event.payload.pull_request.number","event.repo.name","event.actor.login","event.payload.pull_request.merged","event.payload.pull_request.base.repo.language","event.payload.pull_request.additions","event.payload.pull_request.deletions","payload.devDay","payload.devYear","payload.repoYear"],"returnType":"list"}"#;
const WHOLE: &str = r#"{"samplingRate":1}"#;

/// One run.
#[derive(Clone, Copy)]
struct Load {
    /// Clients that read as fast as they can,
    clients: usize,
    /// clients that never read,
    silent: usize,
    /// and clients that read a byte a second.
    trickling: usize,
    per_second: u64,
    seconds: u64,
    params: &'static str,
}

impl Load {
    fn of(clients: usize, per_second: u64, params: &'static str) -> Self {
        Self { clients, silent: 0, trickling: 0, per_second, seconds: 20, params }
    }
}

/// What came of it.
#[derive(Default)]
struct Outcome {
    connects_per_second: f64,
    /// Of messages that were sent to clients that read.
    share: f64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// Bytes of the server that each client takes while nothing happens.
    bytes_per_client: f64,
    /// Processor seconds of the server a second.
    cores: f64,
    peak_mb: f64,
    /// Clients that the server closed because they took nothing, or answered nothing.
    given_up: f64,
}

/// The stage.
pub fn rows(_: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let whole = run(Load::of(1_000, 50, WHOLE))?;
    rows.push(Row::goal(
        "1,000 clients x 50 whole events/s: delivered",
        format!("{:.0} messages/s, {:.2} % of all", whole.per_second, 100.0 * whole.share),
        "all of 50,000/s",
        whole.share >= 1.0,
    ));
    rows.push(latency("1,000 clients x 50 whole events/s: p99", &whole, "<= 100 ms", 100.0));
    let many = run(Load::of(5_000, 20, WHOLE))?;
    rows.push(Row::goal(
        "5,000 clients x 20 whole events/s: delivered",
        format!("{:.0} messages/s, {:.2} % of all", many.per_second, 100.0 * many.share),
        "100,000/s, 60,000 at least",
        many.per_second >= 60_000.0,
    ));
    rows.push(figure("5,000 clients x 20 whole events/s: p99", &many));
    let list = run(Load::of(1_000, 50, TWELVE_FIELDS))?;
    rows.push(Row::goal(
        "1,000 clients x 50 events/s, list of twelve fields: delivered",
        format!("{:.0} messages/s, {:.2} % of all", list.per_second, 100.0 * list.share),
        "all",
        list.share >= 1.0,
    ));
    rows.push(latency("1,000 clients x 50 events/s, list of twelve fields: p99", &list, "<= 50 ms", 50.0));
    rows.extend(stalled()?);
    rows.extend(idle()?);
    Ok(rows)
}

fn latency(what: &str, outcome: &Outcome, goal: &'static str, ms: f64) -> Row {
    Row::goal(what, described(outcome), goal, outcome.p99_ms <= ms)
}

fn figure(what: &str, outcome: &Outcome) -> Row {
    Row::figure(what, described(outcome))
}

fn described(outcome: &Outcome) -> String {
    let Outcome { p50_ms, p99_ms, max_ms, cores, peak_mb, .. } = outcome;
    format!("{p99_ms:.1} ms (p50 {p50_ms:.1}, max {max_ms:.0}; server {cores:.2} cores, peak {peak_mb:.0} MB)")
}

/// The same readers with and without others beside them that read nothing or next to nothing.
fn stalled() -> Result<Vec<Row>> {
    // Long enough for the server to give up the others.
    let alone = Load { seconds: 90, ..Load::of(800, 50, WHOLE) };
    let [alone, beside] = [run(alone)?, run(Load { silent: 100, trickling: 100, ..alone })?];
    let ratio = beside.p99_ms / alone.p99_ms;
    Ok(vec![
        Row::goal(
            "p99 of 800 readers beside 100 clients that never read and 100 that read a byte a second, against without",
            format!("{ratio:.2} ({:.1} and {:.1} ms)", beside.p99_ms, alone.p99_ms),
            "<= 1.10",
            ratio <= 1.10,
        ),
        Row::goal(
            "delivered to the 800 meanwhile",
            format!("{:.2} %", 100.0 * beside.share),
            "all",
            beside.share >= 1.0,
        ),
        Row::goal(
            "of these 200 given up, and counted",
            format!("{:.0}", beside.given_up),
            "200",
            beside.given_up >= 200.0,
        ),
        Row::figure(
            "peak memory with them and without",
            format!("{:.0} MB and {:.0} MB", beside.peak_mb, alone.peak_mb),
        ),
    ])
}

fn idle() -> Result<Vec<Row>> {
    let outcome = run(Load { seconds: 0, ..Load::of(10_000, 1, TWELVE_FIELDS) })?;
    let kib = outcome.bytes_per_client / 1024.0;
    let rate = outcome.connects_per_second;
    Ok(vec![
        Row::goal("memory of each of 10,000 idle clients", format!("{kib:.1} KiB"), "<= 10 KiB", kib <= 10.0),
        Row::goal(
            "connected, greeted and subscribed, at 10,000 clients",
            format!("{rate:.0} clients/s"),
            ">= 2,000/s",
            rate >= 2_000.0,
        ),
    ])
}

/// Runs the program and the load against it.
fn run(load: Load) -> Result<Outcome> {
    let directory = tempfile::tempdir()?;
    let mut client = Command::new(std::env::current_exe()?);
    let numbers = [load.clients, load.silent, load.trickling].map(|number| number.to_string());
    client.arg(client::COMMAND).args(numbers).args([load.per_second, load.seconds].map(|number| number.to_string()));
    client.arg(load.params).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = Guard::spawn(&mut client)?;
    let mut tell = client.child().stdin.take().ok_or("no standard input")?;
    let mut said = BufReader::new(client.child().stdout.take().ok_or("no standard output")?).lines();
    let mut hear = move |name: &str| -> Result<Vec<f64>> {
        let line = said.next().ok_or("the load client ended")??;
        let words = line.strip_prefix(name).ok_or_else(|| format!("not {name}: {line}"))?;
        Ok(words.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?)
    };
    let feed = hear("feed")?.first().copied().ok_or("no port")?;
    let (mut server, public, admin) = start(directory.path(), &format!("http://127.0.0.1:{feed}/"))?;
    let pid = server.child().id();
    let resting = memory_mb(pid, "VmRSS").ok_or("no memory")?;
    say(&mut tell, &public)?;
    let connects_per_second = hear("connected")?.first().copied().ok_or("no rate")?;
    // What the handshakes left behind is returned to the system by and by.
    let idle = settled(pid)?;
    let all = load.clients + load.silent + load.trickling;
    let mut outcome = Outcome {
        connects_per_second,
        bytes_per_client: (idle - resting) * 1e6 / all as f64,
        ..Outcome::default()
    };
    if load.seconds > 0 {
        let (before, began) = (cpu_seconds(pid).ok_or("no time")?, Instant::now());
        say(&mut tell, "go")?;
        let [share, per_second, p50, p99, max] = hear("received")?[..] else { return Err("no result".into()) };
        outcome.cores = (cpu_seconds(pid).ok_or("no time")? - before) / began.elapsed().as_secs_f64();
        (outcome.share, outcome.per_second) = (share, per_second);
        (outcome.p50_ms, outcome.p99_ms, outcome.max_ms) = (p50, p99, max);
        outcome.given_up = given_up(&admin)?;
    }
    outcome.peak_mb = memory_mb(pid, "VmHWM").ok_or("no memory")?;
    Ok(outcome)
}

/// The program, and the addresses of its two listeners.
fn start(directory: &Path, github: &str) -> Result<(Guard, String, String)> {
    let mut command = program(directory);
    command
        .env("PULSEHUB__GITHUB__BASEURL", github)
        .env("PULSEHUB__GITHUB__TOKENS", "bench")
        .env("PULSEHUB__GITHUB__ENRICH", "never")
        .env("PULSEHUB__GITHUB__LOOP__BREAK", "100")
        .arg("run")
        .stderr(Stdio::piped());
    let mut server = Guard::spawn(&mut command)?;
    let mut log = BufReader::new(server.child().stderr.take().ok_or("no log")?).lines();
    let (mut public, mut admin) = (None, None);
    while admin.is_none() {
        let line = log.next().ok_or("the program ended")??;
        if let Some((_, rest)) = line.split_once("serving ws://") {
            public = rest.strip_suffix("/sampling").map(str::to_owned).or(public);
        }
        admin = line.split_once("http://").and_then(|(_, rest)| rest.strip_suffix("/metrics")).map(str::to_owned);
    }
    // Read on, so that the program never waits for its log.
    std::thread::spawn(move || log.for_each(drop));
    Ok((server, public.ok_or("no address")?, admin.ok_or("no address")?))
}

fn say(tell: &mut ChildStdin, line: &str) -> Result<()> {
    Ok(tell.write_all(format!("{line}\n").as_bytes())?)
}

/// Resident memory once it stays the same for a second.
fn settled(pid: u32) -> Result<f64> {
    let mut last = f64::NAN;
    for _ in 0..30 {
        let now = memory_mb(pid, "VmRSS").ok_or("no memory")?;
        if (now - last).abs() < 0.2 {
            break;
        }
        last = now;
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(last)
}

/// Clients that the server gave up, by its own count.
fn given_up(admin: &str) -> Result<f64> {
    let mut stream = std::net::TcpStream::connect(admin)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut sum = 0.0;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        for reason in ["stalled", "silent"] {
            let name = format!("pulsehub_clients_closed_total{{reason=\"{reason}\"}} ");
            sum += line.strip_prefix(&name).map_or(Ok(0.0), str::parse)?;
        }
    }
    Ok(sum)
}
