//! Polls the feed in rounds of three pages, hands the events to the intake, and waits as long as it must.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::client::{Answer, Client, ClientError, Failure};
use super::health::{GitHubState, GitHubStatus, Health};
use super::pages::{Harvest, Pages, Trouble};
use super::rate_limit;
use super::round::Round;
use super::spread::slices;
use super::tokens::{Identity, Token, Tokens};
use super::{GitHubSettings, PAGES};
use crate::clock::Clock;
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::source::{Candidate, Intake, IntakeError, Rejected};
use crate::telemetry::names;

/// How long to wait after failures: the first wait and the longest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// After a page or the intake failed.
    pub failure: (Duration, Duration),
    /// After GitHub refused a token.
    pub refusal: (Duration, Duration),
    /// After a secondary limit that does not say how long: a minute, then doubling. Twice that, since a backoff is
    /// at least half of what it is asked for.
    pub limit: (Duration, Duration),
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = |first, longest| (Duration::from_secs(first), Duration::from_secs(longest));
        Self { failure: seconds(1, 60), refusal: seconds(30, 600), limit: seconds(120, 3600) }
    }
}

/// Polls GitHub's public feed.
pub struct Poller {
    client: Client,
    tokens: Tokens,
    pages: Pages,
    intake: Intake,
    health: Health,
    /// How long to wait after a token was refused.
    refusal_pace: (Duration, Duration),
    settings: watch::Receiver<GitHubSettings>,
    limit_backoff: Backoff,
    intake_backoff: Backoff,
    intake_trouble: Option<Trouble>,
    /// Why the last token was refused.
    refusal: String,
}

/// What follows from a round.
struct Plan {
    next: Instant,
    state: GitHubState,
    trouble: Option<Trouble>,
}

impl Poller {
    /// Polls `base_url` for `intake` as `settings` say; does nothing before [`Poller::run`].
    ///
    /// # Errors
    /// When the address or a token cannot be one, or TLS cannot be set up.
    pub fn new(
        base_url: &str,
        settings: watch::Receiver<GitHubSettings>,
        intake: Intake,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        Self::with_pace(base_url, settings, intake, clock, Pace::default())
    }

    pub(super) fn with_pace(
        base_url: &str,
        settings: watch::Receiver<GitHubSettings>,
        intake: Intake,
        clock: Arc<dyn Clock>,
        pace: Pace,
    ) -> Result<Self, ClientError> {
        let client = Client::new(base_url, clock.clone())?;
        let tokens = Tokens::new(&settings.borrow().tokens, pace.refusal.0, pace.refusal.1)
            .map_err(ClientError::Token)?;
        Ok(Self {
            client,
            health: Health::new(!tokens.is_empty(), clock),
            tokens,
            pages: Pages::new(pace.failure.0, pace.failure.1),
            intake,
            refusal_pace: pace.refusal,
            settings,
            limit_backoff: Backoff::new(pace.limit.0, pace.limit.1),
            intake_backoff: Backoff::new(pace.failure.0, pace.failure.1),
            intake_trouble: None,
            refusal: String::new(),
        })
    }

    /// How it stands: changes after every round, and ends with the poller.
    pub fn status(&self) -> watch::Receiver<GitHubStatus> {
        self.health.subscribe()
    }

    /// Polls until shutdown. Whatever GitHub answers, it waits and tries again; what was fetched by then is
    /// published before it returns.
    ///
    /// # Errors
    /// When this process cannot publish any more.
    pub async fn run(mut self, mut shutdown: Shutdown) -> Result<(), IntakeError> {
        while !shutdown.is_triggered() {
            let identity = self.tokens.pick(Instant::now());
            let next = match identity {
                Identity::None(until) => {
                    let text = format!("no token of github.tokens works: {}", self.refusal);
                    self.health
                        .report(GitHubState::Unauthorized, Some(Trouble { kind: "unauthorized", text }));
                    until
                }
                Identity::Anonymous => self.round(None, &mut shutdown).await?,
                Identity::Token(index, token) => self.round(Some((index, token)), &mut shutdown).await?,
            };
            self.pause(next, &mut shutdown).await;
        }
        Ok(())
    }

