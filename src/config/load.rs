//! The layers and their merge: built-in default < file < environment < flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::iter;
use std::path::{Path, PathBuf};

use config::ValueKind;

use super::check::Layer;
use super::fault::Fault;
use super::file::{self, FileChoice};
use super::reload::Written;
use super::validate::{Finding, validate};
use super::{Config, ConfigError, DEFAULT_YAML, text};

/// The origin of what nobody said.
pub(super) const DEFAULT: &str = "default";

/// A value from a flag: path of the key, value as text, and the origin to show, such as `flag --port`.
pub type Override = (String, String, String);

/// Everything that a configuration is made from. Without `Debug`, for it holds secrets in plain text.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file; by default the first that the search order finds.
    pub file: FileChoice,
    /// Variables, usually [`std::env::vars_os`]; those that don't concern us are passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags.
    pub overrides: Vec<Override>,
}

impl Sources {
    /// The built-in default alone.
    #[must_use]
    pub fn builtin() -> Self {
        Self { file: FileChoice::None, ..Self::default() }
    }

    /// The same with these variables.
    #[must_use]
    pub fn with_environment<K, V>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        self.environment = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }
}

/// A configuration and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Whether there was no file, or one that is byte for byte the built-in default.
    pub file_is_default: bool,
    /// For each key that has a value where that was said: `default`, a file, `environment NAME` or a flag.
    pub origins: BTreeMap<String, String>,
    /// What isn't wrong, but should be known.
    pub warnings: Vec<String>,
    /// The values as they were written.
    pub(super) written: Written,
}

/// Reads, checks and merges all layers.
///
/// # Errors
/// Everything that is wrong, at once, as [`ConfigError::Invalid`]; a file that can't be read, or isn't YAML,
/// before anything else.
pub fn load(sources: Sources) -> Result<Loaded, ConfigError> {
    let Sources { file, environment, overrides } = sources;
    let mut faults = Vec::new();
    let faults_mut = &mut faults;

    let defaults = Layer::of_tree(file::parse(Path::new(DEFAULT), DEFAULT_YAML)?, DEFAULT, faults_mut);
    let found = file.read()?;
    let file_is_default = found.as_ref().is_none_or(|(_, text)| text == DEFAULT_YAML);
    let from_file = match &found {
        Some((path, text)) => {
            Layer::of_tree(file::parse(path, text)?, &path.display().to_string(), faults_mut)
        }
        None => Layer::default(),
    };
    let from_environment = text::environment(&environment, faults_mut);
    let from_flags = text::overrides(&overrides, faults_mut);

    let mut layers = vec![defaults, from_file, from_environment, from_flags];
    if !layers.iter().any(gives_tokens) {
        layers.push(text::github_token(&environment, faults_mut));
    }
    let (origins, written) = (origins(&layers), Written::of(&layers));
    let config = merge(layers)?;

    let findings = validate(&config);
    // A key at fault already has its default here; what follows from that isn't the operator's mistake.
    let known: Vec<String> = faults.iter().map(|fault| fault.path.clone()).collect();
    for Finding { path, message, related } in findings.faults {
        let mut concerned = iter::once(path.as_str()).chain(related.iter().copied());
        if !concerned.clone().any(|path| known.iter().any(|known| known == path)) {
            let origin = concerned.find_map(|path| said_by(path, &origins)).unwrap_or(DEFAULT).to_owned();
            faults.push(Fault { path, message, suggestion: None, origin });
        }
    }
    if !faults.is_empty() {
        return Err(ConfigError::Invalid(faults));
    }
    let mut warnings = findings.warnings;
    if let Some((_, origin)) = origins.iter().find(|(path, _)| path.starts_with("risingwave.")) {
        warnings.push(format!("risingwave is no longer used and ignored; remove it [{origin}]"));
    }
    let file = found.map(|(path, _)| path);
    Ok(Loaded { config, file, file_is_default, origins, warnings, written })
}

fn gives_tokens(layer: &Layer) -> bool {
    let tokens = layer.leaves.get("github.tokens").map(|value| &value.kind);
    matches!(tokens, Some(ValueKind::Array(tokens)) if !tokens.is_empty())
}

/// Where each key's value comes from: the last layer that has it.
fn origins(layers: &[Layer]) -> BTreeMap<String, String> {
    let leaves = layers.iter().flat_map(|layer| &layer.leaves);
    leaves.map(|(path, value)| (path.clone(), value.origin().unwrap_or_default().to_owned())).collect()
}

/// Who said the value of a path, which may be an item of a list; nobody where it is the default.
fn said_by<'a>(path: &str, origins: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let key = path.split('[').next().unwrap_or(path);
    origins.get(key).map(String::as_str).filter(|origin| *origin != DEFAULT)
}

fn merge(layers: Vec<Layer>) -> Result<Config, ConfigError> {
    let mut builder = config::Config::builder();
    for layer in layers {
        builder = builder.add_source(layer);
    }
    builder.build().and_then(config::Config::try_deserialize).map_err(ConfigError::Inconsistent)
}
