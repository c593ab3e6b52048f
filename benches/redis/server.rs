//! A Redis of the bench's own, and what it says about its calls and its memory.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;

use crate::Result;

/// Calls above this many microseconds are noted one by one.
const NOTED_MICROS: u64 = 1_000;

/// A server; it ends with the value.
pub struct Server {
    host: String,
    child: Child,
    _directory: tempfile::TempDir,
}

/// The server's own time in `EVALSHA` since it was last asked.
pub struct Calls {
    /// How many there were.
    pub count: u64,
    /// Their sum in microseconds.
    pub micros: f64,
    /// Those above a millisecond, in microseconds, the longest first.
    pub slow: Vec<i64>,
}

impl Server {
    /// Starts one with an append-only file, and connects to it.
    pub async fn start() -> Result<(Self, MultiplexedConnection)> {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let directory = tempfile::tempdir()?;
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
            .arg("--dir")
            .arg(directory.path())
            .args(["--slowlog-log-slower-than", &NOTED_MICROS.to_string(), "--slowlog-max-len", "100000"])
            .stdout(Stdio::null())
            .spawn()?;
        let server = Self { host: format!("127.0.0.1:{port}"), child, _directory: directory };
        while tokio::net::TcpStream::connect(&server.host).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let client = redis::Client::open(format!("redis://{}", server.host))?;
        Ok((server, client.get_multiplexed_async_connection().await?))
    }

    /// `host:port`.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Calls {
    /// Reads what the server noted, and makes it begin anew.
    pub async fn take(redis: &mut MultiplexedConnection) -> Result<Self> {
        let stats: String = redis::cmd("INFO").arg("commandstats").query_async(redis).await?;
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).unwrap_or_default();
        let fields: HashMap<&str, &str> =
            line.trim_end().split(',').filter_map(|pair| pair.split_once('=')).collect();
        let field = |name: &str| fields.get(name).copied().unwrap_or("0");
        let noted: Vec<(u64, u64, i64, Vec<Value>)> = {
            let entries: Vec<Vec<Value>> =
                redis::cmd("SLOWLOG").arg("GET").arg(-1).query_async(redis).await?;
            let entry = |mut entry: Vec<Value>| {
                // Client's address and name follow.
                entry.truncate(4);
                redis::FromRedisValue::from_redis_value(Value::Array(entry)).ok()
            };
            entries.into_iter().filter_map(entry).collect()
        };
        let is_call = |arguments: &[Value]| matches!(arguments.first(), Some(Value::BulkString(name)) if name.eq_ignore_ascii_case(b"EVALSHA"));
        let mut slow: Vec<i64> =
            noted.into_iter().filter(|entry| is_call(&entry.3)).map(|entry| entry.2).collect();
        slow.sort_unstable_by(|one, other| other.cmp(one));
        let calls = Self { count: field("calls").parse()?, micros: field("usec").parse()?, slow };
        redis::cmd("CONFIG").arg("RESETSTAT").query_async::<()>(redis).await?;
        redis::cmd("SLOWLOG").arg("RESET").query_async::<()>(redis).await?;
        Ok(calls)
    }

    /// How long the call took that only one in `calls` exceeded, for people.
    pub fn exceeded_by_one_in(&self, calls: u64) -> String {
        let place = (self.count / calls) as usize;
        match self.slow.get(place) {
            Some(&micros) => format!("{:.1} ms", micros as f64 / 1e3),
            None => "< 1 ms".to_owned(),
        }
    }

    /// The slowest call, for people.
    pub fn slowest(&self) -> String {
        self.exceeded_by_one_in(u64::MAX)
    }
}

/// What a server takes, in bytes.
pub struct Memory {
    /// By its own account.
    pub used: f64,
    /// By the system's.
    pub resident: f64,
}

/// What the server takes now.
pub async fn memory(redis: &mut MultiplexedConnection) -> Result<Memory> {
    let info: String = redis::cmd("INFO").arg("memory").query_async(redis).await?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim_end().parse().ok());
    match (field("used_memory:"), field("used_memory_rss:")) {
        (Some(used), Some(resident)) => Ok(Memory { used, resident }),
        _ => Err("INFO memory cannot be read".into()),
    }
}
