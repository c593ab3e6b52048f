//! Totals and rankings of the window, and the statement that each of them is the answer to.
//!
//! The statements are those of the project that the real front end asks, without what only its tables know (stars,
//! followers); `tests/it/page` runs them on the same rows in a database and compares.

use std::collections::HashSet;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use super::WINDOW_SECONDS;
use super::table::{Away, Entry, Table};
use crate::clock::Clock;
use crate::domain::github::bots::IS_LIKELY_BOT_SQL;
use crate::mutation::Outcome;

/// Rows of a ranking.
const ROWS: usize = 5;

/// An answer as it is sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer<T> {
    /// Its rows.
    pub data: Vec<T>,
    /// When it began to be computed.
    pub requested_at: Timestamp,
    /// When it was there.
    pub finished_at: Timestamp,
    /// Seconds that it took.
    pub spent: f64,
    /// What it is the answer to, for people.
    pub sql: String,
}

/// All answers, of the same moment.
#[derive(Debug)]
pub struct Answers {
    /// Everyone and everything.
    pub totals: Answer<Totals>,
    /// The repositories with the most pull request events of people.
    pub repos: Answer<TopRepo>,
    /// The people with the most pull request events.
    pub developers: Answer<TopDeveloper>,
}

/// The window in seven numbers.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Distinct actors.
    pub developers: u64,
    /// Distinct repositories.
    pub repos: u64,
    /// Distinct pull requests that were merged.
    pub merged_prs: u64,
    /// Distinct pull requests that were opened.
    pub opened_prs: u64,
    /// Distinct pull requests that were closed without being merged.
    pub closed_prs: u64,
    /// Lines added by what was merged.
    pub additions: u64,
    /// Lines deleted by what was merged.
    pub deletions: u64,
}

/// Distinct pull requests of someone or something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// The sum of the others.
    pub total_pr_events: u64,
    /// Opened.
    pub opened_prs: u64,
    /// Closed without being merged.
    pub closed_prs: u64,
    /// Merged.
    pub merged_prs: u64,
}

/// A repository in its ranking.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct TopRepo {
    /// Its id.
    pub repo_id: u64,
    /// `owner/name`, as of its last event.
    pub repo_name: String,
    /// What happened in it.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A person in their ranking.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct TopDeveloper {
    /// Their id.
    pub actor_id: u64,
    /// Their login, as of their last event.
    pub actor_login: String,
    /// What they did.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Everything, as of now.
pub(super) fn answers(table: &Table, clock: &dyn Clock) -> Answers {
    let from = clock.unix_seconds() - WINDOW_SECONDS;
    let sql = |statement: &str| format!("{}{}", heading(table, from), written(statement, from));
    Answers {
        totals: answer(clock, sql(include_str!("totals.sql")), || vec![totals(table, from)]),
        repos: answer(clock, sql(include_str!("top_repos.sql")), || {
            let row = |(repo_id, counts)| TopRepo {
                repo_id,
                repo_name: table.repo_name(repo_id).to_owned(),
                counts,
            };
            top(table.after(from).map(|entry| (entry.repo, entry))).map(row).collect()
        }),
        developers: answer(clock, sql(include_str!("top_developers.sql")), || {
            let row = |(actor_id, counts)| TopDeveloper {
                actor_id,
                actor_login: table.actor_login(actor_id).to_owned(),
                counts,
            };
            top(table.after(from).map(|entry| (entry.actor, entry))).map(row).collect()
        }),
    }
}

fn answer<T>(clock: &dyn Clock, sql: String, rows: impl FnOnce() -> Vec<T>) -> Answer<T> {
    let now = || Timestamp::from_millisecond(clock.unix_millis()).unwrap_or_default();
    let (requested_at, started) = (now(), Instant::now());
    let data = rows();
    Answer { data, requested_at, finished_at: now(), spent: started.elapsed().as_secs_f64(), sql }
}

/// What a reader of the numbers should know of where they come from.
fn heading(table: &Table, from: i64) -> String {
    let time = |seconds| Timestamp::from_second(seconds).unwrap_or_default();
    let since = time(table.since());
    let missed = match table.missed_events(from) {
        0 => String::new(),
        missed => format!(" {missed} events were shown faster than they were counted here, and are missing."),
    };
    let before = match table.away(from) {
        _ if table.has_history() => ", and over what history had of the time before".to_owned(),
        Some(Away { from, until }) => format!(", with a break from {} to {}", time(from), time(until)),
        None => String::new(),
    };
    format!(
        "-- Computed in memory over the pull request events that this instance has shown since {since}{before}; the \
         size of a pull request is missing where it was not known by then.{missed}\n"
    )
}

fn written(statement: &str, from: i64) -> String {
    let from = Timestamp::from_second(from).unwrap_or_default().strftime("%Y-%m-%d %H:%M:%S").to_string();
    statement.replace("{from}", &from).replace("{is_bot}", IS_LIKELY_BOT_SQL)
}

fn totals(table: &Table, from: i64) -> Totals {
    let (mut developers, mut repos, mut pull_requests) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut totals = Totals::default();
    for entry in table.after(from) {
        developers.insert(entry.actor);
        repos.insert(entry.repo);
        let first = pull_requests.insert((entry.pull_request, entry.outcome));
        match entry.outcome {
            Outcome::Opened => totals.opened_prs += u64::from(first),
            Outcome::Merged => {
                totals.merged_prs += u64::from(first);
                // Sizes are whatever the event says.
                totals.additions = totals.additions.saturating_add(entry.additions);
                totals.deletions = totals.deletions.saturating_add(entry.deletions);
            }
            _ => totals.closed_prs += u64::from(first),
        }
    }
    Totals { developers: developers.len() as u64, repos: repos.len() as u64, ..totals }
}

/// The groups with the most, those of programs left out; ties by id.
fn top<'a>(entries: impl Iterator<Item = (u64, &'a Entry)>) -> impl Iterator<Item = (u64, Counts)> {
    let entries = entries.filter(|(_, entry)| !entry.bot);
    let mut distinct: Vec<_> =
        entries.map(|(group, entry)| (group, entry.pull_request, entry.outcome as u8)).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let mut groups: Vec<(u64, Counts)> = Vec::new();
    for of_group in distinct.chunk_by(|one, other| one.0 == other.0) {
        let count = |outcome: Outcome| of_group.iter().filter(|one| one.2 == outcome as u8).count() as u64;
        let counts = Counts {
            total_pr_events: of_group.len() as u64,
            opened_prs: count(Outcome::Opened),
            closed_prs: count(Outcome::Closed),
            merged_prs: count(Outcome::Merged),
        };
        groups.push((of_group[0].0, counts));
    }
    groups.sort_unstable_by_key(|(group, counts)| (std::cmp::Reverse(counts.total_pr_events), *group));
    groups.truncate(ROWS);
    groups.into_iter()
}
