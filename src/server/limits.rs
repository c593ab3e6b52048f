//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use crate::telemetry::names;

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There are too many in all.
    Total,
    /// There are too many from this address.
    Address,
}

impl Refused {
    /// Its name as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Address => "address",
        }
    }
}

/// Counts connections, and refuses what is too many.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    /// 0 for any number.
    max_per_address: usize,
    trusted: Vec<IpNet>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    /// Of addresses that have any, so no more than connections.
    by_address: HashMap<IpAddr, usize>,
}

/// A place, free again when it is dropped.
#[derive(Debug)]
pub struct Admitted {
    connections: Arc<Connections>,
    /// Whether it is one of the total.
    counted: bool,
    address: Option<IpAddr>,
}

impl Connections {
    /// At most `max` in all and, unless that is 0, `max_per_address` from one address. What comes from `trusted` proxies
    /// is limited by whom they pass on.
    pub fn new(max: usize, max_per_address: usize, trusted: Vec<IpNet>) -> Self {
        Self { max, max_per_address, trusted, open: Mutex::default() }
    }

    /// Any number from anywhere.
    pub fn unlimited() -> Self {
        Self::new(usize::MAX, 0, Vec::new())
    }

    /// Whether `address` is a trusted proxy's.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// A place for a connection from `peer`.
    ///
    /// # Errors
    /// When there is none.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Admitted, Refused> {
        self.enter(true, (!self.trusts(peer)).then_some(peer))
    }

    /// A place for a client whom a trusted proxy passes on over a connection that is admitted already.
    ///
    /// # Errors
    /// When its address has too many.
    pub fn admit_passed_on(self: &Arc<Self>, client: IpAddr) -> Result<Admitted, Refused> {
        self.enter(false, Some(client))
    }

    fn enter(self: &Arc<Self>, counted: bool, address: Option<IpAddr>) -> Result<Admitted, Refused> {
        let address = address.filter(|_| self.max_per_address > 0).map(household);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if counted && open.total >= self.max {
            return Err(Refused::Total);
        }
        if let Some(address) = address {
            let count = open.by_address.entry(address).or_default();
            if *count >= self.max_per_address {
                return Err(Refused::Address);
            }
            *count += 1;
        }
        if counted {
            open.total += 1;
            metrics::gauge!(names::CONNECTIONS).increment(1.0);
        }
        Ok(Admitted { connections: self.clone(), counted, address })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        if self.counted {
            open.total -= 1;
            metrics::gauge!(names::CONNECTIONS).decrement(1.0);
        }
        let Some(address) = self.address else { return };
        if let Some(count) = open.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}

/// What one client can choose its address from: an IPv6 network of 64 bits is one household, an IPv4 address is one.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn both_limits_hold_and_places_come_back() {
        let connections = Arc::new(Connections::new(4, 2, vec!["10.0.0.0/8".parse().unwrap()]));
        let places = ["192.0.2.1", "192.0.2.1", "10.1.2.3"].map(|peer| connections.admit(ip(peer)).unwrap());
        assert_eq!(connections.admit(ip("192.0.2.1")).unwrap_err(), Refused::Address);
        assert_eq!(connections.admit(ip("::ffff:192.0.2.1")).unwrap_err(), Refused::Address, "the same");
        let fourth = connections.admit(ip("192.0.2.2")).unwrap();
        assert_eq!(connections.admit(ip("10.1.2.3")).unwrap_err(), Refused::Total);
        let passed_on = connections.admit_passed_on(ip("192.0.2.2")).unwrap();
        assert_eq!(connections.admit_passed_on(ip("192.0.2.2")).unwrap_err(), Refused::Address);
        drop((places, fourth, passed_on));
        let open = connections.open.lock().unwrap();
        assert_eq!((open.total, open.by_address.len()), (0, 0));
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let connections = Arc::new(Connections::new(9, 1, Vec::new()));
        let _place = connections.admit(ip("2001:db8::1")).unwrap();
        assert_eq!(connections.admit(ip("2001:db8::2:3:4")).unwrap_err(), Refused::Address);
        connections.admit(ip("2001:db8:0:1::1")).unwrap();
    }
}
