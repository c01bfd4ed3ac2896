//! Opening a file that may not be what its name promises, or may be someone else's. Reads nothing.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a file for reading that may turn out to be a pipe or a device: that is not waited for, and does not become
/// the terminal.
pub fn without_waiting(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// Opens a file to append to, or makes it. A pipe that nobody reads is an error, and one that is full takes nothing:
/// neither is waited for, whoever has put it there.
pub fn to_append(path: &Path, mode: u32) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().append(true).create(true).mode(mode).custom_flags(flags).open(path)
}

/// Opens a file to write to it in its place, or makes it. What is a link, or a pipe that nobody reads, is an error.
pub fn itself(path: &Path, mode: u32) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().write(true).create(true).truncate(false).mode(mode).custom_flags(flags).open(path)
}

/// Makes a file for writing in place of whatever has its name. What that is, be it a link to elsewhere, a second name of
/// another's file or a pipe, is neither written to nor waited for: others may write to the directory, too.
pub fn anew(path: &Path, mode: u32) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create()
        }
        result => result,
    }
}

/// What was opened, if anything: what cannot be opened is as good as missing, unless it is for want of descriptors or
/// memory, which says nothing about the file.
pub fn unless_short(opened: io::Result<Option<File>>) -> io::Result<Option<File>> {
    match opened {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)
            ) =>
        {
            Err(error)
        }
        Err(_) => Ok(None),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_has_the_name_is_replaced_and_not_written_to() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let (victim, path) = (dir.path().join("victim"), dir.path().join("file"));
        fs::write(&victim, "precious").unwrap();
        let make: [(&str, &dyn Fn()); 4] = [
            ("nothing", &|| ()),
            ("a file", &|| fs::write(&path, "old and long").unwrap()),
            ("a link", &|| symlink(&victim, &path).unwrap()),
            ("a second name", &|| fs::hard_link(&victim, &path).unwrap()),
        ];
        for (what, make) in make {
            make();
            anew(&path, 0o600).unwrap().write_all(b"new").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new", "{what}");
            assert!(fs::symlink_metadata(&path).unwrap().is_file(), "{what}");
            assert_eq!(fs::read(&victim).unwrap(), b"precious", "{what}");
            fs::remove_file(&path).unwrap();
        }
        fs::create_dir(&path).unwrap();
        assert!(anew(&path, 0o600).is_err());
    }
}
