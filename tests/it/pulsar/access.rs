//! A Pulsar that lets in only whom it knows: permissions that are missing and tokens that expire.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pulsehub::app::Source;
use pulsehub::config::PulsarEnv;
use pulsehub::source::replay::{ReplayOptions, Speed};
use reqwest::StatusCode;
use ring::hmac;
use serde_json::json;
use wiremock::ResponseTemplate;

use super::absent::{Program, key_file, provider};
use super::{archive, opened, pull_request};
use crate::support::pulsar::{Standalone, configure, topic};
use crate::support::{PATIENCE, TestApp, certificate, eventually, text};

const SECRET: [u8; 32] = [7; 32];

/// A token for `subject` that is valid for `seconds`, as the OpenID provider would sign it.
fn token(subject: &str, seconds: i64) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs().cast_signed();
    let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = json!({"sub": subject, "iat": now - 60, "exp": now + seconds});
    let signed = format!("{}.{}", encode(json!({"alg": "HS256"})), encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// A provider that gives `someone` a token for `seconds` on each request.
async fn someone(seconds: i64) -> wiremock::MockServer {
    let answer = move |_: &wiremock::Request| {
        let token = token("someone", seconds);
        let answer = json!({"access_token": token, "token_type": "bearer", "expires_in": seconds});
        ResponseTemplate::new(200).set_body_json(answer)
    };
    provider(answer).await
}

/// A Pulsar that checks tokens every second, and gives rights to nobody but the administrator.
async fn guarded() -> Standalone {
    let administrator = token("administrator", 3_600);
    let conf = format!(
        "authenticationEnabled=true\n\
         authenticationProviders=org.apache.pulsar.broker.authentication.AuthenticationProviderToken\n\
         tokenSecretKey=data:;base64,{}\n\
         authenticationRefreshCheckSeconds=1\n\
         authorizationEnabled=true\n\
         superUserRoles=administrator\n\
         brokerClientAuthenticationPlugin=org.apache.pulsar.client.impl.auth.AuthenticationToken\n\
         brokerClientAuthenticationParameters=token:{administrator}\n",
        STANDARD.encode(SECRET)
    );
    tokio::task::spawn_blocking(move || Standalone::start_with(&conf)).await.unwrap()
}

async fn grant(admin_url: &str) {
    let url = format!("{admin_url}/admin/v2/namespaces/public/default/permissions/someone");
    let request = reqwest::Client::new().post(url).bearer_auth(token("administrator", 3_600));
    let answer = request.json(&json!(["produce", "consume"])).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_permission_it_waits_and_with_it_it_goes_on_through_expiring_tokens() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pulsar = guarded().await;
    let (url, admin_url) = pulsar.urls();
    let directory = tempfile::tempdir().unwrap();

    // The program, which nobody gave any rights.
    let strangers = someone(3_600).await;
    let oauth = key_file(directory.path(), &strangers.uri());
    let name = topic();
    let config = directory.path().join("config.yaml");
    let section = json!({
        "pulsar": {
            "env": "formal", "host": url, "adminUrl": admin_url, "audience": oauth.audience,
            "keypath": oauth.key_file, "producer": {"topic": name}, "consumer": {"topic": name},
        },
        "server": {"host": "127.0.0.1", "port": 0}, "admin": {"port": 0},
        "storage": {"path": directory.path().join("data")},
    });
    std::fs::write(&config, section.to_string()).unwrap();
    let events = archive(directory.path(), &[pull_request(1)]);
    let log = directory.path().join("log");
    let mut program = Program::start(&config, &events, &log);
    let said = || std::fs::read_to_string(&log).unwrap();
    eventually("it says what is missing", async || said().contains("Pulsar does not work")).await;
    assert!(said().to_lowercase().contains("authoriz"), "{}", said());
    grant(&admin_url).await;
    assert!(program.succeeded().await, "{}", said());
    assert_eq!(said().matches("Pulsar does not work").count(), 1, "{}", said());

    // A replay at the pace of its events, which takes longer than a token is valid.
    let short = someone(3).await;
    let mut app = TestApp::new();
    configure(&mut app.config, url.clone(), Some(admin_url));
    app.config.pulsar.env = PulsarEnv::Formal;
    app.config.pulsar.host = Some(url.into());
    let oauth = key_file(directory.path(), &short.uri());
    app.config.pulsar.audience = Some(oauth.audience);
    app.config.pulsar.keypath = Some(oauth.key_file.to_str().unwrap().to_owned());
    let events: Vec<_> = (0..10)
        .map(|second| {
            let mut event = pull_request(second);
            event["created_at"] = format!("2026-11-01T10:00:{second:02}Z").into();
            event
        })
        .collect();
    let source = app.replay_of([archive(app.directory(), &events)]);
    let Source::Replay(options) = source else { panic!("a replay") };
    let options = ReplayOptions { speed: Speed::Times(1.0), ..options };
    let mut running = app.start(Source::Replay(options)).await;
    let replayed = tokio::time::timeout(PATIENCE * 2, running.replayed()).await.expect("its end in time");
    assert_eq!(replayed.unwrap().unwrap().submitted.published, 10);
    running.stop().await;
    assert_eq!(*opened(&app.stats(2026).await), 10);
    let requests = short.received_requests().await.unwrap();
    let tokens = requests.iter().filter(|request| request.url.path() == "/oauth/token").count();
    assert!(tokens >= 3, "{tokens} tokens for ten seconds");
    drop(tokio::task::spawn_blocking(move || drop(pulsar)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_pulsar_is_trusted_for_its_name_by_the_authority_that_was_given() {
    let certificates = tempfile::tempdir().unwrap();
    certificate::write(certificates.path(), "IP:127.0.0.1");
    let file = |name: &str| text(&certificates.path().join(name));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let conf = format!(
        "brokerServicePortTls={port}\ntlsCertificateFilePath={}\ntlsKeyFilePath={}\n",
        file("certificate.pem"),
        file("key.pem")
    );
    let pulsar = tokio::task::spawn_blocking(move || Standalone::start_with(&conf)).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let events = archive(directory.path(), &[pull_request(1)]);
    let replay = |number: u8, url: String, tls: serde_json::Value| {
        let path = |name: &str| directory.path().join(format!("{name}-{number}"));
        let name = topic();
        let section = json!({
            "pulsar": {"devHost": url, "producer": {"topic": name}, "consumer": {"topic": name}}, "tls": tls,
            "server": {"host": "127.0.0.1", "port": 0}, "admin": {"port": 0}, "storage": {"path": path("data")},
        });
        std::fs::write(path("config.yaml"), section.to_string()).unwrap();
        (Program::start(&path("config.yaml"), &events, &path("log")), path("log"))
    };
    let ours = json!({"ca": file("certificate.pem")});
    let refused = [
        replay(1, format!("pulsar+ssl://127.0.0.1:{port}"), json!({})),
        replay(2, format!("pulsar+ssl://localhost:{port}"), ours.clone()),
    ];
    for (mut program, log) in refused {
        let said = || std::fs::read_to_string(&log).unwrap();
        eventually("it says what is wrong", async || said().contains("Pulsar does not work")).await;
        assert!(said().contains("certificate") && said().contains("tls.ca"), "{}", said());
        program.terminate();
    }
    let (mut program, log) = replay(3, format!("pulsar+ssl://127.0.0.1:{port}"), ours);
    assert!(program.succeeded().await, "{}", std::fs::read_to_string(log).unwrap());
    drop(tokio::task::spawn_blocking(move || drop(pulsar)).await);
}
