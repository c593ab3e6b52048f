//! Around what an engine refuses for its data: a refused batch is split until the guilty messages stand alone. They are
//! tried again later, their neighbours go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::decode::{Decoded, origin, rows};
use super::{Batch, Broken, Part, Stop, Worker};
use crate::alert::Subject;
use crate::broker::{BrokerError, DeadLetter, Message, Retry};
use crate::history::History;
use crate::shutdown::Shutdown;
use crate::telemetry::names;

/// How long a message waits after each attempt but the last; random between half and all of it.
pub const PAUSES: &[Duration] =
    &[Duration::from_secs(1), Duration::from_secs(7), Duration::from_secs(45), Duration::from_secs(300)];

/// Messages that an engine refuses in a row, with nothing taken in between, at which it is the engine that is at fault:
/// what it refuses then stays on the topic, and is tried again in place.
pub const IN_A_ROW: u32 = 1_000;

/// How many messages each engine has refused since it last took something.
#[derive(Debug, Default)]
pub struct Refusals {
    state: AtomicU32,
    history: AtomicU32,
}

impl Refusals {
    fn of(&self, subject: Subject) -> &AtomicU32 {
        if subject == Subject::History { &self.history } else { &self.state }
    }

    /// The engine took data.
    pub(super) fn taken(&self, subject: Subject) {
        self.of(subject).store(0, Ordering::Relaxed);
    }

    /// The engine refused one message by itself.
    fn refused(&self, subject: Subject) {
        self.of(subject).fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a refusal may be the fault of what was refused.
    pub(super) fn may_blame_data(&self, subject: Subject) -> bool {
        self.of(subject).load(Ordering::Relaxed) < IN_A_ROW
    }
}

/// How long a message waits that was tried so often before; `None` where this was its last attempt. Random, so that what
/// was refused together does not come again together.
pub(super) fn pause(pauses: &[Duration], attempts: u32) -> Option<Duration> {
    let &longest = pauses.get(usize::try_from(attempts).ok()?)?;
    Some(longest / 2 + (longest / 2).mul_f64(fastrand::f64()))
}

/// A message by itself with what the engine said of it.
type Guilty = (Message, Broken);

impl Worker {
    /// Applies a batch in as few parts as the state takes it in. Messages that it refuses are a part of their own, with
    /// no receipt: they are with the broker again.
    pub(super) async fn apply_around(
        &self,
        decoded: Decoded,
        mut shutdown: Shutdown,
    ) -> Result<Vec<Part>, Stop> {
        let mut pending = vec![decoded];
        let (mut parts, mut guilty) = (Vec::with_capacity(1), Vec::new());
        while let Some(mut decoded) = pending.pop() {
            let learned = decoded.learned().clone();
            match self.apply(&mut decoded, &mut shutdown).await {
                Ok((batch, receipt)) => parts.push((batch, Some(receipt))),
                Err(Stop::Refused(error)) => {
                    match self.split(Subject::State, decoded.take_messages(), error) {
                        Ok(halves) => {
                            let decode = |half| self.decode(half, learned.clone());
                            pending.extend(halves.into_iter().flat_map(decode));
                        }
                        Err(alone) => guilty.push(alone),
                    }
                }
                Err(stop) => return Err(stop),
            }
        }
        if !guilty.is_empty() {
            let ids = guilty.iter().map(|(message, _)| message.id).collect();
            self.set_aside(Subject::State, guilty, &mut shutdown).await?;
            parts.push((Batch { ids, ..Batch::default() }, None));
        }
        Ok(parts)
    }

    /// Writes a batch's rows. Messages whose rows the history refuses are with the broker again.
    pub(super) async fn write_around(
        &self,
        history: &dyn History,
        batch: &mut Batch,
        shutdown: &mut Shutdown,
    ) -> Result<(), Stop> {
        let mut pending = vec![(std::mem::take(&mut batch.messages), std::mem::take(&mut batch.rows))];
        let mut guilty = Vec::new();
        while let Some((messages, mut rows_of_part)) = pending.pop() {
            rows_of_part.retain(|row| !batch.lost.contains(&row.key));
            if rows_of_part.is_empty() {
                continue;
            }
            match self.write_in_turn(history, &rows_of_part, shutdown).await {
                Ok(()) => self.refusals.taken(Subject::History),
                Err(Stop::Refused(error)) => match self.split(Subject::History, messages, error) {
                    Ok(halves) => pending.extend(halves.map(|half| {
                        let rows = rows(&half, &batch.learned);
                        (half, rows)
                    })),
                    Err(alone) => guilty.push(alone),
                },
                Err(stop) => return Err(stop),
            }
        }
        if !guilty.is_empty() {
            batch.events = batch.events.saturating_sub(guilty.len() as u64);
            // They are asked for when they come again.
            batch.copies.retain(|copy| guilty.iter().all(|(message, _)| message.id != copy.of));
            self.set_aside(Subject::History, guilty, shutdown).await?;
        }
        Ok(())
    }

