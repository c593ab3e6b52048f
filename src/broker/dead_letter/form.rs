//! How a dead letter is written down: one JSON object, the same in every broker.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DeadLetter, KeptLetter};
use crate::broker::{BatchBuilder, MessageBatch, MessageId};

/// A letter as it is written; one of an earlier version has no time, and its body's other bytes were replaced.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Form {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    reason: String,
    origin: String,
    attempts: u32,
    /// A body that is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// Any other.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// The length of the whole body, where only its beginning is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_bytes: Option<usize>,
}

/// Writes `letters` at `now` (Unix milliseconds), each in at most `limit` bytes: of a body that does not fit, only the
/// beginning is kept.
pub fn encode(letters: &[DeadLetter], now: i64, limit: usize) -> MessageBatch {
    let mut batch = BatchBuilder::default();
    for letter in letters {
        let mut kept = letter.body.len();
        let mut text = object(letter, kept, now);
        while text.len() > limit && kept > 0 {
            // Escaping makes at most six bytes of one, so that this ends soon.
            kept = (kept / 2).min(limit);
            text = object(letter, kept, now);
        }
        batch.push(&[text.as_bytes()]);
    }
    batch.build()
}

fn object(letter: &DeadLetter, kept: usize, now: i64) -> String {
    let whole = std::str::from_utf8(&letter.body).ok();
    let text = whole.and_then(|text| (0..=kept).rev().find_map(|end| text.get(..end)));
    let kept = text.map_or(kept, str::len);
    let form = Form {
        time: Timestamp::from_millisecond(now).ok(),
        reason: letter.reason.clone(),
        origin: letter.origin.clone(),
        attempts: letter.attempts,
        body: text.map(str::to_owned),
        body_base64: text.is_none().then(|| STANDARD.encode(&letter.body[..kept])),
        body_bytes: (kept < letter.whole_bytes).then_some(letter.whole_bytes),
    };
    serde_json::json!(form).to_string()
}

/// Reads what [`encode`] wrote, or what somebody else put in its place.
pub fn decode(id: MessageId, bytes: &Bytes) -> KeptLetter {
    let form = serde_json::from_slice(bytes).unwrap_or_else(|_| Form {
        reason: "not a dead letter as pulsehub writes them".to_owned(),
        body_base64: Some(STANDARD.encode(bytes)),
        ..Form::default()
    });
    let decoded = form.body_base64.and_then(|text| STANDARD.decode(text).ok());
    let body = form.body.map(String::into_bytes).or(decoded).unwrap_or_default();
    let letter = DeadLetter {
        reason: form.reason,
        origin: form.origin,
        attempts: form.attempts,
        whole_bytes: form.body_bytes.unwrap_or(body.len()),
        body: body.into(),
    };
    KeptLetter { id, time: form.time, letter }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(body: Vec<u8>) -> DeadLetter {
        DeadLetter {
            reason: "malformed JSON".to_owned(),
            origin: "file:1".to_owned(),
            attempts: 1,
            whole_bytes: body.len(),
            body: body.into(),
        }
    }

    #[test]
    fn a_letter_that_does_not_fit_keeps_the_beginning_of_its_body() {
        for body in ["a", "\0", "\"", "ä"]
            .map(|text| text.repeat(100_000).into_bytes())
            .into_iter()
            .chain([vec![0xff; 100_000]])
        {
            let (letter, whole) = (letter(body.clone()), body.len());
            let batch = encode(std::slice::from_ref(&letter), 0, 50_000);
            let text = batch.get(0).unwrap();
            assert!(text.len() <= 50_000 && text.len() > 5_000, "{}", text.len());
            let read = decode(MessageId(3), &text);
            assert!(read.letter.is_cut() && body.starts_with(&read.letter.body));
            assert_eq!((read.letter.attempts, read.letter.whole_bytes), (1, whole));
            assert!(encode(&[letter], 0, usize::MAX).get(0).unwrap().len() > whole);
        }
    }

    #[test]
    fn a_letter_is_read_as_it_was_written() {
        for body in [&b""[..], b"{\"a\":\"\\u00e4\"}", "ä\u{0}\u{2028}".as_bytes(), b"\xff{\x00\xfe", b"\xc3"]
        {
            let read =
                decode(MessageId(3), &encode(&[letter(body.to_vec())], 1_500, usize::MAX).get(0).unwrap());
            assert_eq!((read.id, read.time.unwrap().as_millisecond()), (MessageId(3), 1_500));
            assert_eq!((&read.letter.reason[..], &read.letter.origin[..]), ("malformed JSON", "file:1"));
            assert!(read.letter.body == body && !read.letter.is_cut());
        }
    }

    #[test]
    fn letters_of_an_earlier_version_and_of_others_are_read_too() {
        let earlier = br#"{"reason":"r","origin":"o","attempts":2,"body":"b","bodyBytes":9}"#;
        let read = decode(MessageId(0), &Bytes::from_static(earlier));
        assert_eq!((read.time, &read.letter.body[..], read.letter.attempts), (None, &b"b"[..], 2));
        assert!(read.letter.is_cut());
        let foreign = decode(MessageId(0), &Bytes::from_static(b"\xff"));
        assert!(foreign.letter.body == b"\xff"[..] && foreign.letter.reason.contains("not a dead letter"));
    }
}
