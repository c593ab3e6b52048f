//! Messages that travel together, in one contiguous buffer.

use bytes::Bytes;

/// An immutable sequence of messages that share one buffer.
#[derive(Debug, Clone, Default)]
pub struct MessageBatch {
    body: Bytes,
    ends: Vec<u32>,
}

/// Collects messages into a [`MessageBatch`].
#[derive(Debug, Default)]
pub struct BatchBuilder {
    body: Vec<u8>,
    ends: Vec<u32>,
}

impl BatchBuilder {
    /// Room for `bytes` of messages before the buffer grows.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { body: Vec::with_capacity(bytes), ends: Vec::new() }
    }

    /// Adds one message, given in parts.
    pub fn push(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.body.extend_from_slice(part);
        }
        // A batch is a few MiB: sources cut it long before four GiB.
        self.ends.push(u32::try_from(self.body.len()).unwrap_or(u32::MAX));
    }

    /// Bytes collected so far.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Messages collected so far.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The finished batch.
    pub fn build(self) -> MessageBatch {
        MessageBatch { body: self.body.into(), ends: self.ends }
    }
}

impl MessageBatch {
    /// A batch over a buffer and the end of each message in it; `None` unless the ends ascend and fill the buffer.
    pub fn from_parts(body: Bytes, ends: Vec<u32>) -> Option<Self> {
        let fills = ends.last().map_or(body.is_empty(), |&end| end as usize == body.len());
        (fills && ends.is_sorted()).then_some(Self { body, ends })
    }

    /// How many messages.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All messages' bytes, one after the other.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The end of each message within [`MessageBatch::body`].
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The `index`-th message, without copying it.
    pub fn get(&self, index: usize) -> Option<Bytes> {
        let end = *self.ends.get(index)? as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(self.body.slice(start..end))
    }
}
