//! The state in Redis: counters and sets in its keys, changed by the scripts of `lua/` alone.
//!
//! `connection` gets a session past `guard`, `batch` writes a batch as `apply.lua` takes it, `settle` waits for the disk.

mod batch;
mod closing;
mod connection;
mod error;
mod guard;
mod keys;
mod languages;
mod scripts;
mod seed;
mod settle;
mod shared;
mod start;

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::{FromRedisValue, RedisError, Value};
use tokio::sync::watch;

use super::{Applied, Base, DayCounts, LanguageSeconds, Receipt, Snapshot, State, StateError, YearSums};
use crate::clock::Clock;
use crate::mutation::Mutation;
use crate::telemetry::names;
use closing::Closing;
use connection::{Link, Session};
use error::{Fault, fault, state_error};
use keys::{Keys, day_of};
use scripts::{Arguments, Script};
use settle::Settler;

/// Mutations that one call takes without holding up others: about 3 ms of the server's only thread.
const BATCH_LIMIT: usize = 200;

/// Where the store is and how it is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host:port`, or a URL `redis://` or `rediss://`.
    pub host: String,
    /// User of an access control list.
    pub user: Option<String>,
    /// Password, empty for none.
    pub password: String,
    /// Number of the logical database.
    pub db: u32,
    /// PEM file of the authorities that may have signed the certificate of `rediss://`; without it the machine's.
    pub ca_file: Option<PathBuf>,
    /// What stands before every key.
    pub prefix: String,
    /// Time from apply to settle where the server has no `WAITAOF`.
    pub settle_delay: Duration,
    /// Length of the language window in seconds; counts are kept for twice as long.
    pub latest_during: i64,
    /// The operator's script that merges language counts.
    pub merge_latest: Option<String>,
}

/// The state in Redis. Clones share their connections.
#[derive(Clone)]
pub struct RedisState {
    inner: Arc<Inner>,
}

struct Inner {
    link: Link,
    keys: Keys,
    settler: Settler,
    closing: Closing,
    language_seconds: i64,
    merge_latest: Option<String>,
    /// Whether a year without counts waits for its seed.
    seeds_required: AtomicBool,
}

