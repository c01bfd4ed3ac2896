//! Where a job's compiler runs: new user, mount, pid and ipc namespaces, and a root of the job's own.
//!
//! Knows nothing of jobs: it opens a chamber, lets the caller fill its root, and starts a program in it. Unprivileged:
//! the program keeps our user id and no capabilities.

use std::ffi::{CString, OsStr};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::child::{Child, Command, Environment, Group, Plan, Walls};
use crate::sys::exposure::{Exposure, inside};
use crate::sys::job_root::{JobRoot, MountPoint};
use crate::sys::landlock::{self, Place, Ruleset};
use crate::sys::namespace_root::{
    Errand, Furniture, Handshake, LAYING_OUT, LEAVE, Mount, PROC, READY, Step, inhabit,
};
use crate::sys::signal;

/// Stack of the child between clone and exec, in bytes: what it calls are system calls.
const CHILD_STACK_BYTES: usize = 64 * 1024;
/// Device files that programs expect. Those that are missing here are missing inside.
const DEVICES: [&str; 5] = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];
/// Where overlays keep their work: below the directory that the job's /proc will hide.
const OVERLAY_WORK: &str = "proc/overlay";
/// Most mounts of one chamber, where directories have to be shown entry by entry: each costs some microseconds.
const MOUNTS_MAX: usize = 300;
/// Bounds of the file system of a chamber that only finds out whether there can be one.
const PROBE_LIMITS: ChamberLimits = ChamberLimits { bytes: 1 << 20, files: 1000 };

/// Set when probing found that this machine has no overlays for us.
static NO_OVERLAYS: AtomicBool = AtomicBool::new(false);

/// Bounds of a job's file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChamberLimits {
    /// Content of its files, in bytes.
    pub bytes: u64,
    /// Files, directories and links, about thirty of ours among them.
    pub files: u64,
}

