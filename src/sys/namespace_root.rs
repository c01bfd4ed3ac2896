//! The inhabitant of a confinement: the child's half, from a fresh clone in new namespaces to exec inside.
//!
//! Knows system calls only. It shares its parent's memory and descriptors, and the two never run at once between
//! clone and exec (see `Handshake`), so nothing here allocates, locks or panics.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use crate::sys::child::Plan;

/// The states of `Handshake::turn`. The kernel itself writes 0 when the child is gone or has become a program
/// (CLONE_CHILD_CLEARTID), and wakes the parent.
pub(super) const LAYING_OUT: u32 = 1;
pub(super) const READY: u32 = 2;
pub(super) const FURNISH: u32 = 3;
pub(super) const LEAVE: u32 = 4;

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
    /// The root of the job's file system; -1 until it is mounted. Ours through the shared descriptor table.
    pub(super) root: AtomicI32,
    /// The `Furniture` of the second half.
    furniture: AtomicPtr<libc::c_void>,
    /// A pidfd of the parent; -1 where there is none.
    pub(super) parent: RawFd,
    pub(super) uid_map: CString,
    pub(super) gid_map: CString,
    /// Options of the tmpfs.
    pub(super) tmpfs: CString,
}

/// What the child is to mount and to become.
pub(super) struct Furniture<'a> {
    /// System directories and files, in order.
    pub(super) mounts: Vec<Mount>,
    /// Device files.
    pub(super) devices: Vec<Mount>,
    /// Everything mounted by binding, also what came with a directory: for kernels that cannot do it at once.
    pub(super) bound: Vec<CString>,
    /// Do as before Linux 5.12.
    pub(super) one_by_one: bool,
    pub(super) plan: Plan<'a>,
}

/// One mount. Targets are relative to the new root.
pub(super) struct Mount {
    pub(super) source: CString,
    pub(super) target: CString,
    /// For an overlay: its options.
    pub(super) overlay: Option<CString>,
}

struct Fault(Step, libc::c_int);

impl Handshake {
    pub(super) fn new(parent: RawFd, maps: [CString; 2], tmpfs: CString) -> Handshake {
        let [uid_map, gid_map] = maps;
        Handshake {
            turn: AtomicU32::new(LAYING_OUT),
            step: AtomicU32::new(0),
            errno: AtomicI32::new(0),
            root: AtomicI32::new(-1),
            furniture: AtomicPtr::new(ptr::null_mut()),
            parent,
            uid_map,
            gid_map,
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
    pub(super) fn furnish(&self, furniture: &Furniture<'_>) {
        self.furniture.store(ptr::from_ref(furniture).cast_mut().cast(), Ordering::Release);
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
        // SAFETY: the pointer is to a `Furniture` that outlives the second half; the rest is plain system calls.
        unsafe {
            self.lay_out()?;
            self.handshake.pass(READY);
            if self.handshake.wait_while(READY) != FURNISH {
                libc::_exit(0);
            }
            let furniture = &*self.handshake.furniture.load(Ordering::Acquire).cast::<Furniture<'_>>();
            let root = self.handshake.root.load(Ordering::Acquire);
            check(Step::Pivot, libc::fchdir(root))?;
            self.furnish(furniture, root)?;
            self.move_in()?;
            self.surrender()?;
            check(Step::Connect, libc::unshare(libc::CLONE_FILES))?;
            if !furniture.plan.connect_stdio() {
                return Err(Fault(Step::Connect, errno()));
            }
            // All of ours close at exec; whoever started us may have left others open. Before Linux 5.9 they stay.
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
            Err(Fault(Step::Execute, furniture.plan.become_program()))
        }
    }

    /// The first half: ids, and an empty root.
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
            // Absent before Linux 3.19, where it is not needed either.
            let _ = self.write_file(c"/proc/self/setgroups", c"deny");
            self.write_file(c"/proc/self/gid_map", &self.handshake.gid_map)?;
            self.write_file(c"/proc/self/uid_map", &self.handshake.uid_map)?;
            // No compiler needs user namespaces, and they are where a kernel's holes are. In vain if /proc is read-only.
            let _ = self.write_file(c"/proc/sys/user/max_user_namespaces", c"0");
            // Over /proc, because that is a directory that is surely there.
            // No program and no library is run from what a job brought or made.
            let locked = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            let (kind, flags) = (c"tmpfs".as_ptr(), locked);
            let options = self.handshake.tmpfs.as_ptr().cast();
            check(Step::Root, libc::mount(kind, c"/proc".as_ptr(), kind, flags, options))?;
            let root = libc::open(c"/proc".as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC);
            check(Step::Root, root)?;
            self.handshake.root.store(root, Ordering::Release);
            Ok(())
        }
    }

