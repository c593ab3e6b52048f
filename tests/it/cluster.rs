//! Pulsar, Redis and MariaDB (for TiDB) together: known answers, the predecessor's configuration, and its data.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use ::pulsar::{ConsumerOptions, ProducerOptions, SubType};
use pulsehub::app::{self, Source};
use pulsehub::clock::ManualClock;
use pulsehub::event::Day;
use serde_json::{Value, json};

use crate::process::{Process, command, get};
use crate::support::mysql::Database;
use crate::support::{TestApp, eventually, pulsar, redis, shared, twelve_hours};

type Hash = BTreeMap<String, String>;

async fn hash(prefix: &str, key: &str) -> Hash {
    let mut connection = redis::connect(&redis::shared_server()).await;
    ::redis::cmd("HGETALL").arg(format!("{prefix}{key}")).query_async(&mut connection).await.unwrap()
}

async fn set_hash(prefix: &str, key: &str, fields: &[(&str, u64)]) {
    let mut connection = redis::connect(&redis::shared_server()).await;
    let mut command = ::redis::cmd("HSET");
    command.arg(format!("{prefix}{key}"));
    for (field, value) in fields {
        command.arg(*field).arg(*value);
    }
    command.query_async::<::redis::Value>(&mut connection).await.unwrap();
}

fn map(fields: &[(&str, &str)]) -> Hash {
    fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect()
}

