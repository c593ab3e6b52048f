//! Values that clients follow as a snapshot and exact differences: each version is written once, for all who need it.

mod counts;
mod languages;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use super::Frame;
pub use counts::Counts;
pub use languages::Window;

/// What can be followed.
pub trait Content: PartialEq + Send + Sync + 'static {
    /// Its name in messages.
    const NAME: &'static str;

    /// All of it.
    fn whole(&self) -> Value;

    /// What is to be added to `before` so that it becomes this; `None` where only a snapshot tells it.
    fn since(&self, before: &Self) -> Option<Value>;
}

/// A value with its number.
pub struct Version<T> {
    /// Grows by one with each change, from 1. A process's own.
    pub seq: u64,
    /// The value.
    pub value: Arc<T>,
    before: Option<Arc<T>>,
    snapshot: OnceLock<Frame>,
    step: OnceLock<Option<Frame>>,
}

/// How a client gets to the next version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// By what is to be added.
    Difference(Frame),
    /// By all of it.
    Snapshot(Frame),
}

impl<T: Content> Version<T> {
    fn new(seq: u64, value: Arc<T>, before: Option<Arc<T>>) -> Arc<Self> {
        Arc::new(Self { seq, value, before, snapshot: OnceLock::new(), step: OnceLock::new() })
    }

    /// The message that says all of it.
    pub fn snapshot(&self) -> Frame {
        let write = || {
            let message = serde_json::json!(
                { "type": "snapshot", "of": T::NAME, "seq": self.seq, "data": self.value.whole() }
            );
            message.to_string().into()
        };
        self.snapshot.get_or_init(write).clone()
    }

    /// The message that leads from what a client was `told` to this: shared by all who have the version before, a snapshot
    /// where no difference tells it.
    pub fn after(&self, told: &Self) -> Step {
        let difference = match &self.before {
            Some(before) if told.seq + 1 == self.seq => {
                self.step.get_or_init(|| self.difference(before, told.seq)).clone()
            }
            _ => self.difference(&told.value, told.seq),
        };
        difference.map_or_else(|| Step::Snapshot(self.snapshot()), Step::Difference)
    }

    fn difference(&self, before: &T, from: u64) -> Option<Frame> {
        let data = self.value.since(before)?;
        let message = serde_json::json!(
            { "type": "difference", "of": T::NAME, "from": from, "seq": self.seq, "data": data }
        );
        Some(message.to_string().into())
    }
}

/// The current version of a value that something else keeps.
pub struct Versions<S, T> {
    source: watch::Receiver<S>,
    read: Box<dyn Fn(&S) -> T + Send + Sync>,
    current: Mutex<Arc<Version<T>>>,
}

impl<S, T: Content> Versions<S, T> {
    /// Versions of what `read` makes of `source`.
    pub fn new(source: watch::Receiver<S>, read: impl Fn(&S) -> T + Send + Sync + 'static) -> Self {
        let first = read(&source.borrow());
        let current = Mutex::new(Version::new(1, Arc::new(first), None));
        Self { source, read: Box::new(read), current }
    }

    /// Marked as changed when there may be a new version.
    pub fn changes(&self) -> watch::Receiver<S> {
        self.source.clone()
    }

    /// The version as of now. Nothing is done for versions that nobody asks for.
    pub fn current(&self) -> Arc<Version<T>> {
        // Read within the lock: otherwise an older value could follow a newer one.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let value = (self.read)(&self.source.borrow());
        if value != *current.value {
            *current = Version::new(current.seq + 1, Arc::new(value), Some(current.value.clone()));
        }
        current.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number that can be added to, below 100.
    #[derive(Debug, PartialEq)]
    struct Number(u64);

    impl Content for Number {
        const NAME: &'static str = "number";

        fn whole(&self) -> Value {
            self.0.into()
        }

        fn since(&self, before: &Self) -> Option<Value> {
            (self.0 < 100).then(|| (self.0 - before.0).into())
        }
    }

    #[test]
    fn a_client_that_missed_versions_gets_them_as_one_and_the_others_share_theirs() {
        let (sender, receiver) = watch::channel(1);
        let versions = Versions::new(receiver, |number: &u64| Number(*number));
        let first = versions.current();
        assert_eq!(first.snapshot().as_str(), r#"{"data":1,"of":"number","seq":1,"type":"snapshot"}"#);
        sender.send_replace(1);
        assert_eq!(versions.current().seq, 1, "the same value is no new version");
        sender.send_replace(3);
        let second = versions.current();
        sender.send_replace(7);
        let third = versions.current();
        let text = |step: Step| match step {
            Step::Difference(frame) => frame,
            Step::Snapshot(_) => panic!("a difference tells it"),
        };
        let step = r#"{"data":4,"from":2,"of":"number","seq":3,"type":"difference"}"#;
        let frames = [third.after(&second), third.after(&second)].map(text);
        assert_eq!(frames[0].as_str(), step);
        assert!(std::ptr::eq(frames[0].as_str(), frames[1].as_str()));
        let both = r#"{"data":6,"from":1,"of":"number","seq":3,"type":"difference"}"#;
        assert_eq!(text(third.after(&first)).as_str(), both);
        sender.send_replace(100);
        let fourth = versions.current();
        assert_eq!(fourth.after(&third), Step::Snapshot(fourth.snapshot()));
    }
}
