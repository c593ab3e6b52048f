//! Polling against a scripted GitHub: what is published, what is kept, and how every fault is survived.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use wiremock::{Request, ResponseTemplate};

use super::harness::{Log, Memory, Polling, event, eventually, fast, feed, json, page, raw_server, settings};
use super::poller::Waits;
use super::{GitHubSettings, GitHubState, Setup};
use crate::clock::{Clock, SystemClock};

const DISTURBED: &str = "polling GitHub is disturbed";
/// A request that should not time out takes no longer, whatever else the machine does.
const LONG: Duration = Duration::from_secs(10);
/// How long is waited for a GitHub that fell silent.
const SHORT: Duration = Duration::from_millis(500);
const WORKS_AGAIN: &str = "polling GitHub works again";

#[tokio::test]
async fn a_page_that_is_unchanged_is_asked_for_with_its_etag() {
    let server = feed(|number, nth, request| {
        let sent = request.headers.get("if-none-match").map(|etag| etag.to_str().unwrap().to_owned());
        let etag = format!("\"{number}\"");
        assert_eq!(sent, (nth > 0).then(|| etag.clone()));
        match nth {
            0 => json(page([number])).insert_header("etag", etag),
            _ => ResponseTemplate::new(304),
        }
    })
    .await;
    let (log, _guard) = Log::start();
    let polling = Polling::start(&server.uri(), &["t"]).await;
    while server.received_requests().await.unwrap().len() < 12 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let status = polling.status.borrow().clone();
    assert_eq!((status.state, status.trouble), (GitHubState::Polling, None));
    assert!(status.authenticated && status.last_success.is_some());
    let broker = polling.stop().await;
    assert_eq!(broker.0.batches.lock().unwrap().len(), 3, "one for each page");
    assert_eq!(log.count(DISTURBED), 0);
}

#[tokio::test]
async fn an_etag_is_not_kept_when_the_events_were_not_published() {
    let server = feed(|number, _, request| {
        let unchanged = request.headers.contains_key("if-none-match");
        if unchanged {
            ResponseTemplate::new(304)
        } else {
            json(page([number])).insert_header("etag", "\"x\"")
        }
    })
    .await;
    let (log, _guard) = Log::start();
    let broker = Memory::default();
    broker.0.refusals.store(1, Ordering::SeqCst);
    let polling = Polling::with(&server.uri(), settings(&["t"]), broker).await;
    eventually("events after the refusal", || polling.published() == 3).await;
    eventually("a healthy status", || polling.status.borrow().trouble.is_none()).await;
    assert!(
        polling.troubles.lock().unwrap().iter().any(|text| text.contains("the broker refused the events"))
    );
    polling.stop().await;
    assert_eq!((log.count(DISTURBED), log.count(WORKS_AGAIN)), (1, 1), "{}", log.text());
}

#[tokio::test]
async fn a_broker_that_is_closed_ends_the_poller() {
    let server = feed(|number, _, _| json(page([number]))).await;
    let broker = Memory::default();
    broker.0.closed.store(true, Ordering::SeqCst);
    let polling = Polling::with(&server.uri(), settings(&["t"]), broker).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), polling.task).await;
    assert!(ended.expect("its end").unwrap().unwrap_err().is_fatal());
}

#[tokio::test]
async fn null_among_events_goes_to_the_dead_letters_once() {
    let server = feed(|number, _, _| match number {
        2 => json(format!("[{},null,{}]", event(1), event(2))),
        number => json(page([number * 10])),
    })
    .await;
    let polling = Polling::start(&server.uri(), &["t"]).await;
    eventually("events beside the null", || polling.published() == 4).await;
    let count = server.received_requests().await.unwrap().len();
    while server.received_requests().await.unwrap().len() < count + 6 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let broker = polling.stop().await;
    let letters = broker.0.letters.lock().unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].origin.as_str(), letters[0].body.as_ref()),
        ("events page 2 index 1", &b"null"[..])
    );
}

/// GitHub answers nine times as it should not, then as it should: said once, survived, and over once.
async fn survives(base_url: &str, trouble: &str, timeout: Duration) {
    let (log, _guard) = Log::start();
    let settings = GitHubSettings { timeout, ..settings(&["secret_token"]) };
    let polling = Polling::with(base_url, settings, Memory::default()).await;
    eventually(trouble, || polling.published() == 3).await;
    eventually("a healthy status", || polling.status.borrow().trouble.is_none()).await;
    assert_eq!(polling.status.borrow().state, GitHubState::Polling);
    let troubles = polling.troubles.lock().unwrap().clone();
    assert!(troubles.len() > 1 && troubles.iter().all(|text| text.contains(trouble)), "{troubles:?}");
    polling.stop().await;
    assert_eq!((log.count(DISTURBED), log.count(WORKS_AGAIN)), (1, 1), "{}", log.text());
    assert!(!log.text().contains("secret_token"), "{}", log.text());
}

