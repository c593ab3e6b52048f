//! How everything is named in Redis: the fixed hashes that others read, and all else under `ph:`.

use jiff::Timestamp;

use crate::event::{Day, EventKey};

/// Ids of one bitmap. A batch may meet a new bitmap with every id, and a new one is filled with zeros: at 8 KiB 400 of
/// them take 4 ms, at 1 MiB 84 ms. Their 8,184 bytes and Redis' header fill the allocator's class of 8 KiB, and
/// from 16 KiB on it adds a page to each. `apply.lua` knows the number too.
const BITMAP_IDS: u64 = (1 << 16) - 64;

/// The last offset of a bitmap.
pub const LAST_BIT: u64 = BITMAP_IDS - 1;

/// Ids from here on are kept in a set: GitHub's are far below, and one stray id must not cost a bitmap.
const SPARSE_FROM: u64 = 1 << 36;

/// Seconds of events whose replies share a hash: at twelve events a second a listpack of 48 fields, as compact as a
/// longer one and quicker to search.
const BUCKET_SECONDS: i64 = 4;

/// A set that guards a counter, or the sizes that are still missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Set {
    /// Pull requests opened on a day.
    Open(Day),
    /// Pull requests merged on a day.
    Merge(Day),
    /// Pull requests closed on a day.
    Close(Day),
    /// Developers of a day.
    DayDev(Day),
    /// Pull requests merged on a day whose size is not known.
    Pending(Day),
    /// Developers of a year.
    YearDev(i16),
    /// Repositories of a year.
    YearRepo(i16),
}

/// How a part of a set is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// As members of a Redis set.
    Members,
    /// As bits of the bitmap of this number.
    Bits(u64),
}

impl Part {
    /// As the scripts call it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Members => "set",
            Self::Bits(_) => "bits",
        }
    }
}

impl Set {
    /// Where `id` is kept, and as which member of that.
    pub fn place(self, id: u64) -> (Part, u64) {
        match self {
            Self::YearDev(_) | Self::YearRepo(_) if id < SPARSE_FROM => {
                (Part::Bits(id / BITMAP_IDS), id % BITMAP_IDS)
            }
            _ => (Part::Members, id),
        }
    }
}

