//! A whole file as one slice of memory.
//!
//! Only for files that nobody else can shrink: our own anonymous and private temporary files. A mapped file that
//! shrinks kills its reader with SIGBUS, so a user's header is read, never mapped.

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::Mmap;

/// A mapped file; an empty one is an empty slice.
#[derive(Debug)]
pub struct MappedFile(Option<Mmap>);

impl MappedFile {
    /// Maps all of a file of ours.
    pub fn of_private_file(file: &File) -> io::Result<MappedFile> {
        if file.metadata()?.len() == 0 {
            return Ok(MappedFile(None));
        }
        // SAFETY: by this module's contract only we write the file, and not while it is mapped.
        let map = unsafe { memmap2::MmapOptions::new().populate().map(file)? };
        Ok(MappedFile(Some(map)))
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
