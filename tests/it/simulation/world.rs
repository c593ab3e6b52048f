//! What all parts of a run share: the seed's randomness, the time, the journal, and the moment of the crash.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use pulsehub::clock::Clock;
use tokio::sync::watch;
use tokio::time::Instant;

use super::faults::{Fault, Hits, Rates};

/// When a run begins: 2026-12-31T23:59:00Z, so that it crosses into another day and year.
pub const BEGIN: i64 = 1_798_761_540;

/// The surroundings of a run. Everything random and everything that is noted goes through it, in one thread and in
/// paused time: the same seed gives the same journal.
pub struct World {
    begun: Instant,
    crashed: watch::Sender<bool>,
    inner: Mutex<Inner>,
}

struct Inner {
    random: Rng,
    rates: Rates,
    steps: u64,
    crash_at: Option<u64>,
    clock_offset_millis: i64,
    /// Absent where nobody will read it: writing it takes longer than what it tells of.
    journal: Option<String>,
    violation: Option<String>,
    hits: Hits,
}

impl World {
    /// A world without faults, at its beginning.
    pub fn new(random: Rng, keeps_journal: bool) -> Self {
        let inner = Inner {
            random,
            rates: Rates::default(),
            steps: 0,
            crash_at: None,
            clock_offset_millis: 0,
            journal: keeps_journal.then(String::new),
            violation: None,
            hits: Hits::default(),
        };
        Self { begun: Instant::now(), crashed: watch::Sender::new(false), inner: Mutex::new(inner) }
    }

    /// From now on faults happen at these rates, and the process is killed at its `crash_at`-th step.
    pub fn begin_life(&self, rates: Rates, crash_at: Option<u64>) {
        let mut inner = self.lock();
        (inner.rates, inner.steps, inner.crash_at) = (rates, 0, crash_at);
        self.crashed.send_replace(false);
    }

    /// Returns when the process is killed.
    pub async fn crashed(&self) {
        // The sender lives as long as the world.
        let _ = self.crashed.subscribe().wait_for(|crashed| *crashed).await;
    }

    /// A point between two effects: others may go on, time may pass, and the process may die here.
    pub async fn step(&self) {
        let pause = {
            let mut inner = self.lock();
            inner.steps += 1;
            if inner.crash_at.is_some_and(|at| inner.steps >= at) {
                inner.hits.kills += u64::from(!self.crashed.send_replace(true));
                None
            } else if inner.random.f64() < inner.rates.of(Fault::Slow) {
                inner.hits.add(Fault::Slow);
                Some(Duration::from_millis(inner.random.u64(1_000..20_000)))
            } else {
                let pauses = [0, 0, 0, 1, 1, 5, 50, 300];
                let longest = inner.random.choice(pauses).unwrap_or_default();
                Some(Duration::from_millis(inner.random.u64(0..=longest)))
            }
        };
        match pause {
            None => std::future::pending().await,
            Some(Duration::ZERO) => tokio::task::yield_now().await,
            Some(pause) => tokio::time::sleep(pause).await,
        }
    }

    /// Whether `fault` happens now; it is noted if so.
    pub fn happens(&self, fault: Fault) -> bool {
        let happens = {
            let mut inner = self.lock();
            let rate = inner.rates.of(fault);
            let happens = rate > 0.0 && inner.random.f64() < rate;
            if happens {
                inner.hits.add(fault);
            }
            happens
        };
        if happens {
            self.note(format_args!("fault: {fault:?}"));
        }
        happens
    }

    /// Draws from the seed's randomness.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.lock().random)
    }

    /// Since the run began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Writes a line of the journal.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        if let Some(journal) = &mut self.lock().journal {
            // Writing to a string cannot fail.
            let _ = writeln!(journal, "{:>12.6} {what}", self.elapsed().as_secs_f64());
        }
    }

    /// Says that something happened that must not; the first one counts.
    pub fn violate(&self, what: String) {
        self.note(format_args!("VIOLATION: {what}"));
        self.lock().violation.get_or_insert(what);
    }

    /// What happened that must not.
    pub fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    /// What befell the run so far; nothing when asked again.
    pub fn take_hits(&self) -> Hits {
        std::mem::take(&mut self.lock().hits)
    }

    /// All that was noted; empty without a journal.
    pub fn journal(&self) -> String {
        self.lock().journal.clone().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl Clock for World {
    fn unix_millis(&self) -> i64 {
        if self.happens(Fault::ClockSteps) {
            let mut inner = self.lock();
            inner.clock_offset_millis += inner.random.i64(-3_000..3_000);
        }
        let elapsed = i64::try_from(self.elapsed().as_millis()).unwrap();
        BEGIN * 1000 + elapsed + self.lock().clock_offset_millis
    }
}
