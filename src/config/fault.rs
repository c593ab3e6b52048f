//! What can be wrong: one fault a line, all of them at once.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// One thing wrong with the configuration. It never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path of the key, such as `github.tokens[0]`.
    pub path: String,
    /// What is wrong, in lower case, without a full stop.
    pub message: String,
    /// What was probably meant: a path, or a word for the value.
    pub suggestion: Option<String>,
    /// Where the value was said: a file, a variable or a flag.
    pub origin: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, " (did you mean {suggestion}?)")?;
        }
        write!(f, " [{}]", self.origin)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Faults in what was said, one line each; there is at least one.
    #[error("{}", lines(.0))]
    Invalid(Vec<Fault>),
    /// The file is missing or can't be read.
    #[error("{}: cannot read the configuration file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not YAML, or not a mapping of keys.
    #[error("{}: {message}", place(path, *line))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1, where it is known.
        line: Option<u32>,
        /// What is wrong there.
        message: String,
    },
    /// The structs refuse what their own schema allows: a fault of the program, not of the configuration.
    #[error("the checked configuration could not be read")]
    Inconsistent(#[source] config::ConfigError),
}

impl ConfigError {
    /// The faults, where there are any to list.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        match self {
            Self::Invalid(faults) => faults,
            _ => &[],
        }
    }
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

fn place(path: &Path, line: Option<u32>) -> String {
    line.map_or_else(|| path.display().to_string(), |line| format!("{}:{line}", path.display()))
}
