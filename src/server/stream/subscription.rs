//! What a client asked for, understood.

use std::time::Duration;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::params::Params;
use super::refused::Refused;
use crate::domain::github::sampling::{Fields, Form};
use crate::domain::github::wanted::{Names, Wanted};
use crate::event::EventKey;
use crate::live::Cursor;

/// Patterns that `repos` may have: each is tried on each event, names are only looked up.
const MAX_PATTERNS: usize = 64;
/// Milliseconds between two events of `latest`.
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 100..=60_000;
const DEFAULT_INTERVAL_MS: u64 = 1_000;

/// What a client asked for.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Whether it wants events at all.
    pub events: bool,
    /// Which ones,
    pub wanted: Wanted,
    /// and how many of these.
    pub share: Share,
    /// At most one within this time, the newest; `None`: all.
    pub latest: Option<Duration>,
    /// Whether it follows the counts.
    pub counts: bool,
    /// Whether it follows the languages.
    pub languages: bool,
}

/// How many of the events that match are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Share {
    /// Each so many-th.
    Every(u64),
    /// About this share of them.
    Ratio(f64),
}

/// A subscription as it was asked for, with what is only needed when it begins.
#[derive(Debug)]
pub struct Asked {
    /// What holds from now on.
    pub subscription: Subscription,
    /// How events are written.
    pub form: Form,
    /// Behind which cursor it begins; `None`: where the former one stood.
    pub since: Option<Cursor>,
    /// What the client is answered.
    pub normal: Normal,
}

/// Every param as it was understood.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Normal {
    types: Vec<String>,
    actions: Vec<String>,
    repos: Vec<String>,
    orgs: Vec<String>,
    actors: Vec<String>,
    languages: Vec<String>,
    bots: Option<&'static str>,
    every: Option<u64>,
    ratio: Option<f64>,
    fields: Vec<String>,
    events: bool,
    delivery: &'static str,
    interval_ms: Option<u64>,
    snapshots: Vec<&'static str>,
}

impl Asked {
    /// Reads params. `latest` is the number of the newest batch that may be known somewhere; cursors of a minute later are
    /// refused: nobody gave them out.
    ///
    /// # Errors
    /// The first fault that was found.
    pub fn read(mut params: Params, latest: i64) -> Result<Self, Refused> {
        let types = params.list("types")?;
        let actions = params.list("actions")?;
        let repos = params.list("repos")?;
        let orgs = params.list("orgs")?;
        let actors = params.list("actors")?;
        let languages = params.list("languages")?;
        let mut wanted = Wanted {
            kinds: names(&types),
            actions: names(&actions),
            orgs: names(&orgs),
            actors: names(&actors),
            languages: names(&languages),
            ..Wanted::default()
        };
        for name in &repos {
            wanted.repos.add(name).map_err(|error| Refused::param("repos", format!("{name:?}: {error}")))?;
        }
        if wanted.repos.patterns() > MAX_PATTERNS {
            return Err(Refused::param("repos", format!("at most {MAX_PATTERNS} items may have `*` or `?`")));
        }
        let bots = one_of(&mut params, "bots", ["only", "without"])?;
        wanted.bots = bots.map(|bots| bots == "only");
        let share = share(&mut params)?;
        let fields = params.list("fields")?;
        Fields::check(&fields).map_err(|error| Refused::param("fields", error.to_string()))?;
        let events = params.flag("events")?.unwrap_or(true);
        let delivery = one_of(&mut params, "delivery", ["all", "latest"])?.unwrap_or("all");
        let interval = params.integer("intervalMs", *INTERVAL_MS.start(), *INTERVAL_MS.end())?;
        if interval.is_some() && delivery == "all" {
            return Err(Refused::param("intervalMs", "only the delivery `latest` has an interval"));
        }
        let interval_ms = (delivery == "latest").then(|| interval.unwrap_or(DEFAULT_INTERVAL_MS));
        let (counts, window) = snapshots(&mut params)?;
        let since = params.text("since")?.map(|text| cursor(&text, latest)).transpose()?;
        params.end()?;
        let normal = Normal {
            types,
            actions,
            repos,
            orgs,
            actors,
            languages,
            bots,
            every: if let Share::Every(every) = share { Some(every) } else { None },
            ratio: if let Share::Ratio(ratio) = share { Some(ratio) } else { None },
            fields: fields.clone(),
            events,
            delivery,
            interval_ms,
            snapshots: [(counts, "counts"), (window, "languages")]
                .into_iter()
                .filter_map(|(asked, name)| asked.then_some(name))
                .collect(),
        };
        let latest = interval_ms.map(Duration::from_millis);
        let subscription = Subscription { events, wanted, share, latest, counts, languages: window };
        let form = if fields.is_empty() { Form::Whole } else { Form::Map(Fields::new(fields)) };
        Ok(Self { subscription, form, since, normal })
    }
}

impl Share {
    /// Whether an event is sent that matches as the `matched`-th, from 1.
    pub fn takes(self, key: EventKey, matched: u64) -> bool {
        match self {
            Self::Every(every) => matched.is_multiple_of(every),
            // A hash of what identifies it is evenly spread, and the same everywhere.
            Self::Ratio(ratio) => (xxh3_64(&key.to_bytes()) as f64) < ratio * 2_f64.powi(64),
        }
    }
}

fn names(list: &[String]) -> Names {
    list.iter().map(|name| name.to_ascii_lowercase().into()).collect()
}

