//! Asks each feed when it is due, hands the events to the intake, and waits as long as it must.
//!
//! One task: requests and publishes run beside each other in it, never two for the same feed. What follows from an answer
//! is decided elsewhere, by plain functions of headers and times.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::client::{Answer, Client, ClientError, Failure, Outcome};
use super::credentials::Credential;
use super::feeds::{Found, Fresh, Trouble, Watched};
use super::health::{GitHubState, GitHubStatus, Health};
use super::http::{Http, Transport};
use super::identities::{Asker, Identities, IdentityOptions, Verdict};
use super::poll::{Feed, Observer};
use super::publish::publish;
use super::rate_limit::RateHeaders;
use super::schedule::{Manner, PollInterval, Slot, due, pauses};
use super::{GitHubSettings, PAGES};
use crate::clock::Clock;
use crate::retry::Backoff;
use crate::shutdown::Shutdown;
use crate::source::{Intake, IntakeError};
use crate::telemetry::names;

/// A focus feed that is not there, blocked, or renamed again and again is asked again this much later.
const MISSING: Duration = Duration::from_secs(600);
/// Requests on their way at once: GitHub's secondary limit is 100 for one who asks, in all that he does.
const AT_ONCE: usize = 16;
/// Where polls are far apart, events are handed on evenly over this time at most.
const LONGEST_SPREAD: Duration = Duration::from_secs(180);

/// How long to wait after failures: the first wait and the longest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// After a feed or the intake failed.
    pub failure: (Duration, Duration),
    /// After GitHub refused a token.
    pub refusal: (Duration, Duration),
    /// After a secondary limit that does not say how long: a minute, then doubling. Twice that, since a backoff is
    /// at least half of what it is asked for.
    pub limit: (Duration, Duration),
}

impl Default for Waits {
    fn default() -> Self {
        let seconds = |first, longest| (Duration::from_secs(first), Duration::from_secs(longest));
        Self { failure: seconds(1, 60), refusal: seconds(30, 600), limit: seconds(120, 3600) }
    }
}

/// What a poller is made with; what may change while it runs is in [`GitHubSettings`].
pub struct Setup {
    /// `github.baseUrl`.
    pub base_url: String,
    /// `github.identities`: budgets beside that of `github.tokens`.
    pub identities: Vec<IdentityOptions>,
    /// `github.focus`: `owner/repo` or `owner`; anything else is passed over.
    pub focus: Vec<String>,
    /// Told of every poll that brought events.
    pub observer: Observer,
}

impl Setup {
    /// The public feed at `base_url` alone, for `github.tokens` alone, and nobody is told.
    pub fn new(base_url: &str) -> Self {
        let observer: Observer = Arc::new(|_| {});
        Self { base_url: base_url.to_owned(), identities: Vec::new(), focus: Vec::new(), observer }
    }
}

/// Polls GitHub's public feed, and those of `github.focus`.
pub struct Poller {
    client: Client,
    identities: Identities,
    /// The pages, then the focus feeds.
    watched: Vec<Watched>,
    /// The same places.
    slots: Vec<Slot>,
    /// Who asks for which of them now.
    pending: HashMap<usize, Asker>,
    intake: Arc<Intake>,
    observer: Observer,
    health: Health,
    settings: watch::Receiver<GitHubSettings>,
    intake_backoff: Backoff,
    intake_trouble: Option<Trouble>,
}

/// An answer, and to what.
struct Asked {
    index: usize,
    asker: Asker,
    at: Instant,
    at_millis: i64,
    answer: Answer,
}

/// What became of a poll's events.
struct Published {
    index: usize,
    fresh: Fresh,
    result: Result<(), IntakeError>,
}

type Steps<T> = FuturesUnordered<BoxFuture<'static, T>>;

impl Poller {
    /// Polls for `intake` over the network; does nothing before [`Poller::run`].
    ///
    /// # Errors
    /// When the address, a token or a key cannot be one, or TLS cannot be set up.
    pub fn new(
        setup: Setup,
        settings: watch::Receiver<GitHubSettings>,
        intake: Intake,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        Self::over(Arc::new(Http::new()?), setup, settings, intake, clock)
    }

