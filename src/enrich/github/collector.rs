//! The task that collects the questions of all workers and sends them together.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::budget::{Budget, SMALLEST};
use super::client::{self, Client, ClientError, Failure};
use super::query::{By, Found, Refusal, Reply, has_name};
use super::queue::{Ask, Queue};
use super::{Cache, Languages};
use crate::clock::Clock;
use crate::domain::github::details::{Details, Stub};
use crate::enrich::{Answer, WITHIN};
use crate::shutdown::Shutdown;
use crate::source::github::{Credential, Credentials, GitHubSettings, Pick};
use crate::telemetry::names;

/// The first of a batch waits for others between so long,
const LEAST_WAIT: Duration = Duration::from_millis(50);
/// and so long: what answers take is taken off, so that all stays within [`WITHIN`].
const LONGEST_WAIT: Duration = Duration::from_millis(1500);
/// Those that have waited once already wait as long for company.
const WAIT_BY_NAME: Duration = Duration::from_millis(250);
/// Computed ids in a row that are refused although the pull request is there, after which all are asked for by name,
const REFUSED_IDS: usize = 20;
/// for so long.
const BY_NAME_ONLY: Duration = Duration::from_secs(600);
/// A token that is refused is set aside for about so long first, and at most so long.
const TOKEN_ASIDE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
/// Answers that are remembered for those who ask too early or again, and how long.
const RECENT: (usize, Duration) = (10_000, Duration::from_secs(600));
/// Pull requests that are remembered as gone, and how long.
const GONE: (usize, Duration) = (50_000, Duration::from_secs(6 * 3600));

/// Collects, asks and answers.
pub struct Collector {
    asks: mpsc::Receiver<Ask>,
    settings: watch::Receiver<GitHubSettings>,
    /// Those of one user; `None` where there is none.
    tokens: Option<Credentials>,
    /// How often they were changed: what is said of one by its place is said of those of then.
    changes: u64,
    client: Arc<Client>,
    queue: Queue,
    budget: Budget,
    /// Since when the budget is that of whose token asks: what is said of queries from before is said of another one's.
    budget_since: Option<Instant>,
    out: JoinSet<Done>,
    languages: Languages,
    /// Details by pull request, with the moment in Unix seconds as of which they hold.
    recent: Cache<u64, (Details, i64)>,
    /// Those that are not there, with the moment in Unix seconds as of which that holds.
    gone: Cache<u64, i64>,
    refused_ids: usize,
    by_name_until: Option<Instant>,
    /// The last failure that was said; `None` while all is well.
    said: Option<&'static str>,
}

/// A query that was answered, or not.
struct Done {
    by: By,
    stubs: Vec<Stub>,
    asked: Instant,
    /// Whose token, by its place, and after how many changes of them.
    token: (usize, u64),
    answer: client::Answer,
}

impl Collector {
    pub(super) fn new(
        url: &str,
        mut settings: watch::Receiver<GitHubSettings>,
        clock: Arc<dyn Clock>,
        asks: mpsc::Receiver<Ask>,
        languages: Languages,
    ) -> Result<Self, ClientError> {
        let tokens = tokens(&settings.borrow_and_update()).map_err(ClientError::Token)?;
        Ok(Self {
            asks,
            settings,
            tokens,
            changes: 0,
            client: Arc::new(Client::new(url, clock)?),
            queue: Queue::default(),
            budget: Budget::default(),
            budget_since: None,
            out: JoinSet::new(),
            languages,
            recent: Cache::new(RECENT.0, RECENT.1),
            gone: Cache::new(GONE.0, GONE.1),
            refused_ids: 0,
            by_name_until: None,
            said: None,
        })
    }

