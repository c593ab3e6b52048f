//! Dead letters over the admin listener, for commands that find the data directory in use.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use serde::Deserialize;

use super::admin::Admin;
use super::error::Problem;
use crate::broker::BrokerError;
use crate::broker::dead_letter::{self, Listed, Replayed};

/// Letters in one answer, each with the beginning of its body.
const MAX_LISTED: usize = 10_000;

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    limit: Option<usize>,
}

pub(super) async fn list(
    Shared(admin): Shared<Arc<Admin>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<Listed>>, Problem> {
    let limit = query.limit.unwrap_or(MAX_LISTED).min(MAX_LISTED);
    dead_letter::list(admin.broker.as_ref(), limit).await.map(Json).map_err(|error| problem(&error))
}

#[derive(Debug, Deserialize)]
pub(super) struct ReplayRequest {
    #[serde(default)]
    reason: String,
    limit: Option<usize>,
}

pub(super) async fn replay(
    Shared(admin): Shared<Arc<Admin>>,
    Json(request): Json<ReplayRequest>,
) -> Result<Json<Replayed>, Problem> {
    let broker = admin.broker.clone();
    let limit = request.limit.unwrap_or(usize::MAX);
    // A client that goes away does not stop it between publishing and removing.
    let task =
        tokio::spawn(async move { dead_letter::replay(broker.as_ref(), &request.reason, limit).await });
    match task.await {
        Ok(replayed) => replayed.map(Json).map_err(|error| problem(&error)),
        Err(error) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

fn problem(error: &BrokerError) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, crate::error_chain(error))
}
