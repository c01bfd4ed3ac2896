//! The process that keeps a user's list of servers in the local network, by multicast DNS: one for each user and machine.
//!
//! The first client that meets `+zeroconf` starts it, and it ends when no client has read the list for a while. Knows no
//! client; what the files are is said in [`crate::hosts::zeroconf`].

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Seek, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mdns_sd::{IfKind, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent};

use crate::hosts::name_hash;
use crate::hosts::zeroconf::{FILE_BYTES_MAX, HOSTS, LOCK, PROGRAM};
use crate::protocol::announcement::{Announcement, SERVICE_TYPE};
use crate::sys::answer::first_word;
use crate::sys::appetite::Appetite;
use crate::sys::child::Environment;
use crate::sys::landlock::{self, Place, Ruleset};
use crate::sys::lock::{LockFile, WritersTurn};
use crate::sys::seccomp::{Audience, Filter};
use crate::sys::watch::CloseWatch;
use crate::sys::{heap, open, process};
use crate::{log_info, log_warning};

/// How long nobody needs to read the list until the process ends: longer than the pauses of a person who works.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(600);
/// How often that is looked after; and whether the directory still exists.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// After so long without any server the first answer is that there is none. Below what clients wait.
const NOTHING_AFTER: Duration = Duration::from_millis(1200);
/// How long the network must be silent before an answer is written down: servers answer at about the same time.
const SETTLE_TIME: Duration = Duration::from_millis(120);
/// The longest an answer is held back because more servers appear.
const SETTLE_TIME_MAX: Duration = Duration::from_millis(600);
/// The list's mode, which the umask restricts.
const FILE_MODE: u32 = 0o666;
/// Most servers that are kept: whoever pretends to be more fills nothing but his own part of the list.
const SERVERS_MAX: usize = 1024;
/// How long the compiler may take to say what it is.
const COMPILER_TIME_MAX: Duration = Duration::from_millis(500);
/// How often another process may hold the lock for a moment, only to see whether it is held: clients of 3.4 do.
const LOCK_ATTEMPTS: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A server that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    said: Announcement,
    word: String,
    /// It is on this machine, which has enough to do with preprocessing.
    is_own: bool,
}

/// What is known of the network.
#[derive(Debug, Default)]
struct Servers {
    /// By the full name of the service.
    known: BTreeMap<String, Server>,
    /// The compiler whose servers are wanted: `cc -dumpmachine` and `cc -dumpversion`; empty if unknown.
    machine: String,
    version: String,
    /// Differs between machines, so that not all prefer the same server.
    taste: String,
}

/// Keeps the list in `directory` until nobody wants it. `answered` is called once: there is an answer, or another
/// process is at it. The error is for the log.
pub fn run(
    directory: &Path,
    idle: Duration,
    search_path: &OsStr,
    answered: impl FnOnce(),
) -> Result<(), String> {
    let failed = |error: io::Error| format!("{PROGRAM}: {}: {error}", directory.display());
    let lock = LockFile::open(&directory.join(LOCK)).map_err(failed)?;
    if !take(&lock).map_err(failed)? {
        answered();
        return Ok(());
    }
    let mut list = List::open(directory).map_err(failed)?;
    let [machine, version] =
        ["-dumpmachine", "-dumpversion"].map(|question| compiler_says(question, search_path));
    heap::return_what_is_freed();
    let appetite = Appetite::bounded().map_err(failed)?;
    confine(directory);
    let taste = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let servers = Servers { machine, version, taste, ..Servers::default() };
    let cannot = |error: mdns_sd::Error| io::Error::other(format!("multicast DNS: {error}"));
    let mut network = Network::listen().map_err(cannot).map_err(failed)?;
    let anew = |network: &mut Network| {
        if appetite.is_over() {
            log_warning!("{PROGRAM}: somebody floods multicast DNS: beginning anew");
            network.leave();
            *network = Network::listen().map_err(cannot)?;
            return Ok(true);
        }
        Ok(false)
    };
    let result = keep(&mut list, servers, &mut network, anew, idle, answered);
    // Who comes now is to find no list, or why there is none, and nobody who keeps it.
    let _ = list.write(&result.as_ref().err().map(|error| format!("# {error}\n")).unwrap_or_default());
    drop(lock);
    network.leave();
    result.map_err(failed)
}

/// The library's thread, which keeps every record that anybody in the network sends, and what it has to say of them.
struct Network {
    library: ServiceDaemon,
    events: Receiver<ServiceEvent>,
}

