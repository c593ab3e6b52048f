//! Addresses and other optional text: hosts and URLs, whose user information may hold a password.

use std::fmt;
use std::ops::Deref;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A host or URL. Debug output and serialisation mask a password in it (`redis://user:***@host`).
///
/// There is no `Display`, so that neither the masked nor the true form is taken for the other by accident.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Address(String);

impl Address {
    /// The address as configured, password included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address with a password in it masked: for people.
    #[must_use]
    pub fn masked(&self) -> String {
        mask(&self.0)
    }
}

impl From<String> for Address {
    fn from(address: String) -> Self {
        Self(address)
    }
}

impl Deref for Address {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.masked(), f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

/// Masks what stands between the first `:` after the scheme and the last `@`.
///
/// The last, because a password that isn't percent-encoded may hold `@` or `/`: better too much than too
/// little.
pub(super) fn mask(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let Some(end) = text.rfind('@').filter(|end| *end >= start) else { return text.to_owned() };
    match text[start..end].find(':') {
        Some(colon) => format!("{}:***{}", &text[..start + colon], &text[end..]),
        None => text.to_owned(),
    }
}

/// Reads an optional text; blank counts as not set, so that a variable can unset what a file says.
pub(super) fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.trim().is_empty()))
}

/// Reads an optional address; blank counts as not set.
pub(super) fn optional_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Address>, D::Error> {
    Ok(optional_text(deserializer)?.map(|text| Address(text.trim().to_owned())))
}

/// Reads the root of an API. A slash is added at its end, without which joining a path would drop the last
/// segment.
pub(super) fn base_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    let mut url = String::deserialize(deserializer)?.trim().to_owned();
    if !url.ends_with('/') {
        url.push('/');
    }
    Ok(Address(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_masked_wherever_it_stands() {
        for (text, masked) in [
            ("localhost:6379", "localhost:6379"),
            ("redis://localhost", "redis://localhost"),
            ("redis://user@localhost", "redis://user@localhost"),
            ("redis://user:pass@localhost:6379/0", "redis://user:***@localhost:6379/0"),
            ("redis://:p@ss/word@localhost", "redis://:***@localhost"),
            ("user:pass@localhost", "user:***@localhost"),
        ] {
            assert_eq!(mask(text), masked);
            assert_eq!(format!("{:?}", Address::from(text.to_owned())), format!("{masked:?}"));
        }
    }
}
