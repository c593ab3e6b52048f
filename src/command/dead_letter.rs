//! `dead-letter`: what could not be processed, listed or processed again, here or by the process that owns the data.

use std::sync::Arc;

use super::Failure;
use super::owner::ask;
use crate::app::{self, DataDirectory, Source, StartError};
use crate::broker::dead_letter::{self, Listed, Replayed};
use crate::broker::{Broker, BrokerError};
use crate::cli::{ConfigFile, DeadLetterAction, DeadLetterListArgs, DeadLetterReplayArgs, Exit, StatsFormat};
use crate::clock::{Clock, SystemClock};
use crate::storage::{DirectoryLock, LockError, Owner};

/// Does what was asked with the dead letters.
pub(super) async fn dead_letter(action: DeadLetterAction) -> Result<Exit, Failure> {
    match action {
        DeadLetterAction::List(args) => list(args).await,
        DeadLetterAction::Replay(args) => replay(args).await,
    }
}

async fn list(args: DeadLetterListArgs) -> Result<Exit, Failure> {
    let limit = args.limit;
    let letters = match open(&args.file)? {
        Opened::Here(data, broker) => {
            let letters = dead_letter::list(broker.as_ref(), limit).await;
            close(data, broker).await?;
            letters.map_err(failure)?
        }
        Opened::Elsewhere(owner) => {
            ask(&owner, |client, root| client.get(format!("{root}/api/v1/dead-letters?limit={limit}")))
                .await?
        }
        Opened::Nowhere => Vec::new(),
    };
    match args.format {
        StatsFormat::Json => super::print(&format!("{:#}\n", serde_json::json!(letters))),
        StatsFormat::Table => super::print(&table(&letters)),
    }
}

async fn replay(args: DeadLetterReplayArgs) -> Result<Exit, Failure> {
    let limit = args.limit.unwrap_or(usize::MAX);
    let Replayed { replayed, incomplete } = match open(&args.file)? {
        Opened::Here(data, broker) => {
            let replayed = dead_letter::replay(broker.as_ref(), &args.reason, limit).await;
            close(data, broker).await?;
            replayed.map_err(failure)?
        }
        Opened::Elsewhere(owner) => {
            let request = serde_json::json!({"reason": args.reason, "limit": args.limit});
            let post = |client: &reqwest::Client, root| {
                client.post(format!("{root}/api/v1/dead-letters/replay")).json(&request)
            };
            ask(&owner, post).await?
        }
        Opened::Nowhere => Replayed::default(),
    };
    if incomplete > 0 {
        super::say(&format!("{incomplete} stay: too long to be published, or only their beginning was kept"));
    }
    super::print(&format!("{replayed} replayed\n"))
}

/// Who has the dead letters.
enum Opened {
    /// A service, or this process, for nobody held the data. It is held as long as it is used.
    Here(DataDirectory, Arc<dyn Broker>),
    /// The process that holds the data.
    Elsewhere(Owner),
    /// There never were any.
    Nowhere,
}

fn open(file: &ConfigFile) -> Result<Opened, Failure> {
    let config = super::load(file, Vec::new())?.config;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let directory = app::data_directory(&config, &Source::None);
    let was_taken = DirectoryLock::was_taken(&directory);
    let mut data = DataDirectory::new(directory, config.storage.reserve);
    if let Some(broker) = app::remote_broker(&config)? {
        return Ok(Opened::Here(data, broker));
    }
    if !was_taken {
        return Ok(Opened::Nowhere);
    }
    match app::embedded_broker(&config, &mut data, &clock) {
        Ok(broker) => Ok(Opened::Here(data, broker)),
        Err(StartError::Directory(LockError::Held { owner, .. })) => Ok(Opened::Elsewhere(owner)),
        Err(error) => Err(error.into()),
    }
}

/// Ends the broker in front of the lock on its data.
async fn close(data: DataDirectory, broker: Arc<dyn Broker>) -> Result<(), Failure> {
    broker.close().await.map_err(failure)?;
    drop(broker);
    drop(data);
    Ok(())
}

fn failure(error: BrokerError) -> Failure {
    Failure::new(Exit::Unavailable, &error)
}

fn table(letters: &[Listed]) -> String {
    let mut lines =
        vec![format!("{:<22}{:>8}  {:<40}{:<40}{}", "time", "attempts", "reason", "origin", "body")];
    for Listed { time, reason, attempts, origin, body, .. } in letters {
        let time = time.map_or("-".to_owned(), |time| format!("{time:.0}"));
        // What comes from outside must not move the cursor.
        let [reason, origin, body] = [reason, origin, body].map(|text| printable(text));
        lines.push(format!("{time:<22}{attempts:>8}  {reason:<39} {origin:<39} {body}"));
    }
    lines.join("\n") + "\n"
}

fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}
