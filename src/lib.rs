//! pulsehub: public GitHub activity, live.
//!
//! The modules in the order in which an event meets them; `ARCHITECTURE.md` tells the same as a story.

pub mod event;
pub mod mutation;

pub mod delivery;
pub mod source;

pub mod coverage;

pub mod archive;

pub mod dedup;
pub mod enrich;

pub mod broker;

pub mod worker;

pub mod domain;

pub mod state;

pub mod history;

pub mod live;

pub mod server;

pub mod alert;
pub mod app;
pub mod cli;
pub mod command;
pub mod config;

pub mod clock;
pub mod retry;
pub mod shutdown;
pub mod status;
pub mod storage;
pub mod telemetry;

/// An error with all its causes, for a log line: each `Display` says only its own part.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