    /// The same with another way to GitHub.
    ///
    /// # Errors
    /// As [`Poller::new`].
    pub fn over(
        transport: Arc<dyn Transport>,
        setup: Setup,
        settings: watch::Receiver<GitHubSettings>,
        intake: Intake,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        Self::with_waits(transport, setup, settings, intake, clock, Waits::default())
    }

    pub(super) fn with_waits(
        transport: Arc<dyn Transport>,
        setup: Setup,
        settings: watch::Receiver<GitHubSettings>,
        intake: Intake,
        clock: Arc<dyn Clock>,
        waits: Waits,
    ) -> Result<Self, ClientError> {
        let client = Client::new(transport, &setup.base_url, clock.clone())?;
        let tokens = settings.borrow().tokens.clone();
        let identities = Identities::new(&tokens, setup.identities, waits, Instant::now())?;
        let focus = setup.focus.iter().filter_map(|entry| Watched::focus(entry, waits.failure));
        let watched: Vec<_> =
            (1..=PAGES).map(|page| Watched::page(page, waits.failure)).chain(focus).collect();
        let slots = slots(&watched, Instant::now());
        Ok(Self {
            client,
            health: Health::new(!identities.is_anonymous(), clock),
            identities,
            slots,
            watched,
            pending: HashMap::new(),
            intake: Arc::new(intake),
            observer: setup.observer,
            settings,
            intake_backoff: Backoff::new(waits.failure.0, waits.failure.1),
            intake_trouble: None,
        })
    }

    /// How it stands: changes with what GitHub answers, and ends with the poller.
    pub fn status(&self) -> watch::Receiver<GitHubStatus> {
        self.health.subscribe()
    }

    /// Polls until shutdown. Whatever GitHub answers, it waits and tries again; what was fetched by then is
    /// published before it returns.
    ///
    /// # Errors
    /// When this process cannot publish any more.
    pub async fn run(mut self, mut shutdown: Shutdown) -> Result<(), IntakeError> {
        let (mut asking, mut publishing) = (Steps::<Asked>::new(), Steps::<Published>::new());
        while !shutdown.is_triggered() {
            let wake = self.ask(&asking);
            let sleep = sleep_until(wake.unwrap_or_else(Instant::now));
            tokio::select! {
                biased;
                () = shutdown.triggered() => break,
                Ok(()) = self.settings.changed() => {
                    if self.take_over() {
                        asking.clear();
                        self.give_up_pending();
                    }
                }
                Some(done) = publishing.next() => self.published(done)?,
                Some(asked) = asking.next() => {
                    let index = asked.index;
                    if let Some(found) = self.answered(asked) {
                        publishing.push(self.publish(index, found, &shutdown));
                    }
                }
                () = sleep, if wake.is_some() => {}
            }
        }
        drop(asking);
        while let Some(done) = publishing.next().await {
            self.published(done)?;
        }
        Ok(())
    }

    /// Asks every feed that is due; returns when there may be something to do again, if that is known.
    fn ask(&mut self, asking: &Steps<Asked>) -> Option<Instant> {
        loop {
            if asking.len() >= AT_ONCE {
                return None;
            }
            let now = Instant::now();
            let pauses = self.pauses(now);
            let slots = self.slots.iter().zip(&pauses).enumerate();
            let next =
                slots.filter_map(|(index, (slot, pause))| Some((due(slot, *pause, now)?, index))).min();
            // With what the identities bear, all pauses change.
            let change = self.identities.changes_at(now);
            let Some((at, index)) = next else { return change };
            if at > now {
                return Some(change.map_or(at, |change| change.min(at)));
            }
            let focused = matches!(self.watched[index].feed, Feed::Focus(_));
            let known_to = self.watched[index].known_to().filter(|_| focused);
            match self.identities.pick(known_to, now) {
                Ok(asker) => {
                    self.slots[index].asked(now);
                    self.pending.insert(index, asker.clone());
                    asking.push(self.request(index, asker, now));
                }
                Err(at) => return at.into_iter().chain(change).min(),
            }
        }
    }

    fn pauses(&self, now: Instant) -> Vec<Duration> {
        let (rate, identities) = self.identities.rate(now);
        pauses(&self.slots, &self.manner(), rate, identities)
    }

