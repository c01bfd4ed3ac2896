//! The entries of one directory, whatever its path leads to by now: for programs that work, perhaps as root, where others
//! may move directories about. Knows names and links; not what they mean.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Longest target of a link that is read, in bytes (PATH_MAX).
const TARGET_BYTES_MAX: usize = 4096;

/// A directory, open.
#[derive(Debug)]
pub struct Directory(File);

impl Directory {
    /// Opens it.
    pub fn open(path: &Path) -> io::Result<Directory> {
        let flags = libc::O_DIRECTORY | libc::O_NONBLOCK;
        fs::File::options().read(true).custom_flags(flags).open(path).map(Directory)
    }

    /// Where a link leads, in its own words; an error for what is no link.
    pub fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        let name = entry(name)?;
        let mut target = vec![0_u8; TARGET_BYTES_MAX];
        // SAFETY: the name is NUL-terminated, and the buffer is as long as is said.
        let length = unsafe {
            libc::readlinkat(self.0.as_raw_fd(), name.as_ptr(), target.as_mut_ptr().cast(), target.len())
        };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        target.truncate(length);
        Ok(OsString::from_vec(target))
    }

    /// Whether an entry, or what a link leads to, is missing.
    pub fn leads_nowhere(&self, name: &OsStr) -> bool {
        let Ok(name) = entry(name) else { return true };
        // SAFETY: the name is NUL-terminated.
        let found = unsafe { libc::faccessat(self.0.as_raw_fd(), name.as_ptr(), libc::F_OK, 0) };
        found != 0 && io::Error::last_os_error().kind() == io::ErrorKind::NotFound
    }

    /// Makes a link.
    pub fn link(&self, target: &str, name: &OsStr) -> io::Result<()> {
        let (target, name) = (CString::new(target)?, entry(name)?);
        // SAFETY: both are NUL-terminated.
        check(unsafe { libc::symlinkat(target.as_ptr(), self.0.as_raw_fd(), name.as_ptr()) })
    }

    /// Gives an entry another name, in place of what has that.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let (directory, from, to) = (self.0.as_raw_fd(), entry(from)?, entry(to)?);
        // SAFETY: both are NUL-terminated.
        check(unsafe { libc::renameat(directory, from.as_ptr(), directory, to.as_ptr()) })
    }

    /// Removes an entry that is no directory.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        let name = entry(name)?;
        // SAFETY: the name is NUL-terminated.
        check(unsafe { libc::unlinkat(self.0.as_raw_fd(), name.as_ptr(), 0) })
    }
}

/// A name that stays in the directory.
fn entry(name: &OsStr) -> io::Result<CString> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no entry's name")));
    }
    Ok(CString::new(bytes)?)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::os::unix::fs::symlink;

    #[test]
    fn whoever_swaps_the_directory_changes_nothing_for_one_that_is_open() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["ours", "victim"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("passwd"), "precious").unwrap();
        }
        let directory = Directory::open(&at("ours")).unwrap();
        fs::rename(at("ours"), at("away")).unwrap();
        symlink("victim", at("ours")).unwrap();
        directory.link("away/nothing", OsStr::new("gcc")).unwrap();
        assert_eq!(directory.read_link(OsStr::new("gcc")).unwrap(), "away/nothing");
        assert!(directory.leads_nowhere(OsStr::new("gcc")));
        directory.rename(OsStr::new("gcc"), OsStr::new("cc")).unwrap();
        directory.remove(OsStr::new("passwd")).unwrap();
        assert_eq!(fs::read_dir(at("victim")).unwrap().count(), 1);
        let left: Vec<_> =
            fs::read_dir(at("away")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["cc"]);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        for name in ["", ".", "..", "a/b", "/etc/passwd", "../x"] {
            assert_eq!(directory.remove(OsStr::new(name)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
