//! Random damage: the scanner goes on, and what was not touched is found.

use bytes::Bytes;
use proptest::prelude::*;
use pulsehub::source::generate::{Generator, PayloadForm};
use pulsehub::source::scan::scan_lines;

/// One damage to a text.
#[derive(Debug, Clone)]
enum Damage {
    Flip(usize, u8),
    Insert(usize, Vec<u8>),
    Delete(usize, usize),
    /// A copy of a part, put elsewhere.
    Splice(usize, usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = || 0..1_000_000_usize;
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
        prop::sample::select(vec![&b"\n"[..], b"\0\0\0", b"{", b"}", b"\"", b"{\"id\":", b"\\", b"null"])
            .prop_map(<[u8]>::to_vec),
    ];
    prop_oneof![
        (at(), 1..=255_u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        (at(), bytes).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (at(), 1..2_000_usize).prop_map(|(at, count)| Damage::Delete(at, count)),
        (at(), 1..2_000_usize, at()).prop_map(|(from, count, to)| Damage::Splice(from, count, to)),
    ]
}

impl Damage {
    /// Damages `text`, whose bytes each carry the line that they belong to; what is new belongs to none.
    fn apply(&self, text: &mut Vec<(u8, Option<usize>)>) {
        let length = text.len();
        if length == 0 {
            return;
        }
        match self {
            Self::Flip(at, bits) => text[at % length] = (text[at % length].0 ^ bits, None),
            Self::Insert(at, bytes) => {
                let at = at % length;
                text.splice(at..at, bytes.iter().map(|&byte| (byte, None)));
            }
            Self::Delete(at, count) => {
                let at = at % length;
                text.drain(at..(at + count).min(length));
            }
            Self::Splice(from, count, to) => {
                let from = from % length;
                let part = &text[from..(from + count).min(length)];
                let part: Vec<_> = part.iter().map(|&(byte, _)| (byte, None)).collect();
                let to = to % length;
                text.splice(to..to, part);
            }
        }
    }
}

/// Thirty generated events with their ids.
fn thirty_events() -> Vec<(i64, String)> {
    let mut generator = Generator::new(30, 1_000, PayloadForm::Full);
    let event = |second: i64| {
        let event = generator.event(1_780_000_000 + second);
        (event["id"].as_str().unwrap().parse().unwrap(), event.to_string())
    };
    (0..30_i64).map(event).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_stops_the_scanner_or_costs_an_untouched_line(damages in prop::collection::vec(damage(), 1..6)) {
        let events = thirty_events();
        let mut marked = Vec::new();
        for (line, (_, event)) in events.iter().enumerate() {
            marked.extend(event.bytes().chain([b'\n']).map(|byte| (byte, Some(line))));
        }
        damages.iter().for_each(|damage| damage.apply(&mut marked));
        let text: Vec<u8> = marked.iter().map(|(byte, _)| *byte).collect();
        let scanned = scan_lines(&Bytes::from(text), 1, |line| line.to_string());
        let untouched = marked.split_inclusive(|(byte, _)| *byte == b'\n').filter_map(|line| {
            let number = line[0].1?;
            let whole = line.len() == events[number].1.len() + 1;
            (whole && line.iter().all(|(_, from)| *from == Some(number))).then_some(events[number].0)
        });
        let found: Vec<i64> = scanned.candidates.iter().map(|candidate| candidate.key.id).collect();
        for id in untouched {
            prop_assert!(found.contains(&id), "{id} is not among {found:?}");
        }
        for rejected in &scanned.rejected {
            prop_assert!((1..=scanned.lines).contains(&rejected.place.parse().unwrap()));
        }
    }
}
