//! How a dead letter is written down: one JSON object, the same in every broker.

use super::{BatchBuilder, DeadLetter, MessageBatch};

/// Writes `letters`, each in at most `limit` bytes: of a body that does not fit, only the beginning is kept.
pub fn encode(letters: &[DeadLetter], limit: usize) -> MessageBatch {
    let mut batch = BatchBuilder::default();
    for letter in letters {
        let mut kept = letter.body.len();
        let mut text = object(letter, kept);
        while text.len() > limit && kept > 0 {
            // Escaping makes at most twelve bytes of one, so that this ends soon.
            kept = (kept / 2).min(limit);
            text = object(letter, kept);
        }
        batch.push(&[text.as_bytes()]);
    }
    batch.build()
}

fn object(letter: &DeadLetter, kept: usize) -> String {
    let mut object = serde_json::json!({
        "reason": letter.reason,
        "origin": letter.origin,
        "attempts": letter.attempts,
        "body": String::from_utf8_lossy(&letter.body[..kept]),
    });
    if kept < letter.body.len() {
        object["bodyBytes"] = letter.body.len().into();
    }
    object.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_does_not_fit_keeps_the_beginning_of_its_body() {
        for byte in [b'a', 0, 0xff, b'"'] {
            let letter = DeadLetter {
                reason: "malformed JSON".to_owned(),
                origin: "file:1".to_owned(),
                attempts: 1,
                body: vec![byte; 100_000].into(),
            };
            let batch = encode(std::slice::from_ref(&letter), 50_000);
            let text = batch.get(0).unwrap();
            assert!(text.len() <= 50_000 && text.len() > 5_000, "{}", text.len());
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!((&value["attempts"], &value["bodyBytes"]), (&1.into(), &100_000.into()));
            assert!(encode(&[letter], usize::MAX).get(0).unwrap().len() > 100_000);
        }
    }
}
