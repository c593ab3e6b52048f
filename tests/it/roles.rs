//! The roles in processes of their own, on Pulsar and Redis.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::process::{Process, command, run, stderr, stdout};
use crate::support::{Client, TestApp, eventually, text};
use crate::support::{pulsar, redis};

/// The program with one role and the same engines in all processes.
struct Cluster {
    directory: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Cluster {
    fn new() -> Self {
        let topic = pulsar::topic();
        let environment = vec![
            ("PULSEHUB__PULSAR__DEVHOST", pulsar::url()),
            ("PULSEHUB__PULSAR__ADMINURL", pulsar::admin_url()),
            ("PULSEHUB__PULSAR__PRODUCER__TOPIC", topic.clone()),
            ("PULSEHUB__PULSAR__CONSUMER__TOPIC", topic.clone()),
            ("PULSEHUB__LIVE__TOPIC", format!("{topic}-live")),
            // Generated events are as old as their seed says.
            ("PULSEHUB__LIVE__MAXAGE", "900000h".to_owned()),
            ("PULSEHUB__REDIS__HOST", redis::shared_server()),
            ("PULSEHUB__REDIS__PREFIX", redis::prefix()),
            ("PULSEHUB__REDIS__SETTLEDELAY", "1s".to_owned()),
        ];
        Self { directory: tempfile::tempdir().unwrap(), environment }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(self.directory.path(), args);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Any number of them share the directory: they keep nothing in it.
    fn role(&self, role: &str) -> Process {
        Process::start(self.command(&["run", "--roles", role]))
    }

    fn stats(&self, year: &str) -> Value {
        let output = self.command(&["stats", "--year", year]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    }
}

/// Generated events, and how often each of them has its id in them: once.
fn archive(directory: &Path, events: u32) -> (String, BTreeMap<String, u32>) {
    let count = events.to_string();
    let output = run(directory, &["generate", "--events", &count, "--seed", "7", "--format", "archive"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let path = directory.join("events.json");
    std::fs::write(&path, &output.stdout).unwrap();
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    let ids = stdout(&output).lines().map(|line| (id(line), 1)).collect();
    (text(&path), ids)
}

/// Everything that a client of `/sampling` gets, until it has got `count` events.
async fn collect(mut client: Client, count: usize) -> BTreeMap<String, u32> {
    let mut ids = BTreeMap::new();
    for _ in 0..count {
        let message = client.json().await;
        *ids.entry(message["event"]["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_apart_count_right_and_show_every_client_every_event_once() {
    let cluster = Cluster::new();
    let (archive, ids) = archive(cluster.directory.path(), 4_000);
    let _work = [cluster.role("work"), cluster.role("work")];
    let mut serve = [cluster.role("serve"), cluster.role("serve")];
    let mut clients = Vec::new();
    for process in &mut serve {
        for _ in 0..2 {
            let mut client = process.client("/sampling").await;
            assert_eq!(client.json().await["firstMessageTag"], true);
            client.send(&json!({"samplingRate": 1, "action": ["*"]}).to_string()).await;
            clients.push(tokio::spawn(collect(client, ids.len())));
        }
    }
    let replay = cluster.command(&["replay", "--roles", "poll", "--exit", &archive]).output().unwrap();
    assert!(replay.status.success(), "{}", stderr(&replay));
    for client in clients {
        assert_eq!(client.await.unwrap(), ids);
    }
    // The same events through one process without any service.
    let alone = TestApp::new();
    alone.replay([archive]).await;
    let expected = alone.stats(2026).await;
    assert!(expected["sum"]["dev"].as_u64().unwrap() > 0);
    let counted = cluster.stats("2026");
    assert_eq!((&counted["daily"], &counted["sum"]), (&expected["daily"], &expected["sum"]));
    // A server's own snapshot follows.
    let mut late = serve[1].client("/sampling").await;
    let developers = expected["sum"]["dev"].to_string();
    eventually("the sums are served", async || {
        let sums = late.json().await["sumMap"]["dev"].clone();
        late = serve[1].client("/sampling").await;
        sums == developers.as_str()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_could_not_see_each_other_are_refused() {
    let cluster = Cluster::new();
    let cases: [(_, &[_], _); 4] = [
        ("work", &["PULSEHUB__LIVE__TOPIC"], "live.topic"),
        ("serve", &["PULSEHUB__LIVE__TOPIC"], "live.topic"),
        ("serve", &["PULSEHUB__REDIS__HOST"], "redis.host"),
        ("poll", &["PULSEHUB__PULSAR__DEVHOST", "PULSEHUB__LIVE__TOPIC"], "needs a broker"),
    ];
    for (role, without, needed) in cases {
        let mut command = cluster.command(&["run", "--roles", role]);
        for name in without {
            command.env_remove(name);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        assert!(stderr(&output).contains(needed), "{role} without {without:?}: {}", stderr(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_times_are_kept_from_real_engines_unless_forced() {
    let cluster = Cluster::new();
    let (archive, _) = archive(cluster.directory.path(), 20);
    for (without, named) in
        [("PULSEHUB__REDIS__HOST", "pulsar"), ("PULSEHUB__LIVE__TOPIC", "pulsar, redis.host")]
    {
        let mut command = cluster.command(&["replay", "--rebase", "--exit", &archive]);
        let output = command.env_remove(without).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        assert!(stderr(&output).contains(named), "{}", stderr(&output));
    }
    let forced = cluster.command(&["replay", "--rebase", "--force", "--exit", &archive]).output().unwrap();
    assert!(forced.status.success(), "{}", stderr(&forced));
}