    /// Mounts everything below the working directory, which is the new root.
    fn furnish(&self, furniture: &Furniture<'_>, root: RawFd) -> Result<(), Fault> {
        furniture.mounts.iter().try_for_each(|mount| self.place(mount))?;
        self.mount_proc();
        let at_once = !furniture.one_by_one
            && match self.set_attributes(root, c"", true, libc::MOUNT_ATTR_NODEV, 0) {
                Ok(()) => true,
                Err(libc::ENOSYS | libc::EPERM) => false,
                Err(errno) => return Err(Fault(Step::Protect, errno)),
            };
        furniture.devices.iter().try_for_each(|device| self.place(device))?;
        if !at_once {
            furniture.bound.iter().try_for_each(|target| self.protect(target, libc::MS_NODEV))?;
            return furniture.devices.iter().try_for_each(|device| self.protect(&device.target, 0));
        }
        // Everything, and then the job's own parts not.
        let locked = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
        let fault = |errno| Fault(Step::Protect, errno);
        self.set_attributes(root, c"", true, locked, 0).map_err(fault)?;
        for mount in furniture.mounts.iter().filter(|mount| mount.overlay.is_some()) {
            let cleared = libc::MOUNT_ATTR_RDONLY;
            self.set_attributes(libc::AT_FDCWD, &mount.target, false, 0, cleared).map_err(fault)?;
        }
        self.set_attributes(root, c"", false, 0, libc::MOUNT_ATTR_RDONLY).map_err(fault)
    }

    fn place(&self, mount: &Mount) -> Result<(), Fault> {
        let (source, target) = (mount.source.as_ptr(), mount.target.as_ptr());
        // SAFETY: all strings are NUL-terminated and alive.
        unsafe {
            match &mount.overlay {
                None => {
                    let flags = libc::MS_BIND | libc::MS_REC;
                    match check(Step::Expose, libc::mount(source, target, ptr::null(), flags, ptr::null())) {
                        // What is gone since it was found, or what this user may not reach, is not shown.
                        Err(Fault(_, libc::ENOENT | libc::EACCES)) => Ok(()),
                        result => result,
                    }
                }
                Some(options) => {
                    let (kind, flags) = (c"overlay".as_ptr(), libc::MS_NOSUID | libc::MS_NODEV);
                    let result = libc::mount(kind, target, kind, flags, options.as_ptr().cast());
                    check(Step::Overlay, result)
                }
            }
        }
    }

    /// The job's own processes, and nothing else of /proc where the kernel can say so (Linux 5.8). A kernel that refuses
    /// (parts of the outer /proc are masked) leaves an empty directory: compilers do without.
    fn mount_proc(&self) {
        let kind = c"proc".as_ptr();
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        // SAFETY: all strings are NUL-terminated.
        unsafe {
            if libc::mount(kind, kind, kind, flags, c"subset=pid".as_ptr().cast()) < 0
                && errno() == libc::EINVAL
            {
                libc::mount(kind, kind, kind, flags, ptr::null());
            }
        }
    }

    /// mount_setattr(2), which also cuts the mounts off from what is mounted outside later. The error is its errno.
    fn set_attributes(
        &self,
        directory: RawFd,
        path: &CStr,
        recursive: bool,
        set: u64,
        clear: u64,
    ) -> Result<(), libc::c_int> {
        let flags = if recursive { libc::AT_RECURSIVE } else { 0 } | libc::AT_EMPTY_PATH;
        // SAFETY: mount_attr is plain data for which zero is valid; the path is NUL-terminated.
        unsafe {
            let mut attributes: libc::mount_attr = std::mem::zeroed();
            attributes.attr_set = set;
            attributes.attr_clr = clear;
            attributes.propagation = libc::MS_PRIVATE;
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
        #[repr(C)]
        struct Header {
            version: u32,
            pid: i32,
        }
        // SAFETY: header and sets are what capset(2) asks for in this version.
        unsafe {
            check(Step::Surrender, libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            for capability in 0..=CAPABILITIES_MAX {
                if libc::prctl(libc::PR_CAPBSET_DROP, capability) < 0 {
                    break;
                }
            }
            let header = Header { version: CAPABILITY_VERSION, pid: 0 };
            let none = [0_u32; 6];
            let result = libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr());
            check(Step::Surrender, result as libc::c_int)
        }
    }

    fn write_file(&self, path: &CStr, text: &CStr) -> Result<(), Fault> {
        let bytes = text.to_bytes();
        // SAFETY: the path is NUL-terminated, the buffer as long as said.
        unsafe {
            let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            check(Step::Map, fd)?;
            let written = libc::write(fd, bytes.as_ptr().cast(), bytes.len());
            let result = check(Step::Map, written as libc::c_int);
            libc::close(fd);
            result
        }
    }
}

fn check(step: Step, result: libc::c_int) -> Result<(), Fault> {
    if result < 0 { Err(Fault(step, errno())) } else { Ok(()) }
}

fn errno() -> libc::c_int {
    // SAFETY: the pointer is this thread's errno, which the child shares with the waiting parent.
    unsafe { *libc::__errno_location() }
}
