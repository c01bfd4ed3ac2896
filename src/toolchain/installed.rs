//! The compilers in some directories of programs. Knows files and names; not who may run what.
//!
//! Nothing is remembered: what is installed or removed while a server runs is there, or gone, with the next question.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys::child;
use crate::toolchain::names::{self, Name};
use crate::toolchain::natures::{Nature, Natures};

/// Where compilers are installed on any system.
pub const SYSTEM_DIRECTORIES: [&str; 2] = ["/usr/local/bin", "/usr/bin"];
/// Where the parts of gcc are, seen from the directory above its programs: each has a directory for each target.
const LIBRARIES: [&str; 4] = ["lib/gcc", "lib/gcc-cross", "lib64/gcc", "libexec/gcc"];
/// The bit of a file's mode by which everybody may write to it.
const WRITE_BY_EVERYBODY: u32 = 0o002;
/// The bit of a directory's mode by which only an entry's owner may move or remove it.
const STICKY: u32 = 0o1000;

/// Directories that are searched for compilers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    directories: Vec<PathBuf>,
}

impl Installed {
    /// Compilers in these directories; the first of a name counts.
    pub fn in_directories(directories: Vec<PathBuf>) -> Installed {
        Installed { directories }
    }

    /// The directories.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// The directories as a search path. One with a colon in its name cannot be part of it.
    pub fn search_path(&self) -> OsString {
        let named = self.directories.iter().filter(|directory| !directory.to_string_lossy().contains(':'));
        std::env::join_paths(named).unwrap_or_default()
    }

    /// Every compiler, by name. Links to wrappers, and to this program, are none.
    pub fn compilers(&self, natures: &Natures) -> BTreeMap<String, PathBuf> {
        let mut found = BTreeMap::new();
        for directory in &self.directories {
            let Ok(entries) = fs::read_dir(directory) else { continue };
            for entry in entries.flatten() {
                let Ok(name) = entry.file_name().into_string() else { continue };
                let path = entry.path();
                if !found.contains_key(&name)
                    && self.is_name(OsStr::new(&name))
                    && child::is_executable(&path)
                    && matches!(natures.of(&path), Nature::Program | Nature::Script(_))
                {
                    found.insert(name, path);
                }
            }
        }
        found
    }

    /// Whether a name is a compiler's on this machine, be there such a compiler or not.
    pub fn is_name(&self, name: &OsStr) -> bool {
        match name.to_str().and_then(names::read) {
            None => false,
            Some(Name::Plain) => true,
            Some(Name::Cross(target)) => self.has_target(target),
        }
    }

    fn has_target(&self, target: &str) -> bool {
        let multiarch = format!("lib/{}-linux-gnu/gcc", std::env::consts::ARCH);
        let is_plain = !target.contains('/') && !target.starts_with('.');
        let prefixes = self.directories.iter().filter_map(|directory| directory.parent());
        let mut places = prefixes.flat_map(|prefix| {
            LIBRARIES.into_iter().chain([multiarch.as_str()]).map(|library| prefix.join(library))
        });
        is_plain && places.any(|place| place.join(target).is_dir())
    }
}

/// Whether a program is what its owner has put there: not everybody may write to it, or put another one in its place, or
/// another directory in that of one above it.
pub fn is_trustworthy(program: &Path) -> bool {
    let mode = |path: &Path| fs::metadata(path).map(|file| file.mode()).ok();
    let is_closed = |path: &Path| mode(path).is_some_and(|mode| mode & WRITE_BY_EVERYBODY == 0);
    // Of a directory like /tmp everybody has a part, and nobody can take another's.
    let is_shared = |path: &Path| is_closed(path) || mode(path).is_some_and(|mode| mode & STICKY != 0);
    let Ok(file) = fs::canonicalize(program) else { return false };
    let Some(Ok(named_in)) = program.parent().map(fs::canonicalize) else { return false };
    [named_in.as_path(), file.parent().unwrap_or(&file)]
        .into_iter()
        .all(|directory| is_closed(directory) && directory.ancestors().skip(1).all(is_shared))
        && is_closed(&file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A prefix with programs in `bin`.
    fn prefix(programs: &[(&str, &str)]) -> TempDir {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        for directory in ["bin", "lib/gcc/arm-none-eabi/12"] {
            fs::create_dir_all(dir.path().join(directory)).unwrap();
        }
        for (name, text) in programs {
            let path = dir.path().join("bin").join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        dir
    }

    fn names(installed: &Installed) -> Vec<String> {
        installed.compilers(&Natures::default()).into_keys().collect()
    }

    #[test]
    fn programs_with_compilers_names_are_found_and_wrappers_are_not() {
        let elf = "\x7fELF";
        let programs = [
            ("gcc", elf),
            ("gcc-ar", elf),
            ("clang-14", elf),
            ("arm-none-eabi-gcc", elf),
            ("musl-gcc", elf),
            ("c99", "#!/bin/sh\n"),
            ("ccache", elf),
        ];
        let dir = prefix(&programs);
        let bin = dir.path().join("bin");
        symlink("ccache", bin.join("g++")).unwrap();
        symlink("/proc/self/exe", bin.join("c++")).unwrap();
        symlink("nothing", bin.join("cc")).unwrap();
        fs::create_dir(bin.join("clang")).unwrap();
        fs::write(bin.join("c89"), "no program").unwrap();
        let installed = Installed::in_directories(vec!["/nonexistent".into(), bin.clone()]);
        assert_eq!(names(&installed), ["arm-none-eabi-gcc", "c99", "clang-14", "gcc"]);
        // And what comes later is there.
        fs::rename(bin.join("clang-14"), bin.join("clang-15")).unwrap();
        fs::create_dir(dir.path().join("lib/gcc/musl")).unwrap();
        assert_eq!(names(&installed), ["arm-none-eabi-gcc", "c99", "clang-15", "gcc", "musl-gcc"]);
    }

    #[test]
    fn a_wrapper_in_front_hides_no_compiler() {
        let (front, back) = (prefix(&[("ccache", "x")]), prefix(&[("gcc", "\x7fELF")]));
        symlink("ccache", front.path().join("bin/gcc")).unwrap();
        let directories = vec![front.path().join("bin"), back.path().join("bin")];
        let found = Installed::in_directories(directories).compilers(&Natures::default());
        assert_eq!(found.get("gcc"), Some(&back.path().join("bin/gcc")));
    }

    #[test]
    fn what_everybody_can_change_is_not_trusted() {
        let dir = prefix(&[("gcc", "\x7fELF")]);
        let (bin, gcc, link) = (dir.path().join("bin"), dir.path().join("bin/gcc"), dir.path().join("cc"));
        symlink("bin/gcc", &link).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        mode(dir.path(), 0o755);
        for (bin_mode, gcc_mode, expected) in
            [(0o755, 0o755, true), (0o775, 0o755, true), (0o777, 0o755, false), (0o755, 0o777, false)]
        {
            mode(&bin, bin_mode);
            mode(&gcc, gcc_mode);
            assert_eq!(is_trustworthy(&gcc), expected, "{bin_mode:o} {gcc_mode:o}");
            assert_eq!(is_trustworthy(&link), expected, "{bin_mode:o} {gcc_mode:o}");
        }
        mode(&bin, 0o755);
        mode(&gcc, 0o755);
        mode(dir.path(), 0o1777);
        assert!(is_trustworthy(&gcc) && !is_trustworthy(&link), "the link can be replaced");
        assert!(!is_trustworthy(&bin.join("missing")));
        mode(dir.path(), 0o777);
        assert!(!is_trustworthy(&gcc), "its directory can be replaced");
    }
}
