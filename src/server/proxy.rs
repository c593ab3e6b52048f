//! Whom a trusted proxy passes on: `X-Forwarded-For`, or `Forwarded` (RFC 7239), read from the right.
//!
//! Only what a trusted proxy wrote is believed. It adds on the right whom it heard, so the client is the rightmost
//! address that is not a trusted proxy's itself; what stands further left anybody may have written.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue, header};

/// Entries that are looked at: no honest chain of proxies is longer.
const MAX_HOPS: usize = 32;

/// The headers say of the client what cannot be believed.
#[derive(Debug, PartialEq, Eq)]
pub struct Unclear;

/// The client that a trusted proxy passes on; `None` where it names none.
///
/// # Errors
/// Where what it names is no address, or two headers name different ones: then it adds to one of them and passes on the
/// other, which anybody may have written.
pub fn client(headers: &HeaderMap, trusted: impl Fn(IpAddr) -> bool) -> Result<Option<IpAddr>, Unclear> {
    let passed = rightmost(list(headers, "x-forwarded-for").map(address), &trusted)?;
    let forwarded = rightmost(list(headers, header::FORWARDED.as_str()).map(forwarded_for), &trusted)?;
    match (passed, forwarded) {
        (Some(one), Some(other)) if one != other => Err(Unclear),
        (one, other) => Ok(one.or(other)),
    }
}

/// A header's entries, the last one first. One that is no text is empty, whatever stands beside it.
fn list<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    let values: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let entries = values.into_iter().rev().flat_map(|value| value.rsplit(|&byte| byte == b','));
    entries.map(|entry| str::from_utf8(entry).unwrap_or_default().trim()).take(MAX_HOPS)
}

/// The first that is not trusted. What is no address in front of it ends the search: from there on nothing is known.
fn rightmost(
    hops: impl Iterator<Item = Option<IpAddr>>,
    trusted: impl Fn(IpAddr) -> bool,
) -> Result<Option<IpAddr>, Unclear> {
    let mut nearest = None;
    for hop in hops {
        let hop = hop.ok_or(Unclear)?;
        nearest = Some(hop);
        if !trusted(hop) {
            break;
        }
    }
    // A request of the proxies' own network.
    Ok(nearest)
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    parsed.ok().map(|address: IpAddr| address.to_canonical())
}

/// The value of `for` in one entry of `Forwarded`.
fn forwarded_for(entry: &str) -> Option<IpAddr> {
    let mut pairs = entry.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    address(value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headers: &[(&'static str, &str)]) -> Result<Option<String>, Unclear> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let client = client(&map, |address| address.to_string().starts_with("10."))?;
        Ok(client.map(|address| address.to_string()))
    }

    fn assert_all(name: &'static str, cases: &[(&str, Result<&str, Unclear>)]) {
        for (value, expected) in cases {
            let expected = expected.as_ref().map(|text| Some((*text).to_owned())).map_err(|_| Unclear);
            assert_eq!(found(&[(name, value)]), expected, "{value}");
        }
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        assert_all(
            "x-forwarded-for",
            &[
                ("192.0.2.1", Ok("192.0.2.1")),
                ("6.6.6.6, 192.0.2.1", Ok("192.0.2.1")),
                ("6.6.6.6, 192.0.2.1, 10.0.0.2,10.0.0.1", Ok("192.0.2.1")),
                ("192.0.2.1:1234", Ok("192.0.2.1")),
                ("[2001:db8::1]:99", Ok("2001:db8::1")),
                ("2001:db8::1", Ok("2001:db8::1")),
                ("10.0.0.9, 10.0.0.1", Ok("10.0.0.9")),
                // What somebody wrote in front of what the proxy added hides nothing.
                ("\u{ff}, 192.0.2.1", Ok("192.0.2.1")),
                ("unknown, 192.0.2.1, 10.0.0.1", Ok("192.0.2.1")),
                ("192.0.2.1, unknown", Err(Unclear)),
                ("192.0.2.1, unknown, 10.0.0.1", Err(Unclear)),
                ("\u{ff}", Err(Unclear)),
                ("", Err(Unclear)),
            ],
        );
        // Several headers are one list.
        let two = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1, 10.0.0.1")];
        assert_eq!(found(&two), Ok(Some("192.0.2.1".to_owned())));
        assert_eq!(found(&[]), Ok(None));
    }

    #[test]
    fn the_standard_header_is_read_the_same_way() {
        assert_all(
            "forwarded",
            &[
                ("for=192.0.2.1", Ok("192.0.2.1")),
                ("For=\"[2001:db8::1]:4711\";proto=https", Ok("2001:db8::1")),
                ("for=6.6.6.6, for=192.0.2.1;by=10.0.0.1, for=10.0.0.2", Ok("192.0.2.1")),
                ("for=_hidden", Err(Unclear)),
                ("proto=http", Err(Unclear)),
            ],
        );
    }

    #[test]
    fn two_headers_that_disagree_are_not_believed() {
        let both = |one, other| found(&[("x-forwarded-for", one), ("forwarded", other)]);
        assert_eq!(both("192.0.2.1", "for=192.0.2.1"), Ok(Some("192.0.2.1".to_owned())));
        assert_eq!(both("192.0.2.1", "for=6.6.6.6"), Err(Unclear));
    }
}
