//! One GitHub event as it came: its identity and the envelope that all types share, borrowed from the bytes.
//!
//! GitHub changes payloads without notice, so nothing here is required: a field that is missing or has another
//! type than expected reads as `None`, and only JSON that cannot be parsed at all is an error.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// What identifies an event: ids alone are neither unique over the years nor monotonic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKey {
    /// The feed's id; negative for events that never had one (webhooks).
    pub id: i64,
    /// When it happened, in Unix seconds UTC.
    pub created_at: i64,
}

impl EventKey {
    /// Whether it came by a webhook and not in GitHub's feed, whose ids are positive.
    pub fn is_of_webhook(self) -> bool {
        self.id < 0
    }

    /// The key's bytes, ordered as the key is not: made for point look-ups.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.id.to_be_bytes());
        bytes[8..].copy_from_slice(&self.created_at.to_be_bytes());
        bytes
    }

    /// Reads what [`EventKey::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, created_at) = bytes.split_first_chunk::<8>()?;
        let created_at = i64::from_be_bytes(created_at.try_into().ok()?);
        Some(Self { id: i64::from_be_bytes(*id), created_at })
    }

    /// The UTC day on which it happened; `None` outside the years that a calendar can name.
    pub fn day(self) -> Option<Day> {
        Day::from_number(i32::try_from(self.created_at.div_euclid(DAY_SECONDS)).ok()?)
    }
}

/// A UTC calendar day, written `2016-01-01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(jiff::civil::Date);

impl Day {
    /// The day of a moment given in Unix seconds.
    pub fn of(unix_seconds: i64) -> Option<Self> {
        EventKey { id: 0, created_at: unix_seconds }.day()
    }

    /// The first of January of `year`; the last day that a calendar can name beyond year 9999.
    pub fn first_of(year: i16) -> Self {
        Self(jiff::civil::Date::new(year, 1, 1).unwrap_or(jiff::civil::Date::MAX))
    }

    /// The last of December of `year`; the last day that a calendar can name beyond year 9999.
    pub fn last_of(year: i16) -> Self {
        Self(jiff::civil::Date::new(year, 12, 31).unwrap_or(jiff::civil::Date::MAX))
    }

    /// Its year.
    pub fn year(self) -> i16 {
        self.0.year()
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    /// Its year, month and day of the month, counted from 1.
    pub fn year_month_day(self) -> (i16, u8, u8) {
        (self.0.year(), self.0.month().unsigned_abs(), self.0.day().unsigned_abs())
    }

    /// Days since 1970-01-01.
    pub fn number(self) -> i32 {
        // Both ends are within jiff's range of ±9999 years, whose days fit an i32.
        self.0.since(jiff::civil::date(1970, 1, 1)).map_or(0, |span| span.get_days())
    }

    /// The day that is `number` days after 1970-01-01.
    pub fn from_number(number: i32) -> Option<Self> {
        let span = jiff::Span::new().try_days(number).ok()?;
        Some(Self(jiff::civil::date(1970, 1, 1).checked_add(span).ok()?))
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The UTC year of a moment given in Unix seconds; 1970 for moments that no calendar names.
pub fn year_of(unix_seconds: i64) -> i16 {
    Day::of(unix_seconds).map_or(1970, Day::year)
}

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// A string that borrows from the input where it has no escapes.
#[derive(Debug, Clone, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The envelope of an event.
#[derive(Debug)]
pub struct Event<'a> {
    /// Its id in the feed, sent as a string of digits.
    pub id: Option<i64>,
    /// Its type, for example `PullRequestEvent`.
    pub kind: Option<Text<'a>>,
    /// When it happened, in Unix seconds UTC; fractions are cut off.
    pub created_at: Option<i64>,
    /// Who did it.
    pub actor: Option<Actor<'a>>,
    /// Where it happened.
    pub repo: Option<Repo<'a>>,
    /// The organisation that the repository belongs to.
    pub org: Option<Actor<'a>>,
    /// What happened, unparsed.
    pub payload: Option<&'a RawValue>,
}

/// An account: the one that caused an event, or an organisation.
#[derive(Debug)]
pub struct Actor<'a> {
    /// The account's number.
    pub id: Option<u64>,
    /// The account's name.
    pub login: Option<Text<'a>>,
}

/// The repository that an event belongs to.
#[derive(Debug)]
pub struct Repo<'a> {
    /// The repository's number.
    pub id: Option<u64>,
    /// `owner/name`.
    pub name: Option<Text<'a>>,
}

impl<'a> Event<'a> {
    /// Reads the envelope of one JSON object.
    ///
    /// # Errors
    /// When `raw` is not one JSON object.
    pub fn parse(raw: &'a str) -> Result<Self, serde_json::Error> {
        let [id, kind, created_at, actor, repo, org, payload] =
            members(raw, ["id", "type", "created_at", "actor", "repo", "org", "payload"])?;
        let account = |raw: Option<&'a RawValue>| {
            let [id, login] = members(raw?.get(), ["id", "login"]).ok()?;
            Some(Actor { id: lenient(id), login: lenient(login) })
        };
        let repo = repo.and_then(|repo| members(repo.get(), ["id", "name"]).ok());
        Ok(Self {
            id: id.and_then(|id| id.get().trim_matches('"').parse().ok()),
            kind: lenient(kind),
            created_at: lenient(created_at).and_then(|text: Text<'_>| unix_seconds(text.as_str())),
            actor: account(actor),
            org: account(org),
            repo: repo.map(|[id, name]| Repo { id: lenient(id), name: lenient(name) }),
            payload,
        })
    }

