//! Files that changed while a build ran, which may be why compilers that saw them at different moments disagree (manual,
//! DISTCC_EXCLUDE_FRESH_FILES). Reads what a compiler wrote about its dependencies; knows nothing of jobs.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys::pattern;

/// The first file named in a dependency file that has changed since `since` was made; those that the glob matches are
/// expected to. None if there is no such file, or nothing is known of it.
pub fn first(dependencies: &Path, since: &Path, expected: Option<&OsStr>) -> Option<PathBuf> {
    let changed = |path: &Path| fs::metadata(path).ok().map(|found| (found.ctime(), found.ctime_nsec()));
    let began = changed(since)?;
    let names = prerequisites(&fs::read(dependencies).ok()?);
    let is_expected = |name: &OsString| expected.is_some_and(|glob| pattern::glob_matches(glob, name));
    let mut unexpected = names.into_iter().filter(|name| !is_expected(name)).map(PathBuf::from);
    unexpected.find(|name| changed(name).is_some_and(|when| when >= began))
}

/// The files that the first rule of a dependency file names, as compilers quote them for make.
fn prerequisites(text: &[u8]) -> Vec<OsString> {
    let mut names: Vec<Vec<u8>> = vec![Vec::new()];
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let name = names.last_mut().expect("BUG: never empty");
        match (byte, bytes.peek()) {
            // The rule goes on in the next line.
            (b'\\', Some(b'\n')) => {
                bytes.next();
                names.push(Vec::new());
            }
            (b'\\', Some(b' ' | b'#')) | (b'$', Some(b'$')) => name.extend(bytes.next()),
            (b' ' | b'\t', _) => names.push(Vec::new()),
            (b'\n', _) => break,
            _ => name.push(byte),
        }
    }
    names.retain(|name| !name.is_empty());
    let targets = names.iter().position(|name| name.ends_with(b":")).map_or(names.len(), |at| at + 1);
    names.into_iter().skip(targets).map(OsString::from_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;

    #[test]
    fn the_files_of_a_rule_are_read_as_compilers_write_them() {
        for (text, want) in [
            ("a.o: a.c inc/b.h \\\n  /usr/include/x.h\n\ninc/b.h:\n", "a.c,inc/b.h,/usr/include/x.h"),
            ("a.o d/a\\ b.o: a\\ b.c \\#.h $$x.h\\\n c.h", "a b.c,#.h,$x.h,c.h"),
            ("a.o:\n", ""),
            ("nonsense", ""),
            ("", ""),
        ] {
            let names = prerequisites(text.as_bytes());
            let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
            assert_eq!(names.join(","), want, "{text}");
        }
    }

    #[test]
    fn only_what_changed_since_and_is_not_expected_to_counts() {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
        write("old.h", "");
        std::thread::sleep(std::time::Duration::from_millis(20));
        write("began", "");
        let rule = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| path(name).display().to_string()).collect();
            write("a.d", &format!("a.o: {}\n", names.join(" ")));
        };
        let fresh = |glob: Option<&str>| first(&path("a.d"), &path("began"), glob.map(OsStr::new));
        rule(&["old.h", "gone.h"]);
        assert_eq!(fresh(None), None);
        std::thread::sleep(std::time::Duration::from_millis(20));
        write("new.h", "");
        rule(&["old.h", "new.h"]);
        assert_eq!(fresh(None), Some(path("new.h")));
        assert_eq!(fresh(Some("*/old.h")), Some(path("new.h")));
        assert_eq!(fresh(Some("*/n?w.h")), None);
        fs::remove_file(path("began")).unwrap();
        assert_eq!(fresh(None), None);
    }
}
