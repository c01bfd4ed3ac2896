//! Names to addresses, within a time limit.
//!
//! A static program must not let its C library load the machine's resolver plug-ins (nsswitch.conf(5)): they need
//! another C library and crash it. Where `files` and `dns` are all that matters for a name, the library needs no plug-in
//! and is asked, in a short-lived copy of this process, because it has no deadline. Elsewhere getent(1) is asked, which
//! is the machine's own program. Addresses in numbers need none of this.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::fd::{AsFd, FromRawFd};
use std::path::Path;
use std::sync::Once;
use std::time::Instant;

use crate::sys::child::{Command, Environment, Group, Signal, candidates};
use crate::sys::net::{self, Ready, poll};
use crate::sys::signal;

/// Addresses of one name that are used; more only cost sockets.
pub const ADDRESSES_MAX: usize = 16;
/// Bytes a helper may send: getent prints three lines of up to a hundred bytes for each address.
const ANSWER_BYTES_MAX: usize = ADDRESSES_MAX * 300;
/// Which services of the machine resolve names.
const SERVICES_FILE: &str = "/etc/nsswitch.conf";
/// Where getent is.
const GETENT_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";
/// Plug-ins that know names of multicast DNS only, and pass on any other.
const MULTICAST_SERVICES: [&str; 3] = ["mdns_minimal", "mdns4_minimal", "mdns6_minimal"];
/// Where such names end.
const MULTICAST_DOMAIN: &str = ".local";

/// The addresses of a host, which is an address in numbers, one with a scope (`fe80::1%eth0`), or a name.
pub fn addresses(host: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Some(address) = in_numbers(host, port) {
        return Ok(vec![address]);
    }
    let answer = match way(&services(), host) {
        Way::Library(services) => ask_in_copy(host, &services, deadline)?,
        Way::Getent => ask_getent("ahosts", host, deadline)?,
    };
    read_addresses(&answer, port)
}

/// The same in a process of several threads, of which no copy can be made: the library, which has no deadline, may take
/// longer.
pub fn addresses_beside_threads(host: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Some(address) = in_numbers(host, port) {
        return Ok(vec![address]);
    }
    let answer = match way(&services(), host) {
        Way::Library(services) => {
            static HELD: Once = Once::new();
            HELD.call_once(|| hold_library_to(&services));
            ask_library(host)
        }
        Way::Getent => ask_getent("ahosts", host, deadline)?,
    };
    read_addresses(&answer, port)
}

/// Whether a process is started for each question after this name.
pub fn needs_helper(host: &str) -> bool {
    way(&services(), host) == Way::Getent
}

/// The full name of a host: what the machine's name services call a name, or an address in numbers. Whoever answers for
/// those services decides, and need not be honest.
pub fn full_name(host: &str, deadline: Instant) -> io::Result<String> {
    // Of an address, `hosts` prints the name; of a name, `ahosts` prints the full one behind its first address.
    let (database, column) = match host.parse::<IpAddr>() {
        Ok(_) => ("hosts", 1),
        Err(_) => ("ahosts", 2),
    };
    let answer = ask_getent(database, host, deadline)?;
    let name = answer.lines().next().and_then(|line| line.split_whitespace().nth(column));
    name.map(str::to_owned).ok_or_else(unknown)
}

/// The address that a host is, if it is one in numbers.
pub fn in_numbers(host: &str, port: u16) -> Option<SocketAddr> {
    let address = host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, port));
    address.or_else(|| scoped(host, port))
}

/// Reads either answer: the first word of a line is an address; getent repeats each for every kind of socket.
fn read_addresses(answer: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    for word in answer.lines().filter_map(|line| line.split_whitespace().next()) {
        if let Some(address) = in_numbers(word, port).filter(|address| !found.contains(address))
            && found.len() < ADDRESSES_MAX
        {
            found.push(address);
        }
    }
    match answer.trim() {
        _ if !found.is_empty() => Ok(found),
        "" => Err(unknown()),
        cause => Err(io::Error::new(io::ErrorKind::NotFound, cause.to_owned())),
    }
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the name is not known")
}

fn services() -> String {
    fs::read_to_string(SERVICES_FILE).unwrap_or_default()
}

/// How a name is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// By the library, which is first held to these services; to those of the machine if there are none.
    Library(String),
    /// By getent.
    Getent,
}

