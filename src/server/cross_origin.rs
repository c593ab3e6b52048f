//! Which pages of other origins may read an answer (CORS).

use axum::http::header::{ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The headers that let the page that asked read the answer: any page, or those of `origins` where it lists some.
pub fn headers(asked: &HeaderMap, origins: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if origins.is_empty() {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        headers.insert(VARY, HeaderValue::from_static("origin"));
        let origin = asked.get(ORIGIN);
        let listed =
            |origin: &&HeaderValue| origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes());
        if let Some(origin) = origin.filter(listed) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
    }
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
    // What other answers refuse.
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(policy, HeaderValue::from_static("cross-origin"));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_page_may_read_or_only_those_that_are_listed() {
        let asked = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("https://a.example"))]);
        let origin = |origins: &[&str]| {
            let origins: Vec<_> = origins.iter().map(|origin| origin.to_string()).collect();
            let headers = headers(&asked, &origins);
            headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(origin(&[]).as_deref(), Some("*"));
        assert_eq!(origin(&["https://b.example", "https://a.example"]).as_deref(), Some("https://a.example"));
        assert_eq!(origin(&["https://b.example"]), None);
    }
}