/// Why a program does not run confined.
#[derive(Debug)]
pub enum Failure {
    /// The machine does not allow it, for this job or at this moment: do the job without.
    Unavailable(String),
    /// The chamber was ready, but the program or its directory could not be used: the error of execve or chdir.
    Program(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unavailable(text) => write!(formatter, "confine a program: {text}"),
            Failure::Program(error) => write!(formatter, "execute a confined program: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

fn unavailable(what: &str, error: &io::Error) -> Failure {
    Failure::Unavailable(format!("{what}: {error}"))
}

/// What confinement can do on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Whether a job's files below exposed directories are shown by one overlay (overlayfs in a user namespace, since
    /// Linux 5.11), and not entry by entry, which is slower and not always possible.
    pub overlays: bool,
}

/// Tries everything once. The error is one text for the log: the step that failed, its error, and what an
/// administrator can do about it.
pub fn probe(exposure: &Exposure) -> Result<Abilities, String> {
    try_out(exposure, None).map_err(|failure| format!("{failure}{}", advice()))?;
    // One without other file systems below it, which keep a directory from being overlaid.
    let mut directories = exposure.parts().directories.iter();
    let overlays = directories
        .find(|directory| directory.submounts.is_empty())
        .is_some_and(|directory| try_out(exposure, Some(&directory.path.join("distcc-probe"))).is_ok());
    NO_OVERLAYS.store(!overlays, Ordering::Relaxed);
    Ok(Abilities { overlays })
}

/// Does all but execute a program, with a file at `path` if one is given.
fn try_out(exposure: &Exposure, path: Option<&Path>) -> Result<(), Failure> {
    let mut chamber = Chamber::open(exposure, PROBE_LIMITS)?;
    chamber.without_overlays = false;
    if let Some(path) = path {
        let made = chamber.root().unpacker().create_file(path.as_os_str().as_bytes(), b"", None);
        made.map_err(|error| unavailable("make a file", &error))?;
    }
    let nothing = Command {
        program: Path::new("/proc/no such program"),
        argv: &[],
        environment: &Environment::default(),
        directory: None,
        stdio: [None; 3],
        group: Group::Own,
        walls: None,
    };
    match chamber.run(&nothing) {
        Err(Failure::Program(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(failure) => Err(failure),
        Ok((child, _)) => {
            let _ = child.wait();
            Ok(())
        }
    }
}

/// What the kernel's settings say about why user namespaces do not work, as the end of a sentence.
pub fn advice() -> String {
    const SETTINGS: [(&str, &str, &str); 3] = [
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1 allows it"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "an AppArmor profile with `userns,` for this program, or sysctl \
             kernel.apparmor_restrict_unprivileged_userns=0, allows it",
        ),
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000 allows it"),
    ];
    let found = SETTINGS.iter().find(|(name, value, _)| {
        fs::read_to_string(format!("/proc/sys/{name}")).is_ok_and(|text| text.trim() == *value)
    });
    let advice = found.map_or(
        "the kernel needs CONFIG_USER_NS; in a container, its seccomp profile must allow clone with namespaces, \
         mount and pivot_root",
        |(_, _, advice)| advice,
    );
    format!(" ({advice})")
}

/// A process that waits in its namespaces, and the root it will see. Dropping it ends the process.
///
/// It may move to another thread, but the thread that opened it must live until the program has ended: the kernel
/// takes that thread for the parent, and kills the program when it ends.
#[derive(Debug)]
pub struct Chamber {
    inhabitant: Inhabitant,
    root: JobRoot,
    exposure: Exposure,
    /// Single files of this machine that the program sees elsewhere.
    shown: Vec<Mount>,
    /// Whether to do as before Linux 5.12; for tests.
    pub(super) one_by_one: bool,
    /// Whether to do without overlays.
    pub(super) without_overlays: bool,
}

impl Chamber {
    /// Opens a chamber with an empty root, but for /tmp and the places where the exposed parts will appear. The
    /// error is always [`Failure::Unavailable`].
    pub fn open(exposure: &Exposure, limits: ChamberLimits) -> Result<Chamber, Failure> {
        let (inhabitant, root) = Inhabitant::start(limits)?;
        prepare(&root, exposure).map_err(|error| unavailable("prepare the root", &error))?;
        let without_overlays = NO_OVERLAYS.load(Ordering::Relaxed);
        let (exposure, shown) = (exposure.clone(), Vec::new());
        Ok(Chamber { inhabitant, root, exposure, shown, one_by_one: false, without_overlays })
    }

    /// The root, to be filled with the job's files.
    pub fn root(&self) -> &JobRoot {
        &self.root
    }

    /// Lets the program read a file of this machine under another name, an absolute path inside. Nothing in it is run.
    pub fn show(&mut self, file: &Path, name: &Path) -> Result<(), Failure> {
        let made = self.root.unpacker().create_file(name.as_os_str().as_bytes(), b"", None);
        made.map_err(|error| unavailable(&format!("make a place for {}", file.display()), &error))?;
        let (source, target) = (c_string(file.as_os_str())?, relative(name)?);
        self.shown.push(Mount { source, target, overlay: None, is_data: true });
        Ok(())
    }

    /// Starts a program inside. Its directory is a path inside, `/` if none; its group is its own, whatever the
    /// command says; a standard stream that is not given is /dev/null.
    ///
    /// The child is process 1 of its namespace: when it has been waited for, everything it started is dead, and
    /// nobody changes the root any more. If it ends itself with a signal (abort), that is seen as SIGSEGV.
    pub fn run(mut self, command: &Command<'_>) -> Result<(Child, JobRoot), Failure> {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null");
        let null: File = null.map_err(|error| unavailable("open /dev/null", &error))?;
        let stdio = command.stdio.map(|stream| stream.or(Some(null.as_fd())));
        let furniture = self.furniture()?;
        let ruleset = self.ruleset(command, &furniture)?;
        let walls = command.walls.map(|walls| Walls { ruleset: ruleset.as_ref(), ..walls });
        let plan = Plan::of(&Command { stdio, walls, ..*command }).map_err(Failure::Program)?;
        let child = self.inhabitant.become_program(&furniture, plan)?;
        child.be_expendable(command.walls);
        Ok((child, self.root))
    }

    /// What Landlock says again, for a command that has walls: what is shown of the machine is read and executed, what
    /// is the job's is read and written. Overlays are both, and can only be named once they are mounted.
    fn ruleset(&self, command: &Command<'_>, furniture: &Furniture) -> Result<Option<Ruleset>, Failure> {
        if command.walls.is_none() || landlock::version() == 0 {
            return Ok(None);
        }
        let rules = || -> io::Result<Ruleset> {
            let apart = Place::all_of(furniture.shown_apart.iter().map(PathBuf::as_path))?;
            let root = self.root.place()?;
            let files = self.exposure.files()?;
            let readable = self.exposure.places()?.into_iter().chain(&files).chain(&apart).chain([&root]);
            // Nothing is written in the root itself but by a job that runs there.
            let at_root = command.directory.is_none_or(|directory| directory == Path::new("/"));
            let parts = self.root.places()?;
            let writable = if at_root { std::slice::from_ref(&root) } else { &parts };
            let devices = Place::all_of(DEVICES.map(Path::new))?;
            Ruleset::for_program(readable, writable, &devices)
        };
        rules().map(Some).map_err(|error| unavailable("make rules for Landlock", &error))
    }

    fn furniture(&mut self) -> Result<Furniture, Failure> {
        let parts = self.exposure.parts();
        let mut furniture = Furniture {
            mounts: Vec::new(),
            devices: Vec::new(),
            bound: Vec::new(),
            shown_apart: Vec::new(),
            one_by_one: self.one_by_one,
        };
        for directory in &parts.directories {
            self.expose(&directory.path, &directory.submounts, &mut furniture)?;
        }
        for file in parts.files.iter().filter(|file| self.root.is_plain_file(inside(file).as_bytes())) {
            furniture.bind(file)?;
        }
        for file in self.shown.drain(..) {
            furniture.bound.push(file.target.clone());
            furniture.mounts.push(file);
        }
        for device in DEVICES.map(Path::new) {
            if self.root.is_plain_file(inside(device).as_bytes()) {
                furniture.devices.push(bind(device)?);
            }
        }
        Ok(furniture)
    }

    /// Shows a directory, and the other file systems mounted below it; beside the job's files if it has some there.
    fn expose(&self, path: &Path, submounts: &[PathBuf], furniture: &mut Furniture) -> Result<(), Failure> {
        let below = |mount: &&PathBuf| mount.starts_with(path) && **mount != path;
        let mut below = submounts.iter().filter(below).peekable();
        let point = self.root.mount_point(inside(path).as_bytes());
        match point.map_err(|error| unavailable("make a mount point", &error))? {
            MountPoint::New => {
                if !self.exposure.parts().directories.iter().any(|directory| directory.path == path) {
                    furniture.shown_apart.push(path.to_path_buf());
                }
                furniture.bind(path)?;
                for submount in below {
                    furniture.bound.push(relative(submount)?);
                }
                Ok(())
            }
            // Nobody inside could look at what the server has there, and in an overlay not at the job's files either.
            MountPoint::Filled if !is_open_to_us(path) => Ok(()),
            // In a user namespace a directory with other file systems below it cannot be part of an overlay.
            MountPoint::Filled
                if self.without_overlays || below.peek().is_some() || self.meets_closed_directory(path) =>
            {
                self.expose_entries(path, submounts, furniture)
            }
            MountPoint::Filled => self.overlay(path, furniture),
            // The job's own file or link of that name is what the compiler is to see.
            MountPoint::Other => Ok(()),
        }
    }

    /// Whether the job has a directory, at whatever depth below this one, that the server has too and keeps closed.
    fn meets_closed_directory(&self, path: &Path) -> bool {
        fs::read_dir(path).into_iter().flatten().flatten().any(|entry| {
            let path = entry.path();
            entry.file_type().is_ok_and(|kind| kind.is_dir())
                && self.root.has(inside(&path).as_bytes())
                && (!is_open_to_us(&path) || self.meets_closed_directory(&path))
        })
    }

    /// Shows what is in a directory one by one, where the job has nothing of the same name.
    fn expose_entries(
        &self,
        path: &Path,
        submounts: &[PathBuf],
        furniture: &mut Furniture,
    ) -> Result<(), Failure> {
        let failed = |error: io::Error| unavailable(&format!("show what is in {}", path.display()), &error);
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            let inside = inside(&path).as_bytes();
            if furniture.mounts.len() > MOUNTS_MAX {
                let text =
                    format!("a job's files lie among more than {MOUNTS_MAX} entries of system directories");
                return Err(Failure::Unavailable(text));
            }
            if kind.is_dir() {
                self.expose(&path, submounts, furniture)?;
            } else if self.root.has(inside) {
                continue;
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(failed)?;
                let made = self.root.unpacker().create_link(inside, target.as_os_str().as_bytes());
                made.map_err(failed)?;
            } else if kind.is_file() {
                self.root.unpacker().create_file(inside, b"", None).map_err(failed)?;
                furniture.shown_apart.push(path.clone());
                furniture.bind(&path)?;
            }
        }
        Ok(())
    }

    /// A directory below which the job has files: both are to be seen, and what is written is the job's.
    fn overlay(&self, path: &Path, furniture: &mut Furniture) -> Result<(), Failure> {
        let refused =
            |what: &str| Failure::Unavailable(format!("a job has files in {}, which {what}", path.display()));
        let source = path.as_os_str().as_bytes();
        // An overlay's options know no way to write some of these that all kernels share.
        if source.iter().any(|byte| b",:\\\"".contains(byte)) {
            return Err(refused("has a name that overlayfs cannot take"));
        }
        let target = relative(path)?;
        let work = format!("{OVERLAY_WORK}/{}", furniture.mounts.len());
        let made = self.root.mount_point(work.as_bytes());
        if made.map_err(|error| unavailable("make an overlay's directory", &error))? != MountPoint::New {
            return Err(refused("cannot be overlaid, because the job has a /proc as well"));
        }
        let options =
            [b"userxattr,lowerdir=", source, b",upperdir=", target.as_bytes(), b",workdir=", work.as_bytes()]
                .concat();
        let overlay = Some(c_string(OsStr::from_bytes(&options))?);
        furniture.mounts.push(Mount { source: c_string(path.as_os_str())?, target, overlay, is_data: false });
        Ok(())
    }
}

impl Furniture {
    fn bind(&mut self, path: &Path) -> Result<(), Failure> {
        let mount = bind(path)?;
        self.bound.push(mount.target.clone());
        self.mounts.push(mount);
        Ok(())
    }
}

/// Whether a directory can be listed and entered with our ids alone, without the rights of a superuser: those end where
/// a user namespace begins.
fn is_open_to_us(path: &Path) -> bool {
    // SAFETY: neither call has preconditions.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    fs::metadata(path).is_ok_and(|directory| {
        let shift = match () {
            () if directory.uid() == user => 6,
            () if directory.gid() == group => 3,
            () => 0,
        };
        directory.mode() >> shift & 0o5 == 0o5
    })
}

