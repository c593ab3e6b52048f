//! One request to GitHub, and a name for whatever comes of it. No token appears in any error or log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LOCATION};
use reqwest::{Method, StatusCode, Url};
use tokio::time::{Instant, sleep, timeout_at};

use super::http::{Http, MAX_BODY, Request, Response, Transport};
use super::rate_limit::RateHeaders;
use crate::clock::Clock;

const PER_PAGE: &str = "100";

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `github.baseUrl` is not an address. It is not repeated here: it may hold a password.
    #[error("github.baseUrl is not an http or https address without user name and password")]
    BaseUrl,
    /// A token has characters that no header can carry; where it stands in the configuration.
    #[error("{0} has characters that no token has")]
    Token(String),
    /// The key of a GitHub App is none; where it stands in the configuration.
    #[error("{place} is not a file with an RSA private key in PEM: {reason}")]
    Key {
        /// The key of the configuration.
        place: String,
        /// What is wrong with the file.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up the HTTP client")]
    Http(#[source] reqwest::Error),
}

/// An answer, or what came instead of one.
#[derive(Debug)]
pub struct Answer {
    /// What came.
    pub outcome: Outcome,
    /// What it said about how often to ask.
    pub rate: RateHeaders,
}

/// What came of a request.
#[derive(Debug)]
pub enum Outcome {
    /// A page, not parsed yet.
    Page {
        /// The body, whole.
        body: Bytes,
        /// What to ask with next time.
        etag: Option<HeaderValue>,
    },
    /// Nothing new since the page with the etag that was sent.
    NotModified,
    /// Anything else.
    Failed(Failure),
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// 401: the token was revoked or never was one.
    #[error("GitHub does not know the token (401)")]
    Unauthorized,
    /// 403 that is no limit: the token's account is suspended, or this address is blocked.
    #[error("GitHub forbids access (403)")]
    Forbidden,
    /// 403 that is no limit and comes with a quota: this one feed is blocked, for everybody.
    #[error("GitHub blocks access to it (403)")]
    Blocked,
    /// 403 or 429: asked too often.
    #[error("GitHub's rate limit is reached")]
    RateLimited {
        /// Not before this has passed, where the answer says.
        wait: Option<Duration>,
    },
    /// 404: there is nothing of that name, or nothing public.
    #[error("there is no such feed (404)")]
    NotFound,
    /// 422: GitHub shows fewer pages than it did.
    #[error("the page lies beyond the feed's last one (422)")]
    BeyondLastPage,
    /// 500 to 599.
    #[error("GitHub answers {0}")]
    Server(StatusCode),
    /// Any other status.
    #[error("unexpected answer {0}")]
    Unexpected(StatusCode),
    /// 3xx: not followed, since the token must not reach another host.
    #[error("redirected to {origin}, which is not followed: github.baseUrl should be the final address")]
    Redirected {
        /// Scheme and host.
        origin: String,
        /// Where to below the base, where that is on the same server.
        path: Option<String>,
    },
    /// 301 for a repository or owner, once more at the place that the first one named.
    #[error("it was renamed: give its new name")]
    Renamed,
    /// The body is not a JSON array.
    #[error("the answer is not a JSON array of events")]
    NotJson(#[source] serde_json::Error),
    /// The connection ended within the body, or the body is not what its headers say.
    #[error("the answer is incomplete")]
    Incomplete(#[source] reqwest::Error),
    /// The body is larger than any page.
    #[error("the answer is larger than {MAX_BODY} bytes")]
    TooLarge,
    /// An App's key signs nothing, or what GitHub gave for it is no token.
    #[error("no token can be had for the App's installation")]
    Unsigned,
    /// GitHub gives an App's installation no token.
    #[error("no token can be had for the App's installation")]
    NoToken(#[source] Box<Failure>),
    /// No whole answer in time.
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    /// No answer at all.
    #[error("GitHub cannot be reached")]
    Transport(#[source] reqwest::Error),
}

impl Failure {
    /// Its name as a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Blocked => "blocked",
            Self::RateLimited { .. } => "rate_limited",
            Self::NotFound => "not_found",
            Self::BeyondLastPage => "beyond_last_page",
            Self::Server(_) => "server_error",
            Self::Unexpected(_) => "unexpected_status",
            Self::Redirected { .. } => "redirected",
            Self::Renamed => "renamed",
            Self::NotJson(_) => "not_json",
            Self::Incomplete(_) => "incomplete",
            Self::TooLarge => "too_large",
            Self::Unsigned | Self::NoToken(_) => "unsigned",
            Self::Timeout(_) => "timeout",
            Self::Transport(_) => "transport",
        }
    }
}

/// Asks the REST API.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    base: Url,
    clock: Arc<dyn Clock>,
}

impl Client {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// When `base_url` is no address.
    pub fn new(
        transport: Arc<dyn Transport>,
        base_url: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        Ok(Self { transport, base: parse_base(base_url)?, clock })
    }

    /// The clock that it measures by where answers carry no time.
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// Fetches one page of the events at `path` below the base; `timeout` is for the whole request with its body.
    pub async fn events(
        &self,
        path: &str,
        page: u8,
        timeout: Duration,
        authorization: Option<HeaderValue>,
        etag: Option<HeaderValue>,
    ) -> Answer {
        let mut url = self.below(path);
        url.query_pairs_mut().append_pair("per_page", PER_PAGE).append_pair("page", &page.to_string());
        let headers = [(AUTHORIZATION, authorization), (IF_NONE_MATCH, etag)];
        let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let headers = HeaderMap::from_iter(headers);
        match self.transport.send(Request { method: Method::GET, url: url.clone(), headers, timeout }).await {
            Ok(response) => {
                let rate = RateHeaders::read(&response.headers, self.clock.unix_seconds());
                let outcome = self.outcome(&url, response, &rate).unwrap_or_else(Outcome::Failed);
                Answer { outcome, rate }
            }
            Err(failure) => Answer { outcome: Outcome::Failed(failure), rate: RateHeaders::default() },
        }
    }

    /// Posts to `path` below the base without a body, and returns the body of the answer.
    ///
    /// # Errors
    /// When it is not answered with a success.
    pub async fn post(
        &self,
        path: &str,
        timeout: Duration,
        authorization: HeaderValue,
    ) -> Result<Bytes, Failure> {
        let (url, headers) = (self.below(path), HeaderMap::from_iter([(AUTHORIZATION, authorization)]));
        let request = Request { method: Method::POST, url: url.clone(), headers, timeout };
        let response = self.transport.send(request).await?;
        let rate = RateHeaders::read(&response.headers, self.clock.unix_seconds());
        match self.outcome(&url, response, &rate)? {
            Outcome::Page { body, .. } => Ok(body),
            Outcome::NotModified => Err(Failure::Unexpected(StatusCode::NOT_MODIFIED)),
            Outcome::Failed(failure) => Err(failure),
        }
    }

    fn below(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    fn outcome(&self, asked: &Url, response: Response, rate: &RateHeaders) -> Result<Outcome, Failure> {
        match response.status {
            StatusCode::OK | StatusCode::CREATED => {
                let etag = response.headers.get(ETAG).cloned();
                Ok(Outcome::Page { body: response.body?, etag })
            }
            StatusCode::NOT_MODIFIED => Ok(Outcome::NotModified),
            StatusCode::UNAUTHORIZED => Err(Failure::Unauthorized),
            StatusCode::TOO_MANY_REQUESTS => Err(Failure::RateLimited { wait: rate.limited_for() }),
            StatusCode::FORBIDDEN => {
                let limited = rate.is_limit(&response.body.unwrap_or_default());
                Err(if limited {
                    Failure::RateLimited { wait: rate.limited_for() }
                } else {
                    Failure::Forbidden
                })
            }
            StatusCode::NOT_FOUND => Err(Failure::NotFound),
            StatusCode::UNPROCESSABLE_ENTITY => Err(Failure::BeyondLastPage),
            status if status.is_redirection() => Err(self.redirected(asked, &response.headers)),
            status if status.is_server_error() => Err(Failure::Server(status)),
            status => Err(Failure::Unexpected(status)),
        }
    }

    /// Where a redirect points to: scheme and host, since the rest may be anything where it is not of this server.
    fn redirected(&self, asked: &Url, headers: &HeaderMap) -> Failure {
        let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let Some(url) = location.and_then(|location| asked.join(location).ok()) else {
            return Failure::Redirected { origin: "nowhere".to_owned(), path: None };
        };
        let path = url.path().strip_prefix(self.base.path()).filter(|_| url.origin() == self.base.origin());
        Failure::Redirected { origin: url.origin().ascii_serialization(), path: path.map(str::to_owned) }
    }
}

/// Whether anything that speaks HTTP answers at `base_url` before `limit` has passed, whatever the status. Tries
/// again until then, and returns as soon as there is an answer. Sends no token and costs no quota.
pub async fn reachable(base_url: &str, limit: Duration) -> bool {
    const RETRY: Duration = Duration::from_millis(100);
    let client = Http::new()
        .and_then(|http| Client::new(Arc::new(http), base_url, Arc::new(crate::clock::SystemClock)));
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(error = %crate::error_chain(&error), "GitHub cannot be asked");
            return false;
        }
    };
    let attempts = async {
        // The one resource that is not counted against the quota.
        let request = || Request {
            method: Method::GET,
            url: client.below("rate_limit"),
            headers: HeaderMap::new(),
            timeout: limit,
        };
        while client.transport.send(request()).await.is_err() {
            sleep(RETRY).await;
        }
    };
    timeout_at(Instant::now() + limit, attempts).await.is_ok()
}

/// With a slash at the end, so that names can be appended.
fn parse_base(text: &str) -> Result<Url, ClientError> {
    let mut url = Url::parse(text).map_err(|_| ClientError::BaseUrl)?;
    let plain = url.username().is_empty() && url.password().is_none();
    if !plain || !url.has_host() || !matches!(url.scheme(), "http" | "https") {
        return Err(ClientError::BaseUrl);
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}
