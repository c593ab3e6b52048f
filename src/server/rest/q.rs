//! `GET /q/{query}`: what the real front end asks beside its sockets, by the names and with the columns that it expects.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::server::cross_origin;
use crate::server::error::{Problem, not_found};
use crate::server::public::Public;

/// Answers one of the three queries; any other name is 404.
pub async fn query(
    State(public): State<Arc<Public>>,
    Path(name): Path<String>,
    asked: HeaderMap,
) -> Response {
    let mut response = match public.activity.answers().await {
        Ok(answers) => match name.as_str() {
            "live-time-base-information-hourly" => Json(&answers.totals).into_response(),
            "live-time-top-repos-by-prs-daily" => Json(&answers.repos).into_response(),
            "live-time-top-developers-by-prs-daily" => Json(&answers.developers).into_response(),
            _ => not_found().await.into_response(),
        },
        Err(error) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().extend(cross_origin::headers(&asked, &public.access.borrow().origins));
    response
}

/// Answers a browser that asks first, as it does where a page adds headers of its own.
pub async fn preflight(State(public): State<Arc<Public>>, asked: HeaderMap) -> Response {
    let mut headers = cross_origin::headers(&asked, &public.access.borrow().origins);
    if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    (StatusCode::NO_CONTENT, headers).into_response()
}
