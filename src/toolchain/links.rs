//! The masquerade directory: a link to distcc for each compiler, for clients to put in front of PATH and for servers to
//! know what may run.
//!
//! Owns which of the directory's entries are ours. A link is, if it is the one that this module, distcc 3.4 and Debian
//! write. Every other entry is somebody's decision, such as a compiler that an administrator has added by hand, and stays.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;

use crate::sys::directory::Directory;

/// Where the directory is, below a prefix.
pub const DIRECTORY: &str = "lib/distcc";
/// What each link in it says: the client, beside it in the prefix.
const TARGET: &str = "../../bin/distcc";
/// The last part of that, by which a link that leads nowhere any more tells where it once led.
const PROGRAM: &str = "distcc";

/// What became of a directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Links that were made, or replaced because they led nowhere.
    pub made: Vec<OsString>,
    /// Links that were removed: no such compiler, or they led nowhere.
    pub removed: Vec<OsString>,
    /// Entries with compilers' names that are something else, and what.
    pub foreign: Vec<(OsString, String)>,
}

/// What an entry is.
enum Entry {
    /// One of ours, which leads where it should.
    Ours,
    /// A link to a distcc that is not there.
    Dead,
    /// None of our business; what it is.
    Foreign(String),
}

/// Makes the directory below `prefix` hold a link for each of `compilers`, and none of ours for anything else.
///
/// Links that are right are not touched, and wrong ones are replaced in one step: a build that runs meanwhile finds
/// each at every moment.
pub fn update(prefix: &Path, compilers: &BTreeSet<OsString>) -> io::Result<Outcome> {
    let directory = prefix.join(DIRECTORY);
    let about = |path: &Path, what: &str, error: io::Error| {
        io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
    };
    fs::create_dir_all(&directory).map_err(|error| about(&directory, "make", error))?;
    // Root may do this in somebody's prefix, who can put another directory in its place meanwhile.
    let links = Directory::open(&directory).map_err(|error| about(&directory, "read", error))?;
    let mut outcome = Outcome::default();
    let mut standing = BTreeSet::new();
    for entry in fs::read_dir(&directory).map_err(|error| about(&directory, "read", error))? {
        let name = entry.map_err(|error| about(&directory, "read", error))?.file_name();
        // A link on its way to its name, here or in another process that does this.
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = directory.join(&name);
        let is_wanted = compilers.contains(&name);
        match judge(&links, &name) {
            Entry::Ours if is_wanted => {
                standing.insert(name);
            }
            Entry::Dead if is_wanted => {
                replace(&links, &name).map_err(|error| about(&path, "replace", error))?;
                standing.insert(name.clone());
                outcome.made.push(name);
            }
            Entry::Ours | Entry::Dead => {
                links.remove(&name).map_err(|error| about(&path, "remove", error))?;
                outcome.removed.push(name);
            }
            Entry::Foreign(what) => {
                if is_wanted {
                    standing.insert(name.clone());
                    outcome.foreign.push((name, what));
                }
            }
        }
    }
    for name in compilers.difference(&standing) {
        let path = directory.join(name);
        match links.link(TARGET, name) {
            Ok(()) => outcome.made.push(name.clone()),
            // Somebody else runs this, too.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(about(&path, "make", error)),
        }
    }
    outcome.made.sort();
    outcome.removed.sort();
    outcome.foreign.sort();
    Ok(outcome)
}

fn judge(links: &Directory, name: &OsStr) -> Entry {
    match links.read_link(name) {
        Ok(target) => {
            let target = Path::new(&target);
            let leads_nowhere = links.leads_nowhere(name);
            match () {
                () if target == Path::new(TARGET) && !leads_nowhere => Entry::Ours,
                () if leads_nowhere && target.file_name() == Some(OsStr::new(PROGRAM)) => Entry::Dead,
                () => Entry::Foreign(format!("a link to {}", target.display())),
            }
        }
        Err(_) => Entry::Foreign("no link".into()),
    }
}

