//! Bugs between the core and the state.

use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use pulsehub::domain::github::sampling::Sample;
use pulsehub::live::{Arrival, Cursor, Feed};
use pulsehub::mutation::{Mutation, Numbers};
use pulsehub::state::{Applied, Base, LanguageSeconds, Receipt, Snapshot, State, StateError};

use super::Bug;
use crate::simulation::store::Store;
use crate::support::seeds::never_seeded;

/// The state as a process with a bug uses it.
pub struct PlantedState {
    pub bug: Bug,
    pub store: Arc<Store>,
    pub feed: Arc<Feed>,
}

impl PlantedState {
    fn show(&self, batch: &[Mutation], seq: i64) {
        let arrival = |(index, mutation): (u32, &Mutation)| Arrival {
            cursor: Cursor { seq, index },
            key: mutation.key,
            sample: Sample {
                event: String::new(),
                numbers: Numbers { pr: 1, ..Numbers::default() },
                kind: String::new(),
                repo_name: String::new(),
                actor_login: String::new(),
                action: None,
                on_request: false,
            },
        };
        self.feed.publish((0..).zip(batch).map(arrival).collect());
    }
}

never_seeded!(PlantedState);

#[async_trait]
impl State for PlantedState {
    async fn apply(&self, mut batch: Vec<Mutation>, now: i64) -> Result<Applied, StateError> {
        if self.bug == Bug::TwinsIgnored {
            batch.iter_mut().for_each(|mutation| mutation.claim = None);
        }
        if self.bug == Bug::ShownBeforeApplied {
            self.show(&batch, now);
        }
        let known: Vec<_> = batch.iter().map(|mutation| self.store.has(mutation.key)).collect();
        let mut applied = self.store.apply(batch, now).await?;
        if self.bug == Bug::LosersKept {
            applied.lost.clear();
        }
        if self.bug == Bug::ReplyForgotten {
            let again = applied.numbers.iter_mut().zip(known).filter(|(_, known)| *known);
            again.for_each(|(numbers, _)| *numbers = Numbers { pr: 1, ..Numbers::default() });
        }
        Ok(applied)
    }

    async fn persist(&self, receipt: Receipt) -> Result<(), StateError> {
        match self.bug {
            Bug::SettledBeforeDurable => Ok(()),
            Bug::SettledThoughLost => match self.store.persist(receipt).await {
                Err(StateError::Lost) => Ok(()),
                result => result,
            },
            _ => self.store.persist(receipt).await,
        }
    }

    async fn holds(&self, receipt: Receipt) -> Result<bool, StateError> {
        self.store.holds(receipt).await
    }

    async fn snapshot(&self, year: i16) -> Result<Snapshot, StateError> {
        self.store.snapshot(year).await
    }

    async fn languages(&self, seconds: RangeInclusive<i64>) -> Result<LanguageSeconds, StateError> {
        self.store.languages(seconds).await
    }

    async fn own(&self, year: i16) -> Result<Base, StateError> {
        self.store.own(year).await
    }

    async fn set_base(&self, year: i16, base: Base) -> Result<(), StateError> {
        self.store.set_base(year, base).await
    }

    fn batch_limit(&self) -> usize {
        self.store.batch_limit()
    }
}