    /// Halves of what was refused, the first one last; or the one message, which is counted.
    fn split(
        &self,
        subject: Subject,
        mut messages: Vec<Message>,
        error: Broken,
    ) -> Result<[Vec<Message>; 2], Guilty> {
        match messages.pop() {
            Some(alone) if messages.is_empty() => {
                self.refusals.refused(subject);
                Err((alone, error))
            }
            last => {
                messages.extend(last);
                let behind = messages.split_off(messages.len() / 2);
                Ok([behind, messages])
            }
        }
    }

    /// Hands messages to the retry topic, after their last attempt to the dead letters; the broker has confirmed when
    /// this returns.
    async fn set_aside(
        &self,
        subject: Subject,
        guilty: Vec<Guilty>,
        shutdown: &mut Shutdown,
    ) -> Result<(), Stop> {
        let (engine, label) = match subject {
            Subject::History => ("history", "history_refused"),
            _ => ("the state", "state_refused"),
        };
        let now = self.clock.unix_millis();
        let (mut retries, mut letters) = (Vec::new(), Vec::new());
        let said = guilty.first().map(|(_, error)| crate::error_chain(error.as_ref())).unwrap_or_default();
        for (message, error) in guilty {
            let attempts = message.attempts.saturating_add(1);
            let origin = message.origin.clone().unwrap_or_else(|| Arc::from(origin(&message)));
            let body = message.payload;
            match pause(self.pauses, message.attempts) {
                Some(pause) => {
                    let not_before = now.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
                    retries.push(Retry { body, attempts, not_before, origin, is_extra: false });
                }
                None => {
                    let reason = format!("{engine} refuses it: {}", crate::error_chain(error.as_ref()));
                    let origin = origin.to_string();
                    let whole_bytes = body.len();
                    letters.push((label, DeadLetter { reason, origin, attempts, body, whole_bytes }));
                }
            }
        }
        if !retries.is_empty() {
            // The first of a batch stands for its neighbours.
            let messages = retries.len();
            tracing::warn!(messages, error = %said, "{engine} refuses messages, trying them again later");
            match self.hand_over(&retries, shutdown).await? {
                Ok(()) => metrics::counter!(names::RETRIED).increment(messages as u64),
                Err(error) => {
                    letters.extend(retries.into_iter().map(|Retry { body, attempts, origin, .. }| {
                        let reason =
                            format!("{engine} refuses it: {said}; and it cannot be tried again: {error}");
                        let (origin, whole_bytes) = (origin.to_string(), body.len());
                        (label, DeadLetter { reason, origin, attempts, body, whole_bytes })
                    }))
                }
            }
        }
        self.retry(shutdown, Subject::Broker, || self.dead_letter(letters.clone())).await?;
        Ok(())
    }

    /// Hands messages to the retry topic, through failures of the broker; the inner error says why it cannot take them
    /// whatever is waited for.
    pub(super) async fn hand_over(
        &self,
        retries: &[Retry],
        shutdown: &mut Shutdown,
    ) -> Result<Result<(), BrokerError>, Stop> {
        let handed = self.retry(shutdown, Subject::Broker, async || {
            match self.broker.retry(retries.to_vec()).await {
                // Room comes only from workers, which must not wait for it.
                Err(error @ (BrokerError::Full { .. } | BrokerError::TooLarge { .. })) => Ok(Err(error)),
                result => result.map(Ok),
            }
        });
        handed.await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn pauses_grow_with_the_attempts_and_are_random() {
        let mut longest = Duration::ZERO;
        for (attempts, &limit) in (0..).zip(PAUSES) {
            let pauses: BTreeSet<_> = (0..100).filter_map(|_| pause(PAUSES, attempts)).collect();
            assert!(pauses.len() > 50, "{} of 100", pauses.len());
            assert!(pauses.iter().all(|pause| (limit / 2..=limit).contains(pause)), "{pauses:?}");
            assert!(pauses.first() > Some(&longest), "longer than any before");
            longest = limit;
        }
        assert_eq!(pause(PAUSES, 4), None, "the fifth attempt is the last");
    }
}
