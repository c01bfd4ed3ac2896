//! Child processes: start one, wait for it, end it with everything it started.
//!
//! Starts with `clone(CLONE_VM | CLONE_VFORK)`, as `posix_spawn` does inside the C library, because that copies
//! no page tables, and because `posix_spawn` itself cannot ask for a parent-death signal.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Instant;

use crate::exit_code::WaitStatus;
use crate::sys::landlock::Ruleset;
use crate::sys::net::{self, Ready};
use crate::sys::restraint::Restraint;

/// Stack of the child between clone and exec, in bytes; the C library's `execve` wrapper needs far less.
const CHILD_STACK_BYTES: usize = 32 * 1024;

/// An environment for a child, in the form exec takes it.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    entries: Vec<CString>,
}

impl Environment {
    /// This process's own environment.
    pub fn inherited() -> Environment {
        let entries = std::env::vars_os()
            .filter_map(|(name, value)| {
                let mut entry = name.into_vec();
                entry.push(b'=');
                entry.extend_from_slice(value.as_bytes());
                CString::new(entry).ok()
            })
            .collect();
        Environment { entries }
    }

    /// Sets one variable, replacing an earlier value. A value with a NUL byte cannot be passed on and is dropped.
    pub fn set(&mut self, name: &str, value: &OsStr) {
        self.remove(name);
        let mut entry = format!("{name}=").into_bytes();
        entry.extend_from_slice(value.as_bytes());
        self.entries.extend(CString::new(entry).ok());
    }

    /// Removes one variable.
    pub fn remove(&mut self, name: &str) {
        self.retain(|known| known != name.as_bytes());
    }

    /// Keeps the variables with such names only.
    pub fn retain(&mut self, is_kept: impl Fn(&[u8]) -> bool) {
        self.entries
            .retain(|entry| is_kept(entry.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default()));
    }
}

/// What a signal to the parent means for a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The parent's process group: a terminal's interrupt reaches both.
    Shared,
    /// A process group of its own, which the parent ends as a whole. Of other open files than its standard streams it is not to
    /// know any.
    Own,
    /// Nothing in common: a session of its own, no open file but the standard streams, the root as its directory, and
    /// it lives on when the parent ends.
    Detached,
}

/// A process to start.
#[derive(Debug)]
pub struct Command<'a> {
    /// The file to execute, already found on the search path.
    pub program: &'a Path,
    /// Its arguments, the name it is called by first.
    pub argv: &'a [OsString],
    /// Its whole environment.
    pub environment: &'a Environment,
    /// Its working directory; the parent's if none.
    pub directory: Option<&'a Path>,
    /// Standard input, output and error; the parent's where none.
    pub stdio: [Option<BorrowedFd<'a>>; 3],
    /// Its process group.
    pub group: Group,
    /// What it is held to; nothing beyond what holds its parent if none.
    pub walls: Option<Walls<'a>>,
}

/// What a program is held to from its first instruction.
#[derive(Clone, Copy, Debug)]
pub struct Walls<'a> {
    /// What it may use, and which system calls it may make.
    pub restraint: &'a Restraint,
    /// Where it may read and write, as Landlock sees it.
    pub ruleset: Option<&'a Ruleset>,
}

/// A started child. Dropping it neither waits nor kills: a guard above this layer decides.
#[derive(Debug, PartialEq, Eq)]
pub struct Child {
    pid: i32,
    group: Group,
    /// Whether it is process 1 of a namespace, to which a signal with its default action means nothing.
    is_init: bool,
}

/// What the child does last, made ready before the clone: it must not allocate.
pub(super) struct Plan<'a> {
    program: CString,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    directory: Option<CString>,
    stdio: [Option<RawFd>; 3],
    pub(super) walls: Option<Walls<'a>>,
    /// What `argv` points to.
    _words: Vec<CString>,
    /// What `envp` points to.
    _environment: &'a Environment,
}

