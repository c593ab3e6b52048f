//! The file: where it is looked for, and what the YAML reader makes of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use config::{FileFormat, Format, Map, Value};

use super::ConfigError;

/// Where a file is looked for, relative to the working directory; the first that exists is taken.
pub const SEARCH_ORDER: [&str; 3] = ["config.yaml", "config/config.yaml", "../config/config.yaml"];

/// Which file is read.
#[derive(Clone, PartialEq, Eq)]
pub enum FileChoice {
    /// The first of [`SEARCH_ORDER`] below this directory, if any; "" is the working directory.
    Search(PathBuf),
    /// This file, which must exist.
    Path(PathBuf),
    /// This text instead of a file, with the name that faults give it.
    Text {
        /// Name for faults and origins.
        name: PathBuf,
        /// What the file would hold.
        text: String,
    },
    /// No file.
    None,
}

impl Default for FileChoice {
    fn default() -> Self {
        Self::Search(PathBuf::new())
    }
}

impl FileChoice {
    /// Path and text of the file, or nothing where none is wanted or found.
    pub(super) fn read(self) -> Result<Option<(PathBuf, String)>, ConfigError> {
        match self {
            Self::None => Ok(None),
            Self::Text { name, text } => Ok(Some((name, text))),
            Self::Path(path) => read(&path).map(|text| Some((path, text))),
            Self::Search(directory) => search(&directory),
        }
    }
}

fn search(directory: &Path) -> Result<Option<(PathBuf, String)>, ConfigError> {
    for name in SEARCH_ORDER {
        let path = directory.join(name);
        match read(&path) {
            Ok(text) => return Ok(Some((path, text))),
            // Only absence leads on. A file that is there but can't be read must not be passed over in
            // silence.
            Err(ConfigError::Read { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

/// The keys of a YAML text. A text without any, or with nothing but comments, has none.
pub(super) fn parse(path: &Path, text: &str) -> Result<Map<String, Value>, ConfigError> {
    let error = match FileFormat::Yaml.parse(None, text) {
        Ok(keys) => return Ok(keys),
        Err(error) => error.to_string(),
    };
    // Nothing but `---`, or a lone null.
    if error == "invalid type: unit value, expected a map" {
        return Ok(Map::new());
    }
    // Only messages with a position are passed on: another quotes the whole file where that is a single
    // string.
    let (line, message) = position(&error)
        .unwrap_or_else(|| (None, "expected one document, a mapping of keys to plain values".to_owned()));
    Err(ConfigError::Syntax { path: path.to_owned(), line, message })
}

/// Takes the position out of the reader's message: `WHAT at byte 12 line 3 column 5`.
fn position(message: &str) -> Option<(Option<u32>, String)> {
    let (what, position) = message.rsplit_once(" at byte ")?;
    let line =
        position.split(' ').skip_while(|word| *word != "line").nth(1).and_then(|line| line.parse().ok());
    let what = match what.strip_prefix("String(").and_then(|rest| rest.split_once("): duplicated key")) {
        Some((key, _)) => format!("the key {key} is given twice"),
        None => what.to_owned(),
    };
    Some((line, what))
}
