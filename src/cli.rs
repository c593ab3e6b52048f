//! The command line: what can be asked for, and the exit codes that answer.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::source::generate::PayloadForm;
use crate::source::replay::Speed;

const EXIT_CODES: &str = "\
Exit codes:
  0   done, or stopped by a signal after everything in flight was settled
  1   failed while running, or `verify` found a difference
  2   the command line is wrong
  65  a replayed file is missing, no archive, or damaged; everything readable was counted
  69  something needed is not there: a history, an engine, a port, a server
  75  the data directory, or a backfill, is in use
  78  the configuration is wrong";

const EXAMPLES: &str = "\
Examples:
  pulsehub                                        watch GitHub and serve what happens
  pulsehub run --sample auto --host 127.0.0.1     the same, with a sample where GitHub cannot be reached
  pulsehub replay --exit 2026-11-01-15            count one hour of GH Archive
  pulsehub replay --rebase --live --speed 1 DIR   show archived hours as if they happened now
  pulsehub stats --format table                   what was counted
  pulsehub tail --url ws://127.0.0.1:8080/sampling";

/// Public GitHub activity, live: every event counted once, streamed over WebSocket.
#[derive(Debug, Parser)]
#[command(name = "pulsehub", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    /// What to do; `run` when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// `run`'s own flags, for use without a command.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run until stopped
    Run(RunArgs),
    /// Feed archive files, directories or hours through the same pipeline
    Replay(ReplayArgs),
    /// Print the counters as they stand
    Stats(StatsArgs),
    /// Recompute the year from history
    Backfill(BackfillArgs),
    /// Compare the counters with a recount from history
    Verify(YearArgs),
    /// Check, show or print the configuration
    Config(ConfigArgs),
    /// Follow the live feed in the terminal
    Tail(TailArgs),
    /// List what could not be processed, or process it again
    DeadLetter(DeadLetterArgs),
    /// Print realistic synthetic events, the same for the same seed
    Generate(GenerateArgs),
    /// Ask a running server whether it is well
    Healthcheck(HealthcheckArgs),
}

/// Which configuration file.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigFile {
    /// Configuration file [default: ./config.yaml, ./config/config.yaml, ../config/config.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `run`.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// What `replay` takes too.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Whether to stream generated events: never, always, or where GitHub cannot be reached [default: never]
    #[arg(long, value_name = "WHEN")]
    pub sample: Option<SampleWhen>,
}

/// What `run` and `replay` share.
#[derive(Debug, Clone, Default, Args)]
pub struct PipelineArgs {
    /// Which configuration file.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Roles of this process: poll, work, serve [default: all]
    #[arg(long, value_delimiter = ',', value_name = "ROLES")]
    pub roles: Vec<Role>,
    /// Address to listen on, instead of server.host
    #[arg(long)]
    pub host: Option<String>,
    /// Port to listen on, instead of server.port; 0 takes a free one
    #[arg(long)]
    pub port: Option<u16>,
}

/// A part of the pipeline that a process can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// Sources: read events and publish them.
    Poll,
    /// Workers: count what was published.
    Work,
    /// WebSocket and HTTP.
    Serve,
}

/// When generated events are streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SampleWhen {
    /// Where GitHub cannot be reached for 3 s, without a token and with the default configuration.
    Auto,
    /// At once.
    Always,
    /// Not at all.
    Never,
}

/// `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// What `run` takes too.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// So many times as fast as it happened, or max
    #[arg(long, default_value = "max")]
    pub speed: Speed,
    /// Shift created_at so that the first event happens now
    #[arg(long)]
    pub rebase: bool,
    /// Let --rebase write into real engines
    #[arg(long)]
    pub force: bool,
    /// Send events live however old they are
    #[arg(long)]
    pub live: bool,
    /// End once everything is applied and settled, also what GitHub is asked for again: while its GraphQL API is away that
    /// takes up to about an hour, and `github.enrich: never` leaves it out
    #[arg(long)]
    pub exit: bool,
    /// Files, directories, or hours such as 2026-11-01-15
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<String>,
}

