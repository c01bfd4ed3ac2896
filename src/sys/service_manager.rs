//! How a process talks to the service manager that started it: systemd's sd_notify(3) and sd_listen_fds(3).
//!
//! Knows the socket and the numbers of descriptors; not what is worth telling, nor the environment that names both.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The number of the first descriptor that is passed (SD_LISTEN_FDS_START).
const FIRST_DESCRIPTOR: i32 = 3;

/// The manager's socket, connected: it can be spoken to after its path is out of reach.
#[derive(Debug)]
pub struct Notifier(UnixDatagram);

impl Notifier {
    /// Connects to what NOTIFY_SOCKET names: a path, or `@` and a name that is in no directory.
    pub fn connect(address: &OsStr) -> io::Result<Notifier> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "want a path, or @ and a name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that does not read must not stop what it manages.
        socket.set_nonblocking(true)?;
        Ok(Notifier(socket))
    }

    /// Tells it something: `NAME=VALUE`, a line each.
    pub fn tell(&self, text: &str) -> io::Result<()> {
        self.0.send(text.as_bytes()).map(|_| ())
    }
}

/// Takes over so many descriptors from the first that is passed on; programs started later do not get them. `None` for
/// one that is not open.
///
/// Call it once, before this process has opened anything.
pub fn take_passed_descriptors(count: usize) -> Vec<Option<OwnedFd>> {
    let take = |index: usize| {
        let number = FIRST_DESCRIPTOR.checked_add(i32::try_from(index).ok()?)?;
        // SAFETY: fcntl takes numbers of any kind. What is open there was opened for this process, which has opened
        // nothing itself, so nobody else owns it.
        unsafe {
            (libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) >= 0).then(|| OwnedFd::from_raw_fd(number))
        }
    };
    (0..count).map(take).collect()
}

/// Now, as the manager counts (CLOCK_MONOTONIC), in microseconds.
pub fn monotonic_microseconds() -> u64 {
    // SAFETY: the structure is plain data, and writable for the call, which cannot fail with this clock.
    let now = unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now);
        now
    };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::time::Duration;

    #[test]
    fn what_is_told_arrives_by_path_and_by_abstract_name() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let path = dir.path().join("notify");
        let name = format!("distcc-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        for (manager, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.as_os_str()),
            (UnixDatagram::bind_addr(&abstract_address).unwrap(), OsStr::new(&format!("@{name}"))),
        ] {
            manager.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let notifier = Notifier::connect(address).unwrap();
            notifier.tell("READY=1\nSTATUS=x").unwrap();
            let mut buffer = [0; 64];
            let count = manager.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"READY=1\nSTATUS=x");
        }
    }

    #[test]
    fn a_manager_that_does_not_read_is_not_waited_for() {
        let name = format!("distcc-deaf-{}", std::process::id());
        let _manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notifier = Notifier::connect(OsStr::new(&format!("@{name}"))).unwrap();
        let refused = (0..100_000).find_map(|_| notifier.tell("WATCHDOG=1").err());
        assert_eq!(refused.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for address in ["", "relative", "vsock:2:1234", "/no/such/socket"] {
            assert!(Notifier::connect(OsStr::new(address)).is_err(), "{address}");
        }
    }
}
