//! `GET /api/v1/status`: what is going on.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::coverage::Report;
use crate::live::FirstMessage;
use crate::server::public::Public;
use crate::status::SourceStatus;

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusBody {
    version: &'static str,
    uptime_seconds: u64,
    source: SourceStatus,
    /// Published events that are not counted yet; absent while the broker cannot tell.
    backlog: Option<u64>,
    /// How old the newest event was when it was applied; absent before the first.
    lag_seconds: Option<i64>,
    /// Seconds since the last batch was applied; absent before the first.
    idle_seconds: Option<f64>,
    /// The number of the last batch in the counters.
    seq: i64,
    /// Whether clients are served counters from memory: the state was emptied and is seeded again, has its counts
    /// replaced, or cannot be asked.
    stale: bool,
    /// Connected WebSocket clients.
    clients: u64,
    /// How much of GitHub's feed is seen; absent where this process does not poll it.
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage: Option<Report>,
}

/// Answers with the process's state. Never fails: what cannot be found out is left out.
pub async fn status(State(public): State<Arc<Public>>) -> Json<StatusBody> {
    let FirstMessage { seq, stale, .. } = public.counters.first_message();
    // A batch's number is the time of its application in milliseconds, unless several shared one.
    let idle = (public.clock.unix_millis() - seq).max(0) as f64 / 1000.0;
    Json(StatusBody {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: public.started.elapsed().as_secs(),
        source: public.status.source(),
        backlog: public.broker.backlog().await.ok(),
        lag_seconds: public.status.lag_seconds(),
        idle_seconds: (seq > 0).then_some(idle),
        seq,
        stale,
        clients: public.clients.count(),
        coverage: public.status.coverage().borrow().as_deref().cloned(),
    })
}
