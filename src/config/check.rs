//! The walk of one layer against the shape: it spells keys as the schema does and names everything that
//! doesn't fit.

use std::collections::{BTreeMap, HashMap};

use config::{Map, Source, Value, ValueKind};

use super::fault::Fault;
use super::shape::{Shape, join};
use super::suggest::{closest, suggest};
use super::{Span, address, text};

/// How many characters of a wrong value are quoted.
const QUOTED: usize = 40;

/// What one source says: the values that fit, by path in the schema's spelling, each with its origin.
///
/// What doesn't fit is left out, so that the layer below stands in and the rest can still be checked in the
/// same run.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) leaves: BTreeMap<String, Value>,
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.leaves.clone().into_iter().collect())
    }
}

impl Layer {
    /// Reads the keys of a file.
    pub(super) fn of_tree(keys: Map<String, Value>, origin: &str, faults: &mut Vec<Fault>) -> Self {
        let mut layer = Self::default();
        layer.section("", Shape::root(), keys, origin, faults);
        layer
    }

    fn section(
        &mut self,
        path: &str,
        shape: &Shape,
        keys: Map<String, Value>,
        origin: &str,
        faults: &mut Vec<Fault>,
    ) {
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut spellings: HashMap<&str, String> = HashMap::new();
        for (written, value) in keys {
            let Some((key, shape)) = shape.child(&written) else {
                faults.push(unknown(path, &written, shape, origin));
                continue;
            };
            let path = join(path, key);
            if let Some(first) = spellings.insert(key, written.clone()) {
                let message = format!("is given twice, as {first} and as {written}");
                faults.push(fault(path, message, origin));
                continue;
            }
            match value.kind {
                // A key with nothing behind it says nothing.
                ValueKind::Nil => {}
                ValueKind::Table(keys) if matches!(shape, Shape::Section(_)) => {
                    self.section(&path, shape, keys, origin, faults);
                }
                kind => self.set(path, shape, kind, origin, faults),
            }
        }
    }

    /// Reads a variable or flag: `written` is a path in any case.
    pub(super) fn set_text(&mut self, written: &str, text: &str, origin: &str, faults: &mut Vec<Fault>) {
        let (mut path, mut shape) = (String::new(), Shape::root());
        for segment in written.split('.') {
            match shape.child(segment) {
                Some((key, child)) => (path, shape) = (join(&path, key), child),
                None => {
                    let rest = written.get(path.len()..).unwrap_or(written).trim_start_matches('.');
                    faults.push(unknown(&path, &rest.to_ascii_lowercase(), shape, origin));
                    return;
                }
            }
        }
        if let Some(value) = text::value(shape, text, origin) {
            self.set(path, shape, value.kind, origin, faults);
        }
    }

    fn set(&mut self, path: String, shape: &Shape, kind: ValueKind, origin: &str, faults: &mut Vec<Fault>) {
        // A list of which some items fit is left out as a whole.
        let before = faults.len();
        if let Some(kind) = fit(&path, shape, kind, origin, faults)
            && faults.len() == before
        {
            self.leaves.insert(path, Value::new(Some(&origin.to_owned()), kind));
        }
    }
}

/// The value in the form that the structs read, or a fault.
fn fit(
    path: &str,
    shape: &Shape,
    kind: ValueKind,
    origin: &str,
    faults: &mut Vec<Fault>,
) -> Option<ValueKind> {
    let reason = match (shape, &kind) {
        (Shape::Text { .. }, ValueKind::String(_)) | (Shape::Boolean, ValueKind::Boolean(_)) => {
            return Some(kind);
        }
        (Shape::Integer { min, max }, ValueKind::I64(number)) if (min..=max).contains(&number) => {
            return Some(kind);
        }
        (Shape::Choice(words), ValueKind::String(text)) => {
            match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
                Some(word) => return Some(ValueKind::String(word.clone())),
                None => None,
            }
        }
        (Shape::Span, ValueKind::I64(0)) => return Some(ValueKind::String(Span::default().to_string())),
        (Shape::Span, ValueKind::String(text)) => match text.parse::<Span>() {
            Ok(_) => return Some(kind),
            Err(error) => Some(error.to_string()),
        },
        (Shape::Span, ValueKind::I64(number)) => Some(format!("a unit is missing, as in {number}s")),
        (Shape::Text { .. }, ValueKind::I64(_) | ValueKind::Float(_) | ValueKind::Boolean(_)) => {
            Some("put it in quotes".to_owned())
        }
        (Shape::List(item), ValueKind::Array(_)) => return fit_list(path, item, kind, origin, faults),
        (Shape::Section(_), ValueKind::Table(_)) => return fit_section(path, shape, kind, origin, faults),
        (Shape::List(_), ValueKind::String(_)) => Some("write it as [x, y]".to_owned()),
        _ => None,
    };
    let reason = reason.map(|reason| format!("; {reason}")).unwrap_or_default();
    let message = format!("expected {shape}, found {}{reason}", found(shape, &kind));
    let suggestion = match (shape, &kind) {
        (Shape::Choice(words), ValueKind::String(text)) => closest(text, words.iter().map(String::as_str)),
        _ => None,
    };
    faults.push(Fault { suggestion, ..fault(path.to_owned(), message, origin) });
    None
}

