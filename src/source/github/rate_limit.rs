//! How long to wait before the next requests: pure, from what GitHub's last answers said.
//!
//! Limits: docs.github.com, rest/using-the-rest-api/rate-limits-for-the-rest-api. A 304 costs nothing, so the
//! quota is read from the headers and never counted here.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// What the feed asks for where it does not say: the documentation's example.
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// The quota's window.
const WINDOW: Duration = Duration::from_secs(3600);
/// Requests in a window without a token.
const ANONYMOUS_LIMIT: u64 = 60;
/// Times of reset are whole seconds, possibly rounded down.
const RESET_SLACK: Duration = Duration::from_secs(1);

/// What one or more answers said about how often to ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateHeaders {
    /// The quota, where an answer named it.
    pub quota: Option<Quota>,
    /// `retry-after`: not before this has passed, at most an hour.
    pub retry_after: Option<Duration>,
    /// `x-poll-interval`, at most an hour.
    pub poll_interval: Option<Duration>,
    /// Whether any `x-ratelimit-…` header was there: a suspended account's 403 has none.
    pub any_limit: bool,
}

/// Requests that are left in this window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many.
    pub remaining: u64,
    /// When the window ends, counted from the answer; at most an hour.
    pub reset_in: Duration,
}

impl RateHeaders {
    /// Reads an answer's headers. Times are measured against its own `date`, so that a wrong clock on this machine
    /// changes nothing; `now`, in Unix seconds, stands in where it has none.
    pub fn read(headers: &HeaderMap, now: i64) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let number = |name: &str| text(name)?.parse::<u64>().ok();
        let now = text(DATE.as_str()).and_then(http_date).unwrap_or(now);
        let until = |moment: i64| Duration::from_secs(u64::try_from(moment.saturating_sub(now)).unwrap_or(0));
        let (remaining, limit) = (number("x-ratelimit-remaining"), number("x-ratelimit-limit"));
        let reset = number("x-ratelimit-reset").map(|at| until(i64::try_from(at).unwrap_or(i64::MAX)));
        let quota = match (remaining, reset) {
            (None, _) | (_, None) => None,
            // The window has ended meanwhile: a new one begins with the next request.
            (Some(_), Some(Duration::ZERO)) => {
                limit.map(|limit| Quota { remaining: limit, reset_in: WINDOW })
            }
            (Some(remaining), Some(reset)) => Some(Quota { remaining, reset_in: reset.min(WINDOW) }),
        };
        let seconds = |seconds: u64| Duration::from_secs(seconds).min(WINDOW);
        let date = || Some(until(text(RETRY_AFTER.as_str()).and_then(http_date)?).min(WINDOW));
        Self {
            quota,
            retry_after: number(RETRY_AFTER.as_str()).map(seconds).or_else(date),
            poll_interval: number("x-poll-interval").map(seconds),
            any_limit: remaining.or(limit).is_some() || reset.is_some(),
        }
    }

    /// What holds after both answers, which may have overtaken each other.
    pub fn and(self, other: Self) -> Self {
        let quota = match (self.quota, other.quota) {
            (Some(a), Some(b)) => {
                Some(Quota { remaining: a.remaining.min(b.remaining), reset_in: a.reset_in.max(b.reset_in) })
            }
            (a, b) => a.or(b),
        };
        Self {
            quota,
            retry_after: self.retry_after.max(other.retry_after),
            poll_interval: self.poll_interval.max(other.poll_interval),
            any_limit: self.any_limit || other.any_limit,
        }
    }

    /// How long a 403 or 429 with these headers forbids to ask; `None` where they do not say.
    pub fn limited_for(&self) -> Option<Duration> {
        let spent = self.quota.filter(|quota| quota.remaining == 0).map(|quota| quota.reset_in + RESET_SLACK);
        self.retry_after.max(spent)
    }

    /// Until the window ends, where what is left does not pay for one more round of `requests`.
    pub fn spent_for(&self, requests: u64) -> Option<Duration> {
        let quota = self.quota.filter(|quota| quota.remaining < requests)?;
        Some(quota.reset_in + RESET_SLACK)
    }
}

/// The pause before the next round of `requests`: what is left is spent evenly until it is renewed. With a token it
/// is at least `least`; an anonymous caller also obeys `X-Poll-Interval`.
pub fn pause(headers: &RateHeaders, authenticated: bool, least: Duration, requests: u64) -> Duration {
    let even = |quota: Quota| {
        let rounds = u32::try_from(quota.remaining / requests.max(1)).unwrap_or(u32::MAX);
        quota.reset_in.checked_div(rounds).unwrap_or(quota.reset_in + RESET_SLACK)
    };
    let quota = headers.quota.map(even);
    if authenticated {
        return quota.unwrap_or_default().max(least);
    }
    let unknown = Quota { remaining: ANONYMOUS_LIMIT, reset_in: WINDOW };
    quota.unwrap_or_else(|| even(unknown)).max(headers.poll_interval.unwrap_or(POLL_INTERVAL))
}

