//! The sample: a steady stream of generated events, for when GitHub cannot be reached.

use std::sync::Arc;
use std::time::Duration;

use super::generate::{Generator, PayloadForm};
use super::scan::check;
use super::{Candidate, Intake, IntakeError};
use crate::clock::Clock;
use crate::shutdown::Shutdown;

const TICK: Duration = Duration::from_millis(200);
const EVENTS_PER_TICK: usize = 5;

/// Submits generated events, 25 a second, until shutdown.
///
/// # Errors
/// When events can no longer be handed over.
pub async fn run(intake: Intake, clock: Arc<dyn Clock>, mut shutdown: Shutdown) -> Result<(), IntakeError> {
    let start = clock.unix_millis().unsigned_abs();
    // Ids follow the clock, so that another run does not repeat them.
    let mut generator = Generator::new(start, start * 1_000, PayloadForm::Full);
    while shutdown.sleep(TICK).await {
        let now = clock.unix_seconds();
        let events = (0..EVENTS_PER_TICK).filter_map(|_| {
            let raw = generator.event(now).to_string();
            check(&raw).ok().map(|key| Candidate { key, raw: raw.into() })
        });
        intake.submit(events.collect(), Vec::new()).await?;
    }
    Ok(())
}
