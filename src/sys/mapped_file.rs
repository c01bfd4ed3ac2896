//! A whole file as one slice of memory.
//!
//! Only for files that nobody else can shrink: our own anonymous and private temporary files, and memory files that
//! are sealed against it. A mapped file that shrinks kills its reader with SIGBUS, so a user's header is read, never
//! mapped.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;

use memmap2::{Mmap, MmapOptions};

/// A mapped file; an empty one is an empty slice.
#[derive(Debug)]
pub struct MappedFile(Option<Mmap>);

impl MappedFile {
    /// Maps all of a file of ours.
    pub fn of_private_file(file: &File) -> io::Result<MappedFile> {
        let Some(mut whole) = whole(file)? else { return Ok(MappedFile(None)) };
        // SAFETY: by this module's contract only we write the file, and not while it is mapped.
        let map = unsafe { whole.populate().map(file)? };
        Ok(MappedFile(Some(map)))
    }

    /// Maps a memory file of another process, as long as it is now; `None` if that process could shorten it. What is
    /// read of it may change at any time.
    pub fn of_sealed_file(file: &File) -> io::Result<Option<MappedFile>> {
        // SAFETY: the call takes numbers only. An error, as for files that cannot be sealed, has all bits set: hence
        // the comparison.
        let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
        if seals < 0 || seals & libc::F_SEAL_SHRINK == 0 {
            return Ok(None);
        }
        let Some(whole) = whole(file)? else { return Ok(Some(MappedFile(None))) };
        // SAFETY: the seal keeps every page of the map in place. Bytes that change under us are only sent on.
        let map = unsafe { whole.map(file)? };
        Ok(Some(MappedFile(Some(map))))
    }
}

/// A map of all of a file, which need not be asked for its length again; none of an empty one.
fn whole(file: &File) -> io::Result<Option<MmapOptions>> {
    let length = usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut options = MmapOptions::new();
    options.len(length);
    Ok((length > 0).then_some(options))
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp;
    use std::io::Write;

    #[test]
    fn another_process_s_file_is_mapped_only_if_it_cannot_shrink() {
        let mut open = temp::anonymous("open").unwrap();
        open.write_all(b"content").unwrap();
        assert!(MappedFile::of_sealed_file(&open).unwrap().is_none());
        let named = File::open("/proc/self/status").unwrap();
        assert!(MappedFile::of_sealed_file(&named).unwrap().is_none());
        let mut sealed = temp::anonymous_growing("sealed").unwrap();
        assert!(MappedFile::of_sealed_file(&sealed).unwrap().unwrap().is_empty());
        sealed.write_all(b"content").unwrap();
        let mapped = MappedFile::of_sealed_file(&sealed).unwrap().unwrap();
        assert_eq!(&*mapped, b"content");
    }
}
