//! Extended regular expressions (regex(7)) and globs (glob(7)), as the C library has them.

use std::ffi::{CString, OsStr};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;

use std::os::unix::ffi::OsStrExt;

/// A compiled expression.
pub struct Pattern {
    text: String,
    compiled: Box<libc::regex_t>,
}

// SAFETY: the C library locks a compiled expression while it is matched, and nothing in it belongs to a thread.
unsafe impl Send for Pattern {}
// SAFETY: as above.
unsafe impl Sync for Pattern {}

impl Pattern {
    /// Compiles an expression; an error says what is wrong with it.
    pub fn new(text: &str) -> io::Result<Pattern> {
        let c_text = CString::new(text)?;
        let mut compiled = Box::new(MaybeUninit::<libc::regex_t>::uninit());
        // SAFETY: the expression is NUL-terminated and the structure is writable.
        let fault = unsafe {
            libc::regcomp(compiled.as_mut_ptr(), c_text.as_ptr(), libc::REG_EXTENDED | libc::REG_NOSUB)
        };
        if fault == 0 {
            // SAFETY: a successful call has filled the structure in.
            return Ok(Pattern { text: text.to_owned(), compiled: unsafe { compiled.assume_init() } });
        }
        let mut message = [0_u8; 128];
        // SAFETY: the buffer is as long as said; the structure is only used to find the message's language.
        unsafe { libc::regerror(fault, compiled.as_ptr(), message.as_mut_ptr().cast(), message.len()) };
        let length = message.iter().position(|byte| *byte == 0).unwrap_or(message.len());
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            String::from_utf8_lossy(&message[..length]).into_owned(),
        ))
    }

    /// Whether it matches any part of a path.
    pub fn is_in(&self, path: &Path) -> bool {
        let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
        // SAFETY: the expression is compiled and the text is NUL-terminated; no places of matches are asked for.
        unsafe { libc::regexec(&raw const *self.compiled, path.as_ptr(), 0, ptr::null_mut(), 0) == 0 }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl Drop for Pattern {
    fn drop(&mut self) {
        // SAFETY: compiled once, freed once.
        unsafe { libc::regfree(&raw mut *self.compiled) };
    }
}

/// Whether a glob matches all of a path; its `*` crosses slashes.
pub fn glob_matches(glob: &OsStr, path: &OsStr) -> bool {
    let (Ok(glob), Ok(path)) = (CString::new(glob.as_bytes()), CString::new(path.as_bytes())) else {
        return false;
    };
    // SAFETY: both are NUL-terminated, and are only read.
    unsafe { libc::fnmatch(glob.as_ptr(), path.as_ptr(), 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_may_be_anywhere() {
        let pattern = Pattern::new("gen(erated)?/[^/]*\\.h$").unwrap();
        assert!(pattern.is_in(Path::new("/p/generated/a.h")));
        assert!(!pattern.is_in(Path::new("/p/generated/a.hh")));
        assert!(Pattern::new("a(").unwrap_err().to_string().contains('('));
    }

    #[test]
    fn a_glob_means_the_whole_path() {
        for (glob, path, want) in
            [("*/gen/*.h", "/p/gen/x/a.h", true), ("gen/*", "/p/gen/a.h", false), ("a?[", "ab", false)]
        {
            assert_eq!(glob_matches(glob.as_ref(), path.as_ref()), want, "{glob} {path}");
        }
    }
}
