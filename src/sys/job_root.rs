//! A directory tree that is filled with what a peer sent and must not be left, whatever names and links it sent.
//!
//! Knows paths and bytes; not where the tree is (below a private directory, or in a namespace's own file system)
//! and not what a job is. Paths are the peer's absolute ones. A link inside leads to a place inside, as if the tree
//! were the root (openat2(2), RESOLVE_IN_ROOT); where the kernel has no openat2, a link on the way is an error.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::landlock::Place;

/// Longest component of a path in bytes: NAME_MAX of Linux.
const COMPONENT_BYTES_MAX: usize = 255;
/// Longest path in bytes: PATH_MAX of Linux, without the NUL.
const PATH_BYTES_MAX: usize = 4095;
/// Most components of a path. Deeper than source trees are; to make them takes time that grows with the square.
const COMPONENTS_MAX: usize = 256;
/// How often a lookup is repeated when the kernel says that a mount or a rename elsewhere disturbed it.
const LOOKUPS_MAX: usize = 128;

/// When a file was last changed, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileTime {
    /// Whole seconds.
    pub seconds: i64,
    /// The rest.
    pub nanoseconds: u32,
}

/// The root of such a tree.
#[derive(Debug)]
pub struct JobRoot {
    directory: OwnedFd,
    /// Set once openat2 turned out to be missing (before Linux 5.6, or filtered).
    by_components: AtomicBool,
}

impl JobRoot {
    /// The tree below an existing private directory.
    pub fn of_directory(path: &Path) -> io::Result<JobRoot> {
        let path = c_string(path.as_os_str().as_bytes())?;
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        Ok(JobRoot::of_descriptor(open_at(libc::AT_FDCWD, &path, flags)?))
    }

    /// The tree below an open directory.
    pub(super) fn of_descriptor(directory: OwnedFd) -> JobRoot {
        JobRoot { directory, by_components: AtomicBool::new(false) }
    }

