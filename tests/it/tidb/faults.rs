//! A history that is there and not as it should be: each fault named once, with the key to look at.

use std::sync::Arc;
use std::time::Duration;

use pulsehub::app;
use pulsehub::clock::SystemClock;
use pulsehub::domain::github::row::Row;
use pulsehub::event::Event;
use pulsehub::history::tidb::TidbHistory;
use pulsehub::history::{History, HistoryError};
use pulsehub::state::DayCounts;

use super::{TABLE, known_days};
use crate::support::fake_tidb::FakeTidb;
use crate::support::mysql::Database;
use crate::support::{TestApp, eventually, shared, text};

fn history_with(
    database: &Database,
    change: impl FnOnce(&mut pulsehub::history::tidb::Settings),
) -> TidbHistory {
    let mut settings = database.settings(false);
    change(&mut settings);
    TidbHistory::new(settings, Arc::new(SystemClock))
}

async fn refusal(history: TidbHistory) -> (String, bool) {
    let error = history.recount(2016).await.unwrap_err();
    let chain = std::iter::successors(std::error::Error::source(&error), |cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    (chain, error.is_retryable())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_with_the_key_to_look_at() {
    let database = Database::new().await;
    known_days(&database, &[("2016-01-01", 1)]).await;
    let (error, _) =
        refusal(history_with(&database, |s| s.events_daily = "SELEC event_day".to_owned())).await;
    assert!(error.contains("tidb.sql.eventsDaily does not run") && error.contains("SELEC"), "{error}");
    let (error, _) =
        refusal(history_with(&database, |s| s.yearly = "SELECT 1 AS developers, 2 AS repos".to_owned()))
            .await;
    assert!(
        error.contains(
            "tidb.sql.yearly must give the columns additions, deletions, but gives developers, repos"
        ),
        "{error}"
    );
    let many = "SELECT 'many' AS developers, 2 AS repos, 3 AS additions, 4 AS deletions";
    let (error, _) = refusal(history_with(&database, |s| s.yearly = many.to_owned())).await;
    assert!(error.contains("a number as developers") && error.contains("many"), "{error}");
    let password = "do-not-print-me";
    let (error, retryable) = refusal(history_with(&database, |s| s.password = password.to_owned())).await;
    assert!(error.contains("tidb.password") && !error.contains(password) && !retryable, "{error}");
    let (error, _) = refusal(history_with(&database, |s| s.db = "nowhere".to_owned())).await;
    assert!(error.contains("tidb.db") && error.contains("nowhere"), "{error}");
    let (error, retryable) = refusal(history_with(&database, |s| s.port = 1)).await;
    assert!(error.contains("cannot reach the history at 127.0.0.1:1") && retryable, "{error}");
    // The server has no TLS: required says so, preferred goes on without.
    let required = |s: &mut pulsehub::history::tidb::Settings| s.tls = pulsehub::history::tidb::Tls::Required;
    let (error, _) = refusal(history_with(&database, required)).await;
    assert!(error.to_lowercase().contains("ssl"), "{error}");
    let preferred =
        |s: &mut pulsehub::history::tidb::Settings| s.tls = pulsehub::history::tidb::Tls::Preferred;
    assert_eq!(history_with(&database, preferred).recount(2016).await.unwrap().sums.dev, 1);
    let unwritten = history_with(&database, |_| ()).write(&[]).await;
    assert!(matches!(unwritten, Err(HistoryError::NotWritable)));
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_every_type_are_read() {
    let database = Database::new().await;
    let history = history_with(&database, |s| {
        s.events_daily = "SELECT CAST('2016-02-03 00:00:00' AS DATETIME) AS EVENT_DAY, '7' AS developers,
            CAST(8 AS DECIMAL(20, 2)) AS opened_prs, 9.0e0 AS closed_prs, NULL AS merged_prs;"
            .to_owned();
        s.yearly = "SELECT SUM(x) AS developers, COUNT(*) AS repos, SUM(x) AS additions, SUM(x) AS deletions
            FROM (SELECT 1 AS x) AS t WHERE x > 1"
            .to_owned();
    });
    let base = history.recount(2016).await.unwrap();
    let counts = base.days.values().copied().next().unwrap();
    assert_eq!(counts, DayCounts { open: 8, merge: 0, close: 9, dev: 7 });
    assert_eq!((base.sums.dev, base.sums.additions), (0, 0));
    // A day of another year is not this year's.
    assert!(history.recount(2017).await.unwrap().days.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_does_not_end_is_stopped_on_the_server_too() {
    let database = Database::new().await;
    let history = history_with(&database, |s| {
        s.yearly = "SELECT SLEEP(300) AS developers".to_owned();
        s.events_daily =
            "SELECT '2016-01-01' AS event_day, 1 AS developers, 1 AS opened_prs, 1 AS closed_prs,
            1 AS merged_prs"
                .to_owned();
        s.statement_limit = Duration::from_millis(300);
    });
    let error = history.recount(2016).await.unwrap_err().to_string();
    assert!(error.contains("tidb.sql.yearly was stopped"), "{error}");
    let sleeping = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE 'SELECT SLEEP%'";
    eventually("the end of the statement", async || database.number(sleeping).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_other_columns_is_named_and_left_alone_and_events_wait_for_it() {
    let (mut app, database) = (TestApp::new(), Database::new().await);
    database.run(&[TABLE]).await;
    database.configure(&mut app.config, true);
    let history = app::history(&app.config, &app.clock).unwrap();
    let error = history.recount(2016).await.unwrap_err().to_string();
    let missing =
        "the columns created_at, repo_name, actor_login, org_id, org_login, language, number, event_month";
    assert!(error.contains(missing), "{error}");

    let hour = text(&shared("data/gharchive/2016-01-01-1.json.gz"));
    let mut running = app.start(app.replay_of([hour])).await;
    // Counted and shown, but not settled.
    let address = running.admin;
    let stats = async || -> serde_json::Value {
        reqwest::get(format!("http://{address}/api/v1/stats?year=2016")).await.unwrap().json().await.unwrap()
    };
    eventually("counts", async || stats().await["sum"]["dev"].as_u64() > Some(0)).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), running.replayed()).await.is_err());
    database.run(&["DROP TABLE github_events"]).await;
    eventually("rows", async || {
        database
            .number("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()")
            .await
            > 0
            && database.number("SELECT COUNT(*) FROM github_events").await > 11_000
    })
    .await;
    running.stop().await;
}

fn opened() -> Row {
    let raw = r#"{"id":"1","type":"PullRequestEvent","created_at":"2016-01-01T00:00:00Z"}"#;
    Row::of(&Event::parse(raw).unwrap()).unwrap()
}

/// Against a fake: see its file.
#[tokio::test(flavor = "multi_thread")]
async fn what_tidb_says_of_a_passing_conflict_is_tried_again() {
    let fake = FakeTidb::start().await;
    let history = TidbHistory::new(fake.settings(), Arc::new(SystemClock));
    // Write conflict, schema changed in two forms, deadlock, lock wait timeout.
    for code in [9007, 8022, 8028, 1213, 1205] {
        fake.fail_next(&[code, code]);
        history.write(&[opened()]).await.unwrap();
        assert_eq!(fake.asked(), 3, "{code} of a write");
        fake.fail_next(&[code]);
        assert_eq!(history.recount(2016).await.unwrap().sums.repo, 6);
        assert_eq!(fake.asked(), 2, "{code} of a count");
        // One that does not pass is handed up, for whoever waits longer.
        fake.fail_next(&[code; 9]);
        let error = history.write(&[opened()]).await.unwrap_err();
        assert!(matches!(error, HistoryError::Busy { .. }) && error.is_retryable(), "{error}");
        assert_eq!(fake.asked(), 4, "{code} for ever");
    }
    // What trying again cannot mend.
    fake.fail_next(&[1064]);
    let error = history.write(&[opened()]).await.unwrap_err();
    assert!(matches!(error, HistoryError::Failed { .. }) && !error.is_retryable(), "{error}");
    assert_eq!(fake.asked(), 1);
}
