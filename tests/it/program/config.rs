//! What a configuration comes to: faults, secrets, the default, the predecessor's file.

use serde_json::Value;

use super::{directory, write};
use crate::process::{Process, command, get, run, stderr, stdout};
use crate::support::eventually;

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
    assert_eq!(stdout(&default), include_str!("../../../config/config.yaml"));
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
        "coverage",
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

const PREDECESSOR: &str = include_str!("../../fixtures/predecessor.yaml");

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
