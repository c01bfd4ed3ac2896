//! The inhabitant of a confinement: the child's half, from a fresh clone in new namespaces to exec inside.
//!
//! Knows system calls only. It shares its parent's memory and descriptors, and the two never run at once between
//! clone and exec (see `Handshake`), so nothing here allocates, locks or panics.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use crate::sys::child::Plan;

/// The states of `Handshake::turn`. The kernel itself writes 0 when the child is gone or has become a program
/// (CLONE_CHILD_CLEARTID), and wakes the parent.
pub(super) const LAYING_OUT: u32 = 1;
pub(super) const READY: u32 = 2;
pub(super) const FURNISH: u32 = 3;
pub(super) const LEAVE: u32 = 4;

/// Where the new root is mounted at first: a directory that is surely there.
pub(super) const PROC: &CStr = c"/proc";
/// Highest number of a capability that a kernel may come to know.
const CAPABILITIES_MAX: libc::c_ulong = 63;
/// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// What a child does, one step after the other; the words say what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Step {
    Map,
    Root,
    Expose,
    Overlay,
    Protect,
    Device,
    Pivot,
    Surrender,
    Connect,
    Execute,
}

impl Step {
    const ALL: [Step; 10] = [
        Step::Map,
        Step::Root,
        Step::Expose,
        Step::Overlay,
        Step::Protect,
        Step::Device,
        Step::Pivot,
        Step::Surrender,
        Step::Connect,
        Step::Execute,
    ];

    pub(super) fn words(self) -> &'static str {
        match self {
            Step::Map => "map our user id into a new user namespace",
            Step::Root => "mount a tmpfs in a new user namespace",
            Step::Expose => "bind a system directory",
            Step::Overlay => "mount an overlay over a system directory",
            Step::Protect => "make system directories read-only",
            Step::Device => "bind a device",
            Step::Pivot => "change the root directory",
            Step::Surrender => "give up capabilities",
            Step::Connect => "connect the standard streams",
            Step::Execute => "execute the program",
        }
    }
}

/// What parent and child have in common. `turn` says whose turn it is: each waits until the other has changed it.
///
/// They share errno too. While the parent works, the child sleeps on the futex with all signals blocked, where no error
/// can end its call; while the child works, so does the parent. Whoever has just lost the turn reads no errno.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) turn: AtomicU32,
    step: AtomicU32,
    errno: AtomicI32,
    /// The `Errand` of the second half.
    errand: AtomicPtr<libc::c_void>,
    /// A pidfd of the parent; -1 where there is none.
    pub(super) parent: RawFd,
    /// Options of the tmpfs.
    pub(super) tmpfs: CString,
}

/// The second half of a child's life.
pub(super) struct Errand<'a> {
    pub(super) furniture: &'a Furniture,
    pub(super) plan: Plan<'a>,
}

/// What the child is to mount.
pub(super) struct Furniture {
    /// System directories and files, in order.
    pub(super) mounts: Vec<Mount>,
    /// Device files.
    pub(super) devices: Vec<Mount>,
    /// Everything mounted by binding, also what came with a directory: for kernels that cannot do it at once.
    pub(super) bound: Vec<CString>,
    /// Files and directories of this machine among them that are no part of what every job sees.
    pub(super) shown_apart: Vec<PathBuf>,
    /// Do as before Linux 5.12.
    pub(super) one_by_one: bool,
}

/// One mount. Targets are relative to the new root.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) source: CString,
    pub(super) target: CString,
    /// For an overlay: its options.
    pub(super) overlay: Option<CString>,
    /// What came from a job: nothing in it is executed.
    pub(super) is_data: bool,
}

struct Fault(Step, libc::c_int);

impl Handshake {
    pub(super) fn new(parent: RawFd, tmpfs: CString) -> Handshake {
        Handshake {
            turn: AtomicU32::new(LAYING_OUT),
            step: AtomicU32::new(0),
            errno: AtomicI32::new(0),
            errand: AtomicPtr::new(ptr::null_mut()),
            parent,
            tmpfs,
        }
    }

    /// Gives the turn to the other side.
    pub(super) fn pass(&self, turn: u32) {
        self.turn.store(turn, Ordering::Release);
        // SAFETY: the word is alive. Not a private futex, because the kernel's own wake at exec is not either.
        unsafe { libc::syscall(libc::SYS_futex, self.turn.as_ptr(), libc::FUTEX_WAKE, 1) };
    }

