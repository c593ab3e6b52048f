//! Which keys a running process takes over, and what is different in a configuration that is read again.

use std::collections::BTreeMap;
use std::fmt;

use config::ValueKind;
use serde_json::Value;

use super::check::Layer;
use super::load::Loaded;
use super::shape::Shape;

/// Keys that a running process takes over at SIGHUP. All others wait for the next start: what was opened, bound or
/// begun by them would have to be begun anew.
pub const LIVE_KEYS: [&str; 18] = [
    "server.syncToken",
    "server.origins",
    "live.maxAge",
    "github.loop.timeout",
    "github.loop.break",
    "github.pollInterval",
    "github.priority",
    "github.tokens",
    "interval.daily",
    "interval.retry",
    "interval.retryWait",
    "log.level",
    "lark.webhook",
    "lark.signKey",
    "lark.minimumBreak",
    "lark.errorTolerance",
    "lark.errorToleranceBreak",
    "alert.webhook",
];

/// What stands where a secret is.
const MASK: &str = "***";

/// Paths of keys whose values differ, in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those of [`LIVE_KEYS`].
    pub live: Vec<String>,
    /// All others.
    pub at_next_start: Vec<String>,
}

impl Loaded {
    /// What is different in `new`, wherever it was said.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Changes {
        let (before, after) = (tree(self), tree(new));
        let is_different = |path: &String| {
            let pointer = format!("/{}", path.replace('.', "/"));
            let shown = after.pointer(&pointer);
            // A secret, or an address with a password, looks the same whatever it is.
            let masked = shown.is_some_and(|shown| shown.to_string().contains(MASK));
            shown != before.pointer(&pointer) || masked && self.written.0.get(path) != new.written.0.get(path)
        };
        let different = Shape::root().leaves().map(|(path, _)| path).filter(is_different);
        let (live, at_next_start) = different.partition(|path| LIVE_KEYS.contains(&path.as_str()));
        Changes { live, at_next_start }
    }
}

/// All values, secrets masked.
fn tree(loaded: &Loaded) -> Value {
    serde_json::to_value(&loaded.config).unwrap_or_default()
}

/// The values as they were written, by path. They are for comparing only: secrets are among them.
#[derive(Clone, PartialEq)]
pub(super) struct Written(BTreeMap<String, String>);

impl Written {
    pub(super) fn of(layers: &[Layer]) -> Self {
        let leaves = layers.iter().flat_map(|layer| &layer.leaves);
        Self(leaves.map(|(path, value)| (path.clone(), rendered(&value.kind))).collect())
    }
}

/// The same for the same value: a table's keys have no order of their own.
fn rendered(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Array(items) => items.iter().map(|item| format!("{},", rendered(&item.kind))).collect(),
        ValueKind::Table(keys) => {
            let keys: BTreeMap<_, _> = keys.iter().map(|(key, value)| (key, rendered(&value.kind))).collect();
            format!("{keys:?}")
        }
        other => other.to_string(),
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Written({} masked)", self.0.len())
    }
}
