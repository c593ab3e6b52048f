//! The form in which an event travels on the topic: `{"event":<raw>,"payload":{}}`, as the predecessor's.

use crate::event::members;

/// What stands before the raw event in a message of ours.
pub const PREFIX: &[u8] = br#"{"event":"#;
/// What stands behind it.
pub const SUFFIX: &[u8] = br#","payload":{}}"#;

/// The raw event in a message; `None` when the message is not of this form. Its `payload` is ignored.
pub fn unwrap(message: &[u8]) -> Option<&str> {
    // Our own messages are the rule, and need no second pass over the JSON.
    if let Some(event) = message.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX)) {
        return std::str::from_utf8(event).ok();
    }
    unwrap_foreign(message)
}

/// The same for any message, also one that begins and ends as ours do, with other members in between.
pub fn unwrap_foreign(message: &[u8]) -> Option<&str> {
    let [event] = members(std::str::from_utf8(message).ok()?, ["event"]).ok()?;
    Some(event?.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_ours_and_of_the_predecessor_are_unwrapped() {
        assert_eq!(unwrap(br#"{"event":{"id":"1"},"payload":{}}"#), Some(r#"{"id":"1"}"#));
        assert_eq!(unwrap(br#"{"payload":{"pr":1}, "event": {"id":"1"} }"#), Some(r#"{"id":"1"}"#));
        for foreign in [&b"hello"[..], b"{}", b"[]", b"", b"\xff\xfe"] {
            assert_eq!(unwrap(foreign), None);
        }
    }
}