fn bind(path: &Path) -> Result<Mount, Failure> {
    Ok(Mount { source: c_string(path.as_os_str())?, target: relative(path)?, overlay: None, is_data: false })
}

fn relative(path: &Path) -> Result<CString, Failure> {
    c_string(inside(path))
}

fn c_string(text: &OsStr) -> Result<CString, Failure> {
    CString::new(text.as_bytes()).map_err(|_| Failure::Unavailable(format!("path {text:?} holds a NUL byte")))
}

/// Puts into an empty root what every job finds there, before the job's own files come.
fn prepare(root: &JobRoot, exposure: &Exposure) -> io::Result<()> {
    let parts = exposure.parts();
    let mut unpacker = root.unpacker();
    unpacker.create_directory(b"proc")?;
    unpacker.create_directory(b"tmp")?;
    root.set_mode(c"tmp", 0o1777)?;
    let devices = DEVICES.iter().map(Path::new).filter(|device| device.exists());
    for file in devices.chain(parts.files.iter().map(|file| file.as_path())) {
        unpacker.create_file(inside(file).as_bytes(), b"", None)?;
    }
    for (link, target) in &parts.links {
        unpacker.create_link(inside(link).as_bytes(), target.as_bytes())?;
    }
    Ok(())
}

/// The process of a chamber, until it has become a program.
///
/// It is cloned without an exit signal, so that no `wait` of ours for any child takes it; exec makes it an ordinary
/// child.
#[derive(Debug)]
struct Inhabitant {
    pid: i32,
    /// Whether it is ours no more: waited for, or a program.
    is_settled: bool,
    handshake: Arc<Handshake>,
    /// What it runs on.
    _stack: Vec<u128>,
}