    /// Waits while it is `turn`, and says whose it is now.
    pub(super) fn wait_while(&self, turn: u32) -> u32 {
        loop {
            let now = self.turn.load(Ordering::Acquire);
            if now != turn {
                return now;
            }
            let forever = ptr::null::<libc::timespec>();
            // SAFETY: as in `pass`. The result does not matter: the word does.
            unsafe { libc::syscall(libc::SYS_futex, self.turn.as_ptr(), libc::FUTEX_WAIT, turn, forever) };
        }
    }

    /// Lets the child do its second half. Returns when it has become the program or is gone.
    pub(super) fn furnish(&self, errand: &Errand<'_>) {
        self.errand.store(ptr::from_ref(errand).cast_mut().cast(), Ordering::Release);
        self.pass(FURNISH);
        self.wait_while(FURNISH);
    }

    /// The step at which the child gave up, and its error.
    pub(super) fn fault(&self) -> Option<(Step, std::io::Error)> {
        let errno = self.errno.load(Ordering::Acquire);
        let step = *Step::ALL.get(self.step.load(Ordering::Acquire) as usize)?;
        (errno != 0).then(|| (step, std::io::Error::from_raw_os_error(errno)))
    }
}

/// The child's whole life until exec. Its argument is a `Handshake`.
pub(super) extern "C" fn inhabit(handshake: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the parent passes a `Handshake` that it keeps until this process is gone or has become a program.
    let handshake = unsafe { &*handshake.cast::<Handshake>() };
    let Err(Fault(step, errno)) = Inside { handshake }.live();
    handshake.step.store(step as u32, Ordering::Release);
    handshake.errno.store(errno, Ordering::Release);
    // SAFETY: ends this process only; the memory it shares stays.
    unsafe { libc::_exit(127) }
}

/// The child. There is one only in a process that was cloned to be it, in new user, mount and pid namespaces, and it
/// works only while its parent waits: that is what its system calls rely on.
struct Inside<'a> {
    handshake: &'a Handshake,
}