    /// What identifies it; `None` when `id` or `created_at` is missing or unreadable.
    pub fn key(&self) -> Option<EventKey> {
        Some(EventKey { id: self.id?, created_at: self.created_at? })
    }

    /// Its type, empty when it has none.
    pub fn kind(&self) -> &str {
        self.kind.as_ref().map_or("", Text::as_str)
    }

    /// `owner/name` of its repository, empty when it has none.
    pub fn repo_name(&self) -> &str {
        self.repo.as_ref().and_then(|repo| repo.name.as_ref()).map_or("", Text::as_str)
    }

    /// The name of its actor, empty when it has none.
    pub fn actor_login(&self) -> &str {
        self.actor.as_ref().and_then(|actor| actor.login.as_ref()).map_or("", Text::as_str)
    }
}

/// Why an event counts nowhere and goes to the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    /// It is not JSON, or not one whole JSON value.
    #[error("malformed JSON")]
    Malformed,
    /// It is JSON, but not an object.
    #[error("JSON, but not an event")]
    NotAnEvent,
    /// `id` or `created_at` is missing or unreadable.
    #[error("no readable id or created_at")]
    NoIdentity,
    /// A pull request event without `pull_request.id`, `actor.id` or `repo.id`.
    #[error("a pull request event without pull_request.id, actor.id or repo.id")]
    Incomplete,
    /// It is longer than any event that is accepted.
    #[error("longer than an event may be")]
    TooLong,
}

impl Rejection {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Malformed, Self::NotAnEvent, Self::NoIdentity, Self::Incomplete, Self::TooLong];

    /// Its name as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotAnEvent => "not_an_event",
            Self::NoIdentity => "no_identity",
            Self::Incomplete => "incomplete",
            Self::TooLong => "too_long",
        }
    }
}

/// The values of an object's members, unparsed, in the order of `names`. Where the object gives a name twice, the
/// last one counts, as with most readers of JSON; serde's derived ones would refuse the object.
///
/// # Errors
/// When `raw` is not one JSON object.
pub fn members<'a, const N: usize>(
    raw: &'a str,
    names: [&str; N],
) -> Result<[Option<&'a RawValue>; N], serde_json::Error> {
    struct Members<'n, const N: usize>([&'n str; N]);

    impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
        type Value = [Option<&'de RawValue>; N];

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut values = [None; N];
            while let Some(name) = map.next_key::<Text<'de>>()? {
                match self.0.iter().position(|&known| known == name.as_str()) {
                    Some(index) => values[index] = Some(map.next_value()?),
                    None => drop(map.next_value::<IgnoredAny>()?),
                }
            }
            Ok(values)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(raw);
    let values = deserializer.deserialize_map(Members(names))?;
    deserializer.end()?;
    Ok(values)
}

/// Reads a number or a text; a value of another type is `None`, never an error.
pub fn lenient<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

fn unix_seconds(text: &str) -> Option<i64> {
    match text.parse::<Timestamp>() {
        // `as_second` rounds toward zero, which would move fractions before 1970 into the next second.
        Ok(moment) => i64::try_from(moment.as_nanosecond().div_euclid(1_000_000_000)).ok(),
        Err(_) => at_the_end_of_time(text),
    }
}

/// jiff's timestamps end a day before its calendar does, and 9999-12-31 is what people write for "never".
fn at_the_end_of_time(text: &str) -> Option<i64> {
    let pieces = Pieces::parse(text).ok()?;
    let (day, time) = (Day(pieces.date()), pieces.time()?);
    let offset = pieces.to_numeric_offset()?.seconds();
    let second = i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
    let moment = i64::from(day.number()) * DAY_SECONDS + second - i64::from(offset);
    Day::of(moment).map(|_| moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_types_read_as_missing_and_spare_their_neighbours() {
        let raw = r#"{"id":{"a":1},"type":7,"actor":"old form","repo":[1],"payload":null,"created_at":12}"#;
        let event = Event::parse(raw).unwrap();
        assert!(event.key().is_none());
        assert!(event.actor.is_none() && event.repo.is_none());
        assert_eq!(event.kind(), "");
        let raw = r#"{"id":12,"actor":{"id":"x","login":"me"},"created_at":"2026-01-01T01:30:00+02:00"}"#;
        let event = Event::parse(raw).unwrap();
        assert_eq!(event.key().unwrap(), EventKey { id: 12, created_at: 1_767_223_800 });
        assert_eq!(event.key().unwrap().day().unwrap().to_string(), "2025-12-31");
        assert_eq!(event.actor_login(), "me");
        assert!(event.actor.unwrap().id.is_none());
    }

    #[test]
    fn the_last_second_of_year_9999_has_a_day() {
        let event = Event::parse(r#"{"id":"1","created_at":"9999-12-30T22:00:00Z"}"#).unwrap();
        let day = event.key().unwrap().day().unwrap();
        assert_eq!(day.to_string(), "9999-12-30");
        assert_eq!(Day::from_number(day.number()), Some(day));
        assert_eq!(day.year(), 9999);
    }

    #[test]
    fn escapes_and_nul_characters_are_kept_apart_from_the_bytes() {
        let event = Event::parse(r#"{"repo":{"name":"a\u0000\"b"},"payload":{"x":"\ud800"}}"#).unwrap();
        assert_eq!(event.repo_name(), "a\0\"b");
        assert_eq!(event.payload.unwrap().get(), r#"{"x":"\ud800"}"#);
    }

    #[test]
    fn anything_but_an_object_is_an_error() {
        for raw in ["null", "[]", "1", "", "{", r#"{"id":"1"}{"id":"2"}"#, "\0\0"] {
            assert!(Event::parse(raw).is_err(), "{raw:?}");
        }
    }
}
