//! Names to addresses, within a time limit.
//!
//! A static program must not let its C library load the machine's resolver plug-ins (nsswitch.conf(5)): they need
//! another C library and crash it. Where `files` and `dns` are all there is, the library needs no plug-in and is
//! asked, in a short-lived copy of this process, because it has no deadline. Elsewhere getent(1) is asked, which is
//! the machine's own program. Addresses in numbers need none of this.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::fd::{AsFd, FromRawFd};
use std::path::Path;
use std::time::Instant;

use crate::sys::child::{Command, Environment, Group, Signal, candidates};
use crate::sys::net::{self, Ready, poll};

/// Addresses of one name that are used; more only cost sockets.
const ADDRESSES_MAX: usize = 16;
/// Bytes a helper may send: getent prints three lines of up to a hundred bytes for each address.
const ANSWER_BYTES_MAX: usize = ADDRESSES_MAX * 300;
/// Which services of the machine resolve names.
const SERVICES_FILE: &str = "/etc/nsswitch.conf";
/// Where getent is.
const GETENT_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// The addresses of a host, which is an address in numbers, one with a scope (`fe80::1%eth0`), or a name.
pub fn addresses(host: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if let Some(address) = scoped(host, port) {
        return Ok(vec![address]);
    }
    let services = fs::read_to_string(SERVICES_FILE).unwrap_or_default();
    let answer =
        if needs_no_plugin(&services) { ask_in_copy(host, deadline)? } else { ask_getent(host, deadline)? };
    // The first word of a line is an address; getent repeats each for every kind of socket.
    let mut found = Vec::new();
    for word in answer.lines().filter_map(|line| line.split_whitespace().next()) {
        let address =
            word.parse().map(|address| SocketAddr::new(address, port)).ok().or_else(|| scoped(word, port));
        if let Some(address) = address.filter(|address| !found.contains(address))
            && found.len() < ADDRESSES_MAX
        {
            found.push(address);
        }
    }
    if found.is_empty() {
        let cause = answer.trim();
        let cause = if cause.is_empty() { "the name is not known" } else { cause };
        return Err(io::Error::new(io::ErrorKind::NotFound, cause.to_string()));
    }
    Ok(found)
}

/// Whether the machine resolves host names by nothing but `files` and `dns`.
fn needs_no_plugin(services: &str) -> bool {
    let Some(line) = services.lines().find_map(|line| line.trim_start().strip_prefix("hosts:")) else {
        return true;
    };
    let line = line.split('#').next().unwrap_or_default();
    // Reactions such as [NOTFOUND=return] stand between the services.
    let mut in_reaction = false;
    line.split_whitespace().all(|word| {
        let reaction = in_reaction || word.starts_with('[');
        in_reaction = reaction && !word.ends_with(']');
        reaction || matches!(word, "files" | "dns")
    })
}

fn ask_getent(host: &str, deadline: Instant) -> io::Result<String> {
    let program = candidates("getent".as_ref(), GETENT_PATH.as_ref()).next().ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "getent, which resolves names here, is not installed")
    })?;
    let (mut reader, writer) = pipe()?;
    let argv = ["getent", "ahosts", "--", host].map(Into::into);
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

fn ask_in_copy(host: &str, deadline: Instant) -> io::Result<String> {
    let (mut reader, mut writer) = pipe()?;
    // SAFETY: no preconditions.
    let original = unsafe { libc::getpid() };
    // SAFETY: this process has one thread when it resolves names (the client has only one by then, the daemon
    // resolves before it starts any), so the child may use the C library freely; it ends with `_exit`.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
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
        crate::sys::signal::forget_cleanup();
        let answer = match (host, 0).to_socket_addrs() {
            Ok(found) => found.take(ADDRESSES_MAX).map(|address| format!("{}\n", address.ip())).collect(),
            Err(error) => error.to_string(),
        };
        let _ = writer.write_all(answer.as_bytes());
        // SAFETY: ends the copy without running anything of the original's.
        unsafe { libc::_exit(0) };
    }
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
    }

    #[test]
    fn getent_knows_the_same_names() {
        let deadline = Instant::now() + Duration::from_secs(10);
        assert!(ask_getent("localhost", deadline).unwrap().contains("STREAM"));
        assert_eq!(ask_getent("no-such-host.invalid", deadline).unwrap(), "");
        assert_eq!(ask_getent("--help", deadline).unwrap(), "");
    }

    #[test]
    fn plugins_are_recognised() {
        for (services, expected) in [
            ("hosts: files dns\n", true),
            ("passwd: files systemd\nhosts:\tfiles dns # mdns\n", true),
            ("", true),
            ("hosts: files [NOTFOUND=return] dns", true),
            ("hosts: files [ !UNAVAIL = return ] dns", true),
            ("hosts: files mdns4_minimal [NOTFOUND=return] dns", false),
            ("hosts: files resolve dns", false),
        ] {
            assert_eq!(needs_no_plugin(services), expected, "{services}");
        }
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
