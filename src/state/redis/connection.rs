//! Connections to Redis: a session is a set of them that the guard has let through, renewed when one breaks.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError,
    TlsCertificates,
};
use tokio::sync::{Mutex, watch};

use super::error::state_error;
use super::keys::Keys;
use super::scripts::{Arguments, Script, Scripts};
use super::{Settings, guard, start};
use crate::clock::Clock;
use crate::state::StateError;

/// How long a connection may take to come about, with its login.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take. Longer than any call takes by far, so that a hanging server is noticed.
const RESPONSE: Duration = Duration::from_secs(10);

/// How often a cluster may send a session on to another node.
const REDIRECTS: usize = 3;

/// Connections to one run of one store.
pub struct Session {
    /// The epoch that every script has to find.
    pub epoch: String,
    /// The server's run.
    pub run_id: String,
    /// Names run and epoch in receipts.
    pub incarnation: u64,
    /// Whether the server can say that a write reached its disk.
    pub waitaof: bool,
    /// For what changes the counters.
    pub writes: MultiplexedConnection,
    /// For what only reads: a year of days must not stand before a batch.
    pub reads: MultiplexedConnection,
    /// For `WAITAOF`, which lets a connection stand still for up to a second.
    pub settles: MultiplexedConnection,
    scripts: Scripts,
}

impl Session {
    /// Calls a script on one of the session's connections.
    pub async fn call(
        &self,
        connection: &MultiplexedConnection,
        script: Script,
        arguments: &Arguments,
    ) -> Result<redis::Value, RedisError> {
        self.scripts.call(&mut connection.clone(), script, &self.epoch, arguments).await
    }
}

/// The way to the store: one session at a time, shared by all.
pub struct Link {
    address: ConnectionInfo,
    ca_file: Option<PathBuf>,
    keys: Keys,
    clock: Arc<dyn Clock>,
    /// Held only to look at or to replace, never while waiting.
    session: StdMutex<Option<Arc<Session>>>,
    /// Held while a session is opened.
    opening: Mutex<()>,
    /// The last epoch that was seen. Another one means that the store was emptied or replaced.
    known: StdMutex<Option<String>>,
    warnings: guard::Warnings,
    /// How often another store was found.
    emptied: watch::Sender<u64>,
}

