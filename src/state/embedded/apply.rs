//! Applying one batch: reads through to the tables, collects the changes, commits them as one transaction.

use std::collections::HashMap;

use super::Tables;
use super::claims::ClaimChanges;
use super::keys::{Counter, CounterKey, MemberKey, by_second, reply_expiry, split_second};
use super::reply::Reply;
use super::sweep::Step;
use crate::event::{Day, EventKey};
use crate::mutation::{Mutation, Numbers, Outcome, Size};
use crate::state::{REPLY_SECONDS, StateError};
use crate::storage::{StorageError, Transaction};
use crate::telemetry::names;

/// The changes of one batch on top of what is stored.
pub struct Overlay<'a> {
    tables: &'a Tables,
    now: i64,
    members: HashMap<MemberKey, bool>,
    counters: HashMap<CounterKey, u64>,
    replies: HashMap<EventKey, Reply>,
    languages: HashMap<String, u64>,
    claims: ClaimChanges<'a>,
    closed: HashMap<Day, bool>,
    late: u64,
}

impl<'a> Overlay<'a> {
    /// An overlay without changes; `now` is in Unix seconds.
    pub fn new(tables: &'a Tables, now: i64) -> Self {
        Self {
            tables,
            now,
            members: HashMap::new(),
            counters: HashMap::new(),
            replies: HashMap::new(),
            languages: HashMap::new(),
            claims: ClaimChanges::new(tables, now),
            closed: HashMap::new(),
            late: 0,
        }
    }

    /// Applies one event and returns what it changed, or had changed when it was applied first; `None` where it lost to
    /// its twin and changes nothing.
    pub fn apply(&mut self, mutation: &Mutation) -> Result<Option<Numbers>, StateError> {
        if let Some(claim) = mutation.claim
            && !self.claims.wins(mutation.key, claim)?
        {
            return Ok(None);
        }
        if mutation.outcome == Outcome::Uncounted {
            return Ok(Some(Numbers::default()));
        }
        let changed = self.count(mutation)?;
        let remembered = self.reply(mutation.key)?;
        if remembered.is_none() && mutation.outcome.counts() && self.is_closed(mutation.day)? {
            self.late += 1;
        }
        let mut reply =
            remembered.unwrap_or(Reply { numbers: changed, language_counted: false, applied_at: self.now });
        if let Some(language) = mutation.language.as_ref().filter(|_| !reply.language_counted) {
            self.add_language(language)?;
            reply.language_counted = true;
        }
        self.replies.insert(mutation.key, reply);
        Ok(Some(reply.numbers))
    }

    /// Adds the event to the sets and, where it was new to one, to that set's counter.
    fn count(&mut self, mutation: &Mutation) -> Result<Numbers, StateError> {
        let mut numbers = Numbers { pr: 1, ..Numbers::default() };
        let (counter, number) = match mutation.outcome {
            Outcome::Opened => (Counter::Open, &mut numbers.open),
            Outcome::Merged => (Counter::Merge, &mut numbers.merge),
            Outcome::Closed => (Counter::Close, &mut numbers.close),
            Outcome::Reopened | Outcome::Uncounted => return Ok(numbers),
        };
        let (day, year) = (mutation.day, mutation.day.year());
        let closed = self.is_closed(day)?;
        if !closed {
            *number = self.insert(counter.of_day(day), mutation.pull_request)?;
            numbers.dev_day = self.insert(Counter::DayDev.of_day(day), mutation.actor)?;
        }
        numbers.dev_year = self.insert(Counter::YearDev.of_year(year), mutation.actor)?;
        numbers.repo_year = self.insert(Counter::YearRepo.of_year(year), mutation.repo)?;
        if mutation.outcome == Outcome::Merged && !closed {
            self.count_size(mutation, numbers.merge == 1)?;
        }
        Ok(numbers)
    }

    /// A merged pull request's size counts once: with its first event, or with the first that knows it.
    fn count_size(&mut self, mutation: &Mutation, first: bool) -> Result<(), StateError> {
        let pending = Counter::Pending.of_day(mutation.day).member(mutation.pull_request);
        match (mutation.size, first) {
            (Some(size), true) => self.add_size(mutation.day.year(), size),
            (None, true) => {
                self.members.insert(pending, true);
                Ok(())
            }
            (Some(size), false) if self.is_member(pending)? => {
                self.members.insert(pending, false);
                self.add_size(mutation.day.year(), size)
            }
            _ => Ok(()),
        }
    }

    fn add_size(&mut self, year: i16, size: Size) -> Result<(), StateError> {
        self.add(Counter::Additions.of_year(year), size.additions)?;
        self.add(Counter::Deletions.of_year(year), size.deletions)
    }

    /// Adds `id` to the counter's set; 1, also on the counter, when it was new.
    fn insert(&mut self, counter: CounterKey, id: u64) -> Result<u8, StateError> {
        let member = counter.member(id);
        if self.is_member(member)? {
            return Ok(0);
        }
        self.members.insert(member, true);
        self.add(counter, 1)?;
        Ok(1)
    }