impl Network {
    fn listen() -> Result<Network, mdns_sd::Error> {
        let library = ServiceDaemon::new()?;
        library.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        let events = library.browse(SERVICE_TYPE)?;
        Ok(Network { library, events })
    }

    fn leave(&self) {
        if let Ok(ended) = self.library.shutdown() {
            let _ = ended.recv_timeout(SETTLE_TIME_MAX);
        }
    }
}

/// What `cc` answers to a question: servers are known by it. Empty if it does not.
fn compiler_says(question: &str, search_path: &OsStr) -> String {
    let mut environment = Environment::inherited();
    // What stands for a compiler on the path, and is the client, is to find the real one.
    environment.set("_DISTCC_SAFEGUARD", "1".as_ref());
    first_word("cc", question, search_path, &environment, COMPILER_TIME_MAX).unwrap_or_default()
}

fn take(lock: &LockFile) -> io::Result<bool> {
    for _ in 0..LOCK_ATTEMPTS {
        if lock.try_lock()? {
            return Ok(true);
        }
        thread::sleep(LOCK_PAUSE);
    }
    Ok(false)
}

/// Writes down what changes, until the list is unused. `anew` says whether the network was forgotten, and is met again.
fn keep(
    list: &mut List,
    mut servers: Servers,
    network: &mut Network,
    mut anew: impl FnMut(&mut Network) -> io::Result<bool>,
    idle: Duration,
    answered: impl FnOnce(),
) -> io::Result<()> {
    let began = Instant::now();
    let (mut used_at, mut looked_at) = (began, began);
    let mut answered = Some(answered);
    let mut changed_at: Option<Instant> = None;
    loop {
        let wait = match (changed_at, &answered) {
            (Some(_), _) => SETTLE_TIME,
            (None, Some(_)) => (began + NOTHING_AFTER).saturating_duration_since(Instant::now()),
            (None, None) => LOOK_INTERVAL,
        };
        let is_quiet = match network.events.recv_timeout(wait) {
            Ok(event) => {
                if servers.take(event) {
                    changed_at.get_or_insert_with(Instant::now);
                }
                false
            }
            Err(_) if network.events.is_disconnected() => {
                return Err(io::Error::other("multicast DNS has ended"));
            }
            Err(_) => true,
        };
        let is_due = match changed_at {
            Some(time) => is_quiet || time.elapsed() >= SETTLE_TIME_MAX,
            None => answered.is_some() && began.elapsed() >= NOTHING_AFTER,
        };
        if is_due {
            list.write(&servers.text())?;
            changed_at = None;
            if let Some(answered) = answered.take() {
                answered();
            }
        }
        if looked_at.elapsed() >= LOOK_INTERVAL {
            looked_at = Instant::now();
            if list.was_read()? {
                used_at = looked_at;
            }
            if used_at.elapsed() >= idle || !list.exists() {
                return Ok(());
            }
            // Those who are still there answer again; the list stays as it is until one does.
            if anew(network)? {
                servers.known.clear();
            }
        }
    }
}

impl Servers {
    /// Whether an event changes the list.
    fn take(&mut self, event: ServiceEvent) -> bool {
        match event {
            ServiceEvent::ServiceResolved(found) => {
                let name = found.get_fullname().to_owned();
                if self.known.len() >= SERVERS_MAX && !self.known.contains_key(&name) {
                    return false;
                }
                match server(&found) {
                    Some(server) => self.known.insert(name, server.clone()) != Some(server),
                    None => self.known.remove(&name).is_some(),
                }
            }
            ServiceEvent::ServiceRemoved(_, name) => self.known.remove(&name).is_some(),
            _ => false,
        }
    }

    /// The file's text: this machine last, the others in an order of this machine's own; never empty.
    fn text(&self) -> String {
        let fits = |server: &&Server| server.said.has_compiler(&self.machine, &self.version);
        let mut fitting: Vec<&Server> = self.known.values().filter(fits).collect();
        fitting.sort_by_key(|server| {
            let order = name_hash::of_parts([self.taste.as_bytes(), server.word.as_bytes()]);
            (server.is_own, order, server.word.clone())
        });
        fitting.dedup_by(|one, other| one.word == other.word);
        let mut text = String::new();
        for server in &fitting {
            // What readers would not read to its end is left out as a whole.
            if text.len() + server.word.len() < FILE_BYTES_MAX as usize / 2 {
                text.push_str(&server.word);
                text.push('\n');
            }
        }
        if fitting.is_empty() {
            text = match self.known.len() {
                0 => "# no server has answered\n".to_owned(),
                count => format!(
                    "# {count} answered, none with our compiler (cc {} for {})\n",
                    plain(&self.version),
                    plain(&self.machine)
                ),
            };
        }
        text
    }
}