impl Inside<'_> {
    fn live(&self) -> Result<std::convert::Infallible, Fault> {
        // SAFETY: the pointer is to an `Errand` that outlives the second half; the rest is plain system calls.
        unsafe {
            self.lay_out()?;
            self.handshake.pass(READY);
            if self.handshake.wait_while(READY) != FURNISH {
                libc::_exit(0);
            }
            let Errand { furniture, plan } =
                &*self.handshake.errand.load(Ordering::Acquire).cast::<Errand<'_>>();
            // First of all: whatever is opened from here on goes with this process, however that ends.
            if !plan.leave_files_behind() {
                return Err(Fault(Step::Connect, errno()));
            }
            // No compiler needs user namespaces, and they are where a kernel's holes are. In vain if /proc is read-only.
            write_file(c"sys/user/max_user_namespaces", c"0");
            check(Step::Pivot, libc::chdir(PROC.as_ptr()))?;
            self.furnish(furniture)?;
            if let Some(ruleset) = plan.walls.and_then(|walls| walls.ruleset) {
                for overlay in furniture.mounts.iter().filter(|mount| mount.overlay.is_some()) {
                    match ruleset.allow_here(&overlay.target) {
                        0 => {}
                        errno => return Err(Fault(Step::Overlay, errno)),
                    }
                }
            }
            self.move_in()?;
            self.surrender()?;
            if !plan.connect_stdio() {
                return Err(Fault(Step::Connect, errno()));
            }
            // All of ours close at exec; whoever started us may have left others open. Before Linux 5.9 they stay.
            // The ruleset is needed once more, and closes by itself.
            let ruleset = plan.walls.and_then(|walls| walls.ruleset);
            let kept = ruleset.map_or(2, |ruleset| ruleset.as_fd().as_raw_fd() as libc::c_uint);
            if kept > 3 {
                libc::syscall(libc::SYS_close_range, 3, kept - 1, 0);
            }
            libc::syscall(libc::SYS_close_range, kept + 1, libc::c_uint::MAX, 0);
            Err(Fault(Step::Execute, plan.become_program()))
        }
    }

    /// The first half: an empty root. No file is opened, because the table of descriptors is the parent's: what is open
    /// when somebody kills this process would be so for ever.
    fn lay_out(&self) -> Result<(), Fault> {
        // SAFETY: all strings are NUL-terminated; the pollfd is alive for the call.
        unsafe {
            libc::setpgid(0, 0);
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
            // In a new pid namespace getppid() cannot tell that the parent died before that; its pidfd can.
            let mut parent = libc::pollfd { fd: self.handshake.parent, events: libc::POLLIN, revents: 0 };
            if libc::poll(&mut parent, 1, 0) > 0 {
                libc::_exit(127);
            }
            // What is there now stays the working directory, below what is mounted over it.
            check(Step::Root, libc::chdir(PROC.as_ptr()))?;
            // No program and no library is run from what a job brought or made.
            let locked = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            let (kind, options) = (c"tmpfs".as_ptr(), self.handshake.tmpfs.as_ptr().cast());
            check(Step::Root, libc::mount(kind, PROC.as_ptr(), kind, locked, options))
        }
    }

    /// Mounts everything below the working directory, which is the new root.
    fn furnish(&self, furniture: &Furniture) -> Result<(), Fault> {
        let at_once = !furniture.one_by_one
            && match set_attributes(libc::AT_FDCWD, c"", false, Attributes::default()) {
                Ok(()) => true,
                Err(libc::ENOSYS | libc::EPERM) => false,
                Err(errno) => return Err(Fault(Step::Protect, errno)),
            };
        let locked = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
        for mount in &furniture.mounts {
            let attributes = match mount.overlay {
                Some(_) => 0,
                None if mount.is_data => locked | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC,
                None => locked | libc::MOUNT_ATTR_NODEV,
            };
            if self.place(mount)? && at_once {
                lock(&mount.target, attributes)?;
            }
        }
        if self.mount_proc() && at_once {
            lock(c"proc", locked)?;
        }
        for device in &furniture.devices {
            if self.place(device)? && at_once {
                lock(&device.target, locked)?;
            }
        }
        if !at_once {
            furniture.bound.iter().try_for_each(|target| self.protect(target, libc::MS_NODEV))?;
            furniture.devices.iter().try_for_each(|device| self.protect(&device.target, 0))?;
        }
        Ok(())
    }

    /// Makes a mount. False if there is nothing to be shown.
    fn place(&self, mount: &Mount) -> Result<bool, Fault> {
        let (source, target) = (mount.source.as_ptr(), mount.target.as_ptr());
        // SAFETY: all strings are NUL-terminated and alive.
        unsafe {
            match &mount.overlay {
                None => {
                    let flags = libc::MS_BIND | libc::MS_REC;
                    match check(Step::Expose, libc::mount(source, target, ptr::null(), flags, ptr::null())) {
                        // What is gone since it was found, or what this user may not reach, is not shown.
                        Err(Fault(_, libc::ENOENT | libc::EACCES)) => Ok(false),
                        result => result.map(|()| true),
                    }
                }
                Some(options) => {
                    let (kind, flags) = (c"overlay".as_ptr(), libc::MS_NOSUID | libc::MS_NODEV);
                    let result = libc::mount(kind, target, kind, flags, options.as_ptr().cast());
                    check(Step::Overlay, result).map(|()| true)
                }
            }
        }
    }

    /// The job's own processes, and nothing else of /proc where the kernel can say so (Linux 5.8). A kernel that refuses
    /// (parts of the outer /proc are masked) leaves an empty directory: compilers do without. True if it is there.
    fn mount_proc(&self) -> bool {
        let kind = c"proc".as_ptr();
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        // SAFETY: all strings are NUL-terminated.
        unsafe {
            libc::mount(kind, kind, kind, flags, c"subset=pid".as_ptr().cast()) == 0
                || errno() == libc::EINVAL && libc::mount(kind, kind, kind, flags, ptr::null()) == 0
        }
    }

    /// The same for one mount on kernels without mount_setattr. What the mount forbids already must be said again.
    fn protect(&self, target: &CStr, more: libc::c_ulong) -> Result<(), Fault> {
        const KEPT: [(libc::c_ulong, libc::c_ulong); 6] = [
            (libc::ST_NOSUID, libc::MS_NOSUID),
            (libc::ST_NODEV, libc::MS_NODEV),
            (libc::ST_NOEXEC, libc::MS_NOEXEC),
            (libc::ST_NOATIME, libc::MS_NOATIME),
            (libc::ST_NODIRATIME, libc::MS_NODIRATIME),
            (libc::ST_RELATIME, libc::MS_RELATIME),
        ];
        let (path, none) = (target.as_ptr(), ptr::null());
        // SAFETY: statvfs is plain data, written by the call; the path is NUL-terminated.
        unsafe {
            let mut now: libc::statvfs = std::mem::zeroed();
            match check(Step::Protect, libc::statvfs(path, &mut now)) {
                // Gone, or out of reach for the program too.
                Err(Fault(_, libc::ENOENT | libc::EACCES)) => return Ok(()),
                result => result?,
            }
            let mut flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | libc::MS_NOSUID | more;
            for (bit, flag) in KEPT {
                flags |= if now.f_flag & bit != 0 { flag } else { 0 };
            }
            check(Step::Protect, libc::mount(none, path, none, flags, none.cast()))?;
            check(Step::Protect, libc::mount(none, path, none, libc::MS_PRIVATE, none.cast()))
        }
    }

    /// Makes the working directory the root, and the old root unreachable.
    fn move_in(&self) -> Result<(), Fault> {
        let here = c".".as_ptr();
        // SAFETY: the string is NUL-terminated.
        unsafe {
            check(Step::Pivot, libc::syscall(libc::SYS_pivot_root, here, here) as libc::c_int)?;
            // The old root lies over the new one now.
            check(Step::Pivot, libc::umount2(here, libc::MNT_DETACH))?;
            check(Step::Pivot, libc::chdir(c"/".as_ptr()))
        }
    }

    /// Gives up all rights over the namespaces for good.
    fn surrender(&self) -> Result<(), Fault> {
        // SAFETY: this process is the inhabitant alone.
        unsafe { surrender_capabilities() }
            .map_err(|error| Fault(Step::Surrender, error.raw_os_error().unwrap_or_default()))
    }
}