    /// Works until shutdown, or until nobody can ask any more. Those who wait then are not answered.
    pub async fn run(mut self, mut shutdown: Shutdown) {
        loop {
            let next = self.ask_what_is_due(Instant::now());
            tokio::select! {
                biased;
                () = shutdown.triggered() => return,
                Some(done) = self.out.join_next() => match done {
                    Ok(done) => self.take_in(done, Instant::now()),
                    Err(error) => tracing::error!(%error, "a query to GitHub ended badly"),
                },
                changed = self.settings.changed() => match changed {
                    Ok(()) => self.change_tokens(Instant::now()),
                    Err(_) => return,
                },
                ask = self.asks.recv() => match ask {
                    Some(ask) => self.take(ask, Instant::now()),
                    None => return,
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Answers what is known, and puts the rest into the queue.
    fn take(&mut self, ask: Ask, now: Instant) {
        let Stub { pull_request, created_at, .. } = ask.stub;
        let recent = self.recent.get(&pull_request, now).filter(|(_, as_of)| *as_of >= created_at);
        let known = recent.map(|(details, _)| Answer::Known(details.clone()));
        let gone = self.gone.get(&pull_request, now).filter(|as_of| **as_of >= created_at);
        let gone = gone.map(|_| Answer::Gone);
        let off = self.tokens.is_none().then_some(Answer::Off);
        let closed = self.closed_until(now).filter(|until| *until >= ask.deadline);
        let closed = closed.map(|until| Answer::Later(until - now));
        match known.or(gone).or(off).or(closed) {
            // A worker that is gone needs no answer.
            Some(answer) => drop(ask.reply.send(answer)),
            None => {
                let by_name = self.by_name_until.is_some_and(|until| until > now);
                self.queue.add(ask, if by_name { By::Name } else { By::Node }, now);
            }
        }
    }

    /// Until when nothing is asked; `None` where something may be.
    fn closed_until(&self, now: Instant) -> Option<Instant> {
        let tokens = match self.tokens.as_ref().map(|tokens| tokens.pick(now)) {
            Some(Pick::Aside(until)) => Some(until),
            Some(Pick::Ask(..)) | None => None,
        };
        tokens.max(self.budget.closed_until(now))
    }

    /// Sends whatever may go out now; when something may next, where no answer has to come before.
    fn ask_what_is_due(&mut self, now: Instant) -> Option<Instant> {
        loop {
            if self.out.len() >= self.budget.at_once() {
                return None;
            }
            let (by, due) = [By::Name, By::Node]
                .into_iter()
                .filter_map(|by| Some((by, self.due(by, now)?)))
                .min_by_key(|(_, due)| *due)?;
            let (token, authorization) = match self.tokens.as_ref()?.pick(now) {
                Pick::Ask(index, Credential::Token(value)) => ((index, self.changes), value),
                Pick::Aside(until) => return Some(until.max(due)),
                // Nothing is added without a token; what is left over is given up in time.
                Pick::Ask(..) => return None,
            };
            let earliest = self.budget.earliest(now).max(due);
            if earliest > now {
                return Some(earliest);
            }
            let stubs = self.queue.take(by, self.size(by));
            if stubs.is_empty() {
                continue;
            }
            self.budget.asked(now);
            let client = self.client.clone();
            self.out.spawn(async move {
                let answer = client.ask(by, &stubs, authorization).await;
                Done { by, stubs, asked: now, token, answer }
            });
        }
    }

    /// Pull requests in the next query of a kind.
    fn size(&self, by: By) -> usize {
        self.budget.size().min(by.limit())
    }

    /// When a line should be asked for: at once where it fills a query, else when its first has waited long enough.
    fn due(&self, by: By, now: Instant) -> Option<Instant> {
        let (waiting, since) = self.queue.waiting(by)?;
        let wait = match by {
            // Once more as long as an answer takes is left for those that must be asked for by name.
            By::Node => (WITHIN.saturating_sub(self.budget.slowest() * 2)).clamp(LEAST_WAIT, LONGEST_WAIT),
            By::Name => WAIT_BY_NAME,
        };
        Some(if waiting >= self.size(by) { now } else { since + wait })
    }

    /// Takes in what came of a query.
    fn take_in(&mut self, done: Done, now: Instant) {
        let Done { by, stubs, asked, token, answer } = done;
        let client::Answer { reply, rate, made_at } = answer;
        let is_own = self.budget_since.is_none_or(|since| asked >= since);
        let label = reply.as_ref().map_or_else(Failure::label, |_| "answered");
        metrics::counter!(names::GRAPHQL_REQUESTS, "outcome" => label).increment(1);
        // What was spent is also spent where the answer is of no use.
        let cost = reply.as_ref().ok().and_then(|reply| reply.rate_limit).map_or(1, |limit| limit.cost);
        if let Some(quota) = rate.quota {
            metrics::gauge!(names::GRAPHQL_REMAINING).set(quota.remaining as f64);
            if is_own {
                self.budget.left(quota.remaining, cost, quota.reset_in, now);
            }
        }
        match reply {
            Ok(reply) => {
                metrics::counter!(names::GRAPHQL_POINTS).increment(cost);
                self.token_at(token, |tokens, place| tokens.works(place, asked));
                let cut = reply.found.contains(&Found::Cut).then_some(stubs.len());
                self.budget.answered(cut, asked, now);
                // It was made somewhere between question and answer.
                let took = now.saturating_duration_since(asked).as_secs();
                let as_of = made_at - i64::try_from(took).unwrap_or(i64::MAX) - 1;
                self.hand_out(by, &stubs, &reply, as_of, now);
                if self.said.take().is_some() {
                    tracing::info!("GitHub's GraphQL API answers again");
                }
            }
            Err(failure) => {
                self.say(&failure);
                match &failure {
                    Failure::Unauthorized | Failure::Forbidden => {
                        self.token_at(token, |tokens, place| tokens.set_aside(place, asked, now));
                    }
                    _ if !is_own => {}
                    Failure::RateLimited { wait } => self.budget.limited(*wait, asked, now),
                    failure => {
                        let too_many = failure.is_too_large().then_some(stubs.len());
                        self.budget.failed(too_many, asked, now);
                    }
                }
                self.ask_otherwise(by, &stubs, &failure, now);
            }
        }
        if let Some(until) = self.closed_until(now) {
            self.queue.closed(until, now);
        }
    }

    fn say(&mut self, failure: &Failure) {
        if self.said.replace(failure.label()) != Some(failure.label()) {
            let reason = crate::error_chain(failure);
            tracing::warn!(reason, "pull requests cannot be completed by GraphQL, trying again");
        }
    }

    /// Puts those of a query that failed back into the line, or into that of names.
    fn ask_otherwise(&mut self, by: By, stubs: &[Stub], failure: &Failure, now: Instant) {
        let refused = matches!(failure, Failure::Refused(Refusal::Refused(_))) && by == By::Node;
        // Whatever is wrong with a few ids, fewer would not help: for all that is known it is the ids.
        let ids_are_refused = refused && stubs.len() <= SMALLEST;
        let (named, others): (Vec<_>, Vec<_>) =
            stubs.iter().partition(|stub| ids_are_refused && has_name(stub));
        self.queue.unanswered(others.iter().map(|stub| stub.pull_request), by);
        if ids_are_refused {
            self.by_name_until = Some(now + BY_NAME_ONLY);
            self.queue.unanswered(named.iter().map(|stub| stub.pull_request), By::Name);
        }
    }

    /// Gives each pull request's answer to those who wait for it, and remembers it.
    fn hand_out(&mut self, by: By, stubs: &[Stub], reply: &Reply, as_of: i64, now: Instant) {
        for (stub, found) in stubs.iter().zip(&reply.found) {
            let id = stub.pull_request;
            match found {
                Found::Details(details) => {
                    self.remember_language(stub.repo, details, now);
                    self.recent.insert(id, (details.clone(), as_of), now);
                    self.queue.found(id, details, as_of, now);
                }
                Found::Nothing => {
                    if self.queue.nothing(id, by, as_of, now) {
                        self.gone.insert(id, as_of, now);
                    }
                }
                Found::Cut => self.queue.cut(id, by),
            }
        }
        self.judge_ids(by, reply, now);
    }

    /// Whether computed ids are worth trying: not where they find nothing and names do.
    fn judge_ids(&mut self, by: By, reply: &Reply, now: Instant) {
        let found = reply.found.iter().filter(|found| matches!(found, Found::Details(_))).count();
        match by {
            By::Node if found > 0 => self.refused_ids = 0,
            By::Node => {}
            // Ids that are not tried are not refused.
            By::Name if self.by_name_until.is_some_and(|until| until > now) => {}
            By::Name => self.refused_ids += found,
        }
        if self.refused_ids >= REFUSED_IDS {
            tracing::warn!("GitHub refuses computed node ids, asking for pull requests by name for a while");
            self.refused_ids = 0;
            self.by_name_until = Some(now + BY_NAME_ONLY);
        }
    }

    fn remember_language(&self, repo: u64, details: &Details, now: Instant) {
        let mut languages = self.languages.lock().unwrap_or_else(PoisonError::into_inner);
        languages.insert(repo, details.language.clone(), now);
    }

    fn change_tokens(&mut self, now: Instant) {
        let changed = tokens(&self.settings.borrow_and_update());
        match changed {
            Ok(changed) => {
                let former = self.tokens.take();
                self.tokens = changed.map(|changed| match &former {
                    Some(former) => changed.remembering(former),
                    None => changed,
                });
                self.changes += 1;
                let same = match (&former, &self.tokens) {
                    (Some(former), Some(tokens)) => tokens.picks_same(former, now),
                    _ => false,
                };
                // Somebody else's points are not spent, nor is somebody else refused.
                if !same {
                    (self.budget, self.budget_since) = (Budget::default(), Some(now));
                }
            }
            Err(place) => {
                tracing::error!(place, "a token has characters that no token has, keeping the former ones");
            }
        }
    }

    /// Says something of a token, unless they were changed since. What it was before is of no interest here.
    fn token_at(
        &mut self,
        (place, changes): (usize, u64),
        say: impl FnOnce(&mut Credentials, usize) -> bool,
    ) {
        if let Some(tokens) = self.tokens.as_mut().filter(|_| changes == self.changes) {
            say(tokens, place);
        }
    }
}

fn tokens(settings: &GitHubSettings) -> Result<Option<Credentials>, usize> {
    Credentials::of_tokens(&settings.tokens, TOKEN_ASIDE)
}
