//! What each confined compiler sees of this machine: the system's directories, and for one that lives elsewhere its own
//! installation. Knows paths; starts nothing.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::exposure::Exposure;

/// How long what was found for a compiler counts. Its links may lead elsewhere after that.
const REMEMBERED_TIME: Duration = Duration::from_secs(1);
/// Compilers remembered; a machine has a dozen.
const COMPILERS_MAX: usize = 256;

/// The exposures for all compilers.
#[derive(Debug)]
pub struct Exposures {
    of_system: Exposure,
    by_program: Mutex<HashMap<PathBuf, (Instant, Exposure)>>,
}

impl Exposures {
    /// `of_system` is what all compilers see.
    pub fn new(of_system: Exposure) -> Exposures {
        Exposures { of_system, by_program: Mutex::default() }
    }

    /// What this compiler sees.
    pub fn of(&self, program: &Path) -> Exposure {
        let now = Instant::now();
        let lock = || self.by_program.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((found_at, exposure)) = lock().get(program)
            && now.duration_since(*found_at) < REMEMBERED_TIME
        {
            return exposure.clone();
        }
        let exposure = self.of_system.with(&installation(program));
        let mut known = lock();
        if known.len() >= COMPILERS_MAX {
            known.clear();
        }
        known.insert(program.to_path_buf(), (now, exposure.clone()));
        exposure
    }
}

/// What a compiler needs of this machine beside the system's directories: its own, and the one above, which is where
/// compilers look for the rest of their installation.
fn installation(program: &Path) -> Vec<PathBuf> {
    let followed = fs::canonicalize(program).ok();
    let mut found = Vec::new();
    for path in [Some(program), followed.as_deref()].into_iter().flatten() {
        let directories = path.ancestors().skip(1).take(2).filter(|directory| is_shown(directory));
        found.extend(directories.map(Path::to_path_buf));
    }
    found.dedup();
    found
}

/// Whether compilers may see all of a directory because one of them lives there: not what is everybody's, or one
/// user's, or the kernel's.
fn is_shown(directory: &Path) -> bool {
    const NEVER: [&str; 16] = [
        "/", "/boot", "/dev", "/etc", "/home", "/media", "/mnt", "/proc", "/root", "/run", "/srv", "/sys",
        "/tmp", "/var", "/var/lib", "/var/tmp",
    ];
    directory.is_absolute()
        && !NEVER.iter().any(|never| directory == Path::new(never))
        && directory.parent() != Some(Path::new("/home"))
        && !["/dev", "/proc", "/sys"].iter().any(|never| directory.starts_with(never))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::os::unix::fs::symlink;

    #[test]
    fn an_installation_is_no_more_than_the_compilers_own() {
        for (program, expected) in [
            ("/opt/x/bin/gcc", &["/opt/x/bin", "/opt/x"][..]),
            ("/tmp/x/gcc", &["/tmp/x"]),
            ("/tmp/gcc", &[]),
            ("/home/u/bin/gcc", &["/home/u/bin"]),
            ("/home/u/gcc", &[]),
            ("/home/u/cross/bin/gcc", &["/home/u/cross/bin", "/home/u/cross"]),
            ("/root/bin/gcc", &["/root/bin"]),
            ("/gcc", &[]),
            ("gcc", &[]),
            ("/proc/self/cwd/x/gcc", &[]),
        ] {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(installation(Path::new(program)), expected, "{program}");
        }
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        symlink("/usr/bin/env", dir.path().join("cc")).unwrap();
        assert!(installation(&dir.path().join("cc")).contains(&PathBuf::from("/usr/bin")));
    }

    #[test]
    fn a_compiler_is_seen_with_what_is_beside_it() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        for name in ["bin/cc", "specs"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let exposures = Exposures::new(Exposure::of_this_machine());
        for _ in 0..2 {
            let exposure = exposures.of(&dir.path().join("bin/cc"));
            assert!(exposure.covers(&dir.path().join("specs")));
        }
        assert!(!exposures.of(Path::new("/usr/bin/cc")).covers(&dir.path().join("specs")));
    }
}
