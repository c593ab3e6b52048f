//! Closing of days: their sets are kept only while events still come for them.

use std::collections::HashMap;

use redis::RedisError;
use tokio::sync::Mutex;

use super::connection::Session;
use super::keys::Keys;
use super::scripts::{Arguments, Script};

/// A day closes this long after the last event that was applied to it: 8 days, in seconds.
const OPEN_SECONDS: i64 = 8 * 86_400;

/// Seconds between two looks.
const LOOK_SECONDS: i64 = 60;

/// When it was looked last.
#[derive(Debug, Default)]
pub struct Closing {
    looked: Mutex<Option<i64>>,
}

impl Closing {
    /// Closes the days that are due at `now` (Unix seconds), at most once a minute. Two workers may do so at a time:
    /// the script looks again.
    ///
    /// # Errors
    /// When the server cannot be asked or refuses; the next look tries again.
    pub async fn close_due(&self, session: &Session, keys: &Keys, now: i64) -> Result<(), RedisError> {
        let Ok(mut looked) = self.looked.try_lock() else { return Ok(()) };
        if looked.is_some_and(|looked| now.abs_diff(looked) < LOOK_SECONDS.unsigned_abs()) {
            return Ok(());
        }
        *looked = Some(now);
        let days: HashMap<String, i64> =
            redis::cmd("HGETALL").arg(keys.days()).query_async(&mut session.writes.clone()).await?;
        let cutoff = now - OPEN_SECONDS;
        for (day, _) in days.into_iter().filter(|&(_, touched)| touched <= cutoff) {
            let mut arguments = Arguments::default();
            arguments.key(keys.epoch()).key(keys.days()).key(keys.closed(&day));
            for set in keys.day_sets(&day) {
                arguments.key(set);
            }
            arguments.arg(&day).arg(cutoff).arg(now);
            session.call(&session.writes, Script::CloseDay, &arguments).await?;
            tracing::info!(day, "closed a day: what comes late counts for its year only");
        }
        Ok(())
    }
}
