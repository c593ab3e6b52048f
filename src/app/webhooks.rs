//! Whether this process takes webhooks, and what it does with them.

use std::sync::Arc;

use super::backends::{Engines, data_directory};
use super::running::{Failure, Stage};
use super::{Plan, Role, Source, StartError, sources};
use crate::dedup::Dedup;
use crate::delivery::Deliveries;
use crate::source::webhook::{Settings, Webhooks};
use crate::source::{Intake, Origin};
use crate::storage::{DirectoryLock, LockError};

/// Whether it does: deliveries come to the public listener, and events leave by a source. Invented events meet no real
/// ones.
pub(super) fn taken_by(plan: &Plan) -> bool {
    let both = plan.roles.contains(&Role::Poll) && plan.roles.contains(&Role::Serve);
    plan.config.webhooks.is_on() && both && !matches!(plan.source, Source::Sample)
}

/// Opens the source, if it runs here, and goes on publishing what an earlier process has left on the disk: also where this
/// one takes no webhooks any more, for it was promised. `failure` is told when that fails for good.
pub(super) async fn open(
    plan: &Plan,
    stage: &mut Stage,
    engines: &mut Engines,
    failure: &Failure,
) -> Result<Option<Arc<dyn Deliveries>>, StartError> {
    let Plan { config, roles, clock, .. } = plan;
    let takes = taken_by(plan);
    if !takes {
        let one_of_both = roles.contains(&Role::Poll) != roles.contains(&Role::Serve);
        if config.webhooks.is_on() && one_of_both {
            tracing::warn!(
                "webhooks.secrets: this process takes no webhooks, which needs the roles poll and serve in one"
            );
        }
        if !was_left_some(plan, engines)? {
            return Ok(None);
        }
    }
    let storage = engines.data.open()?.clone();
    let window = i64::try_from(config.dedup.window.get().as_secs()).unwrap_or(i64::MAX);
    let settings = Settings {
        secrets: config.webhooks.secrets.iter().map(|secret| secret.expose().to_owned()).collect(),
        spool_bytes: u64::from(config.webhooks.spool) << 20,
        window,
    };
    // Deliveries are recognised by themselves. Of two of the same event, neither may rely on the other one's publish.
    let dedup = Arc::new(Dedup::off(&storage, clock.clone()));
    let (broker, alerts) = (engines.broker.clone(), engines.alerts.clone());
    let intake = Intake::new(Origin::Webhook, dedup, broker, alerts.clone(), stage.shutdown()).await?;
    let webhooks = Webhooks::open(&settings, &storage, intake, alerts, clock.clone())?;
    if webhooks.waiting() > 0 {
        let events = webhooks.waiting();
        tracing::info!(
            events,
            takes,
            "publishing webhook events that an earlier process has left on this disk"
        );
    }
    let (drain, shutdown, failed) = (webhooks.clone(), stage.shutdown(), failure.trigger());
    stage.spawn(async move { sources::ended(drain.drain(shutdown).await, &failed) });
    Ok(takes.then(|| Arc::new(webhooks) as Arc<dyn Deliveries>))
}

/// Whether an earlier process has left events where this one publishes.
fn was_left_some(plan: &Plan, engines: &mut Engines) -> Result<bool, StartError> {
    let publishes = plan.roles.contains(&Role::Poll) && !matches!(plan.source, Source::Sample);
    if !publishes || !DirectoryLock::was_taken(&data_directory(&plan.config, &plan.source)) {
        return Ok(false);
    }
    let is_needed = engines.data.is_open();
    let left = match engines.data.open() {
        Ok(storage) => Webhooks::left_in(storage)? > 0,
        // It is for the one who has the directory, then.
        Err(StartError::Directory(LockError::Held { .. })) => return Ok(false),
        Err(error) => return Err(error),
    };
    if !left && !is_needed {
        engines.data.close();
    }
    Ok(left)
}