fn http_date(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).map(Timestamp::as_second).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> RateHeaders {
        let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        RateHeaders::read(&HeaderMap::from_iter(pairs), 1_000)
    }

    fn left(remaining: u64, seconds: u64) -> RateHeaders {
        let quota = Some(Quota { remaining, reset_in: Duration::from_secs(seconds) });
        RateHeaders { quota, any_limit: true, ..RateHeaders::default() }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_full_quota_with_a_token_is_a_round_every_two_seconds() {
        assert_eq!(pause(&left(5000, 3600), true, SECOND, 3).as_millis(), 2160);
        assert_eq!(pause(&left(12_000, 900), true, SECOND, 3), SECOND);
        assert_eq!(pause(&RateHeaders::default(), true, SECOND, 3), SECOND);
        assert_eq!(pause(&left(2, 900), true, SECOND, 3), SECOND * 901);
    }

    #[test]
    fn anonymous_rounds_obey_the_quota_and_the_poll_interval() {
        assert_eq!(pause(&RateHeaders::default(), false, SECOND, 3), SECOND * 180);
        assert_eq!(pause(&left(57, 3420), false, SECOND, 3), SECOND * 180);
        assert_eq!(pause(&left(60, 600), false, SECOND, 3), SECOND * 60);
        let slow = RateHeaders { poll_interval: Some(SECOND * 240), ..left(60, 600) };
        assert_eq!(pause(&slow, false, SECOND, 3), SECOND * 240);
        let fast = RateHeaders { poll_interval: Some(SECOND * 5), ..left(60, 100) };
        assert_eq!(pause(&fast, false, SECOND, 3), SECOND * 5);
    }

    #[test]
    fn times_are_measured_against_the_answers_own_date() {
        let date = ("date", "Thu, 01 Jan 1970 01:00:00 GMT");
        let with =
            |reset| headers(&[date, ("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", reset)]).quota;
        assert_eq!(with("3700"), Some(Quota { remaining: 7, reset_in: SECOND * 100 }));
        assert_eq!(with("99999999999999"), Some(Quota { remaining: 7, reset_in: WINDOW }));
        assert_eq!(with("3600"), None);
        let quota = headers(&[("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "1010")]).quota;
        assert_eq!(
            quota,
            Some(Quota { remaining: 7, reset_in: SECOND * 10 }),
            "without a date the clock stands in"
        );
        let after = headers(&[date, ("retry-after", "Thu, 01 Jan 1970 01:00:20 GMT")]);
        assert_eq!(after.retry_after, Some(SECOND * 20));
    }

    #[test]
    fn a_window_that_has_ended_leaves_the_whole_limit() {
        let ended =
            [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "900"), ("x-ratelimit-limit", "5000")];
        assert_eq!(headers(&ended).quota, Some(Quota { remaining: 5000, reset_in: WINDOW }));
        assert_eq!(headers(&ended).limited_for(), None);
    }

    #[test]
    fn headers_that_cannot_be_read_are_as_good_as_missing() {
        let odd =
            headers(&[("x-ratelimit-remaining", "-1"), ("retry-after", "soon"), ("x-poll-interval", "")]);
        assert_eq!(odd, RateHeaders::default());
    }

    #[test]
    fn a_limited_caller_waits_for_the_later_of_retry_after_and_reset() {
        let both = [("retry-after", "5"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1100")];
        assert_eq!(headers(&both).limited_for(), Some(SECOND * 101));
        assert_eq!(headers(&both[..1]).limited_for(), Some(SECOND * 5));
        assert_eq!(left(12, 100).limited_for(), None);
    }

    proptest! {
        #[test]
        fn the_quota_lasts_until_it_is_renewed(
            remaining in 0_u64..20_000, seconds in 1_u64..3600, authenticated: bool, least in 0_u64..5000,
        ) {
            let (mut quota, mut elapsed) = (remaining, Duration::ZERO);
            let (window, least) = (SECOND * u32::try_from(seconds).unwrap(), Duration::from_millis(least));
            for _ in 0..7000 {
                let headers = RateHeaders {
                    quota: Some(Quota { remaining: quota, reset_in: window - elapsed }),
                    ..RateHeaders::default()
                };
                let pause = pause(&headers, authenticated, least, 3);
                prop_assert!(!authenticated || pause >= least);
                prop_assert!(authenticated || pause >= POLL_INTERVAL);
                prop_assert!(pause <= WINDOW + RESET_SLACK);
                elapsed += pause;
                if elapsed >= window {
                    return Ok(());
                }
                prop_assert!(quota >= 3, "a round that the quota does not pay for");
                quota -= 3;
            }
            prop_assert!(false, "the window never ends");
        }
    }
}
