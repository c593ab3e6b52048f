//! A database of one's own on the MariaDB that stands in for TiDB.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use pulsehub::config::{Address, Config, Secret};

/// A database that nobody else uses. It stays when the test ends; the server goes with its directory.
pub struct Database {
    opts: Opts,
    name: String,
}

/// The server that `make test` started.
fn server() -> Opts {
    let url = std::env::var("PULSEHUB_TEST_MYSQL").expect(
        "PULSEHUB_TEST_MYSQL is not set: `make test` starts a MariaDB for this test, or name one as \
         mysql://user:password@127.0.0.1:port/database",
    );
    Opts::from_url(&url).unwrap()
}

impl Database {
    /// An empty one on the shared server.
    pub async fn new() -> Self {
        Self::on(server()).await
    }

    /// An empty one on `server`.
    pub async fn on(server: Opts) -> Self {
        let name = format!("t{}_{}", std::process::id(), fastrand::u64(..));
        let mut conn = Conn::new(OptsBuilder::from_opts(server.clone()).prefer_socket(false)).await.unwrap();
        conn.query_drop(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"))
            .await
            .unwrap();
        let opts = OptsBuilder::from_opts(server).db_name(Some(name.clone())).prefer_socket(false).into();
        Self { opts, name }
    }

    /// A connection to it.
    pub async fn connect(&self) -> Conn {
        Conn::new(self.opts.clone()).await.unwrap()
    }

    /// Runs statements.
    pub async fn run(&self, statements: &[&str]) {
        let mut conn = self.connect().await;
        for statement in statements {
            conn.query_drop(*statement).await.unwrap();
        }
    }

    /// The first value of a statement.
    pub async fn value(&self, statement: &str) -> Option<String> {
        let mut conn = self.connect().await;
        let row: Option<mysql_async::Row> = conn.query_first(statement).await.unwrap();
        row.and_then(|row| row.get_opt::<Option<String>, _>(0)).and_then(Result::ok).flatten()
    }

    /// The first value of a statement, as a number.
    pub async fn number(&self, statement: &str) -> u64 {
        self.value(statement).await.and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// Makes it the history of `config`, written or not.
    pub fn configure(&self, config: &mut Config, write: bool) {
        config.tidb.host = Some(Address::from(self.opts.ip_or_hostname().to_owned()));
        config.tidb.port = self.opts.tcp_port();
        config.tidb.user = self.opts.user().unwrap_or_default().to_owned();
        config.tidb.password = Secret::from(self.opts.pass().unwrap_or_default());
        config.tidb.db = self.name.clone();
        config.history.write = Some(write);
    }

    /// What a history that uses it is set up with: the default configuration's statements.
    pub fn settings(&self, write: bool) -> pulsehub::history::tidb::Settings {
        let mut config = Config::builtin().unwrap();
        self.configure(&mut config, write);
        pulsehub::history::tidb::Settings {
            host: self.opts.ip_or_hostname().to_owned(),
            port: config.tidb.port,
            user: config.tidb.user,
            password: config.tidb.password.expose().to_owned(),
            db: config.tidb.db,
            tls: pulsehub::history::tidb::Tls::Disabled,
            ca_file: None,
            events_daily: config.tidb.sql.events_daily,
            yearly: config.tidb.sql.yearly,
            write,
            statement_limit: pulsehub::history::tidb::STATEMENT_LIMIT,
        }
    }
}
