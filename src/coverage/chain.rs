//! Which pages are one queue: whether a page shows what the page above it showed before.

use super::queue::Queue;
use super::sightings::Sightings;
use crate::source::github::Seen;

/// Share of a page that the one above it had shown, above which they are one queue, and below which they are two.
const LINKED: (f64, f64) = (0.1, 0.04);
/// Weight of one answer.
const WEIGHT: f64 = 0.1;

/// Pages 1 to 3.
#[derive(Debug)]
pub struct Chain {
    /// Of pages 2 and 3.
    links: [Link; 2],
    /// So that no queue has the number of an earlier one.
    changes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    is_one: bool,
    /// Share of the lower page that the upper one had shown, of late.
    share: f64,
}

impl Default for Chain {
    /// As GitHub had it when this was written: pushes on page 1, all else on pages 2 and 3.
    fn default() -> Self {
        let links = [Link { is_one: false, share: 0.0 }, Link { is_one: true, share: 0.5 }];
        Self { links, changes: 0 }
    }
}

impl Chain {
    /// A page showed `events`, of which `known` were seen before; whether the queues are others from now on.
    pub fn observe(&mut self, page: u8, events: &[Seen], known: &Sightings) -> bool {
        let Some(link) = usize::from(page).checked_sub(2).and_then(|index| self.links.get_mut(index)) else {
            return false;
        };
        if events.is_empty() {
            return false;
        }
        let above = 1 << (page - 1);
        let crossed = |event: &&Seen| known.get(&event.key).is_some_and(|seen| seen.pages & above != 0);
        let share = events.iter().filter(crossed).count() as f64 / events.len() as f64;
        link.share += WEIGHT * (share - link.share);
        let (enter, leave) = LINKED;
        let is_one = if link.is_one { link.share >= leave } else { link.share > enter };
        let changed = std::mem::replace(&mut link.is_one, is_one) != is_one;
        self.changes += usize::from(changed);
        changed
    }

    /// The queues, empty.
    pub fn queues(&self) -> Vec<Queue> {
        let mut pages = vec![(1, 1)];
        for (page, link) in (2..).zip(&self.links) {
            match pages.last_mut() {
                Some((_, last)) if link.is_one => *last = page,
                _ => pages.push((page, page)),
            }
        }
        let number = self.changes * (self.links.len() + 1);
        (number..).zip(pages).map(|(number, (first, last))| Queue::new(number, first, last)).collect()
    }
}
