//! What must hold of a server before anything is applied to it, each learned from a Redis 7.0.15 that was killed.
//!
//! An append-only file torn inside a transaction is cut at the next start, but what is appended then can be read
//! differently at the start after that: a set keeps a member whose count is gone. So after a start nothing is applied
//! until the file has been rewritten. Scripts are loaded only after that: to a worker that has not noticed a restart,
//! the server answers `NOSCRIPT`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, Value};
use tokio::time::{Instant, sleep};

/// How long one attempt waits for a rewrite; the caller tries again, so that a shutdown is never held up for longer.
const REWRITE: Duration = Duration::from_secs(10);

/// Pause between two looks at a rewrite.
const LOOK: Duration = Duration::from_millis(20);

/// What has been said already and need not be said at every connection.
#[derive(Debug, Default)]
pub struct Warnings {
    append_only: AtomicBool,
}

/// What `INFO server persistence` says, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    /// Names the run of the server.
    pub run_id: String,
    /// Whether it writes an append-only file.
    pub append_only: bool,
    /// Whether the last write of that file succeeded.
    pub write_ok: bool,
    /// Bytes that are not yet written to that file: while a sync takes long, Redis holds them back for up to 2 s.
    pub unwritten: u64,
    /// Syncs of the file that have not ended.
    pub pending_syncs: u64,
    rewrites: u64,
    rewriting: bool,
    rewrite_ok: bool,
}

impl Info {
    /// Asks the server.
    ///
    /// # Errors
    /// When it cannot be asked or refuses.
    pub async fn read(connection: &mut MultiplexedConnection) -> Result<Self, RedisError> {
        let text: String =
            redis::cmd("INFO").arg("server").arg("persistence").query_async(connection).await?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let fields: HashMap<&str, &str> =
            text.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        let field = |name: &str| fields.get(name).copied().unwrap_or_default();
        let number = |name: &str| field(name).parse().unwrap_or(0);
        Self {
            run_id: field("run_id").to_owned(),
            append_only: field("aof_enabled") == "1",
            write_ok: field("aof_last_write_status") == "ok",
            unwritten: number("aof_buffer_length"),
            pending_syncs: number("aof_pending_bio_fsync"),
            rewrites: number("aof_rewrites"),
            rewriting: number("aof_rewrite_in_progress") + number("aof_rewrite_scheduled") > 0,
            rewrite_ok: field("aof_last_bgrewrite_status") == "ok",
        }
    }

    /// Whether the append-only file holds only what this run read from it or wrote. `aof_rewrites` counts those that
    /// were begun, so the rest matters as much.
    fn is_clean(&self) -> bool {
        !self.append_only || (self.rewrites > 0 && !self.rewriting && self.rewrite_ok)
    }
}

/// Waits until the server may be written to.
///
/// # Errors
/// When it cannot be asked, refuses, or is not fit in time.
pub async fn pass(connection: &mut MultiplexedConnection, warnings: &Warnings) -> Result<Info, RedisError> {
    let deadline = Instant::now() + REWRITE;
    let mut asked = false;
    loop {
        let info = Info::read(connection).await?;
        if !info.append_only && !warnings.append_only.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "redis runs without appendonly: whatever it held is lost when it stops, also what was settled"
            );
        }
        if info.is_clean() {
            return Ok(info);
        }
        if !info.rewriting {
            if asked && !info.rewrite_ok {
                return Err(RedisError::from((
                    ErrorKind::Extension,
                    "the append-only file cannot be rewritten",
                )));
            }
            if !asked {
                asked = true;
                rewrite(connection).await?;
            }
        }
        if Instant::now() > deadline {
            return Err(RedisError::from((
                ErrorKind::Extension,
                "the append-only file is still being rewritten",
            )));
        }
        sleep(LOOK).await;
    }
}

async fn rewrite(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    let asked: Result<Value, RedisError> = redis::cmd("BGREWRITEAOF").query_async(connection).await;
    match asked {
        // Another process was faster.
        Err(error) if error.detail().is_some_and(|detail| detail.contains("in progress")) => Ok(()),
        result => result.map(drop),
    }
}

/// Whether the server has `WAITAOF` (Redis 7.2).
///
/// # Errors
/// When it cannot be asked.
pub async fn has_waitaof(connection: &mut MultiplexedConnection) -> Result<bool, RedisError> {
    let known: Vec<Value> = redis::cmd("COMMAND").arg("INFO").arg("WAITAOF").query_async(connection).await?;
    Ok(known.iter().any(|command| *command != Value::Nil))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_that_was_begun_is_not_one_that_ended() {
        let text = "run_id:ab\r\naof_enabled:1\r\naof_rewrites:1\r\naof_rewrite_in_progress:1\r\n\
                    aof_rewrite_scheduled:0\r\naof_last_bgrewrite_status:ok\r\naof_last_write_status:ok\r\n";
        let info = Info::parse(text);
        assert!(info.append_only && info.write_ok && !info.is_clean());
        assert_eq!(info.run_id, "ab");
        assert!(Info::parse(&text.replace("in_progress:1", "in_progress:0")).is_clean());
        assert!(!Info::parse(&text.replace("rewrites:1", "rewrites:0")).is_clean());
        assert!(Info::parse("aof_enabled:0").is_clean());
    }
}
