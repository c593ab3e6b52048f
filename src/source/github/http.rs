//! HTTP as the poller needs it: one request, its whole answer, no redirect followed. Tests put another GitHub behind it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Method, StatusCode, Url, redirect};

use super::client::{ClientError, Failure};

/// A page of 100 events is about half a megabyte; this much is read of any answer.
pub const MAX_BODY: usize = 32 << 20;
/// Of an answer that only says why there is none.
const MAX_REFUSAL: usize = 64 << 10;
const API_VERSION: &str = "2022-11-28";
/// An idle connection is asked this often whether it still stands, so that no poll finds it dead.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// One request.
#[derive(Debug)]
pub struct Request {
    /// GET, or POST for an installation's token.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// What differs from request to request; secrets are marked as sensitive.
    pub headers: HeaderMap,
    /// How long it may take, its answer's body included.
    pub timeout: Duration,
}

/// What was answered.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decompressed; the headers hold also when this fails.
    pub body: Result<Bytes, Failure>,
}

/// Takes requests to GitHub. It follows no redirect: a token must not reach another host.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends one request and reads its whole answer.
    ///
    /// # Errors
    /// When no answer came, or not in time.
    async fn send(&self, request: Request) -> Result<Response, Failure>;
}

/// The network: one pool of connections for all requests, HTTP/2 where the server offers it, gzip.
pub struct Http(reqwest::Client);

impl Http {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new() -> Result<Self, ClientError> {
        Self::with(reqwest::Client::builder())
    }

    pub(super) fn with(builder: reqwest::ClientBuilder) -> Result<Self, ClientError> {
        let fixed = [
            (ACCEPT, HeaderValue::from_static("application/vnd.github+json")),
            (USER_AGENT, HeaderValue::from_static(concat!("pulsehub/", env!("CARGO_PKG_VERSION")))),
            (HeaderName::from_static("x-github-api-version"), HeaderValue::from_static(API_VERSION)),
        ];
        let client = builder
            .default_headers(HeaderMap::from_iter(fixed))
            .redirect(redirect::Policy::none())
            .gzip(true)
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_while_idle(true)
            .tcp_keepalive(KEEP_ALIVE);
        client.build().map(Self).map_err(ClientError::Http)
    }
}

#[async_trait]
impl Transport for Http {
    async fn send(&self, request: Request) -> Result<Response, Failure> {
        let Request { method, url, headers, timeout } = request;
        let sent = self.0.request(method, url).headers(headers).timeout(timeout).send().await;
        let mut response = sent.map_err(|error| failure(error, timeout, Failure::Transport))?;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let limit = if status.is_success() { MAX_BODY } else { MAX_REFUSAL };
        Ok(Response { status, headers, body: body(response, limit, timeout).await })
    }
}

async fn body(mut response: reqwest::Response, limit: usize, timeout: Duration) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| failure(error, timeout, Failure::Incomplete))?
    {
        if body.len() + chunk.len() > limit {
            return Err(Failure::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn failure(error: reqwest::Error, timeout: Duration, or: impl FnOnce(reqwest::Error) -> Failure) -> Failure {
    if error.is_timeout() { Failure::Timeout(timeout) } else { or(error.without_url()) }
}
