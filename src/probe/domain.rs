//! The DNS domain of this machine. Reads no environment.

use std::fs;
use std::time::{Duration, Instant};

use crate::sys::resolve;

/// How long the machine may take to find its own full name.
const OWN_NAME_TIME_MAX: Duration = Duration::from_secs(5);
/// Where the kernel says what this machine is called.
const OWN_NAME_FILE: &str = "/proc/sys/kernel/hostname";

/// The domain in the first of these names that has one, else in what the kernel calls this machine, else in what name
/// services do.
pub fn of_this_machine(own_names: &[String]) -> Option<String> {
    let domain = |name: &str| {
        let (_, domain) = name.trim().trim_end_matches('.').split_once('.')?;
        (!domain.is_empty()).then(|| domain.to_owned())
    };
    own_names.iter().find_map(|name| domain(name)).or_else(|| {
        let name = fs::read_to_string(OWN_NAME_FILE).ok()?;
        let name = name.trim();
        domain(name).or_else(|| {
            let full = resolve::full_name(name, Instant::now() + OWN_NAME_TIME_MAX).ok()?;
            domain(&full)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_is_that_of_the_first_name_that_has_one() {
        let domain = |names: &[&str]| {
            of_this_machine(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(domain(&["here", "a.example.net"]).unwrap(), "example.net");
        assert_eq!(domain(&["b.example.org.", "a.example.net"]).unwrap(), "example.org");
    }
}
