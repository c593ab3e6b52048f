//! What a batch causes, in this order: it is applied, shown, on the state's disk, in history, and where something of it is
//! to be asked for again, with the broker.

use std::collections::HashSet;
use std::time::Instant;

use super::decode::Decoded;
use super::enrichment::Again;
use super::live::{self, Live};
use super::{Batch, Stop, Worker};
use crate::alert::Subject;
use crate::live::Arrival;
use crate::mutation::{Mutation, Outcome};
use crate::shutdown::Shutdown;
use crate::state::{Applied, Receipt, StateError};
use crate::telemetry::names;

impl Worker {
    /// Applies one batch and shows it; where the state refuses it, `decoded` is as it was. What is not settled when this
    /// fails is delivered again.
    pub(super) async fn apply(
        &self,
        decoded: &mut Decoded,
        shutdown: &mut Shutdown,
    ) -> Result<(Batch, Receipt), Stop> {
        let mutations: Vec<Mutation> = decoded.mutations();
        let started = Instant::now();
        let applied = self.apply_until_done(&mutations, shutdown).await?;
        metrics::histogram!(names::APPLY_SECONDS).record(started.elapsed());
        // Behind it: a batch that is refused comes here again in parts.
        self.retry(shutdown, Subject::Broker, || self.dead_letter(decoded.dead_letters())).await?;
        let lost = decoded.lost(&applied.lost);
        metrics::counter!(names::TWINS).increment(lost.len() as u64);
        let copies = self.copies(decoded, &lost);
        let (ids, mut messages) = (decoded.ids(), decoded.take_messages());
        if self.history.is_none() {
            messages.clear();
        }
        let bytes = messages.iter().map(|message| message.payload.len());
        let batch = Batch {
            events: decoded.events(),
            ids,
            mutations,
            bytes: bytes.chain(copies.iter().map(Again::bytes)).sum(),
            messages,
            learned: decoded.learned().clone(),
            rows: decoded.take_rows(),
            lost,
            copies,
            newest: decoded.newest(),
        };
        self.show(live::arrivals(std::mem::take(decoded), &applied), shutdown).await?;
        Ok((batch, applied.receipt))
    }

    /// Shows what was applied, where that can be done in time.
    async fn show(&self, arrivals: Vec<Arrival>, shutdown: &mut Shutdown) -> Result<(), Stop> {
        let topic = match &self.live {
            Live::Memory(feed) => {
                feed.publish(arrivals);
                return Ok(());
            }
            Live::Topic(topic) => topic,
        };
        let messages = live::messages(&arrivals, topic.producer());
        if messages.is_empty() {
            return Ok(());
        }
        let publish = self.retry(shutdown, Subject::Live, || topic.producer().publish(messages.clone()));
        if !topic.in_time(publish, &self.alerts).await? {
            metrics::counter!(names::LIVE_UNCONFIRMED).increment(messages.len() as u64);
        }
        Ok(())
    }

    /// Waits until a batch is on the state's disk, applying it again where the state may have lost it, then in history, and
    /// the copies of what is to be asked for again are with the broker. One without a receipt is with the broker, which made it durable.
    pub(super) async fn make_durable(
        self,
        mut batch: Batch,
        receipt: Option<Receipt>,
        mut shutdown: Shutdown,
    ) -> Result<Batch, Stop> {
        let Some(mut receipt) = receipt else { return Ok(batch) };
        loop {
            let persisted = self.retry(&mut shutdown, Subject::State, || async {
                match self.state.persist(receipt).await {
                    Err(StateError::Lost) => Ok(false),
                    result => result.map(|()| true),
                }
            });
            if persisted.await? && self.keep(&mut batch, receipt, &mut shutdown).await? {
                break;
            }
            let applied = self.apply_until_done(&batch.mutations, &mut shutdown).await?;
            let lost: HashSet<_> = applied.lost.iter().map(|&place| batch.mutations[place].key).collect();
            // The state lost its twin too, which may have been shown by a process that is gone.
            if !batch.lost.is_subset(&lost) {
                return Err(Stop::Again);
            }
            (batch.lost, receipt) = (lost, applied.receipt);
        }
        self.ask_again(&mut batch, &mut shutdown).await?;
        Ok(batch)
    }

    /// Writes a batch into history, where that is done. `false` where the state's counts were lost or replaced since it
    /// was applied: a seed may have read history before the batch was there.
    async fn keep(&self, batch: &mut Batch, receipt: Receipt, shutdown: &mut Shutdown) -> Result<bool, Stop> {
        let Some(history) = &self.history else { return Ok(true) };
        self.write_around(history.as_ref(), batch, shutdown).await?;
        self.retry(shutdown, Subject::State, || self.state.holds(receipt)).await
    }

    /// Applies with the time of each attempt: languages count in the second in which they arrive, and readers look
    /// back for a few seconds only. Waits for the seeds of the batch's years.
    async fn apply_until_done(
        &self,
        mutations: &[Mutation],
        shutdown: &mut Shutdown,
    ) -> Result<Applied, Stop> {
        loop {
            let applied = self.retry(shutdown, Subject::State, || async {
                match (self.state.apply(mutations.to_vec(), self.clock.unix_millis()).await, &self.seeder) {
                    (Err(StateError::Unseeded { year }), Some(seeder)) => Ok(Err((year, seeder))),
                    (result, _) => result.map(Ok),
                }
            });
            let (year, seeder) = match applied.await? {
                Ok(applied) => {
                    if let Some(seeder) = &self.seeder {
                        let counted = mutations.iter().filter(|one| one.outcome != Outcome::Uncounted);
                        seeder.note(counted.map(|mutation| mutation.day.year()));
                    }
                    if !mutations.is_empty() {
                        self.refusals.taken(Subject::State);
                    }
                    return Ok(applied);
                }
                Err(unseeded) => unseeded,
            };
            if !seeder.ensure(year, shutdown).await {
                return Err(Stop::Shutdown);
            }
        }
    }
}