impl Link {
    /// The way to the store in `settings`; nothing is connected yet.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, StateError> {
        Ok(Self {
            address: address(settings).map_err(state_error)?,
            ca_file: settings.ca_file.clone(),
            keys: Keys::new(settings.prefix.clone()),
            clock,
            session: StdMutex::default(),
            opening: Mutex::default(),
            known: StdMutex::default(),
            warnings: guard::Warnings::default(),
            emptied: watch::Sender::default(),
        })
    }

    /// The session, renewed where there is none.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses, or is not yet fit to be written to.
    pub async fn session(&self) -> Result<Arc<Session>, StateError> {
        if let Some(session) = self.current() {
            return Ok(session);
        }
        let _opening = self.opening.lock().await;
        if let Some(session) = self.current() {
            return Ok(session);
        }
        let opened = Arc::new(self.open().await.map_err(state_error)?);
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened.clone());
        Ok(opened)
    }

    fn current(&self) -> Option<Arc<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Drops `session`, so that the next one to ask gets another.
    pub fn drop_session(&self, session: &Arc<Session>) {
        let mut current = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
            *current = None;
        }
    }

    /// How often this process found another store than the one that it knew.
    pub fn emptied(&self) -> watch::Receiver<u64> {
        self.emptied.subscribe()
    }

    /// Unix milliseconds.
    pub fn now(&self) -> i64 {
        self.clock.unix_millis()
    }

    async fn open(&self) -> Result<Session, RedisError> {
        let (client, mut writes) = self.connect().await?;
        let info = guard::pass(&mut writes, &self.warnings).await?;
        let scripts = Scripts::load(&mut writes).await?;
        let epoch = start::start(&mut writes, &scripts, &self.keys, self.clock.unix_seconds()).await?;
        self.compare(&epoch);
        let mut hasher = DefaultHasher::new();
        (&info.run_id, &epoch).hash(&mut hasher);
        Ok(Session {
            epoch,
            run_id: info.run_id,
            incarnation: hasher.finish(),
            waitaof: info.append_only && guard::has_waitaof(&mut writes).await?,
            writes,
            reads: connection(&client).await?,
            settles: connection(&client).await?,
            scripts,
        })
    }

    /// Connects to the node that has the keys: with a hash tag in the prefix, all are on one.
    async fn connect(&self) -> Result<(Client, MultiplexedConnection), RedisError> {
        let mut address = self.address.clone();
        let mut redirects = 0;
        loop {
            let client = self.client(address.clone()).await?;
            let mut opened = connection(&client).await?;
            let probe: Result<Option<String>, _> =
                redis::cmd("GET").arg(self.keys.epoch()).query_async(&mut opened).await;
            let Err(error) = probe else { return Ok((client, opened)) };
            match error.redirect_node() {
                Some((node, _)) if redirects < REDIRECTS => address = moved(address, node),
                _ => return Err(error),
            }
            redirects += 1;
        }
    }

    /// A client of `address`. The file of authorities is read anew each time, so that a renewed one needs no restart.
    async fn client(&self, address: ConnectionInfo) -> Result<Client, RedisError> {
        let Some(path) =
            self.ca_file.as_ref().filter(|_| matches!(address.addr(), ConnectionAddr::TcpTls { .. }))
        else {
            return Client::open(address);
        };
        let read = tokio::fs::read(path).await.map_err(|error| {
            let detail = format!("{}: {error}", path.display());
            RedisError::from((ErrorKind::InvalidClientConfig, "cannot read the file of tls.ca", detail))
        });
        Client::build_with_tls(address, TlsCertificates { client_tls: None, root_cert: Some(read?) })
    }

    fn compare(&self, epoch: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Behind the dot stands how often counts were replaced from history.
        let store = |epoch: &str| epoch.split('.').next().map(str::to_owned);
        if known.as_deref().is_some_and(|known| store(known) != store(epoch)) {
            tracing::error!(
                known = known.as_deref(),
                found = epoch,
                "redis was emptied or replaced: its counters are gone"
            );
            self.emptied.send_modify(|times| *times += 1);
        }
        *known = Some(epoch.to_owned());
    }
}

async fn connection(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(RESPONSE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// `host:port` or a URL; user, password and database of the settings go before those in the URL.
fn address(settings: &Settings) -> Result<ConnectionInfo, RedisError> {
    let host = &settings.host;
    let url = if host.contains("://") { host.clone() } else { format!("redis://{host}") };
    let info = url.as_str().into_connection_info()?;
    let mut login = info.redis_settings().clone();
    if let Some(user) = &settings.user {
        login = login.set_username(user);
    }
    if !settings.password.is_empty() {
        login = login.set_password(&settings.password);
    }
    if settings.db != 0 {
        login = login.set_db(i64::from(settings.db));
    }
    Ok(info.set_redis_settings(login))
}

/// The address with the node that a cluster named; a node that does not know its own name leaves the host empty.
fn moved(address: ConnectionInfo, node: &str) -> ConnectionInfo {
    let (host, port) = node.rsplit_once(':').unwrap_or((node, ""));
    let place = |old_host: String, old_port: u16| {
        let host = if host.is_empty() { old_host } else { host.to_owned() };
        (host, port.parse().unwrap_or(old_port))
    };
    let to = match address.addr().clone() {
        ConnectionAddr::TcpTls { host, port, insecure, tls_params } => {
            let (host, port) = place(host, port);
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        ConnectionAddr::Tcp(host, port) => {
            let (host, port) = place(host, port);
            ConnectionAddr::Tcp(host, port)
        }
        other => other,
    };
    address.set_addr(to)
}
