//! `/language/watch`: the language map at once, then each second what changed in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tokio::sync::watch;

use super::params::{InvalidParams, Params};
use super::{Conversation, Handshake, upgrade};
use crate::live::{Frame, LanguageMap};
use crate::server::clients::Endpoint;
use crate::server::public::Public;

/// Upgrades the request.
pub async fn connect(State(public): State<Arc<Public>>, ws: Handshake) -> Response {
    let mut map = public.languages.map();
    let told = map.borrow_and_update().clone();
    let watch = Watch { map, told, public: public.clone(), languages: None };
    upgrade(ws, &public, Endpoint::LanguageWatch, watch)
}

struct Watch {
    map: watch::Receiver<Arc<LanguageMap>>,
    /// What the client knows: the first map, and every difference since.
    told: Arc<LanguageMap>,
    public: Arc<Public>,
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
struct Difference<'m> {
    deletions: BTreeMap<&'m str, String>,
    additions: BTreeMap<&'m str, String>,
}

impl<'m> Difference<'m> {
    /// What leads from `old` to `new` in the languages that are wanted.
    fn between(old: &'m LanguageMap, new: &'m LanguageMap, wanted: &[String]) -> Self {
        let mut difference = Self::default();
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names.into_iter().filter(|name| wanted.is_empty() || wanted.contains(name)) {
            let (old, new) = [old, new].map(|map| map.get(name).copied().unwrap_or(0)).into();
            if new > old {
                difference.additions.insert(name, (new - old).to_string());
            } else if new < old {
                difference.deletions.insert(name, (old - new).to_string());
            }
        }
        difference
    }

    /// As clients get it; nothing where nothing changed.
    fn frame(&self) -> Option<Frame> {
        let changed = !(self.additions.is_empty() && self.deletions.is_empty());
        // Strings always serialise.
        changed.then(|| serde_json::to_string(self).unwrap_or_default().into())
    }
}

/// The difference that was written last, for all who go from the one map to the other.
#[derive(Debug, Default)]
pub struct LastDifference(Mutex<Option<Step>>);

#[derive(Debug)]
struct Step {
    old: Arc<LanguageMap>,
    new: Arc<LanguageMap>,
    frame: Option<Frame>,
}

impl LastDifference {
    fn between(&self, old: &Arc<LanguageMap>, new: &Arc<LanguageMap>) -> Option<Frame> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |step: &&Step| Arc::ptr_eq(&step.old, old) && Arc::ptr_eq(&step.new, new);
        if let Some(step) = last.as_ref().filter(same) {
            return step.frame.clone();
        }
        let frame = Difference::between(old, new, &[]).frame();
        *last = Some(Step { old: old.clone(), new: new.clone(), frame: frame.clone() });
        frame
    }
}

/// Brings `told` up to `map` for the languages that are wanted, and says what changed.
fn advance(
    told: &mut Arc<LanguageMap>,
    map: &Arc<LanguageMap>,
    wanted: &[String],
    last: &LastDifference,
) -> Option<Frame> {
    if wanted.is_empty() {
        let frame = last.between(told, map);
        *told = map.clone();
        return frame;
    }
    let frame = Difference::between(told, map, wanted).frame()?;
    let told = Arc::make_mut(told);
    for name in wanted {
        match map.get(name) {
            Some(&count) => told.insert(name.clone(), count),
            None => told.remove(name),
        };
    }
    Some(frame)
}

impl Conversation for Watch {
    fn greeting(&mut self) -> Option<Frame> {
        let api_version = self.public.settings.api_version;
        let first = First { first_message_tag: true, api_version, language_map: &self.told };
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
            let last = &self.public.last_difference;
            if let Some(frame) = advance(&mut self.told, &map, wanted, last) {
                return vec![frame];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// What a client makes of a difference.
    fn apply(map: &mut LanguageMap, frame: Option<Frame>) {
        let Some(frame) = frame else { return };
        let difference: Value = serde_json::from_str(frame.as_str()).unwrap();
        let counts = |name: &str| {
            let counts = difference[name].as_object().unwrap().clone().into_iter();
            counts.map(|(name, count)| (name, count.as_str().unwrap().parse::<u64>().unwrap()))
        };
        for (name, count) in counts("additions") {
            *map.entry(name).or_default() += count;
        }
        for (name, count) in counts("deletions") {
            *map.get_mut(&name).unwrap() -= count;
        }
        map.retain(|_, count| *count > 0);
    }

    proptest! {
        #[test]
        fn first_map_and_differences_add_up_to_the_current_map(
            maps in prop::collection::vec(prop::collection::btree_map("[A-D]", 1_u64..9, 0..4), 1..8),
            filters in prop::collection::vec(prop::collection::vec("[A-E]", 0..3), 8),
        ) {
            let maps: Vec<_> = maps.into_iter().map(Arc::new).collect();
            let last = LastDifference::default();
            let mut client = maps[0].as_ref().clone();
            let mut told = maps[0].clone();
            for (map, filter) in maps.iter().zip(&filters) {
                apply(&mut client, advance(&mut told, map, filter, &last));
                prop_assert_eq!(&client, &*told);
                for (name, &count) in map.iter().filter(|(name, _)| filter.is_empty() || filter.contains(name)) {
                    prop_assert_eq!(client.get(name), Some(&count));
                }
            }
            let newest = maps.last().unwrap();
            apply(&mut client, advance(&mut told, newest, &[], &last));
            prop_assert_eq!(&client, &**newest);
        }
    }

    #[test]
    fn both_halves_are_always_objects_of_strings_and_all_share_what_is_written() {
        let [old, new] = [LanguageMap::new(), [("Java".to_owned(), 3)].into()].map(Arc::new);
        let last = LastDifference::default();
        let frames = [(); 2].map(|()| advance(&mut old.clone(), &new, &[], &last).unwrap());
        assert_eq!(frames[0].as_str(), r#"{"deletions":{},"additions":{"Java":"3"}}"#);
        assert!(std::ptr::eq(frames[0].as_str(), frames[1].as_str()));
    }
}