/// One of some words, in any case.
fn one_of(
    params: &mut Params,
    name: &str,
    words: [&'static str; 2],
) -> Result<Option<&'static str>, Refused> {
    let Some(text) = params.text(name)? else { return Ok(None) };
    let known = words.into_iter().find(|word| word.eq_ignore_ascii_case(&text));
    let expected = || Refused::param(name, format!("`{}` or `{}` is expected", words[0], words[1]));
    known.map(Some).ok_or_else(expected)
}

fn share(params: &mut Params) -> Result<Share, Refused> {
    let every = params.integer("every", 1, u64::from(u32::MAX))?;
    match (params.share("ratio")?, every) {
        (Some(_), Some(_)) => Err(Refused::param("ratio", "either `every` or `ratio` is expected, not both")),
        (Some(ratio), None) => Ok(Share::Ratio(ratio)),
        (None, every) => Ok(Share::Every(every.unwrap_or(1))),
    }
}

/// Whether counts, and whether languages are followed.
fn snapshots(params: &mut Params) -> Result<(bool, bool), Refused> {
    let (mut counts, mut languages) = (false, false);
    for name in params.list("snapshots")? {
        match name.to_ascii_lowercase().as_str() {
            "counts" => counts = true,
            "languages" => languages = true,
            _ => return Err(Refused::param("snapshots", "`counts` and `languages` can be followed")),
        }
    }
    Ok((counts, languages))
}

fn cursor(text: &str, latest: i64) -> Result<Cursor, Refused> {
    let cursor = Cursor::parse(text).filter(|cursor| cursor.seq >= 0);
    let cursor =
        cursor.ok_or_else(|| Refused::param("since", "a cursor is expected, such as `1763753000123.4`"))?;
    if cursor.seq > latest.saturating_add(60_000) {
        return Err(Refused::param("since", "this cursor is later than any that was given out"));
    }
    Ok(cursor)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn read(value: Value) -> Result<Asked, Refused> {
        Asked::read(Params::new(value.as_object().unwrap().clone()), NOW)
    }

    #[test]
    fn nothing_asked_for_is_everything() {
        let Asked { subscription, form, since, normal } = read(json!({})).unwrap();
        assert!(subscription.events && subscription.wanted == Wanted::default() && since.is_none());
        assert_eq!((subscription.share, subscription.latest), (Share::Every(1), None));
        assert!(matches!(form, Form::Whole));
        let expected = json!({
            "types": [], "actions": [], "repos": [], "orgs": [], "actors": [], "languages": [], "bots": null,
            "every": 1, "ratio": null, "fields": [], "events": true, "delivery": "all", "intervalMs": null,
            "snapshots": [],
        });
        assert_eq!(serde_json::to_value(normal).unwrap(), expected);
    }

    #[test]
    fn the_answer_asked_for_again_is_the_same_subscription() {
        let asked = json!({
            "types": ["PushEvent", "PullRequestEvent"], "actions": ["opened"], "repos": ["Rust-Lang/*"], "orgs": ["o"],
            "actors": ["a"], "languages": ["C++"], "bots": "WITHOUT", "ratio": 0.25, "fields": ["event.id", "a"],
            "events": true, "delivery": "latest", "snapshots": ["languages", "counts"],
        });
        let normal = read(asked).unwrap().normal;
        assert_eq!((normal.interval_ms, normal.bots), (Some(1_000), Some("without")));
        assert_eq!(read(serde_json::to_value(&normal).unwrap()).unwrap().normal, normal);
    }

    #[test]
    fn faults_name_their_param() {
        let patterns: Vec<_> = (0..=MAX_PATTERNS).map(|index| format!("o{index}/*")).collect();
        let fields: Vec<_> = (0..=100).map(|index| index.to_string()).collect();
        for (field, asked) in [
            ("repos", json!({ "repos": ["rust"] })),
            ("repos", json!({ "repos": patterns })),
            ("bots", json!({ "bots": "maybe" })),
            ("ratio", json!({ "every": 2, "ratio": 0.5 })),
            ("every", json!({ "every": 0 })),
            ("fields", json!({ "fields": fields })),
            ("fields", json!({ "fields": [".".repeat(255), ".".repeat(256), ".".repeat(254)] })),
            ("delivery", json!({ "delivery": "some" })),
            ("intervalMs", json!({ "intervalMs": 500 })),
            ("intervalMs", json!({ "intervalMs": 99, "delivery": "latest" })),
            ("snapshots", json!({ "snapshots": ["people"] })),
            ("since", json!({ "since": "yesterday" })),
            ("since", json!({ "since": "-1.0" })),
            ("since", json!({ "since": format!("{}.0", NOW + 60_001) })),
            ("colour", json!({ "colour": "red" })),
        ] {
            assert_eq!(read(asked.clone()).unwrap_err().field.as_deref(), Some(field), "{asked}");
        }
    }

    #[test]
    fn a_ratio_takes_its_share_and_always_the_same() {
        let taken = |ratio: f64| {
            let key = |id| EventKey { id, created_at: 1_800_000_000 };
            (0..10_000).filter(|&id| Share::Ratio(ratio).takes(key(id), 1)).collect::<Vec<_>>()
        };
        assert_eq!(taken(1.0).len(), 10_000);
        let quarter = taken(0.25);
        assert!((2_300..2_700).contains(&quarter.len()), "{}", quarter.len());
        assert!(taken(0.5).iter().filter(|id| quarter.contains(id)).count() == quarter.len());
    }
}