impl Inhabitant {
    /// Starts it, and waits until it has mounted its root.
    fn start(limits: ChamberLimits) -> Result<(Inhabitant, JobRoot), Failure> {
        let parent = own_pidfd();
        let fd = parent.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        // To tmpfs, 0 is no limit.
        let (bytes, files) = (limits.bytes.max(1), limits.files.max(1));
        let tmpfs = text(format!("mode=755,size={bytes},nr_inodes={files}"));
        let handshake = Arc::new(Handshake::new(fd, tmpfs));
        let mut stack: Vec<u128> = Vec::with_capacity(CHILD_STACK_BYTES / size_of::<u128>());
        // SAFETY: the pointer is one past the end of the allocation, aligned to 16 bytes by the element type.
        let stack_top = unsafe { stack.as_mut_ptr().add(stack.capacity()) };
        let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_CHILD_CLEARTID;
        let namespaces = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC;
        // Blocked here so that no handler runs in the child, nor here while the child uses our errno.
        let unblocked = signal::block_all();
        // SAFETY: the child runs `inhabit` on a stack of its own. Stack and handshake live as long as it shares our
        // memory (`Drop` waits for that), and it runs only while this thread waits for it.
        let pid = unsafe {
            libc::clone(
                inhabit,
                stack_top.cast(),
                flags | namespaces,
                Arc::as_ptr(&handshake).cast_mut().cast(),
                ptr::null_mut::<libc::pid_t>(),
                ptr::null_mut::<libc::c_void>(),
                handshake.turn.as_ptr(),
            )
        };
        let error = io::Error::last_os_error();
        if pid > 0 {
            handshake.wait_while(LAYING_OUT);
        }
        signal::restore_mask(&unblocked);
        if pid < 0 {
            return Err(unavailable("make a new user, mount, pid and ipc namespace", &error));
        }
        let inhabitant = Inhabitant { pid, is_settled: false, handshake, _stack: stack };
        if inhabitant.handshake.wait_while(LAYING_OUT) != READY {
            return Err(inhabitant.failure());
        }
        inhabitant.map_ids().map_err(|error| unavailable(Step::Map.words(), &error))?;
        let root = inhabitant.root().map_err(|error| unavailable(Step::Root.words(), &error))?;
        Ok((inhabitant, root))
    }