/// How a host's name is asked for on a machine with these services.
fn way(services: &str, host: &str) -> Way {
    let line = services.lines().find_map(|line| line.trim_start().strip_prefix("hosts:")).unwrap_or_default();
    let line = line.split('#').next().unwrap_or_default();
    let is_multicast = host.trim_end_matches('.').to_ascii_lowercase().ends_with(MULTICAST_DOMAIN);
    let mut kept: Vec<&str> = Vec::new();
    // Reactions such as [NOTFOUND=return] stand between the services, and go with the one before.
    let (mut in_reaction, mut dropping) = (false, false);
    for word in line.split_whitespace() {
        let is_reaction = in_reaction || word.starts_with('[');
        in_reaction = is_reaction && !word.ends_with(']');
        if !is_reaction {
            dropping = MULTICAST_SERVICES.contains(&word) && !is_multicast;
            if !dropping && !matches!(word, "files" | "dns") {
                return Way::Getent;
            }
        }
        if !dropping {
            kept.push(word);
        }
    }
    Way::Library(kept.join(" "))
}

// SAFETY: the declaration is that of the library, which exports it since 2.2.5 and in its static form.
unsafe extern "C" {
    /// glibc's: replaces what nsswitch.conf says for one kind of names.
    fn __nss_configure_lookup(kind: *const libc::c_char, services: *const libc::c_char) -> libc::c_int;
}

/// Keeps the library from loading a plug-in, whatever nsswitch.conf says.
fn hold_library_to(services: &str) {
    let Ok(services) = CString::new(services) else { return };
    if !services.is_empty() {
        // SAFETY: both strings are NUL-terminated; the library copies what it needs of them, under a lock of its own.
        unsafe { __nss_configure_lookup(c"hosts".as_ptr(), services.as_ptr()) };
    }
}

/// Asks the library: an address a line, or a cause.
fn ask_library(host: &str) -> String {
    match (host, 0).to_socket_addrs() {
        Ok(found) => found.take(ADDRESSES_MAX).map(|address| format!("{}\n", address.ip())).collect(),
        Err(error) => error.to_string(),
    }
}

fn ask_getent(database: &str, host: &str, deadline: Instant) -> io::Result<String> {
    let program = candidates("getent".as_ref(), GETENT_PATH.as_ref()).next().ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "getent, which resolves names here, is not installed")
    })?;
    let (mut reader, writer) = pipe()?;
    let argv = ["getent", database, "--", host].map(Into::into);
    let null = File::open("/dev/null")?;
    let child = Command {
        program: &program,
        argv: &argv,
        environment: &Environment::default(),
        directory: Some(Path::new("/")),
        stdio: [Some(null.as_fd()), Some(writer.as_fd()), None],
        group: Group::Own,
        walls: None,
    }
    .spawn()?;
    drop(writer);
    let answer = read_until(&mut reader, deadline);
    child.signal(Signal::Kill);
    child.wait()?;
    answer
}

fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: pipe2 fills both descriptors, which the files then own.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])))
    }
}

fn scoped(host: &str, port: u16) -> Option<SocketAddr> {
    let (address, scope) = host.split_once('%')?;
    let address = address.parse().ok()?;
    let index = scope.parse().ok().or_else(|| {
        let name = std::ffi::CString::new(scope).ok()?;
        // SAFETY: the name is NUL-terminated.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        (index != 0).then_some(index)
    })?;
    Some(SocketAddrV6::new(address, port, 0, index).into())
}

fn ask_in_copy(host: &str, services: &str, deadline: Instant) -> io::Result<String> {
    let (mut reader, mut writer) = pipe()?;
    // SAFETY: no preconditions.
    let original = unsafe { libc::getpid() };
    // A signal for both must not find the copy with our handlers: we alone clean up, and say so.
    let mask = signal::block_all();
    // SAFETY: this process has one thread when it resolves names (the client has only one by then, the daemon
    // resolves before it starts any), so the child may use the C library freely; it ends with `_exit`.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        let error = io::Error::last_os_error();
        signal::restore_mask(&mask);
        return Err(error);
    }
    if pid == 0 {
        drop(reader);
        // The original may be killed while a name server is silent. A signal that is for both is the original's matter.
        // SAFETY: plain calls in a process of one thread.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
            if libc::getppid() != original {
                libc::_exit(1);
            }
        }
        signal::forget_cleanup();
        signal::restore_mask(&mask);
        hold_library_to(services);
        let answer = ask_library(host);
        let _ = writer.write_all(answer.as_bytes());
        // SAFETY: ends the copy without running anything of the original's.
        unsafe { libc::_exit(0) };
    }
    signal::restore_mask(&mask);
    drop(writer);
    let answer = read_until(&mut reader, deadline);
    // SAFETY: the child is ours and not yet waited for, so the number cannot be another process.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
    answer
}

