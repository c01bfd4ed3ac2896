//! The client that a job is for, as whoever works on the job knows it: whose part of what is shared it takes, and
//! whether anybody still waits for the result.
//!
//! Knows addresses; nothing of sockets, and nothing of what there is to share.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whom the limits take for one: an IPv4 address, or what one site has of IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The only client of a server that was started for it (ssh, inetd).
    #[default]
    Only,
    /// An IPv4 address, also as IPv6 writes it.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address: whoever has one of these has all of them.
    V6Net(u64),
    /// A whole IPv6 address of the local link, where the first half is everybody's.
    V6Link(u128),
}

impl Origin {
    /// Where this address belongs to.
    pub fn of(address: IpAddr) -> Origin {
        match address.to_canonical() {
            IpAddr::V4(address) => Origin::V4(address),
            IpAddr::V6(address) if address.is_unicast_link_local() => Origin::V6Link(address.to_bits()),
            IpAddr::V6(address) => Origin::V6Net((address.to_bits() >> 64) as u64),
        }
    }
}

/// As an administrator writes it.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Only => f.write_str("local"),
            Origin::V4(address) => address.fmt(f),
            Origin::V6Net(network) => {
                write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*network) << 64))
            }
            Origin::V6Link(address) => Ipv6Addr::from_bits(*address).fmt(f),
        }
    }
}

/// A client. Its copies, in the hands of whoever works for it, all know when it has left.
#[derive(Clone, Debug, Default)]
pub struct Patron {
    /// Where it is.
    pub origin: Origin,
    has_left: Arc<AtomicBool>,
}

impl Patron {
    /// One that is there.
    pub fn new(origin: Origin) -> Patron {
        Patron { origin, has_left: Arc::default() }
    }

    /// Notes that nobody waits for its job any more.
    pub fn leave(&self) {
        self.has_left.store(true, Ordering::Relaxed);
    }

    /// Whether work for it is work for nobody.
    pub fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_an_ipv4_address_or_a_network_of_ipv6() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:1:2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("fe80::1", "fe80::1", true),
            ("fe80::1", "fe80::2", false),
            ("::1", "127.0.0.1", false),
        ] {
            let origin = |text: &str| Origin::of(text.parse().unwrap());
            assert_eq!(origin(one) == origin(other), same, "{one} {other}");
        }
    }

    #[test]
    fn an_origin_is_shown_as_a_rule_for_it_is_written() {
        for (address, shown) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:0:7:1:2:3:4", "2001:db8:0:7::/64"),
            ("fe80::1", "fe80::1"),
        ] {
            assert_eq!(Origin::of(address.parse().unwrap()).to_string(), shown);
        }
    }

    #[test]
    fn all_copies_know_when_it_leaves() {
        let patron = Patron::new(Origin::Only);
        let copy = patron.clone();
        assert!(!copy.has_left());
        patron.leave();
        assert!(copy.has_left());
    }
}
