//! TEMPORARY placeholder.
use super::Intake;
use crate::{clock::Clock, shutdown::Shutdown};
use std::{sync::Arc, time::Duration};
pub struct GitHubSettings {
    pub base_url: String,
    pub tokens: Vec<String>,
    pub timeout: Duration,
    pub break_: Duration,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct ClientError;
pub struct Poller;
impl Poller {
    pub fn new(_: GitHubSettings, _: Intake, _: Arc<dyn Clock>) -> Result<Self, ClientError> {
        Ok(Self)
    }
    pub fn status(&self) -> tokio::sync::watch::Receiver<String> {
        tokio::sync::watch::channel(String::new()).1
    }
    pub async fn run(self, mut s: Shutdown) {
        s.triggered().await
    }
}
pub async fn reachable(_: &str, _: Duration) -> bool {
    false
}