/// `stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Which configuration file.
    #[command(flatten)]
    pub file: ConfigFile,
    /// The UTC year [default: this year]
    #[arg(long)]
    pub year: Option<i16>,
    /// For programs or for people
    #[arg(long, default_value = "json")]
    pub format: StatsFormat,
}

/// How `stats` and `dead-letter list` print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatsFormat {
    /// One JSON value.
    Json,
    /// A table.
    Table,
}

/// `backfill`.
#[derive(Debug, Args)]
pub struct BackfillArgs {
    /// Which configuration file, and which year.
    #[command(flatten)]
    pub year: YearArgs,
    /// Count the year anew from history, in place of the state's own counts; workers wait meanwhile. Only where
    /// history.write is true
    #[arg(long)]
    pub overwrite: bool,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct YearArgs {
    /// Which configuration file.
    #[command(flatten)]
    pub file: ConfigFile,
    /// The UTC year [default: this year]
    #[arg(long)]
    pub year: Option<i16>,
}

/// `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// What can be done with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Name every fault, with its path and a suggestion
    Check(ConfigFile),
    /// Print every value with its origin, secrets masked
    Show(ConfigFile),
    /// Print the built-in default, with every key explained
    Default,
    /// Print the JSON Schema
    Schema,
}

/// `dead-letter`.
#[derive(Debug, Args)]
pub struct DeadLetterArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub action: DeadLetterAction,
}

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLetterAction {
    /// Print them, the oldest first: time, reason, attempts, origin, the first bytes of the body
    List(DeadLetterListArgs),
    /// Publish their bodies again, and remove them once the broker has confirmed
    Replay(DeadLetterReplayArgs),
}

/// `dead-letter list`.
#[derive(Debug, Args)]
pub struct DeadLetterListArgs {
    /// Which configuration file.
    #[command(flatten)]
    pub file: ConfigFile,
    /// For programs or for people
    #[arg(long, default_value = "json")]
    pub format: StatsFormat,
    /// How many at most
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
}

/// `dead-letter replay`.
#[derive(Debug, Args)]
pub struct DeadLetterReplayArgs {
    /// Which configuration file.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Only those whose reason contains this [default: every reason]
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// How many at most [default: all]
    #[arg(long)]
    pub limit: Option<usize>,
}

/// `tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// WebSocket endpoint
    #[arg(long, default_value = "ws://127.0.0.1:8080/sampling")]
    pub url: String,
    /// Params to send, as JSON
    #[arg(long, value_name = "JSON")]
    pub params: Option<String>,
    /// Print frames as they come
    #[arg(long)]
    pub raw: bool,
}

/// `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// How many events
    #[arg(long)]
    pub events: u64,
    /// The same seed gives the same events
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// One event a line, or pages of 100 as the Events API sends them, one page a line
    #[arg(long, default_value = "archive")]
    pub format: GenerateFormat,
    /// Pull requests as before October 2025, or as since then
    #[arg(long, default_value = "full")]
    pub payload: PayloadForm,
    /// When the first event happens
    #[arg(long, default_value = "2026-01-01T00:00:00Z")]
    pub start: jiff::Timestamp,
}

/// How `generate` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GenerateFormat {
    /// As an archive file.
    Archive,
    /// As answers of the Events API, newest first.
    Api,
}

/// `healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// Which configuration file.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Where to ask [default: what the configuration says, on this machine]
    #[arg(long)]
    pub url: Option<String>,
    /// Ask the admin listener, which processes without the role serve have too
    #[arg(long, conflicts_with = "url")]
    pub admin: bool,
}

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Success,
    /// Something failed while running.
    Failure,
    /// A replayed file is bad.
    BadData,
    /// Something needed is not there.
    Unavailable,
    /// The data directory is in use.
    InUse,
    /// The configuration is wrong.
    BadConfig,
}

impl From<Exit> for ExitCode {
    /// The numbers of `sysexits.h`, where it has one.
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::BadData => 65,
            Exit::Unavailable => 69,
            Exit::InUse => 75,
            Exit::BadConfig => 78,
        })
    }
}
