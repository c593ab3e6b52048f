//! `stats`: the counters as they stand, from a running process or from its data.

use std::sync::Arc;
use std::time::Duration;

use super::{Failure, owner};
use crate::app::{DataDirectory, Source, StartError, data_directory, embedded_state, remote_state};
use crate::cli::{Exit, StatsArgs, StatsFormat};
use crate::clock::{Clock, SystemClock};
use crate::event::year_of;
use crate::state::State;
use crate::state::report::{Daily, Report, Sum, report, window};
use crate::storage::{DirectoryLock, LockError, Owner};

/// How long the owner may take to read its counters.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints the counters.
pub(super) async fn stats(args: StatsArgs) -> Result<Exit, Failure> {
    let loaded = super::load(&args.file, Vec::new())?;
    let now = SystemClock.unix_seconds();
    let year = args.year.unwrap_or_else(|| year_of(now));
    let directory = data_directory(&loaded.config, &Source::None);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let during = window(now, loaded.config.interval.latest_during_s);
    let read = async |state: &dyn State| {
        report(state, year, during.clone()).await.map_err(|error| Failure::new(Exit::Unavailable, &error))
    };
    let sample = DirectoryLock::holder(&data_directory(&loaded.config, &Source::Sample));
    let report = if let Some(state) = remote_state(&loaded.config, &clock)? {
        read(state.as_ref()).await?
    } else if let Some(owner) = sample {
        super::say("these are the counters of a running sample: its events are generated");
        ask(&owner, year).await?
    } else if !DirectoryLock::was_taken(&directory) {
        Report { year, ..Report::default() }
    } else {
        match DataDirectory::new(directory, loaded.config.storage.reserve).open() {
            Ok(storage) => read(embedded_state(&loaded.config, storage)?.as_ref()).await?,
            Err(StartError::Directory(LockError::Held { owner, .. })) => ask(&owner, year).await?,
            Err(error) => return Err(error.into()),
        }
    };
    match args.format {
        // Numbers and strings always serialise.
        StatsFormat::Json => super::print(&(serde_json::to_string(&report).unwrap_or_default() + "\n")),
        StatsFormat::Table => super::print(&table(&report)),
    }
}

/// Asks the process that owns the data.
async fn ask(owner: &Owner, year: i16) -> Result<Report, Failure> {
    let path = format!("/api/v1/stats?year={year}");
    owner::ask(owner, |client, root| client.get(root + &path).timeout(PATIENCE)).await
}

fn table(report: &Report) -> String {
    let mut lines = vec![format!(
        "{:<12}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "day", "event", "open", "merge", "close", "dev"
    )];
    for (day, Daily { event, open, merge, close, dev }) in &report.daily {
        lines.push(format!("{day:<12}{event:>10}{open:>10}{merge:>10}{close:>10}{dev:>10}"));
    }
    let Sum { dev, repo, additions, deletions } = report.sum;
    lines.push(format!(
        "\n{}: {dev} developers, {repo} repositories, +{additions} -{deletions} lines",
        report.year
    ));
    let mut languages: Vec<_> = report.language.iter().collect();
    languages.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    for (name, count) in languages {
        lines.push(format!("{name:<22}{count:>10}"));
    }
    lines.join("\n") + "\n"
}
