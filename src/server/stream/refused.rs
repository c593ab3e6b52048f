//! Why a message or a query of a client was not taken.

use serde_json::{Value, json};

/// A fault, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// For programs.
    pub code: Code,
    /// The param, where it is one.
    pub field: Option<String>,
    /// For people.
    pub message: String,
}

/// What kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// It is not one JSON object.
    InvalidJson,
    /// It is no message that the server knows.
    InvalidMessage,
    /// A subscription that cannot be taken.
    InvalidSubscription,
}

/// Longer names of params are cut where they are given back.
const MAX_FIELD: usize = 64;

impl Code {
    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidMessage => "invalid_message",
            Self::InvalidSubscription => "invalid_subscription",
        }
    }
}

impl Refused {
    /// Something about the message as a whole.
    pub fn whole(code: Code, message: impl Into<String>) -> Self {
        Self { code, field: None, message: message.into() }
    }

    /// Something about one param of a subscription.
    pub fn param(field: &str, message: impl Into<String>) -> Self {
        let field = field.chars().take(MAX_FIELD).collect();
        Self { code: Code::InvalidSubscription, field: Some(field), message: message.into() }
    }

    /// Its members, without the field where there is none.
    pub fn to_json(&self) -> Value {
        let mut error = json!({ "code": self.code.label(), "message": self.message });
        if let Some(field) = &self.field {
            error["field"] = field.as_str().into();
        }
        error
    }
}
