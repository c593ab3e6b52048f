//! The admin listener: metrics and operations, for this machine only by default.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State as Shared};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;

use super::error::{Problem, not_found};
use super::security::secure;
use super::{dead_letter, health};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::event::year_of;
use crate::history::HistoryError;
use crate::history::backfill::{Backfill, BackfillError};
use crate::history::difference::Difference;
use crate::shutdown::Shutdown;
use crate::state::State;
use crate::state::report::{Report, report, window};
use crate::telemetry::names;

/// How often gauges that must be asked for are refreshed.
const GAUGES: Duration = Duration::from_secs(1);

/// What handlers of the admin listener share.
pub struct Admin {
    /// Renders the metrics; absent where another instance of this process owns them.
    pub metrics: Option<PrometheusHandle>,
    /// For `stats`.
    pub state: Arc<dyn State>,
    /// For `dead-letter`.
    pub broker: Arc<dyn Broker>,
    /// For `stats`: the year without one, and the end of the language window.
    pub clock: Arc<dyn Clock>,
    /// Seconds of the language window.
    pub latest_during: u32,
    /// For `backfill` and `verify`; absent without a history.
    pub backfill: Option<Arc<Backfill>>,
}

/// The admin listener's routes.
pub fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health::health))
        .route("/api/v1/stats", get(stats))
        .route("/api/v1/backfill", post(backfill))
        .route("/api/v1/verify", get(verify))
        .route("/api/v1/dead-letters", get(dead_letter::list))
        .route("/api/v1/dead-letters/replay", post(dead_letter::replay))
        .fallback(not_found)
        .layer(from_fn(secure))
        .with_state(admin)
}

async fn metrics(Shared(admin): Shared<Arc<Admin>>) -> impl IntoResponse {
    let text = admin.metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

#[derive(Debug, Deserialize)]
struct YearQuery {
    year: Option<i16>,
}

/// In a body of JSON, which no page can send from another origin without asking first.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BackfillBody {
    year: Option<i16>,
    /// Whether the state's own counts are replaced too.
    overwrite: bool,
}

async fn stats(
    Shared(admin): Shared<Arc<Admin>>,
    Query(query): Query<YearQuery>,
) -> Result<Json<Report>, Problem> {
    let now = admin.clock.unix_seconds();
    let year = query.year.unwrap_or_else(|| year_of(now));
    let report = report(admin.state.as_ref(), year, window(now, admin.latest_during)).await;
    report
        .map(Json)
        .map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, crate::error_chain(&error)))
}

async fn backfill(
    Shared(admin): Shared<Arc<Admin>>,
    Json(body): Json<BackfillBody>,
) -> Result<Json<Vec<Difference>>, Problem> {
    let backfill = admin.backfill()?;
    let year = body.year.unwrap_or_else(|| backfill.this_year());
    // A client that goes away does not stop it half-way.
    let task = tokio::spawn(async move {
        if body.overwrite { backfill.overwrite(year).await } else { backfill.now(year).await }
    });
    match task.await {
        Ok(Ok(changed)) => Ok(Json(changed)),
        Ok(Err(error)) => Err(problem(&error)),
        Err(error) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

async fn verify(
    Shared(admin): Shared<Arc<Admin>>,
    Query(query): Query<YearQuery>,
) -> Result<Json<Vec<Difference>>, Problem> {
    let backfill = admin.backfill()?;
    let year = query.year.unwrap_or_else(|| backfill.this_year());
    backfill.verify(year).await.map(Json).map_err(|error| problem(&error))
}

impl Admin {
    fn backfill(&self) -> Result<Arc<Backfill>, Problem> {
        let missing = || HistoryError::NotConfigured.to_string();
        self.backfill.clone().ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, missing()))
    }
}

fn problem(error: &BackfillError) -> Problem {
    let status = match error {
        BackfillError::Running | BackfillError::Elsewhere => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, crate::error_chain(error))
}

/// Keeps the gauges that no event updates.
pub async fn refresh_gauges(
    broker: Arc<dyn Broker>,
    handle: Option<PrometheusHandle>,
    mut shutdown: Shutdown,
) {
    while shutdown.sleep(GAUGES).await {
        if let Ok(backlog) = broker.backlog().await {
            metrics::gauge!(names::BACKLOG).set(backlog as f64);
        }
        // Histograms hold their samples until someone drains them.
        handle.iter().for_each(PrometheusHandle::run_upkeep);
    }
}
