//! SIGHUP: what can change live does, the rest is named, and a faulty configuration changes nothing.

use std::path::Path;

use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{directory, write};
use crate::process::{Process, command, get};
use crate::support::eventually;

/// What one of its lines says for each time that the configuration was read.
const READ: &str = "the configuration was read again";
const STAYS: &str = "the configuration is wrong, the old one stays";

/// The program in a directory with a file, on a GitHub of the test's own.
struct Reloaded {
    directory: tempfile::TempDir,
    github: MockServer,
    process: Process,
}

impl Reloaded {
    async fn start(file: &str, environment: &[(&str, &str)]) -> Self {
        let (directory, github) = (directory(), MockServer::start().await);
        let page = ResponseTemplate::new(200).set_body_raw("[]", "application/json");
        Mock::given(path("/events")).respond_with(page).mount(&github).await;
        write(directory.path(), "config.yaml", file);
        let mut command = command(directory.path(), &["run"]);
        command.env("PULSEHUB__GITHUB__BASEURL", github.uri()).envs(environment.iter().copied());
        let mut process = Process::start(command);
        process.public().await;
        Self { directory, github, process }
    }

    /// Writes another file, signals, and waits until the log says `outcome` once more.
    async fn reload(&self, file: &str, outcome: &str) {
        write(self.directory.path(), "config.yaml", file);
        let said = || self.process.log().matches(outcome).count();
        let before = said();
        self.process.signal("HUP");
        eventually(outcome, async || said() == before + 1).await;
    }

    /// Lines of the log with `part` in them.
    fn lines(&self, part: &str) -> Vec<String> {
        self.process.log().lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }

    async fn asked_by(&self, token: &str) -> bool {
        let requests = self.github.received_requests().await.unwrap();
        let bearer = format!("Bearer {token}");
        requests.iter().any(|request| {
            request.headers.get("authorization").is_some_and(|value| value.as_bytes() == bearer.as_bytes())
        })
    }

    /// The status of a POST to `server.syncEvent` with a token.
    async fn sync(&mut self, token: &str) -> u16 {
        let url = format!("http://{}/sync-event", self.process.public().await);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.post(url).bearer_auth(token).send().await.unwrap().status().as_u16()
    }