/// Puts a link in the place of a wrong one.
fn replace(links: &Directory, name: &OsStr) -> io::Result<()> {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    links.link(TARGET, &hidden)?;
    links.rename(&hidden, name).inspect_err(|_| {
        let _ = links.remove(&hidden);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::os::unix::fs::symlink;

    fn prefix() -> TempDir {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("bin/distcc"), "program").unwrap();
        dir
    }

    fn set(names: &[&str]) -> BTreeSet<OsString> {
        names.iter().map(OsString::from).collect()
    }

    fn update_with(dir: &TempDir, names: &[&str]) -> (Vec<OsString>, Vec<OsString>, usize) {
        let outcome = update(dir.path(), &set(names)).unwrap();
        (outcome.made, outcome.removed, outcome.foreign.len())
    }

    #[test]
    fn the_directory_follows_the_compilers() {
        let dir = prefix();
        let entries = || {
            let entries = fs::read_dir(dir.path().join(DIRECTORY)).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>()
        };
        assert_eq!(update_with(&dir, &["gcc", "cc"]), (vec!["cc".into(), "gcc".into()], vec![], 0));
        assert_eq!(fs::read(dir.path().join("lib/distcc/gcc")).unwrap(), b"program", "the link is relative");
        assert_eq!(update_with(&dir, &["gcc", "cc"]), (vec![], vec![], 0), "nothing to do twice");
        assert_eq!(update_with(&dir, &["gcc", "g++"]), (vec!["g++".into()], vec!["cc".into()], 0));
        assert_eq!(entries(), set(&["g++", "gcc"]));
        assert_eq!(update_with(&dir, &[]), (vec![], vec!["g++".into(), "gcc".into()], 0));
        assert!(entries().is_empty());
    }

    #[test]
    fn what_is_not_ours_stays() {
        let dir = prefix();
        let directory = dir.path().join(DIRECTORY);
        fs::create_dir_all(directory.join("g++")).unwrap();
        fs::write(directory.join("gcc"), "a script").unwrap();
        let by_hand = dir.path().join("bin/distcc");
        symlink(&by_hand, directory.join("mycc")).unwrap();
        symlink("/bin/sh", directory.join("cc")).unwrap();
        symlink("/no/ccache", directory.join("clang")).unwrap();
        let (made, removed, foreign) = update_with(&dir, &["gcc", "g++", "cc", "clang"]);
        assert_eq!((made, removed, foreign), (vec![], vec![], 4));
        assert_eq!(fs::read(directory.join("gcc")).unwrap(), b"a script");
        assert_eq!(fs::read_link(directory.join("mycc")).unwrap(), by_hand);
        assert_eq!(fs::read_link(directory.join("clang")).unwrap(), Path::new("/no/ccache"));
    }

    #[test]
    fn links_to_a_distcc_that_is_gone_are_replaced_or_removed() {
        let dir = prefix();
        let directory = dir.path().join(DIRECTORY);
        fs::create_dir_all(&directory).unwrap();
        for name in ["gcc", "old-gcc"] {
            symlink("/nonexistent/bin/distcc", directory.join(name)).unwrap();
        }
        assert_eq!(update_with(&dir, &["gcc"]), (vec!["gcc".into()], vec!["old-gcc".into()], 0));
        assert_eq!(fs::read_link(directory.join("gcc")).unwrap(), Path::new(TARGET));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing temporary is left");
    }

    #[test]
    fn a_reader_finds_each_link_at_every_moment() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let dir = prefix();
        update_with(&dir, &["gcc"]);
        let link = dir.path().join(DIRECTORY).join("gcc");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut missed = 0;
                while !done.load(Ordering::Relaxed) {
                    missed += u32::from(fs::symlink_metadata(&link).is_err());
                }
                missed
            });
            for round in 0..200 {
                if round % 2 == 0 {
                    replace(&Directory::open(&dir.path().join(DIRECTORY)).unwrap(), OsStr::new("gcc"))
                        .unwrap();
                }
                update_with(&dir, &["gcc", "cc"]);
                update_with(&dir, &["gcc"]);
            }
            done.store(true, Ordering::Relaxed);
            assert_eq!(reader.join().unwrap(), 0);
        });
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let dir = prefix();
        fs::write(dir.path().join("lib"), "a file").unwrap();
        let error = update(dir.path(), &set(&["gcc"])).unwrap_err().to_string();
        assert!(error.starts_with("make ") && error.contains("lib/distcc"), "{error}");
    }
}
