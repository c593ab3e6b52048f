//! Starts a backfill for whoever has the token, at the path of `server.syncEvent`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};

use crate::history::HistoryError;
use crate::server::error::{Problem, not_found};
use crate::server::public::Public;

/// 202 where one runs now.
pub async fn sync_event(
    State(public): State<Arc<Public>>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let token = public.access.borrow().sync_token.clone();
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
