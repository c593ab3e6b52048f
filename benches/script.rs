//! Redis by its script alone: a bench of its own, which prints its own table.

use std::process::Command;

use super::table::Row;
use super::{Bench, Result};

/// Runs `cargo bench --bench redis`; its table stands before this one's.
pub fn rows(_: &Bench) -> Result<Vec<Row>> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["bench", "--bench", "redis"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = command.status()?;
    if status.success() { Ok(Vec::new()) } else { Err(format!("it ended with {status}").into()) }
}
