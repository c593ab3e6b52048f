//! Spans of time in Go's notation (`1h30m`, `500ms`), which the predecessor's files are written in.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The `format` that marks a span in the schema; JSON Schema's own `duration` is another notation (ISO 8601).
pub(super) const FORMAT: &str = "go-duration";

/// Units of Go's `time.ParseDuration` in nanoseconds, the largest first; microseconds have three spellings
/// there.
const UNITS: [(&str, u128); 8] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("µs", 1_000),
    ("μs", 1_000),
];

/// A span of time, written like `1h30m`, `2s` or `500ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

/// Why a text is not a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpanError {
    /// A number other than 0 without a unit.
    #[error("a unit is missing (h, m, s, ms, us or ns)")]
    NoUnit,
    /// A unit that Go doesn't have, such as `d`.
    #[error("the units are h, m, s, ms, us and ns")]
    UnknownUnit,
    /// A span below zero.
    #[error("it must not be negative")]
    Negative,
    /// Not numbers followed by units.
    #[error("it is not numbers followed by units")]
    Malformed,
    /// Longer than 2⁶⁴ seconds.
    #[error("it is too long")]
    TooLong,
}

impl Span {
    /// A span of this many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The span as the standard library has it.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Whether it is no time at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, ParseSpanError> {
        let text = text.trim();
        if text.starts_with('-') {
            return Err(ParseSpanError::Negative);
        }
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest == "0" {
            return Ok(Self::default());
        }
        if rest.is_empty() {
            return Err(ParseSpanError::Malformed);
        }
        let mut nanos = 0_u128;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, tail) = rest.split_at(end);
            let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            nanos = nanos.checked_add(term(number, unit)?).ok_or(ParseSpanError::TooLong)?;
            rest = tail;
        }
        let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| ParseSpanError::TooLong)?;
        let subsecond = u32::try_from(nanos % 1_000_000_000).map_err(|_| ParseSpanError::TooLong)?;
        Ok(Self(Duration::new(seconds, subsecond)))
    }
}

/// One number with its unit, in nanoseconds; what is smaller than one is cut off, as in Go.
fn term(number: &str, unit: &str) -> Result<u128, ParseSpanError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(ParseSpanError::Malformed);
    }
    if unit.is_empty() {
        return Err(ParseSpanError::NoUnit);
    }
    let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(ParseSpanError::UnknownUnit)?;
    let mut nanos = match whole {
        "" => 0,
        digits => {
            digits.parse::<u128>().ok().and_then(|n| n.checked_mul(*size)).ok_or(ParseSpanError::TooLong)?
        }
    };
    let mut place = *size;
    for digit in fraction.bytes() {
        place /= 10;
        nanos = nanos.checked_add(u128::from(digit - b'0') * place).ok_or(ParseSpanError::TooLong)?;
    }
    Ok(nanos)
}

impl TryFrom<String> for Span {
    type Error = ParseSpanError;

    fn try_from(text: String) -> Result<Self, ParseSpanError> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0s");
        }
        let mut rest = self.0.as_nanos();
        for (unit, size) in &UNITS[..6] {
            if rest >= *size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The one integer that needs no unit is 0.
        json_schema!({
            "type": ["string", "integer"],
            "format": FORMAT,
            "pattern": "^\\+?(0|(([0-9]+\\.?[0-9]*|\\.[0-9]+)(h|m|s|ms|us|µs|μs|ns))+)$",
            "minimum": 0,
            "maximum": 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_notation_is_read_and_shown_canonically() {
        for (text, shown) in [
            ("1h30m", "1h30m"),
            ("90m", "1h30m"),
            ("48h", "48h"),
            ("1.5s", "1s500ms"),
            (".5m", "30s"),
            ("+2s", "2s"),
            ("1m0.25s", "1m250ms"),
            ("3µs", "3us"),
            ("0", "0s"),
            ("0s", "0s"),
            ("1ns", "1ns"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string(), shown);
            assert_eq!(shown.parse(), Ok(span));
        }
        assert_eq!("500ms".parse::<Span>().unwrap().get(), Duration::from_millis(500));
    }

    #[test]
    fn what_is_no_span_is_rejected_with_its_reason() {
        for (text, error) in [
            ("60", ParseSpanError::NoUnit),
            ("1h30", ParseSpanError::NoUnit),
            ("1d", ParseSpanError::UnknownUnit),
            ("-1s", ParseSpanError::Negative),
            ("", ParseSpanError::Malformed),
            ("h", ParseSpanError::Malformed),
            ("1.2.3s", ParseSpanError::Malformed),
            (".s", ParseSpanError::Malformed),
            ("99999999999999999999999h", ParseSpanError::TooLong),
            ("99999999999999999999999999999999999999999999s", ParseSpanError::TooLong),
        ] {
            assert_eq!(text.parse::<Span>(), Err(error), "{text}");
        }
    }
}
