//! The include analysis of pump mode: which files a preprocessor could open for one command. A conservative superset:
//! conditionals are ignored, macros are expanded only where an `#include` needs it, and then in every way.
//!
//! Knows nothing of servers and hosts, of protocols only how a fingerprint is made, and starts no process but the
//! compiler that is asked for its own directories. Reading order, from the question down to the bytes:
//!
//! - `closure` is the walk: [`Scanner::scan`] turns a [`Query`] into a [`Closure`]; `memo` keeps it.
//! - `search_path` reads the command; `system_dirs` asks the compiler; `resolve` finds names in directories;
//!   `system_headers` keeps those that servers must have too.
//! - `macros` expands computed includes; `definition` and `tokens` are what it works with; `answers` remembers the results by
//!   the definitions in `macro_index`; `effort` limits it all.
//! - `file_cache` remembers what each file says, `directives` and `strings` find it in the text, as `reference`s;
//!   `text` is the lowest layer.
//! - `tree` is the file system, looked at no more than once in a query.
//!
//! Everything remembered is checked against the file system in each query, so an answer is true for the moment it is
//! given. Files below the compiler's own directories are walked, because they may include files of the user's, but
//! not listed: a server has them.
//!
//! Three things are not modelled, and cost a local retry if a job depends on them: a name without small letters in an
//! `#include` counts as a macro only; package managers replace files of the compiler's directories, never edit them;
//! `import` of C++ modules (commands that enable them are not distributed). A precompiled header beside a header that
//! the source or `-include` names makes the job go the plain way: compilers would read it instead.

mod answers;
mod closure;
mod definition;
pub mod directives;
pub mod effort;
mod file_cache;
mod macro_index;
pub mod macros;
mod memo;
pub mod reference;
mod resolve;
mod search_path;
mod strings;
mod system_dirs;
mod system_headers;
mod text;
mod tokens;
mod tree;

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::checksum;
use crate::compiler_args::Compile;

pub use closure::{Counters, Scanner};
pub use search_path::IncludeVariables;

/// A command to analyse, with everything from its surroundings that matters.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The command; response files expanded.
    pub compile: &'a Compile,
    /// The compiler's file.
    pub compiler: &'a Path,
    /// The working directory: absolute, as the compiler would print it.
    pub directory: &'a Path,
    /// The variables that add search directories.
    pub variables: &'a IncludeVariables,
    /// PATH, for the compiler's own children.
    pub search_path: &'a OsStr,
}

/// A file the preprocessor could open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncludedFile {
    /// The path as the compiler would write it, made absolute: it may lead through links and `..`.
    pub path: Arc<Path>,
    /// Where it is, without links and `..`.
    pub real: Arc<Path>,
    /// When its content was written: seconds since 1970 and nanoseconds.
    pub modified: (i64, u32),
    /// The number of its reading: what one scanner gives the same number has the same content.
    pub content: u64,
    /// How it was when it was read.
    pub state: FileState,
}

impl FileState {
    /// Whether the file is source text. What is only embedded (`#embed`, `.incbin`) is not.
    pub fn is_source(&self) -> bool {
        self.crc32.is_some()
    }
}

impl IncludedFile {
    /// Reads the content that was analysed. `None` if that is gone: the file has changed since, and the caller asks anew.
    ///
    /// A file that is only embedded was not read before; for it "changed" is what its times and size say.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let (content, signature) = match file_cache::read(&self.real, 1) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_same = signature == self.state.signature
            && self.state.crc32.is_none_or(|sum| sum == checksum::crc32(&content));
        Ok(is_same.then_some(content))
    }
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState {
    signature: tree::Signature,
    /// Of the content; `None` if it was not read.
    crc32: Option<u32>,
}

/// A name that the job may look up in the compiler's own directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemHeader {
    /// As it stands in the directive, or the path below the directory: relative, without `.` and `..`.
    pub name: Arc<[u8]>,
    /// What [`Closure::header_directories`] have under that name (`protocol::surroundings::fingerprint`).
    pub fingerprint: u32,
}

/// A symbolic link on the way to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it is, itself without links on the way.
    pub path: Arc<Path>,
    /// Its text.
    pub target: Arc<Path>,
}

/// Everything a preprocessor elsewhere needs to see what it would see here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// The files, the source first; each real file once.
    pub files: Vec<IncludedFile>,
    /// The symbolic links.
    pub links: Vec<Link>,
    /// Directories that must exist, even empty: the working directory, search directories, and what `..` leaves.
    pub directories: Vec<Arc<Path>>,
    /// The compiler's own include directories, which a server has: real paths in search order.
    pub system_directories: Vec<Arc<Path>>,
    /// Where the system headers are looked for: directories of the command that lie below the compiler's own, as
    /// `-I/usr/include/x`, then the compiler's own. Real paths in search order.
    pub header_directories: Vec<Arc<Path>>,
    /// Every name that may be looked up there, found or not, each once.
    pub system_headers: Vec<SystemHeader>,
}

/// Why there is no answer. The job goes the plain way; nothing is wrong with the analysis of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CannotAnalyse {
    reason: String,
}

impl CannotAnalyse {
    fn new(reason: String) -> CannotAnalyse {
        CannotAnalyse { reason }
    }

    fn option(option: &str, why: &str) -> CannotAnalyse {
        CannotAnalyse::new(format!("{option} {why}"))
    }
}

impl fmt::Display for CannotAnalyse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for CannotAnalyse {}
