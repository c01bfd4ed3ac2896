//! This process itself: who it runs as, what it has used, how it detaches.

use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Processor time, as getrusage(2) counts it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

/// What this process has used.
pub fn usage_of_self() -> Usage {
    usage(libc::RUSAGE_SELF)
}

/// What the children it has waited for have used.
pub fn usage_of_children() -> Usage {
    usage(libc::RUSAGE_CHILDREN)
}

fn usage(who: libc::c_int) -> Usage {
    // SAFETY: rusage is plain data and writable for the call.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        libc::getrusage(who, &mut usage);
        usage
    };
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    Usage { user: duration(usage.ru_utime), system: duration(usage.ru_stime) }
}

/// Whether this process has the rights of root, really or effectively.
pub fn is_root() -> bool {
    // SAFETY: neither call has preconditions.
    unsafe { libc::getuid() == 0 || libc::geteuid() == 0 }
}

/// The user this process acts as, by number.
pub fn user_id() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::geteuid() }
}

/// A user to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name it was looked up by, or its number.
    pub name: String,
    uid: libc::uid_t,
    gid: libc::gid_t,
}

impl User {
    /// The identity nobody owns anything as.
    pub fn overflow() -> User {
        User { name: "65534".into(), uid: 65534, gid: 65534 }
    }

    /// Looks a user up in `/etc/passwd`. Not through getpwnam(3), which may load plug-ins that a static program
    /// cannot run (see `sys::resolve`).
    pub fn by_name(name: &str) -> Option<User> {
        User::in_passwd(name, &fs::read_to_string("/etc/passwd").ok()?)
    }

    fn in_passwd(name: &str, passwd: &str) -> Option<User> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            if name.is_empty() || fields.next()? != name {
                return None;
            }
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            Some(User { name: name.to_string(), uid, gid })
        })
    }
}

/// Gives up root for good: supplementary groups, group, user; and no program started later can gain rights again.
pub fn become_user(user: &User) -> io::Result<()> {
    let check = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: plain system calls; the group list has one element, as said.
    unsafe {
        check(libc::setgid(user.gid))?;
        check(libc::setgroups(1, &user.gid))?;
        check(libc::setuid(user.uid))?;
        // Debuggers and core dumps were switched off by the change of user; 3.4 switches them on again.
        libc::prctl(libc::PR_SET_DUMPABLE, 1);
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    }
}

/// Lets no program that is started later gain rights by its file's owner or capabilities.
pub fn gain_no_privileges() -> io::Result<()> {
    // SAFETY: no memory is involved.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Which file a path leads to, whatever the path is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The identity of an existing file.
    pub fn of(path: &Path) -> Option<FileIdentity> {
        fs::metadata(path).ok().map(|file| FileIdentity::of_metadata(&file))
    }

    /// The identity of a file that was looked at.
    pub fn of_metadata(file: &fs::Metadata) -> FileIdentity {
        FileIdentity { device: file.dev(), inode: file.ino() }
    }

    /// The identity of the program that runs here; none without `/proc`.
    pub fn of_own_executable() -> Option<FileIdentity> {
        FileIdentity::of(Path::new("/proc/self/exe"))
    }
}

/// Lowers the priority by `increment`.
pub fn be_nice(increment: i32) -> io::Result<()> {
    // SAFETY: nice has no preconditions; -1 may be a legal result, so errno decides.
    unsafe {
        *libc::__errno_location() = 0;
        if libc::nice(increment) == -1 && *libc::__errno_location() != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Asks the kernel to end this process, and what it starts, sooner or later than others when memory runs out.
pub fn set_oom_score_adjustment(value: i32) -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", value.to_string())
}

/// How much sooner than others this process is ended when memory runs out, from 0 to 1000; 0 also for later.
pub fn expendability() -> u16 {
    let text = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The original; the number is the child's.
    Parent(i32),
    /// The copy.
    Child,
}

/// Splits the process in two. Call it before any thread is started.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: by the contract above there is one thread, so the child may go on using everything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Leaves the terminal: a session of its own, and standard streams that lead nowhere.
pub fn detach_from_terminal() -> io::Result<()> {
    // SAFETY: no preconditions.
    unsafe { libc::setsid() };
    redirect_to_null(0..3)
}

/// Lets standard input and output lead nowhere, after their descriptors were taken over.
pub fn forget_standard_streams() -> io::Result<()> {
    redirect_to_null(0..2)
}

/// Lets standard input lead nowhere, while what is said still goes where it was sent; `leave` also leaves the terminal,
/// for a session of its own.
pub fn forget_standard_input(leave: bool) -> io::Result<()> {
    if leave {
        // SAFETY: no preconditions. It fails only for a group leader, which has no terminal to leave or keeps it.
        unsafe { libc::setsid() };
    }
    redirect_to_null(0..1)
}

/// The user this process acts as, by number.
pub fn user() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::geteuid() }
}

