//! All who may ask GitHub, each with a budget of its own: who asks next, who is set aside, and what all may ask together.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::{ANONYMOUS_LIMIT, Budget, USER_LIMIT};
use super::client::{ClientError, Failure};
use super::credentials::{Credential, Credentials, Pick};
use super::feeds::Trouble;
use super::freshness::Freshness;
use super::health::GitHubState;
use super::installation::Installation;
use super::poller::Waits;
use super::rate_limit::RateHeaders;
use crate::retry::Backoff;

/// The identity that `github.tokens` are.
const USER: &str = "github.tokens";
/// An identity that is refused without a word about limits, and worked before, is believed after so many in a row.
const REFUSALS: u32 = 3;
/// A stale identity is tried again this soon at first and at last: it was not refused.
const STALE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60));

/// A further budget, as `github.identities` lists it.
pub enum IdentityOptions {
    /// Tokens of one user, of which the first that works is used.
    Tokens(Vec<String>),
    /// An installation of a GitHub App.
    App {
        /// The App's id or client id.
        id: String,
        /// The installation's id.
        installation: u64,
        /// The App's private key, in PEM.
        key: Vec<u8>,
    },
}

/// One of those who may ask.
struct Identity {
    /// Never given twice.
    id: u64,
    /// Where it stands in the configuration.
    name: String,
    credentials: Credentials,
    budget: Budget,
    freshness: Freshness,
    stale_until: Option<Instant>,
    stale_backoff: Backoff,
    /// Refusals in a row, …
    refusals: u32,
    /// … and when the last of them came: those that were on their way then are the same one.
    refused: Option<Instant>,
    /// Whether it ever worked.
    worked: bool,
    /// Why it was refused last.
    refusal: String,
    /// When its next request would come if it asked as evenly as its budget allows.
    turn: Instant,
}

/// All of them, at least one.
pub struct Identities {
    list: Vec<Identity>,
    next_id: u64,
    waits: Waits,
}

/// Who asks, and with what.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The identity.
    pub id: u64,
    /// Its credential's place.
    pub index: usize,
    /// Its credential.
    pub credential: Credential,
    /// When it began to.
    pub since: Instant,
}

/// What became of an answer for whoever asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The failure is the feed's own, or there is none.
    Fine,
    /// The asker is refused, throttled or stale: the feed can be asked by somebody else.
    Asker,
}

impl Identities {
    /// The user of `tokens` and those of `options`; nobody in particular where there is none.
    ///
    /// # Errors
    /// When a token or key cannot be one.
    pub fn new(
        tokens: &[String],
        options: Vec<IdentityOptions>,
        waits: Waits,
        now: Instant,
    ) -> Result<Self, ClientError> {
        let mut identities = Self { list: Vec::new(), next_id: 0, waits };
        for (place, option) in options.into_iter().enumerate() {
            let name = format!("github.identities[{place}]");
            let credentials = match option {
                IdentityOptions::Tokens(tokens) => of_tokens(&tokens, &format!("{name}.tokens"), waits)?,
                IdentityOptions::App { id, installation, key } => {
                    let installation = Installation::new(id, installation, &key).map_err(|reason| {
                        ClientError::Key { place: format!("{name}.app.keyPath"), reason }
                    })?;
                    let credential = Credential::Installation(Arc::new(installation));
                    Some(Credentials::new(vec![credential], waits.refusal))
                }
            };
            if let Some(credentials) = credentials {
                identities.add(identities.list.len(), name, credentials, now);
            }
        }
        let user = of_tokens(tokens, USER, waits)?;
        identities.set_user(user, now);
        Ok(identities)
    }

    fn add(&mut self, at: usize, name: String, credentials: Credentials, now: Instant) {
        let limit = if credentials.is_anonymous() { ANONYMOUS_LIMIT } else { USER_LIMIT };
        self.next_id += 1;
        let identity = Identity {
            id: self.next_id,
            name,
            credentials,
            budget: Budget::new(limit, self.waits.limit),
            freshness: Freshness::default(),
            stale_until: None,
            stale_backoff: Backoff::new(STALE.0, STALE.1),
            refusals: 0,
            refused: None,
            worked: false,
            refusal: String::new(),
            turn: now,
        };
        self.list.insert(at, identity);
    }

    /// Puts the user first, or takes it away; where nobody would be left, nobody in particular asks.
    fn set_user(&mut self, user: Option<Credentials>, now: Instant) {
        self.list.retain(|identity| identity.name != USER);
        let credentials = match user {
            Some(user) => user,
            None if self.list.is_empty() => Credentials::new(vec![Credential::Anonymous], self.waits.refusal),
            None => return,
        };
        self.add(0, USER.to_owned(), credentials, now);
    }

