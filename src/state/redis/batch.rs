//! A batch as `lua/apply.lua` takes it: every distinct member once, and a record for each event.

use std::collections::HashMap;
use std::hash::Hash;

use super::keys::{Keys, Part, Set};
use super::scripts::Arguments;
use crate::event::{Day, EventKey};
use crate::mutation::{Claim, Mutation, Numbers, Outcome};
use crate::state::REPLY_SECONDS;

/// Members that one command of the script names at most: Lua's stack holds 8,000 values.
const GROUP_MEMBERS: usize = 1_000;

/// Lines of one pull request beyond which the sum of many would leave the numbers that Lua holds exactly.
const MAX_LINES: u64 = 1 << 40;

/// The flag of an event whose day is closed.
const LATE: i64 = 256;
/// The flag of an event that lost to its twin.
const LOST: i64 = 512;

/// A list of distinct things, numbered as they come.
struct Numbered<T> {
    items: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn new() -> Self {
        Self { items: Vec::new(), numbers: HashMap::new() }
    }

    /// The number of `item`, from 1.
    fn number(&mut self, item: &T) -> u32 {
        if let Some(&number) = self.numbers.get(item) {
            return number;
        }
        self.items.push(item.clone());
        let number = self.items.len() as u32;
        self.numbers.insert(item.clone(), number);
        number
    }
}

/// Members grouped by the key that holds them.
struct Groups<G, M> {
    groups: Vec<(G, Vec<M>)>,
    open: HashMap<G, usize>,
    places: HashMap<(G, M), (usize, usize)>,
}

impl<G: Copy + Eq + Hash, M: Copy + Eq + Hash> Groups<G, M> {
    fn new() -> Self {
        Self { groups: Vec::new(), open: HashMap::new(), places: HashMap::new() }
    }

