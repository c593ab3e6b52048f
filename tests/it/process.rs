//! The built program as a child process: started in a directory of its own, never left behind.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::{Client, eventually};

/// The program with `args` in `directory`: free ports, nothing of this process's environment.
pub fn command(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulsehub"));
    command.current_dir(directory).args(args).env_clear();
    command.env("PULSEHUB__SERVER__HOST", "127.0.0.1");
    command.env("PULSEHUB__SERVER__PORT", "0").env("PULSEHUB__ADMIN__PORT", "0");
    command
}

/// Runs a command that ends by itself.
pub fn run(directory: &Path, args: &[&str]) -> Output {
    command(directory, args).output().unwrap()
}

/// What was printed to standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What was printed to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A running program; killed when dropped.
pub struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, lines) = (BufReader::new(child.stderr.take().unwrap()), log.clone());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = lines.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, log }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, once.
    pub fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// The address that it announces as `before`ADDRESS`after`.
    async fn announced(&mut self, before: &str, after: &str) -> String {
        let mut found = None;
        eventually(before, async || {
            let log = self.log();
            found =
                log.lines().find_map(|line| Some(line.split_once(before)?.1.strip_suffix(after)?.to_owned()));
            assert!(found.is_some() || self.child.try_wait().unwrap().is_none(), "it ended early:\n{log}");
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Host and port of its public listener.
    pub async fn public(&mut self) -> String {
        self.announced("serving ws://", "/sampling").await
    }

    /// The same where it has a certificate.
    pub async fn public_encrypted(&mut self) -> String {
        self.announced("serving wss://", "/sampling").await
    }

    /// Host and port of its admin listener.
    pub async fn admin(&mut self) -> String {
        self.announced("http://", "/metrics").await
    }

    /// A client of its endpoint `path`.
    pub async fn client(&mut self, path: &str) -> Client {
        let url = format!("ws://{}{path}", self.public().await);
        Client(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    /// Sends a signal, such as `INT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines of a child's output until `count` of them are there.
pub async fn lines(output: impl Read + Send + 'static, count: usize) -> Vec<String> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8(line).unwrap()).is_err() {
                return;
            }
        }
    });
    let mut lines = Vec::new();
    while lines.len() < count {
        let line = tokio::time::timeout(crate::support::PATIENCE, receiver.recv()).await;
        lines.push(line.expect("a line in time").expect("open output"));
    }
    lines
}

/// `GET` of a plain URL.
pub async fn get(url: &str) -> reqwest::Response {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap()
}