    /// Goes on with other `tokens` of the user; whether somebody else asks from now on, for whom the old one's waits
    /// don't count.
    ///
    /// # Errors
    /// When a token cannot be one; nothing changes then.
    pub fn replace_tokens(&mut self, tokens: &[String], now: Instant) -> Result<bool, ClientError> {
        let user = of_tokens(tokens, USER, self.waits)?;
        let former = self.list.first_mut().filter(|identity| identity.name == USER);
        match (former, user) {
            (Some(former), Some(user)) => {
                let user = user.remembering(&former.credentials);
                if user.picks_same(&former.credentials, now) {
                    former.credentials = user;
                    return Ok(false);
                }
                self.set_user(Some(user), now);
            }
            (Some(former), None) if former.credentials.is_anonymous() => return Ok(false),
            (None, None) => return Ok(false),
            (_, user) => self.set_user(user, now),
        }
        Ok(true)
    }

    /// Whether nobody in particular asks.
    pub fn is_anonymous(&self) -> bool {
        self.list.iter().all(|identity| identity.credentials.is_anonymous())
    }

    /// Who asks now, somebody else than the others last; `preferred` if it may. Its budget has been charged.
    ///
    /// # Errors
    /// When somebody may; `None` where only an answer to a request in flight can tell.
    pub fn pick(&mut self, preferred: Option<u64>, now: Instant) -> Result<Asker, Option<Instant>> {
        let ready: Vec<_> = self.list.iter().map(|identity| identity.ready_at(now)).collect();
        let free = |index: &usize| ready[*index].is_some_and(|at| at <= now);
        let turn = |index: &usize| {
            let identity = &self.list[*index];
            (Some(identity.id) != preferred, identity.turn)
        };
        let Some(index) = (0..self.list.len()).filter(free).min_by_key(turn) else {
            return Err(ready.into_iter().flatten().min());
        };
        let identity = &mut self.list[index];
        let Pick::Ask(place, credential) = identity.credentials.pick(now) else { return Err(None) };
        let gap = Duration::try_from_secs_f64(identity.budget.rate(now).recip()).unwrap_or_default();
        identity.turn = identity.turn.max(now) + gap;
        identity.budget.sent();
        Ok(Asker { id: identity.id, index: place, credential, since: now })
    }

    /// Requests a second that all bear together, and how many of them can ask.
    pub fn rate(&self, now: Instant) -> (f64, usize) {
        let able = self.list.iter().filter(|identity| identity.is_able(now));
        let rates = able.map(|identity| identity.budget.rate(now));
        rates.fold((0.0, 0), |(sum, count), rate| (sum + rate, count + 1))
    }

    /// A request of `asker` was answered; `new` says of a page whether it showed this identity something new.
    pub fn answered(
        &mut self,
        asker: &Asker,
        rate: &RateHeaders,
        result: Result<Option<bool>, &Failure>,
        cost: bool,
        now: Instant,
    ) -> Verdict {
        let is_alone = !self.list.iter().any(|other| other.id != asker.id && other.is_able(now));
        // One that was replaced meanwhile.
        let Some(identity) = self.list.iter_mut().find(|identity| identity.id == asker.id) else {
            return Verdict::Fine;
        };
        identity.budget.answered(rate, cost, result.is_ok(), now);
        match result {
            Ok(new) => {
                identity.works(asker, new, is_alone, now);
                Verdict::Fine
            }
            Err(Failure::RateLimited { wait }) => {
                identity.budget.limited(*wait, asker.since, now);
                Verdict::Asker
            }
            Err(failure) => identity.failed(asker, failure, now),
        }
    }

    /// A request of `asker` was given up before it was answered.
    pub fn lost(&mut self, asker: &Asker, now: Instant) {
        if let Some(identity) = self.list.iter_mut().find(|identity| identity.id == asker.id) {
            identity.budget.lost(now);
        }
    }

    /// Requests left in this window, of all, where GitHub said.
    pub fn left(&self) -> Option<u64> {
        self.list.iter().filter_map(|identity| identity.budget.left()).reduce(|sum, left| sum + left)
    }

    /// When who can ask, or how often, changes without an answer.
    pub fn changes_at(&self, now: Instant) -> Option<Instant> {
        let changes = self.list.iter().flat_map(|identity| {
            let aside = match identity.credentials.pick(now) {
                Pick::Ask(..) => None,
                Pick::Aside(until) => Some(until),
            };
            [aside, identity.stale_until.filter(|at| *at > now), identity.budget.changes_at(now)]
        });
        changes.flatten().min()
    }

    /// How many can ask, and how many are set aside.
    pub fn count(&self) -> (usize, usize) {
        let aside = self.list.iter().filter(|identity| identity.is_aside()).count();
        (self.list.len() - aside, aside)
    }

    /// Those that are set aside because they are refused or stale, each with its reason, until they have worked again: to be
    /// tried again is not to be back.
    pub fn aside(&self) -> Vec<String> {
        let aside = self.list.iter().filter(|identity| identity.is_aside());
        aside.map(|identity| format!("{}: {}", identity.name, identity.reason())).collect()
    }

