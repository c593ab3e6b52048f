//! Whom a trusted proxy passes on: `X-Forwarded-For`, or `Forwarded` (RFC 7239), read from the right.
//!
//! Only what a trusted proxy wrote is believed. It adds on the right whom it heard, so the client is the rightmost
//! address that is not a trusted proxy's itself; what stands further left anybody may have written.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, header};

/// Entries that are looked at: no honest chain of proxies is longer.
const MAX_HOPS: usize = 32;

/// The client behind `peer`, which is trusted. `None` where it names none, or two headers name different ones: then it
/// adds to one of them and passes on the other, which anybody may have written.
pub fn client(headers: &HeaderMap, trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let passed = rightmost(list(headers, "x-forwarded-for").map(address), &trusted);
    let forwarded = rightmost(list(headers, header::FORWARDED.as_str()).map(forwarded_for), &trusted);
    match (passed, forwarded) {
        (Some(one), Some(other)) if one != other => None,
        (one, other) => one.or(other),
    }
}

/// A header's entries, the last one first.
fn list<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect();
    values.into_iter().rev().flat_map(|value| value.rsplit(',')).map(str::trim).take(MAX_HOPS)
}

/// The first that is not trusted. What is no address ends the search: from there on nothing is known.
fn rightmost(hops: impl Iterator<Item = Option<IpAddr>>, trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut nearest = None;
    for hop in hops {
        let hop = hop?;
        nearest = Some(hop);
        if !trusted(hop) {
            break;
        }
    }
    // A request of the proxies' own network.
    nearest
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

    fn found(headers: &[(&'static str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        client(&map, |address| address.to_string().starts_with("10.")).map(|address| address.to_string())
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        for (value, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("6.6.6.6, 192.0.2.1", Some("192.0.2.1")),
            ("6.6.6.6, 192.0.2.1, 10.0.0.2,10.0.0.1", Some("192.0.2.1")),
            ("192.0.2.1:1234", Some("192.0.2.1")),
            ("[2001:db8::1]:99", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("10.0.0.9, 10.0.0.1", Some("10.0.0.9")),
            ("192.0.2.1, unknown", None),
            ("192.0.2.1, unknown, 10.0.0.1", None),
            ("", None),
        ] {
            assert_eq!(found(&[("x-forwarded-for", value)]).as_deref(), expected, "{value}");
        }
        // Several headers are one list.
        let two = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1, 10.0.0.1")];
        assert_eq!(found(&two).as_deref(), Some("192.0.2.1"));
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn the_standard_header_is_read_the_same_way() {
        for (value, expected) in [
            ("for=192.0.2.1", Some("192.0.2.1")),
            ("For=\"[2001:db8::1]:4711\";proto=https", Some("2001:db8::1")),
            ("for=6.6.6.6, for=192.0.2.1;by=10.0.0.1, for=10.0.0.2", Some("192.0.2.1")),
            ("for=_hidden", None),
            ("proto=http", None),
        ] {
            assert_eq!(found(&[("forwarded", value)]).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn two_headers_that_disagree_are_not_believed() {
        let both = |one, other| found(&[("x-forwarded-for", one), ("forwarded", other)]);
        assert_eq!(both("192.0.2.1", "for=192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(both("192.0.2.1", "for=6.6.6.6"), None);
    }
}
