//! The messages of the stream, ready to be sent over either way.

use serde_json::json;

use super::refused::Refused;
use super::subscription::Normal;
use crate::live::versions::Step;
use crate::live::{Cursor, Frame};

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its `type`.
    pub kind: &'static str,
    /// Behind what a client goes on that got it; `None` where it says nothing about that.
    pub cursor: Option<Cursor>,
    /// Its text.
    pub frame: Frame,
}

/// What a client misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// `expired` or `slow`.
    pub reason: &'static str,
    /// The last cursor before it.
    pub since: Cursor,
    /// The first event behind it that is kept.
    pub until: Option<Cursor>,
    /// How many events, where that is known.
    pub lost: Option<u64>,
}

impl Message {
    fn new(kind: &'static str, cursor: Option<Cursor>, frame: impl Into<Frame>) -> Self {
        Self { kind, cursor, frame: frame.into() }
    }

    /// An event.
    pub fn event(cursor: Cursor, frame: Frame) -> Self {
        Self::new("event", Some(cursor), frame)
    }

    /// The answer to a subscription that is taken.
    pub fn subscribed(id: Option<&str>, cursor: Cursor, normal: &Normal) -> Self {
        let mut message =
            json!({ "type": "subscribed", "cursor": cursor.to_string(), "subscription": normal });
        if let Some(id) = id {
            message["id"] = id.into();
        }
        Self::new("subscribed", Some(cursor), message.to_string())
    }

    /// What is missing here.
    pub fn gap(gap: Gap) -> Self {
        let message = json!({
            "type": "gap",
            "reason": gap.reason,
            "since": gap.since.to_string(),
            "until": gap.until.map(|cursor| cursor.to_string()),
            "lost": gap.lost,
        });
        Self::new("gap", None, message.to_string())
    }

    /// All of a value that is followed.
    pub fn snapshot(frame: Frame) -> Self {
        Self::new("snapshot", None, frame)
    }

    /// What became of a value that is followed.
    pub fn step(step: Step) -> Self {
        match step {
            Step::Snapshot(frame) => Self::snapshot(frame),
            Step::Difference(frame) => Self::new("difference", None, frame),
        }
    }

    /// A sign of life; `shared` has the members that are the same for all, as text without braces.
    pub fn heartbeat(cursor: Cursor, lost: u64, skipped: u64, shared: &str) -> Self {
        let message = format!(
            r#"{{"type":"heartbeat","cursor":"{cursor}","lost":{lost},"skipped":{skipped},{shared}}}"#
        );
        Self::new("heartbeat", Some(cursor), message)
    }

    /// The answer to what was not understood.
    pub fn error(id: Option<&str>, refused: &Refused) -> Self {
        let mut message = json!({ "type": "error", "error": refused.to_json() });
        if let Some(id) = id {
            message["id"] = id.into();
        }
        Self::new("error", None, message.to_string())
    }
}
