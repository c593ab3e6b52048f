//! What events do not say of their pull requests: asked for before they are applied, and again later where there was no
//! answer in time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};

use super::decode::{Decoded, decode, origin};
use super::isolate::pause;
use super::learned::Learned;
use super::{Batch, Stop, Worker};
use crate::broker::{BrokerError, Message, MessageId, Retry};
use crate::domain::github::details::Stub;
use crate::domain::github::message;
use crate::enrich::{Answer, Enricher};
use crate::event::EventKey;
use crate::shutdown::Shutdown;
use crate::telemetry::names;
use crate::telemetry::seldom::Seldom;

/// How long the copy of an event waits before it is asked for once more, by the number of times that it was; random
/// between half and all of it, and longer where asking makes no sense before, as with a quota that is spent. All together
/// stay below the 24 hours for which the state remembers whether a language was counted, also where each waits for the
/// next hour's quota.
pub const ASK_AGAIN: &[Duration] = &[
    Duration::from_secs(15),
    Duration::from_secs(120),
    Duration::from_secs(15 * 60),
    Duration::from_secs(60 * 60),
];

/// Where the broker is full it refuses every batch; of all workers one says so, with the number of events since the last time.
static LEFT: Seldom = Seldom::once_in(Duration::from_secs(60));

/// Who is asked, and how long that may take.
#[derive(Clone)]
pub struct Enrichment {
    /// Who.
    pub enricher: Arc<dyn Enricher>,
    /// How much later than others an event may come for that: [`crate::enrich::WITHIN`] outside tests.
    pub within: Duration,
    /// How long a copy waits after each attempt but the last: [`ASK_AGAIN`] outside tests.
    pub pauses: &'static [Duration],
    /// Who measures what share of the events is completed.
    pub observer: Observer,
}

/// Is told how many events were asked for, each the first time only, and how many have their details now.
pub type Observer = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// What came of asking, as the label of a metric.
fn label(answer: &Answer) -> Option<&'static str> {
    match answer {
        Answer::Known(_) => Some("complete"),
        Answer::Gone => Some("gone"),
        // Counted when it is with the broker, or given up.
        Answer::Later(_) | Answer::Off => None,
    }
}

/// The copy of a message that is to be asked for again.
#[derive(Debug)]
pub(super) struct Again {
    /// The message whose copy it is.
    pub of: MessageId,
    again: Option<Retry>,
}

impl Again {
    /// How much of it is kept.
    pub fn bytes(&self) -> usize {
        self.again.as_ref().map_or(0, |retry| retry.body.len())
    }
}

impl Worker {
    /// Batches as large as the state takes them, with what others know of their events, as soon as they have told it.
    pub(super) fn decode_enriched(&self, messages: Vec<Message>) -> BoxFuture<'_, Vec<Decoded>> {
        let enricher = self.enrichment.as_ref().map(|enrichment| enrichment.enricher.clone());
        let decoding = self.decoding(Learned::nothing(enricher));
        let mut batches = decode(messages, &decoding);
        let stubs: Vec<(EventKey, Stub)> =
            batches.iter().flat_map(Decoded::stubs).map(|(key, stub)| (key, stub.clone())).collect();
        let asked = batches.iter().map(Decoded::first_asked).sum();
        let Some(Enrichment { enricher, within, observer, .. }) =
            self.enrichment.as_ref().filter(|_| !stubs.is_empty())
        else {
            return future::ready(batches).boxed();
        };
        async move {
            let begun = Instant::now();
            let (keys, stubs): (Vec<_>, Vec<_>) = stubs.into_iter().unzip();
            let answers = enricher.details(stubs, *within).await;
            metrics::histogram!(names::ENRICH_SECONDS).record(begun.elapsed());
            let known = answers.iter().filter(|answer| matches!(answer, Answer::Known(_))).count();
            observer(asked, known as u64);
            for label in answers.iter().filter_map(label) {
                metrics::counter!(names::ENRICHED, "result" => label).increment(1);
            }
            let learned = decoding.learned.with(keys.into_iter().zip(answers));
            let decoding = self.decoding(learned);
            batches.iter_mut().for_each(|batch| batch.learn(&decoding));
            batches
        }
        .boxed()
    }

    /// The copies of those messages of a batch that are to be asked for again; none of events that `lost` to their twin.
    pub(super) fn copies(&self, decoded: &Decoded, lost: &HashSet<EventKey>) -> Vec<Again> {
        let Some(enrichment) = &self.enrichment else { return Vec::new() };
        let now = self.clock.unix_millis();
        let copy = |(message, at_least): (&Message, Duration)| {
            let asked = message::asked(&message.payload);
            let again = pause(enrichment.pauses, asked).and_then(|pause| {
                let event = message::unwrap(&message.payload)?;
                // What waits for the same moment does not come all at that moment.
                let pause = pause.max(at_least + pause / 4);
                let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
                Some(Retry {
                    body: message::wrap_again(event, asked + 1).into(),
                    attempts: message.attempts,
                    not_before: now.saturating_add(pause),
                    origin: message.origin.clone().unwrap_or_else(|| Arc::from(origin(message))),
                    is_extra: true,
                })
            });
            Again { of: message.id, again }
        };
        decoded.incomplete(lost).map(copy).collect()
    }

    /// Hands over the copies of a batch that may be settled then; the broker has confirmed when this returns. Those that
    /// it cannot take, or that were tried too often, are left and counted: their events stand without the rest.
    pub(super) async fn ask_again(&self, batch: &mut Batch, shutdown: &mut Shutdown) -> Result<(), Stop> {
        let copies = std::mem::take(&mut batch.copies);
        let mut abandoned = copies.len();
        let retries: Vec<Retry> = copies.into_iter().filter_map(|copy| copy.again).collect();
        if !retries.is_empty() {
            match self.hand_over(&retries, shutdown).await? {
                Ok(()) => {
                    abandoned -= retries.len();
                    metrics::counter!(names::ENRICHED, "result" => "later").increment(retries.len() as u64);
                }
                // One that is too long must not take its neighbours with it.
                Err(BrokerError::TooLarge { .. }) if retries.len() > 1 => {
                    for retry in &retries {
                        if self.hand_over(std::slice::from_ref(retry), shutdown).await?.is_ok() {
                            abandoned -= 1;
                            metrics::counter!(names::ENRICHED, "result" => "later").increment(1);
                        }
                    }
                }
                Err(error) => {
                    if let Some(events) = LEFT.count(retries.len() as u64, Instant::now()) {
                        let error = crate::error_chain(&error);
                        tracing::warn!(events, error, "events stay without what they lack");
                    }
                }
            }
        }
        metrics::counter!(names::ENRICHED, "result" => "abandoned").increment(abandoned as u64);
        Ok(())
    }
}
