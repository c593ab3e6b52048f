//! Finds the events in a text that should hold one JSON object a line, and survives texts that do not.
//!
//! Seen in the wild (igrigorik/gharchive.org, issues 17, 53, 169, 190, 241): two objects on one line, a line spliced
//! into another, blocks of NUL, a last line cut short. Whatever is wrong, the objects beside it are found.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Candidate, Rejected};
use crate::event::{Event, EventKey, Rejection};

/// A longer line is no event: the longest ever seen has 245 KB.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// What a text held.
#[derive(Debug, Default)]
pub struct Scanned {
    /// Its events, in order.
    pub candidates: Vec<Candidate>,
    /// What is no event.
    pub rejected: Vec<Rejected>,
    /// Lines in the text.
    pub lines: u64,
}

/// Scans whole lines. `place` names a line by its number, counted from `first_line`.
pub fn scan_lines(text: &Bytes, first_line: u64, place: impl Fn(u64) -> String) -> Scanned {
    let mut scanned = Scanned::default();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let place = || place(first_line + scanned.lines);
        let (candidates, rejected) = (&mut scanned.candidates, &mut scanned.rejected);
        if line.len() > MAX_LINE_BYTES {
            rejected.push(Rejected { reason: Rejection::TooLong, place: place(), body: Bytes::new() });
            scanned.lines += 1;
            continue;
        }
        for part in line.split(|&byte| byte == 0) {
            let part = part.trim_ascii();
            if !part.is_empty() {
                scan_part(text, part, candidates, rejected, &place);
            }
        }
        scanned.lines += 1;
    }
    scanned
}

/// Checks one JSON text that should be an event, for example an element of a page.
pub fn check(raw: &str) -> Result<EventKey, Rejection> {
    match Event::parse(raw) {
        Ok(event) => event.key().ok_or(Rejection::NoIdentity),
        Err(_) if serde_json::from_str::<IgnoredAny>(raw).is_ok() => Err(Rejection::NotAnEvent),
        Err(_) => Err(Rejection::Malformed),
    }
}

/// Objects of one line that are rejected one by one; what remains of the line is then rejected together.
const MAX_PIECES: usize = 1_000;
/// How often the bytes of a damaged line are read at most in search of what is whole in it: a few times more than
/// events are deep. Without a limit the time would grow with the square of a line made for that.
const EFFORT: usize = 64;

/// Scans a part of a line: usually one object, sometimes several, sometimes with damage between them.
fn scan_part(
    text: &Bytes,
    mut part: &[u8],
    candidates: &mut Vec<Candidate>,
    rejected: &mut Vec<Rejected>,
    place: &impl Fn() -> String,
) {
    if let Ok(key) = checked(part) {
        candidates.push(Candidate { key, raw: text.slice_ref(part) });
        return;
    }
    let mut pieces = 0;
    while !part.is_empty() {
        let (value, rest, verdict) = first_value(part);
        let (rejection, rest) = match verdict {
            Ok(key) => {
                candidates.push(Candidate { key, raw: text.slice_ref(value) });
                part = rest;
                continue;
            }
            // An object that only lacks something, or all that is left.
            Err(reason)
                if reason != Rejection::Malformed
                    && (rest.is_empty() || value.starts_with(b"{") && pieces < MAX_PIECES) =>
            {
                ((reason, value), rest)
            }
            Err(_) => {
                // It may have been cut off by an event that is whole.
                let (cut, rest) = part.split_at(next_event(part).unwrap_or(part.len()));
                ((Rejection::Malformed, cut), rest)
            }
        };
        let (reason, body) = rejection;
        rejected.push(Rejected { reason, place: place(), body: text.slice_ref(body) });
        part = rest;
        pieces += 1;
    }
}

fn checked(text: &[u8]) -> Result<EventKey, Rejection> {
    std::str::from_utf8(text).map_err(|_| Rejection::Malformed).and_then(check)
}

/// The first JSON value of `text`, what follows it, and whether it is an event. What does not begin with a JSON
/// value is malformed as a whole, with nothing to follow.
fn first_value(text: &[u8]) -> (&[u8], &[u8], Result<EventKey, Rejection>) {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => {
            let (first, rest) = text.split_at(values.byte_offset());
            (first, rest.trim_ascii(), checked(first))
        }
        _ => (text, &[], Err(Rejection::Malformed)),
    }
}

