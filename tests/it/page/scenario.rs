//! A scenario of `tests/browser` in a Chromium of its own, as a child process that asks and prints lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Duration, timeout};

/// A scenario starts a browser, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(180);

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where the modules are that drive the browser; both are installed where they are missing.
fn modules() -> &'static str {
    static MODULES: OnceLock<String> = OnceLock::new();
    MODULES.get_or_init(|| {
        let output = Command::new(root().join("scripts/services/browser")).arg("fetch").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "Chromium, Node.js and npm are needed:\n{said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
}

/// A running scenario; killed when dropped.
pub struct Scenario {
    name: String,
    child: Child,
    stdin: ChildStdin,
    lines: UnboundedReceiver<String>,
    complaints: UnboundedReceiver<String>,
}

impl Scenario {
    /// Starts it on the page at `url`.
    pub async fn start(name: &str, url: &str) -> Self {
        let modules = tokio::task::spawn_blocking(modules).await.unwrap();
        let mut command = Command::new("node");
        command.arg(root().join("tests/browser/run.mjs")).args([name, url]);
        command.env("PULSEHUB_BROWSER_MODULES", modules);
        command.env("PULSEHUB_SCREENSHOTS", root().join("target/screenshots"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (lines, complaints) = (read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap()));
        Self { name: name.to_owned(), stdin: child.stdin.take().unwrap(), child, lines, complaints }
    }

    /// The next line that it prints; it fails with what it complained of where it ended instead.
    pub async fn line(&mut self) -> String {
        match timeout(PATIENCE, self.lines.recv()).await.expect("a line in time") {
            Some(line) => line,
            None => panic!("{}", self.complaint().await),
        }
    }

    /// Answers what it asked.
    pub async fn answer(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// Waits until it has ended well. What it still prints is repeated.
    pub async fn passes(mut self) {
        let end = async {
            while let Some(line) = self.lines.recv().await {
                println!("{}: {line}", self.name);
            }
        };
        timeout(PATIENCE, end).await.expect("an end in time");
        // Its output is closed, so it is about to end.
        let status = self.child.wait().unwrap();
        if !status.success() {
            panic!("{}", self.complaint().await);
        }
    }

    /// What it has written to standard error, with its name before it.
    async fn complaint(&mut self) -> String {
        let mut text = format!("{}:\n", self.name);
        while let Some(line) = self.complaints.recv().await {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        // An error means that it has ended already. Its browser ends with the pipe to it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of `output`, as they come.
fn read(output: impl Read + Send + 'static) -> UnboundedReceiver<String> {
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
