//! The process that announces a server by multicast DNS (`--zeroconf`): how the daemon starts and ends it, and what it
//! does.
//!
//! The daemon itself leaves the network soon after it has started, so this is another process, which does nothing else:
//! it may open no file, run no program and make no TCP connection. Its standard input is a pipe from the daemon. When that ends, however
//! the daemon ended, it takes the announcement back (a goodbye, RFC 6762, 10.1) and is gone.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mdns_sd::{DaemonEvent, IfKind, ServiceDaemon, ServiceInfo};

use crate::daemon::manager;
use crate::protocol::announcement::{Announcement, SERVICE_TYPE, subtype};
use crate::sys::answer::first_word;
use crate::sys::appetite::Appetite;
use crate::sys::child::{Child, Command, Environment, Group, Signal, candidates};
use crate::sys::landlock::{self, Ruleset};
use crate::sys::net::{self, Ready};
use crate::sys::seccomp::{Audience, Filter};
use crate::sys::{heap, process, signal};
use crate::toolchain::installed::is_trustworthy;
use crate::{log_error, log_info, log_notice, log_warning};

/// The name the process has.
pub const PROGRAM: &str = "distccd-announcer";
/// The last argument of one whose messages go to the system's log.
pub const TO_SYSLOG: &str = "syslog";
/// Longest name of a service or host, in bytes: one label, with room for what a collision adds.
const NAME_BYTES_MAX: usize = 50;
/// How long the compiler may take to say what it is.
const COMPILER_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a goodbye may take.
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(1);
/// How often the process looks at how much memory it has: the library keeps every record that anybody in the network
/// sends, for as long as it says.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The announcer of a daemon. Dropped, it takes the announcement back and ends.
#[derive(Debug)]
pub struct Announcer {
    child: Child,
    /// What it hears the daemon's end by.
    pipe: Option<UnixStream>,
}

/// What is announced, as far as the daemon decides it.
#[derive(Clone, Debug)]
pub struct Service {
    /// Compilers at once.
    pub jobs: usize,
    /// Where clients can reach the server.
    pub addresses: Vec<SocketAddr>,
    /// Where compilers are looked for.
    pub search_path: OsString,
}

impl Announcer {
    /// Starts it; its messages go to `log`, or to the system's log. The error is for the log.
    pub fn start(service: &Service, log: Option<OwnedFd>) -> Result<Announcer, String> {
        let mut argv = vec![OsString::from(PROGRAM)];
        argv.extend(words(service)?.into_iter().map(OsString::from));
        if log.is_none() {
            argv.push(TO_SYSLOG.into());
        }
        let cannot = |error: io::Error| format!("start the announcer: {error}");
        let (ours, its) = net::pair().map_err(cannot)?;
        let null = File::options().write(true).open("/dev/null").map_err(cannot)?;
        let child = Command {
            // We are that program, too.
            program: Path::new("/proc/self/exe"),
            argv: &argv,
            environment: &Environment::default(),
            directory: Some(Path::new("/")),
            stdio: [
                Some(its.as_fd()),
                Some(null.as_fd()),
                Some(log.as_ref().map_or(null.as_fd(), AsFd::as_fd)),
            ],
            group: Group::Own,
            walls: None,
        }
        .spawn()
        .map_err(cannot)?;
        Ok(Announcer { child, pipe: Some(ours) })
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.pipe = None;
        // Where it ends by itself, the network knows that the server is gone before whoever waits for us does.
        if let Ok(None) = self.child.wait_until(Instant::now() + GOODBYE_TIME_MAX) {
            self.child.signal(Signal::Kill);
            let _ = self.child.wait();
        }
    }
}

/// The arguments: the port, the addresses (`*` for all, `*4` for all of IPv4), the compiler, slots and processors.
fn words(service: &Service) -> Result<Vec<String>, String> {
    let all_are = |is_so: fn(&IpAddr) -> bool| service.addresses.iter().all(|address| is_so(&address.ip()));
    if all_are(IpAddr::is_loopback) {
        return Err("--zeroconf: this server listens on the loopback only, where nobody else can reach it; it is not \
                    announced"
            .to_owned());
    }
    let port = service.addresses.first().map_or(0, SocketAddr::port);
    let everywhere = service.addresses.iter().find(|address| address.ip().is_unspecified());
    let addresses = match everywhere {
        Some(SocketAddr::V6(_)) => "*".to_owned(),
        Some(SocketAddr::V4(_)) => "*4".to_owned(),
        None => {
            let heard = service.addresses.iter().map(SocketAddr::ip).filter(|address| !address.is_loopback());
            heard.map(|address| address.to_string()).collect::<Vec<_>>().join(",")
        }
    };
    let machine = compiler_says("-dumpmachine", &service.search_path);
    let version = compiler_says("-dumpversion", &service.search_path);
    let slots = service.jobs.to_string();
    Ok(vec![port.to_string(), addresses, machine, version, slots, process::processors_online().to_string()])
}

