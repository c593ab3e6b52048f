//! What people are told of a report.

use std::fmt;

use super::Report;

/// The type that the counters hang on.
const COUNTED: &str = "PullRequestEvent";
/// With fewer events an estimate is not worth an alarm.
const LEAST_SEEN: u64 = 100;

/// Something that people should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// Less than so many percent of the pull request events are seen.
    Low(u32),
    /// A type is no longer seen.
    Silent(&'static str),
}

impl Concern {
    /// What a report gives cause for; `alert_below` is a percentage, 0 for never.
    pub fn of(report: &Report, alert_below: u32) -> Vec<Self> {
        let counted = report.types.get(COUNTED).filter(|counted| counted.seen >= LEAST_SEEN);
        let captured = counted.and_then(|counted| counted.captured);
        let low = captured.is_some_and(|captured| captured < f64::from(alert_below));
        let silent = report.types.iter().filter(|(_, report)| report.silent && alert_below > 0);
        let silent = silent.map(|(kind, _)| Self::Silent(kind));
        low.then_some(Self::Low(alert_below)).into_iter().chain(silent).collect()
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Low(percent) => {
                write!(
                    f,
                    "less than {percent} % of the pull request events are seen, by estimate (coverage.alertBelow)"
                )
            }
            Self::Silent(kind) => write!(f, "{kind} is no longer seen, while other types are"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::TypeReport;

    #[test]
    fn too_few_pull_requests_and_silent_types_are_of_concern() {
        let kind = |seen, captured, silent| TypeReport { seen, captured, silent, ..TypeReport::default() };
        let mut report = Report::default();
        assert_eq!(Concern::of(&report, 80), []);
        report.types.insert("PushEvent", kind(9_000, Some(17.0), false));
        report.types.insert("WatchEvent", kind(0, None, true));
        report.types.insert(COUNTED, kind(2_000, Some(79.9), false));
        assert_eq!(Concern::of(&report, 80), [Concern::Low(80), Concern::Silent("WatchEvent")]);
        assert_eq!(Concern::of(&report, 79), [Concern::Silent("WatchEvent")]);
        assert_eq!(Concern::of(&report, 0), []);
        report.types.insert(COUNTED, kind(99, Some(10.0), false));
        assert_eq!(Concern::of(&report, 80), [Concern::Silent("WatchEvent")]);
    }
}
