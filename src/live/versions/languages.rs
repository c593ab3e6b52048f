//! The language window: events of the last `latestDuring` seconds by language.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Content;
use crate::live::LanguageMap;

/// The window as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Its length.
    pub seconds: u32,
    /// What is in it.
    pub languages: Arc<LanguageMap>,
}

impl Content for Window {
    const NAME: &'static str = "languages";

    fn whole(&self) -> Value {
        json!({ "windowSeconds": self.seconds, "languages": *self.languages })
    }

    fn since(&self, before: &Self) -> Option<Value> {
        let (now, then) = (&*self.languages, &*before.languages);
        let of = |map: &LanguageMap, name: &String| map.get(name).copied().unwrap_or(0);
        let mut changed = Map::new();
        for name in then.keys().chain(now.keys()) {
            let (old, new) = (of(then, name), of(now, name));
            if old != new {
                changed.insert(name.clone(), new.wrapping_sub(old).cast_signed().into());
            }
        }
        Some(json!({ "languages": changed }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_snapshot_and_differences_make_the_later_snapshot(
            maps in prop::collection::vec(prop::collection::btree_map("[A-D]", 1_u64..9, 0..4), 1..8),
        ) {
            let window = |map: &LanguageMap| Window { seconds: 60, languages: Arc::new(map.clone()) };
            let mut known = maps[0].clone();
            for pair in maps.windows(2) {
                let difference = window(&pair[1]).since(&window(&pair[0])).unwrap();
                for (name, change) in difference["languages"].as_object().unwrap() {
                    let count = known.entry(name.clone()).or_default();
                    *count = count.checked_add_signed(change.as_i64().unwrap()).unwrap();
                }
                known.retain(|_, count| *count > 0);
                prop_assert_eq!(&known, &pair[1]);
            }
        }
    }
}
