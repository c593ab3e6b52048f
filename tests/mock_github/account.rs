//! One account's quota, as GitHub keeps it, and whether anybody ever asked for more.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::header::HeaderMap;

const WINDOW: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);
/// Requests a minute: the secondary limit of REST.
const A_MINUTE: usize = 900;

/// An account.
pub struct Account {
    limit: u64,
    used: u64,
    window_ends: Duration,
    /// When requests came that cost something, over the last hour.
    hour: VecDeque<Duration>,
    /// When requests came, over the last minute.
    minute: VecDeque<Duration>,
    /// The most requests that cost something within any hour.
    pub most_in_an_hour: usize,
    /// Requests that were answered, for nothing or not.
    pub answered: u64,
    /// Requests beyond the quota.
    pub beyond_quota: u64,
    /// When requests were refused by a secondary limit.
    pub throttled: Vec<Duration>,
    /// When the last request came.
    pub last: Duration,
}

impl Account {
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            window_ends: Duration::ZERO,
            hour: VecDeque::new(),
            minute: VecDeque::new(),
            most_in_an_hour: 0,
            answered: 0,
            beyond_quota: 0,
            throttled: Vec::new(),
            last: Duration::ZERO,
        }
    }

    /// Notes a request; whether it is one too many for a minute.
    pub fn too_many_a_minute(&mut self, now: Duration) -> bool {
        while self.minute.front().is_some_and(|at| *at + MINUTE <= now) {
            self.minute.pop_front();
        }
        self.minute.push_back(now);
        self.last = now;
        self.minute.len() > A_MINUTE
    }

    /// Refuses a request for the number of those before.
    pub fn throttled(&mut self, now: Duration) {
        self.throttled.push(now);
    }

    /// Takes a request from the quota where it costs something; whether there was one left.
    pub fn charge(&mut self, now: Duration, cost: bool) -> bool {
        if now >= self.window_ends {
            (self.used, self.window_ends) = (0, now + WINDOW);
        }
        if self.used >= self.limit {
            self.beyond_quota += 1;
            return false;
        }
        self.answered += 1;
        if cost {
            self.used += 1;
            while self.hour.front().is_some_and(|at| *at + WINDOW <= now) {
                self.hour.pop_front();
            }
            self.hour.push_back(now);
            self.most_in_an_hour = self.most_in_an_hour.max(self.hour.len());
        }
        true
    }

    pub fn headers(&self, now: Duration, epoch: i64) -> HeaderMap {
        let ends = if self.window_ends > now { self.window_ends } else { now + WINDOW };
        let reset = epoch + i64::try_from(ends.as_secs()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-limit", self.limit.into());
        headers.insert("x-ratelimit-remaining", (self.limit - self.used.min(self.limit)).into());
        headers.insert("x-ratelimit-used", self.used.into());
        headers.insert("x-ratelimit-reset", reset.into());
        headers
    }
}