/// Lets nobody but this user read or write the files that are made from now on.
pub fn keep_new_files_private() {
    // SAFETY: no preconditions.
    unsafe { libc::umask(0o077) };
}

/// Lets at most this user write to the files that are made from now on, however open the umask was that we were started
/// with.
pub fn keep_new_files_from_writers() {
    const WRITE_BY_OTHERS: libc::mode_t = 0o022;
    // SAFETY: no preconditions.
    unsafe {
        let before = libc::umask(0o077);
        libc::umask(before | WRITE_BY_OTHERS);
    }
}

/// Closes every descriptor but the standard streams, so that neither a daemon nor its compilers hold what they
/// happened to be started with: the pipe of a script, the terminal of a user. Call it before anything is opened.
pub fn close_inherited_descriptors() {
    close_inherited_descriptors_behind(0);
}

/// The same, but the first ones beside the standard streams stay, so many as were passed on purpose.
pub fn close_inherited_descriptors_behind(passed: usize) {
    let passed = libc::c_uint::try_from(passed).unwrap_or(libc::c_uint::MAX);
    close_range(passed.saturating_add(3), libc::c_uint::MAX);
}

/// The same, but one that was handed over on purpose stays.
pub fn close_inherited_descriptors_except(number: i32) {
    match libc::c_uint::try_from(number) {
        Ok(kept @ 3..) => {
            close_range(3, kept - 1);
            close_range(kept.saturating_add(1), libc::c_uint::MAX);
        }
        _ => close_inherited_descriptors(),
    }
}

fn close_range(first: libc::c_uint, last: libc::c_uint) {
    if first <= last {
        // SAFETY: by the callers' contracts nobody owns these descriptors. On kernels without the call they stay open.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

fn redirect_to_null(streams: std::ops::Range<libc::c_int>) -> io::Result<()> {
    // SAFETY: the path is NUL-terminated; dup2 onto a standard stream replaces what nobody uses any more.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if null < 0 {
            return Err(io::Error::last_os_error());
        }
        for fd in streams {
            libc::dup2(null, fd);
        }
        if null > 2 {
            libc::close(null);
        }
    }
    Ok(())
}

/// A descriptor of our own for a number that we were told.
pub fn duplicate_descriptor(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC only makes a new descriptor, which the OwnedFd then owns.
    unsafe {
        let fd = libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// The same file under a number of at least `least`; under its old one if there is none.
pub fn move_descriptor_up(fd: OwnedFd, least: i32) -> OwnedFd {
    // SAFETY: F_DUPFD_CLOEXEC only makes a new descriptor, which the OwnedFd then owns.
    unsafe {
        match libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) {
            moved if moved >= 0 => OwnedFd::from_raw_fd(moved),
            _ => fd,
        }
    }
}

/// Lets programs that are started from now on have this descriptor, too, under its number.
pub fn let_inherit(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_SETFD has no memory preconditions.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A number to shuffle with, different in processes that start at the same time.
pub fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the buffer is as long as said; requests so short cannot be interrupted.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    u64::from_ne_bytes(bytes)
}

/// The process group of this process: what one line typed into a shell has in common.
pub fn group() -> i32 {
    // SAFETY: no preconditions.
    unsafe { libc::getpgrp() }
}

/// Puts this process into a process group of its own.
pub fn lead_group() {
    // SAFETY: no preconditions. It fails only for a session leader, which leads its group already.
    unsafe { libc::setpgid(0, 0) };
}

/// Ends the process by SIGALRM after so many seconds (distccd --lifetime).
pub fn set_alarm(seconds: u32) {
    // SAFETY: no preconditions.
    unsafe { libc::alarm(seconds) };
}

/// Processors that are online.
pub fn processors_online() -> usize {
    // SAFETY: no preconditions.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).unwrap_or(1).max(1)
}

/// Raises the number of descriptors this process may have open to what it is allowed, and returns that.
pub fn raise_descriptor_limit() -> usize {
    // SAFETY: the structure is plain data, filled before it is used.
    unsafe {
        let mut limit: libc::rlimit = mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 256;
        }
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken\ndistcc:x:107:65534::/:/bin/false\n";
        let distcc = User::in_passwd("distcc", passwd).unwrap();
        assert_eq!((distcc.uid, distcc.gid), (107, 65534));
        assert_eq!(User::in_passwd("dist", passwd), None);
        assert_eq!(User::in_passwd("broken", passwd), None);
        assert_eq!(User::in_passwd("", passwd), None);
    }
}
