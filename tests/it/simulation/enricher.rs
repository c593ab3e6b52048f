//! The simulated enricher: knows every pull request, some later than others.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pulsehub::domain::github::details::{Details, Stub};
use pulsehub::enrich::{Answer, Enricher};
use pulsehub::mutation::Size;

use super::events::{language_of, size_of};
use super::faults::Fault;
use super::world::World;

/// Who is asked.
pub struct Encyclopedia(pub Arc<World>);

impl Encyclopedia {
    fn answer(&self, stub: &Stub) -> Answer {
        if self.0.happens(Fault::EnrichmentAway) {
            return Answer::Later(Duration::from_millis(self.0.draw(|random| random.u64(0..30_000))));
        }
        let (additions, deletions) = size_of(stub.pull_request);
        let size = Some(Size { additions, deletions });
        Answer::Known(Details { size, language: Some(language_of(stub.repo).into()) })
    }
}

#[async_trait]
impl Enricher for Encyclopedia {
    async fn details(&self, stubs: Vec<Stub>, within: Duration) -> Vec<Answer> {
        if self.0.happens(Fault::EnrichmentLate) || tokio::time::timeout(within, self.0.step()).await.is_err()
        {
            tokio::time::sleep(within).await;
            return stubs.iter().map(|_| Answer::Later(Duration::ZERO)).collect();
        }
        let answers: Vec<_> = stubs.iter().map(|stub| self.answer(stub)).collect();
        let ids: Vec<_> = stubs.iter().map(|stub| stub.pull_request).collect();
        self.0.note(format_args!("enricher: {ids:?} are {answers:?}"));
        answers
    }

    fn language(&self, _repo: u64) -> Option<Arc<str>> {
        None
    }
}
