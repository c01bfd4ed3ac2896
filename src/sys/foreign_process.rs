//! A process that is not our child, known by its number: signal it and wait for its end, without ever meaning another
//! process that got the number meanwhile (pidfd_open(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::child::Signal;
use crate::sys::net::{self, Ready};

/// How often a kernel that cannot announce a process's end (before Linux 5.3) is asked for it.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// A process somebody else has started.
#[derive(Debug)]
pub struct ForeignProcess {
    pid: i32,
    /// None on a kernel without it.
    descriptor: Option<OwnedFd>,
}

impl ForeignProcess {
    /// Takes hold of a process; none if there is no such process.
    pub fn open(pid: i32) -> Option<ForeignProcess> {
        if pid <= 0 {
            return None;
        }
        // SAFETY: the call has no memory preconditions; the descriptor is new and owned by the OwnedFd.
        let descriptor = unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
            if fd >= 0 { Ok(OwnedFd::from_raw_fd(fd as i32)) } else { Err(io::Error::last_os_error()) }
        };
        match descriptor {
            Ok(descriptor) => Some(ForeignProcess { pid, descriptor: Some(descriptor) }),
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                let process = ForeignProcess { pid, descriptor: None };
                process.exists().then_some(process)
            }
            Err(_) => None,
        }
    }

    /// Signals it. One that has ended needs none.
    pub fn signal(&self, signal: Signal) {
        // SAFETY: neither call has memory preconditions but the null pointer, which is allowed.
        unsafe {
            match &self.descriptor {
                Some(fd) => {
                    let none = std::ptr::null::<libc::siginfo_t>();
                    libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal.number(), none, 0);
                }
                None => {
                    libc::kill(self.pid, signal.number());
                }
            }
        }
    }

    /// Waits until it has ended, collected by its parent or not. False if the time passed first.
    pub fn wait(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        if let Some(fd) = &self.descriptor {
            let ready = net::poll(&[(fd.as_fd(), Ready::Readable)], Some(deadline));
            return ready.is_ok_and(|ready| !ready.is_empty());
        }
        while self.exists() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(ASK_AGAIN);
        }
        true
    }

    fn exists(&self) -> bool {
        // SAFETY: signal 0 only asks.
        unsafe { libc::kill(self.pid, 0) == 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_ended_and_waited_for() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = ForeignProcess::open(pid).unwrap();
        assert!(!process.wait(Duration::from_millis(1)));
        process.signal(Signal::Terminate);
        assert!(process.wait(Duration::from_secs(10)));
        child.wait().unwrap();
        assert!(ForeignProcess::open(pid).is_none());
        assert!(ForeignProcess::open(0).is_none());
    }
}