/// The names, all behind the configured prefix.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Names behind `prefix`.
    pub fn new(prefix: String) -> Self {
        Self { prefix }
    }

    /// A key by its name without the prefix.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The store's epoch.
    pub fn epoch(&self) -> String {
        self.key("ph:epoch")
    }

    /// The last batch's number.
    pub fn seq(&self) -> String {
        self.key("ph:seq")
    }

    /// Days that are not closed, with the second of their last event.
    pub fn days(&self) -> String {
        self.key("ph:days")
    }

    /// The mark of a closed day.
    pub fn closed(&self, day: &str) -> String {
        self.key(&format!("ph:closed:{day}"))
    }

    /// The state's own counters of a day or year.
    pub fn own(&self, period: &str) -> String {
        self.key(&format!("ph:own:{period}"))
    }

    /// History's counters of a day or year.
    pub fn base(&self, period: &str) -> String {
        self.key(&format!("ph:base:{period}"))
    }

    /// How it stands with a year's seed.
    pub fn seed(&self, year: i16) -> String {
        self.key(&format!("ph:seed:{year}"))
    }

    /// Where a predecessor's hash is kept.
    pub fn old(&self, name: &str) -> String {
        self.key(&format!("ph:old:{name}"))
    }

    /// Languages counted in a second.
    pub fn language(&self, second: i64) -> String {
        format!("{}{second}", self.language_prefix())
    }

    /// What stands before the second in [`Keys::language`].
    pub fn language_prefix(&self) -> String {
        self.key("l_")
    }

    /// The seconds in which languages were counted.
    pub fn seconds(&self) -> String {
        self.key("ph:seconds")
    }

    /// A part of a set.
    pub fn set(&self, set: Set, part: Part) -> String {
        let name = match set {
            Set::Open(day) => format!("ph:open:{day}"),
            Set::Merge(day) => format!("ph:merge:{day}"),
            Set::Close(day) => format!("ph:close:{day}"),
            Set::DayDev(day) => format!("ph:dev:{day}"),
            Set::Pending(day) => format!("ph:pending:{day}"),
            Set::YearDev(year) => format!("ph:dev:{year}"),
            Set::YearRepo(year) => format!("ph:repo:{year}"),
        };
        match (set, part) {
            (Set::YearDev(_) | Set::YearRepo(_), Part::Bits(number)) => self.key(&format!("{name}:{number}")),
            (Set::YearDev(_) | Set::YearRepo(_), Part::Members) => self.key(&format!("{name}:sparse")),
            _ => self.key(&name),
        }
    }

    /// All sets of a day by its name.
    pub fn day_sets(&self, day: &str) -> [String; 5] {
        ["open", "merge", "close", "dev", "pending"].map(|kind| self.key(&format!("ph:{kind}:{day}")))
    }

    /// Whether `key` is a set of `year` or of one of its days, or closes one of them.
    pub fn is_set_of(&self, key: &str, year: i16) -> bool {
        let name = key.strip_prefix(&self.prefix).and_then(|name| name.strip_prefix("ph:"));
        let Some((kind, rest)) = name.and_then(|name| name.split_once(':')) else { return false };
        match kind {
            "dev" | "repo" if rest.split_once(':').is_some_and(|(of, _)| of == year.to_string()) => true,
            "open" | "merge" | "close" | "dev" | "pending" | "closed" => {
                day_of(rest).is_some_and(|day| day.year() == year)
            }
            _ => false,
        }
    }

    /// The number of the hash that holds an event's reply.
    pub fn bucket(&self, event: EventKey) -> i64 {
        event.created_at.div_euclid(BUCKET_SECONDS)
    }

    /// A hash of replies by its number.
    pub fn reply(&self, bucket: i64) -> String {
        self.key(&format!("ph:reply:{bucket}"))
    }

    /// An event's field in its hash of replies.
    pub fn reply_field(&self, event: EventKey) -> String {
        format!("{}.{}", event.id, event.created_at.rem_euclid(BUCKET_SECONDS))
    }

    /// Who has the claims to a natural key.
    pub fn claim(&self, natural: i64) -> String {
        self.key(&format!("ph:claim:{natural:x}"))
    }

    /// The published hashes of a year, in the order that the scripts take them: open, merge, close, dev, event, sums.
    pub fn published(&self, year: i16) -> [String; 6] {
        Self::published_names(year).map(|name| self.key(&name))
    }

    /// [`Keys::published`] without the prefix.
    pub fn published_names(year: i16) -> [String; 6] {
        ["daily_open", "daily_merge", "daily_close", "daily_dev", "daily_year", "year_sum"]
            .map(|name| format!("{name}_{year}"))
    }

    /// A pattern for `SCAN` that matches keys of this prefix that begin with `name`.
    pub fn pattern(&self, name: &str) -> String {
        let mut pattern = String::new();
        for c in self.prefix.chars() {
            if "*?[]^\\".contains(c) {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        format!("{pattern}{name}*")
    }

    /// The year in a key that [`Keys::pattern`] of `name` found.
    pub fn year_of(&self, key: &str, name: &str) -> Option<i16> {
        key.strip_prefix(&self.prefix)?.strip_prefix(name)?.parse().ok()
    }
}

/// The day that `name` writes as `2016-01-01`.
pub fn day_of(name: &str) -> Option<Day> {
    let midnight: Timestamp = format!("{name}T00:00:00Z").parse().ok()?;
    Day::of(midnight.as_second()).filter(|day| day.to_string() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_behind_the_prefix() {
        let keys = Keys::new("{gh}:".to_owned());
        let day = day_of("2016-02-29").unwrap();
        assert_eq!(keys.set(Set::YearRepo(2016), Part::Bits(3)), "{gh}:ph:repo:2016:3");
        assert_eq!(keys.set(Set::Open(day), Part::Members), "{gh}:ph:open:2016-02-29");
        assert_eq!(keys.language(7), "{gh}:l_7");
        assert_eq!(keys.year_of("{gh}:daily_year_2016", "daily_year_"), Some(2016));
        assert_eq!(Keys::new("a*b".to_owned()).pattern("l_"), "a\\*bl_*");
    }

    #[test]
    fn a_stray_id_costs_a_member_and_not_a_bitmap() {
        let set = Set::YearDev(2026);
        assert_eq!(set.place((1 << 16) - 64 + 5), (Part::Bits(1), 5));
        assert_eq!(set.place(u64::MAX), (Part::Members, u64::MAX));
        assert_eq!(Set::DayDev(day_of("2026-01-01").unwrap()).place(9), (Part::Members, 9));
    }

    #[test]
    fn the_sets_of_a_year_are_told_from_others() {
        let keys = Keys::new("p:".to_owned());
        let is = |name: &str, year| keys.is_set_of(&format!("p:{name}"), year);
        for set in ["ph:dev:2016:3", "ph:repo:2016:sparse", "ph:dev:2016-02-29", "ph:closed:2016-12-31"] {
            assert!(is(set, 2016) && !is(set, 201) && !is(set, 2017), "{set}");
        }
        for other in ["ph:own:2016", "ph:base:2016-01-01", "ph:days", "ph:reply:2016"] {
            assert!(!is(other, 2016), "{other}");
        }
        assert!(!keys.is_set_of("ph:dev:2016:3", 2016), "another prefix");
    }

    #[test]
    fn what_is_no_day_is_none() {
        assert!(day_of("2016-02-30").is_none() && day_of("today").is_none() && day_of("2016-2-9").is_none());
    }
}
