//! What a program is held to from its first instruction on: how much it may use, and which system calls it may make.
//!
//! Knows the kernel's limits and filters; not why a number is what it is.

use std::io;

use crate::sys::landlock::Ruleset;
use crate::sys::seccomp::Filter;

/// Seconds between the signal that a program may handle (SIGXCPU) and the one it may not.
const GRACE_SECONDS: u64 = 5;

/// What each process of a program may use (setrlimit(2)). `None` leaves a limit as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, in seconds.
    pub processor_seconds: Option<u64>,
    /// Address space, in bytes.
    pub memory: Option<u64>,
    /// One file, in bytes.
    pub file_bytes: Option<u64>,
    /// Processes and threads of the user, where they are counted for each user namespace (see
    /// [`counts_processes_by_namespace`]): elsewhere the count would be the whole machine's.
    pub processes: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// How much sooner than others it is ended when memory runs out, from 0 to 1000 (proc(5), oom_score_adj).
    pub expendability: Option<u16>,
}

/// Everything a program is held to.
#[derive(Debug, Default)]
pub struct Restraint {
    /// What it may use.
    pub usage: Usage,
    /// Which system calls it may make; it gains no privileges by any program it executes then.
    pub filter: Option<Filter>,
}

impl Restraint {
    /// Applies it to this process; `ruleset` is one of Landlock's. The error is an errno, 0 if there is none.
    ///
    /// # Safety
    /// Only between clone and exec: what is given up cannot be had again.
    pub(super) unsafe fn apply_here(&self, ruleset: Option<&Ruleset>) -> libc::c_int {
        // SAFETY: system calls only, by the contract above in a process that is about to become the program.
        unsafe {
            if self.filter.is_some() || ruleset.is_some() {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            }
            let usage = &self.usage;
            // Not an image of its memory either: it would be written wherever this machine keeps them.
            limit(libc::RLIMIT_CORE, Some(0), 0);
            limit(libc::RLIMIT_CPU, usage.processor_seconds, GRACE_SECONDS);
            limit(libc::RLIMIT_AS, usage.memory, 0);
            limit(libc::RLIMIT_FSIZE, usage.file_bytes, 0);
            limit(libc::RLIMIT_NPROC, usage.processes, 0);
            limit(libc::RLIMIT_NOFILE, usage.descriptors, 0);
            if let Some(ruleset) = ruleset {
                let errno = ruleset.apply_here();
                if errno != 0 {
                    return errno;
                }
            }
            self.filter.as_ref().map_or(0, |filter| filter.apply_here())
        }
    }
}

/// Lowers a limit, never raises one: what the administrator set for the daemon holds.
///
/// # Safety
/// As for [`Restraint::apply_here`].
unsafe fn limit(resource: libc::__rlimit_resource_t, most: Option<u64>, grace: u64) {
    let Some(most) = most else { return };
    // SAFETY: the structure is plain data, filled before it is used.
    unsafe {
        let mut now: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(resource, &mut now) == 0 {
            now.rlim_max = now.rlim_max.min(most.saturating_add(grace));
            now.rlim_cur = now.rlim_cur.min(most).min(now.rlim_max);
            libc::setrlimit(resource, &now);
        }
    }
}

/// Whether the kernel counts the processes of each user namespace by themselves (since Linux 5.14).
pub fn counts_processes_by_namespace() -> bool {
    kernel_version().is_ok_and(|version| version >= (5, 14))
}

/// The first two numbers of the kernel's version.
fn kernel_version() -> io::Result<(u32, u32)> {
    // SAFETY: the structure is plain data, filled by the call.
    let release = unsafe {
        let mut names: libc::utsname = std::mem::zeroed();
        if libc::uname(&mut names) != 0 {
            return Err(io::Error::last_os_error());
        }
        names.release.map(|letter| letter as u8)
    };
    let mut numbers = release
        .split(|byte| !byte.is_ascii_digit())
        .map(|digits| str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or_default());
    Ok((numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()))
}
