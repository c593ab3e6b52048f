//! Which path leads where, on the public listener.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};

use super::error::not_found;
use super::public::Public;
use super::security::secure;
use super::{health, page, rest, stream, ws};

/// The public listener's routes, at `/` and under the base path.
pub fn router(public: Arc<Public>) -> Router {
    let settings = &public.settings;
    let routes = Router::new()
        .route("/sampling", get(ws::sampling::connect))
        .route("/language/latest", get(ws::latest::connect))
        .route("/language/watch", get(ws::watch::connect))
        .route("/stream", get(stream::connect))
        .route("/asyncapi.yaml", get(stream::asyncapi))
        .route("/api/v1/status", get(rest::status::status))
        .route("/q/{query}", get(rest::q::query).options(rest::q::preflight))
        .route("/assets/{version}/{name}", get(page::asset))
        .route("/webhooks/github", post(rest::webhook::github))
        .route(&settings.health, get(health::health))
        .route(&settings.sync_event, post(rest::sync_event::sync_event));
    let prefixed = match settings.base_path.trim_end_matches('/') {
        "" => Router::new(),
        prefix => Router::new()
            .nest(prefix, routes.clone())
            .route(prefix, get(page::without_slash))
            .route(&format!("{prefix}/"), get(page::index)),
    };
    prefixed
        .merge(routes)
        .route("/", get(page::index))
        .fallback(not_found)
        .layer(from_fn_with_state(public.clone(), name_source))
        .layer(from_fn(secure))
        .with_state(public)
}

/// Says on every answer whether the data is live, replayed or a sample.
async fn name_source(State(public): State<Arc<Public>>, request: Request, next: Next) -> Response {
    let source = public.status.source().kind.label();
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-pulsehub-source", HeaderValue::from_static(source));
    response
}