/// A text of few and harmless characters.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || "._-+".contains(*c)).take(100).collect()
}

/// What a service is as a server; none if it has no address.
fn server(found: &ResolvedService) -> Option<Server> {
    let said = Announcement::read(|key| found.get_property_val_str(key));
    if found.get_port() == 0 {
        return None;
    }
    let (address, scope) = found
        .get_addresses()
        .iter()
        .filter_map(usable)
        .min_by_key(|(address, scope)| (preference(*address), *address, scope.clone()))?;
    let word = said.host_word(address, scope.as_ref().map(|(name, _)| name.as_str()), found.get_port());
    let index = scope.map_or(0, |(_, index)| index);
    Some(Server { said, word, is_own: is_own(address, index) })
}

type Scope = Option<(String, u32)>;

/// An address that can be connected to, with its interface where it needs one.
fn usable(address: &ScopedIp) -> Option<(IpAddr, Scope)> {
    match address {
        ScopedIp::V6(scoped) if scoped.addr().is_unicast_link_local() => {
            let scope = scoped.scope_id();
            (!scope.name.is_empty() && plain(&scope.name) == scope.name)
                .then(|| (IpAddr::V6(*scoped.addr()), Some((scope.name.clone(), scope.index))))
        }
        other => {
            // An IPv4 address may come in the clothes of IPv6: ::ffff:127.0.0.1 leads to this machine, too.
            let address = other.to_ip_addr().to_canonical();
            let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
            (!address.is_unspecified() && !address.is_multicast() && !address.is_loopback() && !is_broadcast)
                .then_some((address, None))
        }
    }
}

/// Lower is better: what is most likely to be reachable.
fn preference(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) if !address.is_link_local() => 0,
        IpAddr::V6(address) if !address.is_unicast_link_local() => 1,
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 3,
    }
}

/// Whether an address is this machine's: one can listen there.
fn is_own(address: IpAddr, scope: u32) -> bool {
    let address = match address {
        IpAddr::V4(_) => SocketAddr::new(address, 0),
        IpAddr::V6(address) => {
            SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(address.octets()), 0, 0, scope))
        }
    };
    UdpSocket::bind(address).is_ok()
}

/// The file of hosts, and who reads it.
#[derive(Debug)]
struct List {
    path: PathBuf,
    readers: Option<CloseWatch>,
    /// Where readers cannot be watched.
    accessed: Option<SystemTime>,
}

impl List {
    /// Makes the file anew: until there is an answer it says nothing.
    fn open(directory: &Path) -> io::Result<List> {
        let readers = CloseWatch::of_readers(directory);
        if let Err(error) = &readers {
            log_info!("{PROGRAM}: watch {}: {error}", directory.display());
        }
        let path = directory.join(HOSTS);
        // Where others may write to the directory, what is there may be a way to another file.
        open::anew(&path, FILE_MODE)?;
        Ok(List { path, readers: readers.ok(), accessed: None })
    }

    /// Replaces the text, in its place, as readers of 3.4 expect.
    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut file = open::itself(&self.path, FILE_MODE)?;
        // Given up with the first descriptor of the file that is closed, so after all is written.
        let _turn = WritersTurn::wait(OwnedFd::from(file.try_clone()?));
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }

    /// Whether anybody has read the file since the last question.
    fn was_read(&mut self) -> io::Result<bool> {
        if let Some(readers) = &self.readers {
            let closed = readers.drain()?;
            return Ok(closed.incomplete || closed.names.iter().any(|name| name == HOSTS));
        }
        let accessed = fs::metadata(&self.path).and_then(|metadata| metadata.accessed()).ok();
        Ok(std::mem::replace(&mut self.accessed, accessed) != accessed)
    }

    fn exists(&self) -> bool {
        self.path.exists()
    }
}

