//! Bugs that are planted one at a time, to see that the oracle finds them.
//!
//! The product has no switch for them: each is a decorator around a port, or a fault of the simulated engine behind it,
//! that makes the real core look from outside exactly as if it had the bug. A core that settles before it applies, say,
//! is the real one on a consumer that settles what it hands out. So the code under test is the code that ships.

mod broker;
mod engines;
mod history;
mod state;

pub use engines::Engines;

use super::check_all;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A message is settled when it is received.
    SettledBeforeApplied,
    /// A batch is settled although it is not on the state's disk yet.
    SettledBeforeDurable,
    /// A batch is settled although the state lost it in a restart.
    SettledThoughLost,
    /// A batch is settled before its rows are in history.
    SettledBeforeInHistory,
    /// Rows that history did not take are held for written.
    HistoryFailureIgnored,
    /// With one message its whole batch is settled, as Pulsar's client does it.
    BatchSettledWhole,
    /// Messages are lost to a call of `receive` that is cancelled.
    ReceivedAndDropped,
    /// A publish is confirmed before the broker has it.
    ConfirmedBeforePublished,
    /// A publish that failed is held for confirmed.
    PublishFailureIgnored,
    /// An event is marked as seen before it is published, as the predecessor does it.
    SeenBeforePublished,
    /// A dead letter is confirmed, and its message settled, before the broker has it.
    SettledBeforeBuried,
    /// A refused message is settled before the broker has it for another attempt.
    SettledBeforeRetried,
    /// An event that an engine refused once is a dead letter at once.
    NeverRetried,
    /// An event that comes again adds to the counters again.
    Incremented,
    /// After a restart the state knows no more members than its disk, but counts as before.
    MembersLostAlone,
    /// After a restart the state counts no more than its disk, but knows members as before.
    CountsLostAlone,
    /// An event that comes again counts for its language again.
    LanguageCountedAgain,
    /// The size of a pull request is dropped unless it comes with the first delivery of the merge.
    LateSizeDropped,
    /// The size of a pull request that comes again is added again.
    LateSizeAddedAgain,
    /// An event is settled before the broker has the copy that asks again for what it does not say.
    SettledBeforeAskedAgain,
    /// What an event does not say is not asked for again.
    NeverAskedAgain,
    /// An event that comes again is told that it changed nothing.
    ReplyForgotten,
    /// An event is shown before it is applied.
    ShownBeforeApplied,
    /// A reader goes on at the last event that it has.
    ShownTwice,
    /// Nobody looks whether an event has a twin.
    TwinsIgnored,
    /// Events that lost to their twin are shown and written into history all the same.
    LosersKept,
    /// After a restart the state knows no claims, but counts as before.
    ClaimsLostAlone,
}

impl Bug {
    const ALL: [Self; 27] = [
        Self::SettledBeforeApplied,
        Self::SettledBeforeDurable,
        Self::SettledThoughLost,
        Self::SettledBeforeInHistory,
        Self::HistoryFailureIgnored,
        Self::BatchSettledWhole,
        Self::ReceivedAndDropped,
        Self::ConfirmedBeforePublished,
        Self::PublishFailureIgnored,
        Self::SeenBeforePublished,
        Self::SettledBeforeBuried,
        Self::SettledBeforeRetried,
        Self::NeverRetried,
        Self::Incremented,
        Self::MembersLostAlone,
        Self::CountsLostAlone,
        Self::LanguageCountedAgain,
        Self::LateSizeDropped,
        Self::LateSizeAddedAgain,
        Self::SettledBeforeAskedAgain,
        Self::NeverAskedAgain,
        Self::ReplyForgotten,
        Self::ShownBeforeApplied,
        Self::ShownTwice,
        Self::TwinsIgnored,
        Self::LosersKept,
        Self::ClaimsLostAlone,
    ];
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        match check_all(super::SEEDS, Some(bug)) {
            Err((seed, failure)) => {
                println!("{bug:?}: seed {seed}: {}", failure.lines().next().unwrap_or_default());
            }
            Ok(_) => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found in {} seeds: {missed:?}", super::SEEDS);
}
