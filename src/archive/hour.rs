//! An hour of the archive, by its name: `2026-11-01-5`, the hour not padded.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

const SECONDS: i64 = 3_600;

/// An hour in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i64);

impl Hour {
    /// The hour of a moment in Unix seconds.
    pub fn of(unix_seconds: i64) -> Self {
        Self(unix_seconds.div_euclid(SECONDS))
    }

    /// When it begins, in Unix seconds.
    pub fn start(self) -> i64 {
        self.0 * SECONDS
    }

    /// When it is over, in Unix seconds.
    pub fn end(self) -> i64 {
        self.start() + SECONDS
    }

    /// The one after it.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Reads what `Display` writes, and nothing else.
    pub fn parse(name: &str) -> Option<Self> {
        let (date, hour) = name.rsplit_once('-')?;
        let date: Date = date.parse().ok()?;
        let moment = date.to_datetime(Time::new(hour.parse().ok()?, 0, 0, 0).ok()?);
        let hour = Self::of(TimeZone::UTC.to_timestamp(moment).ok()?.as_second());
        (hour.to_string() == name).then_some(hour)
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = Timestamp::from_second(self.start()).unwrap_or_default();
        write!(f, "{}", moment.strftime("%Y-%m-%d-%-H"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_gh_archive() {
        let hour = Hour::of(1_795_000_000);
        assert_eq!(hour.to_string(), "2026-11-18-11");
        assert_eq!((hour.start(), hour.end()), (1_794_999_600, 1_795_003_200));
        for name in ["2026-11-18-11", "2026-01-01-0", "2015-12-31-23"] {
            assert_eq!(Hour::parse(name).unwrap().to_string(), name);
        }
        for name in
            ["2026-11-18-05", "2026-11-18-24", "2026-11-18", "notes", "2026-11-18-1.x", "2026-11-18--1"]
        {
            assert_eq!(Hour::parse(name), None, "{name}");
        }
    }
}
