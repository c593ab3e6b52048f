//! What the answers of one round amount to.

use std::time::Duration;

use super::client::{Answer, Failure, Outcome};
use super::pages::{Harvest, Trouble};
use super::rate_limit::RateHeaders;
use crate::telemetry::names;

/// One request for each page that was due.
#[derive(Debug, Default)]
pub struct Round {
    /// The pages that came.
    pub harvest: Harvest,
    /// What all answers together said about how often to ask.
    pub rate: RateHeaders,
    /// Pages that came or have nothing new.
    pub worked: Vec<u8>,
    /// The others.
    pub failures: Vec<(u8, Failure)>,
}

impl Round {
    /// Reads and counts the answers, given in the order of their pages.
    pub fn digest(answers: Vec<(u8, Answer)>) -> Self {
        let mut round = Self::default();
        for (page, answer) in answers {
            round.rate = round.rate.and(answer.rate);
            let label = round.add(page, answer.outcome);
            metrics::counter!(names::GITHUB_REQUESTS, "outcome" => label).increment(1);
        }
        round
    }

    fn add(&mut self, page: u8, outcome: Outcome) -> &'static str {
        let result = match outcome {
            Outcome::Page { body, etag } => {
                self.harvest.add(page, &body, etag).map(|()| "page").map_err(Failure::NotJson)
            }
            Outcome::NotModified => Ok("not_modified"),
            Outcome::Failed(failure) => Err(failure),
        };
        match result {
            Ok(label) => {
                self.worked.push(page);
                label
            }
            Err(failure) => {
                let label = failure.label();
                self.failures.push((page, failure));
                label
            }
        }
    }

    /// Why the identity that asked is refused. One page that works shows that it is not.
    pub fn refusal(&self) -> Option<&Failure> {
        let refusal = |failure: &&Failure| matches!(failure, Failure::Unauthorized | Failure::Forbidden);
        self.failures.iter().map(|(_, failure)| failure).find(refusal).filter(|_| self.worked.is_empty())
    }

    /// Whether a rate limit was reached, and how long it forbids to ask, where an answer says.
    pub fn limited(&self) -> Option<Option<Duration>> {
        let wait = |(_, failure): &(u8, Failure)| match failure {
            Failure::RateLimited { wait } => Some(*wait),
            _ => None,
        };
        self.failures.iter().filter_map(wait).max()
    }

    /// What is wrong with each page that failed for itself.
    pub fn troubles(&self) -> impl Iterator<Item = (u8, Trouble)> {
        let own = self.failures.iter().filter(|(_, failure)| !matches!(failure, Failure::RateLimited { .. }));
        own.map(|(page, failure)| {
            let text = format!("page {page}: {}", crate::error_chain(failure));
            (*page, Trouble { kind: failure.label(), text })
        })
    }
}
