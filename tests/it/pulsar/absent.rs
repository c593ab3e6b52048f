//! Pulsar that is not there or does not let in: OAuth2, and what is said while it is away.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pulsehub::broker::pulsar::{OAuth, PulsarBroker};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Respond, ResponseTemplate};

use super::{archive, opened, publish, pull_request};
use crate::support::pulsar as service;
use crate::support::{Client, PATIENCE, Unanswered, eventually};

/// An OpenID provider whose token endpoint gives `answer`.
pub async fn provider(answer: impl Respond + 'static) -> MockServer {
    let server = MockServer::start().await;
    // As the client normalises it.
    let issuer = format!("{}/", server.uri());
    let discovery = json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}authorize"),
        "token_endpoint": format!("{issuer}oauth/token"), "jwks_uri": format!("{issuer}jwks"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    let json = |body| ResponseTemplate::new(200).set_body_json(body);
    Mock::given(path("/.well-known/openid-configuration")).respond_with(json(discovery)).mount(&server).await;
    Mock::given(path("/jwks")).respond_with(json(json!({"keys": []}))).mount(&server).await;
    Mock::given(method("POST")).and(path("/oauth/token")).respond_with(answer).mount(&server).await;
    server
}

pub fn key_file(directory: &Path, issuer: &str) -> OAuth {
    let key_file = directory.join("key.json");
    let key = json!({
        "type": "client_credentials", "client_id": "someone", "client_secret": "hush-secret",
        "client_email": "someone@example.org", "issuer_url": issuer,
    });
    std::fs::write(&key_file, key.to_string()).unwrap();
    OAuth { audience: "urn:sn:pulsar:test".to_owned(), key_file }
}

#[tokio::test(flavor = "multi_thread")]
async fn formal_fetches_a_token_for_the_audience_by_the_key_file() {
    let token = json!({"access_token": "a-token", "token_type": "bearer", "expires_in": 3600});
    let server = provider(ResponseTemplate::new(200).set_body_json(token)).await;
    let directory = tempfile::tempdir().unwrap();
    let mut options = service::options(&service::topic());
    options.oauth = Some(key_file(directory.path(), &server.uri()));
    let broker = PulsarBroker::new(options).unwrap();
    publish(&broker, ["event".to_owned()]).await;
    let requests = server.received_requests().await.unwrap();
    let asked = requests.iter().find(|request| request.url.path() == "/oauth/token").unwrap();
    let body = String::from_utf8(asked.body.clone()).unwrap();
    for part in ["grant_type=client_credentials", "client_id=someone", "audience=urn%3Asn%3Apulsar%3Atest"] {
        assert!(body.contains(part), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_said_without_the_secret() {
    // A provider that repeats what it was sent.
    let refusal = json!({"error": "invalid_client", "error_description": "hush-secret is wrong"});
    let server = provider(ResponseTemplate::new(401).set_body_json(refusal)).await;
    let directory = tempfile::tempdir().unwrap();
    let oauth = key_file(directory.path(), &server.uri());
    let config = directory.path().join("config.yaml");
    let topic = service::topic();
    let section = json!({
        "pulsar": {
            "env": "formal", "host": service::url(), "audience": oauth.audience, "keypath": oauth.key_file,
            "producer": {"topic": topic}, "consumer": {"topic": topic},
        },
        "server": {"host": "127.0.0.1", "port": 0}, "admin": {"port": 0},
        "storage": {"path": directory.path().join("data")}, "log": {"level": "trace"},
    });
    std::fs::write(&config, section.to_string()).unwrap();
    let events = archive(directory.path(), &[pull_request(1)]);
    let log = directory.path().join("log");
    let mut child = Program::start(&config, &events, &log);
    eventually("it says what is wrong", async || {
        std::fs::read_to_string(&log).unwrap().contains("Pulsar does not work")
    })
    .await;
    child.terminate();
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("***") && !said.contains("hush-secret"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_pulsar_the_process_serves_and_it_connects_when_pulsar_comes() {
    let directory = tempfile::tempdir().unwrap();
    let place = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut app = service::app();
    app.config.pulsar.dev_host = Some(format!("pulsar://{place}").into());
    let mut running = app.start(app.replay_of([archive(directory.path(), &[pull_request(1)])])).await;
    let mut client = Client::connect(&running, "/sampling").await;
    assert_eq!(client.json().await["firstMessageTag"], true);
    // What comes to this place goes on to the real one.
    let listener = TcpListener::bind(place).await.unwrap();
    let real = service::url().trim_start_matches("pulsar://").to_owned();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut to = TcpStream::connect(&real).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    let replayed = tokio::time::timeout(PATIENCE, running.replayed()).await.expect("connects in time");
    assert_eq!(replayed.unwrap().unwrap().submitted.published, 1);
    running.stop().await;
    assert_eq!(*opened(&app.stats(2026).await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_pulsar_is_reported_once() {
    let directory = tempfile::tempdir().unwrap();
    let place = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (config, log) = (directory.path().join("config.yaml"), directory.path().join("log"));
    let section = json!({
        "pulsar": {"devHost": format!("pulsar://{place}")},
        "server": {"host": "127.0.0.1", "port": 0}, "admin": {"port": 0},
        "storage": {"path": directory.path().join("data")},
    });
    std::fs::write(&config, section.to_string()).unwrap();
    let events = archive(directory.path(), &[pull_request(1)]);
    let mut child = Program::start(&config, &events, &log);
    let said = || std::fs::read_to_string(&log).unwrap();
    eventually("it serves", async || said().contains("serving ws://")).await;
    eventually("it says what is wrong", async || said().contains("Pulsar does not work")).await;
    // Five of its parts try again meanwhile.
    Unanswered::listen(place.port()).await.tried(20).await;
    child.terminate();
    let said = said();
    assert_eq!(said.matches("Pulsar does not work").count(), 1, "{said}");
    let lines = said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).count();
    assert!(lines <= 3, "{said}");
}

/// The program itself.
pub struct Program(std::process::Child);

impl Program {
    /// Starts a replay of `events` that logs to a file.
    pub fn start(config: &Path, events: &str, log: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_pulsehub"))
            .args(["replay", "--exit", "--config"])
            .arg(config)
            .arg(events)
            .stderr(std::fs::File::create(log).unwrap())
            .stdin(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// Waits until it has ended by itself.
    pub async fn succeeded(&mut self) -> bool {
        let mut status = None;
        eventually("the replay ends", async || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().success()
    }

    /// Ends it as an operator would, within the promised time.
    pub fn terminate(&mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        for _ in 0..300 {
            if self.0.try_wait().unwrap().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("it does not end");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