/// What `cc` answers to a question: 3.4 knows servers by it. Empty if it does not.
fn compiler_says(question: &str, search_path: &OsStr) -> String {
    let mut environment = Environment::inherited();
    manager::hide_from_compilers(&mut environment);
    environment.set("PATH", search_path);
    // What stands for a compiler on the path, and is the client, is to find the real one.
    environment.set("_DISTCC_SAFEGUARD", "1".as_ref());
    // It runs as this server, outside the walls that compilers have for jobs.
    let answer = match candidates("cc".as_ref(), search_path).next() {
        Some(cc) if !is_trustworthy(&cc) => {
            Err(io::Error::other(format!("everybody may change {}, or its directory", cc.display())))
        }
        _ => first_word("cc", question, search_path, &environment, COMPILER_TIME_MAX),
    };
    answer.unwrap_or_else(|error| {
        log_warning!("--zeroconf: cc {question}: {error}; clients of 3.4 may not find this server");
        String::new()
    })
}

/// The announcer's own life: its arguments without the name. Ends when standard input does; the error is for the log.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let [port, addresses, machine, version, slots, processors] = arguments else {
        return Err(format!("{PROGRAM}: this is a part of distccd, which starts it for --zeroconf"));
    };
    // A signal to all of the daemon's processes must not come before the goodbye.
    let _kept = signal::block_all();
    let number = |text: &String| text.parse::<u32>().map_err(|error| format!("{PROGRAM}: {text}: {error}"));
    let said = Announcement {
        processors: number(processors)?,
        slots: number(slots)?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        built_for: format!("{}-linux-gnu", std::env::consts::ARCH),
        compiler_version: version.clone(),
        compiler_machine: machine.clone(),
        compress: true,
        pump: true,
    };
    let host = host_name();
    let port = u16::try_from(number(port)?).map_err(|error| format!("{PROGRAM}: port {port}: {error}"))?;
    let info = info(&said, &host, addresses, port)?;
    heap::return_what_is_freed();
    let appetite = Appetite::bounded().map_err(|error| format!("{PROGRAM}: bound its memory: {error}"))?;
    confine();
    let mut network = join(&info)?;
    while !input_ends_within(LOOK_INTERVAL) {
        if appetite.is_over() {
            log_warning!("somebody floods multicast DNS: forgetting what was said, and announcing again");
            leave(&network, &info);
            network = join(&info)?;
        }
    }
    log_info!("the announcement is taken back");
    leave(&network, &info);
    Ok(())
}

/// Announces the service.
fn join(info: &ServiceInfo) -> Result<ServiceDaemon, String> {
    let cannot = |error: mdns_sd::Error| format!("multicast DNS: {error}");
    let network = ServiceDaemon::new().map_err(cannot)?;
    network.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6]).map_err(cannot)?;
    let events = network.monitor().map_err(cannot)?;
    network.register(info.clone()).map_err(cannot)?;
    // It ends with the channel.
    thread::spawn(move || {
        while let Ok(event) = events.recv() {
            report(&event);
        }
    });
    Ok(network)
}

/// Takes the announcement back.
fn leave(network: &ServiceDaemon, info: &ServiceInfo) {
    if let Ok(answer) = network.unregister(info.get_fullname()) {
        let _ = answer.recv_timeout(GOODBYE_TIME_MAX / 2);
    }
    if let Ok(answer) = network.shutdown() {
        let _ = answer.recv_timeout(GOODBYE_TIME_MAX / 2);
    }
}

fn info(said: &Announcement, host: &str, addresses: &str, port: u16) -> Result<ServiceInfo, String> {
    let kind = match subtype(&said.compiler_machine, &said.compiler_version) {
        Some(subtype) => format!("{subtype}._sub.{SERVICE_TYPE}"),
        None => SERVICE_TYPE.to_owned(),
    };
    // A host name of our own: that of the machine belongs to its own responder, with whom we are not to quarrel, and
    // the goodbye of one server must not take along the address of another.
    let own_host = format!("{}-{port}-distcc.local.", label(host));
    let (is_automatic, given) =
        (addresses.starts_with('*'), if addresses.starts_with('*') { "" } else { addresses });
    let name = format!("distcc@{}", cut(host));
    let pairs = said.pairs();
    let made = ServiceInfo::new(&kind, &name, &own_host, given, port, pairs.as_slice());
    let mut info = made.map_err(|error| format!("announce {name}: {error}"))?;
    if is_automatic {
        info = info.enable_addr_auto();
    }
    if addresses == "*4" {
        info.set_interfaces(vec![IfKind::IPv4]);
    }
    Ok(info)
}

