//! `/language/watch`: the language map at once, then each second what changed in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tokio::sync::watch;

use super::params::{InvalidParams, Params};
use super::{Conversation, Endpoint, Handshake, upgrade};
use crate::live::{Frame, LanguageMap};
use crate::server::public::Public;

/// Upgrades the request.
pub async fn connect(State(public): State<Arc<Public>>, ws: Handshake) -> Response {
    let mut map = public.languages.map();
    let told = map.borrow_and_update().as_ref().clone();
    let watch = Watch { map, told, api_version: public.settings.api_version, languages: None };
    upgrade(ws, &public, Endpoint::LanguageWatch, watch)
}

struct Watch {
    map: watch::Receiver<Arc<LanguageMap>>,
    /// What the client knows: the first map, and every difference since.
    told: LanguageMap,
    api_version: u32,
    /// Only these, empty: all. `None` before the first params.
    languages: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct First<'a> {
    first_message_tag: bool,
    api_version: u32,
    language_map: &'a LanguageMap,
}

#[derive(Debug, Default, Serialize)]
struct Difference {
    deletions: BTreeMap<String, String>,
    additions: BTreeMap<String, String>,
}

/// Brings `told` up to `map` for the languages that are wanted, and says what changed.
fn difference(told: &mut LanguageMap, map: &LanguageMap, wanted: &[String]) -> Difference {
    let mut difference = Difference::default();
    let names: BTreeSet<String> = told.keys().chain(map.keys()).cloned().collect();
    for name in names.into_iter().filter(|name| wanted.is_empty() || wanted.contains(name)) {
        let (old, new) = [&*told, map].map(|map| map.get(&name).copied().unwrap_or(0)).into();
        match new {
            0 => told.remove(&name),
            new => told.insert(name.clone(), new),
        };
        if new > old {
            difference.additions.insert(name, (new - old).to_string());
        } else if new < old {
            difference.deletions.insert(name, (old - new).to_string());
        }
    }
    difference
}

impl Conversation for Watch {
    fn greeting(&mut self) -> Option<Frame> {
        let first =
            First { first_message_tag: true, api_version: self.api_version, language_map: &self.told };
        // Strings and numbers always serialise.
        Some(serde_json::to_string(&first).unwrap_or_default().into())
    }

    fn params(&mut self, text: &str) -> Result<(), InvalidParams> {
        self.languages = Some(Params::parse(text)?.strings("language")?);
        Ok(())
    }

    async fn next(&mut self) -> Vec<Frame> {
        let Some(wanted) = &self.languages else { return std::future::pending().await };
        loop {
            if self.map.changed().await.is_err() {
                return std::future::pending().await;
            }
            let map = self.map.borrow_and_update().clone();
            let difference = difference(&mut self.told, &map, wanted);
            if !(difference.additions.is_empty() && difference.deletions.is_empty()) {
                return vec![serde_json::to_string(&difference).unwrap_or_default().into()];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply(map: &mut LanguageMap, difference: &Difference) {
        for (name, count) in &difference.additions {
            *map.entry(name.clone()).or_default() += count.parse::<u64>().unwrap();
        }
        for (name, count) in &difference.deletions {
            *map.get_mut(name).unwrap() -= count.parse::<u64>().unwrap();
        }
        map.retain(|_, count| *count > 0);
    }

    proptest! {
        #[test]
        fn first_map_and_differences_add_up_to_the_current_map(
            maps in prop::collection::vec(prop::collection::btree_map("[A-D]", 1_u64..9, 0..4), 1..8),
            filters in prop::collection::vec(prop::collection::vec("[A-E]", 0..3), 8),
        ) {
            let mut client = maps[0].clone();
            let mut told = maps[0].clone();
            for (map, filter) in maps.iter().zip(&filters) {
                apply(&mut client, &difference(&mut told, map, filter));
                prop_assert_eq!(&client, &told);
                for (name, &count) in map.iter().filter(|(name, _)| filter.is_empty() || filter.contains(name)) {
                    prop_assert_eq!(client.get(name), Some(&count));
                }
            }
            let last = maps.last().unwrap();
            apply(&mut client, &difference(&mut told, last, &[]));
            prop_assert_eq!(&client, last);
        }
    }

    #[test]
    fn both_halves_are_always_objects_of_strings() {
        let map: LanguageMap = [("Java".to_owned(), 3)].into();
        let frame = serde_json::to_string(&difference(&mut LanguageMap::new(), &map, &[])).unwrap();
        assert_eq!(frame, r#"{"deletions":{},"additions":{"Java":"3"}}"#);
    }
}
