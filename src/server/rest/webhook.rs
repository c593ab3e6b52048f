//! `POST /webhooks/github`: reads a delivery as it came and hands it to whoever takes them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::delivery::{Answer, Deliveries, Delivery, MAX_BODY_BYTES};
use crate::server::error::{Problem, not_found};
use crate::server::public::Public;
use crate::telemetry::names;

/// Bytes of bodies in memory, of all deliveries together. Anybody can send any body: whether it is GitHub's is known
/// when it was read.
const MEMORY_BYTES: usize = 128 << 20;
/// How long a body may take to arrive. GitHub itself gives up after ten seconds.
const ARRIVAL: Duration = Duration::from_secs(30);
/// What is read of a body that is too long, so that its sender reads the answer instead of an error.
const DRAIN_BYTES: usize = 8 << 20;

/// Where deliveries go.
pub struct Webhooks {
    deliveries: Arc<dyn Deliveries>,
    memory: Semaphore,
}

impl Webhooks {
    /// To `deliveries`.
    pub fn new(deliveries: Arc<dyn Deliveries>) -> Self {
        Self { deliveries, memory: Semaphore::new(MEMORY_BYTES) }
    }
}

/// 202 where the delivery's event is safe, or there is none; 200 for a ping; 401 without a right signature; 503 where
/// GitHub should send it again.
pub async fn github(State(public): State<Arc<Public>>, headers: HeaderMap, body: Body) -> Response {
    let Some(webhooks) = &public.webhooks else { return not_found().await.into_response() };
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (body, _held) = match timeout(ARRIVAL, read(body, &webhooks.memory)).await {
        Ok(Ok(read)) => read,
        Ok(Err(problem)) => return problem.into_response(),
        Err(_) => {
            return Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")
                .into_response();
        }
    };
    let delivery = Delivery {
        id: header("x-github-delivery").unwrap_or_default(),
        event: header("x-github-event").unwrap_or_default(),
        signature: header("x-hub-signature-256"),
        body,
    };
    match webhooks.deliveries.take(delivery).await {
        answer @ (Answer::Published | Answer::Spooled | Answer::Known | Answer::Ignored(_)) => {
            (StatusCode::ACCEPTED, answer.label()).into_response()
        }
        Answer::Pong => (StatusCode::OK, "pong").into_response(),
        Answer::Unsigned => {
            Problem::new(StatusCode::UNAUTHORIZED, "X-Hub-Signature-256 is missing or wrong").into_response()
        }
        Answer::Malformed(reason) => Problem::new(StatusCode::BAD_REQUEST, reason).into_response(),
        Answer::Unavailable => {
            let detail = "the delivery cannot be kept now, or is being taken already";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }
    }
}

/// The whole body, with the memory that it holds.
async fn read(body: Body, memory: &Semaphore) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Problem> {
    let (mut chunks, mut whole, mut held) = (body.into_data_stream(), BytesMut::new(), None);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body broke off"))?;
        if whole.len() + chunk.len() > MAX_BODY_BYTES {
            drop((whole, held));
            metrics::counter!(names::WEBHOOKS, "outcome" => Answer::TOO_LARGE).increment(1);
            let mut left = DRAIN_BYTES.saturating_sub(chunk.len());
            while let Some(Ok(chunk)) = chunks.next().await {
                left = left.saturating_sub(chunk.len());
                if left == 0 {
                    break;
                }
            }
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 25 MiB"));
        }
        let bytes = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        let Ok(permit) = memory.try_acquire_many(bytes) else {
            let detail = "too many deliveries arrive at the same time";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        };
        match &mut held {
            Some(held) => SemaphorePermit::merge(held, permit),
            None => held = Some(permit),
        }
        whole.extend_from_slice(&chunk);
    }
    Ok((whole.freeze(), held))
}
