//! Alerts to anything that takes JSON by POST.

use async_trait::async_trait;
use serde_json::json;

use super::{Channel, Message, outcome};

/// A plain webhook.
#[derive(Clone, PartialEq)]
pub struct Webhook {
    /// Its address.
    pub webhook: String,
}

#[async_trait]
impl Channel for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    async fn send(&self, client: &reqwest::Client, message: &Message) -> Result<(), String> {
        let body = json!({ "text": message.text, "severity": message.severity, "source": "pulsehub" });
        outcome(client.post(&self.webhook).json(&body)).await.map(drop)
    }
}
