//! The built program at rest: how soon it serves, and the memory that it holds.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::process::{Guard, memory_mb, program};
use super::table::Row;
use super::{Bench, Result, median};

const ROUNDS: usize = 5;

/// Starts the program with no source several times.
pub fn rows(_: &Bench) -> Result<Vec<Row>> {
    let (mut starts, mut rest_mb) = (Vec::new(), 0.0_f64);
    for round in 0..ROUNDS {
        let directory = tempfile::tempdir()?;
        let started = Instant::now();
        let mut command = program(directory.path());
        command.env("PULSEHUB__DISABLE__PRODUCER", "true").arg("run").stderr(Stdio::piped());
        let mut child = Guard::spawn(&mut command)?;
        let log = child.child().stderr.take().ok_or("no log")?;
        let mut lines = BufReader::new(log).lines();
        let address = loop {
            let line = lines.next().ok_or("the program ended")??;
            if let Some((_, rest)) = line.split_once("serving ws://") {
                break rest.split('/').next().unwrap_or_default().to_owned();
            }
        };
        std::net::TcpStream::connect(&address)?;
        starts.push(started.elapsed().as_secs_f64() * 1e3);
        // Once is enough for what changes slowly.
        if round == 0 {
            std::thread::sleep(Duration::from_secs(5));
            rest_mb = memory_mb(child.pid(), "VmRSS").ok_or("no memory figures")?;
        }
    }
    let start_ms = median(starts);
    Ok(vec![
        Row::goal("memory at rest", format!("{rest_mb:.0} MB"), "<= 60 MB", rest_mb <= 60.0),
        Row::goal("start to serving", format!("{start_ms:.0} ms"), "<= 300 ms", start_ms <= 300.0),
    ])
}
