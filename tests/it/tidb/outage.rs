//! A history that is away for a while, and one that is not who it should be.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{EVENTS, known_days, program, stdout};
use crate::support::mysql::Database;
use crate::support::{PATIENCE, TestApp, Unanswered, eventually, shared, text, twelve_hours};

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
    let mut named = program(&app, &["backfill", "--year", "2016"]);
    named.env("PULSEHUB__TIDB__HOST", "localhost").env("PULSEHUB__TIDB__TLS", "required");
    let named = named.env("PULSEHUB__TLS__CA", &certificate).output().unwrap();
    assert!(named.status.success(), "{}", stdout(&named));
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
    eventually("the fault in the log", async || lines("seeding from history failed") == 1).await;
    let place = Unanswered::listen(server.port).await;
    place.tried(5).await;
    place.close().await;
    assert!(running.0.try_wait().unwrap().is_none(), "the process is up");
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(lines("seeding from history failed"), 1, "{said}");
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
    eventually("that it is over", async || lines("seeding from history works again") == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_dies_while_it_is_written_has_every_row_in_the_end() {
    let (mut app, server) = (TestApp::new(), Own::new());
    server.script("start");
    let database = server.database().await;
    database.configure(&mut app.config, true);
    let log = app.directory().join("log");
    let mut arguments = vec!["replay".to_owned(), "--exit".to_owned()];
    arguments.extend(twelve_hours());
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut running = Running(
        program(&app, &arguments)
            .env("PULSEHUB__DISABLE__INTERVAL", "true")
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap(),
    );
    let count = async || {
        let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()";
        if database.number(tables).await == 0 {
            return 0;
        }
        database.number("SELECT COUNT(*) FROM github_events").await
    };
    eventually("some rows", async || count().await > 5_000).await;
    let pid = std::fs::read_to_string(server.directory.path().join("mariadb.pid")).unwrap();
    assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    let said = || std::fs::read_to_string(&log).unwrap();
    eventually("the fault in the log", async || said().contains("writing history failed")).await;
    assert!(running.0.try_wait().unwrap().is_none(), "it was still writing: {}", said());
    server.script("start");
    eventually("the program's end", async || running.0.try_wait().unwrap().is_some()).await;
    assert!(running.0.wait().unwrap().success(), "{}", said());
    assert_eq!(count().await, EVENTS);
    let faults = said().lines().filter(|line| line.contains("writing history failed")).count();
    assert!(faults <= 5, "{}", said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_history_pauses_applying_and_is_caught_up_with() {
    let (mut app, server) = (TestApp::new(), Own::new());
    // Whoever may do everything may write to a read-only server, too.
    let users = app.directory().join("users.sql");
    let sql = "CREATE USER 'hub'@'127.0.0.1' IDENTIFIED BY 'sesame';\n\
               GRANT SELECT, INSERT, UPDATE, CREATE ON *.* TO 'hub'@'127.0.0.1';\n";
    std::fs::write(&users, sql).unwrap();
    server.script_with("start", &format!("--init-file={} --general-log --log-output=TABLE", users.display()));
    let database = server.database().await;
    database.configure(&mut app.config, true);
    app.config.tidb.user = "hub".to_owned();
    app.config.tidb.password = "sesame".into();
    let hours = twelve_hours();
    app.replay(hours.iter().take(1).cloned()).await;
    let rows = async || database.number("SELECT COUNT(*) FROM github_events").await;
    let before = rows().await;

    database.run(&["SET GLOBAL read_only = 1"]).await;
    // What each attempt begins with.
    let attempts = "SELECT COUNT(*) FROM mysql.general_log WHERE user_host LIKE 'hub%' AND argument LIKE 'CREATE TABLE%'";
    let tried = database.number(attempts).await;
    let log = app.directory().join("log");
    let mut command = program(&app, &["replay", "--exit", &hours[1]]);
    let child =
        command.env("PULSEHUB__DISABLE__INTERVAL", "true").stderr(std::fs::File::create(&log).unwrap());
    let mut running = Running(child.spawn().unwrap());
    let said = || std::fs::read_to_string(&log).unwrap();
    let lines = |what: &str| said().lines().filter(|line| line.contains(what)).count();
    eventually("the fault in the log", async || lines("is read-only") == 1).await;
    // Eleven batches wait, and one of them tries.
    let begun = std::time::Instant::now();
    eventually("more attempts", async || database.number(attempts).await >= tried + 14).await;
    assert!(begun.elapsed() > Duration::from_secs(1), "so many attempts in {:?}", begun.elapsed());
    assert!(running.0.try_wait().unwrap().is_none(), "it waits: {}", said());
    assert_eq!((rows().await, lines("ERROR")), (before, 1), "{}", said());
    database.run(&["SET GLOBAL read_only = 0"]).await;
    eventually("the program's end", async || running.0.try_wait().unwrap().is_some()).await;
    assert!(running.0.wait().unwrap().success(), "{}", said());
    assert_eq!(lines("writing history works again"), 1, "{}", said());
    assert!(rows().await > before + 10_000);
}
