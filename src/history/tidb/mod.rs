//! History in TiDB, or anything else that speaks MySQL's protocol.
//!
//! `connection` opens and keeps connections, `error` says what went wrong; `schema` knows the table, `writer` fills
//! it, `seed` streams what it holds, `recount` runs the operator's statements over it. Statements of our own are in `../queries`.

mod connection;
mod error;
mod recent;
mod recount;
mod schema;
mod seed;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};

use crate::clock::Clock;
use crate::domain::github::row::Row;
use crate::event::Day;
use crate::history::{History, HistoryError, SeedPart};
use crate::retry::Backoff;
use crate::state::Base;
use connection::Connections;
use error::{elapsed, failure, is_other_table};
use schema::Widths;
use writer::WriteError;

/// How often a call is tried before its error is handed up; whoever waits for the effect tries on.
const ATTEMPTS: u32 = 4;
/// Not again after so long: a server that does not answer is to be said soon.
const MOMENT: Duration = Duration::from_secs(5);

/// Where TiDB is and what is asked of it.
#[derive(Clone)]
pub struct Settings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password; empty for none.
    pub password: String,
    /// Database.
    pub db: String,
    /// Encryption.
    pub tls: Tls,
    /// PEM file of the authorities that may have signed the certificate; without it the machine's.
    pub ca_file: Option<PathBuf>,
    /// The operator's statement for the days of a year.
    pub events_daily: String,
    /// The operator's statement for the sums of a year.
    pub yearly: String,
    /// Whether the table may be made and written.
    pub write: bool,
    /// How long one of the operator's statements may run; [`STATEMENT_LIMIT`] outside tests.
    pub statement_limit: Duration,
}

/// A year of several hundred million rows takes minutes, an endless statement takes for ever.
pub const STATEMENT_LIMIT: Duration = Duration::from_secs(300);

/// Encryption of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// With a certificate that is valid for the host.
    Required,
    /// Where the server offers it, whatever its certificate.
    Preferred,
    /// None.
    Disabled,
}

/// History in TiDB.
pub struct TidbHistory {
    connections: Connections,
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// What the table takes; absent until it was looked at.
    table: Mutex<Option<Widths>>,
}

impl TidbHistory {
    /// A history as `settings` say. It connects when it is first asked, so that a TiDB that is away keeps nobody
    /// from starting.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self { connections: Connections::new(&settings), settings, clock, table: Mutex::default() }
    }

    /// The table's widths; makes the table where it is missing.
    async fn table(&self) -> Result<Widths, HistoryError> {
        let mut table = self.table.lock().await;
        if let Some(widths) = *table {
            return Ok(widths);
        }
        let address = self.connections.address();
        let mut lease = self.connections.lease().await?;
        let found = tokio::time::timeout(self.settings.statement_limit, schema::ensure(&mut lease.conn));
        let found = found.await.map_err(|_| HistoryError::Failed {
            action: "prepare the table github_events",
            source: elapsed("no answer", self.settings.statement_limit),
        })?;
        let found = found.map_err(|error| failure("prepare the table github_events", address, error))?;
        lease.give_back();
        let widths = found.widths()?;
        *table = Some(widths);
        Ok(widths)
    }

    async fn write_once(&self, rows: &[Row]) -> Result<(), HistoryError> {
        let widths = self.table().await?;
        let mut lease = self.connections.lease().await?;
        let address = self.connections.address();
        match writer::write(&mut lease.conn, rows, &widths).await {
            Ok(()) => {
                lease.give_back();
                Ok(())
            }
            Err(WriteError::Timeout(limit)) => Err(HistoryError::Unavailable {
                address: address.to_owned(),
                source: elapsed("no answer to a write", limit),
            }),
            Err(WriteError::Server(error)) => {
                // Before the lock: its holder may be waiting for a connection.
                drop(lease);
                if is_other_table(&error) {
                    *self.table.lock().await = None;
                }
                Err(failure("write rows", address, error))
            }
        }
    }

    /// Repeats what fails for a moment only.
    async fn retrying<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, HistoryError>
    where
        F: Future<Output = Result<T, HistoryError>>,
    {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let started = std::time::Instant::now();
        loop {
            match attempt().await {
                Err(error)
                    if error.is_retryable()
                        && backoff.failures() + 1 < ATTEMPTS
                        && started.elapsed() < MOMENT =>
                {
                    if matches!(error, HistoryError::Unavailable { .. }) {
                        self.connections.forget_idle();
                    }
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                result => return result,
            }
        }
    }
}

#[async_trait]
impl History for TidbHistory {
    async fn recount(&self, year: i16) -> Result<Base, HistoryError> {
        if self.settings.write {
            // The operator's statements would not find a table that nobody has written yet.
            match self.retrying(|| self.table()).await {
                // Where it takes no writes for now, there is still something to be read.
                Ok(_) | Err(HistoryError::ReadOnly { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(moment) = recount::moment_in(year, self.clock.unix_seconds()) else {
            return Ok(Base::default());
        };
        self.retrying(|| recount::recount(&self.connections, &self.settings, year, moment)).await
    }

    async fn seed(&self, year: i16, open: &[Day], parts: mpsc::Sender<SeedPart>) -> Result<(), HistoryError> {
        if self.settings.write {
            match self.retrying(|| self.table()).await {
                // One that cannot be written, or not now, can be read; where it is missing, reading says so.
                Ok(_) | Err(HistoryError::Table { .. } | HistoryError::ReadOnly { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        // Not retried here: parts of it are with the state already.
        seed::stream(&self.connections, &self.settings, year, open, parts).await
    }

    async fn pull_requests(
        &self,
        from: i64,
        most: usize,
        parts: mpsc::Sender<Vec<Row>>,
    ) -> Result<(), HistoryError> {
        recent::stream(&self.connections, &self.settings, from, most, parts).await
    }

    async fn write(&self, rows: &[Row]) -> Result<(), HistoryError> {
        if !self.settings.write {
            return Err(HistoryError::NotWritable);
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.retrying(|| self.write_once(rows)).await
    }
}

/// A statement without the lines that explain it: the server need not read them with every call.
fn sql(file: &str) -> String {
    let lines = file.lines().filter(|line| !line.starts_with("--"));
    lines.collect::<Vec<_>>().join("\n")
}
