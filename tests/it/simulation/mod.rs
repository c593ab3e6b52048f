//! The core under simulated faults: the real intake, dedup, workers and live feed, on engines that duplicate, reorder,
//! delay, refuse, lose answers and die, in paused time.
//!
//! A seed decides everything, so a failure is repeated with the command that is printed with it.
//! `PULSEHUB_SIMULATION_SEEDS` is how many seeds are run, `PULSEHUB_SIMULATION_SEED` a single one, with its journal.

mod counts;
mod events;
mod faults;
mod ledger;
mod oracle;
mod process;
mod reader;
mod recount;
mod run;
mod source;
mod store;
mod topic;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::run;

/// Seeds without further notice.
const SEEDS: u64 = 10_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// Why a seed fails, and the end of its journal.
fn failure(seed: u64) -> Option<String> {
    // A panic belongs to its seed as well.
    let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, false)));
    let Ok(outcome) = outcome else { return Some("it panics".to_owned()) };
    let violation = outcome.violation?;
    // Again, now that somebody reads its journal.
    let outcome = run(seed, true);
    let lines: Vec<_> = outcome.journal.lines().collect();
    Some(format!("{violation}\n{}", lines[lines.len().saturating_sub(40)..].join("\n")))
}

/// The lowest of `seeds` that fails.
fn first_failure(seeds: u64) -> Option<(u64, String)> {
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            if let Some(failure) = failure(seed) {
                failures.lock().unwrap().push((seed, failure));
                // Lower ones are with other threads, which finish them.
                next.store(seeds, Ordering::Relaxed);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    failures.into_inner().unwrap().into_iter().min()
}

#[test]
fn whatever_fails_every_event_is_counted_once_and_shown_once() {
    if let Some(seed) = number("PULSEHUB_SIMULATION_SEED") {
        let outcome = run(seed, true);
        println!("{}", outcome.journal);
        assert_eq!(outcome.violation, None, "seed {seed}");
        return;
    }
    let seeds = number("PULSEHUB_SIMULATION_SEEDS").unwrap_or(SEEDS);
    if let Some((seed, failure)) = first_failure(seeds) {
        panic!(
            "seed {seed}: {failure}\nrepeat it with:\n\
             PULSEHUB_SIMULATION_SEED={seed} cargo test --test it simulation::whatever -- --nocapture"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_journal() {
    for seed in 0..150 {
        let (first, second) = (run(seed, true), run(seed, true));
        if first.journal != second.journal {
            let differing = first.journal.lines().zip(second.journal.lines()).find(|(a, b)| a != b);
            panic!("seed {seed} gives two journals, first differing in {differing:?}");
        }
    }
}