    /// Starts to fill the tree.
    pub fn unpacker(&self) -> Unpacker<'_> {
        Unpacker { root: self, last: None }
    }

    /// Opens a regular file for reading; `None` if there is nothing of that name. Anything but a regular file is an
    /// error, and is neither waited for nor read. `..` is what it is to the kernel, and ends at the root.
    pub fn open_result(&self, path: &[u8]) -> io::Result<Option<File>> {
        let path = plain(path, DotDot::Allowed)?;
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let file = match self.open(&path, flags) {
            Ok(fd) => File::from(fd),
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if file.metadata()?.is_file() { Ok(Some(file)) } else { Err(invalid(&path, "is not a regular file")) }
    }

    /// A file that no name leads to, for reading and writing; it counts as part of the tree.
    pub fn nameless_file(&self) -> io::Result<File> {
        // SAFETY: the path is NUL-terminated.
        let fd = unsafe {
            let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
            libc::openat(self.directory.as_raw_fd(), c".".as_ptr(), flags, 0o600)
        };
        check(fd)?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The root, as Landlock knows it.
    pub(super) fn place(&self) -> io::Result<Place> {
        Place::open_below(self.directory.as_fd(), c".")
    }

    /// The directories and files of the root, as Landlock knows them.
    pub(super) fn places(&self) -> io::Result<Vec<Place>> {
        let mut places = Vec::new();
        for entry in fs::read_dir(format!("/proc/self/fd/{}", self.directory.as_raw_fd()))? {
            let entry = entry?;
            if !entry.file_type()?.is_symlink() {
                places.push(Place::open_below(
                    self.directory.as_fd(),
                    &c_string(entry.file_name().as_bytes())?,
                )?);
            }
        }
        Ok(places)
    }

    /// Makes a directory to mount something on, unless something is there. What follows its path outside of this
    /// tree must not meet a link, so one is `Other` at any place of it.
    pub(super) fn mount_point(&self, path: &[u8]) -> io::Result<MountPoint> {
        let path = plain(path, DotDot::Refused)?;
        let (directory, name) = split(&path)?;
        let mut unpacker = self.unpacker();
        let directory = unpacker.enter(directory)?;
        // SAFETY: the name is NUL-terminated.
        let point = match check(unsafe { libc::mkdirat(directory, name.as_ptr(), 0o755) }) {
            Ok(()) => MountPoint::New,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => MountPoint::Filled,
            Err(error) => return Err(error),
        };
        Ok(if self.open_by_components(&path, DIRECTORY).is_ok() { point } else { MountPoint::Other })
    }

    /// Whether the path is a regular file that no link leads to.
    pub(super) fn is_plain_file(&self, path: &[u8]) -> bool {
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        let file = plain(path, DotDot::Refused).and_then(|path| self.open_by_components(&path, flags));
        file.and_then(|file| File::from(file).metadata()).is_ok_and(|file| file.is_file())
    }

    /// Whether there is anything at a path.
    pub(super) fn has(&self, path: &[u8]) -> bool {
        plain(path, DotDot::Refused)
            .is_ok_and(|path| self.open(&path, libc::O_PATH | libc::O_CLOEXEC | libc::O_NOFOLLOW).is_ok())
    }

    /// Sets the mode of an entry of the root.
    pub(super) fn set_mode(&self, name: &CStr, mode: libc::mode_t) -> io::Result<()> {
        // SAFETY: the name is NUL-terminated.
        check(unsafe { libc::fchmodat(self.directory.as_raw_fd(), name.as_ptr(), mode, 0) })
    }

    /// Opens a plain path below the root, links followed inside the tree only.
    fn open(&self, path: &[u8], flags: libc::c_int) -> io::Result<OwnedFd> {
        if !self.by_components.load(Ordering::Relaxed) {
            match self.open_in_root(path, flags) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    self.by_components.store(true, Ordering::Relaxed);
                }
                result => return result,
            }
        }
        self.open_by_components(path, flags)
    }

    fn open_in_root(&self, path: &[u8], flags: libc::c_int) -> io::Result<OwnedFd> {
        let path = c_string(if path.is_empty() { b"." } else { path })?;
        // SAFETY: open_how is plain data for which zero is a valid value of every field.
        let mut how: libc::open_how = unsafe { std::mem::zeroed() };
        how.flags = flags as u64;
        how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
        for _ in 0..LOOKUPS_MAX {
            // SAFETY: the path is NUL-terminated and `how` readable for the call; the size is its own.
            let fd = unsafe {
                libc::syscall(
                    libc::SYS_openat2,
                    self.directory.as_raw_fd(),
                    path.as_ptr(),
                    &raw const how,
                    size_of::<libc::open_how>(),
                )
            };
            if fd >= 0 {
                // SAFETY: the descriptor is new and nobody else's.
                return Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
            }
            let error = io::Error::last_os_error();
            if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) {
                return Err(error);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    /// The same without openat2: component by component, none of which may be a link.
    fn open_by_components(&self, path: &[u8], flags: libc::c_int) -> io::Result<OwnedFd> {
        let mut at: Option<OwnedFd> = None;
        let mut names = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = names.next() {
            if name == b".." {
                return Err(invalid(path, "holds `..`"));
            }
            let name = c_string(if name.is_empty() { b"." } else { name })?;
            let flags = if names.peek().is_some() { DIRECTORY } else { flags };
            let directory = at.as_ref().unwrap_or(&self.directory).as_raw_fd();
            at = Some(open_at(directory, &name, flags | libc::O_NOFOLLOW)?);
        }
        at.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }
}

/// What is at a place where something is to be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MountPoint {
    /// An empty directory, made for the purpose.
    New,
    /// A directory of the job's.
    Filled,
    /// A file or a link of the job's.
    Other,
}

/// How directories are opened: to name things in them.
const DIRECTORY: libc::c_int = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;

