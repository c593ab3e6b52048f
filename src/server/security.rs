//! What every answer tells browsers to keep them from: other people's scripts, frames, guesses of types.

use axum::extract::Request;
use axum::http::header::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

/// Headers that are the same for all.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// A day: an operator who gives up encryption again has not locked anybody out for long.
const ONLY_TLS: HeaderValue = HeaderValue::from_static("max-age=86400");

/// Everything comes from this server, nothing stands inline, and nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; connect-src 'self'";

/// Where a connection is encrypted; with each of its requests.
#[derive(Debug, Clone, Copy)]
pub struct Encrypted;

/// Adds the headers to an answer, unless it has one of them already.
pub async fn secure(request: Request, next: Next) -> Response {
    let policy = policy(request.headers());
    let encrypted = request.extensions().get::<Encrypted>().is_some();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(value);
    }
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(policy);
    if encrypted {
        headers.insert(STRICT_TRANSPORT_SECURITY, ONLY_TLS);
    }
    response
}

/// The policy for a page of the host that was asked. Older browsers do not count WebSockets of the same host as `'self'`.
fn policy(headers: &HeaderMap) -> HeaderValue {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(|host| is_host(host));
    let named = host.and_then(|host| HeaderValue::try_from(format!("{POLICY} ws://{host} wss://{host}")).ok());
    named.unwrap_or_else(|| HeaderValue::from_static(POLICY))
}

/// Host and port only: nothing that would be a word of a policy.
fn is_host(host: &str) -> bool {
    (1..=255).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy_for(host: &str) -> String {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())]);
        policy(&headers).to_str().unwrap().to_owned()
    }

    #[test]
    fn only_a_host_gets_into_the_policy() {
        for host in ["live.example.org", "127.0.0.1:8080", "[::1]:8080"] {
            let ends = format!("connect-src 'self' ws://{host} wss://{host}");
            assert!(policy_for(host).ends_with(&ends), "{host}");
        }
        for host in ["", "a b", "*", "a;script-src *", "a,b", "https://a"] {
            assert_eq!(policy_for(host), POLICY, "{host}");
        }
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("  "));
    }
}
