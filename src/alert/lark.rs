//! Alerts to a group in Lark, through a custom bot's webhook.
//!
//! Form and signature: <https://open.larksuite.com/document/client-docs/bot-v3/add-custom-bot>.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::{Value, json};

use super::{Channel, Message, outcome};

/// A custom bot of Lark.
#[derive(Clone, PartialEq)]
pub struct Lark {
    /// Its address.
    pub webhook: String,
    /// The key that signs; empty where the bot asks for no signature.
    pub sign_key: String,
}

#[async_trait]
impl Channel for Lark {
    fn name(&self) -> &'static str {
        "lark"
    }

    async fn send(&self, client: &reqwest::Client, message: &Message) -> Result<(), String> {
        let answer = outcome(client.post(&self.webhook).json(&body(message, &self.sign_key))).await?;
        // Lark refuses with status 200 and a code: a wrong signature, a missing keyword, too many messages.
        match answer.get("code").and_then(Value::as_i64) {
            None | Some(0) => Ok(()),
            Some(code) => Err(format!(
                "refused with code {code}: {}",
                answer.get("msg").and_then(Value::as_str).unwrap_or_default()
            )),
        }
    }
}

fn body(message: &Message, sign_key: &str) -> Value {
    let mut body = json!({ "msg_type": "text", "content": { "text": message.text } });
    if !sign_key.is_empty() {
        let timestamp = message.at.to_string();
        body["sign"] = signature(&timestamp, sign_key).into();
        body["timestamp"] = timestamp.into();
    }
    body
}

/// Timestamp and key are the HMAC's key, and nothing is its message.
fn signature(timestamp: &str, sign_key: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{timestamp}\n{sign_key}").as_bytes());
    STANDARD.encode(hmac::sign(&key, b""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_lark_computes() {
        // By Python: base64.b64encode(hmac.new(b"1599360473\ndemo", b"", hashlib.sha256).digest())
        assert_eq!(signature("1599360473", "demo"), "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8=");
        let message = Message { text: "hi".to_owned(), severity: "error", at: 1_599_360_473 };
        let signed = body(&message, "demo");
        assert_eq!((&signed["timestamp"], &signed["content"]["text"]), (&json!("1599360473"), &json!("hi")));
        assert!(body(&message, "").get("sign").is_none());
    }
}
