//! Which path leads where, on the public listener.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};

use super::error::{Problem, not_found};
use super::{health, rest, ws};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::history::HistoryError;
use crate::history::backfill::Backfill;
use crate::live::{Counters, Feed, Languages};
use crate::shutdown::Shutdown;
use crate::status::Status;

/// Settings of the public listener. Not to be printed: it holds a secret.
#[derive(Clone)]
pub struct Settings {
    /// Prefix under which every path exists a second time; empty for none.
    pub base_path: String,
    /// Path of the health check.
    pub health: String,
    /// Path that starts a backfill.
    pub sync_event: String,
    /// Bearer token for it; empty turns it off.
    pub sync_token: String,
    /// `apiVersion` in first messages.
    pub api_version: u32,
    /// Origins that may open WebSockets; empty allows any.
    pub origins: Vec<String>,
}

/// What handlers of the public listener share.
pub struct Public {
    /// Its settings.
    pub settings: Settings,
    /// The live feed.
    pub feed: Arc<Feed>,
    /// The counters' snapshot.
    pub counters: Arc<Counters>,
    /// The language window.
    pub languages: Arc<Languages>,
    /// For the backlog in the status.
    pub broker: Arc<dyn Broker>,
    /// What is going on.
    pub status: Arc<Status>,
    /// What `syncEvent` starts; absent without a history.
    pub backfill: Option<Arc<Backfill>>,
    /// For ages in the status.
    pub clock: Arc<dyn Clock>,
    /// How many clients are connected.
    pub clients: Arc<ws::Clients>,
    /// Ends the sockets.
    pub shutdown: Shutdown,
    /// When the process began to serve.
    pub started: Instant,
}

/// The public listener's routes, at `/` and under the base path.
pub fn router(public: Arc<Public>) -> Router {
    let settings = &public.settings;
    let routes = Router::new()
        .route("/sampling", get(ws::sampling::connect))
        .route("/language/latest", get(ws::latest::connect))
        .route("/language/watch", get(ws::watch::connect))
        .route("/api/v1/status", get(rest::status::status))
        .route(&settings.health, get(health::health))
        .route(&settings.sync_event, post(sync_event));
    let prefixed = match settings.base_path.trim_end_matches('/') {
        "" => Router::new(),
        prefix => Router::new().nest(prefix, routes.clone()),
    };
    prefixed
        .merge(routes)
        .fallback(not_found)
        .layer(from_fn_with_state(public.clone(), name_source))
        .with_state(public)
}

/// Says on every answer whether the data is live, replayed or a sample.
async fn name_source(State(public): State<Arc<Public>>, request: Request, next: Next) -> Response {
    let source = public.status.source().kind.label();
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-pulsehub-source", HeaderValue::from_static(source));
    response
}

async fn sync_event(State(public): State<Arc<Public>>, headers: HeaderMap) -> Result<StatusCode, Problem> {
    let token = &public.settings.sync_token;
    if token.is_empty() {
        return Err(not_found().await);
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if !equal_in_constant_time(given.as_bytes(), token.as_bytes()) {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "the bearer token is missing or wrong"));
    }
    let Some(backfill) = &public.backfill else {
        let error = HistoryError::NotConfigured.to_string();
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, error));
    };
    // One that is running is the one that was asked for.
    let _ = backfill.start();
    Ok(StatusCode::ACCEPTED)
}

/// Compares without telling by its duration how much of a guess was right.
fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