    /// Why nobody can ask now, where that is so.
    pub fn trouble(&self, now: Instant) -> Option<(GitHubState, Trouble)> {
        let trouble = |kind, text: &str| Trouble { kind, text: text.to_owned() };
        let able: Vec<_> = self.list.iter().filter(|identity| identity.is_able(now)).collect();
        if able.is_empty() {
            return Some(self.nobody(now));
        }
        if able.iter().any(|identity| !identity.budget.is_spent(now)) {
            return None;
        }
        let spent = if able.iter().any(|identity| identity.budget.is_blocked(now)) {
            trouble("rate_limited", "GitHub's rate limit is reached")
        } else {
            trouble("quota_spent", "the quota is spent until it is renewed")
        };
        Some((GitHubState::BackingOff, spent))
    }

    fn nobody(&self, now: Instant) -> (GitHubState, Trouble) {
        let stale = |identity: &Identity| matches!(identity.credentials.pick(now), Pick::Ask(..));
        let state = if self.is_anonymous() || self.list.iter().any(stale) {
            GitHubState::BackingOff
        } else {
            GitHubState::Unauthorized
        };
        let text = match self.list.as_slice() {
            [one] if state == GitHubState::Unauthorized && one.name == USER => {
                format!("no token of github.tokens works: {}", one.refusal)
            }
            [one] => one.reason(),
            _ => format!("no identity works: {}", self.aside().join("; ")),
        };
        (state, Trouble { kind: "no_identity", text })
    }
}

fn of_tokens(texts: &[String], place: &str, waits: Waits) -> Result<Option<Credentials>, ClientError> {
    Credentials::of_tokens(texts, waits.refusal)
        .map_err(|index| ClientError::Token(format!("{place}[{index}]")))
}

impl Identity {
    fn is_able(&self, now: Instant) -> bool {
        self.stale_until.is_none_or(|until| until <= now)
            && matches!(self.credentials.pick(now), Pick::Ask(..))
    }

    /// Whether it was refused or stale when it was last tried.
    fn is_aside(&self) -> bool {
        self.stale_until.is_some() || self.credentials.are_refused()
    }

    fn ready_at(&self, now: Instant) -> Option<Instant> {
        let able = match self.credentials.pick(now) {
            Pick::Ask(..) => now,
            Pick::Aside(until) => until,
        };
        Some(self.budget.ready_at(now)?.max(able).max(self.stale_until.unwrap_or(now)))
    }

    fn reason(&self) -> String {
        if self.credentials.are_refused() {
            return self.refusal.clone();
        }
        "GitHub answers it with the same page again and again".to_owned()
    }

    /// `is_alone` where nobody else could ask in its place.
    fn works(&mut self, asker: &Asker, new: Option<bool>, is_alone: bool, now: Instant) {
        (self.refusals, self.worked) = (0, true);
        self.budget.worked(asker.since);
        if self.credentials.works(asker.index, asker.since) {
            tracing::info!(identity = self.name, token = asker.index, "a GitHub token works again");
        }
        let Some(new) = new else { return };
        // Set aside alone, it would only see less.
        if self.freshness.observe(new, now) && !is_alone {
            self.stale_until = Some(now + self.stale_backoff.next_delay());
            if self.stale_backoff.failures() == 1 {
                let name = &self.name;
                tracing::warn!(
                    identity = name,
                    "GitHub shows an identity the same page again and again, it is set aside"
                );
            }
        } else if new && self.stale_until.take().is_some() {
            self.stale_backoff.reset();
            tracing::info!(identity = self.name, "an identity is shown what is new again");
        }
    }

    fn failed(&mut self, asker: &Asker, failure: &Failure, now: Instant) -> Verdict {
        let index = asker.index;
        let refused = match failure {
            Failure::Unauthorized | Failure::Unsigned | Failure::NoToken(_) => true,
            Failure::Forbidden => {
                if self.refused.is_none_or(|refused| asker.since > refused) {
                    (self.refusals, self.refused) = (self.refusals + 1, Some(now));
                }
                !self.worked || self.refusals >= REFUSALS
            }
            _ => return Verdict::Fine,
        };
        if !refused {
            return Verdict::Fine;
        }
        self.refusal = crate::error_chain(failure);
        let first = self.credentials.set_aside(index, asker.since, now);
        if first && matches!(self.credentials.pick(now), Pick::Ask(..)) {
            let (name, reason) = (&self.name, &self.refusal);
            tracing::warn!(
                identity = name,
                token = index,
                reason,
                "a GitHub token is refused, the next one takes over"
            );
        } else if first {
            tracing::warn!(
                identity = self.name,
                token = index,
                reason = self.refusal,
                "an identity is refused, it is set aside"
            );
        }
        Verdict::Asker
    }
}