    /// Gives it our own user and group, and no others. Not its own work: it shares our descriptors, and what it had open
    /// when somebody killed it would stay.
    fn map_ids(&self) -> io::Result<()> {
        // SAFETY: neither call has preconditions.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        let write = |file: &str, text: String| fs::write(format!("/proc/{}/{file}", self.pid), text);
        // Absent before Linux 3.19, where it is not needed either.
        let _ = write("setgroups", "deny".into());
        write("gid_map", format!("{group} {group} 1\n"))?;
        write("uid_map", format!("{user} {user} 1\n"))
    }

    /// The root it has mounted.
    fn root(&self) -> io::Result<JobRoot> {
        let path = format!("/proc/{}/root{}", self.pid, PROC.to_string_lossy());
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let root = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        Ok(JobRoot::of_descriptor(root.into()))
    }

    /// Lets it furnish its root and become the program.
    fn become_program(&mut self, furniture: &Furniture, plan: Plan<'_>) -> Result<Child, Failure> {
        let unblocked = signal::block_all();
        if self.handshake.wait_while(LAYING_OUT) == READY {
            self.handshake.furnish(&Errand { furniture, plan });
        }
        signal::restore_mask(&unblocked);
        if self.collect() { Err(self.failure()) } else { Ok(Child::init_of_namespace(self.pid)) }
    }

    /// Waits until the process has died or become a program, and says whether it has died. A program is no longer a
    /// child of the kind that this waits for.
    fn collect(&mut self) -> bool {
        self.is_settled = true;
        loop {
            // SAFETY: waitpid takes a null pointer for a status nobody wants.
            let pid = unsafe { libc::waitpid(self.pid, ptr::null_mut(), libc::__WCLONE) };
            if pid == self.pid {
                return true;
            }
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return false;
            }
        }
    }

    fn failure(&self) -> Failure {
        match self.handshake.fault() {
            Some((Step::Execute, error)) => Failure::Program(error),
            Some((step, error)) => unavailable(step.words(), &error),
            None => Failure::Unavailable("the process was killed before it was the program".into()),
        }
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        if self.handshake.wait_while(LAYING_OUT) == READY {
            self.handshake.pass(LEAVE);
            self.handshake.wait_while(LEAVE);
        }
        self.collect();
    }
}

/// A descriptor of this process that tells when it has ended; none before Linux 5.3.
fn own_pidfd() -> Option<OwnedFd> {
    // SAFETY: a descriptor that comes back is new and nobody else's; pidfds close at exec.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as libc::c_int))
    }
}

fn text(text: String) -> CString {
    CString::new(text).expect("BUG: a number holds a NUL byte")
}