fn report(event: &DaemonEvent) {
    match event {
        DaemonEvent::Announce(name, addresses) => log_notice!("announced as {name} {addresses}"),
        DaemonEvent::NameChange(change) => {
            log_notice!("{} is taken on {}: now {}", change.original, change.intf_name, change.new_name);
        }
        DaemonEvent::Error(error) => log_warning!("multicast DNS: {error}"),
        DaemonEvent::IpAdd(address) => log_info!("a new address: {address}"),
        DaemonEvent::IpDel(address) => log_info!("an address is gone: {address}"),
        _ => {}
    }
}

/// Gives up files, programs and TCP for good, before the thread that listens is started. What the kernel cannot do is
/// logged.
fn confine() {
    let restrained = process::gain_no_privileges()
        .and_then(|()| match landlock::version() {
            0 => Ok(()),
            _ => Ruleset::for_program([], [], []).and_then(|rules| rules.apply()),
        })
        .and_then(
            |()| if Filter::is_available() { Filter::new(Audience::Messenger).apply() } else { Ok(()) },
        );
    if let Err(error) = restrained {
        log_warning!("restrain the announcer: {error}");
    }
}

/// Whether standard input ends before so much time has passed.
fn input_ends_within(time: Duration) -> bool {
    let input = io::stdin();
    match net::poll(&[(input.as_fd(), Ready::Readable)], Some(Instant::now() + time)) {
        Ok(ready) if ready.is_empty() => return false,
        Ok(_) => {}
        Err(error) => {
            log_error!("wait for the server's end: {error}");
            return true;
        }
    }
    match input.lock().read(&mut [0]) {
        Ok(0) => true,
        Err(error) if error.kind() != io::ErrorKind::Interrupted => {
            log_error!("hear of the server's end: {error}");
            true
        }
        _ => false,
    }
}

/// This machine's name.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// The first label of a host's name, of characters that host names have.
fn label(host: &str) -> String {
    let first = host.split('.').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    cut(&first.chars().map(plain).collect::<String>()).to_owned()
}

fn cut(name: &str) -> &str {
    let end =
        name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= NAME_BYTES_MAX).last();
    &name[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;

    fn words_for(addresses: &[&str]) -> Result<Vec<String>, String> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        words(&Service { jobs: 6, addresses, search_path: "/nonexistent".into() })
    }

    #[test]
    fn the_real_port_is_announced_for_the_addresses_that_are_listened_on() {
        for (addresses, expected) in [
            (&["[::]:3632"][..], ["3632", "*"]),
            (&["0.0.0.0:40001"], ["40001", "*4"]),
            (&["192.168.1.5:3632"], ["3632", "192.168.1.5"]),
            (&["127.0.0.1:3632", "192.168.1.5:3632", "[fd00::5]:3632"], ["3632", "192.168.1.5,fd00::5"]),
        ] {
            assert_eq!(words_for(addresses).unwrap()[..2], expected, "{addresses:?}");
        }
    }

    #[test]
    fn nothing_is_announced_that_only_this_machine_could_reach() {
        let said = words_for(&["127.0.0.1:3632", "[::1]:3632"]).unwrap_err();
        assert!(said.contains("loopback"), "{said}");
    }

    #[test]
    fn a_compiler_that_everybody_can_change_is_not_asked_outside_the_walls() {
        use std::os::unix::fs::PermissionsExt;
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let cc = dir.path().join("cc");
        fs::write(&cc, "#!/bin/sh\necho said\n").unwrap();
        for (mode, expected) in [(0o755, "said"), (0o777, "")] {
            fs::set_permissions(&cc, fs::Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(compiler_says("-dumpmachine", dir.path().as_os_str()), expected, "{mode:o}");
        }
    }

    #[test]
    fn the_service_has_names_that_fit() {
        let said = Announcement::read(|_| None);
        let long = "a-very-long-host-name".repeat(9);
        for host in ["red", "red.example.net", "Größe", &long] {
            let info = info(&said, host, "*", 3632).unwrap();
            assert!(info.get_fullname().starts_with("distcc@"), "{}", info.get_fullname());
            assert!(info.get_hostname().split('.').all(|label| label.len() <= 63), "{}", info.get_hostname());
        }
    }
}
