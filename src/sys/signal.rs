//! Signals: the daemon reads them from a descriptor, the client cleans up after itself and then dies of them.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::FromRawFd;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

pub use libc::{SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};

/// A set of blocked signals, to be put back.
pub struct SavedMask(libc::sigset_t);

/// Blocks every signal for this thread and returns what was blocked before.
pub fn block_all() -> SavedMask {
    // SAFETY: both sets are plain data, written by the calls before they are read.
    unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        let mut saved: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut saved);
        SavedMask(saved)
    }
}

/// Puts back a set of blocked signals.
pub fn restore_mask(saved: &SavedMask) {
    // SAFETY: the set was filled in by `block_all`.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &saved.0, ptr::null_mut()) };
}

/// Signals delivered as readable bytes (signalfd(2)), for an event loop.
#[derive(Debug)]
pub struct SignalFile(File);

impl SignalFile {
    /// Blocks `signals` for the process (call it before any thread is started) and opens the file they arrive in.
    pub fn open(signals: &[i32]) -> io::Result<SignalFile> {
        // SAFETY: `set` is plain data, initialised by sigemptyset; the descriptor is new and owned by the file.
        unsafe {
            let mut set: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in signals {
                libc::sigaddset(&mut set, *signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut());
            let fd = libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
            if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(SignalFile(File::from_raw_fd(fd))) }
        }
    }

    /// The file, to be watched for readability.
    pub fn file(&self) -> &File {
        &self.0
    }

    /// The next signal that arrived, if any is waiting.
    pub fn read(&mut self) -> Option<i32> {
        self.receive().map(|received| received.number)
    }

    /// The same, with where it came from.
    pub fn receive(&mut self) -> Option<Received> {
        let mut record = [0; mem::size_of::<libc::signalfd_siginfo>()];
        let length = loop {
            match self.0.read(&mut record) {
                // Whoever waits for the file to become readable again would wait for another signal.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.ok()?,
            }
        };
        // The first three fields are 32-bit numbers in native order: ssi_signo, ssi_errno, ssi_code.
        let field = |index: usize| {
            let bytes = record[4 * index..][..4].try_into().expect("BUG: a record of 128 bytes");
            i32::from_ne_bytes(bytes)
        };
        let received = Received { number: field(0), from_kernel: field(2) == libc::SI_KERNEL };
        (length == record.len()).then_some(received)
    }
}

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub number: i32,
    /// The kernel sent it, as for a terminal's keys: to every process of a group. Else a process did.
    pub from_kernel: bool,
}

/// How many files the client's signal handler can remove; a job has one state file and at most a few temporaries.
const CLEANUP_FILES_MAX: usize = 8;
/// How many children it can end: a preprocessor or compiler, and an ssh.
const CLEANUP_CHILDREN_MAX: usize = 4;

static CLEANUP_FILES: [AtomicPtr<libc::c_char>; CLEANUP_FILES_MAX] =
    [const { AtomicPtr::new(ptr::null_mut()) }; CLEANUP_FILES_MAX];
static CLEANUP_CHILDREN: [AtomicI32; CLEANUP_CHILDREN_MAX] =
    [const { AtomicI32::new(0) }; CLEANUP_CHILDREN_MAX];

/// Signals that end the client, if nobody ignores them.
const CLEANUP_SIGNALS: [i32; 3] = [SIGTERM, SIGINT, SIGHUP];

/// Makes SIGTERM, SIGINT and SIGHUP remove the registered files, end the registered children, say so on stderr and
/// then end the process as they would have.
pub fn install_cleanup() {
    for signal in CLEANUP_SIGNALS {
        // SAFETY: the handler only uses async-signal-safe calls and atomics.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            libc::sigaction(signal, ptr::null(), &mut action);
            // A signal ignored by whoever started us (nohup) stays ignored.
            if action.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            action.sa_sigaction = clean_up as *const () as usize;
            action.sa_flags = 0;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, ptr::null_mut());
        }
    }
}

