//! Where events come from. Every source hands what it reads to the same intake: claim → publish → confirm.

pub mod generate;
pub mod github;
mod intake;
pub mod replay;
pub mod sample;
pub mod scan;
pub mod webhook;

pub use intake::{Candidate, Intake, IntakeError, Origin, Rejected, Submitted};
