//! Connections to TiDB: opened within a limit of time, kept while they are sound, never shared.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, Opts, OptsBuilder, SslOpts};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::error::{cause, elapsed, failure};
use super::{Settings, Tls, sql};
use crate::history::HistoryError;

/// How long a connection may take to be opened, TLS and authentication included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long stopping a statement may take.
const KILL: Duration = Duration::from_secs(10);
/// Connections for writing. More would only wait for each other: the rows of all of them go to the same end of the
/// table.
const WRITERS: usize = 4;
/// Idle longer, a connection is asked whether it is still there: firewalls forget silently.
const STALE: Duration = Duration::from_secs(30);
/// Where Linux distributions keep the certificates that the machine trusts, a company's own among them.
const SYSTEM_CERTIFICATES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Opens connections and keeps those that writers return.
pub struct Connections {
    plain: Opts,
    encrypted: Option<Opts>,
    tls: Tls,
    /// Under [`Tls::Preferred`]: the server has no TLS.
    no_tls: AtomicBool,
    address: String,
    writers: Semaphore,
    idle: Mutex<Vec<(Conn, Instant)>>,
}

/// A writer's connection. Dropped without [`Lease::give_back`] it is closed: whoever dropped it may have left an
/// answer unread.
pub struct Lease<'a> {
    /// The connection.
    pub conn: Conn,
    connections: &'a Connections,
    _permit: SemaphorePermit<'a>,
}

impl Connections {
    /// Connections as `settings` say; none is opened yet.
    pub fn new(settings: &Settings) -> Self {
        let host = settings.host.trim_start_matches('[').trim_end_matches(']');
        let password = (!settings.password.is_empty()).then(|| settings.password.clone());
        let builder = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(settings.port)
            .user(Some(settings.user.clone()))
            .pass(password)
            .db_name(Some(settings.db.clone()))
            // The server's own socket would be another server's behind a tunnel.
            .prefer_socket(false)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            // As many texts as there are sizes of upserts, with room.
            .stmt_cache_size(16)
            // The protocol's greeting says utf8mb4 too, which proxies in between need not pass on.
            .init(vec!["SET NAMES utf8mb4".to_owned(), sql(include_str!("../queries/session.sql"))]);
        let encrypted = match settings.tls {
            Tls::Disabled => None,
            tls => Some(builder.clone().ssl_opts(ssl(tls, settings.ca_file.clone())).into()),
        };
        Self {
            plain: builder.into(),
            encrypted,
            tls: settings.tls,
            no_tls: AtomicBool::new(false),
            address: format!("{}:{}", settings.host, settings.port),
            writers: Semaphore::new(WRITERS),
            idle: Mutex::default(),
        }
    }

    /// Host and port, for messages.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A connection of one's own.
    ///
    /// # Errors
    /// When it cannot be opened in time.
    pub async fn open(&self) -> Result<Conn, HistoryError> {
        match timeout(CONNECT, self.connect()).await {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(error)) => Err(self.connect_failure(error)),
            Err(_) => Err(self.unavailable(elapsed("no answer", CONNECT))),
        }
    }

    async fn connect(&self) -> Result<Conn, Error> {
        let Some(encrypted) = self.encrypted.as_ref().filter(|_| !self.no_tls.load(Ordering::Relaxed)) else {
            return Conn::new(self.plain.clone()).await;
        };
        match Conn::new(encrypted.clone()).await {
            Err(Error::Driver(DriverError::NoClientSslFlagFromServer)) if self.tls == Tls::Preferred => {
                self.no_tls.store(true, Ordering::Relaxed);
                tracing::warn!(address = self.address, "the history offers no TLS: going on without");
                Conn::new(self.plain.clone()).await
            }
            result => result,
        }
    }

    /// A connection for writing; waits while all are in use.
    ///
    /// # Errors
    /// When one has to be opened and cannot be.
    pub async fn lease(&self) -> Result<Lease<'_>, HistoryError> {
        // Never closed, so that there is no error.
        let permit = self.writers.acquire().await.map_err(|error| self.unavailable(error.into()))?;
        loop {
            let idle = self.idle().pop();
            let conn = match idle {
                None => self.open().await?,
                Some((conn, since)) if since.elapsed() < STALE => conn,
                Some((mut conn, _)) => match timeout(CONNECT, conn.ping()).await {
                    Ok(Ok(())) => conn,
                    _ => continue,
                },
            };
            return Ok(Lease { conn, connections: self, _permit: permit });
        }
    }

    /// The error of a connection that could not be opened.
    fn connect_failure(&self, error: Error) -> HistoryError {
        match failure("connect", &self.address, error) {
            HistoryError::Failed { source, .. } => self.unavailable(source),
            error => error,
        }
    }

    fn unavailable(&self, source: Box<dyn std::error::Error + Send + Sync>) -> HistoryError {
        HistoryError::Unavailable { address: self.address.clone(), source }
    }

    /// Forgets idle connections: where one was lost, so were the others.
    pub fn forget_idle(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Conn, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops what connection `id` is doing on the server, so that nobody computes what nobody waits for.
    pub async fn kill_query(&self, id: u32) {
        let killed = async {
            let mut conn = self.open().await?;
            let killed = conn.query_drop(format!("KILL QUERY {id}")).await;
            killed.map_err(|error| failure("stop a statement", &self.address, error))?;
            conn.disconnect()
                .await
                .map_err(|error| HistoryError::Failed { action: "disconnect", source: cause(error) })
        };
        let killed = timeout(KILL, killed).await;
        if let Ok(Err(error)) = killed {
            tracing::warn!(error = %crate::error_chain(&error), "cannot stop a statement that runs too long");
        }
    }
}

impl Lease<'_> {
    /// Keeps the connection for the next writer: every answer was read.
    pub fn give_back(self) {
        let Self { conn, connections, _permit } = self;
        connections.idle().push((conn, Instant::now()));
    }
}

fn ssl(tls: Tls, ca_file: Option<PathBuf>) -> SslOpts {
    // Encrypted where it can be, but nobody promised a certificate: as MySQL's own PREFERRED.
    if tls == Tls::Preferred {
        let options = SslOpts::default().with_danger_accept_invalid_certs(true);
        return options.with_danger_skip_domain_validation(true);
    }
    let named = std::env::var("SSL_CERT_FILE").ok();
    let system = SYSTEM_CERTIFICATES.iter().map(|path| (*path).to_owned());
    let found = named.into_iter().chain(system).find(|path| Path::new(path).exists());
    // A file that was named and is not there is an error when connecting, not a reason to trust others.
    let certificates = ca_file.or_else(|| found.map(PathBuf::from));
    SslOpts::default().with_root_certs(certificates.into_iter().map(Into::into).collect())
}
