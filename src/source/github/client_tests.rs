//! One request: what is sent, what each answer is called, and that no token leaves by the back door.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::client::{Client, ClientError, Failure, Outcome, reachable};
use super::credentials::bearer;
use super::harness::{json, page, raw_server, settings};
use super::http::Http;
use crate::clock::SystemClock;

const SECRET: &str = "github_pat_secret";

fn token() -> HeaderValue {
    bearer(SECRET).unwrap()
}

const LONG: Duration = Duration::from_secs(10);

fn client(base_url: &str) -> Client {
    settings(&[]);
    Client::new(Arc::new(Http::new().unwrap()), base_url, Arc::new(SystemClock)).unwrap()
}

async fn failure(base_url: &str) -> Failure {
    failure_within(base_url, LONG).await
}

async fn failure_within(base_url: &str, timeout: Duration) -> Failure {
    match client(base_url).events("events", 2, timeout, Some(token()), None).await.outcome {
        Outcome::Failed(failure) => {
            let text = format!("{failure:?} {}", crate::error_chain(&failure));
            assert!(!text.contains(SECRET), "{text}");
            failure
        }
        other => panic!("{other:?}"),
    }
}

async fn answering(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

#[tokio::test]
async fn a_request_says_who_asks_for_what() {
    let server = answering(json("[]").insert_header("etag", "W/\"next\"")).await;
    let etag = "W/\"last\"".parse().unwrap();
    let client = client(&format!("{}/api/v3", server.uri()));
    let answer = client.events("events", 3, LONG, Some(token()), Some(etag)).await;
    assert!(matches!(answer.outcome, Outcome::Page { etag: Some(etag), .. } if etag == "W/\"next\""));
    let request = &server.received_requests().await.unwrap()[0];
    assert_eq!(request.url.path(), "/api/v3/events");
    assert_eq!(request.url.query(), Some("per_page=100&page=3"));
    let header = |name: &str| request.headers.get(name).unwrap().to_str().unwrap();
    assert_eq!(header("authorization"), format!("Bearer {SECRET}"));
    assert_eq!(header("if-none-match"), "W/\"last\"");
    assert_eq!(header("accept"), "application/vnd.github+json");
    assert_eq!(header("x-github-api-version"), "2022-11-28");
    assert!(header("user-agent").starts_with("pulsehub/"));
    assert!(header("accept-encoding").contains("gzip"));
}

#[tokio::test]
async fn an_anonymous_request_has_no_authorization() {
    let server = answering(json("[]")).await;
    client(&server.uri()).events("events", 1, LONG, None, None).await;
    let request = &server.received_requests().await.unwrap()[0];
    assert!(!request.headers.contains_key("authorization"));
    assert!(!request.headers.contains_key("if-none-match"));
}

#[tokio::test]
async fn a_compressed_page_is_read() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(page(1..3).as_bytes()).unwrap();
    let server = answering(json(gzip.finish().unwrap()).insert_header("content-encoding", "gzip")).await;
    let Outcome::Page { body, .. } =
        client(&server.uri()).events("events", 1, LONG, None, None).await.outcome
    else {
        panic!()
    };
    assert_eq!(body, page(1..3));
}