    /// Waits for the next round, or for what calls for one earlier: shutdown, or settings by which somebody else asks.
    async fn pause(&mut self, next: Instant, shutdown: &mut Shutdown) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.triggered() => return,
                Ok(()) = self.settings.changed() => if self.take_over() { return },
                () = sleep_until(next) => return,
            }
        }
    }

    /// Goes on with other settings; whether somebody else asks from now on, for whom the old one's waits don't count.
    fn take_over(&mut self) -> bool {
        let texts = self.settings.borrow_and_update().tokens.clone();
        let (now, (base, cap)) = (Instant::now(), self.refusal_pace);
        let tokens = match Tokens::new(&texts, base, cap) {
            Ok(tokens) => tokens.remembering(&self.tokens),
            Err(place) => {
                tracing::error!(error = %ClientError::Token(place), "going on with the former tokens");
                return false;
            }
        };
        let before = std::mem::replace(&mut self.tokens, tokens);
        self.health.authenticated(!self.tokens.is_empty());
        !before.pick(now).is_same(&self.tokens.pick(now))
    }

    /// `github.loop.break` as it stands.
    fn break_(&self) -> Duration {
        self.settings.borrow().break_
    }

    /// Fetches and publishes what is new; returns when the next round is due.
    async fn round(
        &mut self,
        token: Option<(usize, Token)>,
        shutdown: &mut Shutdown,
    ) -> Result<Instant, IntakeError> {
        let answers = tokio::select! {
            answers = self.fetch(token.as_ref().map(|(_, token)| token)) => answers,
            () = shutdown.triggered() => return Ok(Instant::now()),
        };
        let (mut round, now) = (Round::digest(answers), Instant::now());
        if let Some(quota) = round.rate.quota {
            metrics::gauge!(names::GITHUB_REMAINING).set(quota.remaining as f64);
            self.health.remaining(quota.remaining);
        }
        if let Some((index, _)) = token {
            if let Some(refusal) = round.refusal() {
                return Ok(self.set_aside(index, refusal, now));
            }
            if !round.worked.is_empty() && self.tokens.works(index) {
                tracing::info!(token = index, "a GitHub token works again");
            }
        }
        let plan = self.plan(&round, token.is_some(), now);
        self.health.report(plan.state, self.intake_trouble.clone().or_else(|| plan.trouble.clone()));
        if round.harvest.is_empty() {
            return Ok(plan.next);
        }
        self.pages.drop_known(&mut round.harvest);
        let (candidates, rejected) = round.harvest.take();
        let span = if token.is_some() { Duration::ZERO } else { plan.next - now };
        match self.publish(candidates, rejected, span, shutdown).await {
            Ok(()) => Ok(self.published(round.harvest, plan)),
            Err(IntakeError::Stopped) => Ok(plan.next),
            Err(error) if error.is_fatal() => Err(error),
            Err(error) => {
                let trouble = Trouble { kind: "intake", text: crate::error_chain(&error) };
                self.intake_trouble = Some(trouble.clone());
                self.health.report(GitHubState::BackingOff, Some(trouble));
                Ok(plan.next.max(Instant::now() + self.intake_backoff.next_delay()))
            }
        }
    }

    async fn fetch(&self, token: Option<&Token>) -> Vec<(u8, Answer)> {
        let timeout = self.settings.borrow().timeout;
        let ask = |(page, etag)| async move { (page, self.client.page(page, timeout, token, etag).await) };
        join_all(self.pages.due(Instant::now()).map(ask)).await
    }

    /// Decides what follows from `round`.
    fn plan(&mut self, round: &Round, authenticated: bool, now: Instant) -> Plan {
        round.worked.iter().for_each(|&page| self.pages.worked(page));
        let retries = round.troubles().map(|(page, trouble)| self.pages.failed(page, trouble, now));
        let retry = retries.max().unwrap_or(now) - now;
        let requests = u64::from(PAGES);
        let spent = round.rate.spent_for(requests);
        let mut state = if spent.is_some() { GitHubState::BackingOff } else { GitHubState::Polling };
        let mut trouble = self.pages.trouble().cloned();
        if spent.is_some() {
            let text = "the quota is spent until it is renewed".to_owned();
            trouble = Some(Trouble { kind: "quota_spent", text });
        }
        let mut pause = rate_limit::pause(&round.rate, authenticated, self.break_(), requests);
        if round.worked.is_empty() {
            // Nothing came, so there is no reason to wait as long as after a page.
            pause = retry.max(self.break_()).max(spent.unwrap_or_default());
            state = GitHubState::BackingOff;
        } else {
            self.health.succeeded();
        }
        match round.limited() {
            Some(wait) => {
                pause = pause.max(wait.unwrap_or_else(|| self.limit_backoff.next_delay()));
                state = GitHubState::BackingOff;
                trouble =
                    Some(Trouble { kind: "rate_limited", text: "GitHub's rate limit is reached".to_owned() });
            }
            None if !round.worked.is_empty() => self.limit_backoff.reset(),
            None => {}
        }
        Plan { next: now + pause, state, trouble }
    }

    /// Another token takes over, or all wait.
    fn set_aside(&mut self, index: usize, refusal: &Failure, now: Instant) -> Instant {
        let first = self.tokens.set_aside(index, now);
        self.refusal = refusal.to_string();
        let Identity::Token(..) = self.tokens.pick(now) else { return now };
        if first {
            tracing::warn!(
                token = index,
                reason = self.refusal,
                "a GitHub token is refused, the next one takes over"
            );
        }
        now + self.break_()
    }

    /// Hands everything to the intake, evenly over `span`; at once when shutdown or other settings come.
    async fn publish(
        &self,
        candidates: Vec<Candidate>,
        mut rejected: Vec<Rejected>,
        span: Duration,
        shutdown: &mut Shutdown,
    ) -> Result<(), IntakeError> {
        let (start, slices) = (Instant::now(), slices(candidates.len(), span));
        let mut candidates = candidates.into_iter();
        // A copy: the pause after this round is to see the change too.
        let (mut settings, mut hurry) = (self.settings.clone(), false);
        for (at, count) in slices {
            if !hurry {
                tokio::select! {
                    biased;
                    () = shutdown.triggered() => hurry = true,
                    Ok(()) = settings.changed() => hurry = true,
                    () = sleep_until(start + at) => {}
                }
            }
            let count = if hurry { usize::MAX } else { count };
            let slice = candidates.by_ref().take(count).collect();
            self.intake.submit(slice, std::mem::take(&mut rejected)).await?;
            if candidates.len() == 0 {
                break;
            }
        }
        Ok(())
    }

    fn published(&mut self, harvest: Harvest, plan: Plan) -> Instant {
        self.pages.remember(harvest);
        self.intake_backoff.reset();
        if self.intake_trouble.take().is_some() {
            self.health.report(plan.state, plan.trouble);
        }
        plan.next
    }
}
