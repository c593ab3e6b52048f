//! What front ends follow: the feed of applied events, the counters' snapshot, the language window, the last day.

mod activity;
mod feed;
mod forms;
mod frame;
mod languages;
mod memo;
pub mod message;
mod snapshot;
pub mod versions;

pub use activity::{Activity, Answer, Answers, Kept};
pub use feed::{Arrival, Cursor, Feed, LiveEvent, Position, Read, Resumed, Sight, Unseen};
pub use forms::SharedForm;
pub use frame::Frame;
pub use languages::{LanguageMap, Languages};
pub use snapshot::{Counters, FirstMessage};
