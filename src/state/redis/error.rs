//! What Redis says when something is wrong, in words for people and in what to do about it.

use std::error::Error;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::state::StateError;

/// What the failure of a call means for the session that it was made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The server has forgotten the scripts or has another epoch: the guard has to run again, then the call.
    Stale,
    /// The connection is of no more use.
    Broken,
    /// The session is fine, the server refuses.
    Refused,
}

/// The word that a server's error begins with.
pub fn code(error: &RedisError) -> &str {
    error.code().unwrap_or_default()
}

/// What a failed call means.
pub fn fault(error: &RedisError) -> Fault {
    match (error.kind(), code(error)) {
        (ErrorKind::Server(ServerErrorKind::NoScript), _) | (_, "STALE") => Fault::Stale,
        // A node that moved, or that became a replica: connecting again finds the right one.
        (ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::ReadOnly), _) => Fault::Broken,
        (ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed, _) => Fault::Refused,
        _ => Fault::Broken,
    }
}

/// What a failed call is called.
pub fn state_error(error: RedisError) -> StateError {
    if code(&error) == "UNSEEDED"
        && let Some(year) = error.detail().and_then(|detail| detail.trim().parse().ok())
    {
        return StateError::Unseeded { year };
    }
    match reason(&error) {
        Some(reason) if blames_data(&error) => StateError::Unfit { reason, source: error.into() },
        Some(reason) => StateError::Refused { reason, source: error.into() },
        None => StateError::Unreachable { store: "Redis at redis.host", source: error.into() },
    }
}

/// Whether a script met a value that it cannot work with: other batches touch other keys.
fn blames_data(error: &RedisError) -> bool {
    match code(error) {
        "WRONGTYPE" | "MALFORMED" => true,
        // A fault in a script itself shows with some data only.
        "ERR" => error.detail().is_some_and(|detail| detail.contains("user_script")),
        _ => false,
    }
}

/// Why the server refuses; `None` when it could not be asked.
fn reason(error: &RedisError) -> Option<&'static str> {
    let reason = match code(error) {
        "OOM" => "Redis has reached its maxmemory and takes no writes",
        "READONLY" => "Redis is a read-only replica: redis.host must name the primary",
        "LOADING" => "Redis is still loading its data",
        "NOREPLICAS" => "Redis has fewer replicas than its min-replicas-to-write and takes no writes",
        "MISCONF" => "Redis cannot write to its disk and takes no writes",
        "NOAUTH" => "Redis wants a password: set redis.password",
        "WRONGPASS" => "Redis refuses the password: check redis.user and redis.password",
        "NOPERM" => "Redis does not allow redis.user what pulsehub needs",
        "WRONGTYPE" => {
            "a key that pulsehub uses holds another type of value: give pulsehub a redis.prefix of its own"
        }
        "MALFORMED" => "a counter in Redis is no number",
        "AGAIN" => "another program still writes to the hashes that are being taken over",
        "STALE" | "NOSCRIPT" => "Redis restarted or was emptied, and again while it was being checked",
        "BUSY" => "Redis is busy with a script of somebody else",
        "CLUSTERDOWN" => "the Redis Cluster is down",
        "MOVED" | "ASK" | "CROSSSLOT" | "TRYAGAIN" => {
            "the Redis Cluster cannot serve the keys: redis.prefix needs a hash tag such as {gh}:"
        }
        _ => match error.kind() {
            ErrorKind::AuthenticationFailed => "Redis refuses the login: check redis.user and redis.password",
            ErrorKind::InvalidClientConfig => "redis.host or tls.ca cannot be used",
            ErrorKind::Server(_) | ErrorKind::Extension => "Redis refuses a command",
            _ => return tls_error(error).map(tls_reason),
        },
    };
    Some(reason)
}

/// What went wrong with encryption, if that is what went wrong: it stands two errors below the client's own.
fn tls_error(error: &RedisError) -> Option<&rustls::Error> {
    let cause = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

fn tls_reason(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(_) => {
            "the certificate of Redis is not trusted or not for this name: check redis.host and tls.ca"
        }
        rustls::Error::InvalidMessage(_) => "Redis speaks no TLS there: redis.host says rediss://",
        _ => "Redis refuses the encryption: check redis.host",
    }
}
