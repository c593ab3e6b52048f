//! What can go wrong, and how often it does.

use std::collections::BTreeMap;

use fastrand::Rng;

/// What can go wrong beside a crash. Every kind is one that the traits' guarantees allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A call takes seconds instead of milliseconds.
    Slow,
    /// The wall clock steps by seconds, in either direction.
    ClockSteps,
    /// A poll leaves an event out, and shows the others in another order.
    PageChanges,
    /// The broker takes nothing of a batch.
    PublishRefused,
    /// The broker takes the beginning of a batch and then fails.
    PublishCut,
    /// The broker takes a batch and its confirmation is lost.
    ConfirmationLost,
    /// A message becomes visible seconds after it was taken.
    Delayed,
    /// Messages come in any order.
    Reordered,
    /// A consumer loses its connection while it waits for messages.
    ReceiveFails,
    /// A consumer loses its connection before it settled.
    SettleRefused,
    /// A consumer loses its connection after it settled.
    SettleReplyLost,
    /// What was settled is delivered again after the consumer or the process is gone.
    SettlementLost,
    /// The dead-letter topic takes nothing.
    DeadLetterRefused,
    /// The dead-letter topic takes the letters and its confirmation is lost.
    DeadLetterReplyLost,
    /// The state refuses a call.
    StateRefuses,
    /// The state refuses a batch for something in it, and may take it later.
    StateUnfit,
    /// The state applied a batch and its answer is lost.
    ApplyReplyLost,
    /// The state's server dies and comes back without what was not on its disk.
    StateRestarts,
    /// The state can only be used by another process.
    StateBroken,
    /// History refuses rows for something in them, and may take them later.
    HistoryUnfit,
    /// History takes some rows of a batch and then fails.
    HistoryCut,
    /// History wrote the rows and its answer is lost.
    HistoryReplyLost,
    /// The enricher knows nothing of some pull requests for now.
    EnrichmentAway,
    /// The enricher needs all the time that it is given, and then has no answer.
    EnrichmentLate,
    /// The memory of published events is lost with a crash.
    ClaimsLost,
}

impl Fault {
    const ALL: [Self; 25] = [
        Self::Slow,
        Self::ClockSteps,
        Self::PageChanges,
        Self::PublishRefused,
        Self::PublishCut,
        Self::ConfirmationLost,
        Self::Delayed,
        Self::Reordered,
        Self::ReceiveFails,
        Self::SettleRefused,
        Self::SettleReplyLost,
        Self::SettlementLost,
        Self::DeadLetterRefused,
        Self::DeadLetterReplyLost,
        Self::StateRefuses,
        Self::StateUnfit,
        Self::ApplyReplyLost,
        Self::StateRestarts,
        Self::StateBroken,
        Self::HistoryUnfit,
        Self::HistoryCut,
        Self::HistoryReplyLost,
        Self::EnrichmentAway,
        Self::EnrichmentLate,
        Self::ClaimsLost,
    ];

    /// How often it happens at most, per call that it can befall. An engine may be away for a whole life.
    fn limit(self) -> f64 {
        match self {
            Self::StateBroken => 0.01,
            Self::Slow | Self::ClockSteps => 0.05,
            Self::StateRestarts => 0.1,
            Self::StateUnfit | Self::HistoryUnfit => 0.3,
            _ => 1.0,
        }
    }
}

/// How often each fault really happened.
#[derive(Debug, Default)]
pub struct Hits {
    faults: BTreeMap<Fault, u64>,
    /// How often the process was killed.
    pub kills: u64,
}

impl Hits {
    /// It happened once more.
    pub fn add(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Adds those of another run.
    pub fn merge(&mut self, other: Self) {
        self.kills += other.kills;
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<Fault> {
        Fault::ALL.into_iter().filter(|fault| !self.faults.contains_key(fault)).collect()
    }
}

/// How often each fault happens in one life of the process; those that are not in it never do.
#[derive(Debug, Clone, Default)]
pub struct Rates(BTreeMap<Fault, f64>);

impl Rates {
    /// Some faults, each at a rate of its own. Leaving many out finds more than having all of them always: one fault
    /// hides what another would show.
    pub fn draw(random: &mut Rng) -> Self {
        let share = random.choice([0.0, 0.1, 0.3, 0.6]).unwrap();
        let chosen = Fault::ALL.into_iter().filter_map(|fault| {
            let rate = random.choice([0.05, 0.2, 0.4, 1.0]).unwrap() * fault.limit();
            (random.f64() < share).then_some((fault, rate))
        });
        Self(chosen.collect())
    }

    /// How often `fault` happens.
    pub fn of(&self, fault: Fault) -> f64 {
        self.0.get(&fault).copied().unwrap_or_default()
    }
}
