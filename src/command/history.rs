//! `backfill` and `verify`: history and state, taken over or compared, here or by the process that owns the data.

use std::io::Write;
use std::sync::Arc;

use super::Failure;
use super::owner::ask;
use crate::app::{self, DataDirectory, Source, StartError};
use crate::cli::{BackfillArgs, Exit, YearArgs};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::history::HistoryError;
use crate::history::backfill::{Backfill, BackfillError};
use crate::history::difference::Difference;
use crate::storage::{LockError, Owner};

/// Takes history's counts into the state and prints what changed.
pub(super) async fn backfill(args: BackfillArgs) -> Result<Exit, Failure> {
    let config = super::load(&args.year.file, Vec::new())?.config;
    if args.overwrite && !config.writes_history() {
        let message = "--overwrite needs history.write: a history that somebody else loads may lack what was counted live";
        return Err(Failure { message: message.to_owned(), exit: Exit::Unavailable });
    }
    let (year, overwrite) = (year(&args.year), args.overwrite);
    let changed: Vec<Difference> = match open(&config)? {
        Opened::Here(stores, backfill) => {
            let changed = if overwrite { backfill.overwrite(year).await } else { backfill.now(year).await };
            drop(stores);
            changed.map_err(failure)?
        }
        Opened::Elsewhere(owner) => {
            // History's statements have limits of their own, and there may be many.
            let body = serde_json::json!({"year": year, "overwrite": overwrite});
            ask(&owner, |client, root| client.post(format!("{root}/api/v1/backfill")).json(&body)).await?
        }
    };
    let mut out = std::io::stdout().lock();
    for Difference { period, counter, left, right } in &changed {
        writeln!(out, "{period} {counter}: {left} -> {right}")?;
    }
    writeln!(out, "{year}: {}", count(changed.len(), "value", "changed"))?;
    Ok(Exit::Success)
}

/// Compares the state with a recount from history and prints each difference.
pub(super) async fn verify(args: YearArgs) -> Result<Exit, Failure> {
    let config = super::load(&args.file, Vec::new())?.config;
    let year = year(&args);
    let found: Vec<Difference> = match open(&config)? {
        Opened::Here(stores, backfill) => {
            let found = backfill.verify(year).await.map_err(failure)?;
            drop(stores);
            found
        }
        Opened::Elsewhere(owner) => {
            ask(&owner, |client, root| client.get(format!("{root}/api/v1/verify?year={year}"))).await?
        }
    };
    let mut out = std::io::stdout().lock();
    for Difference { period, counter, left, right } in &found {
        writeln!(out, "{period} {counter}: {left} in the state, {right} in history")?;
    }
    writeln!(out, "{year}: {}", count(found.len(), "difference", "found"))?;
    Ok(if found.is_empty() { Exit::Success } else { Exit::Failure })
}

/// Who does it.
enum Opened {
    /// This process, for nobody held the data. It is held as long as it is used.
    Here(DataDirectory, Arc<Backfill>),
    /// The process that holds it.
    Elsewhere(Owner),
}

fn open(config: &Config) -> Result<Opened, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let Some(history) = app::history(config, &clock) else {
        return Err(Failure::new(Exit::Unavailable, &HistoryError::NotConfigured));
    };
    let mut data = DataDirectory::new(app::data_directory(config, &Source::None), config.storage.reserve);
    let state = match app::remote_state(config, &clock)? {
        Some(state) => state,
        None => match data.open() {
            Ok(storage) => app::embedded_state(config, storage)?,
            Err(StartError::Directory(LockError::Held { owner, .. })) => return Ok(Opened::Elsewhere(owner)),
            Err(error) => return Err(error.into()),
        },
    };
    let alerts = app::alerts(config, clock.clone());
    Ok(Opened::Here(data, app::backfill(config, history, state, clock, alerts)))
}

fn year(args: &YearArgs) -> i16 {
    args.year.unwrap_or_else(|| crate::event::year_of(SystemClock.unix_seconds()))
}

fn failure(error: BackfillError) -> Failure {
    let exit = match error {
        BackfillError::History(_) | BackfillError::State(_) => Exit::Unavailable,
        BackfillError::Running | BackfillError::Elsewhere => Exit::InUse,
    };
    Failure::new(exit, &error)
}

fn count(number: usize, noun: &str, verb: &str) -> String {
    match number {
        0 => format!("no {noun} {verb}"),
        1 => format!("1 {noun} {verb}"),
        _ => format!("{number} {noun}s {verb}"),
    }
}
