//! What front ends follow: the feed of applied events, the counters' snapshot, the language window, the last day.

mod activity;
mod feed;
mod languages;
pub mod message;
mod snapshot;
pub mod versions;

pub use activity::{Activity, Answer, Answers, Kept};
pub use feed::{Arrival, Cursor, Feed, Frame, LiveEvent, Position, Read, Resumed, SharedForm, Sight, Unseen};
pub use languages::{LanguageMap, Languages};
pub use snapshot::{Counters, FirstMessage};