fn fit_list(
    path: &str,
    item: &Shape,
    kind: ValueKind,
    origin: &str,
    faults: &mut Vec<Fault>,
) -> Option<ValueKind> {
    let ValueKind::Array(items) = kind else { return None };
    let mut fitting = Vec::with_capacity(items.len());
    for (index, value) in items.into_iter().enumerate() {
        let kind = fit(&format!("{path}[{index}]"), item, value.kind, origin, faults);
        fitting.extend(kind.map(|kind| Value::new(Some(&origin.to_owned()), kind)));
    }
    Some(ValueKind::Array(fitting))
}

/// A section that is an item of a list, which is one value as a whole.
fn fit_section(
    path: &str,
    shape: &Shape,
    kind: ValueKind,
    origin: &str,
    faults: &mut Vec<Fault>,
) -> Option<ValueKind> {
    let ValueKind::Table(keys) = kind else { return None };
    let mut fitting = Map::new();
    let mut keys: Vec<_> = keys.into_iter().filter(|(_, value)| value.kind != ValueKind::Nil).collect();
    keys.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    for (written, value) in keys {
        let Some((key, child)) = shape.child(&written) else {
            faults.push(unknown(path, &written, shape, origin));
            continue;
        };
        let path = join(path, key);
        if let Some(kind) = fit(&path, child, value.kind, origin, faults) {
            let twice = fitting.insert(key.to_owned(), Value::new(Some(&origin.to_owned()), kind)).is_some();
            if twice {
                faults.push(fault(path, format!("is given twice, the second time as {written}"), origin));
            }
        }
    }
    Some(ValueKind::Table(fitting))
}

/// What was found, quoted only where it can't be a secret: a section's place may hold one by mistake.
fn found(shape: &Shape, kind: &ValueKind) -> String {
    let hidden = shape.is_secret() || matches!(shape, Shape::Section(_) | Shape::List(_));
    match kind {
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::Table(_) => "a section of keys".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::String(_) if hidden => "a string".to_owned(),
        ValueKind::Boolean(_) if hidden => "a boolean".to_owned(),
        _ if hidden => "a number".to_owned(),
        ValueKind::String(text) => format!("the string {:?}", quoted(text)),
        ValueKind::Boolean(value) => value.to_string(),
        ValueKind::Float(number) => number.to_string(),
        ValueKind::I64(number) => number.to_string(),
        _ => "a number".to_owned(),
    }
}

/// The start of a text that isn't secret by itself, without a password that may be part of it.
pub(super) fn quoted(text: &str) -> String {
    let masked = address::mask(text);
    match masked.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &masked[..end]),
        None => masked,
    }
}

fn fault(path: String, message: String, origin: &str) -> Fault {
    Fault { path, message, suggestion: None, origin: origin.to_owned() }
}

fn unknown(parent: &str, written: &str, siblings: &Shape, origin: &str) -> Fault {
    let path = join(parent, written);
    let dotted =
        written.contains('.') && Shape::root().paths().iter().any(|(p, _)| p.eq_ignore_ascii_case(&path));
    if dotted {
        return fault(path, "unknown key; nest it instead of writing a dot".to_owned(), origin);
    }
    let suggestion = suggest(parent, written, siblings);
    Fault { suggestion, ..fault(path, "unknown key".to_owned(), origin) }
}
