//! `config`: check, show, default, schema.

use std::io::Write;

use super::Failure;
use crate::cli::{ConfigAction, Exit};
use crate::config::{DEFAULT_YAML, schema};

/// Does what was asked with the configuration.
pub fn config(action: &ConfigAction) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    match action {
        ConfigAction::Check(file) => {
            let loaded = super::load(file, Vec::new())?;
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            let source =
                loaded.file.map_or("the built-in default".to_owned(), |path| path.display().to_string());
            writeln!(out, "{source} is valid")?;
        }
        ConfigAction::Show(file) => write!(out, "{}", super::load(file, Vec::new())?.show())?,
        ConfigAction::Default => write!(out, "{DEFAULT_YAML}")?,
        ConfigAction::Schema => writeln!(out, "{:#}", schema())?,
    }
    Ok(Exit::Success)
}
