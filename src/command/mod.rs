//! The commands, a file each: reads the configuration, does the work, answers with an exit code.

mod config;
mod dead_letter;
mod generate;
mod healthcheck;
mod history;
mod owner;
mod reload;
mod replay;
mod run;
mod signals;
mod stats;
mod tail;

use std::io::{ErrorKind, Write};

use crate::app::StartError;
use crate::cli::{Cli, Command, ConfigFile, Exit};
use crate::config::{ConfigError, FileChoice, Loaded, Override, Sources};
use crate::storage::LockError;

/// Runs the command that was asked for.
pub async fn dispatch(cli: Cli) -> Exit {
    let result = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => run::run(args).await,
        Command::Replay(args) => replay::replay(args).await,
        Command::Stats(args) => stats::stats(args).await,
        Command::Backfill(args) => history::backfill(args).await,
        Command::Verify(args) => history::verify(args).await,
        Command::Config(args) => config::config(&args.action),
        Command::DeadLetter(args) => dead_letter::dead_letter(args.action).await,
        Command::Tail(args) => tail::tail(args).await,
        Command::Generate(args) => generate::generate(&args),
        Command::Healthcheck(args) => healthcheck::healthcheck(args).await,
    };
    result.unwrap_or_else(|failure| {
        say(&format!("pulsehub: {}", failure.message));
        failure.exit
    })
}

/// Prints a result. Whoever reads it may stop when it has read enough.
fn print(text: &str) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Success),
        printed => Ok(printed.map(|()| Exit::Success)?),
    }
}

/// Says something beside the result. Nobody may be listening any more, which is no reason to panic.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Why a command failed: what people read, and the code that programs read.
#[derive(Debug)]
struct Failure {
    message: String,
    exit: Exit,
}

impl Failure {
    fn new(exit: Exit, error: &dyn std::error::Error) -> Self {
        Self { message: crate::error_chain(error), exit }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::BadConfig, &error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failure, &error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let exit = match &error {
            StartError::Directory(LockError::Held { .. }) | StartError::Archive(LockError::Held { .. }) => {
                Exit::InUse
            }
            StartError::Listen { .. } => Exit::Unavailable,
            StartError::PollWithoutWork
            | StartError::WorkApartFromServe
            | StartError::ServeWithoutState
            | StartError::WorkWithoutState
            | StartError::GitHub(_)
            | StartError::Pulsar(_) => Exit::BadConfig,
            StartError::Replay(_) => Exit::BadData,
            _ => Exit::Failure,
        };
        Self::new(exit, &error)
    }
}

/// Loads the configuration as the process's environment and `overrides` have it.
fn load(file: &ConfigFile, overrides: Vec<Override>) -> Result<Loaded, ConfigError> {
    let file = match &file.config {
        Some(path) => FileChoice::Path(path.clone()),
        None => FileChoice::Search(".".into()),
    };
    crate::config::load(
        Sources { file, overrides, ..Sources::default() }.with_environment(std::env::vars_os()),
    )
}
