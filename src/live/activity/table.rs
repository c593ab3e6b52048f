//! The events of the window in the order in which they happened, each once, and the names that they last had.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::domain::github::bots::is_likely_bot;
use crate::event::EventKey;
use crate::mutation::Outcome;

/// Where an event stands: when it happened, and its id.
pub(super) type Place = (i64, i64);

/// One event, without its names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub outcome: Outcome,
    pub pull_request: u64,
    pub repo: u64,
    pub actor: u64,
    pub additions: u64,
    pub deletions: u64,
    /// Whether its actor is a program.
    pub bot: bool,
}

/// A time in which no process of this data directory looked, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Away {
    pub from: i64,
    pub until: i64,
}

/// Names by id, of the latest event that has them.
type Names = HashMap<u64, (Place, Box<str>)>;

/// The window.
#[derive(Debug)]
pub(super) struct Table {
    entries: BTreeMap<Place, Entry>,
    repos: Names,
    actors: Names,
    /// Nothing that was shown before this moment is known, in Unix seconds.
    since: i64,
    /// The last time since then in which nobody looked.
    away: Option<Away>,
    /// Events that were shown faster than they were read, and when that was last, in Unix seconds.
    missed: (u64, i64),
    /// Whether what history had was added.
    with_history: bool,
    /// Events at most.
    bound: usize,
}

impl Table {
    pub fn new(since: i64, bound: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            repos: Names::new(),
            actors: Names::new(),
            since,
            away: None,
            missed: (0, i64::MIN),
            with_history: false,
            bound,
        }
    }

    /// Events that happened after `from`.
    pub fn after(&self, from: i64) -> impl Iterator<Item = &Entry> {
        self.entries.range((from.saturating_add(1), i64::MIN)..).map(|(_, entry)| entry)
    }

    /// The name of a repository in the window.
    pub fn repo_name(&self, repo: u64) -> &str {
        self.repos.get(&repo).map_or("", |(_, name)| name)
    }

    /// The login of an actor in the window.
    pub fn actor_login(&self, actor: u64) -> &str {
        self.actors.get(&actor).map_or("", |(_, login)| login)
    }

    /// The moment before which nothing is known, in Unix seconds.
    pub fn since(&self) -> i64 {
        self.since
    }

    /// Says that earlier processes have seen what was shown since `since`, but for `away`.
    pub fn seen_since(&mut self, since: i64, away: Option<Away>) {
        self.since = self.since.min(since);
        self.away = away;
    }

    /// The last time after `from` in which nobody looked.
    pub fn away(&self, from: i64) -> Option<Away> {
        self.away.filter(|away| away.until > from)
    }

    /// Whether what history had is among them.
    pub fn has_history(&self) -> bool {
        self.with_history
    }

    /// Says that what history had was added.
    pub fn knows_history(&mut self) {
        self.with_history = true;
    }

    /// Events that are missing because they came too fast; forgotten once the last of them happened at `from` or before.
    pub fn missed_events(&self, from: i64) -> u64 {
        if self.missed.1 > from { self.missed.0 } else { 0 }
    }

    /// Says that `events` were shown until `now` and not read; the window begins after `from`.
    pub fn missed(&mut self, events: u64, from: i64, now: i64) {
        if events > 0 {
            self.missed = (self.missed_events(from).saturating_add(events), now);
        }
    }

    /// Adds an event; `false` where it is there already.
    pub fn insert(&mut self, record: &Record) -> bool {
        let EventKey { id, created_at } = record.key;
        let place = (created_at, id);
        let entry = Entry {
            outcome: record.outcome,
            pull_request: record.pull_request,
            repo: record.repo,
            actor: record.actor,
            additions: record.additions,
            deletions: record.deletions,
            bot: is_likely_bot(&record.actor_login),
        };
        if self.entries.contains_key(&place) {
            return false;
        }
        self.entries.insert(place, entry);
        name(&mut self.repos, record.repo, place, &record.repo_name);
        name(&mut self.actors, record.actor, place, &record.actor_login);
        true
    }

    /// Drops what happened at `from` or before, and the oldest beyond the bound. Says which.
    pub fn expire(&mut self, from: i64) -> Vec<Place> {
        let mut dropped = Vec::new();
        while let Some((&place, _)) = self.entries.first_key_value() {
            let full = self.entries.len() > self.bound;
            if place.0 > from && !full {
                break;
            }
            if full && place.0 > from {
                // From then on is all that is left of it.
                self.since = self.since.max(place.0);
            }
            self.entries.pop_first();
            dropped.push(place);
        }
        // Each event brings two names at most, so that this is rare.
        if self.repos.len() + self.actors.len() > 3 * self.entries.len() + 1_000 {
            self.forget_names();
        }
        dropped
    }

    /// Keeps the names of what is in the window.
    fn forget_names(&mut self) {
        let repos: HashSet<u64> = self.entries.values().map(|entry| entry.repo).collect();
        let actors: HashSet<u64> = self.entries.values().map(|entry| entry.actor).collect();
        self.repos.retain(|id, _| repos.contains(id));
        self.actors.retain(|id, _| actors.contains(id));
    }
}

fn name(names: &mut Names, id: u64, place: Place, name: &str) {
    let known = names.entry(id).or_insert_with(|| (place, name.into()));
    if known.0 < place {
        known.0 = place;
        if *known.1 != *name {
            known.1 = name.into();
        }
    }
}
