//! A GitHub with GitHub's rules, in simulated time, behind the seam where HTTP would be.
//!
//! What it is modelled on (`../shared/github-facts.md`; pingcap/ossinsight#3113 and #3119, measured in September 2026):
//!
//! - **Partition by position.** Page 1 had 95 pushes, 3 creates and 2 deletes of 100; pages 2 and 3 had no push at all, but
//!   pull requests, comments, stars and issues. So two streams fill the window of 300: pushes with about one in twenty
//!   creates or deletes among them the first 100 places, everything else the other 200, each newest first. How the other
//!   200 are filled was not measured, so both possibilities are here: [`Partition::Flowing`], one list of 200 in which an
//!   event moves from page 2 to page 3 (pages overlap among each other, as in the recorded walk of 2019), and
//!   [`Partition::Sharded`], in which each event belongs to one of the two pages and is only ever there. A budget that is
//!   thin for the rate sees less of the first, whose page 3 repeats what page 2 showed, and figures are of that one unless
//!   said otherwise; one that suffices sees all of either.
//! - **Publication.** Events come by a Poisson process whose rate swings by 30 % over ten minutes and doubles for three
//!   seconds in each minute. They are shown 30 s and more after they happened, one in a hundred hours later, one in five
//!   hundred more than a week (one page spanned more than a week of `created_at`). Ids are unique and not monotonic.
//! - **Quota.** So many requests in a window of an hour that begins with the first request after the last one ended; 304
//!   costs nothing, and answers beyond it are 403 with `x-ratelimit-remaining: 0`. 900 requests a minute are the secondary
//!   limit: 403 with `retry-after`. Each `Authorization` is an account; etags differ between them, as GitHub's do.
//! - **Latency.** 0.5 s for page 1 and 1.4 s for the others (#3119), give or take a fifth; the page is as it was a quarter
//!   of the way through. 422 beyond page 3, as many as 100 events however large `per_page` is.
//!
//! Not modelled: that two requests a second apart were once seen to share no event at all (#3113). A feed that is replaced
//! as a whole can only be sampled, by whomever.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod account;
mod capture;
mod stream;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pulsehub::clock::Clock;
use pulsehub::source::github::{Failure, Request, Response, Transport};
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, DATE, ETAG, HeaderMap, HeaderName, IF_NONE_MATCH};
use tokio::time::{Instant, sleep};

pub use account::Account;
pub use capture::{Capture, Poller, Scenario, run};
pub use stream::{FULL, Partition, Stream};

/// The simulated hour begins here, in Unix milliseconds: 2026-11-20T00:00:00Z.
const EPOCH_MILLIS: i64 = 1_795_132_800_000;

/// Wall-clock time that follows tokio's, which a test can pause.
pub struct SimulatedClock(Instant);

