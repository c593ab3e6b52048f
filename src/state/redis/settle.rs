//! When an applied batch is on the server's disk: `WAITAOF` where the server has it, else a delay and a look.

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
///
/// Without `WAITAOF` it takes two looks. Redis writes a command to its file before it answers, unless a sync takes
/// long: then it holds back what it would write. So the first look waits until nothing is held back. What is written
/// then is synced within a second (`appendfsync everysec`), unless that sync takes long too, so the second look comes
/// after the delay and waits until no sync is going on.
pub struct Settler {
    keys: Keys,
    delay: Duration,
    /// Everything that was applied until then is written.
    written: Mutex<Option<Mark>>,
    /// Everything that was written until then is on the disk; with `WAITAOF`, everything that was applied.
    settled: Mutex<Option<Mark>>,
}

/// A moment in a run of the store.
#[derive(Clone, Copy)]
struct Mark {
    incarnation: u64,
    at: Instant,
}

impl Mark {
    fn covers(self, incarnation: u64, at: Instant) -> bool {
        self.incarnation == incarnation && self.at >= at
    }
}

/// What a look waits for.
#[derive(Clone, Copy)]
enum Look {
    Waitaof,
    Written,
    Synced,
}

impl Settler {
    /// A settler that waits for `delay` where the server has no `WAITAOF`.
    pub fn new(keys: Keys, delay: Duration) -> Self {
        Self { keys, delay, written: Mutex::default(), settled: Mutex::default() }
    }

    /// Waits until the batch of `receipt` is on the disk.
    ///
    /// # Errors
    /// [`StateError::Lost`] when the server restarted or was emptied since.
    pub async fn settle(&self, link: &Link, receipt: Receipt) -> Result<(), StateError> {
        let Receipt { incarnation, at } = receipt;
        if link.session().await?.waitaof {
            self.reach(&self.settled, link, incarnation, at, Look::Waitaof).await?;
            return Ok(());
        }
        let written = self.reach(&self.written, link, incarnation, at, Look::Written).await?;
        tokio::time::sleep_until((written + self.delay).into()).await;
        self.reach(&self.settled, link, incarnation, written, Look::Synced).await?;
        Ok(())
    }

    /// Looks until `mark` covers `at`, unless somebody else's look has done so. Returns up to when it covers.
    async fn reach(
        &self,
        mark: &Mutex<Option<Mark>>,
        link: &Link,
        incarnation: u64,
        at: Instant,
        look: Look,
    ) -> Result<Instant, StateError> {
        let mut mark = mark.lock().await;
        if let Some(mark) = mark.filter(|mark| mark.covers(incarnation, at)) {
            return Ok(mark.at);
        }
        let session = link.session().await?;
        if session.incarnation != incarnation {
            return Err(StateError::Lost);
        }
        let looked = match look {
            Look::Waitaof => self.wait(&session).await,
            Look::Written | Look::Synced => self.look(&session, look).await,
        };
        match looked {
            Ok(Some(until)) => {
                *mark = Some(Mark { incarnation, at: until });
                Ok(until)
            }
            Ok(None) => Err(StateError::Lost),
            Err(error) => {
                let fault = fault(&error);
                // A server that refuses to wait may write no file any more: the next session finds out.
                if fault != Fault::Refused || matches!(look, Look::Waitaof) {
                    link.drop_session(&session);
                }
                if fault == Fault::Stale { Err(StateError::Lost) } else { Err(state_error(error)) }
            }
        }
    }

    /// Asks the server to wait for its disk; `None` when it took too long.
    async fn wait(&self, session: &Session) -> Result<Option<Instant>, RedisError> {
        let started = Instant::now();
        // This write is later than every applied batch, also of other connections, so its sync is theirs too.
        let mut arguments = Arguments::default();
        arguments.key(self.keys.epoch()).key(self.keys.seq());
        session.call(&session.settles, Script::Settle, &arguments).await?;
        let mut wait = redis::cmd("WAITAOF");
        wait.arg(1).arg(0).arg(WAIT.as_millis() as u64);
        let (local, _): (u64, u64) = wait.query_async(&mut session.settles.clone()).await?;
        Ok((local > 0).then_some(started))
    }

    /// Looks until what `look` waits for is there. Returns up to when it holds; `None` when that cannot be said.
    async fn look(&self, session: &Session, look: Look) -> Result<Option<Instant>, RedisError> {
        let deadline = Instant::now() + WAIT;
        loop {
            let (mut connection, started) = (session.settles.clone(), Instant::now());
            let info = Info::read(&mut connection).await?;
            let epoch: Option<String> =
                redis::cmd("GET").arg(self.keys.epoch()).query_async(&mut connection).await?;
            let same = info.run_id == session.run_id && epoch.as_ref() == Some(&session.epoch);
            if !same || (info.append_only && !info.write_ok) {
                return Ok(None);
            }
            match look {
                Look::Written if !info.append_only || info.unwritten == 0 => return Ok(Some(started)),
                Look::Synced if !info.append_only || info.pending_syncs == 0 => {
                    return Ok(started.checked_sub(self.delay));
                }
                _ if started > deadline => return Ok(None),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }
}
