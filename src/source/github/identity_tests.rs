//! Several identities, an App's installation, focus feeds, and the one connection that all requests share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::time::Instant;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::client::Failure;
use super::harness::{Log, Memory, Polling, eventually, fast, feed, json, page, settings};
use super::identities::{Asker, Identities};
use super::poller::Waits;
use super::rate_limit::RateHeaders;
use super::{Http, IdentityOptions, Poll, Setup, Transport};
use crate::clock::{Clock, SystemClock};

fn asker(request: &Request) -> String {
    request.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

async fn requests_by_asker(server: &MockServer) -> BTreeMap<String, usize> {
    let mut by_asker = BTreeMap::new();
    for request in server.received_requests().await.unwrap() {
        *by_asker.entry(asker(&request)).or_default() += 1;
    }
    by_asker
}

fn with_identities(base_url: &str, tokens: &[&str]) -> Setup {
    let identity = |token: &&str| IdentityOptions::Tokens(vec![(*token).to_owned()]);
    Setup { identities: tokens.iter().map(identity).collect(), ..Setup::new(base_url) }
}

#[tokio::test]
async fn identities_ask_in_turn_and_the_living_go_on_without_the_dead() {
    let dead = Arc::new(AtomicU32::new(0));
    let is_dead = dead.clone();
    let server = feed(move |number, nth, request| {
        let refused = asker(request) == "Bearer b" && is_dead.load(Ordering::SeqCst) == 1;
        if refused { ResponseTemplate::new(401) } else { json(page([number * 100_000 + nth])) }
    })
    .await;
    let (log, _guard) = Log::start();
    let setup = with_identities(&server.uri(), &["b", "c"]);
    let polling = Polling::at(fast(), setup, settings(&["a"]), Memory::default()).await;
    eventually("all of them ask", || polling.published() > 30).await;
    let by_asker = requests_by_asker(&server).await;
    assert_eq!(by_asker.len(), 3, "{by_asker:?}");
    dead.store(1, Ordering::SeqCst);
    eventually("one is set aside", || !polling.status.borrow().aside.is_empty()).await;
    let status = polling.status.borrow().clone();
    assert!(status.to_string().contains("github.identities[0]: GitHub does not know the token"), "{status}");
    let published = polling.published();
    eventually("the others go on", || polling.published() > published + 30).await;
    dead.store(0, Ordering::SeqCst);
    eventually("it is tried again", || polling.status.borrow().aside.is_empty()).await;
    polling.stop().await;
    assert_eq!(log.count("an identity is refused, it is set aside"), 1, "{}", log.text());
}

/// A private key in PEM, in the form that GitHub gives or in PKCS#8, and its public half as ring takes it.
fn key(traditional: bool) -> (Vec<u8>, Vec<u8>) {
    let run = |arguments: &[&str], directory: &std::path::Path| {
        let output = Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let directory = tempfile::tempdir().unwrap();
    run(&["genrsa", "-out", "key.pem", "2048"], directory.path());
    let form: &[&str] = if traditional {
        &["rsa", "-in", "key.pem", "-traditional"]
    } else {
        &["pkcs8", "-topk8", "-nocrypt", "-in", "key.pem"]
    };
    let public = run(&["rsa", "-in", "key.pem", "-RSAPublicKey_out", "-outform", "DER"], directory.path());
    (run(form, directory.path()), public)
}

/// The claims of a token that was signed with the other half of `public`.
fn claims(jwt: &str, public: &[u8]) -> serde_json::Value {
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
        .verify(signed.as_bytes(), &signature)
        .unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(header).unwrap(), br#"{"alg":"RS256","typ":"JWT"}"#);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[tokio::test]
async fn an_installation_buys_a_token_by_its_key_and_another_before_it_ends() {
    for traditional in [true, false] {
        let (key, public) = key(traditional);
        assert!(traditional == String::from_utf8_lossy(&key).contains("BEGIN RSA PRIVATE KEY"));
        // The first two end within what is left before one is renewed, the third lasts, until GitHub refuses it.
        let server = feed(|number, nth, request| match asker(request).as_str() {
            "Bearer bought-2" if nth > 8 => ResponseTemplate::new(401),
            _ => json(page([number * 100_000 + nth])),
        })
        .await;
        let bought = AtomicU32::new(0);
        let buy = move |_: &Request| {
            let nth = bought.fetch_add(1, Ordering::SeqCst);
            let lasts = if nth < 2 { 200 } else { 3_600 };
            let until = jiff::Timestamp::from_second(SystemClock.unix_seconds() + lasts).unwrap();
            let body = format!(r#"{{"token":"bought-{nth}","expires_at":"{until}"}}"#);
            ResponseTemplate::new(201).set_body_raw(body, "application/json")
        };
        let place = "/app/installations/678/access_tokens";
        Mock::given(method("POST")).and(path(place)).respond_with(buy).mount(&server).await;
        let app = IdentityOptions::App { id: "12".to_owned(), installation: 678, key };
        let setup = Setup { identities: vec![app], ..Setup::new(&server.uri()) };
        let (log, _guard) = Log::start();
        let polling = Polling::at(fast(), setup, settings(&[]), Memory::default()).await;
        assert!(polling.status.borrow().authenticated);
        eventually("polls with a fourth token", || polling.published() > 40).await;
        let mut askers = Vec::new();
        for request in server.received_requests().await.unwrap() {
            let asker = asker(&request).strip_prefix("Bearer ").unwrap().to_owned();
            if request.method == reqwest::Method::POST {
                let claims = claims(&asker, &public);
                assert_eq!(claims["iss"], "12");
                let (from, until) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
                let now = SystemClock.unix_seconds();
                assert!(from < now && until > now && until - from <= 600, "{claims}");
            } else if askers.last() != Some(&asker) {
                askers.push(asker);
            }
        }
        askers.sort();
        askers.dedup();
        assert_eq!(askers, ["bought-0", "bought-1", "bought-2", "bought-3"]);
        polling.stop().await;
        assert!(!log.text().contains("bought-"), "{}", log.text());
    }
}

/// The user and one further identity, each asking.
fn two_askers(now: Instant) -> (Identities, Asker, Asker) {
    let further = IdentityOptions::Tokens(vec!["b".to_owned()]);
    let hour = Duration::from_secs(3_600);
    let waits = Waits { refusal: (hour, hour), ..fast() };
    let mut identities = Identities::new(&["a".to_owned()], vec![further], waits, now).unwrap();
    let (first, second) = (identities.pick(None, now).unwrap(), identities.pick(None, now).unwrap());
    assert_ne!(first.id, second.id);
    (identities, first, second)
}

#[test]
fn a_refused_identity_is_set_aside_until_it_has_worked_again() {
    let now = Instant::now();
    let (mut identities, _, dead) = two_askers(now);
    let (later, none) = (now + Duration::from_secs(1), RateHeaders::default());
    identities.answered(&dead, &none, Err(&Failure::Unauthorized), true, later);
    assert_eq!((identities.aside().len(), identities.count()), (1, (1, 1)));
    let tried = later + Duration::from_secs(3_600);
    let dead = identities.pick(Some(dead.id), tried).unwrap();
    assert_eq!(identities.rate(tried).1, 2, "it is tried again");
    assert_eq!(identities.aside().len(), 1, "and not back before it has worked");
    identities.answered(&dead, &none, Ok(Some(true)), true, tried);
    assert_eq!((identities.aside().len(), identities.count()), (0, (2, 0)));
}

#[test]
fn a_stale_identity_is_set_aside_only_while_another_one_can_ask() {
    let now = Instant::now();
    let none = RateHeaders::default();
    for alone in [false, true] {
        let (mut identities, other, stale) = two_askers(now);
        if alone {
            identities.answered(&other, &none, Err(&Failure::Unauthorized), true, now);
        }
        for _ in 0..30 {
            identities.answered(&stale, &none, Ok(Some(true)), true, now);
        }
        for seconds in 0..130 {
            identities.answered(&stale, &none, Ok(Some(false)), true, now + Duration::from_secs(seconds));
        }
        let aside = identities.aside().join("; ");
        assert_eq!(aside.contains("the same page again and again"), !alone, "{aside}");
    }
}

#[test]
fn a_key_that_is_none_is_named_by_its_place() {
    let app = |key: &[u8]| IdentityOptions::App { id: "1".to_owned(), installation: 2, key: key.to_vec() };
    for key in
        [&b""[..], b"hunter2", b"-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n"]
    {
        let now = tokio::time::Instant::now();
        let error = super::identities::Identities::new(&[], vec![app(key)], fast(), now).err().unwrap();
        assert!(error.to_string().starts_with("github.identities[0].app.keyPath"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn focus_feeds_are_polled_with_etags_and_an_owner_is_found_wherever_it_is() {
    let server = feed(|_, _, _| json("[]")).await;
    let given = |place: &'static str, id: u32| {
        let answer = move |request: &Request| {
            let etag = format!("\"{place}\"");
            let known = request.headers.get("if-none-match").is_some_and(|sent| sent == etag.as_str());
            if known { ResponseTemplate::new(304) } else { json(page([id])).insert_header("etag", etag) }
        };
        Mock::given(path(place)).respond_with(answer).mount(&server)
    };
    given("/repos/rust-lang/rust/events", 1).await;
    given("/users/torvalds/events/public", 2).await;
    given("/orgs/rust-lang/events", 3).await;
    let polls = Arc::new(Mutex::new(Vec::<Poll>::new()));
    let seen = polls.clone();
    let setup = Setup {
        focus: ["rust-lang/rust", "torvalds", "rust-lang", "gone/gone"].map(str::to_owned).to_vec(),
        observer: Arc::new(move |poll| seen.lock().unwrap().push(poll.clone())),
        ..Setup::new(&server.uri())
    };
    let settings = super::GitHubSettings { poll_interval: super::PollInterval::Obey, ..settings(&["t"]) };
    let polling = Polling::at(fast(), setup, settings, Memory::default()).await;
    eventually("three focus feeds", || polling.published() == 3).await;
    eventually("the one that is missing", || polling.status.borrow().trouble.is_some()).await;
    assert_eq!(polling.status.borrow().to_string(), "polling: focus gone/gone: there is no such feed (404)");
    polling.stop().await;
    let polls = polls.lock().unwrap();
    let mut shown: Vec<_> =
        polls.iter().filter_map(|poll| Some((poll.feed.to_string(), poll.events.first()?.key.id))).collect();
    shown.sort();
    let expected = [("focus rust-lang", 3), ("focus rust-lang/rust", 1), ("focus torvalds", 2)];
    assert_eq!(shown, expected.map(|(feed, id)| (feed.to_owned(), id)));
}

#[tokio::test]
async fn a_repository_that_is_blocked_is_left_alone_and_nobody_is_set_aside_for_it() {
    let server = feed(|number, nth, _| json(page([number * 1_000 + nth]))).await;
    let blocked = ResponseTemplate::new(403)
        .insert_header("x-ratelimit-remaining", "4000")
        .set_body_string(r#"{"message":"Repository access blocked","block":{"reason":"tos"}}"#);
    Mock::given(path("/repos/a/b/events")).respond_with(blocked).expect(1).mount(&server).await;
    let setup = Setup { focus: vec!["a/b".to_owned()], ..with_identities(&server.uri(), &["b"]) };
    let polling = Polling::at(fast(), setup, settings(&["a"]), Memory::default()).await;
    eventually("it is said", || polling.status.borrow().trouble.is_some()).await;
    let published = polling.published();
    eventually("the pages go on", || polling.published() > published + 30).await;
    let status = polling.status.borrow().clone();
    assert_eq!(status.to_string(), "polling: focus a/b: GitHub blocks access to it (403)");
    assert!(status.aside.is_empty(), "{status}");
    polling.stop().await;
}

#[tokio::test]
async fn a_renamed_repository_is_followed_on_its_server() {
    let server = feed(|number, _, _| json(page([number]))).await;
    let renamed = ResponseTemplate::new(301)
        .insert_header("location", format!("{}/repositories/7/events?per_page=100&page=1", server.uri()));
    Mock::given(path("/repos/old/name/events")).respond_with(renamed).expect(1).mount(&server).await;
    let there = Mock::given(path("/repositories/7/events"));
    there.respond_with(json(page([70]))).expect(1..).mount(&server).await;
    let (log, _guard) = Log::start();
    let setup = Setup { focus: vec!["old/name".to_owned()], ..Setup::new(&server.uri()) };
    let polling = Polling::at(fast(), setup, settings(&["t"]), Memory::default()).await;
    eventually("its events and those of the pages", || polling.published() == 4).await;
    assert_eq!(polling.status.borrow().trouble, None);
    polling.stop().await;
    assert_eq!(log.count("github.focus should give its new name"), 1, "{}", log.text());
}

#[tokio::test]
async fn an_app_that_is_given_no_token_is_set_aside_and_no_page_is_blamed() {
    let server = feed(|number, nth, _| json(page([number * 1_000 + nth]))).await;
    let place = "/app/installations/678/access_tokens";
    Mock::given(method("POST"))
        .and(path(place))
        .respond_with(ResponseTemplate::new(502))
        .mount(&server)
        .await;
    let app = IdentityOptions::App { id: "12".to_owned(), installation: 678, key: key(true).0 };
    let setup = Setup { identities: vec![app], ..Setup::new(&server.uri()) };
    let polling = Polling::at(fast(), setup, settings(&["t"]), Memory::default()).await;
    eventually("it is set aside", || !polling.status.borrow().aside.is_empty()).await;
    let published = polling.published();
    eventually("the other one goes on", || polling.published() > published + 30).await;
    let status = polling.status.borrow().to_string();
    assert!(
        status.contains("no token can be had for the App's installation: GitHub answers 502"),
        "{status}"
    );
    assert!(polling.troubles.lock().unwrap().iter().all(|trouble| !trouble.contains("page")));
    polling.stop().await;
}

/// A server that speaks HTTP/2 and nothing else, and answers once three requests are there.
async fn http2_server(connections: Arc<AtomicU32>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let all = Arc::new(Barrier::new(3));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.fetch_add(1, Ordering::SeqCst);
            let all = all.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let all = all.clone();
                    tokio::spawn(async move {
                        all.wait().await;
                        let response = http::Response::builder().status(304).body(()).unwrap();
                        respond.send_response(response, true).unwrap();
                    });
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn requests_share_one_connection_of_http2() {
    settings(&[]);
    let connections = Arc::new(AtomicU32::new(0));
    let address = http2_server(connections.clone()).await;
    let http = Http::with(reqwest::Client::builder().http2_prior_knowledge()).unwrap();
    let request = |page: u8| super::Request {
        method: reqwest::Method::GET,
        url: format!("http://{address}/events?page={page}").parse().unwrap(),
        headers: reqwest::header::HeaderMap::new(),
        timeout: Duration::from_secs(10),
    };
    // The connection is made by the first; the others must not wait for its answer.
    let (a, b, c) = tokio::join!(http.send(request(1)), http.send(request(2)), http.send(request(3)));
    for response in [a, b, c] {
        assert_eq!(response.unwrap().status, 304);
    }
    let made = connections.load(Ordering::SeqCst);
    let (a, b, c) = tokio::join!(http.send(request(1)), http.send(request(2)), http.send(request(3)));
    assert!([a, b, c].into_iter().all(|response| response.is_ok()));
    assert_eq!(connections.load(Ordering::SeqCst), made, "connections are kept");
}
