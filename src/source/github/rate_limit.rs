//! What an answer's headers say about how often to ask.
//!
//! Limits: docs.github.com, rest/using-the-rest-api/rate-limits-for-the-rest-api.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// The quota's window.
pub const WINDOW: Duration = Duration::from_secs(3600);
/// Times of reset are whole seconds, possibly rounded down.
pub const RESET_SLACK: Duration = Duration::from_secs(1);

/// What an answer said about how often to ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateHeaders {
    /// The quota, where the answer named it.
    pub quota: Option<Quota>,
    /// Requests that a whole window allows, where the answer named it; never zero.
    pub limit: Option<u64>,
    /// `retry-after`: not before this has passed, at most an hour; never zero.
    pub retry_after: Option<Duration>,
    /// `x-poll-interval`, at most an hour.
    pub poll_interval: Option<Duration>,
    /// Whether any `x-ratelimit-…` header was there: a suspended account's 403 has none.
    pub any_limit: bool,
    /// Whether they say that a limit is reached, with `retry-after` or with nothing left.
    pub reached: bool,
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
        let any_limit = remaining.or(limit).is_some();
        // Nobody who may ask is allowed nothing.
        let limit = limit.filter(|limit| *limit > 0);
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
        let retry_after = number(RETRY_AFTER.as_str()).map(seconds).or_else(date);
        Self {
            quota,
            limit,
            // One that is over when it is said would have the same request come again at once.
            retry_after: retry_after.filter(|wait| !wait.is_zero()),
            poll_interval: number("x-poll-interval").map(seconds),
            any_limit: any_limit || reset.is_some(),
            reached: retry_after.is_some() || remaining == Some(0),
        }
    }

    /// Whether a 403 with these headers and this body is a limit; else it is access that is refused. The secondary limit
    /// is not always in the headers, and then the body names it.
    pub fn is_limit(&self, body: &[u8]) -> bool {
        let text = String::from_utf8_lossy(body).to_ascii_lowercase();
        self.reached
            || ["rate limit", "abuse detection", "secondary"].iter().any(|words| text.contains(words))
    }

    /// How long a 403 or 429 with these headers forbids to ask; `None` where they do not say.
    pub fn limited_for(&self) -> Option<Duration> {
        let spent = self.quota.filter(|quota| quota.remaining == 0).map(|quota| quota.reset_in + RESET_SLACK);
        self.retry_after.max(spent)
    }
}

fn http_date(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).map(Timestamp::as_second).ok()
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_time_that_is_over_when_it_is_said_is_none() {
        let over =
            [("date", "Thu, 01 Jan 1970 01:00:00 GMT"), ("retry-after", "Thu, 01 Jan 1970 00:59:00 GMT")];
        for over in [headers(&over), headers(&[("retry-after", "0")])] {
            assert_eq!((over.retry_after, over.limited_for(), over.reached), (None, None, true));
        }
    }

    #[test]
    fn a_refusal_is_a_limit_where_headers_or_body_say_so() {
        let blocked = br#"{"message":"Repository access blocked","block":{"reason":"tos"}}"#;
        assert!(!left(4_000, 100).is_limit(blocked));
        assert!(left(4_000, 100).is_limit(b"You have exceeded a secondary rate limit"));
        assert!(RateHeaders::default().is_limit(b"You have triggered an Abuse Detection mechanism"));
        let spent =
            [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "900"), ("x-ratelimit-limit", "60")];
        assert!(headers(&spent).is_limit(b""), "also where the next window has begun meanwhile");
        assert!(headers(&[("retry-after", "7")]).is_limit(b""));
    }

    #[test]
    fn a_limit_of_nothing_is_as_good_as_missing() {
        assert_eq!(headers(&[("x-ratelimit-limit", "0")]).limit, None);
    }
}
