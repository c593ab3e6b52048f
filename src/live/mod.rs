//! What front ends follow: the feed of applied events, the counters' snapshot, the language window.

mod feed;
mod languages;
mod snapshot;

pub use feed::{Cursor, Feed, LiveBatch, LiveEvent, Read};
pub use languages::{LanguageMap, Languages};
pub use snapshot::{Counters, FirstMessage};
