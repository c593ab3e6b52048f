//! What an event costs however many clients want it: it is parsed and written once for all that want the same.

use std::collections::HashSet;
use std::time::Instant;

use pulsehub::domain::github::sampling::{Fields, Form, Sample};
use pulsehub::event::{Event, EventKey};
use pulsehub::live::{Arrival, Cursor, Feed};
use pulsehub::source::generate::{Generator, PayloadForm};

use crate::table::Row;
use crate::{Bench, Result, median};

const CLIENTS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const EVENTS: i64 = 200;
const PATHS: [&str; 12] = [
    "event.id",
    "event.payload.action",
    "event.payload.pull_request.number",
    "event.repo.name",
    "event.actor.login",
    "event.payload.pull_request.merged",
    "event.payload.pull_request.base.repo.language",
    "event.payload.pull_request.additions",
    "event.payload.pull_request.deletions",
    "payload.devDay",
    "payload.devYear",
    "payload.repoYear",
];

/// One row for each number of clients, all in this process and without sockets.
pub fn rows(_: &Bench) -> Result<Vec<Row>> {
    let runs = CLIENTS.iter().map(|&clients| measure(clients)).collect::<Result<Vec<_>>>()?;
    let alone = runs.first().map_or(f64::NAN, |run| run.written_us);
    let row = |(clients, run): (usize, &Run)| {
        Row::goal(
            format!("an event for {clients} clients with the same twelve fields"),
            format!(
                "written {} times, {:.1} us for the first, {:.3} us for each other",
                run.written, run.written_us, run.shared_us
            ),
            "once, at the same cost",
            run.written <= 1.0 && run.written_us < 1.5 * alone,
        )
    };
    Ok(CLIENTS.into_iter().zip(&runs).map(row).collect())
}

struct Run {
    /// Different frames of an event, on average.
    written: f64,
    /// Microseconds until the first client has its frame, the median.
    written_us: f64,
    /// Microseconds until each other client has it, the median of the mean.
    shared_us: f64,
}

fn measure(clients: usize) -> Result<Run> {
    let feed = Feed::default();
    // Each client asks by itself, as its session does.
    let list = || Form::List(Fields::new(PATHS.map(str::to_owned).to_vec()));
    let forms: Vec<_> = (0..clients).map(|_| feed.share(list())).collect();
    let mut positions = vec![0; clients];
    let mut generator = Generator::new(1, 50_000_000_000, PayloadForm::Full);
    let (mut frames, mut first, mut others) = (0, Vec::new(), Vec::new());
    for seq in 1..=EVENTS {
        let text = generator.event(1_800_000_000).to_string();
        let event = Event::parse(&text)?;
        let key: EventKey = event.key().ok_or("no event")?;
        let sample = Sample::of(&event, None, false, text.clone());
        feed.publish(vec![Arrival { cursor: Cursor { seq, index: 0 }, key, sample }]);
        let mut different = HashSet::new();
        let mut spent = Vec::with_capacity(clients);
        let mut kept = Vec::with_capacity(clients);
        for (position, form) in positions.iter_mut().zip(&forms) {
            let began = Instant::now();
            let read = feed.read(position, 256);
            let frame = read.events.first().ok_or("no event")?.frame(form);
            spent.push(began.elapsed().as_secs_f64() * 1e6);
            kept.push(frame);
        }
        different.extend(kept.iter().map(|frame| frame.wire().as_ptr() as usize));
        frames += different.len();
        first.extend(spent.first());
        others.push(spent.iter().skip(1).sum::<f64>() / (clients - 1).max(1) as f64);
    }
    let written = frames as f64 / EVENTS as f64;
    Ok(Run { written, written_us: median(first), shared_us: median(others) })
}
