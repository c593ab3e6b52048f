//! How fast the recorded hours can be decompressed and parsed at all, on one thread and with nothing behind it.

use std::io::BufRead;
use std::path::PathBuf;
use std::time::Instant;

use pulsehub::event::Event;
use pulsehub::source::replay::open;

use super::{Result, median};

const ROUNDS: usize = 5;

/// Events a second, the median of five rounds.
pub fn events_per_second(hours: &[PathBuf]) -> Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let (started, mut events) = (Instant::now(), 0_u64);
        for path in hours {
            let mut input = open(path)?;
            let mut line = Vec::new();
            while input.read_until(b'\n', &mut line)? > 0 {
                let event = Event::parse(std::str::from_utf8(&line)?)?;
                events += u64::from(event.key().is_some());
                line.clear();
            }
        }
        rates.push(events as f64 / started.elapsed().as_secs_f64());
    }
    Ok(median(rates))
}
