//! The pipeline with a history behind it: MariaDB in TiDB's place, as it is; in `faults` as it is not ours, in `outage`
//! as it is not there, in `seed` as what a state begins with.

mod faults;
mod outage;
mod seed;

use std::process::{Command, Output};
use std::sync::Arc;

use pulsehub::app::{self, DataDirectory, Source};
use pulsehub::config::Secret;
use pulsehub::history::backfill::Backfill;
use pulsehub::history::difference::Difference;
use pulsehub::state::{DayCounts, State};
use serde_json::json;

use crate::support::mysql::Database;
use crate::support::{Client, TestApp, eventually, shared, text, twelve_hours};

const EVENTS: u64 = 143_714;

/// The backfill into a stopped pipeline's counters, and what holds them.
fn backfill_of(app: &TestApp) -> (DataDirectory, Arc<dyn State>, Arc<Backfill>) {
    let (data, state) = app.state();
    let history = app::history(&app.config, &app.clock).unwrap();
    let alerts = app::alerts(&app.config, app.clock.clone());
    let backfill = app::backfill(&app.config, history, state.clone(), app.clock.clone(), alerts);
    (data, state, backfill)
}

/// The program on the app's data and the database.
fn program(app: &TestApp, arguments: &[&str]) -> Command {
    let tidb = &app.config.tidb;
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulsehub"));
    command
        .args(arguments)
        .current_dir(app.directory())
        .env("PULSEHUB__STORAGE__PATH", app.directory())
        .env("PULSEHUB__TIDB__HOST", tidb.host.as_ref().unwrap().as_str())
        .env("PULSEHUB__TIDB__PORT", tidb.port.to_string())
        .env("PULSEHUB__TIDB__USER", &tidb.user)
        .env("PULSEHUB__TIDB__PASSWORD", tidb.password.expose())
        .env("PULSEHUB__TIDB__DB", &tidb.db)
        .env("PULSEHUB__HISTORY__WRITE", app.config.history.write.unwrap_or_default().to_string())
        .env("PULSEHUB__SERVER__HOST", "127.0.0.1")
        .env("PULSEHUB__SERVER__PORT", "0")
        .env("PULSEHUB__ADMIN__PORT", "0");
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_twelve_hours_reach_the_table_and_verify_finds_what_is_planted() {
    let (mut app, database) = (TestApp::new(), Database::new().await);
    database.configure(&mut app.config, true);
    let started = std::time::Instant::now();
    let summary = app.replay(twelve_hours()).await;
    assert_eq!(summary.submitted.published, EVENTS);
    let rate = EVENTS as f64 / started.elapsed().as_secs_f64();
    println!("{rate:.0} events/s through the pipeline with every row written");
    assert_eq!(database.number("SELECT COUNT(*) FROM github_events").await, EVENTS);

    // The predecessor's two statements.
    let base = app::history(&app.config, &app.clock).unwrap().recount(2016).await.unwrap();
    let counts = base.days.values().copied().collect::<Vec<_>>();
    assert_eq!(counts, [DayCounts { open: 2_733, merge: 1_938, close: 370, dev: 2_440 }]);
    assert_eq!((base.sums.dev, base.sums.repo), (2_440, 2_439));
    assert_eq!((base.sums.additions, base.sums.deletions), (1_107_911, 391_224));

    let verify = || program(&app, &["verify", "--year", "2016"]).output().unwrap();
    let sound = verify();
    assert!(sound.status.success() && stdout(&sound).contains("no difference"), "{}", stdout(&sound));
    database
        .run(&["DELETE FROM github_events WHERE type = 'PullRequestEvent' AND action = 'opened' ORDER BY id LIMIT 1"])
        .await;
    let planted = verify();
    assert_eq!(planted.status.code(), Some(1), "{}", stdout(&planted));
    assert!(
        stdout(&planted).contains("2016-01-01 open: 2733 in the state, 2732 in history"),
        "{}",
        stdout(&planted)
    );

    // Replayed into another state, the same rows are there: none twice.
    let mut again = TestApp::new();
    database.configure(&mut again.config, true);
    again.replay(twelve_hours().into_iter().take(2)).await;
    assert_eq!(database.number("SELECT COUNT(*) FROM github_events").await, EVENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_event_of_the_trimmed_form_is_stored_as_closed_and_merged() {
    let (mut app, database) = (TestApp::new(), Database::new().await);
    database.configure(&mut app.config, true);
    app.replay([text(&shared("data/trimmed/2016-01-01-4.trimmed.json.gz"))]).await;
    let select = "SELECT COUNT(*) FROM github_events WHERE type = 'PullRequestEvent'";
    assert_eq!(database.number(&format!("{select} AND action = 'merged'")).await, 0);
    let merged = database.number(&format!("{select} AND action = 'closed' AND pr_merged = true")).await;
    let closed = database.number(&format!("{select} AND action = 'closed' AND pr_merged = false")).await;
    assert!(merged > 0 && closed > 0, "{merged} {closed}");
    let (_data, _, backfill) = backfill_of(&app);
    let found = backfill.verify(2016).await.unwrap();
    assert_eq!(found, []);
}

const TABLE: &str =
    "CREATE TABLE github_events (id BIGINT, type VARCHAR(29), actor_id INT, repo_id INT, action VARCHAR(11),
    pr_or_issue_id INT, pr_merged TINYINT, additions INT, deletions INT, event_day DATE, event_year INT)";

/// `count` pull requests opened on each day, by as many people, in an operator's own table.
async fn known_days(database: &Database, days: &[(&str, u64)]) {
    database.run(&[TABLE]).await;
    for (day, count) in days {
        let rows: Vec<_> = (1..=*count)
            .map(|n| {
                format!("({n},'PullRequestEvent',{n},{n},'opened',{n},0,NULL,NULL,'{day}',YEAR('{day}'))")
            })
            .collect();
        database.run(&[&format!("INSERT INTO github_events VALUES {}", rows.join(","))]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_shows_days_that_only_history_knows_and_never_lowers_a_count() {
    let (mut app, database) = (TestApp::new(), Database::new().await);
    known_days(&database, &[("2016-01-01", 3), ("2016-01-02", 5), ("2015-06-07", 4)]).await;
    app.config.disable.interval = true;
    // Counted before there was a history, so that nothing is seeded from it.
    app.replay(twelve_hours().into_iter().take(1)).await;
    database.configure(&mut app.config, false);
    let before = app.stats(2016).await;
    let output = program(&app, &["backfill", "--year", "2016"]).output().unwrap();
    assert!(output.status.success(), "{}", stdout(&output));
    assert!(stdout(&output).contains("2016-01-02 open: 0 -> 5"), "{}", stdout(&output));
    let after = app.stats(2016).await;
    assert_eq!(after["daily"]["2016-01-01"], before["daily"]["2016-01-01"]);
    assert_eq!(
        after["daily"]["2016-01-02"],
        json!({"event": 5, "open": 5, "merge": 0, "close": 0, "dev": 5})
    );
    assert_eq!(after["sum"], before["sum"]);

    // The session's timestamp decides the year, and history's last word replaces the one before.
    let (_data, state, backfill) = backfill_of(&app);
    backfill.now(2015).await.unwrap();
    assert_eq!(state.snapshot(2015).await.unwrap().sums.dev, 4);
    database.run(&["DELETE FROM github_events WHERE event_day = '2016-01-02'"]).await;
    let changed = backfill.now(2016).await.unwrap();
    let gone = |counter: &str| Difference {
        period: "2016-01-02".to_owned(),
        counter: counter.to_owned(),
        left: 5,
        right: 0,
    };
    assert_eq!(changed, [gone("open"), gone("dev")]);
    assert_eq!(database.number("SELECT YEAR(NOW()) > 2020").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_process_backfills_by_itself_and_when_asked() {
    let (mut app, database) = (TestApp::new(), Database::new().await);
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let (first, second) = (today.first_of_year().to_string(), today.to_string());
    known_days(&database, &[(&first, 2)]).await;
    database.configure(&mut app.config, false);
    app.config.server.sync_token = Secret::from("secret");
    let running = app.start(Source::None).await;
    let shown = async |day: &str| {
        let mut client = Client::connect(&running, "/sampling").await;
        client.json().await["openMap"][day].as_str().unwrap_or("0").to_owned()
    };
    eventually("the first backfill", async || shown(&first).await == "2").await;

    let insert = format!(
        "INSERT INTO github_events VALUES (9,'PullRequestEvent',9,9,'opened',9,0,NULL,NULL,'{second}',YEAR('{second}'))"
    );
    database.run(&[&insert]).await;
    let url = format!("http://{}/sync-event", running.public.unwrap());
    let client = reqwest::Client::new();
    let post = |token| client.post(&url).bearer_auth(token).send();
    assert_eq!(post("guess").await.unwrap().status(), 401);
    assert_eq!(post("secret").await.unwrap().status(), 202);
    let expected = if first == second { "3" } else { "1" };
    eventually("the backfill that was asked for", async || shown(&second).await == expected).await;

    // Commands hand over to the process that owns the data.
    let output = program(&app, &["backfill"]).output().unwrap();
    assert!(output.status.success() && stdout(&output).contains("no value changed"), "{}", stdout(&output));
    let output = program(&app, &["verify"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    running.stop().await;
}
