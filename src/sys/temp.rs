//! Files that must not outlive their purpose: anonymous memory files, private directories, and output files that
//! appear whole or not at all.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How many random names are tried before a directory full of collisions is reported.
const NAME_ATTEMPTS_MAX: u32 = 100;

/// A file that exists only as long as it is open (memfd): no name, nothing to clean up. `name` is for debuggers.
pub fn anonymous(name: &str) -> io::Result<File> {
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: the name is NUL-terminated; the descriptor is new and owned by the file.
    unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(File::from_raw_fd(fd)) }
    }
}

/// Like [`anonymous`], for a file that others will map: nobody, not even its owner, can make it shorter under them,
/// nor stop its owner from writing on.
pub fn anonymous_growing(name: &str) -> io::Result<File> {
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: the name is NUL-terminated; the descriptor is new and owned by the file, also if sealing fails.
    unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let file = File::from_raw_fd(fd);
        if libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(file)
    }
}

/// A second way to an open file that cannot write to it.
pub fn reopened_for_reading(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// What was written to a file of ours, from its beginning, up to `bytes_max`.
pub fn read_back(file: &mut File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Eight hexadecimal digits nobody can guess.
pub fn random_name() -> String {
    let mut bytes = [0; 4];
    // SAFETY: the buffer is as long as said. Up to 256 bytes the call cannot be interrupted; should the kernel
    // refuse it, the names collide and O_EXCL catches that.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    format!("{:08x}", u32::from_ne_bytes(bytes))
}

/// A private directory (0700) that is removed with all it holds when dropped.
///
/// It is locked (flock(2)) for as long as it is used, which says of one that was left whether its process is gone,
/// whoever has its number now: see [`remove_abandoned`].
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
    keep: bool,
    _in_use: File,
}

impl TempDir {
    /// Makes `PREFIX_XXXXXXXX` below `parent`. `keep` leaves it behind for debugging (DISTCC_SAVE_TEMPS), under a longer
    /// name, or it would be taken for one that a killed process left.
    pub fn create(parent: &Path, prefix: &str, keep: bool) -> io::Result<TempDir> {
        let kept = if keep { "kept_" } else { "" };
        for _ in 0..NAME_ATTEMPTS_MAX {
            let path = parent.join(format!("{prefix}_{kept}{}", random_name()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            match lock_directory(&path) {
                Ok(Some(_in_use)) => return Ok(TempDir { path, keep, _in_use }),
                // Whoever removes what is abandoned found it before it was locked.
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    let _ = fs::remove_dir(&path);
                    return Err(error);
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Usually the caller has removed what it made, so the plain call is enough; what a compiler left behind
        // needs the walk.
        if !self.keep && fs::remove_dir(&self.path).is_err() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Locks a directory for as long as the file is open; none if somebody has it locked.
fn lock_directory(path: &Path) -> io::Result<Option<File>> {
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    // SAFETY: the descriptor is open.
    match unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(Some(directory)),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            error => Err(error),
        },
    }
}

/// Removes the directories that [`TempDir::create`] made below `parent` for processes of this user that were killed.
/// Returns how many there were.
pub fn remove_abandoned(parent: &Path, prefix: &str) -> usize {
    let own = crate::sys::process::user_id();
    let is_name_of_ours = |name: &OsStr| {
        let digits = name.to_str().and_then(|name| name.strip_prefix(prefix)?.strip_prefix('_'));
        digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let mut count = 0;
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = is_name_of_ours(&entry.file_name())
            && entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own);
        if is_ours
            && let Ok(Some(_locked)) = lock_directory(&entry.path())
            && fs::remove_dir_all(entry.path()).is_ok()
        {
            count += 1;
        }
    }
    count
}

/// Makes a new file `PREFIX_XXXXXXXXSUFFIX` (0600) below `parent`, for debugging aids that must have a name.
pub fn named_file(parent: &Path, prefix: &str, suffix: &OsStr) -> io::Result<(PathBuf, File)> {
    for _ in 0..NAME_ATTEMPTS_MAX {
        let mut name = std::ffi::OsString::from(format!("{prefix}_{}", random_name()));
        name.push(suffix);
        let path = parent.join(name);
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Makes a file without a name on the file system of a directory: for what does not belong into memory.
pub fn nameless_file(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    match options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(directory) {
        // Some network file systems have no nameless files.
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)) =>
        {
            let (path, file) = named_file(directory, "distccd", OsStr::new(""))?;
            fs::remove_file(path)?;
            Ok(file)
        }
        result => result,
    }
}

/// How many bytes an unprivileged user may still write to the file system of a directory.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    // SAFETY: the path is NUL-terminated; the structure is plain data, filled before it is used.
    unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &mut found) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// An output file on its way: invisible until [`OutputFile::commit`], gone without a trace if dropped before.
#[derive(Debug)]
pub struct OutputFile {
    target: PathBuf,
    file: File,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Written where it is: a device, a pipe.
    Direct,
    /// Nameless until linked.
    Unlinked,
    /// Under a temporary name, on file systems without nameless files.
    Temporary(crate::sys::signal::CleanupFile, PathBuf),
}

impl OutputFile {
    /// Opens an output that will become `target`, with the permissions the umask leaves of 0666.
    pub fn create(target: &Path) -> io::Result<OutputFile> {
        let special = fs::metadata(target).ok().map(|metadata| metadata.file_type());
        if special.is_some_and(|kind| kind.is_char_device() || kind.is_fifo() || kind.is_block_device())
            || is_name_of_descriptor(target)
        {
            let file = OpenOptions::new().write(true).open(target)?;
            return Ok(OutputFile { target: target.into(), file, place: Place::Direct });
        }
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let nameless =
            OpenOptions::new().write(true).mode(0o666).custom_flags(libc::O_TMPFILE).open(directory);
        match nameless {
            Ok(file) => Ok(OutputFile { target: target.into(), file, place: Place::Unlinked }),
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)) =>
            {
                Self::create_named(target, directory)
            }
            Err(error) => Err(error),
        }
    }

    fn create_named(target: &Path, directory: &Path) -> io::Result<OutputFile> {
        let path = directory.join(format!(".distcc_{}.tmp", random_name()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o666).open(&path)?;
        let guard = crate::sys::signal::CleanupFile::new(&path);
        Ok(OutputFile { target: target.into(), file, place: Place::Temporary(guard, path) })
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Makes the file appear under its name, in place of whatever was there.
    pub fn commit(self) -> io::Result<()> {
        match self.place {
            Place::Direct => close(self.file),
            Place::Temporary(guard, path) => {
                // File systems without nameless files are those that may find out only now that they are full.
                close(self.file)?;
                fs::rename(&path, &self.target)?;
                drop(guard);
                Ok(())
            }
            Place::Unlinked => {
                let target = CString::new(self.target.as_os_str().as_bytes())?;
                match link_open_file(&self.file, &target) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        // Compilers, too, remove the old object first. A reader sees the old file, none, or the
                        // whole new one.
                        fs::remove_file(&self.target)?;
                        link_open_file(&self.file, &target)
                    }
                    result => result,
                }
            }
        }
    }
}

/// Closes a file and says whether all that was written to it has arrived, which network file systems know only now.
fn close(file: File) -> io::Result<()> {
    // SAFETY: the descriptor is open, and nobody else's from here on. The call closes it in any case.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        },
    }
}

