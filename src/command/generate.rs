//! `generate`: synthetic events on standard output.

use std::io::{BufWriter, Write};

use super::Failure;
use crate::cli::{Exit, GenerateArgs, GenerateFormat};
use crate::source::generate::Generator;

/// Ids begin here: as long as today's.
const FIRST_ID: u64 = 10_000_000_000;
const EVENTS_PER_SECOND: u64 = 10;
const PAGE: usize = 100;

/// Prints the events.
pub fn generate(args: &GenerateArgs) -> Result<Exit, Failure> {
    let mut generator = Generator::new(args.seed, FIRST_ID, args.payload);
    let start = args.start.as_second();
    let events = (0..args.events).map(|index| {
        let second = i64::try_from(index / EVENTS_PER_SECOND).unwrap_or(i64::MAX);
        generator.event(start.saturating_add(second))
    });
    let out = BufWriter::new(std::io::stdout().lock());
    let written = match args.format {
        GenerateFormat::Archive => lines(events, out),
        GenerateFormat::Api => pages(events, out),
    };
    match written {
        // Whoever reads has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Success),
        written => Ok(written.map(|()| Exit::Success)?),
    }
}

fn lines(events: impl Iterator<Item = serde_json::Value>, mut out: impl Write) -> std::io::Result<()> {
    for event in events {
        writeln!(out, "{event}")?;
    }
    out.flush()
}

/// Pages newest first, as the Events API orders them.
fn pages(events: impl Iterator<Item = serde_json::Value>, mut out: impl Write) -> std::io::Result<()> {
    let mut events = events.peekable();
    while events.peek().is_some() {
        let mut page: Vec<_> = events.by_ref().take(PAGE).collect();
        page.reverse();
        writeln!(out, "{}", serde_json::Value::Array(page))?;
    }
    out.flush()
}