    fn place(&mut self, group: G, member: M) -> (usize, usize) {
        if let Some(&place) = self.places.get(&(group, member)) {
            return place;
        }
        let index = match self.open.get(&group) {
            Some(&index) if self.groups[index].1.len() < GROUP_MEMBERS => index,
            // A full group is followed by another one of the same key.
            _ => {
                self.groups.push((group, Vec::new()));
                self.open.insert(group, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        let members = &mut self.groups[index].1;
        members.push(member);
        let place = (index, members.len());
        self.places.insert((group, member), place);
        place
    }

    /// For each group how many members stand before its first, and then how many there are.
    fn offsets(&self) -> Vec<usize> {
        let mut offsets = vec![0];
        let mut sum = 0;
        for (_, members) in &self.groups {
            sum += members.len();
            offsets.push(sum);
        }
        offsets
    }
}

/// Where a member stands.
#[derive(Clone, Copy)]
enum Member {
    /// In a group of a set, from 1.
    Of((usize, usize)),
    /// Among the bits, from 1.
    Bit(u32),
}

/// The sets' members and the bitmaps' bits that a batch names.
struct Members {
    sets: Groups<Set, u64>,
    /// Not grouped: the ids of a batch lie in almost as many bitmaps.
    bits: Numbered<(Set, u64, u64)>,
}

impl Members {
    fn place(&mut self, set: Set, id: u64) -> Member {
        match set.place(id) {
            (Part::Members, member) => Member::Of(self.sets.place(set, member)),
            (Part::Bits(number), bit) => Member::Bit(self.bits.number(&(set, number, bit))),
        }
    }
}

/// One event with the places of its members; `None` for what its outcome does not touch.
struct Record {
    outcome: u8,
    day: u32,
    members: [Option<Member>; 5],
    /// `None` where nothing is counted, so that there is nothing to remember.
    reply: Option<(usize, usize)>,
    language: u32,
    size: Option<(u64, u64)>,
}

/// KEYS and ARGV of `apply.lua` for `batch` that arrived at `now` (Unix milliseconds), without the epoch. With
/// `seeds_required` a year without counts waits for its seed.
pub fn encode(
    keys: &Keys,
    batch: &[Mutation],
    now: i64,
    language_seconds: i64,
    seeds_required: bool,
) -> Arguments {
    let mut members = Members { sets: Groups::new(), bits: Numbered::new() };
    let mut replies: Groups<i64, EventKey> = Groups::new();
    let (mut days, mut years, mut languages) = (Numbered::new(), Numbered::new(), Numbered::new());
    let records: Vec<Record> = batch
        .iter()
        .map(|mutation| {
            let Mutation { day, pull_request, actor, repo, .. } = *mutation;
            let (outcome, set) = match mutation.outcome {
                Outcome::Opened => (1, Some(Set::Open(day))),
                Outcome::Merged => (2, Some(Set::Merge(day))),
                Outcome::Closed => (3, Some(Set::Close(day))),
                Outcome::Reopened => (4, None),
                Outcome::Uncounted => (5, None),
            };
            let places = match set {
                Some(set) => [
                    Some(members.place(set, pull_request)),
                    Some(members.place(Set::DayDev(day), actor)),
                    Some(members.place(Set::YearDev(day.year()), actor)),
                    Some(members.place(Set::YearRepo(day.year()), repo)),
                    (outcome == 2).then(|| members.place(Set::Pending(day), pull_request)),
                ],
                None => [None; 5],
            };
            Record {
                outcome,
                day: if set.is_some() {
                    years.number(&day.year());
                    days.number(&day)
                } else {
                    0
                },
                members: places,
                reply: (outcome < 5).then(|| replies.place(keys.bucket(mutation.key), mutation.key)),
                language: mutation.language.as_ref().map_or(0, |language| languages.number(language)),
                size: mutation.size.map(|size| (size.additions, size.deletions)),
            }
        })
        .collect();
    let Members { sets, bits } = members;
    let second = now.div_euclid(1000);
    let mut call = Arguments::default();
    for key in [keys.epoch(), keys.seq(), keys.days(), keys.language(second), keys.seconds()] {
        call.key(key);
    }
    call.arg(now).arg(REPLY_SECONDS).arg(language_seconds);
    let counts = [
        sets.groups.len(),
        bits.items.len(),
        days.items.len(),
        years.items.len(),
        replies.groups.len(),
        languages.items.len(),
    ];
    for count in counts {
        call.arg(count);
    }
    call.bytes(pack(&records, &sets.offsets(), &replies.offsets())).arg(u8::from(seeds_required));
    let mut claims = Numbered::new();
    let claimed = pack_claims(batch, &mut claims);
    call.bytes(claimed);
    for (set, members) in &sets.groups {
        call.key(keys.set(*set, Part::Members)).arg(members.len());
        for member in members {
            call.arg(member);
        }
    }
    for &(set, number, bit) in &bits.items {
        call.key(keys.set(set, Part::Bits(number))).arg(bit);
    }
    for day in &days.items {
        let day: &Day = day;
        let name = day.to_string();
        call.key(keys.own(&name)).key(keys.base(&name)).key(keys.closed(&name));
        call.arg(&name).arg(years.number(&day.year()));
    }
    for &year in &years.items {
        call.key(keys.own(&year.to_string())).key(keys.base(&year.to_string()));
        for key in keys.published(year) {
            call.key(key);
        }
        call.key(keys.seed(year)).arg(year);
    }
    for (bucket, events) in &replies.groups {
        call.key(keys.reply(*bucket)).arg(events.len());
        for event in events {
            call.arg(keys.reply_field(*event));
        }
    }
    for language in &languages.items {
        call.arg(language);
    }
    for &natural in &claims.items {
        call.key(keys.claim(natural));
    }
    call
}

/// The claims in the script's CLAIM format, one for each event; nothing where none has one.
fn pack_claims(batch: &[Mutation], claims: &mut Numbered<i64>) -> Vec<u8> {
    if batch.iter().all(|mutation| mutation.claim.is_none()) {
        return Vec::new();
    }
    let mut bytes = Vec::with_capacity(batch.len() * 24);
    for Mutation { key, claim, .. } in batch {
        let number = claim.map_or(0, |Claim { natural, .. }| claims.number(&natural));
        let within = claim.and_then(|claim| claim.within).unwrap_or(u32::MAX);
        bytes.extend(number.to_be_bytes());
        bytes.extend(within.to_be_bytes());
        bytes.extend(key.to_bytes());
    }
    bytes
}

/// The records in the script's RECORD format. Offsets say for each group how many stand before its first; for the bits
/// the last of `sets` does.
fn pack(records: &[Record], sets: &[usize], replies: &[usize]) -> Vec<u8> {
    let number = |offsets: &[usize], (group, index): (usize, usize)| (offsets[group] + index) as u32;
    let before_bits = sets.last().map_or(0, |&members| members as u32);
    let mut bytes = Vec::with_capacity(records.len() * 50);
    for record in records {
        let Record { outcome, day, members, reply, language, size } = record;
        bytes.extend([*outcome, u8::from(size.is_some())]);
        bytes.extend(day.to_be_bytes());
        for member in members {
            let member = match member {
                Some(Member::Of(place)) => number(sets, *place),
                Some(Member::Bit(bit)) => before_bits + bit,
                None => 0,
            };
            bytes.extend(member.to_be_bytes());
        }
        bytes.extend(reply.map_or(0, |reply| number(replies, reply)).to_be_bytes());
        bytes.extend(language.to_be_bytes());
        let (additions, deletions) = size.unwrap_or_default();
        for lines in [additions, deletions] {
            bytes.extend((lines.min(MAX_LINES) as f64).to_be_bytes());
        }
    }
    bytes
}

/// What the script's flags of one event say, whether it came too late for its day, and whether it lost to its twin.
pub fn numbers(flags: i64) -> (Numbers, bool, bool) {
    let bit = |index: u32| u8::from(flags >> index & 1 == 1);
    let numbers = Numbers {
        pr: bit(0),
        open: bit(1),
        merge: bit(2),
        close: bit(3),
        dev_day: bit(4),
        dev_year: bit(5),
        repo_year: bit(6),
    };
    (numbers, flags & LATE != 0, flags & LOST != 0)
}
