//! What one event was written as, so that clients that want the same share the work and the bytes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::frame::Frame;

/// Forms that one event is remembered in, of those that several clients have. Clients that want yet another one have it
/// written for each of them.
const MAX_FORMS: usize = 256;

/// What a frame is found again by: the number of its form, and the name of what is around it.
pub(super) type Key = (u64, &'static str);

/// Bytes of all frames that are remembered.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    /// `max` bytes; what does not fit is not remembered.
    pub fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The frames of one event.
#[derive(Debug)]
pub(super) struct Memo {
    /// `None` once it remembers nothing any more.
    frames: Mutex<Option<Vec<(Key, Frame)>>>,
    budget: Arc<Budget>,
}

impl Memo {
    /// Remembers nothing yet.
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { frames: Mutex::new(Some(Vec::new())), budget }
    }

    /// The frame of `key`, written now if it is the first to be asked for. Whoever wants it meanwhile waits for it.
    pub fn get_or_write(&self, key: Key, write: impl FnOnce() -> Frame) -> Frame {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = frames.iter().flatten().find(|(known, _)| *known == key) {
            return frame.clone();
        }
        let Some(known) = frames.as_mut().filter(|known| known.len() < MAX_FORMS) else {
            // Nobody waits for what is not shared.
            drop(frames);
            return write();
        };
        let frame = write();
        if self.budget.take(frame.wire().len()) {
            known.push((key, frame.clone()));
        }
        frame
    }

    /// Forgets what it has, and remembers nothing from now on.
    pub fn forget(&self) {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.budget.give_back(frames.iter().flatten().map(|(_, frame)| frame.wire().len()).sum());
    }
}

impl Drop for Memo {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_frame_is_written_once_within_its_bounds_and_each_time_beyond() {
        let budget = Arc::new(Budget::new(1_000));
        let written = Cell::new(0);
        let write = |memo: &Memo, form: u64, length: usize| {
            memo.get_or_write((form, ""), || {
                written.set(written.get() + 1);
                Frame::text(&"x".repeat(length))
            })
        };
        let memo = Memo::new(budget.clone());
        for _ in 0..10 {
            assert_eq!(write(&memo, 1, 100).as_str().len(), 100);
        }
        assert_eq!((written.get(), budget.used()), (1, 102));
        // What does not fit is written for each.
        write(&memo, 2, 950);
        write(&memo, 2, 950);
        assert_eq!((written.get(), budget.used()), (3, 102));
        // Too many forms are, too.
        for form in 3..3 + MAX_FORMS as u64 {
            write(&memo, form, 0);
        }
        let before = written.get();
        write(&memo, 1, 100);
        assert_eq!(written.get(), before, "known");
        write(&memo, 9_999, 0);
        write(&memo, 9_999, 0);
        assert_eq!(written.get(), before + 2);
        memo.forget();
        write(&memo, 1, 100);
        assert_eq!((written.get(), budget.used()), (before + 3, 0));
        let other = Memo::new(budget.clone());
        write(&other, 1, 10);
        drop(other);
        assert_eq!(budget.used(), 0);
    }
}
