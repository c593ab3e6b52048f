//! What others know of the events of a batch.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::github::details::Details;
use crate::enrich::{Answer, Enricher};
use crate::event::EventKey;

/// Answers by event, and the languages of repositories that happen to be known. Empty where nobody is asked.
#[derive(Clone, Default)]
pub struct Learned {
    enricher: Option<Arc<dyn Enricher>>,
    answers: Arc<HashMap<EventKey, Answer>>,
}

impl Learned {
    /// Nothing yet, of somebody who can be asked.
    pub fn nothing(enricher: Option<Arc<dyn Enricher>>) -> Self {
        Self { enricher, answers: Arc::default() }
    }

    /// The same with these answers.
    pub fn with(&self, answers: impl Iterator<Item = (EventKey, Answer)>) -> Self {
        Self { enricher: self.enricher.clone(), answers: Arc::new(answers.collect()) }
    }

    /// Whether somebody can be asked.
    pub fn completes(&self) -> bool {
        self.enricher.is_some()
    }

    /// What is known of an event in a repository.
    pub fn of(&self, key: EventKey, repo: Option<u64>) -> Details {
        if let Some(Answer::Known(details)) = self.answers.get(&key) {
            return details.clone();
        }
        let language = self.enricher.as_ref().zip(repo).and_then(|(enricher, repo)| enricher.language(repo));
        Details { size: None, language }
    }

    /// When it makes sense to ask for an event again; `None` where that is not to be done.
    pub fn later(&self, key: EventKey) -> Option<Duration> {
        match self.answers.get(&key)? {
            Answer::Later(pause) => Some(*pause),
            Answer::Known(_) | Answer::Gone | Answer::Off => None,
        }
    }
}

impl fmt::Debug for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learned").field("answers", &self.answers.len()).finish_non_exhaustive()
    }
}
