//! A topic with a subscription on it: where messages go to and come from.

use std::sync::atomic::{AtomicBool, Ordering};

use super::topic::TopicName;

/// A topic and the subscription that keeps what is published on it.
pub struct Place {
    /// The topic.
    pub topic: TopicName,
    /// The subscription.
    pub subscription: String,
    /// Messages that each of its consumers prefetches.
    pub prefetch: u32,
    /// Whether a stall was reported and has not ended.
    stalled: AtomicBool,
}

impl Place {
    /// A subscription that does not stand still yet.
    pub fn new(topic: TopicName, subscription: &str, prefetch: u32) -> Self {
        Self { topic, subscription: subscription.to_owned(), prefetch, stalled: AtomicBool::new(false) }
    }

    /// Notes whether the subscription stands still; says whether that is news.
    pub fn stalled(&self, stalled: bool) -> bool {
        self.stalled.swap(stalled, Ordering::Relaxed) != stalled
    }
}
