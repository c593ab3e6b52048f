//! Values from variables and flags, which are text: given the kind that their key takes.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;

use config::{Value, ValueKind};
use serde_json::Value as Json;

use super::Override;
use super::check::Layer;
use super::fault::Fault;
use super::shape::Shape;

/// What the names of variables begin with, in any case.
const PREFIX: &str = "PULSEHUB__";

/// What the name of a variable ends with that gives the path of a file with the secret.
const FILE_SUFFIX: &str = "_FILE";

/// The variable that is used when no token is given anywhere else.
pub(super) const GITHUB_TOKEN: &str = "GITHUB_TOKEN";

/// The layer of variables `PULSEHUB__SECTION__KEY`.
pub(super) fn environment(variables: &[(OsString, OsString)], faults: &mut Vec<Fault>) -> Layer {
    let mut ours: Vec<(&str, &OsStr)> = variables
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value.as_os_str())))
        .filter(|(name, _)| name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)))
        .collect();
    ours.sort_unstable();
    let mut layer = Layer::default();
    let mut seen = BTreeSet::new();
    for (name, value) in ours {
        let origin = format!("environment {name}");
        let written = name[PREFIX.len()..].replace("__", ".");
        let mut fault = |path: &str, message: String| {
            faults.push(Fault { path: path.to_owned(), message, suggestion: None, origin: origin.clone() });
        };
        let (written, from_file) = match of_file(&written) {
            Some(secret) => (secret, true),
            None => (written, false),
        };
        let Some(value) = value.to_str() else {
            fault(&written.to_ascii_lowercase(), "is not valid UTF-8".to_owned());
            continue;
        };
        let value = match from_file.then(|| fs::read_to_string(value)) {
            None => value.to_owned(),
            Some(Ok(text)) => text.trim_end_matches(['\r', '\n']).to_owned(),
            // The name isn't quoted: it may be the secret itself, by mistake.
            Some(Err(error)) => {
                fault(&written, format!("cannot read the file that it names: {error}"));
                continue;
            }
        };
        if !seen.insert(written.to_ascii_lowercase()) {
            fault(&written, "is given by two variables".to_owned());
            continue;
        }
        layer.set_text(&written, &value, &origin, faults);
    }
    layer
}

/// The path of the secret that `PATH_FILE` means; nothing where it isn't a secret, so that the name stays
/// unknown.
fn of_file(written: &str) -> Option<String> {
    let at = written.len().checked_sub(FILE_SUFFIX.len())?;
    let (stem, suffix) = (written.get(..at)?, written.get(at..)?);
    let secret = suffix.eq_ignore_ascii_case(FILE_SUFFIX);
    let mut leaves = Shape::root().leaves().filter(|(_, shape)| secret && shape.is_secret());
    leaves.find(|(path, _)| path.eq_ignore_ascii_case(stem)).map(|(path, _)| path)
}

/// The layer of flags. Of two for the same key the later one holds.
pub(super) fn overrides(overrides: &[Override], faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::default();
    for (path, value, origin) in overrides {
        layer.set_text(path, value, origin, faults);
    }
    layer
}

/// The layer of `GITHUB_TOKEN`, the name that GitHub's own tools use.
pub(super) fn github_token(variables: &[(OsString, OsString)], faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::default();
    let value = variables.iter().find(|(name, _)| name == GITHUB_TOKEN).and_then(|(_, value)| value.to_str());
    if let Some(token) = value.map(str::trim).filter(|token| !token.is_empty()) {
        layer.set_text("github.tokens", token, &format!("environment {GITHUB_TOKEN}"), faults);
    }
    layer
}

/// A text as the kind of value that `shape` takes. What doesn't parse stays text, for the check to complain
/// about.
///
/// An empty text for anything but a string counts as not set, as deployment tools pass on variables they have
/// no value for.
pub(super) fn value(shape: &Shape, text: &str, origin: &str) -> Option<Value> {
    let text_value = |text: &str| Value::new(Some(&origin.to_owned()), ValueKind::String(text.to_owned()));
    let trimmed = text.trim();
    let kind = match shape {
        Shape::Text { .. } => return Some(text_value(text)),
        Shape::List(item) if matches!(**item, Shape::Section(_)) => match serde_json::from_str(trimmed) {
            _ if trimmed.is_empty() => ValueKind::Array(Vec::new()),
            Ok(json) => from_json(json),
            Err(_) => return Some(text_value(trimmed)),
        },
        Shape::List(_) => {
            let items = text.split([',', '\n']).map(str::trim).filter(|_| !trimmed.is_empty());
            ValueKind::Array(items.map(text_value).collect())
        }
        _ if trimmed.is_empty() => return None,
        Shape::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "true" => ValueKind::Boolean(true),
            "false" => ValueKind::Boolean(false),
            _ => return Some(text_value(trimmed)),
        },
        Shape::Integer { .. } => match trimmed.parse::<i64>() {
            Ok(number) => ValueKind::I64(number),
            Err(_) => return Some(text_value(trimmed)),
        },
        Shape::Choice(_) | Shape::Span | Shape::Section(_) => return Some(text_value(trimmed)),
    };
    Some(Value::new(Some(&origin.to_owned()), kind))
}

/// Sections in a variable or flag are written as JSON.
fn from_json(value: Json) -> ValueKind {
    let nested = |value| Value::new(None, from_json(value));
    match value {
        Json::Null => ValueKind::Nil,
        Json::Bool(value) => ValueKind::Boolean(value),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => ValueKind::I64(integer),
            None => ValueKind::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => ValueKind::String(text),
        Json::Array(items) => ValueKind::Array(items.into_iter().map(nested).collect()),
        Json::Object(keys) => {
            ValueKind::Table(keys.into_iter().map(|(key, value)| (key, nested(value))).collect())
        }
    }
}
