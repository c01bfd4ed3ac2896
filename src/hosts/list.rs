//! The host list: where it is found, its words and its settings (manual, "Host Specifications").
//!
//! Knows nothing of locks or connections, and reads no environment: values and paths are handed in.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::backoff::Backoff;
use super::service::ServiceEntry;
use super::spec::{self, Host, SpecError};
use super::zeroconf;
use crate::log_info;

/// The largest host list file, in bytes: the bound of distcc 3.4, far above any list a person keeps.
pub const LIST_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Jobs that cannot be sent away and may run at a time, unless `--localslots` says otherwise.
pub const LOCAL_SLOTS_DEFAULT: u32 = 4;
/// Preprocessors that may run at a time, unless `--localslots_cpp` says otherwise.
pub const LOCAL_CPP_SLOTS_DEFAULT: u32 = 8;

/// The word for the servers in this network.
const ZEROCONF: &str = "+zeroconf";
/// How messages call the environment variable as a source of the list.
const VARIABLE: &str = "$DISTCC_HOSTS";

/// The hosts in order of preference, and the limits for work on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostList {
    /// Best first; never empty.
    pub hosts: Vec<Host>,
    /// `--localslots`: jobs that cannot be sent away and may run at a time.
    pub local_slots: u32,
    /// `--localslots_cpp`: preprocessors and include scans that may run at a time.
    pub local_cpp_slots: u32,
    /// `--randomize`: the order is to be shuffled; see [`HostList::shuffle`].
    pub randomize: bool,
}

/// A host list's text, and what to call the place it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSource {
    /// `$DISTCC_HOSTS` or the file's path.
    pub name: String,
    /// The list, unread.
    pub text: String,
}

/// Why there is no host list. The manual counts all of these as a bad host specification (exit code 106).
#[derive(Debug)]
pub enum HostListError {
    /// Neither the variable nor a readable file exists.
    Unset,
    /// The list exists and holds no host.
    Empty {
        /// The list's name.
        source_name: String,
    },
    /// A word is not a host; the whole list is refused, so that a typing error is noticed.
    Word {
        /// The list's name.
        source_name: String,
        /// The word and its fault.
        error: SpecError,
    },
    /// The list names no hosts but some that were to be found, and none was.
    NotFound {
        /// The list's name.
        source_name: String,
        /// What was said by those who looked for them.
        causes: Vec<String>,
    },
    /// The file is above [`LIST_FILE_BYTES_MAX`].
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file could be opened but not read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// A word that stands for hosts which are found elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// `+zeroconf`: the servers in this network.
    Zeroconf,
    /// A service's name: the hosts DNS has for it.
    Service(ServiceEntry),
}

impl Wanted {
    fn parse(word: &str) -> Option<Result<Wanted, SpecError>> {
        if word == ZEROCONF {
            return Some(Ok(Wanted::Zeroconf));
        }
        ServiceEntry::parse(word).map(|entry| entry.map(Wanted::Service))
    }

    /// Finds them; answers are kept in DISTCC_DIR, and compilers are on the search path. The error is a text for people.
    pub fn find(&self, distcc_directory: Option<&Path>, search_path: &OsStr) -> Result<Vec<Host>, String> {
        match (self, distcc_directory) {
            (Wanted::Service(entry), directory) => entry.hosts(directory),
            (Wanted::Zeroconf, Some(directory)) => zeroconf::hosts(directory, search_path),
            (Wanted::Zeroconf, None) => Err(format!("{ZEROCONF}: neither DISTCC_DIR nor HOME is set")),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Zeroconf => f.write_str(ZEROCONF),
            Wanted::Service(entry) => write!(f, "service {}", entry.name),
        }
    }
}

impl fmt::Display for HostListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostListError::Unset => f.write_str("no hostlist is set; can't distribute work"),
            HostListError::Empty { source_name } => {
                write!(f, "{source_name} contained no hosts; can't distribute work")
            }
            HostListError::Word { source_name, error } => write!(f, "{source_name}: {error}"),
            HostListError::NotFound { source_name, causes } => {
                write!(f, "{source_name} leads to no hosts: {}", causes.join("; "))
            }
            HostListError::TooLarge { path } => {
                write!(f, "{} is too large to load (more than {LIST_FILE_BYTES_MAX} bytes)", path.display())
            }
            HostListError::Unreadable { path, cause } => write!(f, "read {}: {cause}", path.display()),
        }
    }
}

impl std::error::Error for HostListError {}

/// Finds the list: the variable `DISTCC_HOSTS` if it is set, even if it is empty; else the first of `files`
/// (the user's, then the system's) that can be opened.
pub fn find(variable: Option<&str>, files: &[&Path]) -> Result<HostSource, HostListError> {
    if let Some(text) = variable {
        return Ok(HostSource { name: VARIABLE.to_owned(), text: text.to_owned() });
    }
    for path in files {
        if let Ok(file) = File::open(path) {
            let text = read(file, path)?;
            return Ok(HostSource { name: path.display().to_string(), text });
        }
    }
    Err(HostListError::Unset)
}

