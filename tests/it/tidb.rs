//! The pipeline with a history behind it: MariaDB in TiDB's place, as it is, as it is not there, as it is not ours.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pulsehub::app::{self, Source, Stores};
use pulsehub::clock::SystemClock;
use pulsehub::config::Secret;
use pulsehub::history::backfill::Backfill;
use pulsehub::history::difference::Difference;
use pulsehub::history::tidb::TidbHistory;
use pulsehub::history::{History, HistoryError};
use pulsehub::state::DayCounts;
use serde_json::json;

use crate::support::mysql::Database;
use crate::support::{Client, PATIENCE, TestApp, eventually, shared, text, twelve_hours};

const EVENTS: u64 = 143_714;

/// The backfill of a stopped pipeline's data, with the stores that it holds.
fn backfill_of(app: &TestApp) -> (Stores, Arc<Backfill>) {
    let stores = Stores::open(app.directory(), &app.config).unwrap();
    let history = app::history(&app.config, &app.clock).unwrap();
    let alerts = app::alerts(&app.config, app.clock.clone());
    let backfill = app::backfill(&app.config, history, stores.state.clone(), app.clock.clone(), alerts);
    (stores, backfill)
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
    let (_stores, backfill) = backfill_of(&app);
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
    database.configure(&mut app.config, false);
    app.config.disable.interval = true;
    app.replay(twelve_hours().into_iter().take(1)).await;
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
    let (stores, backfill) = backfill_of(&app);
    backfill.now(2015).await.unwrap();
    assert_eq!(stores.state.snapshot(2015).await.unwrap().sums.dev, 4);
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

/// A MariaDB of a test's own, which it may stop.
struct Own {
    directory: tempfile::TempDir,
    port: u16,
}

impl Own {
    fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self { directory: tempfile::tempdir().unwrap(), port: listener.local_addr().unwrap().port() }
    }

    fn script(&self, action: &str) {
        self.script_with(action, "");
    }

    fn script_with(&self, action: &str, arguments: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services/mariadb");
        let output = Command::new(script)
            .args([action.as_ref(), self.directory.path().as_os_str()])
            .env("PULSEHUB_MARIADB_PORT", self.port.to_string())
            .env("PULSEHUB_MARIADB_ARGS", arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stdout(&output));
    }

    fn url(&self) -> String {
        let written = std::fs::read_to_string(self.directory.path().join("mariadb.env")).unwrap();
        written.trim().strip_prefix("PULSEHUB_TEST_MYSQL=").unwrap().to_owned()
    }

    async fn database(&self) -> Database {
        Database::on(mysql_async::Opts::from_url(&self.url()).unwrap()).await
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.script("stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_must_be_valid_for_the_host_where_tls_is_required() {
    let (mut app, server) = (TestApp::new(), Own::new());
    let path = |name: &str| app.directory().join(name).to_string_lossy().into_owned();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &certificate])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", stdout(&made));
    server.script_with(
        "start",
        &format!("--ssl-cert={certificate} --ssl-key={key} --require-secure-transport=ON"),
    );
    let opts = mysql_async::Opts::from_url(&server.url()).unwrap();
    let opts = mysql_async::OptsBuilder::from_opts(opts);
    let blind = mysql_async::SslOpts::default()
        .with_danger_accept_invalid_certs(true)
        .with_danger_skip_domain_validation(true);
    let database = Database::on(opts.ssl_opts(blind).into()).await;
    known_days(&database, &[("2016-01-01", 3)]).await;
    database.configure(&mut app.config, false);
    let backfill = |host: &str, tls: &str, trusted: &str| {
        let mut command = program(&app, &["backfill", "--year", "2016"]);
        command
            .env("PULSEHUB__TIDB__HOST", host)
            .env("PULSEHUB__TIDB__TLS", tls)
            .env("SSL_CERT_FILE", trusted);
        command.output().unwrap()
    };
    let valid = backfill("localhost", "required", &certificate);
    assert!(valid.status.success(), "{}", stdout(&valid));
    let misnamed = backfill("127.0.0.1", "required", &certificate);
    assert_eq!(misnamed.status.code(), Some(69), "{}", stdout(&misnamed));
    assert!(stdout(&misnamed).contains("certificate"), "{}", stdout(&misnamed));
    let unknown = backfill("localhost", "required", "/nowhere");
    assert_eq!(unknown.status.code(), Some(69), "{}", stdout(&unknown));
    assert!(stdout(&unknown).contains("certificate"), "{}", stdout(&unknown));
    let preferred = backfill("127.0.0.1", "preferred", "/nowhere");
    assert!(preferred.status.success(), "{}", stdout(&preferred));
    let plain = backfill("127.0.0.1", "disabled", "/nowhere");
    assert_eq!(plain.status.code(), Some(69), "{}", stdout(&plain));
}

/// Ends the program when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_is_away_for_a_while_is_said_once_and_caught_up_with() {
    let (mut app, server) = (TestApp::new(), Own::new());
    server.script("start");
    let database = server.database().await;
    database.configure(&mut app.config, true);
    server.script("stop");

    let hour = text(&shared("data/gharchive/2016-01-01-1.json.gz"));
    let log = app.directory().join("log");
    let mut command = program(&app, &["replay", &hour]);
    let child =
        command.env("PULSEHUB__DISABLE__INTERVAL", "true").stderr(std::fs::File::create(&log).unwrap());
    let mut running = Running(child.spawn().unwrap());
    let lines = |what: &str| {
        std::fs::read_to_string(&log).unwrap().lines().filter(|line| line.contains(what)).count()
    };
    eventually("the fault in the log", async || lines("writing history failed") == 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(running.0.try_wait().unwrap().is_none(), "the process is up");
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(lines("writing history failed"), 1, "{said}");
    assert!(!said.contains(app.config.tidb.password.expose()), "{said}");

    server.script("start");
    let events = 11_000;
    let deadline = tokio::time::Instant::now() + 2 * PATIENCE;
    while database
        .number("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()")
        .await
        == 0
        || database.number("SELECT COUNT(*) FROM github_events").await < events
    {
        assert!(tokio::time::Instant::now() < deadline, "{}", std::fs::read_to_string(&log).unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eventually("that it is over", async || lines("writing history works again") == 1).await;
}
