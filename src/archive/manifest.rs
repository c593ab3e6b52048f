//! What lies beside an hour: what it holds, counted while it was written.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::event::Event;

/// Types that are counted one by one, whatever GitHub calls them; the rest is `other`.
const MAX_TYPES: usize = 64;
const OTHER: &str = "other";
/// Minutes of an hour.
pub const MINUTES: usize = 60;

/// Counts of an hour's events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// By type, and by the minute in which they came.
    types: BTreeMap<String, [u64; MINUTES]>,
    /// Bytes of text, line ends included.
    pub text_bytes: u64,
}

impl Tally {
    /// Counts whole lines that came in a minute of the hour.
    pub fn add(&mut self, lines: &[u8], minute: usize) {
        self.text_bytes += lines.len() as u64;
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let event = std::str::from_utf8(line).ok().and_then(|line| Event::parse(line).ok());
            let kind = event.as_ref().map_or("", Event::kind);
            let known = self.types.contains_key(kind) || !kind.is_empty() && self.types.len() < MAX_TYPES;
            let counts = self.types.entry(if known { kind } else { OTHER }.to_owned());
            counts.or_insert([0; MINUTES])[minute.min(MINUTES - 1)] += 1;
        }
    }

    /// All of them.
    pub fn events(&self) -> u64 {
        self.types.values().flatten().sum()
    }
}

/// The manifest of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The file's name.
    pub file: String,
    /// When the hour begins.
    pub hour: String,
    /// By what events are filed: `arrival`.
    pub filed_by: &'static str,
    /// Who wrote it.
    pub generator: &'static str,
    /// Lines of the file.
    pub events: u64,
    /// By type.
    pub types: BTreeMap<String, u64>,
    /// By type and minute of arrival: 60 counts each.
    pub minutes: BTreeMap<String, Vec<u64>>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of its text.
    pub text_bytes: u64,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// How often writing was interrupted and went on, by a restart or a fault.
    pub resumed: u32,
    /// Events of the hour that this process could not write, and knows of.
    pub lost: u64,
    /// How much of the feed was seen when the hour was closed; absent where that is not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Value>,
}

impl Manifest {
    /// The manifest of a file that is counted, and nothing else of it known yet.
    pub fn new(file: String, hour: String, tally: Tally) -> Self {
        let sum = |counts: &[u64; MINUTES]| counts.iter().sum();
        Self {
            file,
            hour,
            filed_by: "arrival",
            generator: concat!("pulsehub ", env!("CARGO_PKG_VERSION")),
            events: tally.events(),
            types: tally.types.iter().map(|(kind, counts)| (kind.clone(), sum(counts))).collect(),
            text_bytes: tally.text_bytes,
            minutes: tally.types.into_iter().map(|(kind, counts)| (kind, counts.to_vec())).collect(),
            bytes: 0,
            sha256: String::new(),
            resumed: 0,
            lost: 0,
            coverage: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_by_type_and_minute_and_types_are_bounded() {
        let mut tally = Tally::default();
        tally.add(b"{\"type\":\"PushEvent\"}\n{\"type\":\"PushEvent\"}\n", 3);
        tally.add(b"{\"type\":\"WatchEvent\"}\n{}\n", 59);
        for kind in 0..200 {
            tally.add(format!("{{\"type\":\"Invented{kind}\"}}\n").as_bytes(), 99);
        }
        assert_eq!(tally.events(), 204);
        let manifest = Manifest::new("f".to_owned(), "h".to_owned(), tally);
        assert_eq!((manifest.types["PushEvent"], manifest.minutes["PushEvent"][3]), (2, 2));
        assert!(manifest.types.len() <= MAX_TYPES + 1 && manifest.types["other"] > 100);
        assert_eq!(manifest.types.values().sum::<u64>(), 204);
    }
}
