//! What happens on the simulated GitHub, when it is shown, and what is still shown of it.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

/// How the 200 places behind the pushes are filled; see the module's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    Flowing,
    Sharded,
}

/// Event types, how often they happen among 1,000 events, and whether they stand among the pushes.
const TYPES: [(&str, u32, bool); 11] = [
    ("PushEvent", 570, true),
    ("CreateEvent", 18, true),
    ("DeleteEvent", 12, true),
    ("PullRequestEvent", 160, false),
    ("IssueCommentEvent", 70, false),
    ("WatchEvent", 60, false),
    ("IssuesEvent", 30, false),
    ("PullRequestReviewEvent", 40, false),
    ("PullRequestReviewCommentEvent", 20, false),
    ("ForkEvent", 15, false),
    ("ReleaseEvent", 5, false),
];

/// Events are shown in steps of this length.
const TICK: Duration = Duration::from_millis(100);
const REPOSITORIES: u64 = 5_000;
/// Ids are this and the event's number, whose low bits are swapped about so that ids are not monotonic.
const FIRST_ID: u64 = 6_000_000_000;
const SWAPPED: u64 = 0x3a5;
/// What payloads hold where only their number matters.
pub const LEAN: &str = "{}";
/// Stands in for what a payload of today holds.
pub const FULL: &str = concat!(
    r#"{"action":"opened","number":1234,"pull_request":{"url":"https://api.github.com/repos/sample-org/sample/pulls/1234","#,
    r#""id":2175477439,"number":1234,"head":{"ref":"topic/of-some-length","sha":"0123456789abcdef0123456789abcdef01234567","#,
    r#""repo":{"id":851268184,"name":"sample","url":"https://api.github.com/repos/sample-user/sample"}},"base":{"ref":"main","#,
    r#""sha":"fedcba9876543210fedcba9876543210fedcba98","repo":{"id":851268184,"name":"sample","#,
    r#""url":"https://api.github.com/repos/sample-org/sample"}}}}"#
);

/// One event.
struct Happened {
    number: u64,
    kind: usize,
    repository: u64,
    created_at: i64,
}

/// What is kept of an event that was shown.
struct Shown {
    kind: u8,
    captured: bool,
    repository: u16,
}

/// All of it.
pub struct Stream {
    /// Events a second, on average.
    rate: f64,
    partition: Partition,
    random: fastrand::Rng,
    epoch: i64,
    at: Duration,
    /// What is shown, newest first: pushes, then the other pages.
    lists: [VecDeque<Happened>; 3],
    /// Feeds of single repositories and of owners, by path; newest first.
    focused: HashMap<String, (u64, VecDeque<u64>)>,
    /// Bodies of focused events, by number.
    bodies: HashMap<u64, String>,
    /// By number. `None` where nobody asks.
    ledger: Option<Vec<Shown>>,
    /// How many had been shown by each whole second.
    by_second: Vec<u64>,
    next: u64,
    payload: &'static str,
}

impl Stream {
    /// `recorded` keeps what was shown, for [`Stream::captured`].
    pub fn new(rate: f64, partition: Partition, seed: u64, recorded: bool, payload: &'static str) -> Self {
        Self {
            rate,
            partition,
            random: fastrand::Rng::with_seed(seed),
            epoch: super::EPOCH_MILLIS / 1_000,
            at: Duration::ZERO,
            lists: Default::default(),
            focused: HashMap::new(),
            bodies: HashMap::new(),
            ledger: recorded.then(Vec::new),
            by_second: Vec::new(),
            next: 0,
            payload,
        }
    }

    /// Gives the repository with this number a feed of its own at `path`.
    pub fn focus(&mut self, path: &str, repository: u64) {
        self.focused.insert(path.to_owned(), (repository, VecDeque::new()));
    }

    /// Lets happen what happens until `now`.
    pub fn advance(&mut self, now: Duration) {
        while self.at + TICK <= now {
            self.at += TICK;
            let seconds = self.at.as_secs_f64();
            let burst = seconds % 60.0 < 3.0;
            // Bursts add a twentieth to the average.
            let swing = 1.0 + 0.3 * (seconds / 600.0 * std::f64::consts::TAU).sin();
            let rate = self.rate / 1.05 * swing * if burst { 2.0 } else { 1.0 };
            for _ in 0..self.poisson(rate * TICK.as_secs_f64()) {
                self.happen();
            }
            if self.ledger.is_some() && self.at.subsec_nanos() == 0 {
                self.by_second.push(self.next);
            }
        }
    }

    /// Knuth's method, for small means.
    fn poisson(&mut self, mean: f64) -> u32 {
        let (limit, mut product, mut count) = ((-mean).exp(), self.random.f64(), 0);
        while product > limit {
            product *= self.random.f64();
            count += 1;
        }
        count
    }