impl RedisState {
    /// The state in the store of `settings`, which is connected to when it is first used.
    ///
    /// # Errors
    /// When `settings.host` cannot be read.
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, StateError> {
        let keys = Keys::new(settings.prefix.clone());
        let inner = Inner {
            link: Link::new(settings, clock)?,
            settler: Settler::new(keys.clone(), settings.settle_delay),
            closing: Closing::default(),
            language_seconds: settings.latest_during * 2,
            merge_latest: languages::own_script(settings.merge_latest.as_deref()),
            seeds_required: AtomicBool::new(false),
            keys,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// Which of a session's connections a call takes.
#[derive(Clone, Copy)]
enum Lane {
    Writes,
    Reads,
}

impl Inner {
    /// Calls a script; once more, through the guard, where the server has forgotten the scripts or its epoch.
    async fn call(
        &self,
        lane: Lane,
        script: Script,
        arguments: &Arguments,
    ) -> Result<(Value, Arc<Session>), StateError> {
        let mut renewed = false;
        loop {
            let session = self.link.session().await?;
            let connection = match lane {
                Lane::Writes => &session.writes,
                Lane::Reads => &session.reads,
            };
            let error = match session.call(connection, script, arguments).await {
                Ok(reply) => return Ok((reply, session)),
                Err(error) => error,
            };
            if self.note(&session, &error) == Fault::Stale && !renewed {
                renewed = true;
                continue;
            }
            return Err(state_error(error));
        }
    }

    /// Drops the session where it is of no more use.
    fn note(&self, session: &Arc<Session>, error: &RedisError) -> Fault {
        let fault = fault(error);
        if fault != Fault::Refused {
            self.link.drop_session(session);
        }
        fault
    }

    async fn apply(&self, batch: &[Mutation], now: i64) -> Result<Applied, StateError> {
        let required = self.seeds_required.load(Ordering::Relaxed);
        let arguments = batch::encode(&self.keys, batch, now, self.language_seconds, required);
        let (reply, session) = match self.call(Lane::Writes, Script::Apply, &arguments).await {
            Err(StateError::Unfit { reason, source }) => return Err(self.blame(reason, source, now).await),
            called => called?,
        };
        let receipt = Receipt { incarnation: session.incarnation, at: Instant::now() };
        let mut reply = Vec::<i64>::from_redis_value(reply).unwrap_or_default().into_iter();
        let seq = reply.next().ok_or(MALFORMED)?;
        let (mut numbers, mut late, mut lost) = (Vec::with_capacity(batch.len()), 0, BTreeSet::new());
        for (index, flags) in reply.enumerate() {
            let (changed, is_late, has_lost) = batch::numbers(flags);
            numbers.push(changed);
            late += u64::from(is_late);
            if has_lost {
                lost.insert(index);
            }
        }
        if numbers.len() != batch.len() {
            return Err(MALFORMED);
        }
        if late > 0 {
            metrics::counter!(names::LATE).increment(late);
        }
        if let Err(error) = self.closing.close_due(&session, &self.keys, now.div_euclid(1000)).await {
            // The batch is applied. Whatever this is, the next call meets it too, or the next look does.
            tracing::debug!(%error, "cannot close days");
        }
        Ok(Applied { seq, numbers, lost, receipt })
    }

    async fn holds(&self, receipt: Receipt) -> Result<bool, StateError> {
        let session = self.link.session().await?;
        Ok(session.incarnation == receipt.incarnation && self.is_current(&session).await?)
    }

    /// Whether the store still has the epoch that the session knows.
    async fn is_current(&self, session: &Arc<Session>) -> Result<bool, StateError> {
        let epoch = ::redis::cmd("GET").arg(self.keys.epoch()).query_async(&mut session.reads.clone()).await;
        match epoch {
            Ok(epoch) => Ok(Some(&session.epoch) == Option::<String>::as_ref(&epoch)),
            Err(error) => {
                self.note(session, &error);
                Err(state_error(error))
            }
        }
    }

    async fn snapshot(&self, year: i16) -> Result<Snapshot, StateError> {
        let mut arguments = Arguments::default();
        arguments.key(self.keys.epoch()).key(self.keys.seq());
        let [open, merge, close, dev, _, sums] = self.keys.published(year);
        for key in [open, merge, close, dev, sums] {
            arguments.key(key);
        }
        arguments.key(self.keys.seed(year)).key(self.keys.own(&year.to_string()));
        let (reply, _) = self.call(Lane::Reads, Script::Snapshot, &arguments).await?;
        type Fields = HashMap<String, u64>;
        type Reply = (Option<i64>, Fields, Fields, Fields, Fields, Fields, Option<String>, bool);
        let (seq, open, merge, close, dev, sums, seed, counted) =
            Reply::from_redis_value(reply).map_err(|_| StateError::Malformed { what: "counter" })?;
        let mut snapshot = Snapshot { seq: seq.unwrap_or(0), ..Snapshot::default() };
        let mut fill = |fields: Fields, field: fn(&mut DayCounts) -> &mut u64| {
            for (name, value) in fields {
                // Nothing of ours has a field that is no day.
                if let Some(day) = day_of(&name) {
                    *field(snapshot.days.entry(day).or_default()) = value;
                }
            }
        };
        fill(open, |counts| &mut counts.open);
        fill(merge, |counts| &mut counts.merge);
        fill(close, |counts| &mut counts.close);
        fill(dev, |counts| &mut counts.dev);
        // A day that lost its base and never had counts of its own.
        snapshot.days.retain(|_, counts| *counts != DayCounts::default());
        let sum = |name| sums.get(name).copied().unwrap_or(0);
        snapshot.unseeded = match seed.as_deref() {
            Some(state) => state != "done",
            None => self.seeds_required.load(Ordering::Relaxed) && !counted,
        };
        snapshot.sums = YearSums {
            dev: sum("dev"),
            repo: sum("repo"),
            additions: sum("additions"),
            deletions: sum("deletions"),
        };
        Ok(snapshot)
    }

    async fn languages(&self, seconds: RangeInclusive<i64>) -> Result<LanguageSeconds, StateError> {
        let session = self.link.session().await?;
        let script = self.merge_latest.as_deref();
        let mut connection = session.reads.clone();
        let read = languages::read(&mut connection, &self.keys, script, seconds, self.language_seconds);
        match read.await {
            // Readers hold what they read: an emptied store must not pass for one without events.
            Ok(languages) if self.is_current(&session).await? => Ok(languages),
            Ok(_) => {
                self.link.drop_session(&session);
                Err(StateError::Lost)
            }
            Err(error) => {
                self.note(&session, &error);
                Err(state_error(error))
            }
        }
    }

    /// The own values lie in a hash a day; those of a closed day are no longer kept apart from what is published.
    async fn own(&self, year: i16) -> Result<Base, StateError> {
        let published = self.snapshot(year).await?;
        let session = self.link.session().await?;
        let mut pipeline = ::redis::pipe();
        pipeline.cmd("HGETALL").arg(self.keys.own(&year.to_string()));
        for day in published.days.keys() {
            let name = day.to_string();
            pipeline.cmd("HGETALL").arg(self.keys.own(&name)).cmd("EXISTS").arg(self.keys.closed(&name));
        }
        let replies: Vec<::redis::Value> = match pipeline.query_async(&mut session.reads.clone()).await {
            Ok(replies) => replies,
            Err(error) => {
                self.note(&session, &error);
                return Err(state_error(error));
            }
        };
        let malformed = || StateError::Malformed { what: "counter" };
        let (sums, days) = replies.split_first().ok_or_else(malformed)?;
        let fields = |reply: &::redis::Value| {
            HashMap::<String, u64>::from_redis_value(reply.clone()).map_err(|_| malformed())
        };
        let sums = fields(sums)?;
        let sum = |name| sums.get(name).copied().unwrap_or(0);
        let mut own = Base {
            sums: YearSums {
                dev: sum("dev"),
                repo: sum("repo"),
                additions: sum("additions"),
                deletions: sum("deletions"),
            },
            ..Base::default()
        };
        for ((&day, &counts), reply) in published.days.iter().zip(days.chunks(2)) {
            let [values, closed] = reply else { return Err(malformed()) };
            let values = fields(values)?;
            let value = |name| values.get(name).copied().unwrap_or(0);
            let kept = DayCounts {
                open: value("open"),
                merge: value("merge"),
                close: value("close"),
                dev: value("dev"),
            };
            let closed = i64::from_redis_value(closed.clone()).map_err(|_| malformed())? == 1;
            let counts = if closed { counts } else { kept };
            if counts != DayCounts::default() {
                own.days.insert(day, counts);
            }
        }
        Ok(own)
    }

    async fn set_base(&self, year: i16, mut base: Base) -> Result<(), StateError> {
        // A day that history no longer has loses its base.
        for day in self.snapshot(year).await?.days.into_keys() {
            base.days.entry(day).or_default();
        }
        let (mut arguments, period) = (Arguments::default(), year.to_string());
        arguments.key(self.keys.epoch()).key(self.keys.own(&period)).key(self.keys.base(&period));
        for key in self.keys.published(year) {
            arguments.key(key);
        }
        let YearSums { dev, repo, additions, deletions } = base.sums;
        arguments.arg(dev).arg(repo).arg(additions).arg(deletions);
        for (day, counts) in &base.days {
            let name = day.to_string();
            arguments.key(self.keys.own(&name)).key(self.keys.base(&name));
            arguments.arg(&name).arg(counts.open).arg(counts.merge).arg(counts.close).arg(counts.dev);
        }
        self.call(Lane::Writes, Script::SetBase, &arguments).await.map(drop)
    }
}

const MALFORMED: StateError = StateError::Malformed { what: "reply of apply.lua" };

#[async_trait]
impl State for RedisState {
    async fn apply(&self, batch: Vec<Mutation>, now: i64) -> Result<Applied, StateError> {
        self.inner.apply(&batch, now).await
    }

    async fn persist(&self, receipt: Receipt) -> Result<(), StateError> {
        // In a task of its own: a future that is not polled any more while it has, or is next for, the session's lock would
        // let everybody else wait for ever.
        let inner = self.inner.clone();
        let settled = tokio::spawn(async move { inner.settler.settle(&inner.link, receipt).await }).await;
        settled.unwrap_or_else(|error| Err(StateError::Storage { action: "settle", source: error.into() }))
    }

    async fn holds(&self, receipt: Receipt) -> Result<bool, StateError> {
        self.inner.holds(receipt).await
    }

    async fn snapshot(&self, year: i16) -> Result<Snapshot, StateError> {
        self.inner.snapshot(year).await
    }

    async fn languages(&self, seconds: RangeInclusive<i64>) -> Result<LanguageSeconds, StateError> {
        self.inner.languages(seconds).await
    }

    async fn own(&self, year: i16) -> Result<Base, StateError> {
        self.inner.own(year).await
    }

    async fn set_base(&self, year: i16, base: Base) -> Result<(), StateError> {
        self.inner.set_base(year, base).await
    }

    fn emptied(&self) -> watch::Receiver<u64> {
        self.inner.link.emptied()
    }

    fn batch_limit(&self) -> usize {
        BATCH_LIMIT
    }
}