impl SimulatedClock {
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SimulatedClock {
    fn unix_millis(&self) -> i64 {
        EPOCH_MILLIS + i64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

/// Something that goes wrong for one account.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The token was revoked: 401.
    Revoked,
    /// Its account is suspended: 403 without a word about limits.
    Suspended,
    /// It is shown again and again what it was shown when this began.
    Stale,
    /// A secondary limit, with how long to wait or without.
    Throttled(Option<u64>),
}

/// A fault of the account with this number from one simulated second to another.
pub type Planned = (usize, Fault, std::ops::Range<u64>);

/// The server.
pub struct MockGitHub {
    state: Mutex<State>,
    start: Instant,
    faults: Vec<Planned>,
    /// From which second on `X-Poll-Interval` is how long; 60 s before.
    load: Vec<(u64, u64)>,
}

struct State {
    stream: Stream,
    accounts: HashMap<String, Account>,
    limit: u64,
    latency: fastrand::Rng,
    /// Requests on their way, by path and page; two at once for one of them are never allowed.
    in_flight: HashMap<String, u32>,
    overlapping: u32,
    /// What a stale account was shown when it began to be, by path and page.
    stale: HashMap<(String, String), Bytes>,
}

impl MockGitHub {
    pub fn new(stream: Stream, limit: u64, faults: Vec<Planned>, load: Vec<(u64, u64)>) -> Self {
        let state = State {
            stream,
            accounts: HashMap::new(),
            limit,
            latency: fastrand::Rng::with_seed(7),
            in_flight: HashMap::new(),
            overlapping: 0,
            stale: HashMap::new(),
        };
        Self { state: Mutex::new(state), start: Instant::now(), faults, load }
    }

    /// Looks at what it knows.
    pub fn inspect<T>(&self, look: impl FnOnce(&mut Stream, &HashMap<String, Account>) -> T) -> T {
        let mut state = self.state.lock().unwrap();
        let State { stream, accounts, .. } = &mut *state;
        look(stream, accounts)
    }

    /// How often something was asked for while it was being asked for.
    pub fn overlapping(&self) -> u32 {
        self.state.lock().unwrap().overlapping
    }

    fn fault(&self, token: &str) -> Option<Fault> {
        let second = self.start.elapsed().as_secs();
        let number: usize = token.rsplit("token").next()?.parse().ok()?;
        let now = |(account, _, span): &&Planned| *account == number && span.contains(&second);
        self.faults.iter().find(now).map(|(_, fault, _)| *fault)
    }

    fn answer(&self, request: &Request) -> Response {
        let now = self.start.elapsed();
        let token = text(&request.headers, &AUTHORIZATION);
        let fault = self.fault(&token);
        let mut state = self.state.lock().unwrap();
        let limit = if token.is_empty() { 60 } else { state.limit };
        let State { stream, accounts, stale, .. } = &mut *state;
        let account = accounts.entry(token.clone()).or_insert_with(|| Account::new(limit));
        let saying = |status: u16, body: &'static [u8]| Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Ok(Bytes::from_static(body)),
        };
        let refused = |status| saying(status, br#"{"message":"Sorry. Your account was suspended."}"#);
        let limited = || saying(403, br#"{"message":"You have exceeded a secondary rate limit."}"#);
        let account_headers = |account: &Account| account.headers(now, EPOCH_MILLIS / 1_000);
        match fault {
            Some(Fault::Revoked) => return refused(401),
            Some(Fault::Suspended) => return refused(403),
            Some(Fault::Throttled(wait)) => {
                account.throttled(now);
                let mut headers = account_headers(account);
                if let Some(seconds) = wait {
                    headers.insert("retry-after", seconds.into());
                }
                return Response { headers, ..limited() };
            }
            Some(Fault::Stale) | None => {}
        }
        if account.too_many_a_minute(now) {
            account.throttled(now);
            let mut headers = account_headers(account);
            headers.insert("retry-after", 60.into());
            return Response { headers, ..limited() };
        }
        let query: HashMap<_, _> = request.url.query_pairs().collect();
        let number = |name: &str, otherwise: usize| query.get(name).map_or(otherwise, |n| n.parse().unwrap());
        let (page, per_page) = (number("page", 1), number("per_page", 30).min(100));
        if page == 0 || page * per_page > 300 {
            return refused(422);
        }
        stream.advance(now);
        let Some(mut body) = stream.page(request.url.path(), page, per_page) else { return refused(404) };
        let place = (token.clone(), format!("{}?{page}", request.url.path()));
        if fault == Some(Fault::Stale) {
            body = stale.entry(place).or_insert(body).clone();
        } else {
            stale.remove(&place);
        }
        let etag = etag(&token, &body);
        let unchanged = text(&request.headers, &IF_NONE_MATCH) == etag;
        let allowed = account.charge(now, !unchanged);
        let mut headers = account_headers(account);
        if !allowed {
            return Response { headers, ..refused(403) };
        }
        let load = self.load.iter().rfind(|(from, _)| Duration::from_secs(*from) <= now);
        headers.insert("x-poll-interval", load.map_or(60, |(_, interval)| *interval).into());
        headers.insert(ETAG, etag.parse().unwrap());
        let (status, body) = if unchanged { (304, Bytes::new()) } else { (200, body) };
        Response { status: StatusCode::from_u16(status).unwrap(), headers, body: Ok(body) }
    }

    /// Counts a request as on its way, until the guard is dropped; returns how long it takes.
    fn begin(&self, request: &Request) -> (Duration, Flight<'_>) {
        let mut state = self.state.lock().unwrap();
        let place = request.url.as_str().to_owned();
        let others = state.in_flight.entry(place.clone()).or_default();
        *others += 1;
        if *others > 1 {
            state.overlapping += 1;
        }
        let first = place.contains("page=1") && request.url.path() == "/events";
        let latency = if first { 0.5 } else { 1.4 } * (0.8 + 0.4 * state.latency.f64());
        (Duration::from_secs_f64(latency), Flight { github: self, place })
    }
}

struct Flight<'a> {
    github: &'a MockGitHub,
    place: String,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        *self.github.state.lock().unwrap().in_flight.get_mut(&self.place).unwrap() -= 1;
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

fn etag(token: &str, body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    (token, body).hash(&mut hasher);
    format!("W/\"{:x}\"", hasher.finish())
}

#[async_trait]
impl Transport for MockGitHub {
    async fn send(&self, request: Request) -> Result<Response, Failure> {
        let (latency, _flight) = self.begin(&request);
        sleep(latency / 4).await;
        let mut response = self.answer(&request);
        let seconds = EPOCH_MILLIS / 1_000 + i64::try_from(self.start.elapsed().as_secs()).unwrap();
        let date = jiff::Timestamp::from_second(seconds).unwrap();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
        response.headers.insert(DATE, date.parse().unwrap());
        sleep(latency * 3 / 4).await;
        Ok(response)
    }
}
