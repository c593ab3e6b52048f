//! Whatever Redis does under a running pipeline: the process stays up, says once what is wrong and where to look, serves
//! what it knows, and catches up.

use std::path::Path;

use pulsehub::config::Secret;
use tokio::net::TcpStream;

use super::ride::Ride;
use super::run;
use crate::support::redis::{RedisServer, connect, free_port};
use crate::support::{certificate, eventually, text};

/// A pipeline that has worked before.
async fn working(options: &[&str]) -> Ride {
    let mut ride = Ride::start(RedisServer::start(options).await, |_| ()).await;
    ride.works().await;
    ride
}

async fn tell(ride: &Ride, commands: &[&str]) {
    let mut redis = connect(&ride.server.host()).await;
    for command in commands {
        run(&mut redis, command).await;
    }
}

/// One command breaks it, another one mends it.
async fn broken_by(breaks: &[&str], says: &str, mends: &[&str]) {
    let mut ride = working(&[]).await;
    tell(&ride, breaks).await;
    ride.fails(says).await;
    tell(&ride, mends).await;
    ride.recovers().await;
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back() {
    let mut ride = working(&[]).await;
    ride.server.kill();
    ride.fails("cannot reach Redis at redis.host").await;
    ride.server.restart().await;
    ride.recovers().await;
}

#[tokio::test]
async fn a_server_that_is_absent_at_the_start() {
    let mut server = RedisServer::start(&[]).await;
    server.kill();
    let mut ride = Ride::start(server, |_| ()).await;
    ride.fails("cannot reach Redis at redis.host").await;
    ride.server.restart().await;
    ride.recovers().await;
}

#[tokio::test]
async fn a_server_that_stands_still_for_longer_than_an_answer_may_take() {
    let mut ride = working(&[]).await;
    ride.server.signal("STOP");
    ride.fails("cannot reach Redis at redis.host").await;
    ride.server.signal("CONT");
    ride.recovers().await;
}

#[tokio::test]
async fn a_server_that_stands_still_for_a_moment_is_not_worth_a_word() {
    let mut ride = working(&[]).await;
    ride.server.signal("STOP");
    ride.pour();
    ride.languages_go_on(40).await;
    ride.server.signal("CONT");
    ride.works().await;
    assert!(ride.problems().is_empty(), "{:#?}", ride.problems());
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica() {
    let says = "read-only replica: redis.host must name the primary";
    broken_by(&["REPLICAOF 127.0.0.1 1"], says, &["REPLICAOF NO ONE"]).await;
}

#[tokio::test]
async fn a_primary_without_the_replicas_that_it_insists_on() {
    let says = "fewer replicas than its min-replicas-to-write";
    broken_by(&["CONFIG SET min-replicas-to-write 1"], says, &["CONFIG SET min-replicas-to-write 0"]).await;
}

#[tokio::test]
async fn a_server_without_memory() {
    let says = "reached its maxmemory";
    broken_by(&["CONFIG SET maxmemory 1mb"], says, &["CONFIG SET maxmemory 0"]).await;
}

#[tokio::test]
async fn a_key_of_another_type_in_the_way_of_one_day() {
    let plant = ["RENAME ph:open:2026-06-15 kept", "LPUSH ph:open:2026-06-15 x"];
    let mut ride = working(&[]).await;
    tell(&ride, &plant).await;
    ride.fails("holds another type of value: give pulsehub a redis.prefix of its own").await;
    tell(&ride, &["DEL ph:open:2026-06-15", "RENAME kept ph:open:2026-06-15"]).await;
    // What Redis refuses for its data is with the broker until its pause is over.
    ride.clock.advance_millis(60_000);
    ride.catches_up().await;
    ride.running.stop().await;
}

/// It waits in place: a thousand messages would else be set aside, one by one.
#[tokio::test]
async fn a_key_of_another_type_in_the_way_of_all_events() {
    let says = "holds another type of value: give pulsehub a redis.prefix of its own";
    for key in ["ph:days", "ph:seq", "ph:own:2026"] {
        let plant = [format!("RENAME {key} kept"), format!("LPUSH {key} x")];
        broken_by(
            &plant.each_ref().map(String::as_str),
            says,
            &[&format!("DEL {key}"), &format!("RENAME kept {key}")],
        )
        .await;
    }
}

#[tokio::test]
async fn a_server_that_is_emptied_where_no_history_has_its_counts() {
    let mut ride = working(&[]).await;
    // What is not settled by then is counted again.
    ride.is_settled().await;
    tell(&ride, &["FLUSHALL"]).await;
    eventually("it says what is lost", async || ride.says("counts of the year are lost")).await;
    assert!(ride.says("redis was emptied or replaced"), "{:#?}", ride.problems());
    ride.pour();
    eventually("what came since is counted", async || ride.greeting().await == [40, 40]).await;
    ride.pour();
    eventually("it goes on", async || ride.greeting().await == [80, 80]).await;
    ride.running.stop().await;
}

#[tokio::test]
async fn a_server_that_is_still_loading() {
    let mut server = RedisServer::start(&[]).await;
    let mut redis = connect(&server.host()).await;
    let fill = "for i = 1, 6000 do redis.call('SET', 'other:' .. i, string.rep('x', 100)) end";
    redis::cmd("EVAL").arg(fill).arg(0).query_async::<()>(&mut redis).await.unwrap();
    run(&mut redis, "BGREWRITEAOF").await;
    eventually("all of it is in the file's base", async || {
        let info: String = redis::cmd("INFO").arg("persistence").query_async(&mut redis).await.unwrap();
        info.contains("aof_rewrites:1") && info.contains("aof_rewrite_in_progress:0")
    })
    .await;
    server.kill();
    // Six seconds, as of some gigabytes.
    server.add_options(&["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"]);
    server.start_again();
    let host = server.host();
    eventually("it listens", async || TcpStream::connect(&host).await.is_ok()).await;
    let mut ride = Ride::start(server, |_| ()).await;
    ride.fails("Redis is still loading its data").await;
    ride.server.answers().await;
    ride.recovers().await;
}

#[tokio::test]
async fn a_wrong_password() {
    let server = RedisServer::start(&["--requirepass", "sesame"]).await;
    let mut ride = Ride::start(server, |config| config.redis.password = Secret::from("open")).await;
    ride.fails("check redis.user and redis.password").await;
    let mut redis = connect(&format!(":sesame@{}", ride.server.host())).await;
    run(&mut redis, "CONFIG SET requirepass open").await;
    assert!(!ride.problems().concat().contains("open"));
    ride.recovers().await;
}

#[tokio::test]
async fn a_user_that_is_not_there() {
    let server = RedisServer::start(&[]).await;
    let mut ride = Ride::start(server, |config| {
        (config.redis.user, config.redis.password) = (Some("hub".to_owned()), Secret::from("pw"));
    })
    .await;
    ride.fails("check redis.user and redis.password").await;
    tell(&ride, &["ACL SETUSER hub on >pw ~* &* +@all"]).await;
    ride.recovers().await;
}

/// A server with a certificate for `name` that a pipeline meets as `rediss://localhost`, trusting the files in `trusted`.
async fn encrypted(name: &str, directory: &Path, trusted: &Path) -> Ride {
    certificate::write(directory, name);
    let path = |file: &str| text(&directory.join(file));
    let port = free_port().to_string();
    let server = RedisServer::start(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &path("certificate.pem"),
        "--tls-key-file",
        &path("key.pem"),
        "--tls-ca-cert-file",
        &path("certificate.pem"),
        "--tls-auth-clients",
        "no",
    ])
    .await;
    Ride::start(server, |config| {
        config.redis.host = Some(format!("rediss://localhost:{port}").into());
        config.tls.ca = Some(text(&trusted.join("certificate.pem")));
    })
    .await
}

const NOT_TRUSTED: &str = "is not trusted or not for this name: check redis.host and tls.ca";

#[tokio::test]
async fn a_certificate_of_an_authority_of_ones_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut ride = encrypted("DNS:localhost", directory.path(), directory.path()).await;
    ride.works().await;
    assert!(ride.problems().is_empty(), "{:#?}", ride.problems());
}

#[tokio::test]
async fn a_certificate_for_another_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut ride = encrypted("DNS:elsewhere.example", directory.path(), directory.path()).await;
    ride.fails(NOT_TRUSTED).await;
    certificate::write(directory.path(), "DNS:localhost");
    ride.server.restart().await;
    ride.recovers().await;
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_is_not_trusted() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificate::write(other.path(), "DNS:localhost");
    let mut ride = encrypted("DNS:localhost", directory.path(), other.path()).await;
    ride.fails(NOT_TRUSTED).await;
    // The file is read at each connection.
    std::fs::copy(directory.path().join("certificate.pem"), other.path().join("certificate.pem")).unwrap();
    ride.recovers().await;
}

#[tokio::test]
async fn a_file_of_authorities_that_is_missing() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut ride = encrypted("DNS:localhost", directory.path(), other.path()).await;
    ride.fails("redis.host or tls.ca cannot be used").await;
    std::fs::copy(directory.path().join("certificate.pem"), other.path().join("certificate.pem")).unwrap();
    ride.recovers().await;
}