    fn happen(&mut self) {
        let mut left = self.random.u32(0..1_000);
        let kind = TYPES.iter().position(|(_, weight, _)| {
            let here = left < *weight;
            left = left.wrapping_sub(*weight);
            here
        });
        let kind = kind.unwrap();
        let delay = 30.0 - 60.0 * (1.0 - self.random.f64()).ln();
        let delay = match self.random.u32(0..1_000) {
            0..2 => 8.0 * 86_400.0,
            2..12 => delay + 6.0 * 3_600.0 * self.random.f64(),
            _ => delay,
        };
        let created_at = self.epoch + i64::try_from(self.at.as_secs()).unwrap() - delay as i64;
        let event =
            Happened { number: self.next, kind, repository: self.random.u64(0..REPOSITORIES), created_at };
        if let Some(ledger) = &mut self.ledger {
            ledger.push(Shown {
                kind: u8::try_from(kind).unwrap(),
                captured: false,
                repository: u16::try_from(event.repository).unwrap(),
            });
        }
        for (repository, shown) in self.focused.values_mut() {
            if *repository == event.repository {
                self.bodies.insert(event.number, json(&event, self.payload));
                shown.push_front(event.number);
                if shown.len() > 300 {
                    let gone = shown.pop_back().unwrap();
                    self.bodies.remove(&gone);
                }
            }
        }
        self.next += 1;
        let list = match self.partition {
            _ if TYPES[kind].2 => 0,
            Partition::Flowing => 1,
            Partition::Sharded => 1 + self.random.usize(0..2),
        };
        let places = if self.partition == Partition::Flowing && list == 1 { 200 } else { 100 };
        self.lists[list].push_front(event);
        self.lists[list].truncate(places);
    }

    /// A page of the feed at `path`; `None` where there is no such feed.
    pub fn page(&self, path: &str, page: usize, per_page: usize) -> Option<Bytes> {
        let (first, mut body) = ((page - 1) * per_page, String::from("["));
        let push = |body: &mut String, event: &str| {
            if body.len() > 1 {
                body.push(',');
            }
            body.push_str(event);
        };
        if path == "/events" {
            // A list that is not full yet leaves no gap: what is behind it moves up, as at the beginning of time.
            let window = self.lists.iter().flatten();
            window.skip(first).take(per_page).for_each(|event| push(&mut body, &json(event, self.payload)));
        } else {
            let (_, shown) = self.focused.get(path)?;
            shown.iter().skip(first).take(per_page).for_each(|number| push(&mut body, &self.bodies[number]));
        }
        body.push(']');
        Some(body.into())
    }

    /// The poller has the event with this id.
    pub fn capture(&mut self, id: u64) {
        let number = (id - FIRST_ID) ^ SWAPPED;
        if let Some(ledger) = &mut self.ledger {
            ledger[usize::try_from(number).unwrap()].captured = true;
        }
    }

    /// Of events of `kinds` (all of them where it is empty) that were first shown between two seconds: how many there were,
    /// and how many the poller has.
    pub fn captured(&self, kinds: &[&str], from: usize, to: usize) -> (u64, u64) {
        let number = |second: usize| usize::try_from(self.by_second[second]).unwrap();
        let shown = &self.ledger.as_ref().unwrap()[number(from)..number(to)];
        let wanted = |shown: &&Shown| kinds.is_empty() || kinds.contains(&TYPES[usize::from(shown.kind)].0);
        count(shown.iter().filter(wanted))
    }

    /// How many events of a repository there were, and how many of them the poller has.
    pub fn of(&self, repository: u16) -> (u64, u64) {
        count(self.ledger.as_ref().unwrap().iter().filter(|shown| shown.repository == repository))
    }
}

fn count<'a>(shown: impl Iterator<Item = &'a Shown>) -> (u64, u64) {
    shown.fold((0, 0), |(all, seen), shown| (all + 1, seen + u64::from(shown.captured)))
}

fn json(event: &Happened, payload: &str) -> String {
    let Happened { number, kind, repository, created_at } = event;
    let (id, user) = (FIRST_ID + (number ^ SWAPPED), number % 100_000);
    let mut text = String::with_capacity(1_100);
    let created_at = Timestamp::from_second(*created_at).unwrap();
    write!(
        text,
        r#"{{"id":"{id}","type":"{}","actor":{{"id":{user},"login":"sample-user{user}","display_login":"sample-user{user}","gravatar_id":"","url":"https://api.github.com/users/sample-user{user}","avatar_url":"https://avatars.githubusercontent.com/u/{user}?"}},"repo":{{"id":{repository},"name":"sample-org/repo{repository}","url":"https://api.github.com/repos/sample-org/repo{repository}"}},"payload":{payload},"public":true,"created_at":"{created_at}"}}"#,
        TYPES[*kind].0,
    )
    .unwrap();
    text
}
