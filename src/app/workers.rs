//! The consumers of this process, and the backfill beside them.

use std::sync::Arc;

use super::backends::Engines;
use super::coverage::Measure;
use super::running::{Failure, Stage};
use super::{Plan, Source, StartError};
use crate::alert::{Alerts, Subject};
use crate::config::Enrich;
use crate::enrich::WITHIN;
use crate::enrich::github::GitHubEnricher;
use crate::live::Feed;
use crate::shutdown::Shutdown;
use crate::state::State;
use crate::status::Status;
use crate::worker::{ASK_AGAIN, Broken, Enrichment, Live, LiveTopic, PAUSES, Worker};

/// Starts them; `failure` is told when one fails for good.
pub(super) async fn start(
    plan: &Plan,
    stage: &mut Stage,
    engines: &Engines,
    feed: Arc<Feed>,
    measure: &Measure,
    status: &Arc<Status>,
    failure: &Failure,
) -> Result<(), StartError> {
    let config = &plan.config;
    let seeder = engines.backfill.as_ref().map(|backfill| backfill.seeder());
    if let Some(seeder) = seeder.clone() {
        let shutdown = stage.shutdown();
        stage.spawn(async move { seeder.this_year(shutdown).await });
    }
    stage.spawn(tell_when_emptied(
        engines.state.clone(),
        engines.alerts.clone(),
        seeder.is_some(),
        stage.shutdown(),
    ));
    let worker = Worker {
        broker: engines.broker.clone(),
        enrichment: enrichment(plan, stage, engines, measure)?,
        state: engines.state.clone(),
        history: engines.history.clone().filter(|_| config.writes_history()),
        seeder,
        live: match &engines.live {
            Some(topic) => Live::Topic(Arc::new(LiveTopic::new(topic.producer().await?))),
            None => Live::Memory(feed),
        },
        status: status.clone(),
        alerts: engines.alerts.clone(),
        refusals: Arc::default(),
        turn: Arc::default(),
        pauses: PAUSES,
        clock: plan.clock.clone(),
        live_max_age: engines.live_keys.max_age(),
        twins: config.webhooks.is_on(),
    };
    for _ in 0..config.pulsar.consumer.concurrency {
        let worker = tokio::spawn(worker.clone().run(stage.shutdown()));
        let failed = failure.trigger();
        stage.spawn(async move {
            let error: Broken = match worker.await {
                Ok(Ok(())) => return,
                Ok(Err(broken)) => broken,
                Err(panicked) => panicked.into(),
            };
            tracing::error!(error = %crate::error_chain(error.as_ref()), "a worker failed for good");
            failed.trigger();
        });
    }
    if let Some(backfill) = engines.backfill.clone().filter(|_| !config.disable.interval) {
        stage.spawn(backfill.run(stage.shutdown()));
    }
    Ok(())
}

/// Who completes pull requests, unless that is not wanted. The sample's are nobody's.
fn enrichment(
    plan: &Plan,
    stage: &mut Stage,
    engines: &Engines,
    measure: &Measure,
) -> Result<Option<Enrichment>, StartError> {
    let github = &plan.config.github;
    if github.enrich == Enrich::Never || matches!(plan.source, Source::Sample) {
        return Ok(None);
    }
    let (url, settings) = (github.graphql_url(), engines.live_keys.github());
    let (enricher, collector) = GitHubEnricher::new(url.as_str(), settings, plan.clock.clone())?;
    stage.spawn(collector.run(stage.shutdown()));
    Ok(Some(Enrichment {
        enricher: Arc::new(enricher),
        within: WITHIN,
        pauses: ASK_AGAIN,
        observer: measure.enrichment_observer(),
    }))
}

/// Tells people that the counts are gone. The state itself has said so in the log.
async fn tell_when_emptied(state: Arc<dyn State>, alerts: Arc<Alerts>, seeded: bool, mut shutdown: Shutdown) {
    let mut emptied = state.emptied();
    let text = match seeded {
        true => {
            "the store was emptied; its counts are taken over from history before anything else is counted"
        }
        false => "the store was emptied, and there is no history: its counts are lost",
    };
    loop {
        tokio::select! {
            changed = emptied.changed() => match changed {
                Ok(()) => alerts.tell(Subject::Emptied, text),
                Err(_) => return,
            },
            () = shutdown.triggered() => return,
        }
    }
}
