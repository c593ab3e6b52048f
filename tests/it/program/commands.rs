//! Commands that end by themselves: results, exit codes, and what they say of faults.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::{Value, json};

use super::{archive, directory, entries, write};
use crate::process::{Process, command, get, run, stderr, stdout};
use crate::support::{eventually, shared, text};

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