impl<'a> Plan<'a> {
    /// The plan for a command. Its stdio descriptors must stay open until it is carried out.
    pub(super) fn of(command: &Command<'a>) -> io::Result<Plan<'a>> {
        let words: Vec<CString> =
            command.argv.iter().map(|word| c_string(word)).collect::<io::Result<_>>()?;
        Ok(Plan {
            program: c_string(command.program.as_os_str())?,
            argv: null_terminated(words.iter().map(CString::as_c_str)),
            envp: null_terminated(command.environment.entries.iter().map(CString::as_c_str)),
            directory: command.directory.map(|path| c_string(path.as_os_str())).transpose()?,
            stdio: command.stdio.map(|fd| fd.map(|fd| fd.as_raw_fd())),
            walls: command.walls,
            _words: words,
            _environment: command.environment,
        })
    }

    /// No descriptor above this one is needed to become the program.
    fn highest_descriptor(&self) -> RawFd {
        let ruleset = self.walls.and_then(|walls| walls.ruleset).map(|ruleset| ruleset.as_fd().as_raw_fd());
        self.stdio.iter().copied().chain([ruleset]).flatten().max().unwrap_or(0).max(2)
    }

    /// Takes the descriptors that are needed, and lower ones, into a table of the child's own: the kernel does not even
    /// copy what lies above, which is a server's thousands of clients. False if a call failed (errno).
    ///
    /// # Safety
    /// Only in a child.
    pub(super) unsafe fn leave_files_behind(&self) -> bool {
        let above = self.highest_descriptor() as libc::c_uint + 1;
        // SAFETY: plain system calls; what is closed is closed in the new table only. Before Linux 5.9, all is copied.
        unsafe {
            libc::syscall(libc::SYS_close_range, above, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) == 0
                || libc::unshare(libc::CLONE_FILES) == 0
        }
    }

    /// Puts the standard streams in place: the first half of becoming the program. False if a call failed (errno).
    ///
    /// # Safety
    /// Only in a child that has a descriptor table of its own.
    pub(super) unsafe fn connect_stdio(&self) -> bool {
        // SAFETY: by the contract above no other thread uses the descriptors 0 to 2 of this table.
        (0..3).zip(&self.stdio).all(|(target, source)| unsafe {
            match *source {
                None => true,
                Some(fd) if fd == target => libc::fcntl(fd, libc::F_SETFD, 0) == 0,
                Some(fd) => libc::dup2(fd, target) == target,
            }
        })
    }

    /// Enters the directory and becomes the program. Returns only if a call failed: its errno.
    ///
    /// # Safety
    /// Only in a child whose parent waits: the child may share the memory, and errno, with it.
    pub(super) unsafe fn become_program(&self) -> libc::c_int {
        // SAFETY: every pointer in the plan is NUL-terminated and alive; the calls are async-signal-safe.
        unsafe {
            if self.directory.as_ref().is_none_or(|path| libc::chdir(path.as_ptr()) == 0) {
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                // From here on a signal may come: it must not run our handler, which works on the parent's memory.
                crate::sys::signal::forget_cleanup();
                let mut none: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&mut none);
                libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
                // Last: what is forbidden now was needed until now.
                if let Some(Walls { restraint, ruleset }) = self.walls {
                    let errno = restraint.apply_here(ruleset);
                    if errno != 0 {
                        return errno;
                    }
                }
                libc::execve(self.program.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr());
            }
            *libc::__errno_location()
        }
    }
}

/// Everything the child half of `spawn` needs, and what it says back.
struct Errand<'a> {
    plan: Plan<'a>,
    group: Group,
    parent: libc::pid_t,
    error: libc::c_int,
}