/// Whether it is a name such as `/dev/stdout` for something that is open already, and not a place to put a file.
fn is_name_of_descriptor(target: &Path) -> bool {
    (target.starts_with("/dev") || target.starts_with("/proc"))
        && fs::symlink_metadata(target).is_ok_and(|metadata| metadata.is_symlink())
}

fn link_open_file(file: &File, target: &CStr) -> io::Result<()> {
    let source = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    // SAFETY: both names are NUL-terminated.
    let result = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            source.as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether files can be made in a directory (W_OK and X_OK).
pub fn is_usable_directory(path: &Path) -> bool {
    let Ok(name) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: the name is NUL-terminated.
    unsafe { libc::access(name.as_ptr(), libc::W_OK | libc::X_OK) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn directory() -> TempDir {
        TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap()
    }

    #[test]
    fn abandoned_directories_go_and_those_in_use_stay() {
        let place = directory();
        let used = TempDir::create(place.path(), "job", false).unwrap();
        let kept = TempDir::create(place.path(), "job", true).unwrap().path().to_owned();
        let others = ["job_1234567", "job_0123456x", "other_01234567", "job_012345678"];
        for name in others.iter().chain(&["job_01234567"]) {
            fs::create_dir_all(place.path().join(name).join("below")).unwrap();
        }
        assert_eq!(remove_abandoned(place.path(), "job"), 1);
        assert!(!place.path().join("job_01234567").exists());
        assert!(used.path().exists() && kept.exists());
        assert!(others.iter().all(|name| place.path().join(name).exists()));
        // As a killed process leaves it.
        let left = used.path().to_owned();
        drop(used);
        fs::create_dir(&left).unwrap();
        assert_eq!((remove_abandoned(place.path(), "job"), left.exists()), (1, false));
    }

    #[test]
    fn a_directory_goes_with_its_contents() {
        let dir = directory();
        let path = dir.path().to_path_buf();
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("a/b/c"), "x").unwrap();
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn an_output_appears_whole_and_replaces_the_old_one() {
        let dir = directory();
        let target = dir.path().join("x.o");
        fs::write(&target, "old object").unwrap();
        let mut output = OutputFile::create(&target).unwrap();
        output.file().write_all(b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old object");
        output.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_output_given_up_leaves_nothing() {
        let dir = directory();
        for create in
            [OutputFile::create, |path: &Path| OutputFile::create_named(path, path.parent().unwrap())]
        {
            let mut output = create(&dir.path().join("x.o")).unwrap();
            output.file().write_all(b"half").unwrap();
            drop(output);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn the_named_way_gives_the_same_result() {
        let dir = directory();
        let target = dir.path().join("x.o");
        let mut output = OutputFile::create_named(&target, dir.path()).unwrap();
        output.file().write_all(b"whole").unwrap();
        output.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_shared_file_only_grows() {
        let mut file = anonymous_growing("store").unwrap();
        file.write_all(b"abc").unwrap();
        assert!(file.set_len(1).is_err());
        let mut reader = reopened_for_reading(&file).unwrap();
        assert!(reader.write_all(b"x").is_err());
        file.write_all(b"def").unwrap();
        assert_eq!(read_back(&mut reader, 100).unwrap(), b"abcdef");
    }

    #[test]
    fn open_files_are_written_in_place() {
        let mut open = anonymous("output").unwrap();
        let mut output = OutputFile::create(Path::new(&format!("/dev/fd/{}", open.as_raw_fd()))).unwrap();
        output.file().write_all(b"text").unwrap();
        output.commit().unwrap();
        assert_eq!(read_back(&mut open, 100).unwrap(), b"text");
    }

    #[test]
    fn devices_are_written_in_place() {
        let output = OutputFile::create(Path::new("/dev/null")).unwrap();
        output.commit().unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }
}
