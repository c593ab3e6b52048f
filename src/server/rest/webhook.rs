//! `POST /webhooks/github`: reads a delivery as it came and hands it to whoever takes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::webhook_body::{Held, Memory, discard, read};
use crate::delivery::{Answer, Deliveries, Delivery, Unread};
use crate::server::error::{Problem, not_found};
use crate::server::public::Public;
use crate::telemetry::names;

/// Bodies that are not read are said once in so long, each kind for itself.
const QUIET: Duration = Duration::from_secs(60);

/// Where deliveries go.
pub struct Webhooks {
    deliveries: Arc<dyn Deliveries>,
    memory: Memory,
    /// When each kind was said, and how many came since.
    said: Mutex<HashMap<Unread, (Instant, u64)>>,
}

impl Webhooks {
    /// To `deliveries`.
    pub fn new(deliveries: Arc<dyn Deliveries>) -> Self {
        Self { deliveries, memory: Memory::new(), said: Mutex::default() }
    }

    /// The answer to a body that was not read, which is counted and, now and then, said.
    async fn refuse(&self, chunks: &mut BodyDataStream, why: Unread) -> Problem {
        metrics::counter!(names::WEBHOOKS, "outcome" => why.label()).increment(1);
        if let Some(unsaid) = self.may_say(why) {
            tracing::warn!(outcome = why.label(), unsaid, "the body of a webhook delivery was not read");
        }
        match why {
            Unread::TooLarge => {
                discard(chunks).await;
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 25 MiB")
            }
            Unread::NoRoom => {
                discard(chunks).await;
                let detail = "too many deliveries arrive at the same time";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            }
            Unread::Late => Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
            Unread::Broken => Problem::new(StatusCode::BAD_REQUEST, "the body broke off"),
        }
    }

    /// How many of this kind were not said before this one; `None` where it is not said either.
    fn may_say(&self, why: Unread) -> Option<u64> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match said.get_mut(&why) {
            Some((at, unsaid)) if at.elapsed() < QUIET => {
                *unsaid += 1;
                None
            }
            _ => Some(said.insert(why, (Instant::now(), 0)).map_or(0, |(_, unsaid)| unsaid)),
        }
    }
}

/// 202 where the delivery's event is safe, or there is none; 200 for a ping; 401 without a right signature; 503 where
/// GitHub should send it again.
pub async fn github(State(public): State<Arc<Public>>, headers: HeaderMap, body: Body) -> Response {
    let Some(webhooks) = &public.webhooks else { return not_found().await.into_response() };
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (mut chunks, mut held) = (body.into_data_stream(), Held::default());
    let mut delivery = Delivery {
        id: header("x-github-delivery").unwrap_or_default(),
        event: header("x-github-event").unwrap_or_default(),
        signature: header("x-hub-signature-256"),
        body: Bytes::new(),
    };
    if delivery.may_be_signed() {
        match read(&mut chunks, &webhooks.memory).await {
            Ok(read) => (delivery.body, held) = read,
            Err(why) => return webhooks.refuse(&mut chunks, why).await.into_response(),
        }
    } else {
        // Refused whatever its body is, so that none of it is kept.
        discard(&mut chunks).await;
    }
    match take(webhooks.deliveries.clone(), delivery, held).await {
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

/// Hands over `delivery`, in a task of its own: where the client has hung up, the memory is held for as long as the body
/// is in it all the same.
async fn take(deliveries: Arc<dyn Deliveries>, delivery: Delivery, held: Held) -> Answer {
    let taken = tokio::spawn(async move {
        let answer = deliveries.take(delivery).await;
        drop(held);
        answer
    });
    taken.await.unwrap_or(Answer::Unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use tokio::sync::Semaphore;

    /// Takes deliveries when it is told to.
    struct Slow(Semaphore);

    #[async_trait]
    impl Deliveries for Slow {
        async fn take(&self, _delivery: Delivery) -> Answer {
            let _turn = self.0.acquire().await;
            Answer::Known
        }
    }

    fn delivery(body: Bytes) -> Delivery {
        Delivery { id: String::new(), event: String::new(), signature: None, body }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_who_hangs_up_does_not_free_the_memory_of_a_body_that_is_being_taken() {
        let (slow, memory) = (Arc::new(Slow(Semaphore::new(0))), Memory::new());
        let (body, held) = read(&mut Body::from("{}").into_data_stream(), &memory).await.unwrap();
        let free = memory.free_bytes();
        let hung_up = take(slow.clone(), delivery(body), held);
        assert!(tokio::time::timeout(Duration::from_millis(10), hung_up).await.is_err());
        assert_eq!(memory.free_bytes(), free);
        slow.0.add_permits(1);
        while memory.free_bytes() == free {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn each_kind_of_unread_body_is_said_once_in_a_while() {
        let webhooks = Webhooks::new(Arc::new(Slow(Semaphore::new(0))));
        assert_eq!(webhooks.may_say(Unread::Broken), Some(0));
        assert_eq!(webhooks.may_say(Unread::Broken), None);
        assert_eq!(webhooks.may_say(Unread::NoRoom), Some(0));
    }
}
