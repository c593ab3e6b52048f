//! When an applied batch is on the server's disk: `WAITAOF` where the server has it, else a delay and a look.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::RedisError;
use tokio::sync::Mutex;

use super::connection::{Link, Session};
use super::error::{Fault, fault, state_error};
use super::guard::Info;
use super::keys::Keys;
use super::scripts::{Arguments, Script};
use crate::state::{Receipt, StateError};

/// How long `WAITAOF` may take: below the connection's own limit.
const WAIT: Duration = Duration::from_secs(5);

/// Pause between two looks at a sync that has not ended.
const LOOK: Duration = Duration::from_millis(20);

/// Waits for the disk, once for all batches that wait at the same time.
pub struct Settler {
    keys: Keys,
    delay: Duration,
    /// What is known to be on the disk: everything that `.0` applied until `.1`.
    settled: Mutex<Option<(u64, Instant)>>,
}

impl Settler {
    /// A settler that waits for `delay` where the server has no `WAITAOF`.
    pub fn new(keys: Keys, delay: Duration) -> Self {
        Self { keys, delay, settled: Mutex::default() }
    }

    /// Waits until the batch of `receipt` is on the disk.
    ///
    /// # Errors
    /// [`StateError::Lost`] when the server restarted or was emptied since.
    pub async fn settle(&self, link: &Link, receipt: Receipt) -> Result<(), StateError> {
        if !link.session().await?.waitaof {
            tokio::time::sleep_until((receipt.at + self.delay).into()).await;
        }
        let mut settled = self.settled.lock().await;
        if settled.is_some_and(|(incarnation, until)| {
            incarnation == receipt.incarnation && until >= receipt.at
        }) {
            return Ok(());
        }
        let session = link.session().await?;
        if session.incarnation != receipt.incarnation {
            return Err(StateError::Lost);
        }
        match self.look(&session).await {
            Ok(Some(until)) => {
                *settled = Some((session.incarnation, until));
                Ok(())
            }
            Ok(None) => Err(StateError::Lost),
            Err(error) => {
                let fault = fault(&error);
                if fault != Fault::Refused {
                    link.drop_session(&session).await;
                }
                if fault == Fault::Stale { Err(StateError::Lost) } else { Err(state_error(error)) }
            }
        }
    }

    /// Until when everything that was applied is on the disk; `None` when that cannot be said.
    async fn look(&self, session: &Arc<Session>) -> Result<Option<Instant>, RedisError> {
        let started = Instant::now();
        if session.waitaof {
            // The write is later than every applied batch, also of other connections, so its sync is theirs too.
            let mut arguments = Arguments::default();
            arguments.key(self.keys.epoch()).key(self.keys.seq());
            session.call(&session.settles, Script::Settle, &arguments).await?;
            let mut wait = redis::cmd("WAITAOF");
            wait.arg(1).arg(0).arg(WAIT.as_millis() as u64);
            let (local, _): (u64, u64) = wait.query_async(&mut session.settles.clone()).await?;
            return Ok((local > 0).then_some(started));
        }
        loop {
            let mut connection = session.settles.clone();
            let info = Info::read(&mut connection).await?;
            let epoch: Option<String> =
                redis::cmd("GET").arg(self.keys.epoch()).query_async(&mut connection).await?;
            let same = info.run_id == session.run_id && epoch.as_ref() == Some(&session.epoch);
            if !same || (info.append_only && !info.write_ok) {
                return Ok(None);
            }
            if !info.append_only || info.pending_syncs == 0 {
                return Ok(started.checked_sub(self.delay));
            }
            if started.elapsed() > WAIT {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
