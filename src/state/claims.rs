//! Which of two twins has a claim, and the form in which that is stored.

use crate::event::EventKey;
use crate::mutation::Claim;

/// How long a claim is kept after its second event came first, or its only one, in seconds.
pub const CLAIM_SECONDS: i64 = 24 * 60 * 60;

/// Holders of one natural key that are remembered; of more, the one that stood longest is forgotten. A pull request is
/// not closed and reopened more often within 24 h.
pub const MAX_HOLDERS: usize = 8;

/// Bytes of a holder without and with its twin; `lua/apply.lua` reads and writes the same.
const ALONE: usize = 21;
const PAIRED: usize = 37;

/// An event that has a claim, and its twin once that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    winner: EventKey,
    loser: Option<EventKey>,
    /// When the later of them came first, in Unix seconds.
    since: i64,
}

/// Those that have the claims to one natural key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders(Vec<Holder>);

/// How an event stands to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it has the claim; otherwise its twin has.
    pub wins: bool,
    /// Whether this is said for the first time, so that it is to be stored.
    pub is_new: bool,
}

impl Holders {
    /// Reads what [`Holders::to_bytes`] wrote; `None` where it is something else.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut holders = Vec::new();
        while !bytes.is_empty() {
            let (alone, rest) = bytes.split_at_checked(ALONE)?;
            let (winner, since) = (EventKey::from_bytes(&alone[..16])?, alone[16..20].first_chunk()?);
            let since = i64::from(u32::from_be_bytes(*since));
            let (loser, rest) = match alone[20] {
                0 => (None, rest),
                1 => {
                    let (loser, rest) = rest.split_at_checked(PAIRED - ALONE)?;
                    (Some(EventKey::from_bytes(loser)?), rest)
                }
                _ => return None,
            };
            holders.push(Holder { winner, loser, since });
            bytes = rest;
        }
        Some(Self(holders))
    }

    /// Of each holder its winner, the second, whether there is a loser, and the loser.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * PAIRED);
        for Holder { winner, loser, since } in &self.0 {
            bytes.extend(winner.to_bytes());
            bytes.extend(u32::try_from(*since).unwrap_or(u32::MAX).to_be_bytes());
            bytes.push(u8::from(loser.is_some()));
            bytes.extend(loser.iter().flat_map(|loser| loser.to_bytes()));
        }
        bytes
    }

    /// When the last of them changed, in Unix seconds.
    pub fn changed(&self) -> Option<i64> {
        self.0.iter().map(|holder| holder.since).max()
    }

    /// Decides for an event that is applied at `now` (Unix seconds).
    pub fn decide(&mut self, event: EventKey, claim: Claim, now: i64) -> Standing {
        // A clock that stepped back makes no claim older.
        self.0.retain(|holder| now.saturating_sub(holder.since) < CLAIM_SECONDS);
        for holder in &self.0 {
            if holder.winner == event || holder.loser == Some(event) {
                return Standing { wins: holder.winner == event, is_new: false };
            }
        }
        let apart = |holder: &Holder| holder.winner.created_at.abs_diff(event.created_at);
        let near = |apart: u64| claim.within.is_none_or(|within| apart <= u64::from(within));
        let other = |holder: &&mut Holder| {
            holder.loser.is_none()
                && holder.winner.is_of_webhook() != event.is_of_webhook()
                && near(apart(holder))
        };
        if let Some(twin) = self.0.iter_mut().filter(other).min_by_key(|holder| apart(holder)) {
            (twin.loser, twin.since) = (Some(event), now);
            return Standing { wins: false, is_new: true };
        }
        if self.0.len() == MAX_HOLDERS {
            let oldest = (0..MAX_HOLDERS).min_by_key(|&index| self.0[index].since).unwrap_or(0);
            self.0.remove(oldest);
        }
        self.0.push(Holder { winner: event, loser: None, since: now });
        Standing { wins: true, is_new: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_219_200;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let (feed, webhook) = (EventKey { id: 7, created_at: NOW }, EventKey { id: -7, created_at: NOW - 3 });
        let mut holders = Holders::default();
        let claim = Claim { natural: 7, within: Some(600) };
        holders.decide(feed, claim, NOW);
        holders.decide(webhook, claim, NOW + 1);
        holders.decide(EventKey { id: 8, created_at: NOW }, claim, NOW + 2);
        let bytes = holders.to_bytes();
        assert_eq!(bytes.len(), PAIRED + ALONE);
        assert_eq!(Holders::from_bytes(&bytes), Some(holders));
        for end in (1..bytes.len()).filter(|&end| end != PAIRED) {
            assert_eq!(Holders::from_bytes(&bytes[..end]), None, "{end}");
        }
    }

    #[test]
    fn more_holders_than_are_remembered_drop_the_one_that_stood_longest() {
        let mut holders = Holders::default();
        let claim = Claim { natural: 7, within: Some(600) };
        for id in 0..MAX_HOLDERS as i64 + 1 {
            let event = EventKey { id: id + 1, created_at: NOW };
            assert!(holders.decide(event, claim, NOW + id).wins);
        }
        assert_eq!(holders.0.len(), MAX_HOLDERS);
        assert_eq!(holders.0[0].winner.id, 2);
    }
}
