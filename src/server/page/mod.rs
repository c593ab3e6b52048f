//! The dashboard at `/`, embedded in the program: files as they were written, no build step, nothing loaded from elsewhere.

mod assets;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::error::not_found;
use assets::{Asset, SITE};

/// The page itself is asked for again each time: it names the version of everything else.
const REVALIDATED: HeaderValue = HeaderValue::from_static("no-cache");
/// What is named with its version never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Answers with the page.
pub async fn index(asked: HeaderMap) -> Response {
    answer(&SITE.index, &asked, REVALIDATED)
}

/// Leads to the same path with a slash at its end: what the page loads is named relative to it, so that it works under any
/// prefix, also one that only a proxy in front knows.
pub async fn without_slash(uri: Uri) -> Response {
    let segment = uri.path().rsplit('/').next().unwrap_or_default();
    match HeaderValue::from_str(&format!("{segment}/")) {
        Ok(place) => (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, place)]).into_response(),
        Err(_) => not_found().await.into_response(),
    }
}

/// Answers with one of the page's files. While instances are being replaced the page may come from another one than its
/// files: those of this version, which the browser must ask for again then, are better than none.
pub async fn asset(Path((version, name)): Path<(String, String)>, asked: HeaderMap) -> Response {
    match SITE.asset(&version, &name) {
        Some((asset, true)) => answer(asset, &asked, FOR_EVER),
        Some((asset, false)) => answer(asset, &asked, REVALIDATED),
        None => not_found().await.into_response(),
    }
}

fn answer(asset: &Asset, asked: &HeaderMap, caching: HeaderValue) -> Response {
    let mut headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (header::ETAG, asset.etag.clone()),
        (header::CACHE_CONTROL, caching),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ]);
    if lists(asked, header::IF_NONE_MATCH, asset.etag.to_str().unwrap_or_default()) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    if lists(asked, header::ACCEPT_ENCODING, "gzip") {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return (headers, asset.gzip.clone()).into_response();
    }
    (headers, asset.plain.clone()).into_response()
}

/// Whether a header lists `wanted`, and does not refuse it with a weight of 0. Weak names of content are as good as strong ones.
fn lists(asked: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    let values = asked.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| {
        let (item, weight) = item.split_once(';').unwrap_or((item, ""));
        let refused =
            weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok()) == Some(0.0);
        item.trim().trim_start_matches("W/") == wanted.trim_start_matches("W/") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_is_used_where_it_is_listed_and_not_refused() {
        let gzip = |value: &'static str| {
            let asked = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            lists(&asked, header::ACCEPT_ENCODING, "gzip")
        };
        assert!(gzip("gzip") && gzip("br, gzip;q=0.5") && gzip("deflate,gzip"));
        assert!(!gzip("br") && !gzip("gzip;q=0") && !gzip("xgzip") && !gzip(""));
    }
}
