//! Picks values out of JSON text by dotted paths, in one pass and without building a tree.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A set of paths, each with the slot that its value goes to.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    root: Node,
    slots: usize,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// Slots that want the value itself.
    slots: Vec<usize>,
    /// Few, so that going through them is as quick as anything, and takes the least memory.
    children: Vec<(String, Node)>,
}

impl Selection {
    /// Paths such as `payload.pull_request.id`; the n-th goes to slot n. Objects are descended into, arrays are not.
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p str>) -> Self {
        let mut selection = Self::default();
        for path in paths {
            let node = path.split('.').fold(&mut selection.root, Node::child_or_new);
            node.slots.push(selection.slots);
            selection.slots += 1;
        }
        selection
    }

    /// The values found by slot, in JSON texts that are each known by the first name of a path. A path that leads
    /// nowhere stays `None`; where an object names a key twice, the last one wins.
    pub fn pick<'a>(&self, texts: &[(&str, &'a str)]) -> Vec<Option<&'a str>> {
        let mut found = vec![None; self.slots];
        for (name, json) in texts {
            if let Some(node) = self.root.child(name) {
                node.read(json, &mut found);
            }
        }
        found
    }
}

impl Node {
    fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|(known, _)| known == name).map(|(_, child)| child)
    }

    fn child_or_new(&mut self, name: &str) -> &mut Self {
        let index = self.children.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.children.push((name.to_owned(), Self::default()));
            self.children.len() - 1
        });
        &mut self.children[index].1
    }

    fn read<'a>(&self, json: &'a str, found: &mut [Option<&'a str>]) {
        for &slot in &self.slots {
            found[slot] = Some(json);
        }
        if !self.children.is_empty() && json.starts_with('{') {
            // The text was checked when it came in; where it is malformed after all, what was found stays.
            let _ = Object { node: self, found }.deserialize(&mut serde_json::Deserializer::from_str(json));
        }
    }
}

struct Object<'n, 'f, 'a> {
    node: &'n Node,
    found: &'f mut [Option<&'a str>],
}

impl<'a> DeserializeSeed<'a> for Object<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Object<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(name) = map.next_key::<crate::event::Text<'a>>()? {
            match self.node.child(name.as_str()) {
                Some(child) => child.read(map.next_value::<&'a RawValue>()?.get(), self.found),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_scalars_objects_and_nothing() {
        let selection = Selection::new(["e.a.b", "e.a", "e.a.b.c", "e.x.y", "", "e.list.0", "e.a.b", "f"]);
        let found =
            selection.pick(&[("e", r#"{"list":[1],"a":{"b": 5 ,"z":[{"b":6}]},"x":null}"#), ("f", "2")]);
        assert_eq!(found[0], Some("5"));
        assert_eq!(found[1], Some(r#"{"b": 5 ,"z":[{"b":6}]}"#));
        assert_eq!(found[2..6], [None; 4]);
        assert_eq!(found[6..], [Some("5"), Some("2")]);
    }

    #[test]
    fn keys_with_escapes_are_compared_by_meaning() {
        assert_eq!(Selection::new(["e.é"]).pick(&[("e", r#"{"\u00e9":1}"#)]), [Some("1")]);
    }
}
