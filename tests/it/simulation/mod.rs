//! The core under simulated faults: the real intake, dedup, workers and live feed, on engines that duplicate, reorder,
//! delay, refuse, lose answers and die, in paused time.
//!
//! A seed decides everything, so a failure is repeated with the command that is printed with it.
//! `PULSEHUB_SIMULATION_SEEDS` is how many seeds are run, `PULSEHUB_SIMULATION_SEED` a single one, with its journal.

mod claims;
mod counts;
mod enricher;
mod events;
mod faults;
mod ledger;
mod oracle;
mod planted;
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

use faults::Hits;
use planted::Bug;
use run::run;

/// Seeds without further notice.
const SEEDS: u64 = 10_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// What befell a seed; where it fails, why, and the end of its journal.
fn check(seed: u64, bug: Option<Bug>) -> Result<Hits, String> {
    // A panic belongs to its seed as well.
    let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, bug, false)));
    let outcome = outcome.map_err(|_| "it panics".to_owned())?;
    let Some(violation) = outcome.violation else { return Ok(outcome.hits) };
    // Again, now that somebody reads its journal.
    let outcome = run(seed, bug, true);
    let lines: Vec<_> = outcome.journal.lines().collect();
    Err(format!("{violation}\n{}", lines[lines.len().saturating_sub(40)..].join("\n")))
}

/// What befell all of `seeds`, or the lowest that fails.
fn check_all(seeds: u64, bug: Option<Bug>) -> Result<Hits, (u64, String)> {
    let next = AtomicU64::new(0);
    let (all, failures) = (Mutex::new(Hits::default()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            match check(seed, bug) {
                Ok(hits) => all.lock().unwrap().merge(hits),
                Err(failure) => {
                    failures.lock().unwrap().push((seed, failure));
                    // Lower ones are with other threads, which finish them.
                    next.store(seeds, Ordering::Relaxed);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let lowest = failures.into_inner().unwrap().into_iter().min();
    lowest.map_or_else(|| Ok(all.into_inner().unwrap()), Err)
}

#[test]
fn whatever_fails_every_event_is_counted_once_and_shown_once() {
    if let Some(seed) = number("PULSEHUB_SIMULATION_SEED") {
        let outcome = run(seed, None, true);
        println!("{}", outcome.journal);
        assert_eq!(outcome.violation, None, "seed {seed}");
        return;
    }
    let seeds = number("PULSEHUB_SIMULATION_SEEDS").unwrap_or(SEEDS);
    match check_all(seeds, None) {
        Ok(hits) => {
            println!("{seeds} seeds: {hits:?}");
            // Fewer may leave one out.
            let never = if seeds < SEEDS { Vec::new() } else { hits.missing() };
            assert!(never.is_empty() && (seeds < SEEDS || hits.kills > 0), "it never happens: {never:?}");
        }
        Err((seed, failure)) => panic!(
            "seed {seed}: {failure}\nrepeat it with:\n\
             PULSEHUB_SIMULATION_SEED={seed} cargo test --test it simulation::whatever -- --nocapture"
        ),
    }
}

#[test]
fn the_same_seed_gives_the_same_journal() {
    for seed in 0..150 {
        let (first, second) = (run(seed, None, true), run(seed, None, true));
        if first.journal != second.journal {
            let differing = first.journal.lines().zip(second.journal.lines()).find(|(a, b)| a != b);
            panic!("seed {seed} gives two journals, first differing in {differing:?}");
        }
    }
}