impl Command<'_> {
    /// Starts the process. An error is that of the step that failed, usually `execve`'s.
    pub fn spawn(&self) -> io::Result<Child> {
        let mut errand = Errand {
            plan: Plan::of(self)?,
            group: self.group,
            // SAFETY: getpid has no preconditions.
            parent: unsafe { libc::getpid() },
            error: 0,
        };
        let mut stack: Vec<u128> = Vec::with_capacity(CHILD_STACK_BYTES / size_of::<u128>());
        // SAFETY: the pointer is one past the end of the allocation, aligned to 16 bytes by the element type.
        let stack_top = unsafe { stack.as_mut_ptr().add(stack.capacity()) };
        // Signals are blocked so that no handler of ours runs in the child, which shares our memory.
        let unblocked = crate::sys::signal::block_all();
        // Until the child has a table of its own; it then copies no more of ours than it needs.
        let shared_files = if self.group == Group::Own { libc::CLONE_FILES } else { 0 };
        // SAFETY: the child runs `child_half` on its own stack while this thread is suspended (CLONE_VFORK), so
        // `errand` and `stack` outlive it and nothing here changes under it.
        let pid = unsafe {
            libc::clone(
                child_half,
                stack_top.cast(),
                libc::CLONE_VM | libc::CLONE_VFORK | shared_files | libc::SIGCHLD,
                ptr::from_mut(&mut errand).cast(),
            )
        };
        let clone_error = io::Error::last_os_error();
        crate::sys::signal::restore_mask(&unblocked);
        if pid < 0 {
            return Err(clone_error);
        }
        let child = Child { pid, group: self.group, is_init: false };
        if errand.error != 0 {
            let _ = child.wait();
            return Err(io::Error::from_raw_os_error(errand.error));
        }
        child.be_expendable(self.walls);
        Ok(child)
    }
}