#[tokio::test]
async fn every_status_has_its_name() {
    let of = async |answer| failure(&answering(answer).await.uri()).await;
    let status = ResponseTemplate::new;
    assert!(matches!(of(status(401)).await, Failure::Unauthorized));
    assert!(matches!(of(status(403)).await, Failure::Forbidden));
    assert!(matches!(of(status(422)).await, Failure::BeyondLastPage));
    assert!(matches!(of(status(404)).await, Failure::NotFound));
    assert!(matches!(of(status(451)).await, Failure::Unexpected(status) if status == 451));
    assert!(matches!(of(status(502)).await, Failure::Server(status) if status == 502));
    let limited = status(403).insert_header("retry-after", "7");
    assert!(matches!(of(limited).await, Failure::RateLimited { wait: Some(wait) } if wait.as_secs() == 7));
    assert!(matches!(of(status(429)).await, Failure::RateLimited { wait: None }));
    let left = || status(403).insert_header("x-ratelimit-remaining", "4000");
    let said = r#"{"message":"You have exceeded a secondary rate limit."}"#;
    for secondary in [left().set_body_string(said), status(403).set_body_string(said)] {
        assert!(matches!(of(secondary).await, Failure::RateLimited { wait: None }));
    }
    let blocked = left().set_body_string(r#"{"message":"Repository access blocked"}"#);
    assert!(matches!(of(blocked).await, Failure::Forbidden));
    let spent = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "99999999999")];
    let spent =
        spent.into_iter().fold(status(429), |answer, (name, value)| answer.insert_header(name, value));
    assert!(matches!(of(spent).await, Failure::RateLimited { wait: Some(wait) } if wait.as_secs() == 3601));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_token_stays_here() {
    let other = answering(json("[]")).await;
    for status in [301, 302, 307, 308] {
        let location = format!("{}/events?page=1", other.uri().replace("127.0.0.1", "user:pass@localhost"));
        let server = answering(ResponseTemplate::new(status).insert_header("location", location)).await;
        let failure = failure(&server.uri()).await;
        let expected = other.uri().replace("127.0.0.1", "localhost");
        let Failure::Redirected { origin, path } = &failure else { panic!("{failure:?}") };
        assert_eq!((origin, path), (&expected, &None));
    }
    assert!(other.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn answers_that_end_early_or_never_are_told_apart() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n[{\"id\":".to_vec();
    let of = async |bytes: &[u8], whole| {
        let bytes = bytes.to_vec();
        let address = raw_server(move |_| (bytes.clone(), whole)).await;
        failure_within(&format!("http://{address}"), Duration::from_millis(if whole { 10_000 } else { 300 }))
            .await
    };
    assert!(matches!(of(&half, true).await, Failure::Incomplete(_)));
    assert!(matches!(of(&half, false).await, Failure::Timeout(_)));
    assert!(matches!(of(b"", false).await, Failure::Timeout(_)));
    assert!(matches!(of(b"", true).await, Failure::Transport(_)));
    assert!(matches!(of(b"SSH-2.0-x\r\n", true).await, Failure::Transport(_)));
    let not_gzip = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n[]";
    assert!(matches!(of(not_gzip, true).await, Failure::Incomplete(_)));
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&vec![b' '; 33 << 20]).unwrap();
    let server = answering(json(gzip.finish().unwrap()).insert_header("content-encoding", "gzip")).await;
    let outcome = client(&server.uri()).events("events", 1, LONG, None, None).await.outcome;
    assert!(matches!(outcome, Outcome::Failed(Failure::TooLarge)), "{outcome:?}");
}

#[test]
fn addresses_that_cannot_be_one_are_refused_without_repeating_them() {
    settings(&[]);
    for base_url in
        ["", "github.com", "ftp://github.com", "https://user:secret@github.com", "https://secret@x"]
    {
        let http = Arc::new(Http::new().unwrap());
        let error = Client::new(http, base_url, Arc::new(SystemClock)).err().unwrap();
        assert!(matches!(error, ClientError::BaseUrl), "{base_url}");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn whatever_speaks_http_counts_as_reached() {
    for status in [200, 401, 403, 429, 500] {
        let server = answering(ResponseTemplate::new(status)).await;
        settings(&[]);
        assert!(reachable(&server.uri(), Duration::from_secs(10)).await);
        let request = &server.received_requests().await.unwrap()[0];
        assert!(!request.headers.contains_key("authorization"));
    }
}

#[tokio::test]
async fn a_silent_or_missing_github_is_not_reached_in_time() {
    settings(&[]);
    let silent = raw_server(|_| (Vec::new(), false)).await;
    let limit = Duration::from_millis(300);
    assert!(!reachable(&format!("http://{silent}"), limit).await);
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let start = std::time::Instant::now();
    assert!(!reachable(&format!("http://{refusing}"), limit).await);
    assert!(start.elapsed() >= limit, "it gave up before the time was over");
}

#[tokio::test]
async fn a_github_that_comes_up_in_time_is_reached() {
    settings(&[]);
    let answer = |connection| if connection < 2 { "" } else { "HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n" };
    let flaky = raw_server(move |connection| (answer(connection).into(), true)).await;
    assert!(reachable(&format!("http://{flaky}"), Duration::from_secs(10)).await);
}
