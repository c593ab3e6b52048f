//! A subscription's params, from a message or a query: each is taken once, by its name in any case, and what is left over at
//! the end is no param.

use serde_json::{Map, Value};

use super::refused::Refused;

/// Items that a list may have,
const MAX_LIST: usize = 1_000;
/// and characters that each string may have.
const MAX_STRING: usize = 256;

/// What kind of value a param has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    List,
    Number,
    Flag,
    Text,
}

/// All params by name; a query has only text, which is read by their kind.
const KINDS: [(&str, Kind); 15] = [
    ("types", Kind::List),
    ("actions", Kind::List),
    ("repos", Kind::List),
    ("orgs", Kind::List),
    ("actors", Kind::List),
    ("languages", Kind::List),
    ("bots", Kind::Text),
    ("every", Kind::Number),
    ("ratio", Kind::Number),
    ("fields", Kind::List),
    ("events", Kind::Flag),
    ("delivery", Kind::Text),
    ("intervalMs", Kind::Number),
    ("snapshots", Kind::List),
    ("since", Kind::Text),
];

/// Params that were given.
#[derive(Debug, Clone, Default)]
pub struct Params(Map<String, Value>);

impl Params {
    /// Those of a message.
    pub fn new(members: Map<String, Value>) -> Self {
        Self(members)
    }

    /// Those of a query: lists are separated by commas, or their name is given again.
    pub fn of_query(query: Vec<(String, String)>) -> Self {
        let mut params = Map::new();
        for (name, text) in query {
            let known = KINDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
            let Some(&(name, kind)) = known else {
                params.insert(name, text.into());
                continue;
            };
            let value = match kind {
                Kind::List => {
                    let items = text.split(',').filter(|item| !item.is_empty()).map(Value::from);
                    if let Some(Value::Array(list)) = params.get_mut(name) {
                        list.extend(items);
                        continue;
                    }
                    items.collect()
                }
                // What cannot be read stays text, which is then refused as such.
                Kind::Number | Kind::Flag => serde_json::from_str(&text).unwrap_or(Value::String(text)),
                Kind::Text => text.into(),
            };
            params.insert(name.to_owned(), value);
        }
        Self(params)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a param, or replaces it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.take(name);
        self.0.insert(name.to_owned(), value.into());
    }

    /// A param; `null` is absent.
    fn take(&mut self, name: &str) -> Option<Value> {
        let name = self.0.keys().find(|known| known.eq_ignore_ascii_case(name))?.clone();
        self.0.remove(&name).filter(|value| !value.is_null())
    }

    /// An integer from `least` to `most`.
    pub fn integer(&mut self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Refused> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let within = value.as_u64().filter(|number| (least..=most).contains(number));
        let expected = || Refused::param(name, format!("an integer from {least} to {most} is expected"));
        within.map(Some).ok_or_else(expected)
    }

    /// A number above 0, up to 1.
    pub fn share(&mut self, name: &str) -> Result<Option<f64>, Refused> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let within = value.as_f64().filter(|&share| share > 0.0 && share <= 1.0);
        within.map(Some).ok_or_else(|| Refused::param(name, "a number above 0, up to 1, is expected"))
    }

    /// True or false.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Refused> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| Refused::param(name, "true or false is expected"))
    }

    /// A text that is not empty.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Refused> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() && text.chars().count() <= MAX_STRING => {
                Ok(Some(text))
            }
            Some(_) => {
                Err(Refused::param(name, format!("a text of 1 to {MAX_STRING} characters is expected")))
            }
        }
    }

    /// A list of texts that are not empty, ascending and each once; empty when it is absent.
    pub fn list(&mut self, name: &str) -> Result<Vec<String>, Refused> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let expected = || {
            let detail =
                format!("a list of at most {MAX_LIST} texts of 1 to {MAX_STRING} characters is expected");
            Refused::param(name, detail)
        };
        let Value::Array(items) = value else { return Err(expected()) };
        if items.len() > MAX_LIST {
            return Err(expected());
        }
        let text = |item: Value| match item {
            Value::String(text) if !text.is_empty() && text.chars().count() <= MAX_STRING => Ok(text),
            _ => Err(expected()),
        };
        let mut texts = items.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
        texts.sort_unstable();
        texts.dedup();
        Ok(texts)
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), Refused> {
        match self.0.into_iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => Err(Refused::param(&name, "there is no param of this name")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn params(value: Value) -> Params {
        Params::new(value.as_object().unwrap().clone())
    }

    #[test]
    fn a_query_reads_as_the_message_that_says_the_same() {
        let query = [
            ("Types", "A,B"),
            ("types", "C"),
            ("every", "3"),
            ("ratio", "0.5"),
            ("events", "false"),
            ("since", "1.2"),
            ("intervalms", "soon"),
        ];
        let query = query.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let expected = json!({
            "types": ["A", "B", "C"], "every": 3, "ratio": 0.5, "events": false, "since": "1.2", "intervalMs": "soon",
        });
        assert_eq!(Value::Object(Params::of_query(query.into()).0), expected);
    }

    #[test]
    fn faults_name_their_param() {
        let long = "x".repeat(MAX_STRING + 1);
        let field = |error: Refused| error.field.unwrap();
        for value in [json!(0), json!(11), json!(-1), json!(1.5), json!("1"), json!([1]), json!(1e300)] {
            let mut params = params(json!({ "every": value }));
            assert_eq!(field(params.integer("every", 1, 10).unwrap_err()), "every", "{value}");
        }
        for value in [json!(0), json!(1.01), json!(-0.5), json!("0.5"), json!(true)] {
            assert_eq!(field(params(json!({ "ratio": value })).share("ratio").unwrap_err()), "ratio");
        }
        for value in
            [json!("a"), json!([1]), json!([""]), json!([long]), json!(vec!["a"; MAX_LIST + 1]), json!({})]
        {
            assert_eq!(field(params(json!({ "types": value })).list("types").unwrap_err()), "types");
        }
        for value in [json!(1), json!(""), json!(long), json!(["a"])] {
            assert_eq!(field(params(json!({ "bots": value })).text("bots").unwrap_err()), "bots");
        }
        assert_eq!(field(params(json!({ "events": 1 })).flag("events").unwrap_err()), "events");
        assert_eq!(field(params(json!({ "typ": null, "type": "x" })).end().unwrap_err()), "type");
        let endless = json!({ "x".repeat(1_000): 1 });
        assert_eq!(field(params(endless).end().unwrap_err()).len(), 64);
    }

    #[test]
    fn null_is_absent_and_lists_are_in_order_and_without_repetition() {
        let mut params = params(json!({ "TYPES": ["b", "a", "b"], "every": null }));
        assert_eq!(params.list("types"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(params.integer("every", 1, 10), Ok(None));
        assert_eq!(params.end(), Ok(()));
    }
}
