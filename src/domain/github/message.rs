//! The form in which an event travels on the topic: `{"event":<raw>,"payload":{}}`, as the predecessor's.
//!
//! A copy that goes around once more for what was not known of its pull request also says how often somebody has asked:
//! `{"event":<raw>,"payload":{},"asked":1}`.

use crate::event::{lenient, members};

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

/// The copy of an event of whose pull request somebody has asked `asked` times in vain.
pub fn wrap_again(event: &str, asked: u32) -> String {
    format!(r#"{{"event":{event},"payload":{{}},"asked":{asked}}}"#)
}

/// How often somebody has asked in vain what an event does not say; 0 for the event itself, which is no copy.
pub fn asked(message: &[u8]) -> u32 {
    if message.ends_with(SUFFIX) {
        return 0;
    }
    let read = || lenient(members(std::str::from_utf8(message).ok()?, ["asked"]).ok()?[0]);
    read().unwrap_or(0)
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

    #[test]
    fn a_copy_says_how_often_was_asked_and_nothing_else_does() {
        let copy = wrap_again(r#"{"id":"1"}"#, 3);
        assert_eq!((unwrap(copy.as_bytes()), asked(copy.as_bytes())), (Some(r#"{"id":"1"}"#), 3));
        for other in [
            &br#"{"event":{"id":"1","asked":3},"payload":{}}"#[..],
            br#"{"payload":{"asked":3}, "event": {"id":"1"} }"#,
            br#"{"event":{"id":"1"},"asked":"often"}"#,
            b"asked",
        ] {
            assert_eq!(asked(other), 0);
        }
    }
}