/// Writes a file of the kernel's, if it can.
fn write_file(path: &CStr, text: &CStr) {
    let bytes = text.to_bytes();
    // SAFETY: the path is NUL-terminated, the buffer as long as said.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd >= 0 {
            libc::write(fd, bytes.as_ptr().cast(), bytes.len());
            libc::close(fd);
        }
    }
}

/// Gives a mount below the working directory, and what came with it, these attributes; what is mounted outside later
/// does not appear there.
fn lock(target: &CStr, set: u64) -> Result<(), Fault> {
    let change = Attributes { set, clear: 0, cut_off: true };
    set_attributes(libc::AT_FDCWD, target, true, change).map_err(|errno| Fault(Step::Protect, errno))
}

/// What mount_setattr(2) is to change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes {
    pub(super) set: u64,
    pub(super) clear: u64,
    /// Cut the mounts off from what is mounted outside later.
    pub(super) cut_off: bool,
}

/// mount_setattr(2). The error is its errno.
pub(super) fn set_attributes(
    directory: RawFd,
    path: &CStr,
    recursive: bool,
    change: Attributes,
) -> Result<(), libc::c_int> {
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 } | libc::AT_EMPTY_PATH;
    // SAFETY: mount_attr is plain data for which zero is valid; the path is NUL-terminated.
    unsafe {
        let mut attributes: libc::mount_attr = std::mem::zeroed();
        attributes.attr_set = change.set;
        attributes.attr_clr = change.clear;
        attributes.propagation = if change.cut_off { libc::MS_PRIVATE } else { 0 };
        let result = libc::syscall(
            libc::SYS_mount_setattr,
            directory,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        );
        if result < 0 { Err(errno()) } else { Ok(()) }
    }
}

/// Gives up all capabilities of this thread for good, and the way to gain some by executing a program. Allocates nothing.
///
/// # Safety
/// Whoever shares this thread's rights by design must be about to lose them too.
pub(super) unsafe fn surrender_capabilities() -> std::io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let error = std::io::Error::last_os_error;
    // SAFETY: header and sets are what capset(2) asks for in this version.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 {
            return Err(error());
        }
        for capability in 0..=CAPABILITIES_MAX {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability) < 0 {
                break;
            }
        }
        let header = Header { version: CAPABILITY_VERSION, pid: 0 };
        let none = [0_u32; 6];
        let result = libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr());
        if result < 0 { Err(error()) } else { Ok(()) }
    }
}

fn check(step: Step, result: libc::c_int) -> Result<(), Fault> {
    if result < 0 { Err(Fault(step, errno())) } else { Ok(()) }
}

fn errno() -> libc::c_int {
    // SAFETY: the pointer is this thread's errno, which the child shares with the waiting parent.
    unsafe { *libc::__errno_location() }
}