    fn manner(&self) -> Manner {
        let settings = self.settings.borrow();
        let interval =
            if self.identities.is_anonymous() { PollInterval::Obey } else { settings.poll_interval };
        Manner { interval, priority: settings.priority, least: settings.break_ }
    }

    fn request(&self, index: usize, asker: Asker, at: Instant) -> BoxFuture<'static, Asked> {
        let (client, timeout) = (self.client.clone(), self.settings.borrow().timeout);
        let watched = &self.watched[index];
        let ((path, page), etag) = (watched.place(), watched.etag(asker.id));
        let at_millis = client.clock().unix_millis();
        Box::pin(async move {
            let answer = match asker.credential.authorization(&client, timeout).await {
                Ok(authorization) => client.events(&path, page, timeout, authorization, etag).await,
                Err(failure) => Answer { outcome: Outcome::Failed(failure), rate: RateHeaders::default() },
            };
            if let (Outcome::Failed(Failure::Unauthorized), Credential::Installation(installation)) =
                (&answer.outcome, &asker.credential)
            {
                installation.forget().await;
            }
            Asked { index, asker, at, at_millis, answer }
        })
    }

    /// Takes an answer; returns what is to be published.
    fn answered(&mut self, asked: Asked) -> Option<Found> {
        let Asked { index, asker, at, at_millis, answer } = asked;
        let now = Instant::now();
        self.pending.remove(&index);
        let watched = &mut self.watched[index];
        let (result, cost) = match answer.outcome {
            Outcome::Page { body, etag } => {
                let found = watched.read(asker.id, &body, etag, at, at_millis);
                (found.map(Some).map_err(Failure::NotJson), true)
            }
            Outcome::NotModified => (Ok(None), false),
            Outcome::Failed(failure) => (Err(watched.meant(failure, &answer.rate)), true),
        };
        let label = match &result {
            Ok(Some(_)) => "page",
            Ok(None) => "not_modified",
            Err(failure) => failure.label(),
        };
        metrics::counter!(names::GITHUB_REQUESTS, "outcome" => label).increment(1);
        let is_page = matches!(watched.feed, Feed::Page(_));
        let new = |found: &Option<Found>| is_page.then(|| found.as_ref().is_some_and(|found| found.new));
        let verdict = self.identities.answered(&asker, &answer.rate, result.as_ref().map(new), cost, now);
        self.slots[index].interval(answer.rate.poll_interval);
        let (failed, found) = match result {
            Ok(found) => {
                self.worked(index, found.as_ref(), at);
                (false, found)
            }
            Err(failure) => {
                self.failed(index, &failure, verdict, now);
                (true, None)
            }
        };
        self.tell(failed, now);
        found
    }

    fn worked(&mut self, index: usize, found: Option<&Found>, at: Instant) {
        let slot = &mut self.slots[index];
        self.health.succeeded();
        match found {
            Some(Found { poll, .. }) => {
                (self.observer)(poll);
                let former = poll.overlap.zip(poll.since_former);
                slot.answered(poll.events.len(), former, true);
                slot.showed(&poll.events);
            }
            None => {
                let former = self.watched[index].unchanged(at);
                slot.answered(former.map_or(0, |(shown, _)| shown), former, false);
                slot.free();
            }
        }
    }

    fn failed(&mut self, index: usize, failure: &Failure, verdict: Verdict, now: Instant) {
        let (slot, watched) = (&mut self.slots[index], &mut self.watched[index]);
        let missing = matches!(failure, Failure::NotFound);
        if verdict == Verdict::Asker || missing && watched.elsewhere() || watched.follow(failure) {
            return slot.unasked();
        }
        let text = format!("{}: {}", watched.feed, crate::error_chain(failure));
        let mut pause = watched.failed(Trouble { kind: failure.label(), text });
        let closed = missing || matches!(failure, Failure::Blocked | Failure::Renamed);
        if closed && matches!(watched.feed, Feed::Focus(_)) {
            pause = pause.max(MISSING);
        }
        slot.leave_until(now + pause);
    }

    fn publish(&self, index: usize, found: Found, shutdown: &Shutdown) -> BoxFuture<'static, Published> {
        let Found { mut page, fresh, .. } = found;
        let spread = self.manner().interval == PollInterval::Obey;
        let span =
            if spread { self.pauses(Instant::now())[index].min(LONGEST_SPREAD) } else { Duration::ZERO };
        // A copy that has seen nothing of what changes from now on.
        let (intake, shutdown, settings) = (self.intake.clone(), shutdown.clone(), self.settings.clone());
        Box::pin(async move {
            let (candidates, rejected) = (page.take_candidates(), page.rejected);
            let result = publish(&intake, candidates, rejected, span, shutdown, settings).await;
            Published { index, fresh, result }
        })
    }

    fn published(&mut self, Published { index, fresh, result }: Published) -> Result<(), IntakeError> {
        let now = Instant::now();
        match result {
            Ok(()) => {
                self.watched[index].published(fresh);
                self.slots[index].free();
                self.intake_backoff.reset();
                if self.intake_trouble.take().is_some() {
                    self.tell(false, now);
                }
            }
            Err(IntakeError::Stopped) => self.slots[index].free(),
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => {
                let text = crate::error_chain(&error);
                self.intake_trouble = Some(Trouble { kind: "intake", text });
                self.slots[index].leave_until(now + self.intake_backoff.next_delay());
                self.tell(true, now);
            }
        }
        Ok(())
    }

    /// Goes on with other settings; whether somebody else asks from now on, for whom the old one's waits don't count.
    fn take_over(&mut self) -> bool {
        let tokens = self.settings.borrow_and_update().tokens.clone();
        match self.identities.replace_tokens(&tokens, Instant::now()) {
            Ok(changed) => {
                self.health.authenticated(!self.identities.is_anonymous());
                changed
            }
            Err(error) => {
                tracing::error!(error = %error, "going on with the former tokens");
                false
            }
        }
    }

    /// The requests on their way will not be answered: their feeds are asked again by whoever asks now.
    fn give_up_pending(&mut self) {
        let now = Instant::now();
        for (index, asker) in self.pending.drain() {
            self.identities.lost(&asker, now);
            self.slots[index].unasked();
        }
        self.slots.iter_mut().for_each(|slot| slot.restart(now));
        self.watched.iter_mut().for_each(Watched::forget_identities);
    }

    /// Says how it stands; `again` where something went wrong once more.
    fn tell(&mut self, again: bool, now: Instant) {
        if let Some(left) = self.identities.left() {
            metrics::gauge!(names::GITHUB_REMAINING).set(left as f64);
            self.health.remaining(left);
        }
        let (able, aside) = self.identities.count();
        metrics::gauge!(names::GITHUB_IDENTITIES, "state" => "able").set(able as f64);
        metrics::gauge!(names::GITHUB_IDENTITIES, "state" => "aside").set(aside as f64);
        self.health.aside(self.identities.aside());
        let (state, trouble) = self.condition(now);
        self.health.report(state, trouble, again);
    }

    fn condition(&self, now: Instant) -> (GitHubState, Option<Trouble>) {
        if let Some(trouble) = &self.intake_trouble {
            return (GitHubState::BackingOff, Some(trouble.clone()));
        }
        if let Some((state, trouble)) = self.identities.trouble(now) {
            return (state, Some(trouble));
        }
        let trouble = self.watched.iter().find_map(|watched| watched.trouble.clone());
        let pages = self.watched.iter().filter(|watched| matches!(watched.feed, Feed::Page(_)));
        let all_fail = pages.clone().all(|page| page.trouble.is_some());
        (if all_fail { GitHubState::BackingOff } else { GitHubState::Polling }, trouble)
    }
}

/// A slot for each feed. As many as may be asked at once are due at once, the others after a part of their first pause each, so
/// that hundreds of them do not spend what the pages need.
fn slots(watched: &[Watched], now: Instant) -> Vec<Slot> {
    let late = watched.len().saturating_sub(AT_ONCE);
    let slot = |(place, watched): (usize, &Watched)| {
        let slot = Slot::new(&watched.feed);
        match place.checked_sub(AT_ONCE) {
            Some(place) => slot.starting(now, place as f64 / late as f64),
            None => slot,
        }
    };
    watched.iter().enumerate().map(slot).collect()
}
