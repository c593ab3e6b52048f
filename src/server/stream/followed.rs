//! A value that one client follows: what it was told, and what comes next.

use std::sync::Arc;

use tokio::sync::watch;

use super::message::Message;
use crate::live::versions::{Content, Version, Versions};

/// A value that is followed.
pub struct Followed<S, T> {
    versions: Arc<Versions<S, T>>,
    changes: watch::Receiver<S>,
    told: Arc<Version<T>>,
}

impl<S, T: Content> Followed<S, T> {
    /// Begins with the message that says all of it.
    pub fn begin(versions: &Arc<Versions<S, T>>) -> (Self, Message) {
        let mut changes = versions.changes();
        // Before it is read: what changes in between is looked at again, and is no new version then.
        changes.mark_unchanged();
        let told = versions.current();
        let snapshot = Message::snapshot(told.snapshot());
        (Self { versions: versions.clone(), changes, told }, snapshot)
    }

    /// Waits for the next version. However many there were meanwhile, they are told as one. Cancel safe.
    pub async fn next(&mut self) -> Message {
        loop {
            if self.changes.changed().await.is_err() {
                return std::future::pending().await;
            }
            let current = self.versions.current();
            if current.seq != self.told.seq {
                let step = current.after(&self.told);
                self.told = current;
                return Message::step(step);
            }
        }
    }
}