/// Fills a tree. Remembers the directory of the last entry, because entries of one directory come together.
#[derive(Debug)]
pub struct Unpacker<'a> {
    root: &'a JobRoot,
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Unpacker<'_> {
    /// Makes a directory (mode 0755) and those above it. One that is there is fine, and so are links to one. `..` is
    /// allowed: it is a working directory or that of an output, as the compiler will find it.
    pub fn create_directory(&mut self, path: &[u8]) -> io::Result<()> {
        let path = plain(path, DotDot::Allowed)?;
        self.enter(&path).map(drop)
    }

    /// Makes a file (mode 0644) and the directories above it. An earlier file or link of that name is replaced.
    pub fn create_file(&mut self, path: &[u8], content: &[u8], time: Option<FileTime>) -> io::Result<()> {
        let path = plain(path, DotDot::Refused)?;
        let (directory, name) = split(&path)?;
        let directory = self.enter(directory)?;
        let mut file = replacing(directory, &name, || {
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
            open_at(directory, &name, flags).map(File::from)
        })?;
        file.write_all(content)?;
        let Some(time) = time else { return Ok(()) };
        let access = libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT };
        let change = libc::timespec {
            tv_sec: time.seconds as libc::time_t,
            tv_nsec: time.nanoseconds as libc::c_long,
        };
        // SAFETY: futimens reads two elements.
        check(unsafe { libc::futimens(file.as_raw_fd(), [access, change].as_ptr()) })
    }

    /// Makes a symbolic link and the directories above it; the target is kept as it is. An earlier file or link of
    /// that name is replaced.
    pub fn create_link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let path = plain(path, DotDot::Refused)?;
        let (directory, name) = split(&path)?;
        let directory = self.enter(directory)?;
        let target = c_string(target)?;
        replacing(directory, &name, || {
            // SAFETY: both strings are NUL-terminated.
            check(unsafe { libc::symlinkat(target.as_ptr(), directory, name.as_ptr()) })
        })
    }

    /// The descriptor of a directory, made if it is missing. It is open until the next call.
    fn enter(&mut self, path: &[u8]) -> io::Result<RawFd> {
        if path.is_empty() {
            return Ok(self.root.directory.as_raw_fd());
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let directory = self.open_or_make(path)?;
            self.last = Some((path.to_vec(), directory));
        }
        Ok(self.last.as_ref().expect("BUG: no directory was opened").1.as_raw_fd())
    }

    fn open_or_make(&self, path: &[u8]) -> io::Result<OwnedFd> {
        // The deepest directory that is there.
        let mut end = path.len();
        let mut directory = loop {
            match self.root.open(&path[..end], DIRECTORY) {
                Ok(directory) => break directory,
                Err(error) if error.raw_os_error() != Some(libc::ENOENT) || end == 0 => return Err(error),
                Err(_) => end = path[..end].iter().rposition(|byte| *byte == b'/').unwrap_or(0),
            }
        };
        while end < path.len() {
            let start = if end == 0 { 0 } else { end + 1 };
            end = path[start..].iter().position(|byte| *byte == b'/').map_or(path.len(), |at| start + at);
            let name = c_string(&path[start..end])?;
            // SAFETY: the name is NUL-terminated. It is one component; if it is `..`, it exists.
            let made = check(unsafe { libc::mkdirat(directory.as_raw_fd(), name.as_ptr(), 0o755) });
            if let Err(error) = made
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(error);
            }
            // From the root again: only so are links and `..` kept inside.
            directory = self.root.open(&path[..end], DIRECTORY)?;
        }
        Ok(directory)
    }
}

/// Creates an entry, and once more after removing a file or link that has its name.
fn replacing<T>(directory: RawFd, name: &CString, create: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // SAFETY: the name is NUL-terminated and one component.
            check(unsafe { libc::unlinkat(directory, name.as_ptr(), 0) })?;
            create()
        }
        result => result,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DotDot {
    Allowed,
    Refused,
}

