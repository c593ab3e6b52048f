//! The schema read back as a tree: which keys there are, how they are spelled, and what kind of value each
//! takes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde_json::Value;

use super::{schema, span};

/// What a key takes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// Further keys.
    Section(BTreeMap<String, Shape>),
    /// Any number of one other kind.
    List(Box<Shape>),
    /// `true` or `false`.
    Boolean,
    /// A whole number within bounds.
    Integer { min: i64, max: i64 },
    /// One of a few words.
    Choice(Vec<String>),
    /// A span of time.
    Span,
    /// Any text, which is never quoted when it is secret.
    Text { secret: bool },
}

impl Shape {
    /// The shape of the whole configuration.
    pub(super) fn root() -> &'static Shape {
        static ROOT: LazyLock<Shape> = LazyLock::new(|| Shape::of(&schema::derived()));
        &ROOT
    }

    fn of(schema: &Value) -> Shape {
        // An optional value of its own type comes as `anyOf: [it, null]`.
        if let Some(first) = schema["anyOf"].get(0) {
            return Self::of(first);
        }
        if let Some(properties) = schema["properties"].as_object() {
            return Self::Section(
                properties.iter().map(|(key, schema)| (key.clone(), Self::of(schema))).collect(),
            );
        }
        if let Some(words) = words(schema) {
            return Self::Choice(words);
        }
        if schema["format"] == span::FORMAT {
            return Self::Span;
        }
        // Likewise an optional string as `type: [string, null]`.
        match schema["type"].get(0).unwrap_or(&schema["type"]).as_str() {
            Some("array") => Self::List(Box::new(Self::of(&schema["items"]))),
            Some("boolean") => Self::Boolean,
            Some("integer") => Self::integer(schema),
            _ => Self::Text { secret: schema["writeOnly"] == true },
        }
    }

    /// The bounds of an integer: as written, else those of the Rust type that reads it.
    fn integer(schema: &Value) -> Shape {
        let widest = match schema["format"].as_str() {
            Some("uint32") => u32::MAX.into(),
            Some("int32") => i32::MAX.into(),
            _ => i64::MAX,
        };
        Self::Integer {
            min: schema["minimum"].as_i64().unwrap_or(i64::MIN),
            max: schema["maximum"].as_i64().unwrap_or(widest),
        }
    }

    /// Whether values of this kind must not be shown.
    pub(super) fn is_secret(&self) -> bool {
        match self {
            Self::Text { secret } => *secret,
            Self::List(item) => item.is_secret(),
            Self::Section(keys) => keys.values().any(Self::is_secret),
            _ => false,
        }
    }

    /// The key that is written `name` in whatever case, in its own spelling.
    pub(super) fn child(&self, name: &str) -> Option<(&str, &Shape)> {
        let Self::Section(keys) = self else { return None };
        keys.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(key, shape)| (key.as_str(), shape))
    }

    /// Every path below this shape, sections before what is in them.
    pub(super) fn paths(&self) -> Vec<(String, &Shape)> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    /// Every path below this shape that takes a value.
    pub(super) fn leaves(&self) -> impl Iterator<Item = (String, &Shape)> {
        self.paths().into_iter().filter(|(_, shape)| !matches!(shape, Self::Section(_)))
    }

    fn collect<'a>(&'a self, parent: &str, paths: &mut Vec<(String, &'a Shape)>) {
        let Self::Section(keys) = self else { return };
        for (key, shape) in keys {
            let path = join(parent, key);
            paths.push((path.clone(), shape));
            shape.collect(&path, paths);
        }
    }
}

/// The words of an enumeration, which schemars writes as `enum`, or as `oneOf` constants where they are
/// documented.
fn words(schema: &Value) -> Option<Vec<String>> {
    let values: Vec<&Value> = match (schema["enum"].as_array(), schema["oneOf"].as_array()) {
        (Some(words), _) => words.iter().collect(),
        (None, Some(cases)) => cases.iter().map(|case| &case["const"]).collect(),
        (None, None) => return None,
    };
    Some(values.into_iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// What a fault says was expected.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Section(_) => f.write_str("a section of keys"),
            Self::List(item) if matches!(**item, Self::Section(_)) => f.write_str("a list of sections"),
            Self::List(_) => f.write_str("a list of strings"),
            Self::Boolean => f.write_str("true or false"),
            Self::Integer { min, max } => write!(f, "an integer from {min} to {max}"),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Self::Span => f.write_str("a duration such as 1h30m, 10s or 500ms"),
            Self::Text { .. } => f.write_str("a string"),
        }
    }
}

/// A key below a path.
pub(super) fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}
