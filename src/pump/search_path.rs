//! Which PATH a build gets: one on which `distcc` is the one pump belongs to. Knows no build.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::sys::child;
use crate::sys::process::FileIdentity;

/// Names under which a build calls its compiler; one that leads to distcc is a masquerade.
const COMPILERS: [&str; 6] = ["cc", "gcc", "c++", "g++", "clang", "clang++"];

/// The directory of the programs that belong to `program`, which is `argv[0]`: where that file is, after one symbolic
/// link (manual, pump(1), "DISTCC_LOCATION"). Whoever starts us may have made the name up; then it is where we are.
pub fn location_of(program: &OsStr, search_path: &OsStr) -> Option<PathBuf> {
    let found = child::candidates(program, search_path).next().or_else(|| env::current_exe().ok())?;
    let directory = found.parent()?;
    let file = match fs::read_link(&found) {
        Ok(target) => directory.join(target),
        Err(_) => found.clone(),
    };
    let directory = file.parent()?;
    // As the user calls it where that can be kept: it is shown, and becomes part of PATH.
    let plain = directory.is_absolute() && !directory.components().any(|part| part == Component::ParentDir);
    if plain { Some(directory.to_path_buf()) } else { fs::canonicalize(directory).ok() }
}

/// PATH with the directory of our programs before all others, as 3.4 puts it. A masquerade directory must stay before
/// the compilers it stands in for, though, or the build distributes nothing: with one, ours goes last, and only if
/// `distcc` is not found without it.
pub fn with_location(location: &Path, search_path: &OsStr) -> OsString {
    let distcc = FileIdentity::of(&location.join("distcc"));
    let leads_to_distcc = |name: &&str| {
        let found = child::candidates(OsStr::new(name), search_path).next();
        found.is_some_and(|found| FileIdentity::of(&found) == distcc)
    };
    let masquerade = distcc.is_some() && COMPILERS.iter().any(leads_to_distcc);
    if masquerade && leads_to_distcc(&"distcc") {
        return search_path.to_os_string();
    }
    let own = [location.to_path_buf()];
    let others: Vec<PathBuf> = env::split_paths(search_path).collect();
    let all: Vec<&PathBuf> =
        if masquerade { others.iter().chain(&own).collect() } else { own.iter().chain(&others).collect() };
    // A colon in a directory's name cannot be had on any PATH.
    env::join_paths(all).unwrap_or_else(|_| search_path.to_os_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_location_is_behind_one_link() {
        let dir = TempDir::create(&env::temp_dir(), "distcc_test", false).unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        for directory in ["real", "links"] {
            fs::create_dir(root.join(directory)).unwrap();
        }
        fs::copy("/bin/true", root.join("real/distcc")).unwrap();
        symlink("distcc", root.join("real/pump")).unwrap();
        symlink("../real/pump", root.join("links/pump")).unwrap();
        let links = root.join("links");
        for program in [root.join("real/pump"), root.join("links/pump"), root.join("real/distcc")] {
            assert_eq!(location_of(program.as_os_str(), OsStr::new("")), Some(root.join("real")));
        }
        assert_eq!(location_of(OsStr::new("pump"), links.as_os_str()), Some(root.join("real")));
        let own = env::current_exe().unwrap();
        assert_eq!(location_of(OsStr::new("pump"), OsStr::new("/nonexistent")).as_deref(), own.parent());
    }

    #[test]
    fn a_masquerade_stays_in_front() {
        let dir = TempDir::create(&env::temp_dir(), "distcc_test", false).unwrap();
        let (bin, masquerade) = (dir.path().join("bin"), dir.path().join("masquerade"));
        fs::create_dir(&bin).unwrap();
        fs::create_dir(&masquerade).unwrap();
        fs::copy("/bin/true", bin.join("distcc")).unwrap();
        symlink("../bin/distcc", masquerade.join("gcc")).unwrap();
        let (bin, masquerade) = (bin.display().to_string(), masquerade.display().to_string());
        let cases = [
            ("/usr/bin:/bin".to_owned(), format!("{bin}:/usr/bin:/bin")),
            (format!("/bin:{bin}"), format!("{bin}:/bin:{bin}")),
            (format!("{masquerade}:/bin"), format!("{masquerade}:/bin:{bin}")),
            (format!("{masquerade}:{bin}:/bin"), format!("{masquerade}:{bin}:/bin")),
        ];
        for (before, after) in cases {
            assert_eq!(with_location(Path::new(&bin), OsStr::new(&before)), *after, "{before}");
        }
    }
}