/// A path from the root without leading, repeated and closing slashes and without `.`; empty for the root.
fn plain(path: &[u8], dot_dot: DotDot) -> io::Result<Vec<u8>> {
    if path.is_empty() {
        return Err(invalid(path, "is empty"));
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(invalid(&path[..COMPONENT_BYTES_MAX], "... is over 4095 bytes long"));
    }
    let mut result = Vec::with_capacity(path.len());
    let mut components = 0;
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => continue,
            b".." if dot_dot == DotDot::Refused => return Err(invalid(path, "holds `..`")),
            _ if name.len() > COMPONENT_BYTES_MAX => {
                return Err(invalid(path, "holds a name over 255 bytes"));
            }
            _ if name.contains(&0) => return Err(invalid(path, "holds a NUL byte")),
            _ => {}
        }
        components += 1;
        if components > COMPONENTS_MAX {
            return Err(invalid(path, "is over 256 directories deep"));
        }
        if !result.is_empty() {
            result.push(b'/');
        }
        result.extend_from_slice(name);
    }
    Ok(result)
}

/// The directory and the last component of a plain path.
fn split(path: &[u8]) -> io::Result<(&[u8], CString)> {
    if path.is_empty() {
        return Err(invalid(b"/", "is no name for a file"));
    }
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => Ok((&path[..at], c_string(&path[at + 1..])?)),
        None => Ok((b"", c_string(path)?)),
    }
}

/// Whether an error says that nothing is there.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}

fn invalid(path: &[u8], what: &str) -> io::Error {
    let text = format!("path {:?} {what}", String::from_utf8_lossy(path));
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| invalid(bytes, "holds a NUL byte"))
}

