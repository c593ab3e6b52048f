//! How counters, sets and windows are named in the embedded tables. Big-endian numbers keep ranges in order.

use crate::event::{Day, EventKey};

/// A counter, and the set of the same name where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Counter {
    /// Of a day: distinct pull requests opened.
    Open = 1,
    /// Of a day: distinct pull requests merged.
    Merge = 2,
    /// Of a day: distinct pull requests closed.
    Close = 3,
    /// Of a day: distinct developers.
    DayDev = 4,
    /// Of a year: distinct developers.
    YearDev = 5,
    /// Of a year: distinct repositories.
    YearRepo = 6,
    /// Of a year: lines added. It has no set: `Merge` guards it.
    Additions = 7,
    /// Of a year: lines deleted. It has no set: `Merge` guards it.
    Deletions = 8,
    /// Of a day: merged pull requests whose size is not known yet. Only a set.
    Pending = 9,
    /// Of a day: that it is closed. Only a set, of one member.
    Closed = 10,
}

impl Counter {
    /// The counters of a day, in the order of [`crate::state::DayCounts`].
    pub const OF_A_DAY: [Self; 4] = [Self::Open, Self::Merge, Self::Close, Self::DayDev];
    /// The counters of a year, in the order of [`crate::state::YearSums`].
    pub const OF_A_YEAR: [Self; 4] = [Self::YearDev, Self::YearRepo, Self::Additions, Self::Deletions];

    /// The counter's key for a day.
    pub fn of_day(self, day: Day) -> CounterKey {
        self.key(day.number())
    }

    /// The counter's key for a year.
    pub fn of_year(self, year: i16) -> CounterKey {
        self.key(i32::from(year))
    }

    fn key(self, period: i32) -> CounterKey {
        // The flipped sign bit sorts days before 1970 before the others.
        let [a, b, c, d] = (period ^ i32::MIN).to_be_bytes();
        CounterKey([self as u8, a, b, c, d])
    }
}

/// A counter in one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CounterKey(pub [u8; 5]);

impl CounterKey {
    /// The day that a stored key of a day's counter names.
    pub fn day(bytes: &[u8]) -> Option<Day> {
        let period = bytes.get(1..5)?.try_into().ok()?;
        Day::from_number(i32::from_be_bytes(period) ^ i32::MIN)
    }

    /// The key of a member of the counter's set.
    pub fn member(self, id: u64) -> MemberKey {
        let mut bytes = [0; 13];
        bytes[..5].copy_from_slice(&self.0);
        bytes[5..].copy_from_slice(&id.to_be_bytes());
        MemberKey(bytes)
    }
}

/// A member of a counter's set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberKey(pub [u8; 13]);

/// A key that sorts by Unix second first, for what expires.
pub fn by_second(second: i64, rest: &[u8]) -> Vec<u8> {
    let mut key = second.to_be_bytes().to_vec();
    key.extend_from_slice(rest);
    key
}

/// Second and rest of a key written by [`by_second`].
pub fn split_second(key: &[u8]) -> Option<(i64, &[u8])> {
    let (second, rest) = key.split_first_chunk::<8>()?;
    Some((i64::from_be_bytes(*second), rest))
}

/// The event's key in the expiry index: when its reply was written, then which it is.
pub fn reply_expiry(second: i64, event: EventKey) -> Vec<u8> {
    by_second(second, &event.to_bytes())
}
