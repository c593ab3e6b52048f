//! The built program as operators drive it: commands, exit codes, signals, what it prints and what it never prints.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::time::{Duration, Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::process::{Process, command, get, lines, run, stderr, stdout};
use crate::support::{Client, TestApp, eventually, shared, text};
use crate::tap::{Tap, event};

/// Within this long something moves after a start.
const SOON: Duration = Duration::from_secs(10);

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    crate::support::text(&path)
}

/// An archive of synthetic events.
fn archive(directory: &Path, events: u64) -> String {
    let output =
        run(directory, &["generate", "--events", &events.to_string(), "--start", "2026-03-01T00:00:00Z"]);
    assert!(output.status.success());
    write(directory, "archive.json", &stdout(&output))
}

fn entries(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Reads until something moves on each endpoint.
async fn assert_everything_moves(process: &mut Process) {
    let mut sampling = process.client("/sampling").await;
    let mut latest = process.client("/language/latest").await;
    let mut watch = process.client("/language/watch").await;
    sampling.send(r#"{"samplingRate":1}"#).await;
    latest.send("{}").await;
    watch.send("{}").await;
    assert_eq!(sampling.json().await["firstMessageTag"], true);
    let repo = sampling.json().await["event"]["repo"]["name"].as_str().unwrap().to_owned();
    assert!(repo.starts_with("sample-org/"), "{repo}");
    assert_eq!(watch.json().await["firstMessageTag"], true);
    assert!(!watch.json().await["additions"].as_object().unwrap().is_empty());
    while latest.json().await.as_object().unwrap().is_empty() {}
}

async fn source_of(process: &mut Process) -> (Value, String) {
    let url = format!("http://{}/api/v1/status", process.public().await);
    let response = get(&url).await;
    let header = response.headers()["x-pulsehub-source"].to_str().unwrap().to_owned();
    (response.json::<Value>().await.unwrap()["source"].clone(), header)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sample_moves_every_endpoint_and_says_what_it_is() {
    let directory = directory();
    let mut process = Process::start(command(directory.path(), &["run", "--sample", "always"]));
    timeout(SOON, assert_everything_moves(&mut process)).await.expect("something moves within 10 s");
    let (source, header) = source_of(&mut process).await;
    assert_eq!((source["kind"].as_str(), header.as_str()), (Some("sample"), "sample"));
    assert!(source["notes"][0].as_str().unwrap().contains("not being watched"), "{source}");
    assert_eq!(entries(&directory.path().join("data")), ["sample"], "a directory of its own");
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sample_takes_the_place_of_github_only_where_it_may() {
    let may = directory();
    // No flag at all would be `run`, too.
    let mut sample = command(may.path(), &["--sample", "auto"]);
    sample.env("PULSEHUB__GITHUB__BASEURL", "http://127.0.0.1:9/");
    let mut sample = Process::start(sample);
    timeout(SOON, assert_everything_moves(&mut sample)).await.expect("something moves within 10 s");
    assert_eq!(source_of(&mut sample).await.0["kind"], "sample");
    assert!(sample.log().contains("SAMPLE"), "{}", sample.log());

    let default = directory();
    write(default.path(), "config.yaml", include_str!("../../config/config.yaml"));
    let configured = directory();
    write(configured.path(), "config.yaml", "log: {level: info}\n");
    let plain = directory();
    for (directory, token, sample, expected) in [
        (&default, None, "auto", "sample"),
        (&configured, None, "auto", "live"),
        (&plain, Some("ghp_0123"), "auto", "live"),
        (&plain, None, "never", "live"),
    ] {
        let mut command = command(directory.path(), &["run", "--sample", sample]);
        command.env("PULSEHUB__GITHUB__BASEURL", "http://127.0.0.1:9/");
        command.envs(token.map(|token| ("GITHUB_TOKEN", token)));
        let mut process = Process::start(command);
        let (source, header) = source_of(&mut process).await;
        assert_eq!((source["kind"].as_str(), header.as_str()), (Some(expected), expected), "{token:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_process_on_a_directory_is_refused_with_the_owner_named() {
    let directory = directory();
    let args = ["run", "--sample", "always"];
    let mut first = Process::start(command(directory.path(), &args));
    first.public().await;
    let second = run(directory.path(), &args);
    assert_eq!(second.status.code(), Some(75), "{}", stderr(&second));
    assert!(stderr(&second).contains(&format!("process {}", first.pid())), "{}", stderr(&second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_are_the_same_from_a_running_process_and_from_its_data() {
    let directory = directory();
    let none = run(directory.path(), &["stats", "--year", "2026"]);
    assert_eq!(serde_json::from_str::<Value>(&stdout(&none)).unwrap()["daily"], json!({}));
    assert!(entries(directory.path()).is_empty(), "asking creates nothing");

    let archive = archive(directory.path(), 3_000);
    let mut process = Process::start(command(directory.path(), &["replay", &archive]));
    let admin = process.admin().await;
    eventually("all is counted", async || {
        let metrics = get(&format!("http://{admin}/metrics")).await.text().await.unwrap();
        metrics.contains("pulsehub_events_applied_total 3000\n")
    })
    .await;
    let ask = || {
        let output = run(directory.path(), &["stats", "--year", "2026"]);
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_str::<Value>(&stdout(&output)).unwrap()
    };
    let running = ask();
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(ask(), running);
    let day = &running["daily"]["2026-03-01"];
    assert!(day["event"].as_u64().unwrap() > 100, "{running}");
    let table = stdout(&run(directory.path(), &["stats", "--year", "2026", "--format", "table"]));
    let row: Vec<_> = table.lines().find(|line| line.starts_with("2026-03-01")).unwrap().split(' ').collect();
    let cells: Vec<_> = row.into_iter().filter(|cell| !cell.is_empty()).collect();
    let expected = ["event", "open", "merge", "close", "dev"].map(|name| day[name].to_string());
    assert_eq!(cells[1..], expected);
    assert!(table.contains(&format!("{} developers", running["sum"]["dev"])), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_of_a_running_sample_are_the_samples() {
    let directory = directory();
    let mut process = Process::start(command(directory.path(), &["run", "--sample", "always"]));
    process.public().await;
    eventually("the sample's counters", async || {
        let output = run(directory.path(), &["stats"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
        !report["daily"].as_object().unwrap().is_empty() && stderr(&output).contains("sample")
    })
    .await;
    assert_eq!(entries(&directory.path().join("data")), ["sample"], "asking creates nothing");
}

#[test]
fn wrong_config_is_explained_all_at_once() {
    let directory = directory();
    write(
        directory.path(),
        "config.yaml",
        "server: {prot: 8080, health: up}\nredis: {pasword: hunter2}\nlog: {level: loud}\ninterval: {latest: 1}\n",
    );
    for args in [&["config", "check"][..], &["run"], &["stats"], &["config", "show"], &["replay", "x"]] {
        let mut command = command(directory.path(), args);
        let output = command.env("PULSEHUB__SERVER__PORT", "eighty").output().unwrap();
        let faults = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{args:?}: {faults}");
        for part in [
            "server.prot: unknown key (did you mean server.port?)",
            "server.health: must start with /",
            "redis.pasword: unknown key (did you mean redis.password?)",
            "log.level: expected",
            "interval.latest: expected",
            "server.port: expected",
            "[environment PULSEHUB__SERVER__PORT]",
        ] {
            assert!(faults.contains(part), "{args:?} does not say {part:?}:\n{faults}");
        }
        assert!(!faults.contains("hunter2"), "{faults}");
        assert_eq!(stdout(&output), "");
    }
    write(directory.path(), "config.yaml", "server: [\n");
    let output = run(directory.path(), &["config", "check"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("config.yaml:"), "{}", stderr(&output));
    let output = run(directory.path(), &["config", "check", "--config", "nowhere.yaml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("nowhere.yaml: cannot read"), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_never_printed() {
    let directory = directory();
    let secret = "hunter2-hunter2";
    let file = write(directory.path(), "token", &format!("{secret}\n"));
    let yaml = format!(
        "redis: {{password: {secret}}}\ntidb: {{password: {secret}}}\nserver: {{syncToken: {secret}}}\n\
         lark: {{webhook: 'https://x.test/{secret}', signKey: {secret}}}\nalert: {{webhook: 'https://x.test/{secret}'}}\n\
         risingwave: {{password: {secret}}}\nlog: {{level: debug}}\n"
    );
    write(directory.path(), "config.yaml", &yaml);
    let with_secrets = |args: &[&str]| {
        let mut command = command(directory.path(), args);
        command.env("PULSEHUB__GITHUB__TOKENS_FILE", &file);
        command.env("PULSEHUB__GITHUB__BASEURL", "http://127.0.0.1:9/");
        command.env("RUST_LOG", "trace");
        command
    };
    let shown = with_secrets(&["config", "show"]).output().unwrap();
    let text = stdout(&shown);
    assert!(shown.status.success(), "{}", stderr(&shown));
    assert!(text.contains("redis.password") && text.contains("= ***"), "{text}");
    assert!(text.contains("environment PULSEHUB__GITHUB__TOKENS_FILE"), "{text}");
    let mut process = Process::start(with_secrets(&["run", "--sample", "never"]));
    eventually("a request to GitHub fails", async || process.log().contains("127.0.0.1:9")).await;
    process.public().await;
    process.signal("TERM");
    process.ended().await;
    let mut faulty = with_secrets(&["run"]);
    faulty.env("PULSEHUB__LOG__LEVEL", "loud").env("PULSEHUB__ALERT__WEBHOOK", secret);
    let faulty = faulty.env("PULSEHUB__LARK__WEBHOOK", format!("ftp://{secret}")).output().unwrap();
    assert_eq!(faulty.status.code(), Some(78));
    assert!(stderr(&faulty).contains("alert.webhook: must be a URL"), "{}", stderr(&faulty));
    let mut in_address = with_secrets(&["run"]);
    let in_address = in_address.env("PULSEHUB__GITHUB__BASEURL", format!("http://me:{secret}@127.0.0.1:9/"));
    let in_address = in_address.output().unwrap();
    assert!(stderr(&in_address).contains("github.baseUrl"), "{}", stderr(&in_address));
    for output in [text, stderr(&shown), process.log(), stderr(&faulty), stderr(&in_address)] {
        let line = output.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a secret was printed");
    }
}

#[test]
fn default_config_is_the_documented_file_and_valid() {
    let directory = directory();
    let default = run(directory.path(), &["config", "default"]);
    assert_eq!(stdout(&default), include_str!("../../config/config.yaml"));
    write(directory.path(), "config.yaml", &stdout(&default));
    let check = run(directory.path(), &["config", "check"]);
    assert!(check.status.success(), "{}", stderr(&check));
    assert!(stdout(&check).contains("config.yaml is valid"), "{}", stdout(&check));
    let schema: Value = serde_json::from_str(&stdout(&run(directory.path(), &["config", "schema"]))).unwrap();
    for section in [
        "api",
        "server",
        "admin",
        "live",
        "github",
        "archive",
        "dedup",
        "disable",
        "interval",
        "storage",
        "pulsar",
        "redis",
        "tidb",
        "history",
        "log",
        "lark",
        "alert",
        "risingwave",
    ] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
}

/// Nothing listens on port 9, so every engine of the predecessor's example is away.
const AWAY: [(&str, &str); 6] = [
    ("PULSEHUB__REDIS__HOST", "127.0.0.1:9"),
    ("PULSEHUB__PULSAR__DEVHOST", "pulsar://127.0.0.1:9"),
    ("PULSEHUB__TIDB__HOST", "127.0.0.1"),
    ("PULSEHUB__TIDB__PORT", "9"),
    ("PULSEHUB__DISABLE__PRODUCER", "true"),
    ("PULSEHUB__LOG__FORMAT", "text"),
];

const PREDECESSOR: &str = include_str!("../fixtures/predecessor.yaml");

#[test]
fn config_of_the_predecessor_is_understood() {
    let directory = directory();
    write(directory.path(), "config.yaml", PREDECESSOR);
    let without_port = |args: &[&str]| {
        let mut command = command(directory.path(), args);
        command.env_remove("PULSEHUB__SERVER__PORT").output().unwrap()
    };
    let check = without_port(&["config", "check"]);
    let warnings = stderr(&check);
    assert_eq!(check.status.code(), Some(0), "{warnings}");
    assert!(warnings.contains("risingwave") && warnings.contains("6000"), "{warnings}");
    assert_eq!(warnings.lines().count(), 2, "{warnings}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_of_the_predecessor_serves_while_its_engines_are_away() {
    let directory = directory();
    write(directory.path(), "config.yaml", PREDECESSOR);
    let mut command = command(directory.path(), &["run"]);
    command.envs(AWAY).env("PULSEHUB__LOG__FILE", "");
    let mut process = Process::start(command);
    let health = format!("http://{}/health", process.public().await);
    assert_eq!(get(&health).await.text().await.unwrap(), "OK");
    let mut client = process.client("/sampling").await;
    assert_eq!(client.json().await["firstMessageTag"], true);
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
}

/// A signal in the middle of a replay at full speed, with clients that read and one that does not.
async fn signal_under_load(signal: &str) {
    let directory = directory();
    let archive = archive(directory.path(), 40_000);
    let mut process = Process::start(command(directory.path(), &["replay", "--rebase", "--live", &archive]));
    let paths = ["/sampling", "/language/latest", "/websocket/language/watch", "/sampling"];
    let mut clients = Vec::new();
    for path in paths {
        let mut client = process.client(path).await;
        client.send(r#"{"samplingRate":1}"#).await;
        clients.push(client);
    }
    let mut quiet = process.client("/sampling").await;
    for _ in 0..200 {
        clients[0].text().await;
    }
    process.signal(signal);
    let started = Instant::now();
    let close_code = async |client: &mut Client| loop {
        match client.frame().await {
            Message::Close(frame) => return u16::from(frame.unwrap().code),
            Message::Text(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let codes = futures_util::future::join_all(clients.iter_mut().chain([&mut quiet]).map(close_code)).await;
    assert_eq!(codes, [1001; 5]);
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(!process.log().contains("panicked"), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_under_load_ends_with_0_and_closes_with_1001() {
    signal_under_load("INT").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_ends_with_0_and_closes_with_1001() {
    signal_under_load("TERM").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signal_while_an_archive_does_not_answer_ends_at_once() {
    let directory = directory();
    let tap = Tap::new().await;
    let mut command = command(directory.path(), &["replay", "2026-01-01-1"]);
    command.env("PULSEHUB__ARCHIVE__BASEURL", tap.url());
    let mut process = Process::start(command);
    process.admin().await;
    eventually("the hour is asked for", async || tap.is_asked()).await;
    process.signal("TERM");
    let started = Instant::now();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signal_is_heard_from_the_first_line_on() {
    let directory = directory();
    let mut command = command(directory.path(), &["run", "--sample", "auto"]);
    // Nothing answers there, and nothing refuses: GitHub is tried for its full 3 s.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut held = Vec::new();
    command.env("PULSEHUB__GITHUB__BASEURL", format!("http://{}/", silent.local_addr().unwrap()));
    let mut process = Process::start(command);
    silent.set_nonblocking(true).unwrap();
    eventually("GitHub is tried", async || silent.accept().map(|accepted| held.push(accepted)).is_ok()).await;
    process.signal("INT");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
}

#[test]
fn commands_that_need_a_history_say_so() {
    let directory = directory();
    for name in ["backfill", "verify"] {
        let output = run(directory.path(), &[name, "--year", "2026"]);
        assert_eq!(output.status.code(), Some(69));
        assert!(stderr(&output).contains("no history is configured"), "{}", stderr(&output));
        assert!(entries(directory.path()).is_empty());
    }
}

#[test]
fn generated_events_depend_on_the_seed_alone() {
    let directory = directory();
    let generate = |args: &[&str]| {
        let output = run(directory.path(), &[&["generate"], args].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let events = generate(&["--events", "250", "--seed", "7"]);
    assert_eq!(events, generate(&["--events", "250", "--seed", "7"]));
    assert_ne!(events, generate(&["--events", "250", "--seed", "8"]));
    assert_eq!(generate(&["--events", "0"]), "");
    let trimmed = generate(&["--events", "250", "--seed", "7", "--payload", "trimmed"]);
    assert!(!trimmed.contains("additions") && events.contains("additions"));
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 250);
    let pages = generate(&["--events", "250", "--seed", "7", "--format", "api"]);
    let pages: Vec<Vec<Value>> = pages.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50]);
    let oldest_first: Vec<Value> = pages.into_iter().flat_map(|page| page.into_iter().rev()).collect();
    assert_eq!(oldest_first, events);
}

#[test]
fn reader_that_has_enough_is_no_failure() {
    let directory = directory();
    for args in [&["generate", "--events", "1000000"][..], &["config", "schema"], &["config", "default"]] {
        let mut command = command(directory.path(), args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::with_capacity(16, child.stdout.take().unwrap());
        if args[0] == "generate" {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            assert!(line.starts_with('{'));
        }
        drop(out);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthcheck_tells_a_well_server_from_none() {
    let directory = directory();
    let mut process = Process::start(command(directory.path(), &["run", "--sample", "always"]));
    let public = process.public().await;
    let healthy = run(directory.path(), &["healthcheck", "--url", &format!("http://{public}/health")]);
    assert_eq!(healthy.status.code(), Some(0), "{}", stderr(&healthy));
    let port = public.rsplit(':').next().unwrap();
    let mut configured = command(directory.path(), &["healthcheck"]);
    configured.env("PULSEHUB__SERVER__HOST", "0.0.0.0").env("PULSEHUB__SERVER__PORT", port);
    assert_eq!(configured.output().unwrap().status.code(), Some(0));
    for bad in
        [format!("http://{public}/api/v1/status"), "http://127.0.0.1:9/health".to_owned(), "x".to_owned()]
    {
        let output = run(directory.path(), &["healthcheck", "--url", &bad]);
        assert_eq!(output.status.code(), Some(69), "{bad}");
        assert!(!stderr(&output).is_empty());
    }
    let mut bracketless = command(directory.path(), &["healthcheck"]);
    let bracketless = bracketless.env("PULSEHUB__SERVER__HOST", "::1").env("PULSEHUB__SERVER__PORT", "9");
    let said = stderr(&bracketless.output().unwrap());
    assert!(said.contains("[::1]:9"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_prints_readable_lines_and_no_control_characters() {
    let directory = directory();
    let tap = Tap::new().await;
    let mut app = TestApp::new();
    let running = tap.start(&mut app).await;
    let url = format!("ws://{}/sampling", running.public.unwrap());
    let mut tail = Process::start(command(directory.path(), &["tail", "--url", &url]));
    let output = tail.stdout();
    eventually("tail is connected", async || {
        let status = get(&format!("http://{}/api/v1/status", running.public.unwrap())).await;
        status.json::<Value>().await.unwrap()["clients"] == 1
    })
    .await;
    let mut evil = event(1, "WatchEvent\u{1b}[2J");
    evil["actor"]["login"] = json!("a\u{7}\u{9b}31m\r\nb\u{202e}");
    evil["repo"]["name"] = json!("owner/\u{1b}]0;title\u{7}repo");
    tap.pour([&evil, &event(2, "ForkEvent")]);
    let lines = timeout(SOON, lines(output, 3)).await.unwrap();
    assert!(lines[0].starts_with("today: 0 opened"), "{lines:?}");
    for part in ["owner/", "repo", "WatchEvent", "2026-06-15T11:00:00Z"] {
        assert!(lines[1].contains(part), "{lines:?}");
    }
    assert!(lines[2].contains("ForkEvent") && lines[2].contains("by user2"), "{lines:?}");
    for line in &lines {
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
    }
    drop(tap);
    running.stop().await;
    assert_eq!(tail.ended().await.code(), Some(1));
    assert!(tail.log().contains("closed the connection: 1001"), "{}", tail.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_follows_a_running_sample_until_ctrl_c() {
    let directory = directory();
    let mut process = Process::start(command(directory.path(), &["run", "--sample", "always"]));
    let url = format!("ws://{}/sampling", process.public().await);
    let mut tail = Process::start(command(directory.path(), &["tail", "--url", &url]));
    let lines = timeout(SOON, lines(tail.stdout(), 10)).await.unwrap();
    assert!(
        lines[1..].iter().all(|line| line.contains("  sample-org/repo") && line.contains("by sample-user"))
    );
    tail.signal("INT");
    assert_eq!(tail.ended().await.code(), Some(0));
    let watch = format!("ws://{}/language/watch", process.public().await);
    let mut watch = Process::start(command(directory.path(), &["tail", "--url", &watch]));
    let lines = timeout(SOON, crate::process::lines(watch.stdout(), 2)).await.unwrap();
    assert!(lines[0].contains("languageMap"), "{lines:?}");
    let refused = run(directory.path(), &["tail", "--url", "ws://127.0.0.1:9/sampling"]);
    assert_eq!(refused.status.code(), Some(69), "{}", stderr(&refused));
    let invalid = run(directory.path(), &["tail", "--url", &url, "--params", "{}"]);
    assert_eq!(invalid.status.code(), Some(1), "{}", stderr(&invalid));
    assert!(stdout(&invalid).contains("samplingRate"), "{}", stdout(&invalid));
    assert!(stderr(&invalid).contains("1008"), "{}", stderr(&invalid));
}

#[test]
fn version_and_help_help() {
    let directory = directory();
    let version = run(directory.path(), &["--version"]);
    assert_eq!(stdout(&version), format!("pulsehub {}\n", env!("CARGO_PKG_VERSION")));
    let help = stdout(&run(directory.path(), &["--help"]));
    for part in ["Examples:", "pulsehub replay --exit 2026-11-01-15", "Exit codes:", "75", "78"] {
        assert!(help.contains(part), "{help}");
    }
    for name in ["run", "replay", "stats", "backfill", "verify", "config", "tail", "generate", "healthcheck"]
    {
        assert!(help.contains(&format!("\n  {name} ")), "{name} is not in the help:\n{help}");
        assert!(run(directory.path(), &[name, "--help"]).status.success());
    }
    assert_eq!(run(directory.path(), &["fly"]).status.code(), Some(2));
}

#[test]
fn port_in_use_is_named_with_its_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (variable, key) in
        [("PULSEHUB__SERVER__PORT", "server.port"), ("PULSEHUB__ADMIN__PORT", "admin.port")]
    {
        let directory = directory();
        let mut command = command(directory.path(), &["run", "--sample", "always"]);
        let output = command.env(variable, &port).output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains(key) && said.contains(&port) && said.contains("in use"), "{said}");
    }
}

#[test]
fn replay_names_bad_files_and_counts_the_good_ones() {
    let directory = directory();
    let good = archive(directory.path(), 200);
    let bad = write(directory.path(), "bad.json.gz", "this is no archive");
    let output = run(directory.path(), &["replay", "--exit", &bad, &good]);
    assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
    assert!(stderr(&output).contains("bad.json.gz"), "{}", stderr(&output));
    let stats = stdout(&run(directory.path(), &["stats", "--year", "2026"]));
    assert!(stats.contains("2026-03-01"), "{stats}");
    let corrupt = text(&shared("data/gharchive/odd/2015-01-01-11.corrupt.json.gz"));
    assert_eq!(run(directory.path(), &["replay", "--exit", &corrupt]).status.code(), Some(65));
    assert_eq!(run(directory.path(), &["replay", "--exit", &good]).status.code(), Some(0));
    let output = run(directory.path(), &["replay", "--exit", "nowhere.json.gz"]);
    assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("nowhere.json.gz is neither a file, nor a directory, nor an hour"), "{said}");
}

#[test]
fn output_survives_a_full_disk_or_closed_terminal_without_a_panic() {
    let directory = directory();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(directory.path(), &["config", "schema"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    // Standard error may be gone, too.
    let mut command = command(directory.path(), &["backfill"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(69));
}
