//! One query to GitHub's GraphQL API, and a name for whatever comes of it. No token appears in any error or log.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use reqwest::{Response, StatusCode, Url, redirect};

use super::query::{self, By, Refusal, Reply};
use crate::clock::Clock;
use crate::domain::github::details::Stub;
use crate::source::github::{Quota, RateHeaders};

/// An answer for 100 pull requests is about 20 KB; this much is read of any.
const MAX_BODY: usize = 4 << 20;
/// GitHub gives up a query after 10 s itself.
const TIMEOUT: Duration = Duration::from_secs(11);

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `github.graphqlUrl` is not an address. It is not repeated here: it may hold a password.
    #[error("github.graphqlUrl is not an http or https address without user name and password")]
    Url,
    /// A token has characters that no header can carry.
    #[error("github.tokens[{0}] has characters that no token has")]
    Token(usize),
    /// TLS cannot be set up.
    #[error("cannot set up the HTTP client")]
    Http(#[source] reqwest::Error),
}

/// What came of a query.
pub struct Answer {
    /// What it says of the pull requests.
    pub reply: Result<Reply, Failure>,
    /// What it says of limits: the quota of its body where it has one, else that of its headers.
    pub rate: RateHeaders,
    /// When it was made by GitHub's own clock, in Unix seconds; by this machine's where it does not say.
    pub made_at: i64,
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// 401: the token was revoked or never was one.
    #[error("GitHub does not know the token (401)")]
    Unauthorized,
    /// 403 that is no limit.
    #[error("GitHub forbids access (403)")]
    Forbidden,
    /// 403 or 429, or the body says so.
    #[error("GitHub's GraphQL limit is reached")]
    RateLimited {
        /// Not before this has passed, where the answer says.
        wait: Option<Duration>,
    },
    /// 502 and the like, mostly for a query that takes too long.
    #[error("GitHub answers {0}")]
    Server(StatusCode),
    /// Any other status.
    #[error("unexpected answer {0}")]
    Unexpected(StatusCode),
    /// 3xx: not followed, since the token must not reach another host.
    #[error("redirected to {0}, which is not followed: github.graphqlUrl should be the final address")]
    Redirected(String),
    /// It answers, and not with pull requests.
    #[error(transparent)]
    Refused(Refusal),
    /// The body is larger than any answer.
    #[error("the answer is larger than {MAX_BODY} bytes")]
    TooLarge,
    /// No whole answer in time.
    #[error("no whole answer within {TIMEOUT:?}")]
    Timeout,
    /// No answer at all, or half of one.
    #[error("GitHub cannot be reached")]
    Transport(#[source] reqwest::Error),
}

impl Failure {
    /// Its name as a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::RateLimited { .. } => "rate_limited",
            Self::Server(_) => "server_error",
            Self::Unexpected(_) => "unexpected_status",
            Self::Redirected(_) => "redirected",
            Self::Refused(Refusal::TooMuch) => "too_much",
            Self::Refused(_) => "refused",
            Self::TooLarge => "too_large",
            Self::Timeout => "timeout",
            Self::Transport(_) => "transport",
        }
    }

    /// Whether a smaller query might not have failed.
    pub fn is_too_large(&self) -> bool {
        let too_much = |refusal: &Refusal| matches!(refusal, Refusal::TooMuch | Refusal::Refused(_));
        match self {
            Self::Server(_) | Self::Timeout | Self::TooLarge => true,
            Self::Refused(refusal) => too_much(refusal),
            _ => false,
        }
    }
}

/// Asks the GraphQL API.
pub struct Client {
    http: reqwest::Client,
    url: Url,
    clock: Arc<dyn Clock>,
}

impl Client {
    /// Asks nothing yet.
    pub fn new(url: &str, clock: Arc<dyn Clock>) -> Result<Self, ClientError> {
        let url = Url::parse(url).map_err(|_| ClientError::Url)?;
        let plain = url.username().is_empty() && url.password().is_none();
        if !plain || !url.has_host() || !matches!(url.scheme(), "http" | "https") {
            return Err(ClientError::Url);
        }
        let fixed = [
            (ACCEPT, HeaderValue::from_static("application/vnd.github+json")),
            (USER_AGENT, HeaderValue::from_static(concat!("pulsehub/", env!("CARGO_PKG_VERSION")))),
        ];
        let http = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter(fixed))
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()
            .map_err(ClientError::Http)?;
        Ok(Self { http, url, clock })
    }

    /// Asks for pull requests; `authorization` is marked as sensitive.
    pub async fn ask(&self, by: By, stubs: &[Stub], authorization: HeaderValue) -> Answer {
        let request = self.http.post(self.url.clone()).header(AUTHORIZATION, authorization);
        let now = self.clock.unix_seconds();
        match request.json(&query::body(by, stubs)).send().await {
            Ok(response) => {
                let made_at = response.headers().get(DATE).and_then(date).unwrap_or(now);
                let mut rate = RateHeaders::read(response.headers(), now);
                let reply = reply(response, &rate, by, stubs).await;
                if let Ok(Reply { rate_limit: Some(limit), .. }) = &reply {
                    let reset_in = limit.reset_at.as_second().saturating_sub(made_at);
                    let reset_in = Duration::from_secs(u64::try_from(reset_in).unwrap_or(0));
                    rate.quota = Some(Quota { remaining: limit.remaining, reset_in });
                }
                Answer { reply, rate, made_at }
            }
            Err(error) => Answer { reply: Err(failure(error)), rate: RateHeaders::default(), made_at: now },
        }
    }
}

async fn reply(response: Response, rate: &RateHeaders, by: By, stubs: &[Stub]) -> Result<Reply, Failure> {
    let status = response.status();
    match status {
        StatusCode::OK => match query::read(by, stubs, &body(response).await?) {
            Err(Refusal::RateLimited) => Err(Failure::RateLimited { wait: rate.limited_for() }),
            read => read.map_err(Failure::Refused),
        },
        StatusCode::UNAUTHORIZED => Err(Failure::Unauthorized),
        StatusCode::TOO_MANY_REQUESTS => Err(Failure::RateLimited { wait: rate.limited_for() }),
        StatusCode::FORBIDDEN => {
            let limited = rate.is_limit(&body(response).await.unwrap_or_default());
            Err(if limited { Failure::RateLimited { wait: rate.limited_for() } } else { Failure::Forbidden })
        }
        status if status.is_redirection() => Err(Failure::Redirected(target(&response))),
        status if status.is_server_error() => Err(Failure::Server(status)),
        status => Err(Failure::Unexpected(status)),
    }
}

async fn body(mut response: Response) -> Result<BytesMut, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Failure::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn failure(error: reqwest::Error) -> Failure {
    if error.is_timeout() { Failure::Timeout } else { Failure::Transport(error.without_url()) }
}

fn date(value: &HeaderValue) -> Option<i64> {
    let text = value.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).map(Timestamp::as_second).ok()
}

/// Where a redirect points to: scheme and host, since the rest may be anything.
fn target(response: &Response) -> String {
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let url = location.and_then(|location| response.url().join(location).ok());
    url.map_or_else(|| "nowhere".to_owned(), |url| url.origin().ascii_serialization())
}
