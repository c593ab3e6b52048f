//! `config`: check, show, default, schema.

use super::Failure;
use crate::cli::{ConfigAction, Exit};
use crate::config::{DEFAULT_YAML, schema};

/// Does what was asked with the configuration.
pub fn config(action: &ConfigAction) -> Result<Exit, Failure> {
    match action {
        ConfigAction::Check(file) => {
            let loaded = super::load(file, Vec::new())?;
            for warning in &loaded.warnings {
                super::say(&format!("warning: {warning}"));
            }
            let source =
                loaded.file.map_or("the built-in default".to_owned(), |path| path.display().to_string());
            super::print(&format!("{source} is valid\n"))
        }
        ConfigAction::Show(file) => super::print(&super::load(file, Vec::new())?.show()),
        ConfigAction::Default => super::print(DEFAULT_YAML),
        ConfigAction::Schema => super::print(&format!("{:#}\n", schema())),
    }
}
