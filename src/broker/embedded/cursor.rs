//! Which offsets are settled: all below a floor, and ranges above it.

use std::collections::BTreeMap;

use crate::broker::BrokerError;
use crate::storage::Table;

/// A set of offsets that is dense at its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    floor: u64,
    /// start → end, exclusive, disjoint, not touching, all above the floor
    ranges: BTreeMap<u64, u64>,
}

impl Cursor {
    /// The one under `key`, without what it says of offsets from `end` on: the log lost them with its tail, and gives them
    /// again.
    pub fn stored(table: &Table, key: &[u8], end: u64) -> Result<Self, BrokerError> {
        let stored = table.get(key).map_err(BrokerError::storage("read the cursor"))?;
        let mut cursor = stored.and_then(|bytes| Self::from_bytes(&bytes)).unwrap_or_default();
        if cursor.end() > end {
            let key = String::from_utf8_lossy(key).into_owned();
            tracing::warn!(
                key,
                cursor = cursor.end(),
                end,
                "the log is shorter than the cursor: it lost its tail"
            );
            cursor.cut(end);
            // Before the log takes anything: a crash would leave the old cursor over a log that has grown back.
            let written = table.insert(key.as_bytes(), &cursor.to_bytes()).and_then(|()| table.sync());
            written.map_err(BrokerError::storage("write the cursor"))?;
        }
        Ok(cursor)
    }

    /// Everything below `floor` is settled.
    pub fn at(floor: u64) -> Self {
        Self { floor, ranges: BTreeMap::new() }
    }

    /// The first offset that is not settled.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Whether `offset` is settled.
    pub fn contains(&self, offset: u64) -> bool {
        offset < self.floor || self.ranges.range(..=offset).next_back().is_some_and(|(_, &end)| offset < end)
    }

    /// How many offsets at or above the floor are settled.
    pub fn above_floor(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// Settles one offset.
    pub fn insert(&mut self, offset: u64) {
        if self.contains(offset) {
            return;
        }
        let (mut start, mut end) = (offset, offset + 1);
        if let Some((&before, &before_end)) = self.ranges.range(..offset).next_back()
            && before_end == offset
        {
            start = before;
        }
        if let Some(after_end) = self.ranges.remove(&end) {
            end = after_end;
        }
        if start == self.floor {
            self.ranges.remove(&start);
            self.floor = end;
        } else {
            self.ranges.insert(start, end);
        }
    }

    /// Settles everything below `floor`.
    pub fn raise(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        while let Some((&start, &end)) = self.ranges.first_key_value() {
            if start > self.floor {
                break;
            }
            self.ranges.remove(&start);
            self.floor = self.floor.max(end);
        }
    }

    /// The offset behind the last settled one.
    pub fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(self.floor, |(_, &end)| end)
    }

    /// Forgets what is settled from `end` on.
    pub fn cut(&mut self, end: u64) {
        self.floor = self.floor.min(end);
        drop(self.ranges.split_off(&end));
        if let Some(mut last) = self.ranges.last_entry() {
            *last.get_mut() = (*last.get()).min(end);
        }
    }

    /// Floor, then each range's start and end, as little-endian u64.
    pub fn to_bytes(&self) -> Vec<u8> {
        let ranges = self.ranges.iter().flat_map(|(&start, &end)| [start, end]);
        std::iter::once(self.floor).chain(ranges).flat_map(u64::to_le_bytes).collect()
    }

    /// Reads what [`Cursor::to_bytes`] wrote; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut cursor = Self::at(words.next()?);
        while let Some(start) = words.next() {
            cursor.ranges.insert(start, words.next()?);
        }
        rest.is_empty().then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_the_set_of_what_was_settled(offsets in prop::collection::vec(0_u64..64, 0..200)) {
            let mut cursor = Cursor::at(5);
            let mut model: BTreeSet<u64> = (0..5).collect();
            for offset in offsets {
                cursor.insert(offset);
                model.insert(offset);
                for probe in 0..64 {
                    prop_assert_eq!(cursor.contains(probe), model.contains(&probe));
                }
                prop_assert!(!cursor.contains(cursor.floor()));
                let above = model.iter().filter(|&&offset| offset >= cursor.floor()).count() as u64;
                prop_assert_eq!(cursor.above_floor(), above);
                prop_assert_eq!(Cursor::from_bytes(&cursor.to_bytes()), Some(cursor.clone()));
            }
            let mut cut = cursor.clone();
            cut.cut(30);
            for probe in 0..64 {
                prop_assert_eq!(cut.contains(probe), probe < 30 && model.contains(&probe));
            }
            prop_assert!(cut.end() <= 30);
            cursor.raise(40);
            prop_assert!((0..40).all(|offset| cursor.contains(offset)) && cursor.floor() >= 40);
        }
    }
}
