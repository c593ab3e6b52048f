//! The example clients, each as a program beside the built one: they follow it, also over its restart.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::Html;
use axum::routing::{get, post};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::process::{Process, command};
use crate::support::PATIENCE;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// The program with its sample on a port that stays the same when it starts again.
struct Server {
    directory: tempfile::TempDir,
    port: u16,
    process: Process,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Self::run(directory.path(), port).await;
        Self { directory, port, process }
    }

    async fn run(directory: &Path, port: u16) -> Process {
        let mut command = command(directory, &["run", "--sample", "always"]);
        command.env("PULSEHUB__SERVER__PORT", port.to_string());
        let mut process = Process::start(command);
        process.public().await;
        process
    }

    async fn restart(&mut self) {
        self.process.signal("TERM");
        assert_eq!(self.process.ended().await.code(), Some(0));
        self.process = Self::run(self.directory.path(), self.port).await;
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}/stream", self.port)
    }
}

/// Runs a client up to ten events, then over a restart, and looks whether what it prints goes on.
async fn assert_follows(
    mut client: Command,
    url: impl Fn(&Server) -> String,
    cursor: impl Fn(&str) -> Option<String>,
) {
    let mut server = Server::start().await;
    client.arg(url(&server)).env("no_proxy", "127.0.0.1");
    let mut process = Process::start(client);
    let (sender, mut receiver) = watch::channel(Vec::new());
    let output = process.stdout();
    std::thread::spawn(move || {
        use std::io::BufRead;
        for line in std::io::BufReader::new(output).lines().map_while(Result::ok) {
            sender.send_modify(|lines: &mut Vec<String>| lines.push(line));
        }
    });
    let mut at_least = async |count: usize| {
        let reached = timeout(PATIENCE, receiver.wait_for(|lines| lines.len() >= count)).await;
        reached.unwrap_or_else(|_| panic!("{count} lines in time; {}", process.log())).unwrap().clone()
    };
    let before = at_least(10).await.len();
    server.restart().await;
    let lines = at_least(before + 20).await;
    let cursors: Vec<_> = lines.iter().filter_map(|line| cursor(line)).collect();
    assert!(cursors.len() >= before + 10, "{lines:?}");
    let mut distinct = cursors.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), cursors.len(), "nothing comes twice");
    assert!(lines.iter().any(|line| line.contains("sample-org/")), "{lines:?}");
}

/// The first word of a line.
fn first_word(line: &str) -> Option<String> {
    Some(line.split(' ').next()?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_follows_over_a_restart() {
    let mut python = Command::new("python3");
    python.arg(example("stream.py"));
    assert_follows(python, |server| server.url("http"), first_word).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shell_client_follows_over_a_restart() {
    let cursor = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        Some(message["cursor"].as_str()?.to_owned())
    };
    let mut shell = Command::new("sh");
    shell.arg(example("stream.sh"));
    let url = |server: &Server| format!("{}?fields=event.type,event.repo.name", server.url("http"));
    assert_follows(shell, url, cursor).await;
}

/// The example, built from what stands there now.
fn rust_client() -> Command {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", "stream"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.unwrap().success());
    let programs = Path::new(env!("CARGO_BIN_EXE_pulsehub")).parent().unwrap();
    Command::new(programs.join("examples/stream"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_client_follows_over_a_restart() {
    assert_follows(rust_client(), |server| server.url("ws"), first_word).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_end_after_as_many_events_as_they_were_asked_for() {
    let server = Server::start().await;
    let mut python = Command::new("python3");
    python.arg(example("stream.py"));
    let mut shell = Command::new("sh");
    shell.arg(example("stream.sh"));
    for (mut client, scheme) in [(python, "http"), (shell, "http"), (rust_client(), "ws")] {
        let output = tokio::task::spawn_blocking({
            let url = server.url(scheme);
            move || client.args([url.as_str(), "3"]).env("no_proxy", "127.0.0.1").output().unwrap()
        });
        let output = timeout(PATIENCE, output).await.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_said_and_not_tried_again() {
    let server = Server::start().await;
    let url = format!("{}?every=0", server.url("http"));
    let mut client = Command::new("python3");
    client.arg(example("stream.py")).arg(&url).env("no_proxy", "127.0.0.1");
    let output = timeout(PATIENCE, tokio::task::spawn_blocking(move || client.output().unwrap())).await;
    let output = output.unwrap().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains(r#""field":"every""#));
}

/// A browser on the example's page; what stands on it is told whenever it changes.
struct Browser {
    _process: Process,
    _profile: tempfile::TempDir,
    page: watch::Receiver<String>,
}

async fn seen(State(page): State<Arc<watch::Sender<String>>>, text: String) {
    page.send_replace(text);
}

impl Browser {
    async fn open(stream: &str) -> Self {
        let (sender, page) = watch::channel(String::new());
        let module =
            ([(header::CONTENT_TYPE, "text/javascript")], include_str!("../../../examples/stream.mjs"));
        let watching = format!(
            r#"<!doctype html><iframe src="/stream.html?stream={stream}"></iframe><script>
                setInterval(() => {{
                    const page = document.querySelector('iframe').contentDocument;
                    const cursors = [...page.querySelectorAll('li')].map((row) => row.dataset.cursor);
                    fetch('/seen', {{ method: 'POST', body: page.body.innerText + '\n' + cursors.join(' ') }});
                }}, 100);
            </script>"#
        );
        let router = Router::new()
            .route("/", get(move || async move { Html(watching) }))
            .route("/stream.html", get(|| async { Html(include_str!("../../../examples/stream.html")) }))
            .route("/stream.mjs", get(move || async move { module }))
            .route("/seen", post(seen))
            .with_state(Arc::new(sender));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let profile = tempfile::tempdir().unwrap();
        let mut chromium = Command::new("chromium");
        chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-proxy-server"]);
        chromium.arg(format!("--user-data-dir={}", profile.path().display()));
        // Without it the program would end once the page is loaded.
        chromium.args(["--remote-debugging-port=0", &url]);
        Self { _process: Process::start(chromium), _profile: profile, page }
    }

    /// Waits until the page is as it should be.
    async fn shows(&self, what: &str, is: impl FnMut(&String) -> bool) -> String {
        let mut page = self.page.clone();
        match timeout(PATIENCE, page.wait_for(is)).await {
            Ok(page) => page.unwrap().clone(),
            Err(_) => panic!("{what}: {}", *self.page.borrow()),
        }
    }
}

/// The largest cursor on the page, with its number.
fn newest(page: &str) -> Option<i64> {
    page.lines().last()?.split(' ').filter_map(|cursor| cursor.split_once('.')?.0.parse().ok()).max()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_browser_client_follows_over_a_restart() {
    let mut server = Server::start().await;
    let browser = Browser::open(&server.url("ws")).await;
    let full = browser
        .shows("twenty rows and a count", |page| {
            page.contains("connected")
                && page.matches("sample-org/").count() == 20
                && !page.contains(" 0 pull requests")
        })
        .await;
    server.restart().await;
    let before = newest(&full).unwrap();
    let after = browser
        .shows("it goes on", |page| page.starts_with("connected") && newest(page) > Some(before + 3_000))
        .await;
    let mut cursors: Vec<_> = after.lines().last().unwrap().split(' ').collect();
    let rows = cursors.len();
    cursors.sort_unstable();
    cursors.dedup();
    assert_eq!(cursors.len(), rows, "nothing comes twice");
}