/// The child's side of `spawn`: only system calls, nothing that allocates or locks.
extern "C" fn child_half(errand: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the parent passes a pointer to its `Errand`, is suspended until exec or exit, and reads `error` after.
    let errand = unsafe { &mut *errand.cast::<Errand<'_>>() };
    // SAFETY: the calls are async-signal-safe; the descriptor table is the child's own before anything in it changes.
    unsafe {
        if errand.group == Group::Own {
            libc::setpgid(0, 0);
        }
        if errand.group == Group::Detached {
            libc::setsid();
            libc::chdir(c"/".as_ptr());
            // What we were started with, too: the pipe of a build tool, the terminal of a user.
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        } else {
            // A compiler must not outlive the process that wants its result.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM as libc::c_ulong);
            if libc::getppid() != errand.parent {
                libc::_exit(127);
            }
        }
        let is_alone = errand.group != Group::Own || errand.plan.leave_files_behind();
        errand.error = if is_alone && errand.plan.connect_stdio() {
            errand.plan.become_program()
        } else {
            *libc::__errno_location()
        };
        libc::_exit(127)
    }
}

impl Child {
    /// A child that is process 1 of its own process namespace and leads a process group.
    pub(super) fn init_of_namespace(pid: i32) -> Child {
        Child { pid, group: Group::Own, is_init: true }
    }

    /// Tells the kernel how much sooner than others it is to end this program when memory runs out. Not in the child,
    /// which shares our memory until it is the program: the kernel would take it for a word about us. Where it cannot be
    /// told, the program is ended with the others.
    pub(super) fn be_expendable(&self, walls: Option<Walls<'_>>) {
        if let Some(score) = walls.and_then(|walls| walls.restraint.usage.expendability) {
            let _ = std::fs::write(format!("/proc/{}/oom_score_adj", self.pid), score.to_string());
        }
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until the process ends.
    pub fn wait(&self) -> io::Result<WaitStatus> {
        loop {
            let mut status = 0;
            // SAFETY: `status` is writable for the call.
            let pid = unsafe { libc::waitpid(self.pid, &mut status, 0) };
            if pid == self.pid {
                return Ok(WaitStatus(status as u32));
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Waits until the process ends, but not beyond `deadline`; `None` if it still runs then.
    pub fn wait_until(&self, deadline: Instant) -> io::Result<Option<WaitStatus>> {
        // SAFETY: the call takes two numbers; a descriptor it returns is new and ours.
        let handle = unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, self.pid, 0) as RawFd;
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        if net::poll(&[(handle.as_fd(), Ready::Readable)], Some(deadline))?.is_empty() {
            return Ok(None);
        }
        self.wait().map(Some)
    }

    /// Sends a signal to the process, or to its whole group where it has one of its own. A confined program is
    /// killed whatever the signal, with all it started: the kernel keeps other signals from process 1.
    pub fn signal(&self, signal: Signal) {
        let target = if self.group == Group::Shared { self.pid } else { -self.pid };
        let signal = if self.is_init { Signal::Kill } else { signal };
        // SAFETY: kill has no memory preconditions. An error means that nobody is left to signal.
        unsafe { libc::kill(target, signal.number()) };
    }

    /// Hands on a signal that was sent to us, to the process alone.
    pub fn pass_on(&self, signal: i32) {
        // SAFETY: kill has no memory preconditions. An error means that nobody is left to signal.
        unsafe { libc::kill(self.pid, signal) };
    }
}

/// A signal that ends a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: the process may clean up.
    Terminate,
    /// SIGKILL: it may not.
    Kill,
}

impl Signal {
    pub(super) fn number(self) -> libc::c_int {
        match self {
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
        }
    }
}

/// Collects one child that has ended, if any has.
pub fn reap() -> Option<(i32, WaitStatus)> {
    let mut status = 0;
    // SAFETY: `status` is writable for the call.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, WaitStatus(status as u32)))
}

/// Kills what is left of a process group. False if nothing was.
pub fn kill_group(group: i32) -> bool {
    // SAFETY: kill has no memory preconditions.
    unsafe { libc::kill(-group, libc::SIGKILL) == 0 }
}

/// Makes orphans below this process its own children, so that it learns of their end.
pub fn adopt_orphans() {
    // SAFETY: no memory preconditions. A kernel without it only means that stragglers are found later.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
}

/// Replaces this process by another program. Returns only on failure.
pub fn replace_process(program: &Path, argv: &[OsString], environment: &Environment) -> io::Error {
    let words: io::Result<Vec<CString>> = argv.iter().map(|word| c_string(word)).collect();
    let (words, program) = match (words, c_string(program.as_os_str())) {
        (Ok(words), Ok(program)) => (words, program),
        (Err(error), _) | (_, Err(error)) => return error,
    };
    let argv = null_terminated(words.iter().map(CString::as_c_str));
    let envp = null_terminated(environment.entries.iter().map(CString::as_c_str));
    // SAFETY: all three are NUL-terminated and alive for the call.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr());
    }
    io::Error::last_os_error()
}

/// Whether this process may execute the file, as the search path rules ask (X_OK, and not a directory).
pub fn is_executable(path: &Path) -> bool {
    let Ok(name) = c_string(path.as_os_str()) else { return false };
    // SAFETY: the name is NUL-terminated.
    let allowed =
        unsafe { libc::faccessat(libc::AT_FDCWD, name.as_ptr(), libc::X_OK, libc::AT_EACCESS) } == 0;
    allowed && !path.is_dir()
}

/// Every executable called `name` on a search path, in order; a name with a slash is its own only candidate.
pub fn candidates<'a>(name: &'a OsStr, search_path: &'a OsStr) -> impl Iterator<Item = PathBuf> + 'a {
    let literal = name.as_bytes().contains(&b'/');
    let own = literal.then(|| PathBuf::from(name));
    let found = std::env::split_paths(search_path).filter(move |_| !literal).map(move |directory| {
        let directory = if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory };
        directory.join(name)
    });
    own.into_iter().chain(found).filter(|path| is_executable(path))
}

fn c_string(word: &OsStr) -> io::Result<CString> {
    CString::new(word.as_bytes()).map_err(|_| {
        let text = format!("argument {word:?} holds a NUL byte");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

fn null_terminated<'a>(strings: impl Iterator<Item = &'a CStr>) -> Vec<*const libc::c_char> {
    strings.map(CStr::as_ptr).chain([ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek};
    use std::time::Duration;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn shell(script: &str, stdout: Option<BorrowedFd<'_>>, directory: Option<&Path>) -> io::Result<Child> {
        let mut environment = Environment::default();
        environment.set("GREETING", OsStr::new("hello"));
        Command {
            program: Path::new("/bin/sh"),
            argv: &words(&["sh", "-c", script]),
            environment: &environment,
            directory,
            stdio: [None, stdout, None],
            group: Group::Own,
            walls: None,
        }
        .spawn()
    }

    #[test]
    fn exit_codes_and_signals_come_back() {
        assert_eq!(shell("exit 7", None, None).unwrap().wait().unwrap().code(), Some(7));
        assert_eq!(shell("kill -9 $$", None, None).unwrap().wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let child = shell("sleep 60", None, None).unwrap();
        assert_eq!(child.wait_until(Instant::now() + Duration::from_millis(20)).unwrap(), None);
        child.signal(Signal::Kill);
        let status = child.wait_until(Instant::now() + Duration::from_secs(20)).unwrap().unwrap();
        assert_eq!(status.signal(), Some(9));
    }

    #[test]
    fn a_detached_process_holds_nothing_of_ours() {
        let output = crate::sys::temp::anonymous("test").unwrap();
        let kept = crate::sys::process::duplicate_descriptor(output.as_raw_fd()).unwrap();
        // SAFETY: clears a flag of a descriptor of this test.
        unsafe { libc::fcntl(kept.as_raw_fd(), libc::F_SETFD, 0) };
        // The sixth word of its state is its session.
        let script = format!(
            "test ! -e /proc/$$/fd/{} && test $(pwd) = / && read -r a b c d e f g </proc/$$/stat && echo $f",
            kept.as_raw_fd()
        );
        let mut environment = Environment::default();
        environment.set("PATH", OsStr::new("/usr/bin:/bin"));
        let child = Command {
            program: Path::new("/bin/sh"),
            argv: &words(&["sh", "-c", &script]),
            environment: &environment,
            directory: None,
            stdio: [None, Some(output.as_fd()), None],
            group: Group::Detached,
            walls: None,
        }
        .spawn()
        .unwrap();
        assert!(child.wait().unwrap().success());
        let mut output = output;
        let text = crate::sys::temp::read_back(&mut output, 100).unwrap();
        assert_eq!(String::from_utf8(text).unwrap().trim(), child.pid().to_string());
    }

    #[test]
    fn environment_directory_and_descriptors_are_those_asked_for() {
        let mut file = crate::sys::temp::anonymous("test").unwrap();
        let child = shell("echo $GREETING; pwd; trap", Some(file.as_fd()), Some(Path::new("/"))).unwrap();
        assert!(child.wait().unwrap().success());
        let mut text = String::new();
        File::rewind(&mut file).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello\n/\n");
    }

    #[test]
    fn a_missing_program_is_an_error_of_spawn() {
        let environment = Environment::default();
        let argv = words(&["none"]);
        let command = Command {
            program: Path::new("/nonexistent/compiler"),
            argv: &argv,
            environment: &environment,
            directory: None,
            stdio: [None; 3],
            group: Group::Shared,
            walls: None,
        };
        assert_eq!(command.spawn().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_signal_reaches_the_whole_group() {
        let file = crate::sys::temp::anonymous("test").unwrap();
        let child = shell("sleep 60 & echo started; wait", Some(file.as_fd()), None).unwrap();
        while file.metadata().unwrap().len() == 0 {
            std::thread::yield_now();
        }
        child.signal(Signal::Kill);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn search_path_candidates_are_executables_in_order() {
        let found: Vec<_> = candidates(OsStr::new("sh"), OsStr::new("/nonexistent:/bin")).collect();
        assert_eq!(found, [PathBuf::from("/bin/sh")]);
        assert_eq!(candidates(OsStr::new("/bin/sh"), OsStr::new("")).count(), 1);
        assert_eq!(candidates(OsStr::new("passwd"), OsStr::new("/etc")).count(), 0);
    }
}
