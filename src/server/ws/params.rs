//! Reading a client's params: names in any case, unknown ones ignored, faults named.

use serde_json::{Map, Value};

/// The longest list that a client may send.
const MAX_LIST: usize = 1_000;
/// The longest string in it.
const MAX_STRING: usize = 1_024;

/// Why params were refused. Clients see it as one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidParams {
    field: Option<&'static str>,
    message: String,
}

impl InvalidParams {
    /// A fault of one param.
    pub fn field(field: &'static str, message: impl Into<String>) -> Self {
        Self { field: Some(field), message: message.into() }
    }

    /// The frame that tells the client.
    pub fn frame(&self) -> String {
        let mut error = Map::new();
        error.insert("code".to_owned(), "invalid_params".into());
        if let Some(field) = self.field {
            error.insert("field".to_owned(), field.into());
        }
        error.insert("message".to_owned(), self.message.as_str().into());
        serde_json::json!({ "error": error }).to_string()
    }
}

/// A client's params.
#[derive(Debug)]
pub struct Params(Vec<(String, Value)>);

impl Params {
    /// Reads one JSON object.
    pub fn parse(text: &str) -> Result<Self, InvalidParams> {
        let object: Map<String, Value> = serde_json::from_str(text).map_err(|error| InvalidParams {
            field: None,
            message: format!("params are one JSON object: {error}"),
        })?;
        Ok(Self(object.into_iter().collect()))
    }

    /// A param by its name in any case; `null` is absent.
    fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// An integer.
    pub fn integer(&self, name: &'static str) -> Result<Option<i64>, InvalidParams> {
        let read = |value: &Value| {
            value.as_i64().ok_or_else(|| InvalidParams::field(name, "an integer is expected"))
        };
        self.get(name).map(read).transpose()
    }

    /// True or false; false when absent.
    pub fn flag(&self, name: &'static str) -> Result<bool, InvalidParams> {
        let read = |value: &Value| {
            value.as_bool().ok_or_else(|| InvalidParams::field(name, "true or false is expected"))
        };
        Ok(self.get(name).map(read).transpose()?.unwrap_or(false))
    }

    /// A string; an empty one is absent, as the predecessor's clients send it.
    pub fn string(&self, name: &'static str) -> Result<Option<String>, InvalidParams> {
        let read = |value: &Value| match value {
            Value::String(text) if text.len() > MAX_STRING => Err(too_long(name)),
            Value::String(text) => Ok(text.clone()),
            _ => Err(InvalidParams::field(name, "a string is expected")),
        };
        Ok(self.get(name).map(read).transpose()?.filter(|text| !text.is_empty()))
    }

    /// A list of strings; empty when absent.
    pub fn strings(&self, name: &'static str) -> Result<Vec<String>, InvalidParams> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let expected = || InvalidParams::field(name, "a list of strings is expected");
        let list = value.as_array().ok_or_else(expected)?;
        if list.len() > MAX_LIST
            || list.iter().any(|item| item.as_str().is_some_and(|text| text.len() > MAX_STRING))
        {
            return Err(too_long(name));
        }
        list.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(expected)).collect()
    }
}

fn too_long(name: &'static str) -> InvalidParams {
    InvalidParams::field(
        name,
        format!("at most {MAX_LIST} strings of at most {MAX_STRING} bytes are accepted"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_any_case_and_null_is_absent() {
        let params = Params::parse(r#"{"SAMPLINGRATE":2,"EventType":"","filter":null,"other":[1]}"#).unwrap();
        assert_eq!(params.integer("samplingRate"), Ok(Some(2)));
        assert_eq!(params.string("eventType"), Ok(None));
        assert_eq!(params.strings("filter"), Ok(Vec::new()));
    }

    #[test]
    fn wrong_types_name_their_field() {
        let params = Params::parse(r#"{"a":1.5,"b":7,"c":"x","d":["x",1],"e":1e300,"f":"true"}"#).unwrap();
        let fields = [
            params.integer("a").unwrap_err().field,
            params.string("b").unwrap_err().field,
            params.strings("c").unwrap_err().field,
            params.strings("d").unwrap_err().field,
            params.integer("e").unwrap_err().field,
            params.flag("f").unwrap_err().field,
        ];
        assert_eq!(fields, ["a", "b", "c", "d", "e", "f"].map(Some));
        assert_eq!(params.flag("g"), Ok(false));
        for text in ["", "[]", "null", "{", "3"] {
            assert!(Params::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lists_have_a_limit() {
        let list = vec!["x"; MAX_LIST + 1];
        let params = Params::parse(&serde_json::json!({ "filter": list }).to_string()).unwrap();
        assert!(params.strings("filter").unwrap_err().frame().contains(r#""field":"filter""#));
    }
}