fn read(file: File, path: &Path) -> Result<String, HostListError> {
    let mut bytes = Vec::new();
    file.take(LIST_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|cause| HostListError::Unreadable { path: path.to_owned(), cause })?;
    if bytes.len() as u64 > LIST_FILE_BYTES_MAX {
        return Err(HostListError::TooLarge { path: path.to_owned() });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl HostList {
    /// Reads a list; `source_name` is what errors call it. Hosts that are to be found are not: see
    /// [`HostList::parse_and_find`].
    pub fn parse(text: &str, source_name: &str) -> Result<HostList, HostListError> {
        HostList::parse_and_find(text, source_name, &mut |wanted| Err(format!("{wanted}: not looked for")))
    }

    /// The same, with the hosts that `find` finds in the places of the words that ask for them. A host that is in the
    /// list already is not added again. What cannot be found is only an error if there is no other host.
    pub fn parse_and_find(
        text: &str,
        source_name: &str,
        find: &mut dyn FnMut(&Wanted) -> Result<Vec<Host>, String>,
    ) -> Result<HostList, HostListError> {
        let mut list = HostList {
            hosts: Vec::new(),
            local_slots: LOCAL_SLOTS_DEFAULT,
            local_cpp_slots: LOCAL_CPP_SLOTS_DEFAULT,
            randomize: false,
        };
        let mut causes = Vec::new();
        let wrong = |error| HostListError::Word { source_name: source_name.to_owned(), error };
        let without_comments = text.split('\n').map(|line| line.split('#').next().unwrap_or_default());
        for word in without_comments.flat_map(|line| line.split(is_blank)).filter(|word| !word.is_empty()) {
            let Some(wanted) = Wanted::parse(word).transpose().map_err(wrong)? else {
                list.add(word).map_err(wrong)?;
                continue;
            };
            match find(&wanted) {
                Ok(found) => list.add_found(found),
                Err(cause) => {
                    log_info!("{cause}");
                    causes.push(cause);
                }
            }
        }
        if !list.hosts.is_empty() {
            return Ok(list);
        }
        let source_name = source_name.to_owned();
        Err(match causes.is_empty() {
            true => HostListError::Empty { source_name },
            false => HostListError::NotFound { source_name, causes },
        })
    }

    fn add_found(&mut self, found: Vec<Host>) {
        for host in found {
            if !self.hosts.iter().any(|known| known.transport == host.transport) {
                self.hosts.push(host);
            }
        }
    }

    fn add(&mut self, word: &str) -> Result<(), SpecError> {
        // Beginnings, as in 3.4; the longer name must be tried first.
        let (setting, rest) = if word.starts_with("--randomize") {
            self.randomize = true;
            return Ok(());
        } else if let Some(rest) = word.strip_prefix("--localslots_cpp") {
            (&mut self.local_cpp_slots, rest)
        } else if let Some(rest) = word.strip_prefix("--localslots") {
            (&mut self.local_slots, rest)
        } else {
            self.hosts.push(spec::parse_word(word)?);
            return Ok(());
        };
        let limit =
            spec::take_limit(&mut &*rest).map_err(|fault| SpecError { word: word.to_owned(), fault })?;
        *setting = limit.unwrap_or(*setting);
        Ok(())
    }

    /// The sum of all hosts' slots, as `distcc -j` prints it. Hosts that are down count (as in 3.4), the
    /// limits for local work do not.
    pub fn total_slots(&self) -> u64 {
        self.hosts.iter().map(|host| u64::from(host.slots)).sum()
    }

    /// The hosts that may take a job now, in order: neither marked down nor backed off.
    pub fn usable(&self, backoff: &Backoff, now: std::time::SystemTime) -> Vec<&Host> {
        self.hosts.iter().filter(|host| !host.down && !backoff.is_backed_off(host, now)).collect()
    }

    /// Puts the hosts into an order that depends on `seed` only, each order being as likely as any other.
    pub fn shuffle(&mut self, seed: u64) {
        let mut state = seed;
        for last in (1..self.hosts.len()).rev() {
            self.hosts.swap(last, (split_mix(&mut state) % (last as u64 + 1)) as usize);
        }
    }
}

/// The blanks of C's `isspace`, which includes the vertical tab.
fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// The next number of the SplitMix64 generator: enough to shuffle, and good from any seed, even from small
/// ones such as process ids.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn words(text: &str) -> String {
        match HostList::parse(text, "list") {
            Ok(list) => list.hosts.iter().map(|host| host.word.as_str()).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_list_is_its_words_without_comments() {
        for (text, expected) in [
            ("localhost red green/2", "localhost red green/2"),
            ("a\r\nb/2 #c\r\n# d e\r\n\tf\r\n", "a b/2 f"),
            ("a#b\nc", "a c"),
            ("a\x0bb\x0cc", "a b c"),
            ("--randomize a --localslots=3 b --localslots_cpp/2", "a b"),
            ("--foo +zeroconfx", "--foo +zeroconfx"),
            ("", "list contained no hosts; can't distribute work"),
            ("# only\n--randomize --localslots=3", "list contained no hosts; can't distribute work"),
            ("a b/0 c", "list: host specification \"b/0\": bad multiplier \"/0\""),
            ("a --localslots=x", "list: host specification \"--localslots=x\": bad multiplier \"=x\""),
            ("a +zeroconf _distcc._tcp.b c", "a c"),
            ("+zeroconf", "list leads to no hosts: +zeroconf: not looked for"),
            (
                "_d._tcp.b,cpp",
                "list: host specification \"_d._tcp.b,cpp\": pump mode (',cpp') requires compression (',lzo')",
            ),
        ] {
            assert_eq!(words(text), expected, "{text:?}");
        }
    }

    #[test]
    fn hosts_that_are_found_take_their_words_places_once() {
        let found = |text: &str| zeroconf::parse(text);
        let list = HostList::parse_and_find("a +zeroconf b _d._tcp.x", "list", &mut |wanted| match wanted {
            Wanted::Zeroconf => Ok(found("red/2\na\n")),
            Wanted::Service(entry) => Ok(found(&format!("{}:99\nred\n", entry.name.len()))),
        });
        let words: Vec<String> = list.unwrap().hosts.into_iter().map(|host| host.word).collect();
        assert_eq!(words, ["a", "red/2", "b", "9:99"]);
    }

    #[test]
    fn local_limits_default_and_the_last_one_wins() {
        for (text, expected) in [
            ("h", (4, 8)),
            ("--localslots h --localslots_cpp", (4, 8)),
            ("--localslots=3 h", (3, 8)),
            ("--localslots/3x h --localslots=5", (5, 8)),
            ("h --localslots_cpp=20", (4, 20)),
            ("--localslots_cpp=20 --localslots=6 h", (6, 20)),
        ] {
            let list = HostList::parse(text, "list").unwrap();
            assert_eq!((list.local_slots, list.local_cpp_slots), expected, "{text}");
        }
    }

    #[test]
    fn total_slots_count_hosts_that_are_down() {
        let list = HostList::parse("localhost a b/10,down @c/3 --localslots=50", "list").unwrap();
        assert_eq!(list.total_slots(), 2 + 4 + 10 + 3);
    }

    #[test]
    fn a_shuffle_keeps_the_hosts_and_follows_the_seed() {
        let list = HostList::parse("--randomize a b c d e f", "list").unwrap();
        assert!(list.randomize);
        let shuffled = |seed| {
            let mut copy = list.clone();
            copy.shuffle(seed);
            copy.hosts.into_iter().map(|host| host.word).collect::<Vec<_>>()
        };
        assert_eq!(shuffled(7), shuffled(7));
        let mut first = std::collections::BTreeMap::<String, u32>::new();
        for seed in 0..6000 {
            let mut order = shuffled(seed);
            *first.entry(order[0].clone()).or_default() += 1;
            order.sort();
            assert_eq!(order, ["a", "b", "c", "d", "e", "f"]);
        }
        assert!(first.len() == 6 && first.values().all(|count| (800..1200).contains(count)), "{first:?}");
    }

    #[test]
    fn usable_hosts_are_neither_down_nor_backed_off() {
        let directory = crate::hosts::tests::TestDirectory::new("usable");
        let list = HostList::parse("a b,down c d", "list").unwrap();
        let backoff = Backoff::new(&directory, Duration::from_secs(60));
        backoff.mark(&list.hosts[2]).unwrap();
        let usable: Vec<_> =
            list.usable(&backoff, SystemTime::now()).into_iter().map(|host| &host.word).collect();
        assert_eq!(usable, ["a", "d"]);
    }

    #[test]
    fn the_variable_wins_even_if_empty_then_the_first_readable_file() {
        let directory = crate::hosts::tests::TestDirectory::new("find");
        let (user, system) = (directory.join("user"), directory.join("system"));
        let found = |variable| match find(variable, &[&user, &system]) {
            Ok(source) => format!("{}={}", source.name, source.text),
            Err(error) => error.to_string(),
        };
        assert_eq!(found(None), "no hostlist is set; can't distribute work");
        std::fs::write(&system, "s").unwrap();
        assert_eq!(found(None), format!("{}=s", system.display()));
        std::fs::write(&user, b"u\xff").unwrap();
        assert_eq!(found(None), format!("{}=u\u{fffd}", user.display()));
        assert_eq!(found(Some("")), "$DISTCC_HOSTS=");
        std::fs::write(&user, vec![b'a'; LIST_FILE_BYTES_MAX as usize + 1]).unwrap();
        assert_eq!(found(None), format!("{} is too large to load (more than 1048576 bytes)", user.display()));
        std::fs::remove_file(&user).unwrap();
        std::fs::create_dir(&user).unwrap();
        assert_eq!(found(None), format!("read {}: Is a directory (os error 21)", user.display()));
    }
}
