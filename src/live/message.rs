//! The form in which an applied event travels to servers in other processes:
//! `{"cursor":"<seq>.<index>","event":<as shown>,"payload":<seven numbers>}`.

use super::{Arrival, Cursor};
use crate::domain::github::payload::PullRequestPayload;
use crate::domain::github::project::PULL_REQUEST_EVENT;
use crate::domain::github::sampling::Sample;
use crate::event::{Event, members};

/// The message for `arrival`.
pub fn encode(arrival: &Arrival) -> String {
    let Arrival { cursor, sample, .. } = arrival;
    // Numbers always serialise.
    let numbers = serde_json::to_string(&sample.numbers).unwrap_or_default();
    format!(r#"{{"cursor":"{cursor}","event":{},"payload":{numbers}}}"#, sample.event)
}

/// What a message says; `None` where it is not of this form.
pub fn decode(message: &[u8]) -> Option<Arrival> {
    let [cursor, event, payload] =
        members(std::str::from_utf8(message).ok()?, ["cursor", "event", "payload"]).ok()?;
    let cursor = Cursor::parse(serde_json::from_str(cursor?.get()).ok()?)?;
    let numbers = serde_json::from_str(payload?.get()).ok()?;
    let text = event?.get();
    let event = Event::parse(text).ok()?;
    let payload = (event.kind() == PULL_REQUEST_EVENT).then(|| PullRequestPayload::parse(event.payload));
    let on_request =
        payload.as_ref().is_some_and(|payload| payload.outcome(&payload.pull_request()).is_none());
    let action = payload.as_ref().map(PullRequestPayload::action);
    let sample = Sample { numbers, ..Sample::of(&event, action, on_request, text.to_owned()) };
    Some(Arrival { cursor, key: event.key()?, sample })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::Numbers;

    #[test]
    fn what_was_encoded_is_decoded() {
        let text = r#"{"id":"7","type":"PullRequestEvent","actor":{"login":"me"},"repo":{"name":"a/b"},"payload":{"action":"labeled"},"created_at":"2026-01-02T03:04:05Z"}"#;
        let event = Event::parse(text).unwrap();
        let sample = Sample {
            numbers: Numbers { pr: 1, dev_year: 1, ..Numbers::default() },
            ..Sample::of(&event, Some("labeled"), true, text.to_owned())
        };
        let cursor = Cursor { seq: 1_800_000_000_123, index: 4 };
        let arrival = Arrival { cursor, key: event.key().unwrap(), sample };
        let message = encode(&arrival);
        assert!(message.starts_with(r#"{"cursor":"1800000000123.4","event":{"id":"7""#), "{message}");
        let decoded = decode(message.as_bytes()).unwrap();
        assert_eq!((decoded.cursor, decoded.key), (arrival.cursor, arrival.key));
        assert_eq!(decoded.sample, arrival.sample);
        assert!(decoded.sample.on_request);
    }

    #[test]
    fn what_is_something_else_is_refused() {
        for foreign in [
            "",
            "{}",
            r#"{"event":{"id":"1"},"payload":{}}"#,
            r#"{"cursor":"5","event":{"id":"1","created_at":"2026-01-02T03:04:05Z"},"payload":{}}"#,
        ] {
            assert!(decode(foreign.as_bytes()).is_none(), "{foreign}");
        }
    }
}