/// Gives the signals of [`install_cleanup`] back their default action, unless they are ignored. For a child that
/// shares our memory; async-signal-safe.
pub fn forget_cleanup() {
    for signal in CLEANUP_SIGNALS {
        // SAFETY: the action is plain data, filled in before it is read; the calls are async-signal-safe.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            libc::sigaction(signal, ptr::null(), &mut action);
            if action.sa_sigaction != libc::SIG_IGN {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

extern "C" fn clean_up(signal: libc::c_int) {
    for slot in &CLEANUP_FILES {
        let path = slot.swap(ptr::null_mut(), Ordering::AcqRel);
        if !path.is_null() {
            // SAFETY: a registered pointer is a leaked, NUL-terminated string (see `CleanupFile`).
            unsafe { libc::unlink(path) };
        }
    }
    for slot in &CLEANUP_CHILDREN {
        let pid = slot.swap(0, Ordering::AcqRel);
        if pid > 0 {
            // SAFETY: kill is async-signal-safe.
            unsafe { libc::kill(pid, signal) };
        }
    }
    let mut message = *b"distcc: terminated by signal ??\n";
    let digits = message.len() - 3;
    message[digits] = b'0' + (signal / 10 % 10) as u8;
    message[digits + 1] = b'0' + (signal % 10) as u8;
    // SAFETY: the buffer is alive; signal and raise are async-signal-safe. The signal is blocked while its handler
    // runs, so the default action is taken when the handler returns.
    unsafe {
        libc::write(2, message.as_ptr().cast(), message.len());
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// A file that is removed when this guard is dropped, and also when a signal ends the process first.
#[derive(Debug)]
pub struct CleanupFile {
    path: CString,
    slot: Option<usize>,
}

impl CleanupFile {
    /// Guards a path. Beyond the handler's capacity the guard still works, only not from the handler.
    pub fn new(path: &Path) -> CleanupFile {
        use std::os::unix::ffi::OsStrExt;
        let path = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
        let registered = path.clone().into_raw();
        let slot = CLEANUP_FILES.iter().position(|slot| {
            slot.compare_exchange(ptr::null_mut(), registered, Ordering::AcqRel, Ordering::Acquire).is_ok()
        });
        if slot.is_none() {
            // SAFETY: the pointer came from `into_raw` and was not published.
            drop(unsafe { CString::from_raw(registered) });
        }
        CleanupFile { path, slot }
    }
}

impl Drop for CleanupFile {
    fn drop(&mut self) {
        // Before the handler forgets it, so that no signal comes in between.
        // SAFETY: the path is NUL-terminated. It may be gone already, which is what we want.
        unsafe { libc::unlink(self.path.as_ptr()) };
        if let Some(slot) = self.slot {
            // The handler may hold the pointer at this instant, so the few bytes are left to the process's end.
            CLEANUP_FILES[slot].store(ptr::null_mut(), Ordering::Release);
        }
    }
}

/// A child that a fatal signal to us also reaches; dropping the guard ends the registration, not the child.
#[derive(Debug)]
pub struct CleanupChild(Option<usize>);

impl CleanupChild {
    /// Registers a child by its process id.
    pub fn new(pid: i32) -> CleanupChild {
        CleanupChild(
            CLEANUP_CHILDREN
                .iter()
                .position(|slot| slot.compare_exchange(0, pid, Ordering::AcqRel, Ordering::Acquire).is_ok()),
        )
    }
}

impl Drop for CleanupChild {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            CLEANUP_CHILDREN[slot].store(0, Ordering::Release);
        }
    }
}

/// Ends this process by a signal's default action, so that its parent sees the true cause.
pub fn die_of(signal: i32) {
    // SAFETY: plain calls; the signal is unblocked so that it is taken before `raise` returns.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        libc::signal(signal, libc::SIG_DFL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut());
        libc::raise(signal);
    }
}

/// The name of a signal as a person knows it, such as `Segmentation fault`.
pub fn description(signal: u8) -> String {
    // SAFETY: strsignal returns a NUL-terminated string that is valid until its next call; it is copied at once.
    let text = unsafe { std::ffi::CStr::from_ptr(libc::strsignal(i32::from(signal))) };
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions() -> [usize; 3] {
        CLEANUP_SIGNALS.map(|signal| {
            // SAFETY: the action is plain data, filled in before it is read.
            unsafe {
                let mut action: libc::sigaction = mem::zeroed();
                libc::sigaction(signal, ptr::null(), &mut action);
                action.sa_sigaction
            }
        })
    }

    #[test]
    fn a_child_forgets_the_handler_and_not_what_is_ignored() {
        // SAFETY: SIG_IGN is a valid disposition.
        unsafe { libc::signal(SIGHUP, libc::SIG_IGN) };
        install_cleanup();
        let ours = clean_up as *const () as usize;
        assert_eq!(actions(), [ours, ours, libc::SIG_IGN]);
        forget_cleanup();
        assert_eq!(actions(), [libc::SIG_DFL, libc::SIG_DFL, libc::SIG_IGN]);
        // SAFETY: SIG_DFL is a valid disposition.
        unsafe { libc::signal(SIGHUP, libc::SIG_DFL) };
    }
}
