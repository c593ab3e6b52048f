//! The claims that a batch asks for and changes, on top of what is stored.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::Tables;
use super::apply::reading;
use super::keys::{by_second, split_second};
use super::sweep::Step;
use crate::event::EventKey;
use crate::mutation::Claim;
use crate::state::StateError;
use crate::state::claims::{CLAIM_SECONDS, Holders};
use crate::storage::Transaction;

/// A batch's claims.
pub struct ClaimChanges<'a> {
    tables: &'a Tables,
    /// Unix seconds.
    now: i64,
    /// By natural key: who has it, and whether the batch changed that.
    known: HashMap<i64, (Holders, bool)>,
}

impl<'a> ClaimChanges<'a> {
    /// None yet.
    pub fn new(tables: &'a Tables, now: i64) -> Self {
        Self { tables, now, known: HashMap::new() }
    }

    /// Whether `event` has its claim, and not its twin.
    pub fn wins(&mut self, event: EventKey, claim: Claim) -> Result<bool, StateError> {
        let (holders, changed) = match self.known.entry(claim.natural) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert((self.tables.holders(claim.natural)?, false)),
        };
        let standing = holders.decide(event, claim, self.now);
        *changed |= standing.is_new;
        Ok(standing.wins)
    }

    /// Adds what changed to the batch's transaction, and removes what has expired.
    pub fn write(&self, transaction: &mut Transaction) -> Result<Step<'a>, StateError> {
        let tables = self.tables;
        for (natural, (holders, changed)) in &self.known {
            if *changed {
                let key = natural.to_be_bytes();
                transaction.insert(&tables.claims, &key, &holders.to_bytes());
                transaction.insert(&tables.claim_expiry, &by_second(self.now, &key), &[]);
            }
        }
        let step = tables.claims_swept.step(&tables.claim_expiry, self.now.saturating_sub(CLAIM_SECONDS))?;
        for key in &step.keys {
            transaction.remove(&tables.claim_expiry, key);
            let Some(natural) = split_second(key).and_then(|(_, natural)| natural.first_chunk()) else {
                continue;
            };
            let natural = i64::from_be_bytes(*natural);
            // What changed since has a later entry of its own.
            let lives = |changed: i64| self.now.saturating_sub(changed) < CLAIM_SECONDS;
            let renewed = self.known.get(&natural).is_some_and(|(_, changed)| *changed);
            if !renewed && !tables.holders(natural)?.changed().is_some_and(lives) {
                transaction.remove(&tables.claims, &natural.to_be_bytes());
            }
        }
        Ok(step)
    }
}

impl Tables {
    fn holders(&self, natural: i64) -> Result<Holders, StateError> {
        match self.claims.get(&natural.to_be_bytes()).map_err(reading)? {
            Some(bytes) => Holders::from_bytes(&bytes).ok_or(StateError::Malformed { what: "claim" }),
            None => Ok(Holders::default()),
        }
    }
}
