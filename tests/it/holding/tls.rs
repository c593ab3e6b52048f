//! The public listener with a certificate, and with another one while it runs.

use std::path::Path;
use std::sync::Arc;

use pulsehub::app::Source;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::Connector;

use crate::process::{Process, command};
use crate::support::{Client, TestApp, certificate, eventually, text};

/// A client that trusts the certificate in `directory` alone.
async fn client(url: &str, directory: &Path) -> Result<Client, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("certificate.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = Connector::Rustls(Arc::new(config));
    let connected = tokio_tungstenite::connect_async_tls_with_config(url, None, false, Some(connector)).await;
    connected.map(|(socket, _)| Client(socket)).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_are_encrypted_and_a_new_certificate_is_taken_over_while_it_runs() {
    let [served, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    certificate::write(served.path(), "IP:127.0.0.1");
    certificate::write(other.path(), "IP:127.0.0.1");
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(directory.path(), &["run", "--sample", "always"]);
    command.env("PULSEHUB__SERVER__TLS__CERTIFICATE", served.path().join("certificate.pem"));
    command.env("PULSEHUB__SERVER__TLS__KEY", served.path().join("key.pem"));
    let mut process = Process::start(command);
    let host = process.public_encrypted().await;
    let url = format!("wss://{host}/sampling");
    let mut early = client(&url, served.path()).await.unwrap();
    assert_eq!(early.json().await["firstMessageTag"], true);
    assert!(client(&url, other.path()).await.is_err(), "another authority");

    let pem = std::fs::read(served.path().join("certificate.pem")).unwrap();
    let root = reqwest::Certificate::from_pem(&pem).unwrap();
    let https = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let health = https.get(format!("https://{host}/health")).send().await.unwrap();
    assert!(health.headers().contains_key("strict-transport-security"));
    assert_eq!(health.text().await.unwrap(), "OK");

    // A key that does not belong to the certificate changes nothing.
    std::fs::copy(other.path().join("key.pem"), served.path().join("key.pem")).unwrap();
    let saved = tempfile::tempdir().unwrap();
    std::fs::copy(served.path().join("certificate.pem"), saved.path().join("certificate.pem")).unwrap();
    eventually("the fault in the log", async || process.log().contains("cannot take over the certificate"))
        .await;
    client(&url, saved.path()).await.expect("the old pair stays");
    // With its certificate it is a pair again.
    std::fs::copy(other.path().join("certificate.pem"), served.path().join("certificate.pem")).unwrap();
    eventually("the new certificate", async || client(&url, other.path()).await.is_ok()).await;
    assert!(client(&url, saved.path()).await.is_err(), "the old one is not served any more");
    // Who was connected stays so.
    early.send(r#"{"samplingRate":0}"#).await;
    assert_eq!(early.json().await["error"]["field"], "samplingRate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_encrypted_gets_no_answer_of_an_encrypted_listener() {
    let directory = tempfile::tempdir().unwrap();
    certificate::write(directory.path(), "IP:127.0.0.1");
    let mut app = TestApp::new();
    let file = |name: &str| Some(text(&directory.path().join(name)));
    (app.config.server.tls.certificate, app.config.server.tls.key) =
        (file("certificate.pem"), file("key.pem"));
    let running = app.start(Source::None).await;
    let mut stream = tokio::net::TcpStream::connect(running.public.unwrap()).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"), "{answer:?}");
}