/// A pipeline on Pulsar and Redis, with keys and a topic of its own.
fn on_pulsar_and_redis() -> TestApp {
    let mut app = pulsar::app();
    app.config.redis.host = Some(redis::shared_server().into());
    app.config.redis.prefix = redis::prefix();
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_hours_through_all_three_give_the_known_answers_in_redis_and_in_the_table() {
    let (mut app, database) = (on_pulsar_and_redis(), Database::new().await);
    database.configure(&mut app.config, true);
    app.config.disable.interval = true;
    let summary = app.replay(twelve_hours()).await;
    assert_eq!(summary.submitted.published, 143_714);

    let prefix = app.config.redis.prefix.clone();
    for (key, count) in
        [("year", "5041"), ("open", "2733"), ("merge", "1938"), ("close", "370"), ("dev", "2440")]
    {
        assert_eq!(hash(&prefix, &format!("daily_{key}_2016")).await, map(&[("2016-01-01", count)]), "{key}");
    }
    let sums = [("dev", "2440"), ("repo", "2439"), ("additions", "1107911"), ("deletions", "391224")];
    assert_eq!(hash(&prefix, "year_sum_2016").await, map(&sums));

    assert_eq!(database.number("SELECT COUNT(*) FROM github_events").await, 143_714);
    let (_data, state) = app.state();
    let history = app::history(&app.config, &app.clock).unwrap();
    let alerts = app::alerts(&app.config, app.clock.clone());
    let backfill = app::backfill(&app.config, history, state, app.clock.clone(), alerts);
    assert_eq!(backfill.verify(2016).await.unwrap(), []);
    database
        .run(&["DELETE FROM github_events WHERE type = 'PullRequestEvent' AND pr_merged ORDER BY id LIMIT 1"])
        .await;
    let planted = backfill.verify(2016).await.unwrap();
    assert!(
        planted
            .iter()
            .any(|found| (found.counter.as_str(), found.left, found.right) == ("merge", 1_938, 1_937))
    );
}

/// What an operator gives by environment beside the predecessor's file: where things are on this machine.
fn addresses(command: &mut Command, app: &TestApp) {
    let (tidb, pulsar) = (&app.config.tidb, &app.config.pulsar);
    command
        .env("PULSEHUB__LOG__FILE", "")
        .env("PULSEHUB__LOG__FORMAT", "text")
        .env("PULSEHUB__LOG__LEVEL", "info")
        .env("PULSEHUB__REDIS__HOST", redis::shared_server())
        .env("PULSEHUB__REDIS__PREFIX", &app.config.redis.prefix)
        .env("PULSEHUB__PULSAR__DEVHOST", pulsar::url())
        .env("PULSEHUB__PULSAR__ADMINURL", pulsar::admin_url())
        .env("PULSEHUB__PULSAR__PRODUCER__TOPIC", &pulsar.producer.topic)
        .env("PULSEHUB__PULSAR__CONSUMER__TOPIC", &pulsar.consumer.topic)
        .env("PULSEHUB__TIDB__HOST", tidb.host.as_ref().unwrap().as_str())
        .env("PULSEHUB__TIDB__PORT", tidb.port.to_string())
        .env("PULSEHUB__TIDB__USER", &tidb.user)
        .env("PULSEHUB__TIDB__PASSWORD", tidb.password.expose())
        .env("PULSEHUB__TIDB__DB", &tidb.db);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_predecessors_configuration_runs_on_the_engines_as_it_is() {
    let (mut app, database) = (on_pulsar_and_redis(), Database::new().await);
    database.configure(&mut app.config, false);
    // What the operator's own loader has in the table.
    let year = Day::of(app.clock.unix_seconds()).unwrap().year();
    database
        .run(&[
            "CREATE TABLE github_events (id BIGINT, type VARCHAR(29), actor_id INT, repo_id INT, action VARCHAR(11),
             pr_or_issue_id INT, pr_merged TINYINT, additions INT, deletions INT, event_day DATE, event_year INT)",
            &format!("INSERT INTO github_events VALUES
             (1,'PullRequestEvent',1,1,'opened',1,0,NULL,NULL,'{year}-01-01',{year}),
             (2,'PullRequestEvent',2,1,'closed',1,1,30,4,'{year}-01-01',{year})"),
        ])
        .await;
    let directory = tempfile::tempdir().unwrap();
    let file = include_str!("../fixtures/predecessor.yaml");
    std::fs::write(directory.path().join("config.yaml"), file).unwrap();
    let mut command = command(directory.path(), &["replay"]);
    addresses(&mut command, &app);
    command.arg(shared("data/gharchive/2016-01-01-1.json.gz"));
    let mut process = Process::start(command);
    let health = format!("http://{}/health", process.public().await);
    assert_eq!(get(&health).await.text().await.unwrap(), "OK");
    let mut sums = Value::Null;
    eventually("the backfill of this year is served", async || {
        let mut client = process.client("/sampling").await;
        let first = client.json().await;
        sums = first["sumMap"].clone();
        first["mergeMap"][format!("{year}-01-01")] == "1"
    })
    .await;
    assert_eq!(sums, json!({"dev": "2", "repo": "1", "additions": "30", "deletions": "4"}));
    let prefix = app.config.redis.prefix.clone();
    eventually("the hour is counted", async || {
        hash(&prefix, "daily_open_2016").await.get("2016-01-01").is_some_and(|count| count == "359")
    })
    .await;
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    let log = process.log();
    let faults: Vec<_> = log.lines().filter(|line| line.split_whitespace().nth(1) == Some("ERROR")).collect();
    assert!(faults.is_empty(), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predecessors_hashes_and_backlog_are_taken_over_without_a_wrong_number() {
    let mut app = on_pulsar_and_redis();
    // Noon of today.
    app.clock = Arc::new(ManualClock::new(1_781_524_800_000));
    let prefix = app.config.redis.prefix.clone();
    let topic = app.config.pulsar.consumer.topic.clone();
    let (year, today, first) = (2026, "2026-06-15".to_owned(), "2026-01-01".to_owned());

    // What it has counted: the first of January, and a part of today, which is in its backlog too.
    for (key, of_first, of_today) in
        [("year", 9, 1), ("open", 5, 1), ("merge", 3, 0), ("close", 1, 0), ("dev", 4, 1)]
    {
        set_hash(&prefix, &format!("daily_{key}_{year}"), &[(&first, of_first), (&today, of_today)]).await;
    }
    let sums = [("dev", 4), ("repo", 3), ("additions", 100), ("deletions", 50)];
    set_hash(&prefix, &format!("year_sum_{year}"), &sums).await;

    // What it has published and nobody has consumed, in its own form.
    let client = pulsar::client().await;
    let subscription =
        client.consumer().with_topic(&topic).with_subscription(&app.config.pulsar.consumer.name);
    let subscription = subscription.with_subscription_type(SubType::Shared);
    let mut consumer: ::pulsar::Consumer<Vec<u8>, _> =
        subscription.with_options(ConsumerOptions::default()).build().await.unwrap();
    consumer.close().await.unwrap();
    let options = ProducerOptions { batch_size: Some(3), ..ProducerOptions::default() };
    let mut producer = client.producer().with_topic(&topic).with_options(options).build().await.unwrap();
    let event = |id: u32, actor: u32, action: &str, more: Value| {
        let mut pull_request = json!({"id": id, "number": id});
        pull_request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({
            "event": {
                "id": id.to_string(), "type": "PullRequestEvent", "created_at": format!("{today}T00:00:01Z"),
                "actor": {"id": actor, "login": "someone"}, "repo": {"id": 77, "name": "some/thing"},
                "payload": {"action": action, "pull_request": pull_request},
            },
            "payload": {"pr": 1, "devDay": 1, "devYear": 1, "open": 1},
        })
    };
    let merged = json!({"merged": true, "additions": 70, "deletions": 7});
    let backlog = [
        event(1, 11, "opened", json!({})),
        event(2, 12, "opened", json!({})),
        event(3, 11, "closed", merged),
        event(1, 11, "opened", json!({})),
    ];
    let mut sent = Vec::new();
    for message in backlog {
        sent.push(producer.send_non_blocking(message.to_string()).await.unwrap());
    }
    producer.send_batch().await.unwrap();
    for receipt in sent {
        receipt.await.unwrap();
    }

    let running = app.start(Source::None).await;
    let day = |name: &str| format!("daily_{name}_{year}");
    eventually("the backlog is counted", async || {
        hash(&prefix, &day("merge")).await.get(&today).is_some_and(|count| count == "1")
    })
    .await;
    let status = format!("http://{}/api/v1/status", running.public.unwrap());
    eventually("the backlog is settled", async || {
        let status: Value = get(&status).await.json().await.unwrap();
        status["backlog"] == 0
    })
    .await;
    running.stop().await;
    for (name, of_first, of_today) in
        [("year", "9", "3"), ("open", "5", "2"), ("merge", "3", "1"), ("close", "1", "0"), ("dev", "4", "2")]
    {
        assert_eq!(hash(&prefix, &day(name)).await, map(&[(&first, of_first), (&today, of_today)]), "{name}");
    }
    // Larger than what it has seen itself is what the predecessor had summed up.
    let sums = [("dev", "4"), ("repo", "3"), ("additions", "100"), ("deletions", "50")];
    assert_eq!(hash(&prefix, &format!("year_sum_{year}")).await, map(&sums));
    assert_eq!(hash(&prefix, &format!("ph:old:{}", day("open"))).await, map(&[(&first, "5"), (&today, "1")]));
    let stats = app.stats(year).await;
    assert_eq!(stats["daily"][&today], json!({"event": 3, "open": 2, "merge": 1, "close": 0, "dev": 2}));
}

#[test]
fn compose_offers_what_the_cluster_configuration_connects_to() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let (compose, cluster) = (read("compose.yaml"), read("config/cluster.yaml"));
    for (published, used) in [
        ("127.0.0.1:6650:6650", "pulsar://127.0.0.1:6650"),
        ("127.0.0.1:8090:8080", "http://127.0.0.1:8090"),
        ("127.0.0.1:6379:6379", "host: 127.0.0.1:6379"),
        ("127.0.0.1:4000:4000", "port: 4000"),
        ("CREATE DATABASE IF NOT EXISTS gharchive_dev", "db: gharchive_dev"),
    ] {
        assert!(compose.contains(published) && cluster.contains(used), "{published} for {used}");
    }
}
