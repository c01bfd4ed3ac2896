//! What a server says of itself by multicast DNS: the service's names and the pairs of its TXT record, as 3.4 has them
//! and with ours. Knows neither who sends them nor how.

use core::net::IpAddr;

/// The service's type (RFC 6763), in the domain of the local link.
pub const SERVICE_TYPE: &str = "_distcc._tcp.local.";
/// Slots of a server whose record says nothing of them.
pub const SLOTS_DEFAULT: u32 = 4;
/// Most slots that are believed: no machine runs this many compilers.
pub const SLOTS_MAX: u32 = 10_000;
/// Longest value that is taken over, in bytes: a pair is at most 255 (RFC 6763, 6.1), and these are short.
const VALUE_BYTES_MAX: usize = 200;
/// Longest label of a domain name, in bytes (RFC 1035, 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// A server in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// `cpus`: its processors.
    pub processors: u32,
    /// `jobs`, and `slots` in ours: how many compilers it runs at a time.
    pub slots: u32,
    /// `distcc`: its version.
    pub version: String,
    /// `gnuhost`: the machine it was built for.
    pub built_for: String,
    /// `cc_version`: what its `cc -dumpversion` says; empty if unknown.
    pub compiler_version: String,
    /// `cc_machine`: what its `cc -dumpmachine` says; empty if unknown.
    pub compiler_machine: String,
    /// `lzo=1`: it takes compressed bodies.
    pub compress: bool,
    /// `cpp=1`: it preprocesses (pump mode).
    pub pump: bool,
}

impl Announcement {
    /// The pairs of the TXT record. Old readers take what they know.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![
            ("txtvers", "1".to_owned()),
            ("cpus", self.processors.to_string()),
            ("jobs", self.slots.to_string()),
            ("distcc", cut(&self.version)),
            ("gnuhost", cut(&self.built_for)),
        ];
        if !self.compiler_version.is_empty() {
            pairs.push(("cc_version", cut(&self.compiler_version)));
        }
        if !self.compiler_machine.is_empty() {
            pairs.push(("cc_machine", cut(&self.compiler_machine)));
        }
        pairs.push(("slots", self.slots.to_string()));
        for (key, is_so) in [("lzo", self.compress), ("cpp", self.pump)] {
            if is_so {
                pairs.push((key, "1".to_owned()));
            }
        }
        pairs
    }

    /// Reads pairs, whoever wrote them: `value` gives the value of a key. What makes no sense counts as missing.
    pub fn read<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Announcement {
        let text = |key: &str| value(key).map(cut).unwrap_or_default();
        let number = |key: &str| value(key).and_then(|text| text.parse::<u32>().ok()).filter(|n| *n > 0);
        let flag = |key: &str| value(key) == Some("1");
        let compress = flag("lzo");
        Announcement {
            processors: number("cpus").unwrap_or(0),
            slots: number("slots").or_else(|| number("jobs")).unwrap_or(SLOTS_DEFAULT).min(SLOTS_MAX),
            version: text("distcc"),
            built_for: text("gnuhost"),
            compiler_version: text("cc_version"),
            compiler_machine: text("cc_machine"),
            compress,
            // Files are only ever sent compressed.
            pump: compress && flag("cpp"),
        }
    }

    /// Whether its compiler is the one that `machine` and `version` name. Where either side does not know, it may be.
    pub fn has_compiler(&self, machine: &str, version: &str) -> bool {
        let agree = |a: &str, b: &str| a.is_empty() || b.is_empty() || a.eq_ignore_ascii_case(b);
        agree(&self.compiler_machine, machine) && agree(&self.compiler_version, version)
    }

    /// The word of a host list that reaches it at an address; `scope` is the interface of a link-local one.
    pub fn host_word(&self, address: IpAddr, scope: Option<&str>, port: u16) -> String {
        let mut word = match (address, scope) {
            (IpAddr::V4(address), _) => address.to_string(),
            (IpAddr::V6(address), None) => format!("[{address}]"),
            (IpAddr::V6(address), Some(scope)) => format!("[{address}%{scope}]"),
        };
        word.push_str(&format!(":{port}/{}", self.slots));
        for (option, is_so) in [(",lzo", self.compress), (",cpp", self.pump)] {
            if is_so {
                word.push_str(option);
            }
        }
        word
    }
}

