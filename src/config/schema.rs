//! The JSON Schema of the configuration: derived from the structs, with the defaults of the built-in file.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::Config;

/// The JSON Schema (draft 2020-12) of a configuration file, for editors and for `config schema`.
///
/// Nothing is required in it, since a file names only what differs from the default.
#[must_use]
pub fn schema() -> Value {
    let mut schema = derived();
    schema["title"] = json!("pulsehub configuration");
    let defaults = Config::builtin().ok().and_then(|config| serde_json::to_value(config).ok());
    complete(&mut schema, defaults.as_ref());
    schema
}

/// The schema as the structs give it, every part written in place, so that it can be walked without
/// references.
pub(super) fn derived() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

/// Adds defaults to the leaves below `schema` and takes away what they make superfluous.
fn complete(schema: &mut Value, default: Option<&Value>) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("required");
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        object_defaults(properties, default);
        object.remove("default");
    } else if let Some(value) = default.filter(|value| !value.is_null()) {
        object.insert("default".to_owned(), value.clone());
    }
}

fn object_defaults(properties: &mut serde_json::Map<String, Value>, default: Option<&Value>) {
    for (key, property) in properties {
        complete(property, default.and_then(|section| section.get(key)));
    }
}
