//! What an executable file is: a program, a script, or a wrapper that would look for a compiler itself.
//!
//! Knows files; not which of them may run. What was found out is remembered for as long as the file does not change,
//! so that a job costs one look at its metadata.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::sys::open;
use crate::sys::process::FileIdentity;

/// Programs that are called by a compiler's name, through a link, and start the next one of that name: caches, and
/// distributors, which would send the job on.
const WRAPPERS: [&str; 6] = ["buildcache", "ccache", "colorgcc", "distcc", "icecc", "sccache"];
/// Files remembered. Clients choose names, but only those of executables on the search path come here.
const FILES_MAX: usize = 1024;

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nature {
    /// The program that runs here.
    Ourselves,
    /// One of the known wrappers.
    Wrapper(&'static str),
    /// A script, in this file.
    Script(PathBuf),
    /// All else; a compiler, it is hoped.
    Program,
}

/// The natures of files.
#[derive(Debug)]
pub struct Natures {
    own_identity: Option<FileIdentity>,
    known: Mutex<HashMap<PathBuf, (Stamp, Nature)>>,
}

/// Changes whenever the file does, or the path leads to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    identity: FileIdentity,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Stamp {
        Stamp { identity: FileIdentity::of_metadata(file), changed: (file.ctime(), file.ctime_nsec()) }
    }
}

impl Default for Natures {
    fn default() -> Natures {
        Natures { own_identity: FileIdentity::of_own_executable(), known: Mutex::default() }
    }
}

impl Natures {
    /// What the file is that a path leads to. One that is not there is a program that will not start.
    pub fn of(&self, path: &Path) -> Nature {
        let Ok(metadata) = fs::metadata(path) else { return Nature::Program };
        let stamp = Stamp::of(&metadata);
        if Some(stamp.identity) == self.own_identity {
            return Nature::Ourselves;
        }
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((remembered, nature)) = lock().get(path)
            && *remembered == stamp
        {
            return nature.clone();
        }
        let nature = look(path);
        let mut known = lock();
        if known.len() >= FILES_MAX {
            known.clear();
        }
        known.insert(path.to_path_buf(), (stamp, nature.clone()));
        nature
    }
}

fn look(path: &Path) -> Nature {
    let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let name = file.file_name().unwrap_or_default();
    if let Some(wrapper) = WRAPPERS.iter().find(|wrapper| name == **wrapper) {
        return Nature::Wrapper(wrapper);
    }
    let mut beginning = [0; 2];
    // What cannot be read is no script: whoever is to run one must read it.
    // Nor is a pipe, which anybody may have put there, waited for.
    let read = open::without_waiting(path).and_then(|mut file| file.read_exact(&mut beginning));
    if read.is_ok() && beginning == *b"#!" { Nature::Script(file) } else { Nature::Program }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_are_told_by_what_is_in_them_and_where_links_lead() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let at = |name: &str| fs::canonicalize(dir.path()).unwrap().join(name);
        fs::write(at("script"), "#!/bin/sh\n").unwrap();
        fs::write(at("empty"), "").unwrap();
        fs::write(at("ccache"), "\x7fELF").unwrap();
        fs::write(at("colorgcc"), "#!/usr/bin/perl\n").unwrap();
        for (name, target) in [("gcc", "ccache"), ("g++", "gcc"), ("cc", "script"), ("c++", "colorgcc")] {
            symlink(target, at(name)).unwrap();
        }
        symlink("/proc/self/exe", at("own")).unwrap();
        let natures = Natures::default();
        for (name, expected) in [
            ("script", Nature::Script(at("script"))),
            ("cc", Nature::Script(at("script"))),
            ("empty", Nature::Program),
            ("ccache", Nature::Wrapper("ccache")),
            ("gcc", Nature::Wrapper("ccache")),
            ("g++", Nature::Wrapper("ccache")),
            ("c++", Nature::Wrapper("colorgcc")),
            ("own", Nature::Ourselves),
            ("missing", Nature::Program),
        ] {
            // Once by looking, once from memory.
            assert_eq!(natures.of(&at(name)), expected, "{name}");
            assert_eq!(natures.of(&at(name)), expected, "{name}");
        }
        assert_eq!(natures.of(Path::new("/bin/sh")), Nature::Program);
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let pipe = dir.path().join("gcc");
        assert!(
            std::process::Command::new("mkfifo").args(["-m", "755"]).arg(&pipe).status().unwrap().success()
        );
        assert_eq!(Natures::default().of(&pipe), Nature::Program);
    }

    #[test]
    fn a_file_that_changes_is_looked_at_again() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        let natures = Natures::default();
        fs::write(&file, "\x7fELF").unwrap();
        symlink("/bin/sh", &link).unwrap();
        assert_eq!((natures.of(&file), natures.of(&link)), (Nature::Program, Nature::Program));
        fs::remove_file(&file).unwrap();
        fs::write(&file, "#!/bin/sh\n").unwrap();
        fs::remove_file(&link).unwrap();
        symlink(&file, &link).unwrap();
        assert!(matches!(natures.of(&file), Nature::Script(_)));
        assert!(matches!(natures.of(&link), Nature::Script(_)));
    }
}
