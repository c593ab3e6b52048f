//! Which messages of which entries a consumer holds: an entry is acknowledged when all its messages are settled.
//!
//! Pulsar stores a batch of messages as one entry. The client acknowledges a whole entry when one of its messages is
//! acknowledged (streamnative/pulsar-rs#345), so messages are counted down here, and the entry goes as a whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::broker::MessageId;

/// Entries given back whose history is remembered; of one more than these only the history is lost.
const MAX_RETURNED: usize = 10_000;

/// The next message's id. Ids are unique in the process, so that one of another consumer is never taken for one's own.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// An entry's place. Ledgers are numbered throughout a cluster, so it is unique without the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryKey {
    /// Its ledger.
    pub ledger: u64,
    /// Its number in the ledger.
    pub entry: u64,
    /// Its topic's partition, -1 where there is none.
    pub partition: i32,
}

/// An entry that is with a consumer.
#[derive(Debug)]
pub struct Entry {
    /// Its place.
    pub key: EntryKey,
    /// Its topic, of a partitioned one the partition.
    pub topic: Arc<str>,
    /// Its messages.
    pub size: u32,
    /// Messages below this index have come.
    next: u32,
    settled: Bits,
    redeliveries: u32,
}

/// What is known of an entry that was given back.
#[derive(Debug, Default)]
struct History {
    redeliveries: u32,
    settled: Bits,
}

/// Entries that consumers of this process gave back, so that the next one knows what was settled and how often they
/// came. The client does not tell how often the broker delivered an entry; what other processes did is not known.
#[derive(Debug, Default)]
pub struct Returned(Mutex<HashMap<EntryKey, History>>);

impl Returned {
    fn take(&self, key: EntryKey) -> History {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key).unwrap_or_default()
    }

    fn put(&self, entries: impl Iterator<Item = Entry>) {
        let mut returned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            if returned.len() >= MAX_RETURNED {
                returned.clear();
            }
            let history = History { redeliveries: entry.redeliveries + 1, settled: entry.settled };
            returned.insert(entry.key, history);
        }
    }
}

/// The entries that one consumer holds.
#[derive(Debug)]
pub struct Entries {
    returned: Arc<Returned>,
    /// By the id of their first message.
    held: BTreeMap<u64, Entry>,
    places: HashMap<EntryKey, u64>,
    unsettled: usize,
}

impl Entries {
    /// Holds nothing yet.
    pub fn new(returned: Arc<Returned>) -> Self {
        Self { returned, held: BTreeMap::new(), places: HashMap::new(), unsettled: 0 }
    }

    /// Messages that came and are not settled.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Takes the message at `index` of an entry of `size` messages. `None` where it came before, because the
    /// connection was lost and the broker delivered the entry again, or was settled before.
    pub fn deliver(&mut self, key: EntryKey, topic: &str, size: u32, index: u32) -> Option<(MessageId, u32)> {
        let base = *self.places.entry(key).or_insert_with(|| {
            let base = NEXT_ID.fetch_add(u64::from(size.max(1)), Ordering::Relaxed);
            let History { redeliveries, settled } = self.returned.take(key);
            let entry = Entry { key, topic: topic.into(), size, next: 0, settled, redeliveries };
            self.held.insert(base, entry);
            base
        });
        let entry = self.held.get_mut(&base)?;
        if index < entry.next || index >= entry.size {
            return None;
        }
        entry.next = index + 1;
        if entry.settled.get(index) {
            return None;
        }
        self.unsettled += 1;
        Some((MessageId(base + u64::from(index)), entry.redeliveries))
    }

    /// Whether the messages that came end in the middle of an entry.
    pub fn is_within(&self, key: EntryKey) -> bool {
        let entry = self.places.get(&key).and_then(|base| self.held.get(base));
        entry.is_some_and(|entry| entry.next < entry.size)
    }

    /// Settles a message; gives back its entry when it was the last one. Ids that are not held are ignored.
    pub fn settle(&mut self, id: MessageId) -> Option<Entry> {
        let (&base, entry) = self.held.range_mut(..=id.0).next_back()?;
        let index = u32::try_from(id.0 - base).ok().filter(|&index| index < entry.next)?;
        if !entry.settled.set(index) {
            return None;
        }
        self.unsettled -= 1;
        if entry.settled.count() < entry.size {
            return None;
        }
        let entry = self.held.remove(&base)?;
        self.places.remove(&entry.key);
        Some(entry)
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        self.returned.put(std::mem::take(&mut self.held).into_values());
    }
}

/// A set of indices.
#[derive(Debug, Default)]
struct Bits {
    words: Vec<u64>,
    count: u32,
}

impl Bits {
    fn get(&self, index: u32) -> bool {
        self.words.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Adds `index`; `false` where it was there.
    fn set(&mut self, index: u32) -> bool {
        let word = index as usize / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (index % 64);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u32::from(new);
        new
    }

    fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: EntryKey = EntryKey { ledger: 7, entry: 3, partition: -1 };

    fn entries(returned: &Arc<Returned>) -> Entries {
        Entries::new(returned.clone())
    }

    fn deliver(entries: &mut Entries, size: u32) -> Vec<(MessageId, u32)> {
        (0..size).filter_map(|index| entries.deliver(KEY, "topic", size, index)).collect()
    }

    #[test]
    fn an_entry_is_done_with_its_last_message_in_any_order() {
        let mut entries = entries(&Arc::default());
        let messages = deliver(&mut entries, 130);
        assert_eq!((messages.len(), entries.unsettled()), (130, 130));
        for (id, _) in messages.iter().rev().take(129) {
            assert!(entries.settle(*id).is_none());
            assert!(entries.settle(*id).is_none());
        }
        assert_eq!(entries.unsettled(), 1);
        assert_eq!(entries.settle(messages[0].0).unwrap().key, KEY);
        assert!(entries.settle(messages[0].0).is_none());
    }

    #[test]
    fn an_entry_that_comes_again_goes_on_where_it_broke_off() {
        let mut entries = entries(&Arc::default());
        assert!(entries.deliver(KEY, "topic", 3, 0).is_some() && entries.is_within(KEY));
        assert_eq!(deliver(&mut entries, 3).len(), 2);
        assert_eq!(deliver(&mut entries, 3).len(), 0);
        assert!(!entries.is_within(KEY));
    }

    #[test]
    fn what_was_given_back_comes_again_without_what_was_settled() {
        let returned = Arc::default();
        let mut first = entries(&returned);
        let messages = deliver(&mut first, 4);
        assert!(messages.iter().all(|(_, redeliveries)| *redeliveries == 0));
        first.settle(messages[2].0);
        drop(first);
        let mut second = entries(&returned);
        let again = deliver(&mut second, 4);
        assert_eq!(again.iter().map(|(_, redeliveries)| *redeliveries).collect::<Vec<_>>(), [1, 1, 1]);
        assert!(again.iter().all(|(id, _)| messages.iter().all(|(old, _)| id != old)));
        let done: Vec<_> = again.iter().filter_map(|(id, _)| second.settle(*id)).collect();
        assert_eq!(done.len(), 1);
    }

    #[test]
    fn ids_of_another_consumer_are_ignored() {
        let returned = Arc::default();
        let (mut one, mut two) = (entries(&returned), entries(&returned));
        let messages = deliver(&mut one, 2);
        assert!(messages.iter().all(|(id, _)| two.settle(*id).is_none()));
        assert_eq!(one.unsettled(), 2);
    }
}