fn read_until(reader: &mut File, deadline: Instant) -> io::Result<String> {
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    while answer.len() < ANSWER_BYTES_MAX {
        if poll(&[(reader.as_fd(), Ready::Readable)], Some(deadline))?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the name was not resolved in time"));
        }
        match net::read(reader.as_fd(), &mut piece)? {
            0 => break,
            count => answer.extend_from_slice(&piece[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn resolve(host: &str) -> io::Result<Vec<SocketAddr>> {
        addresses(host, 3632, Instant::now() + Duration::from_secs(10))
    }

    #[test]
    fn numbers_need_no_resolver() {
        assert_eq!(resolve("127.0.0.1").unwrap(), ["127.0.0.1:3632".parse().unwrap()]);
        assert_eq!(resolve("::1").unwrap(), ["[::1]:3632".parse().unwrap()]);
        assert_eq!(resolve("fe80::1%7").unwrap()[0].to_string(), "[fe80::1%7]:3632");
    }

    #[test]
    fn names_are_looked_up() {
        assert!(resolve("localhost").unwrap().iter().all(|address| address.ip().is_loopback()));
        let deadline = Instant::now() + Duration::from_secs(10);
        assert_eq!(
            addresses_beside_threads("localhost", 3632, deadline).unwrap(),
            resolve("localhost").unwrap()
        );
    }

    #[test]
    fn getent_knows_the_same_names() {
        let deadline = Instant::now() + Duration::from_secs(10);
        assert!(ask_getent("ahosts", "localhost", deadline).unwrap().contains("STREAM"));
        assert_eq!(ask_getent("ahosts", "no-such-host.invalid", deadline).unwrap(), "");
        assert_eq!(ask_getent("ahosts", "--help", deadline).unwrap(), "");
    }

    #[test]
    fn the_library_is_asked_where_no_plugin_would_know_the_name() {
        let library = |services: &str| Way::Library(services.to_owned());
        let minimal = "hosts: files mdns4_minimal [NOTFOUND=return] dns";
        for (services, host, expected) in [
            ("hosts: files dns\n", "h", library("files dns")),
            ("passwd: files systemd\nhosts:\tfiles dns # mdns\n", "h", library("files dns")),
            ("", "h", library("")),
            ("hosts: files [NOTFOUND=return] dns", "h", library("files [NOTFOUND=return] dns")),
            ("hosts: files [ !UNAVAIL = return ] dns", "h", library("files [ !UNAVAIL = return ] dns")),
            (minimal, "h", library("files dns")),
            (minimal, "h.local.example.net", library("files dns")),
            (minimal, "h.LOCAL.", Way::Getent),
            ("hosts: files mdns_minimal [ NOTFOUND=return ] dns mdns", "h", Way::Getent),
            ("hosts: files resolve dns", "h", Way::Getent),
        ] {
            assert_eq!(way(services, host), expected, "{services} {host}");
        }
    }

    #[test]
    fn full_names_are_asked_for() {
        let deadline = Instant::now() + Duration::from_secs(10);
        for host in ["localhost", "127.0.0.1"] {
            assert_eq!(full_name(host, deadline).unwrap().split('.').next(), Some("localhost"), "{host}");
        }
        assert!(full_name("no-such-host.invalid", deadline).is_err());
    }

    #[test]
    fn an_unknown_name_is_an_error_with_a_cause() {
        let error = resolve("no-such-host.invalid").unwrap_err();
        assert!(!error.to_string().is_empty());
    }

    #[test]
    fn the_deadline_holds() {
        let error = addresses("no-such-host.invalid", 1, Instant::now()).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::NotFound));
    }
}