async fn survives_answer(bad: ResponseTemplate, trouble: &str) {
    let asked = AtomicU32::new(0);
    let server =
        feed(
            move |number, _, _| {
                if asked.fetch_add(1, Ordering::SeqCst) < 9 { bad.clone() } else { json(page([number])) }
            },
        )
        .await;
    survives(&server.uri(), trouble, LONG).await;
}

#[tokio::test]
async fn every_fault_is_said_once_and_survived() {
    let status = ResponseTemplate::new;
    survives_answer(status(401), "no token of github.tokens works: GitHub does not know the token").await;
    survives_answer(status(403), "no token of github.tokens works: GitHub forbids access").await;
    survives_answer(status(422), "beyond the feed's last one").await;
    survives_answer(status(429), "rate limit").await;
    survives_answer(status(500), "500 Internal Server Error").await;
    survives_answer(status(302).insert_header("location", "https://example.com/x"), "https://example.com")
        .await;
    survives_answer(status(200).set_body_string("<!DOCTYPE html><h1>Unicorn!"), "not a JSON array").await;
    survives_answer(json(r#"{"message":"hello"}"#), "not a JSON array").await;
}

#[tokio::test]
async fn broken_connections_are_said_once_and_survived() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n[{\"id\":";
    let cases = [
        (half, true, "incomplete"),
        (half, false, "no whole answer within 500ms"),
        ("", false, "no whole answer within 500ms"),
        ("", true, "cannot be reached"),
    ];
    for (bad, whole, trouble) in cases {
        let answer = move |connection| match connection {
            0..9 => (bad.as_bytes().to_vec(), whole),
            _ => {
                let body = page([1, 2, 3]);
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:";
                (format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes(), true)
            }
        };
        survives(&format!("http://{}", raw_server(answer).await), trouble, if whole { LONG } else { SHORT })
            .await;
    }
}

#[tokio::test]
async fn a_failing_page_does_not_keep_back_the_others() {
    let server = feed(|number, nth, _| match number {
        2 => ResponseTemplate::new(502),
        number => json(page([number * 100 + nth])),
    })
    .await;
    let polling = Polling::start(&server.uri(), &["t"]).await;
    eventually("events of pages 1 and 3", || polling.published() >= 10).await;
    let status = polling.status.borrow().clone();
    assert_eq!(status.state, GitHubState::Polling);
    assert_eq!(status.to_string(), "polling: page 2: GitHub answers 502 Bad Gateway");
    polling.stop().await;
}

#[tokio::test]
async fn a_rate_limit_is_waited_out() {
    let limited = ResponseTemplate::new(403).insert_header("retry-after", "1");
    let server =
        feed(move |number, nth, _| if nth == 0 { limited.clone() } else { json(page([number])) }).await;
    let (start, polling) = (Instant::now(), Polling::start(&server.uri(), &["t"]).await);
    eventually("a status", || polling.status.borrow().trouble.is_some()).await;
    assert_eq!(polling.status.borrow().state, GitHubState::BackingOff);
    eventually("events after the limit", || polling.published() == 3).await;
    assert!(start.elapsed() >= Duration::from_secs(1));
    polling.stop().await;
}

#[tokio::test]
async fn a_quota_that_is_spent_is_waited_for() {
    let asked = AtomicU32::new(0);
    let server = feed(move |number, nth, _| {
        let now = SystemClock.unix_seconds();
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        let (remaining, reset) = if first { (0, now + 1) } else { (4000, now + 3600) };
        json(page([number * 10 + nth.min(1)]))
            .insert_header("x-ratelimit-limit", "20000")
            .insert_header("x-ratelimit-remaining", remaining.to_string())
            .insert_header("x-ratelimit-reset", reset.to_string())
    })
    .await;
    let (start, polling) = (Instant::now(), Polling::start(&server.uri(), &["t"]).await);
    eventually("the first request", || polling.published() == 1).await;
    eventually("the others", || polling.published() >= 3).await;
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(polling.troubles.lock().unwrap()[0].contains("quota is spent"));
    eventually("the new quota", || polling.status.borrow().remaining > Some(3000)).await;
    polling.stop().await;
}

#[tokio::test]
async fn the_next_token_takes_over_until_the_first_works_again() {
    let refusals = AtomicU32::new(0);
    let server = feed(move |number, nth, request| {
        let first = request.headers["authorization"] == "Bearer first";
        let refused = first && refusals.fetch_add(1, Ordering::SeqCst) < 3;
        if refused { ResponseTemplate::new(401) } else { json(page([number * 1000 + nth])) }
    })
    .await;
    let (log, _guard) = Log::start();
    let polling = Polling::start(&server.uri(), &["first", "second"]).await;
    eventually("events for the second token", || polling.published() >= 3).await;
    eventually("the first token", || log.count("a GitHub token works again") == 1).await;
    polling.stop().await;
    assert_eq!(log.count("the next one takes over"), 1);
    assert_eq!(log.count(DISTURBED), 0);
}

#[tokio::test]
async fn an_anonymous_poll_is_released_evenly() {
    let server = feed(|number, nth, request| {
        assert!(!request.headers.contains_key("authorization"));
        let start = nth * 1000 + number * 100;
        json(page(start..start + 20))
            .insert_header("x-poll-interval", "1")
            .insert_header("x-ratelimit-remaining", "60000")
            .insert_header("x-ratelimit-reset", (SystemClock.unix_seconds() + 3600).to_string())
    })
    .await;
    let polling = Polling::start(&server.uri(), &[]).await;
    eventually("two polls", || polling.published() >= 120).await;
    let sizes: Vec<_> = polling.broker.0.batches.lock().unwrap().iter().map(Vec::len).collect();
    assert!(sizes.iter().all(|size| *size == 5), "{sizes:?}");
    assert!(!polling.status.borrow().authenticated);
    polling.stop().await;
}

#[tokio::test]
async fn shutdown_publishes_what_was_fetched() {
    let server = feed(|number, _, _| json(page(number * 100..number * 100 + 20))).await;
    let polling = Polling::start(&server.uri(), &[]).await;
    eventually("the first events", || polling.published() > 0).await;
    assert!(polling.published() < 60, "they are spread over minutes");
    let stopping = Instant::now();
    let broker = polling.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(5));
    let published = broker.0.batches.lock().unwrap().iter().map(Vec::len).sum::<usize>();
    assert!(published >= 20 && published % 20 == 0, "{published}");
}

#[test]
fn settings_do_not_show_a_token() {
    let text = format!("{:?}", settings(&["secret_token"]));
    assert!(!text.contains("secret_token"), "{text}");
}

/// Who asks: each token's text, or nothing.
fn asker(request: &Request) -> String {
    request.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn a_new_token_asks_at_once_whatever_its_predecessor_waits_for() {
    // The first is refused, then set aside for a time that no test waits for; without any, a round takes minutes.
    for former in [&["dead"][..], &[]] {
        let server = feed(|number, nth, request| match asker(request).as_str() {
            "Bearer dead" => ResponseTemplate::new(401),
            "" => json(page(number * 100..number * 100 + 20)),
            _ => json(page([number * 1_000 + nth])),
        })
        .await;
        let waits = Waits { refusal: (Duration::from_secs(3_600), Duration::from_secs(3_600)), ..fast() };
        let setup = Setup::new(&server.uri());
        let polling = Polling::at(waits, setup, settings(former), Memory::default()).await;
        let refused = || polling.status.borrow().state == GitHubState::Unauthorized;
        eventually("the first round", || polling.published() > 0 || refused()).await;
        polling.settings.send_replace(settings(&["dead", "new"]));
        eventually("events by the new token", || {
            polling.published() > if former.is_empty() { 62 } else { 2 }
        })
        .await;
        assert!(polling.status.borrow().authenticated);
        assert_eq!(polling.status.borrow().state, GitHubState::Polling);
        let requests = server.received_requests().await.unwrap();
        let refusals = requests.iter().filter(|request| asker(request) == "Bearer dead").count();
        assert_eq!(refusals, 1, "listed again, it is still set aside");
        polling.stop().await;
    }
}

#[tokio::test]
async fn a_new_pace_holds_from_the_next_round_on_and_for_whoever_asks() {
    let server = feed(|number, nth, _| json(page([number * 1_000 + nth]))).await;
    let slow = |tokens: &[&str]| GitHubSettings { break_: Duration::from_secs(3_600), ..settings(tokens) };
    let polling = Polling::start(&server.uri(), &["first"]).await;
    eventually("some rounds", || polling.published() >= 9).await;
    let names: Vec<_> = (0..10).map(|index| format!("token{index}")).collect();
    for name in &names {
        let before = polling.published();
        polling.settings.send_replace(slow(&[name]));
        eventually("a round by the new token", || polling.published() >= before + 3).await;
        // The same one asks: it waits as long as before.
        polling.settings.send_replace(slow(&[name, "stand-by"]));
    }
    polling.stop().await;
    let requests = server.received_requests().await.unwrap();
    for name in names {
        let asked = requests.iter().filter(|request| asker(request) == format!("Bearer {name}")).count();
        assert_eq!(asked, 3, "{name} asks for one round, then waits");
    }
}
