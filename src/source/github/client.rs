//! One request to GitHub, and a name for whatever comes of it. No token appears in any error or log.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION, USER_AGENT,
};
use reqwest::{Method, Response, StatusCode, Url, redirect};
use tokio::time::{Instant, sleep, timeout_at};

use super::rate_limit::RateHeaders;
use super::tokens::Token;
use crate::clock::Clock;

/// A page of 100 events is about half a megabyte; this much is read of any answer.
const MAX_BODY: usize = 32 << 20;
const API_VERSION: &str = "2022-11-28";
const PER_PAGE: &str = "100";

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `github.baseUrl` is not an address. It is not repeated here: it may hold a password.
    #[error("github.baseUrl is not an http or https address without user name and password")]
    BaseUrl,
    /// A token has characters that no header can carry.
    #[error("github.tokens[{0}] has characters that no token has")]
    Token(usize),
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
    /// 403 without a word about limits: the token's account is suspended, or this address is blocked.
    #[error("GitHub forbids access (403)")]
    Forbidden,
    /// 403 or 429: asked too often.
    #[error("GitHub's rate limit is reached")]
    RateLimited {
        /// Not before this has passed, where the answer says.
        wait: Option<Duration>,
    },
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
    #[error("redirected to {0}, which is not followed: github.baseUrl should be the final address")]
    Redirected(String),
    /// The body is not a JSON array.
    #[error("the answer is not a JSON array of events")]
    NotJson(#[source] serde_json::Error),
    /// The connection ended within the body, or the body is not what its headers say.
    #[error("the answer is incomplete")]
    Incomplete(#[source] reqwest::Error),
    /// The body is larger than any page.
    #[error("the answer is larger than {MAX_BODY} bytes")]
    TooLarge,
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
            Self::RateLimited { .. } => "rate_limited",
            Self::BeyondLastPage => "beyond_last_page",
            Self::Server(_) => "server_error",
            Self::Unexpected(_) => "unexpected_status",
            Self::Redirected(_) => "redirected",
            Self::NotJson(_) => "not_json",
            Self::Incomplete(_) => "incomplete",
            Self::TooLarge => "too_large",
            Self::Timeout(_) => "timeout",
            Self::Transport(_) => "transport",
        }
    }
}

/// Asks the Events API.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    clock: Arc<dyn Clock>,
}

impl Client {
    /// Asks nothing yet.
    pub fn new(base_url: &str, clock: Arc<dyn Clock>) -> Result<Self, ClientError> {
        let base = parse_base(base_url)?;
        let fixed = [
            (ACCEPT, HeaderValue::from_static("application/vnd.github+json")),
            (USER_AGENT, HeaderValue::from_static(concat!("pulsehub/", env!("CARGO_PKG_VERSION")))),
            (HeaderName::from_static("x-github-api-version"), HeaderValue::from_static(API_VERSION)),
        ];
        let http = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter(fixed))
            .redirect(redirect::Policy::none())
            .build()
            .map_err(ClientError::Http)?;
        Ok(Self { http, base, clock })
    }

    /// Fetches one page of the feed; `timeout` is for the whole request with its body.
    pub async fn page(
        &self,
        page: u8,
        timeout: Duration,
        token: Option<&Token>,
        etag: Option<&HeaderValue>,
    ) -> Answer {
        let mut url = self.base.clone();
        url.set_path(&format!("{}events", self.base.path()));
        url.query_pairs_mut().append_pair("per_page", PER_PAGE).append_pair("page", &page.to_string());
        let mut request = self.http.request(Method::GET, url).timeout(timeout);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.header());
        }
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        match request.send().await {
            Ok(response) => {
                let rate = RateHeaders::read(response.headers(), self.clock.unix_seconds());
                let outcome = self.outcome(response, &rate, timeout).await.unwrap_or_else(Outcome::Failed);
                Answer { outcome, rate }
            }
            Err(error) => {
                let failure = failure(error, timeout, Failure::Transport);
                Answer { outcome: Outcome::Failed(failure), rate: RateHeaders::default() }
            }
        }
    }

    async fn outcome(
        &self,
        response: Response,
        rate: &RateHeaders,
        timeout: Duration,
    ) -> Result<Outcome, Failure> {
        match response.status() {
            StatusCode::OK => {
                let etag = response.headers().get(ETAG).cloned();
                Ok(Outcome::Page { body: body(response, timeout).await?, etag })
            }
            StatusCode::NOT_MODIFIED => Ok(Outcome::NotModified),
            StatusCode::UNAUTHORIZED => Err(Failure::Unauthorized),
            StatusCode::TOO_MANY_REQUESTS => Err(Failure::RateLimited { wait: rate.limited_for() }),
            StatusCode::FORBIDDEN if rate.any_limit || rate.retry_after.is_some() => {
                Err(Failure::RateLimited { wait: rate.limited_for() })
            }
            StatusCode::FORBIDDEN => {
                let body = body(response, timeout).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&body).to_ascii_lowercase();
                // The secondary limit is not always in the headers; the message names it.
                let limited = ["rate limit", "abuse detection"].iter().any(|word| text.contains(word));
                Err(if limited { Failure::RateLimited { wait: None } } else { Failure::Forbidden })
            }
            StatusCode::UNPROCESSABLE_ENTITY => Err(Failure::BeyondLastPage),
            status if status.is_redirection() => Err(Failure::Redirected(target(&response))),
            status if status.is_server_error() => Err(Failure::Server(status)),
            status => Err(Failure::Unexpected(status)),
        }
    }
}

async fn body(mut response: Response, timeout: Duration) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| failure(error, timeout, Failure::Incomplete))?
    {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Failure::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn failure(error: reqwest::Error, timeout: Duration, or: impl FnOnce(reqwest::Error) -> Failure) -> Failure {
    if error.is_timeout() { Failure::Timeout(timeout) } else { or(error.without_url()) }
}

/// Whether anything that speaks HTTP answers at `base_url` before `limit` has passed, whatever the status. Tries
/// again until then, and returns as soon as there is an answer. Sends no token and costs no quota.
pub async fn reachable(base_url: &str, limit: Duration) -> bool {
    const RETRY: Duration = Duration::from_millis(100);
    let client = match Client::new(base_url, Arc::new(crate::clock::SystemClock)) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(error = %crate::error_chain(&error), "GitHub cannot be asked");
            return false;
        }
    };
    // The one resource that is not counted against the quota.
    let mut url = client.base.clone();
    url.set_path(&format!("{}rate_limit", client.base.path()));
    let attempts = async {
        while client.http.get(url.clone()).send().await.is_err() {
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

/// Where a redirect points to: scheme and host, since the rest may be anything.
fn target(response: &Response) -> String {
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let url = location.and_then(|location| response.url().join(location).ok());
    url.map_or_else(|| "nowhere".to_owned(), |url| url.origin().ascii_serialization())
}
