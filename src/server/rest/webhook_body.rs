//! The body of a delivery, read as it came into memory that all deliveries share.

use std::sync::Arc;
use std::time::Duration;

use axum::body::BodyDataStream;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::delivery::{MAX_BODY_BYTES, Unread};

/// Bytes of bodies in memory, of all deliveries together. Anybody can send any body: whether it is GitHub's is known
/// when it was read.
const MEMORY_BYTES: usize = 128 << 20;
/// The beginning of each body has a share of it that no long body takes: few of GitHub's are longer.
const BEGINNING_BYTES: usize = 1 << 20;
const BEGINNINGS_BYTES: usize = 32 << 20;
/// How long a body may take to arrive. GitHub itself gives up after ten seconds.
const ARRIVAL: Duration = Duration::from_secs(30);
/// What is read of a body that is not wanted, and for how long, so that its sender reads the answer instead of an error.
const DISCARD_BYTES: usize = 8 << 20;
const DISCARD: Duration = Duration::from_secs(2);

/// The memory for bodies.
pub struct Memory {
    beginnings: Arc<Semaphore>,
    rests: Arc<Semaphore>,
}

/// The memory that a body holds, given back when dropped.
#[derive(Debug, Default)]
pub struct Held {
    beginning: Option<OwnedSemaphorePermit>,
    rest: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// All of it is free.
    pub fn new() -> Self {
        let share = |bytes| Arc::new(Semaphore::new(bytes));
        Self { beginnings: share(BEGINNINGS_BYTES), rests: share(MEMORY_BYTES - BEGINNINGS_BYTES) }
    }

    /// Bytes that nobody holds.
    #[cfg(test)]
    pub fn free_bytes(&self) -> usize {
        self.beginnings.available_permits() + self.rests.available_permits()
    }

    /// Adds to `held`, which is for `have` bytes, room for `more`.
    fn take(&self, held: &mut Held, have: usize, more: usize) -> Result<(), Unread> {
        let beginning = more.min(BEGINNING_BYTES.saturating_sub(have));
        add(&mut held.beginning, &self.beginnings, beginning)?;
        add(&mut held.rest, &self.rests, more - beginning)
    }
}

fn add(held: &mut Option<OwnedSemaphorePermit>, share: &Arc<Semaphore>, bytes: usize) -> Result<(), Unread> {
    if bytes == 0 {
        return Ok(());
    }
    let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
    let more = share.clone().try_acquire_many_owned(permits).map_err(|_| Unread::NoRoom)?;
    match held {
        Some(held) => held.merge(more),
        None => *held = Some(more),
    }
    Ok(())
}

/// The whole body, with the memory that it holds.
pub async fn read(chunks: &mut BodyDataStream, memory: &Memory) -> Result<(Bytes, Held), Unread> {
    timeout(ARRIVAL, read_on(chunks, memory)).await.unwrap_or(Err(Unread::Late))
}

async fn read_on(chunks: &mut BodyDataStream, memory: &Memory) -> Result<(Bytes, Held), Unread> {
    let (mut whole, mut held) = (BytesMut::new(), Held::default());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Unread::Broken)?;
        if whole.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Unread::TooLarge);
        }
        memory.take(&mut held, whole.len(), chunk.len())?;
        whole.extend_from_slice(&chunk);
    }
    Ok((whole.freeze(), held))
}

/// Reads some of the rest of a body, and keeps nothing.
pub async fn discard(chunks: &mut BodyDataStream) {
    let all = async {
        let mut left = DISCARD_BYTES;
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return;
            }
        }
    };
    // Who has not sent it by then has to do without the answer.
    let _ = timeout(DISCARD, all).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn body(bytes: usize) -> BodyDataStream {
        Body::from(vec![b' '; bytes]).into_data_stream()
    }

    #[tokio::test]
    async fn long_bodies_leave_the_beginnings_their_share_and_all_give_back_what_they_held() {
        let memory = Memory::new();
        let mut held = Vec::new();
        let refused = loop {
            match read(&mut body(MAX_BODY_BYTES), &memory).await {
                Ok(read) => held.push(read),
                Err(unread) => break unread,
            }
        };
        assert_eq!((held.len(), refused), (4, Unread::NoRoom));
        let mut short = Vec::new();
        while let Ok(read) = read(&mut body(BEGINNING_BYTES), &memory).await {
            short.push(read);
        }
        assert_eq!(short.len(), 32 - 4);
        drop((held, short));
        assert_eq!(memory.free_bytes(), MEMORY_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_too_large_breaks_off_or_stalls_is_not_read_and_holds_nothing() {
        let memory = Memory::new();
        let stream = |end: Option<std::io::Error>| {
            let first = futures_util::stream::iter([Ok(Bytes::from_static(b"{"))]);
            match end {
                Some(end) => Body::from_stream(first.chain(futures_util::stream::iter([Err(end)]))),
                None => Body::from_stream(first.chain(futures_util::stream::pending())),
            }
            .into_data_stream()
        };
        for (mut body, why) in [
            (body(MAX_BODY_BYTES + 1), Unread::TooLarge),
            (stream(Some(std::io::Error::other("gone"))), Unread::Broken),
            (stream(None), Unread::Late),
        ] {
            assert_eq!(read(&mut body, &memory).await.unwrap_err(), why);
        }
        assert_eq!(memory.free_bytes(), MEMORY_BYTES);
        discard(&mut stream(None)).await;
    }
}