fn open_at(directory: RawFd, name: &CString, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the name is NUL-terminated; a descriptor that comes back is new and nobody else's.
    unsafe {
        let fd = libc::openat(directory, name.as_ptr(), flags, 0o644);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    /// A tree beside a directory that no peer may reach, looked up with and without openat2.
    fn trees() -> [(TempDir, JobRoot); 2] {
        [false, true].map(|by_components| {
            let place = TempDir::create(&std::env::temp_dir(), "tree", false).unwrap();
            for name in ["root", "outside"] {
                fs::create_dir(place.path().join(name)).unwrap();
            }
            fs::write(place.path().join("outside/secret"), "secret").unwrap();
            let root = JobRoot::of_directory(&place.path().join("root")).unwrap();
            root.by_components.store(by_components, Ordering::Relaxed);
            (place, root)
        })
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn read(root: &JobRoot, path: &str) -> Option<String> {
        let mut text = String::new();
        root.open_result(path.as_bytes()).unwrap()?.read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn entries_appear_at_their_paths() {
        let time = FileTime { seconds: 1_234_567_890, nanoseconds: 5 };
        for (place, root) in trees() {
            let mut unpacker = root.unpacker();
            unpacker.create_file(b"/home/x/p/a.c", b"a", Some(time)).unwrap();
            unpacker.create_file(b"//home/./x/p//b.h", b"b", None).unwrap();
            unpacker.create_file(b"home/x/q/c.h", b"c", None).unwrap();
            unpacker.create_link(b"/home/x/link", b"p").unwrap();
            unpacker.create_directory(b"/home/x/empty/deep").unwrap();
            unpacker.create_directory(b"/home/x").unwrap();
            unpacker.create_directory(b"/").unwrap();
            let home = place.path().join("root/home/x");
            assert_eq!(names(&home), ["empty", "link", "p", "q"]);
            assert_eq!(names(&home.join("p")), ["a.c", "b.h"]);
            let file = fs::metadata(home.join("p/a.c")).unwrap();
            assert_eq!((file.mtime(), file.mtime_nsec()), (time.seconds, i64::from(time.nanoseconds)));
            assert_eq!(file.permissions().mode() & 0o133, 0, "executable, or writable for others");
            assert_eq!(fs::read_link(home.join("link")).unwrap(), Path::new("p"));
            assert_eq!(read(&root, "/home/x/q/c.h").as_deref(), Some("c"));
            assert_eq!(read(&root, "/home/x/q/none"), None);
        }
    }

    #[test]
    fn a_later_entry_replaces_a_file_or_link_and_no_directory() {
        for (place, root) in trees() {
            let outside = place.path().join("outside/secret");
            let mut unpacker = root.unpacker();
            unpacker.create_link(b"/a", outside.as_os_str().as_bytes()).unwrap();
            unpacker.create_file(b"/a", b"one", None).unwrap();
            unpacker.create_file(b"/a", b"2", None).unwrap();
            assert_eq!(read(&root, "/a").as_deref(), Some("2"));
            unpacker.create_link(b"/a", b"b").unwrap();
            unpacker.create_link(b"/a", b"c").unwrap();
            assert_eq!(fs::read_link(place.path().join("root/a")).unwrap(), Path::new("c"));
            unpacker.create_directory(b"/d").unwrap();
            assert!(unpacker.create_file(b"/d", b"", None).is_err());
            assert!(unpacker.create_link(b"/d", b"x").is_err());
            assert!(unpacker.create_file(b"/d", b"", None).is_err());
            unpacker.create_file(b"/f", b"", None).unwrap();
            assert!(unpacker.create_file(b"/f/x", b"", None).is_err());
            assert_eq!(fs::read_to_string(outside).unwrap(), "secret");
        }
    }

    #[test]
    fn impossible_paths_are_refused() {
        let long = [b"/a/".as_slice(), &[b'x'; 256]].concat();
        let (deep, endless) = (b"/x".repeat(257), b"/./".repeat(2000));
        let paths: [&[u8]; 10] =
            [b"", b"/../x", b"/a/../b", b"..", b"/a/..", b"/a\0b", b"/a/b\0", &long, &deep, &endless];
        for (place, root) in trees() {
            let mut unpacker = root.unpacker();
            for path in paths {
                for error in [unpacker.create_file(path, b"", None), unpacker.create_link(path, b"x")] {
                    let error = error.unwrap_err();
                    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}: {error}");
                }
            }
            for path in [b"/".as_slice(), b"//", b"."] {
                assert!(unpacker.create_file(path, b"", None).is_err(), "{path:?}");
            }
            assert!(unpacker.create_link(b"/a", b"x\0y").is_err());
            assert_eq!(names(&place.path().join("root")), Vec::<String>::new());
        }
    }

    #[test]
    fn links_stay_inside() {
        for (place, root) in trees() {
            let outside = place.path().join("outside");
            let mut unpacker = root.unpacker();
            unpacker.create_link(b"/out", outside.as_os_str().as_bytes()).unwrap();
            unpacker.create_link(b"/up", b"../outside").unwrap();
            unpacker.create_link(b"/loop", b"loop").unwrap();
            unpacker.create_link(b"/in", b"/d").unwrap();
            unpacker.create_file(b"/d/x", b"x", None).unwrap();
            for path in ["/out/x", "/up/x", "/loop/x"] {
                assert!(unpacker.create_file(path.as_bytes(), b"", None).is_err(), "{path}");
                assert!(unpacker.create_directory(path.as_bytes()).is_err(), "{path}");
            }
            for path in ["/out/secret", "/up/secret"] {
                assert!(!matches!(root.open_result(path.as_bytes()), Ok(Some(_))), "{path}");
            }
            let _ = unpacker.create_directory(b"/d/../../outside/made");
            assert_eq!(names(&outside), ["secret"]);

            // A link to a place inside is followed where the kernel can keep us inside, and refused where not.
            let through = unpacker.create_file(b"/in/y", b"y", None);
            let can_follow = !root.by_components.load(Ordering::Relaxed);
            assert_eq!(through.is_ok(), can_follow, "{through:?}");
            assert_eq!(root.open_result(b"/d/y").unwrap().is_some(), can_follow);
        }
    }

    #[test]
    fn only_a_regular_file_is_a_result() {
        for (place, root) in trees() {
            root.unpacker().create_directory(b"/d").unwrap();
            let fifo = c_string(place.path().join("root/fifo").as_os_str().as_bytes()).unwrap();
            // SAFETY: the path is NUL-terminated.
            assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
            for path in ["/d", "/fifo", "/", ""] {
                assert!(root.open_result(path.as_bytes()).is_err(), "{path}");
            }
            assert!(root.open_result(b"/none/such").unwrap().is_none());
        }
    }
}
