//! Where events come from in this process.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::backends::Engines;
use super::coverage::Measure;
use super::running::{Failure, Stage};
use super::{Plan, Role, Source, StartError, archive};
use crate::alert::Subject;
use crate::config::{Config, Enrich, Github, Identity};
use crate::dedup::Dedup;
use crate::shutdown::Trigger;
use crate::source::github::{GitHubSettings, IdentityOptions, Poller, Setup};
use crate::source::replay::{Replay, ReplayError, Summary};
use crate::source::{Intake, IntakeError, Origin, sample};
use crate::status::{SourceStatus, Status};

/// A replay's end.
pub(super) type Replaying = JoinHandle<Result<Summary, ReplayError>>;

/// Whether a source runs in this process. `disable.producer` turns off GitHub, not a replay that was asked for.
pub(super) fn run_in(plan: &Plan) -> bool {
    let disabled = plan.config.disable.producer && matches!(plan.source, Source::GitHub);
    plan.roles.contains(&Role::Poll) && !disabled && !matches!(plan.source, Source::None)
}

/// Starts the source, if one runs here; a replay's end can be waited for. `failure` is told when another fails for good.
pub(super) async fn start(
    plan: &Plan,
    stage: &mut Stage,
    engines: &mut Engines,
    measure: &Measure,
    status: &Arc<Status>,
    failure: &Failure,
) -> Result<Option<Replaying>, StartError> {
    if !run_in(plan) {
        status.set_source(SourceStatus {
            state: "no source runs in this process".to_owned(),
            ..SourceStatus::default()
        });
        return Ok(None);
    }
    let Plan { config, source, clock, .. } = plan;
    status.set_source(SourceStatus {
        kind: source.kind(),
        state: "starting".to_owned(),
        notes: notes(source, &engines.live_keys.github().borrow(), config),
    });
    let storage = engines.data.open()?.clone();
    let shutdown = stage.shutdown();
    let recorder = archive::start(plan, stage, engines, status)?;
    let intake = async |origin| {
        let window = i64::try_from(config.dedup.window.get().as_secs()).unwrap_or(i64::MAX);
        let dedup = Arc::new(Dedup::open(&storage, clock.clone(), window)?);
        let (broker, alerts) = (engines.broker.clone(), engines.alerts.clone());
        let intake = Intake::new(origin, dedup, broker, alerts, shutdown.clone()).await?;
        Ok::<_, StartError>(intake.recorded(recorder.clone()))
    };
    match source {
        Source::GitHub => {
            let setup = Setup { observer: measure.observer(), ..setup(&config.github)? };
            let settings = engines.live_keys.github();
            let current = settings.clone();
            let poller = Poller::new(setup, settings, intake(Origin::GitHub).await?, clock.clone())?;
            let (mut changes, alerts, status) = (poller.status(), engines.alerts.clone(), status.clone());
            let (failed, enrich) = (failure.trigger(), config.github.enrich);
            stage.spawn(async move { ended(poller.run(shutdown).await, &failed) });
            stage.spawn(async move {
                let mut aside = Vec::new();
                // Ends with the poller.
                while changes.changed().await.is_ok() {
                    let now = changes.borrow_and_update().clone();
                    // The poller has said it; here it only counts.
                    if let Some(trouble) = &now.trouble {
                        alerts.count(Subject::GitHub, trouble);
                    }
                    // An identity does not come back by itself; the poller's alert is about all of them.
                    for identity in now.aside.iter().filter(|identity| !aside.contains(*identity)) {
                        alerts.tell(Subject::Identity, identity);
                    }
                    aside.clone_from(&now.aside);
                    status.set_source_state(now.to_string());
                    status.set_source_notes(github_notes(now.authenticated, &current.borrow(), enrich));
                }
            });
            Ok(None)
        }
        Source::Sample => {
            let (intake, clock, failed) = (intake(Origin::Sample).await?, clock.clone(), failure.trigger());
            status.set_source_state("streaming");
            stage.spawn(async move { ended(sample::run(intake, clock, shutdown).await, &failed) });
            Ok(None)
        }
        Source::Replay(options) => {
            let intake = intake(Origin::Archive).await?;
            let replay = Replay::new(options.clone(), intake, &storage, clock.clone(), shutdown)?;
            let status = status.clone();
            Ok(Some(tokio::spawn(async move {
                status.set_source_state("replaying");
                let result = replay.run().await;
                status.set_source_state("replayed");
                result
            })))
        }
        Source::None => Ok(None),
    }
}

/// Tells `failed` where a source ended and was not told to: nothing would be published any more.
pub(super) fn ended(result: Result<(), IntakeError>, failed: &Trigger) {
    match result {
        Ok(()) | Err(IntakeError::Stopped) => {}
        Err(error) => {
            tracing::error!(error = %crate::error_chain(&error), "the source failed for good");
            failed.trigger();
        }
    }
}

fn setup(github: &Github) -> Result<Setup, StartError> {
    let identity = |Identity { tokens, app }: &Identity| match app {
        Some(app) => {
            let key = std::fs::read(&app.key_path);
            let key = key.map_err(|source| StartError::Key { path: app.key_path.clone(), source })?;
            Ok(IdentityOptions::App { id: app.id.to_string(), installation: app.installation, key })
        }
        None => Ok(IdentityOptions::Tokens(tokens.iter().map(|token| token.expose().to_owned()).collect())),
    };
    let identities = github.identities.iter().map(identity).collect::<Result<_, StartError>>()?;
    Ok(Setup { identities, focus: github.focus.clone(), ..Setup::new(github.base_url.as_str()) })
}

/// What people should know about a source.
fn notes(source: &Source, settings: &GitHubSettings, config: &Config) -> Vec<String> {
    match source {
        Source::Sample => {
            vec!["Generated events of invented people: GitHub is not being watched.".to_owned()]
        }
        Source::GitHub => github_notes(!config.github.is_anonymous(), settings, config.github.enrich),
        Source::Replay(_) | Source::None => Vec::new(),
    }
}

fn github_notes(authenticated: bool, settings: &GitHubSettings, enrich: Enrich) -> Vec<String> {
    let anonymous = "Without a token GitHub allows 60 requests an hour: most events are missed.";
    // Identities only poll.
    let has_token = settings.tokens.iter().any(|token| !token.trim().is_empty());
    let trimmed = match (has_token, enrich) {
        (true, Enrich::Auto) => None,
        (false, Enrich::Auto) => Some(
            "The feed carries no sizes and no languages of pull requests, and GitHub is asked for them only with a \
             token in github.tokens: the language endpoints stay empty.",
        ),
        (_, Enrich::Never) => Some(
            "The feed carries no sizes and no languages of pull requests, and github.enrich is never: the language \
             endpoints stay empty.",
        ),
    };
    [(!authenticated).then_some(anonymous), trimmed].into_iter().flatten().map(str::to_owned).collect()
}
