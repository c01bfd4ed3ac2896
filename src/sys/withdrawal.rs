//! A process's retreat from the machine it runs on: a user namespace without capabilities, no network but the sockets it
//! has, a file system it can only read.
//!
//! Knows the kernel; not who withdraws. What the process starts is where it is, and can go further
//! ([`crate::sys::confinement`]), but not back.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use crate::sys::namespace_root::{Attributes, set_attributes, surrender_capabilities};

/// How far a process got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// Whether everything but the places named is read-only (mount_setattr(2), since Linux 5.12).
    pub reads_only: bool,
}

/// Withdraws this process, which must have one thread: what it starts afterwards is withdrawn, too. Only below
/// `writable` (existing directories) anything can be written any more. The working directory is entered anew.
///
/// The error is a text for the log that names the step; the process is then where it was, or, if it came beyond
/// the first step, somewhere between.
pub fn withdraw(writable: &[PathBuf]) -> Result<Withdrawn, String> {
    let directory =
        std::env::current_dir().map_err(|error| format!("find the working directory: {error}"))?;
    // SAFETY: none of the calls has preconditions.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let namespaces = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET;
    // SAFETY: no memory is involved; a process with several threads gets an error.
    check(unsafe { libc::unshare(namespaces) })
        .map_err(|error| format!("make a new user, mount and network namespace: {error}"))?;
    let told = |name: &str, text: String| {
        fs::write(format!("/proc/self/{name}"), text)
            .map_err(|error| format!("write /proc/self/{name}: {error}"))
    };
    told("setgroups", "deny".into())?;
    told("gid_map", format!("{} {group} 1\n", shown(group)))?;
    told("uid_map", format!("{} {user} 1\n", shown(user)))?;
    let reads_only = only_read(writable)?;
    // The old path leads to what is mounted there now.
    std::env::set_current_dir(&directory)
        .map_err(|error| format!("enter {}: {error}", directory.display()))?;
    // SAFETY: plain system calls on this thread, the only one.
    unsafe { surrender_capabilities() }.map_err(|error| format!("give up capabilities: {error}"))?;
    Ok(Withdrawn { reads_only })
}

/// What an id is called inside: root's not 0, because only who has capabilities may hand that one on to a namespace.
fn shown(id: u32) -> u32 {
    const NOBODY: u32 = 65534;
    if id == 0 { NOBODY } else { id }
}

/// Makes all file systems read-only for us, and those below `writable` not. /proc stays as it is: a namespace made
/// later must not show more of its own than ours does, and we write there what concerns our children.
fn only_read(writable: &[PathBuf]) -> Result<bool, String> {
    let writable: Vec<&Path> = writable.iter().map(PathBuf::as_path).filter(|path| path.is_dir()).collect();
    for path in &writable {
        let name = c_string(path)?;
        let flags = libc::MS_BIND | libc::MS_REC;
        // SAFETY: the strings are NUL-terminated.
        let result = unsafe { libc::mount(name.as_ptr(), name.as_ptr(), ptr::null(), flags, ptr::null()) };
        check(result).map_err(|error| format!("mount {} on itself: {error}", path.display()))?;
    }
    // What is mounted outside later still appears here.
    let read_only = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    let written_to = Attributes { clear: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    match set_attributes(libc::AT_FDCWD, c"/", true, read_only) {
        Ok(()) => {}
        Err(libc::ENOSYS) => return Ok(false),
        Err(errno) => {
            return Err(format!("make everything read-only: {}", io::Error::from_raw_os_error(errno)));
        }
    }
    let again = |path: &CStr, recursive| set_attributes(libc::AT_FDCWD, path, recursive, written_to);
    for path in &writable {
        again(&c_string(path)?, true).map_err(|errno| {
            format!("make {} writable: {}", path.display(), io::Error::from_raw_os_error(errno))
        })?;
    }
    // Where it was read-only before, it stays so.
    let _ = again(c"/proc", false);
    Ok(true)
}

fn c_string(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| format!("{path:?} holds a NUL byte"))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::net::{TcpListener, TcpStream};

    /// Runs `check` in a withdrawn copy of this process, which may make system calls and allocate, and no more; the
    /// number it returns must be 0.
    fn in_withdrawn_process(writable: &[PathBuf], check: impl FnOnce(Withdrawn) -> i32) {
        // SAFETY: the child has one thread, and ends without running anything of the parent's. glibc's allocator is
        // usable after fork.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                let code = withdraw(writable).map_or(99, check);
                libc::_exit(code);
            }
            let mut status = 0;
            libc::waitpid(pid, &mut status, 0);
            assert!(libc::WIFEXITED(status), "{status:#x}");
            match libc::WEXITSTATUS(status) {
                0 => {}
                99 => eprintln!("no namespaces on this machine: not tried"),
                code => panic!("check {code} failed"),
            }
        }
    }

    #[test]
    fn a_withdrawn_process_reads_and_writes_only_where_it_was_told() {
        let open = TempDir::create(&std::env::temp_dir(), "withdrawal", false).unwrap();
        let closed = TempDir::create(&std::env::temp_dir(), "withdrawal", false).unwrap();
        fs::write(closed.path().join("file"), "text").unwrap();
        in_withdrawn_process(&[open.path().to_path_buf(), "/nonexistent".into()], |withdrawn| {
            let is_read_only = |error: io::Error| error.kind() == io::ErrorKind::ReadOnlyFilesystem;
            match () {
                () if fs::write(open.path().join("new"), "x").is_err() => 1,
                () if fs::read(closed.path().join("file")).is_err() => 2,
                () if !withdrawn.reads_only => 0,
                () if !fs::write(closed.path().join("new"), "x").is_err_and(is_read_only) => 3,
                () if !fs::remove_file(closed.path().join("file")).is_err_and(is_read_only) => 4,
                () if !fs::write("/etc/distcc-withdrawn", "x").is_err_and(is_read_only) => 5,
                () => 0,
            }
        });
        assert!(open.path().join("new").exists() && closed.path().join("file").exists());
    }

    #[test]
    fn a_withdrawn_process_has_its_sockets_and_no_network() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = TcpStream::connect(address).unwrap();
        in_withdrawn_process(&[], |_| match () {
            () if listener.accept().is_err() => 1,
            () if TcpStream::connect(address).is_ok() => 2,
            () => 0,
        });
        drop(waiting);
    }

    #[test]
    fn a_withdrawn_process_has_no_capabilities_and_can_still_start_confined_ones() {
        use crate::sys::confinement::probe;
        use crate::sys::exposure::Exposure;
        in_withdrawn_process(&[], |_| {
            let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
            let effective = status.lines().find(|line| line.starts_with("CapEff:")).unwrap_or_default();
            match () {
                () if !effective.trim_start_matches("CapEff:").trim().bytes().all(|digit| digit == b'0') => 1,
                () if probe(&Exposure::of_this_machine()).is_err() => 2,
                () => 0,
            }
        });
    }
}