/// Gives up other files, programs and TCP for good, before the thread that listens is started.
fn confine(directory: &Path) {
    let restrained = process::gain_no_privileges()
        .and_then(|()| match landlock::version() {
            0 => Ok(()),
            _ => {
                let places = Place::all_of([directory])?;
                let system = Place::all_of([Path::new("/proc/sys/kernel")])?;
                Ruleset::for_program(&system, &places, []).and_then(|rules| rules.apply())
            }
        })
        .and_then(
            |()| if Filter::is_available() { Filter::new(Audience::Messenger).apply() } else { Ok(()) },
        );
    if let Err(error) = restrained {
        log_warning!("restrain {PROGRAM}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::tests::TestDirectory;

    fn server(word: &str, version: &str, is_own: bool) -> Server {
        let said = Announcement { compiler_version: version.into(), ..Announcement::default() };
        Server { said, word: word.into(), is_own }
    }

    fn servers(taste: &str, known: &[(&str, &str, bool)]) -> Servers {
        let known = known
            .iter()
            .map(|(word, version, is_own)| (format!("distcc@{word}"), server(word, version, *is_own)))
            .collect();
        Servers { known, machine: "m".into(), version: "12".into(), taste: taste.into() }
    }

    #[test]
    fn the_list_has_servers_with_our_compiler_and_this_machine_last() {
        let known =
            [("a:1/4", "12", true), ("b:1/4", "13", false), ("c:1/4", "12", false), ("d:1/4", "", false)];
        let text = servers("", &known).text();
        let mut lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.pop(), Some("a:1/4"));
        lines.sort();
        assert_eq!(lines, ["c:1/4", "d:1/4"]);
    }

    #[test]
    fn machines_differ_in_which_server_they_prefer() {
        let known: Vec<_> = ["a", "b", "c", "d"].map(|word| (word, "12", false)).to_vec();
        let first = |taste: &str| servers(taste, &known).text().lines().next().unwrap().to_owned();
        let firsts: std::collections::BTreeSet<String> =
            (0..20).map(|number| first(&format!("host{number}"))).collect();
        assert!(firsts.len() > 1, "{firsts:?}");
        assert_eq!(first("host1"), first("host1"));
    }

    #[test]
    fn an_empty_list_says_why() {
        assert_eq!(servers("", &[]).text(), "# no server has answered\n");
        let text = servers("", &[("b", "13", false)]).text();
        assert_eq!(text, "# 1 answered, none with our compiler (cc 12 for m)\n");
    }

    #[test]
    fn readers_are_noticed_and_writers_are_not() {
        let directory = TestDirectory::new("browser");
        let mut list = List::open(&directory).unwrap();
        list.write("10.0.0.1:3632/4\n").unwrap();
        assert!(!list.was_read().unwrap());
        assert_eq!(fs::read_to_string(&list.path).unwrap(), "10.0.0.1:3632/4\n");
        assert!(list.was_read().unwrap());
        assert!(!list.was_read().unwrap());
        list.write("x\n").unwrap();
        assert_eq!(fs::read_to_string(&list.path).unwrap(), "x\n");
    }

    #[test]
    fn a_link_in_the_lists_place_leads_to_no_other_file() {
        let directory = TestDirectory::new("browser_link");
        let victim = directory.join("victim");
        fs::write(&victim, "precious").unwrap();
        let hard_link = |from: &Path, to: &Path| fs::hard_link(from, to);
        let link = |from: &Path, to: &Path| std::os::unix::fs::symlink(from, to);
        for make in [link as fn(&Path, &Path) -> io::Result<()>, hard_link] {
            let place = directory.join(HOSTS);
            make(&victim, &place).unwrap();
            let mut list = List::open(&directory).unwrap();
            list.write("10.0.0.1\n").unwrap();
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
            fs::remove_file(&list.path).unwrap();
            std::os::unix::fs::symlink(&victim, &list.path).unwrap();
            assert!(list.write("10.0.0.1\n").is_err());
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
            fs::remove_file(&list.path).unwrap();
        }
    }

    #[test]
    fn nobody_announces_what_listens_on_this_machine_for_itself() {
        for (address, is_usable) in [
            ("192.0.2.7", true),
            ("2001:db8::7", true),
            ("::ffff:192.0.2.7", true),
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("0.0.0.0", false),
            ("::ffff:0.0.0.0", false),
            ("::", false),
            ("224.0.0.251", false),
            ("::ffff:224.0.0.251", false),
            ("ff02::fb", false),
            ("255.255.255.255", false),
        ] {
            let found = usable(&ScopedIp::from(address.parse::<IpAddr>().unwrap()));
            assert_eq!(found.is_some(), is_usable, "{address}: {found:?}");
        }
    }

    #[test]
    fn this_machines_addresses_are_known() {
        assert!(is_own("127.0.0.1".parse().unwrap(), 0));
        assert!(!is_own("192.0.2.1".parse().unwrap(), 0));
    }
}
