//! The simulated GitHub: shows an event in several overlapping pages, then no more.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future;
use pulsehub::event::Rejection;
use pulsehub::shutdown::Shutdown;
use pulsehub::source::{Candidate, Intake, IntakeError, Rejected};

use super::events::{Events, Known};
use super::faults::Fault;
use super::oracle::Oracle;
use super::topic::Topic;
use super::world::World;

/// How long an event is shown, and longer until the pipeline has it: what vanishes during an outage is not the
/// pipeline's loss.
const SHOWN: Duration = Duration::from_secs(60);

/// GitHub's feed.
pub struct Source {
    pub world: Arc<World>,
    pub events: Arc<Events>,
    pub oracle: Arc<Oracle>,
    pub topic: Topic,
}

impl Source {
    /// Polls until shutdown.
    pub async fn run(&self, intake: Intake, mut shutdown: Shutdown) {
        loop {
            self.world.step().await;
            let pages = [self.page(), self.page()];
            let submissions = pages.map(|(candidates, rejected)| intake.submit(candidates, rejected));
            for submitted in future::join_all(submissions).await {
                match submitted {
                    Ok(submitted) => self.world.note(format_args!("source: {submitted:?}")),
                    Err(IntakeError::Stopped) => return,
                    Err(error) => self.world.violate(format!("the intake gave up: {error}")),
                }
            }
            let pause = Duration::from_millis(self.world.draw(|random| random.u64(500..15_000)));
            if !shutdown.sleep(pause).await {
                return;
            }
        }
    }

    /// Whether everything was shown, and reached the broker or the dead letters.
    pub fn is_exhausted(&self) -> bool {
        self.offered().is_empty() && self.events.facts.iter().all(|fact| fact.appears < self.world.elapsed())
    }

    /// What is shown and has not arrived.
    pub fn missing(&self) -> Vec<Known> {
        self.offered().into_iter().filter(|known| !self.has_arrived(*known)).collect()
    }

    fn has_arrived(&self, known: Known) -> bool {
        self.topic.has_taken(known) || self.oracle.is_buried(known)
    }

    /// What is shown now.
    fn offered(&self) -> Vec<Known> {
        let now = self.world.elapsed();
        let facts = self.events.facts.iter().enumerate().filter(|(_, fact)| fact.appears <= now);
        let events = facts.map(|(index, fact)| (Known::Event(index), fact.appears + SHOWN));
        let lines = (0..self.events.lines.len()).map(|index| (Known::Line(index), Duration::ZERO));
        let shown = events.chain(lines).filter(|(known, until)| now < *until || !self.has_arrived(*known));
        shown.map(|(known, _)| known).collect()
    }

    fn page(&self) -> (Vec<Candidate>, Vec<Rejected>) {
        let mut offered = self.offered();
        if self.world.happens(Fault::PageChanges) {
            self.world.draw(|random: &mut Rng| {
                offered.retain(|_| random.bool());
                random.shuffle(&mut offered);
            });
        }
        let (mut candidates, mut rejected) = (Vec::new(), Vec::new());
        for known in offered {
            match known {
                Known::Event(index) => {
                    let raw = self.events.raw[index].clone();
                    candidates.push(Candidate { key: self.events.facts[index].key, raw });
                }
                Known::Line(index) => rejected.push(Rejected {
                    reason: Rejection::Malformed,
                    place: format!("line {index}"),
                    body: self.events.lines[index].clone(),
                }),
                Known::Garbage(_) => {}
            }
        }
        (candidates, rejected)
    }
}
