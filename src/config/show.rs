//! The resolved configuration for people: each value with its origin, secrets masked.

use std::fmt::Write;

use serde_json::Value;

use super::load::{DEFAULT, Loaded};
use super::shape::Shape;

/// The widest value that origins are lined up after; longer ones push theirs to the right.
const VALUE_WIDTH: usize = 40;

impl Loaded {
    /// One line a key, `path = value  # origin`, in alphabetical order.
    #[must_use]
    pub fn show(&self) -> String {
        // Serialisation is what masks secrets, here as everywhere.
        let tree = serde_json::to_value(&self.config).unwrap_or_default();
        let lines: Vec<(String, String)> = Shape::root()
            .leaves()
            .map(|(path, _)| (path.clone(), rendered(value_at(&tree, &path))))
            .collect();
        let path_width = lines.iter().map(|(path, _)| path.len()).max().unwrap_or_default();
        let values = lines.iter().map(|(_, value)| value.chars().count());
        let value_width = values.filter(|width| *width <= VALUE_WIDTH).max().unwrap_or_default();
        let mut shown = String::new();
        for (path, value) in lines {
            let origin = self.origins.get(&path).map_or(DEFAULT, String::as_str);
            let _infallible = writeln!(shown, "{path:path_width$} = {value:value_width$}  # {origin}");
        }
        shown
    }
}

fn value_at<'a>(tree: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(tree, |tree, key| &tree[key])
}

fn rendered(value: &Value) -> String {
    match value {
        Value::Null => "(not set)".to_owned(),
        Value::String(text) if text == "***" => text.clone(),
        Value::String(text) if text.trim_end().contains('\n') => {
            let first = text.lines().next().unwrap_or_default().trim();
            format!("{first:?} … ({} lines)", text.lines().count())
        }
        Value::Array(items) => format!("[{}]", items.iter().map(rendered).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
