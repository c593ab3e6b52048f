//! Hands the events of one poll to the intake, at once or evenly over the time until the next one.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::GitHubSettings;
use super::spread::slices;
use crate::shutdown::Shutdown;
use crate::source::{Candidate, Intake, IntakeError, Rejected};

/// Hands everything to the intake, evenly over `span`; the rest at once when shutdown or other settings come.
///
/// # Errors
/// As [`Intake::submit`]; what was not handed over by then is dropped.
pub async fn publish(
    intake: &Intake,
    candidates: Vec<Candidate>,
    mut rejected: Vec<Rejected>,
    span: Duration,
    mut shutdown: Shutdown,
    mut settings: watch::Receiver<GitHubSettings>,
) -> Result<(), IntakeError> {
    let (start, slices) = (Instant::now(), slices(candidates.len(), span));
    let (mut candidates, mut hurry) = (candidates.into_iter(), false);
    for (at, count) in slices {
        if !hurry && !at.is_zero() {
            tokio::select! {
                biased;
                () = shutdown.triggered() => hurry = true,
                Ok(()) = settings.changed() => hurry = true,
                () = sleep_until(start + at) => {}
            }
        }
        let count = if hurry { usize::MAX } else { count };
        let slice = candidates.by_ref().take(count).collect();
        intake.submit(slice, std::mem::take(&mut rejected)).await?;
        if candidates.len() == 0 {
            break;
        }
    }
    Ok(())
}
