//! Who may use this server: the rules of `--allow` and `--allow-private`, and the list in force.
//!
//! Knows addresses only, nothing of connections, and of no file ([`crate::daemon::allow_file`]).

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::sys::resolve;

/// How long a name given to `--allow` may take to resolve at start.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(10);

/// What `--allow-private` stands for: loopback, private and link-local networks.
const PRIVATE_NETWORKS: [&str; 7] =
    ["192.168.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "127.0.0.0/8", "fe80::/10", "fc00::/7", "::1"];

/// One network that may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    network: IpAddr,
    bits: u32,
}

/// Why a word after `--allow` is no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    word: String,
    cause: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--allow {}: {}", self.word, self.cause)
    }
}

impl RuleError {
    /// The same about a line of a file.
    pub fn without_option(&self) -> String {
        format!("{}: {}", self.word, self.cause)
    }
}

/// The list; a client is allowed by the first rule that matches it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessList {
    rules: Vec<Rule>,
    is_for_everybody: bool,
}

impl AccessList {
    /// The list that refuses nobody: of a server for whoever has started it.
    pub fn of_everybody() -> AccessList {
        AccessList { rules: Vec::new(), is_for_everybody: true }
    }

    /// Adds `ADDRESS[/BITS]` or `NAME[/BITS]`; every address of a name is allowed.
    pub fn allow(&mut self, word: &str) -> Result<(), RuleError> {
        self.allow_found(word, look_up)
    }

    /// The same; `find` knows the addresses of hosts, which may be given in numbers.
    pub fn allow_found(
        &mut self,
        word: &str,
        find: impl FnOnce(&str) -> io::Result<Vec<IpAddr>>,
    ) -> Result<(), RuleError> {
        let error = |cause: String| RuleError { word: word.to_string(), cause };
        let (host, bits) = match word.split_once('/') {
            Some((host, bits)) => (host, Some(bits)),
            None => (word, None),
        };
        let addresses = find(host).map_err(|cause| error(format!("{host}: {cause}")))?;
        for address in addresses {
            let network = address.to_canonical();
            let most = if network.is_ipv4() { 32 } else { 128 };
            let bits = match bits {
                None => most,
                Some(text) => match text.parse::<u32>() {
                    Ok(bits) if bits <= most => bits,
                    _ => return Err(error(format!("want a prefix length from 0 to {most}, not {text:?}"))),
                },
            };
            self.rules.push(Rule { network, bits });
        }
        Ok(())
    }

    /// Adds every private network.
    pub fn allow_private(&mut self) {
        for network in PRIVATE_NETWORKS {
            self.allow(network).expect("BUG: the private networks are well formed");
        }
    }

    /// Whether nobody may connect.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && !self.is_for_everybody
    }

    /// Whether a client may connect. An IPv4 client seen through an IPv6 socket counts as IPv4.
    pub fn permits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.is_for_everybody || self.rules.iter().any(|rule| rule.matches(client))
    }
}

/// The addresses of a host, which is a name or an address in numbers.
pub fn look_up(host: &str) -> io::Result<Vec<IpAddr>> {
    let found = resolve::addresses(host, 0, Instant::now() + RESOLVE_TIME_MAX)?;
    Ok(found.iter().map(|address| address.ip()).collect())
}

/// The list in force, which may become another one while the server runs. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Access(Arc<RwLock<AccessList>>);

impl Access {
    /// Begins with this list.
    pub fn new(list: AccessList) -> Access {
        Access(Arc::new(RwLock::new(list)))
    }

    /// Whether a client may connect.
    pub fn permits(&self, client: IpAddr) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).permits(client)
    }

    /// From now on, this is the list. Who is connected stays.
    pub fn replace(&self, list: AccessList) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = list;
    }
}

impl Rule {
    fn matches(&self, client: IpAddr) -> bool {
        match (self.network, client) {
            (IpAddr::V4(network), IpAddr::V4(client)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                u32::from(network) & mask == u32::from(client) & mask
            }
            (IpAddr::V6(network), IpAddr::V6(client)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                u128::from(network) & mask == u128::from(client) & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(rules: &[&str], client: &str) -> bool {
        let mut list = AccessList::default();
        for rule in rules {
            list.allow(rule).unwrap();
        }
        list.permits(client.parse().unwrap())
    }

    #[test]
    fn rules_match_by_prefix() {
        for (rule, client, expected) in [
            ("10.1.0.0/16", "10.1.255.3", true),
            ("10.1.0.0/16", "10.2.0.0", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.2", false),
            ("10.1.2.3/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("10.0.0.0/8", "::ffff:10.9.8.7", true),
            ("::ffff:10.9.8.7", "10.9.8.7", true),
            ("localhost", "127.0.0.1", true),
        ] {
            assert_eq!(permits(&[rule], client), expected, "{client} by {rule}");
        }
    }

    #[test]
    fn any_rule_allows_and_none_refuses() {
        assert!(permits(&["192.0.2.1", "198.51.100.0/24"], "198.51.100.77"));
        assert!(!permits(&[], "127.0.0.1"));
    }

    #[test]
    fn everybody_is_everybody_and_a_list_can_be_replaced_by_a_narrower_one() {
        let access = Access::new(AccessList::of_everybody());
        let same = access.clone();
        let (near, far): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert!(access.permits(near) && access.permits(far));
        let mut narrow = AccessList::default();
        narrow.allow("10.0.0.0/8").unwrap();
        access.replace(narrow);
        assert!(same.permits(near) && !same.permits(far));
    }

    #[test]
    fn private_means_private() {
        let mut list = AccessList::default();
        list.allow_private();
        for client in ["192.168.7.7", "10.0.0.1", "172.31.255.255", "127.9.9.9", "fe80::1", "fd00::1", "::1"]
        {
            assert!(list.permits(client.parse().unwrap()), "{client}");
        }
        for client in ["172.32.0.1", "11.0.0.1", "203.0.113.1", "2001:db8::1", "fec0::1"] {
            assert!(!list.permits(client.parse().unwrap()), "{client}");
        }
    }

    #[test]
    fn bad_rules_name_themselves() {
        let mut list = AccessList::default();
        for rule in ["10.0.0.0/33", "::1/129", "10.0.0.0/x", "10.0.0.0/", "no-such-host.invalid"] {
            let error = list.allow(rule).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--allow {rule}: ")), "{error}");
        }
        assert!(list.is_empty());
    }
}