/// The subtype under which clients of 3.4 look for servers with their own compiler: `_MACHINE--VERSION`, in which
/// whatever is neither letter nor digit is a hyphen. None if the compiler is unknown, or its name too long for a label.
pub fn subtype(machine: &str, version: &str) -> Option<String> {
    if machine.is_empty() || version.is_empty() {
        return None;
    }
    let plain = |text: &str| -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        text.chars().map(plain).collect()
    };
    let label = format!("_{}--{}", plain(machine), plain(version));
    (label.len() <= LABEL_BYTES_MAX).then_some(label)
}

fn cut(text: &str) -> String {
    let shown = text.chars().filter(|c| !c.is_control());
    let mut cut = String::new();
    for c in shown {
        if cut.len() + c.len_utf8() > VALUE_BYTES_MAX {
            break;
        }
        cut.push(c);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Announcement {
        Announcement::read(|key| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value))
    }

    fn word(pairs: &[(&str, &str)]) -> String {
        read(pairs).host_word("10.0.0.7".parse().unwrap(), None, 3632)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let said = Announcement {
            processors: 8,
            slots: 10,
            version: "0.1.0".into(),
            built_for: "x86_64-linux-gnu".into(),
            compiler_version: "12".into(),
            compiler_machine: "x86_64-linux-gnu".into(),
            compress: true,
            pump: true,
        };
        let pairs = said.pairs();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(read(&pairs), said);
        // 3.4's own keys come first, in its order.
        let keys: Vec<&str> = pairs.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys[..7], ["txtvers", "cpus", "jobs", "distcc", "gnuhost", "cc_version", "cc_machine"]);
    }

    #[test]
    fn records_of_others_become_words_of_a_host_list() {
        for (pairs, expected) in [
            (&[][..], "10.0.0.7:3632/4"),
            (&[("jobs", "6"), ("cpus", "4")], "10.0.0.7:3632/6"),
            (&[("jobs", "6"), ("slots", "5")], "10.0.0.7:3632/5"),
            (&[("jobs", "0")], "10.0.0.7:3632/4"),
            (&[("jobs", "-3")], "10.0.0.7:3632/4"),
            (&[("jobs", "4 evil/9,cpp")], "10.0.0.7:3632/4"),
            (&[("jobs", "99999999")], "10.0.0.7:3632/10000"),
            (&[("jobs", "6"), ("lzo", "1")], "10.0.0.7:3632/6,lzo"),
            (&[("lzo", "1"), ("cpp", "1")], "10.0.0.7:3632/4,lzo,cpp"),
            (&[("cpp", "1")], "10.0.0.7:3632/4"),
            (&[("lzo", "yes")], "10.0.0.7:3632/4"),
        ] {
            assert_eq!(word(pairs), expected, "{pairs:?}");
        }
    }

    #[test]
    fn addresses_of_both_families_become_words() {
        let server = Announcement::read(|_| None);
        let address = "fe80::1".parse().unwrap();
        assert_eq!(server.host_word(address, Some("eth0"), 99), "[fe80::1%eth0]:99/4");
        assert_eq!(server.host_word("2001:db8::7".parse().unwrap(), None, 99), "[2001:db8::7]:99/4");
    }

    #[test]
    fn compilers_are_compared_where_both_are_known() {
        let server = read(&[("cc_machine", "x86_64-linux-gnu"), ("cc_version", "12")]);
        for (machine, version, expected) in [
            ("x86_64-linux-gnu", "12", true),
            ("x86_64-linux-gnu", "13", false),
            ("aarch64-linux-gnu", "12", false),
            ("", "", true),
        ] {
            assert_eq!(server.has_compiler(machine, version), expected, "{machine} {version}");
        }
        assert!(read(&[]).has_compiler("x86_64-linux-gnu", "12"));
    }

    #[test]
    fn the_subtype_is_a_label() {
        assert_eq!(subtype("x86_64-Linux-gnu", "12.2").unwrap(), "_x86-64-linux-gnu--12-2");
        assert_eq!(subtype("", "12"), None);
        assert_eq!(subtype(&"m".repeat(70), "12"), None);
    }
}