/// Where a whole event starts behind the start of `text`. Nested objects lack some of the members that make an
/// event.
fn next_event(text: &[u8]) -> Option<usize> {
    #[derive(Deserialize)]
    struct Whole {
        #[serde(rename = "id")]
        _id: IgnoredAny,
        #[serde(rename = "type")]
        _type: IgnoredAny,
        #[serde(rename = "actor")]
        _actor: IgnoredAny,
        #[serde(rename = "repo")]
        _repo: IgnoredAny,
        #[serde(rename = "created_at")]
        _created_at: IgnoredAny,
    }
    let starts = text.windows(2).enumerate().skip(1).filter(|(_, window)| window == br#"{""#);
    let mut effort = text.len().saturating_mul(EFFORT);
    for (at, _) in starts {
        let mut values = serde_json::Deserializer::from_slice(&text[at..]).into_iter::<Whole>();
        match values.next() {
            Some(Ok(_)) => return Some(at),
            // A line has no line ends, so the column counts the bytes that were read.
            Some(Err(error)) => effort = effort.checked_sub(error.column())?,
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u32) -> String {
        format!(
            r#"{{"id":"{id}","type":"WatchEvent","actor":{{"id":1}},"repo":{{"id":2}},"payload":{{"a":[{{"id":9}}]}},"created_at":"2026-01-01T00:00:00Z"}}"#
        )
    }

    /// Ids of the events and places of the rest.
    fn scan(text: impl Into<Bytes>) -> (Vec<i64>, Vec<(Rejection, String)>) {
        let scanned = scan_lines(&text.into(), 1, |line| format!("f:{line}"));
        let ids = scanned.candidates.iter().map(|candidate| candidate.key.id).collect();
        (ids, scanned.rejected.into_iter().map(|rejected| (rejected.reason, rejected.place)).collect())
    }

    #[test]
    fn good_lines_of_any_ending_are_events() {
        let (one, two, three) = (event(1), event(2), event(3));
        assert_eq!(scan(format!("{one}\n\n  {two} \r\n{three}")), (vec![1, 2, 3], vec![]));
    }

    #[test]
    fn two_objects_on_one_line_are_two_events() {
        let (one, two, three) = (event(1), event(2), event(3));
        assert_eq!(scan(format!("{one}{two} {three}\n")), (vec![1, 2, 3], vec![]));
    }

    #[test]
    fn a_spliced_line_gives_up_only_what_was_cut_off() {
        let (one, two, three) = (event(1), event(2), event(3));
        let text = format!("{}{two}\n{three}\n", &one[..100]);
        assert_eq!(scan(text), (vec![2, 3], vec![(Rejection::Malformed, "f:1".to_owned())]));
    }

    #[test]
    fn nul_blocks_and_cut_lines_spare_their_neighbours() {
        let (one, two) = (event(1), event(2));
        let text = format!("\0\0\0{one}\0\0\n\0\0\n{}\n{two}\n{}", &one[..40], &two[..60]);
        let cut = |line: u32| (Rejection::Malformed, format!("f:{line}"));
        assert_eq!(scan(text), (vec![1, 2], vec![cut(3), cut(5)]));
    }

    #[test]
    fn what_is_json_but_no_event_is_named() {
        let text = format!("null\n[1]\n{{}}\n{}\n\"x\"\n", event(1));
        let (ids, rejected) = scan(text);
        let reasons: Vec<_> = rejected.iter().map(|(reason, _)| *reason).collect();
        assert_eq!(ids, [1]);
        use Rejection::{NoIdentity, NotAnEvent};
        assert_eq!(reasons, [NotAnEvent, NotAnEvent, NoIdentity, NotAnEvent]);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_malformed() {
        let mut text = event(1).into_bytes();
        text.splice(20..20, [0xff, 0xfe]);
        text.push(b'\n');
        text.extend(event(2).into_bytes());
        assert_eq!(scan(text), (vec![2], vec![(Rejection::Malformed, "f:1".to_owned())]));
    }
}