    fn is_member(&self, key: MemberKey) -> Result<bool, StateError> {
        match self.members.get(&key) {
            Some(&member) => Ok(member),
            None => self.tables.sets.contains(&key.0).map_err(reading),
        }
    }

    fn is_closed(&mut self, day: Day) -> Result<bool, StateError> {
        if let Some(&closed) = self.closed.get(&day) {
            return Ok(closed);
        }
        let closed = self.tables.is_closed(day)?;
        self.closed.insert(day, closed);
        Ok(closed)
    }

    fn add(&mut self, counter: CounterKey, value: u64) -> Result<(), StateError> {
        let old = match self.counters.get(&counter) {
            Some(&value) => value,
            None => self.tables.own(counter)?,
        };
        self.counters.insert(counter, old.saturating_add(value));
        Ok(())
    }

    fn reply(&self, event: EventKey) -> Result<Option<Reply>, StateError> {
        if let Some(&reply) = self.replies.get(&event) {
            return Ok(Some(reply));
        }
        let Some(bytes) = self.tables.replies.get(&event.to_bytes()).map_err(reading)? else {
            return Ok(None);
        };
        let reply = Reply::from_bytes(&bytes).ok_or(StateError::Malformed { what: "reply" })?;
        // A clock that stepped back must not make a reply immortal, nor forget it.
        Ok((self.now.saturating_sub(reply.applied_at) < REPLY_SECONDS).then_some(reply))
    }

    fn add_language(&mut self, language: &str) -> Result<(), StateError> {
        if let Some(count) = self.languages.get_mut(language) {
            *count += 1;
            return Ok(());
        }
        let stored = self.tables.languages.get(&by_second(self.now, language.as_bytes())).map_err(reading)?;
        let count = stored.map_or(Some(0), |bytes| super::number(&bytes));
        let count = count.ok_or(StateError::Malformed { what: "language count" })?;
        self.languages.insert(language.to_owned(), count + 1);
        Ok(())
    }

    /// Commits everything as batch `seq`, durably, and removes what has expired.
    pub fn commit(self, seq: i64, language_seconds: i64) -> Result<(), StateError> {
        let tables = self.tables;
        let mut transaction = tables.storage.transaction();
        for (key, member) in &self.members {
            match member {
                true => transaction.insert(&tables.sets, &key.0, &[]),
                false => transaction.remove(&tables.sets, &key.0),
            }
        }
        for (key, value) in &self.counters {
            transaction.insert(&tables.own, &key.0, &value.to_be_bytes());
        }
        for (event, reply) in &self.replies {
            transaction.insert(&tables.replies, &event.to_bytes(), &reply.to_bytes());
            transaction.insert(&tables.reply_expiry, &reply_expiry(reply.applied_at, *event), &[]);
        }
        for (language, count) in &self.languages {
            let key = by_second(self.now, language.as_bytes());
            transaction.insert(&tables.languages, &key, &count.to_be_bytes());
        }
        transaction.insert(&tables.own, super::SEQ_KEY, &seq.to_be_bytes());
        let claims = self.claims.write(&mut transaction)?;
        let [replies, languages] = self.sweep(&mut transaction, language_seconds)?;
        transaction.commit_durable().map_err(|error| storage("commit a batch", error))?;
        [claims, replies, languages].into_iter().for_each(Step::committed);
        if self.late > 0 {
            metrics::counter!(names::LATE).increment(self.late);
        }
        Ok(())
    }

    fn sweep(
        &self,
        transaction: &mut Transaction,
        language_seconds: i64,
    ) -> Result<[Step<'a>; 2], StateError> {
        let tables = self.tables;
        let end = self.now.saturating_sub(REPLY_SECONDS);
        let replies = tables.replies_swept.step(&tables.reply_expiry, end)?;
        for key in &replies.keys {
            transaction.remove(&tables.reply_expiry, key);
            let Some((second, bytes)) = split_second(key) else { continue };
            // The event may have been applied again since: its newer reply stays.
            let renewed = EventKey::from_bytes(bytes).is_some_and(|event| self.replies.contains_key(&event));
            let stored =
                tables.replies.get(bytes).map_err(reading)?.and_then(|reply| Reply::from_bytes(&reply));
            if !renewed && stored.is_some_and(|reply| reply.applied_at == second) {
                transaction.remove(&tables.replies, bytes);
            }
        }
        let end = self.now.saturating_sub(language_seconds);
        let languages = tables.languages_swept.step(&tables.languages, end)?;
        languages.keys.iter().for_each(|key| transaction.remove(&tables.languages, key));
        Ok([replies, languages])
    }
}

pub(super) fn reading(error: StorageError) -> StateError {
    storage("read", error)
}

/// The error for an action on the tables that failed.
pub fn storage(action: &'static str, error: StorageError) -> StateError {
    if error.is_retryable() {
        StateError::Storage { action, source: error.into() }
    } else {
        StateError::Broken(error.into())
    }
}