    /// The status of a WebSocket request from a page of `origin`.
    async fn connect(&mut self, origin: &str) -> u16 {
        let url = format!("ws://{}/sampling", self.process.public().await);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        match tokio_tungstenite::connect_async(request).await {
            Ok(_) => 101,
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    }

    async fn ends_well(mut self) {
        self.process.signal("TERM");
        assert_eq!(self.process.ended().await.code(), Some(0), "{}", self.process.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_takes_over_what_can_change_live() {
    let file = "github: {tokens: [first-token], loop: {break: 50}}\n";
    let mut app = Reloaded::start(file, &[]).await;
    let origins = ["https://a.example.org", "https://b.example.org"];
    eventually("the first token asks", async || app.asked_by("first-token").await).await;
    assert_eq!((app.sync("s3cret").await, app.connect(origins[0]).await), (404, 101));
    let file = "github: {tokens: [second-token], loop: {break: 50}}\n\
                server: {syncToken: s3cret, origins: ['https://b.example.org']}\nlog: {level: error}\n";
    app.reload(file, READ).await;
    assert_eq!((app.sync("s3cret").await, app.sync("other").await), (503, 401));
    assert_eq!((app.connect(origins[0]).await, app.connect(origins[1]).await), (403, 101));
    eventually("the second token asks", async || app.asked_by("second-token").await).await;
    let line = &app.lines(READ)[0];
    for key in ["github.tokens", "log.level", "server.origins", "server.syncToken"] {
        assert!(line.contains(key), "{line}");
    }
    assert!(!line.contains("github.loop.break"), "{line}");
    // The level is error now: this is not said, but done.
    write(app.directory.path(), "config.yaml", "github: {tokens: [third-token], loop: {break: 50}}\n");
    app.process.signal("HUP");
    eventually("the third token asks", async || app.asked_by("third-token").await).await;
    eventually("everybody may connect again", async || app.connect(origins[0]).await == 101).await;
    assert_eq!(app.lines(READ).len(), 1);
    // The level is the default again.
    app.reload(file, READ).await;
    assert!(app.lines("WARN").is_empty() && app.lines("ERROR").is_empty(), "{}", app.process.log());
    for secret in ["s3cret", "first-token", "second-token", "third-token"] {
        assert!(!app.process.log().contains(secret), "{}", app.process.log());
    }
    app.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_names_once_what_waits_for_the_next_start() {
    let app = Reloaded::start("github: {tokens: [t]}\nredis: {password: hunter2}\n", &[]).await;
    let waiting = || app.lines("takes effect at the next start");
    let file = "github: {tokens: [t]}\nredis: {password: hunter3}\ndedup: {window: 1h}\napi: {version: 3}\n";
    app.reload(file, READ).await;
    assert_eq!(waiting().len(), 1, "{:?}", waiting());
    assert!(waiting()[0].contains("api.version, dedup.window, redis.password"), "{:?}", waiting());
    // It still waits; and once the file is as it was, nothing does.
    app.reload(file, READ).await;
    assert_eq!(waiting().len(), 2);
    app.reload("github: {tokens: [t]}\nredis: {password: hunter2}\n", READ).await;
    assert_eq!(waiting().len(), 2, "{:?}", waiting());
    assert!(!app.process.log().contains("hunter"), "{}", app.process.log());
    app.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_with_a_faulty_file_names_every_fault_and_changes_nothing() {
    let good = "github: {tokens: [t]}\nserver: {syncToken: s3cret}\n";
    let mut app = Reloaded::start(good, &[]).await;
    let faulty = "github: {tokens: [t]}\nserver: {syncToken: other, prot: 1}\nlog: {level: loud}\nredis: {pasword: hunter2}\n";
    app.reload(faulty, STAYS).await;
    let line = &app.lines(STAYS)[0];
    for part in ["server.prot: unknown key", "log.level: expected", "redis.pasword: unknown key"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("hunter2"), "{line}");
    for wrong in ["server: [\n", "github: {tokens: [\"a b\"]}\n", "lark: {webhook: hunter2}\n"] {
        app.reload(wrong, STAYS).await;
    }
    assert_eq!((app.sync("s3cret").await, app.sync("other").await), (503, 401), "the old one goes on");
    let health = format!("http://{}/health", app.process.public().await);
    assert_eq!(get(&health).await.text().await.unwrap(), "OK");
    std::fs::remove_file(app.directory.path().join("config.yaml")).unwrap();
    std::fs::create_dir(app.directory.path().join("config.yaml")).unwrap();
    app.process.signal("HUP");
    eventually("a file that cannot be read", async || app.lines(STAYS).len() == 5).await;
    assert!(app.lines(STAYS)[4].contains("cannot read the configuration file"), "{:?}", app.lines(STAYS));
    std::fs::remove_dir(app.directory.path().join("config.yaml")).unwrap();
    app.reload("github: {tokens: [t]}\nserver: {syncToken: other}\n", READ).await;
    assert_eq!((app.sync("s3cret").await, app.sync("other").await), (401, 503));
    app.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_and_environment_keep_their_precedence_over_a_file_that_is_read_again() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "of-its-file\n").unwrap();
    let environment = [
        ("PULSEHUB__SERVER__SYNCTOKEN_FILE", secret.path().to_str().unwrap()),
        ("GITHUB_TOKEN", "of-the-environment"),
    ];
    let mut app = Reloaded::start("github: {loop: {break: 50}}\n", &environment).await;
    assert_eq!(app.sync("of-its-file").await, 503);
    let file = "server: {syncToken: of-yaml, host: 0.0.0.0}\ngithub: {loop: {break: 60}}\n";
    app.reload(file, READ).await;
    assert_eq!((app.sync("of-yaml").await, app.sync("of-its-file").await), (401, 503));
    assert!(app.lines("next start").is_empty(), "{}", app.process.log());
    // A secret's file is read again, too, and tokens of the file stand before GITHUB_TOKEN.
    std::fs::write(secret.path(), "of-another-file").unwrap();
    assert!(app.asked_by("of-the-environment").await);
    app.reload("github: {tokens: [of-yaml], loop: {break: 50}}\n", READ).await;
    assert_eq!((app.sync("of-its-file").await, app.sync("of-another-file").await), (401, 503));
    eventually("the file's token asks", async || app.asked_by("of-yaml").await).await;
    app.ends_well().await;
}

/// Starts `run --sample auto` at a GitHub that neither answers nor refuses, and waits until that is tried, for 3 s.
async fn starting(directory: &Path) -> (Process, std::net::TcpListener) {
    write(directory, "config.yaml", include_str!("../../../config/config.yaml"));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let mut command = command(directory, &["run", "--sample", "auto"]);
    command.env("PULSEHUB__GITHUB__BASEURL", format!("http://{}/", silent.local_addr().unwrap()));
    let process = Process::start(command);
    let mut held = Vec::new();
    eventually("GitHub is tried", async || silent.accept().map(|accepted| held.push(accepted)).is_ok()).await;
    (process, silent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_during_the_start_is_heard_after_it() {
    let directory = directory();
    let (mut process, _silent) = starting(directory.path()).await;
    write(directory.path(), "config.yaml", "live: {maxAge: 1h}\ndedup: {window: 1h}\n");
    process.signal("HUP");
    eventually("the file is read again", async || process.log().contains(READ)).await;
    assert!(process.log().contains("dedup.window"), "{}", process.log());
    process.client("/sampling").await;
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighups_without_end_do_no_harm_and_do_not_hold_up_the_drain() {
    let directory = directory();
    write(directory.path(), "config.yaml", "log: {level: info}\n");
    let mut process = Process::start(command(directory.path(), &["run", "--sample", "always"]));
    let mut client = process.client("/sampling").await;
    client.send(r#"{"samplingRate":1}"#).await;
    for count in 0..50 {
        let text =
            ["live: {maxAge: 1h}\n", "live: {maxAge: 2h}\nserver: [", "", "alert: {webhook: x}\n"][count % 4];
        write(directory.path(), "config.yaml", text);
        process.signal("HUP");
    }
    for _ in 0..20 {
        client.json().await;
    }
    process.signal("TERM");
    eventually("it drains", async || process.log().contains("stopping:")).await;
    for _ in 0..10 {
        // It may have ended.
        let _ = std::process::Command::new("kill").args(["-HUP", &process.pid().to_string()]).output();
    }
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
}
