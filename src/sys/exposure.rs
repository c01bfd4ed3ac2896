//! Which parts of this machine a confined program sees: its system directories, read-only.
//!
//! Knows paths and links of the server; neither namespaces nor jobs. What does not change is found once.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::sys::landlock::{Place, Ruleset};

/// What a compiler and its libraries live in, on the distributions we know: /nix and /gnu are NixOS's and Guix's.
/// On a merged-/usr system most of these are links, and stay links.
const DIRECTORIES: [&str; 11] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/libo32",
    "/opt",
    "/nix/store",
    "/gnu/store",
];
/// What compilers and the dynamic loader read of /etc. The release files decide defaults of clang.
const OF_ETC: [&str; 17] = [
    "/etc/alternatives",
    "/etc/clang",
    "/etc/debian_version",
    "/etc/env.d/gcc",
    "/etc/gentoo-release",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld-musl-aarch64.path",
    "/etc/ld-musl-x86_64.path",
    "/etc/localtime",
    "/etc/lsb-release",
    "/etc/os-release",
    "/etc/redhat-release",
    "/etc/SuSE-release",
    "/etc/arch-release",
    "/etc/locale.alias",
];
/// How many links one path may lead through: the kernel's own limit.
const LINKS_MAX: usize = 40;

/// A part of this machine's file system for confined programs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exposure(Arc<Parts>);

/// What an exposure consists of. All paths are absolute; no directory lies below another.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Directories, with the mount points below each.
    pub(super) directories: Vec<Directory>,
    /// Single files outside those directories.
    pub(super) files: Vec<PathBuf>,
    /// Symbolic links outside those directories, and their targets.
    pub(super) links: Vec<(PathBuf, OsString)>,
    /// What all this began with.
    base: Option<Exposure>,
    /// The directories that have come to it since, as Landlock knows them.
    places: OnceLock<Vec<Place>>,
}

#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// Other file systems mounted below it, outer before inner.
    pub(super) submounts: Vec<PathBuf>,
}

impl Exposure {
    /// The directories that compilers of a distribution live in, and what they read of /etc.
    pub fn of_this_machine() -> Exposure {
        let mut parts = Parts::default();
        for path in DIRECTORIES.iter().chain(&OF_ETC).map(Path::new) {
            parts.add(path);
        }
        parts.find_submounts();
        Exposure(Arc::new(parts))
    }

    /// The same and these directories or files (the prefix of a compiler that lives elsewhere), with the symbolic
    /// links that their paths lead through. What is covered already adds nothing; neither does `/`, nor what does
    /// not exist.
    pub fn with(&self, more: &[PathBuf]) -> Exposure {
        let now = self.parts();
        let mut parts = Parts {
            directories: now.directories.clone(),
            files: now.files.clone(),
            links: now.links.clone(),
            base: Some(self.clone()),
            places: OnceLock::new(),
        };
        let mut changed = false;
        for path in more {
            changed |= parts.add(path) == Found::New;
        }
        if !changed {
            return self.clone();
        }
        parts.find_submounts();
        Exposure(Arc::new(parts))
    }

    /// Whether an absolute path leads to an existing file through exposed directories and links alone.
    pub fn covers(&self, path: &Path) -> bool {
        let Some((end, links)) = follow(path) else { return false };
        let parts = self.parts();
        end != Path::new("/") && parts.covers(&end) && links.iter().all(|(link, _)| parts.covers(link))
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.0
    }

    /// The directories that are shown, as Landlock knows them; found once.
    pub(super) fn places(&self) -> io::Result<Vec<&Place>> {
        let parts = self.parts();
        let mut all = parts.base.as_ref().map_or(Ok(Vec::new()), Exposure::places)?;
        if parts.places.get().is_none() {
            let known = |path: &Path| parts.base.as_ref().is_some_and(|base| base.parts().covers(path));
            let directories = parts.directories.iter().map(|directory| directory.path.as_path());
            let found = Place::all_of(directories.filter(|path| !known(path)))?;
            let _ = parts.places.set(found);
        }
        all.extend(parts.places.get().into_iter().flatten());
        Ok(all)
    }

    /// The single files, as they are at this moment: each installation of a package puts a new `ld.so.cache` in the place
    /// of the old one.
    pub(super) fn files(&self) -> io::Result<Vec<Place>> {
        Place::all_of(self.parts().files.iter().map(PathBuf::as_path))
    }

    /// For a program outside a chamber: it may read what is shown, and its own file; write below `directory`, and to
    /// the `devices`.
    pub fn ruleset(&self, program: &Path, directory: &Path, devices: &[Place]) -> io::Result<Ruleset> {
        let own = if self.covers(program) { None } else { Place::open(program).ok() };
        let files = self.files()?;
        let readable = self.places()?.into_iter().chain(&files).chain(&own);
        Ruleset::for_program(readable, [&Place::open(directory)?], devices)
    }
}

/// What adding a path came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Everything it leads through was there already.
    Covered,
    /// Something was added.
    New,
    /// It leads nowhere.
    Nothing,
}

impl Parts {
    /// Adds what an absolute path leads to, and every link on the way.
    fn add(&mut self, path: &Path) -> Found {
        let Some((end, links)) = follow(path) else { return Found::Nothing };
        let mut found = Found::Covered;
        if end == Path::new("/") {
            return Found::Nothing;
        }
        if !self.covers(&end) {
            found = Found::New;
            if fs::metadata(&end).is_ok_and(|file| file.is_dir()) {
                self.directories.retain(|known| !known.path.starts_with(&end));
                self.files.retain(|known| !known.starts_with(&end));
                self.links.retain(|(known, _)| !known.starts_with(&end));
                self.directories.push(Directory { path: end, submounts: Vec::new() });
            } else {
                self.files.push(end);
            }
        }
        for (link, target) in links {
            if !self.covers(&link) {
                found = Found::New;
                self.links.push((link, target));
            }
        }
        found
    }

    /// Whether a path without links is shown.
    fn covers(&self, path: &Path) -> bool {
        self.directories.iter().any(|directory| path.starts_with(&directory.path))
            || self.files.iter().any(|file| file == path)
            || self.links.iter().any(|(link, _)| link == path)
    }

    fn find_submounts(&mut self) {
        let mounts = mount_points(&fs::read("/proc/self/mountinfo").unwrap_or_default());
        for directory in &mut self.directories {
            let below = |mount: &&PathBuf| mount.starts_with(&directory.path) && **mount != directory.path;
            directory.submounts = mounts.iter().filter(below).cloned().collect();
        }
    }
}

/// Where an absolute path ends, and the links it leads through with their targets.
fn follow(path: &Path) -> Option<(PathBuf, Vec<(PathBuf, OsString)>)> {
    let mut rest: VecDeque<OsString> = names(path.strip_prefix("/").ok()?);
    let mut at = PathBuf::from("/");
    let mut links = Vec::new();
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        if !fs::symlink_metadata(&next).ok()?.is_symlink() {
            at = next;
            continue;
        }
        if links.len() == LINKS_MAX {
            return None;
        }
        let target = fs::read_link(&next).ok()?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        for name in names(&target).into_iter().rev() {
            rest.push_front(name);
        }
        links.push((next, target.into_os_string()));
    }
    Some((at, links))
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_os_string()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// The mount points in the text of /proc/self/mountinfo, outer before inner.
fn mount_points(text: &[u8]) -> Vec<PathBuf> {
    let lines = text.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    let mut points: Vec<PathBuf> = fields.map(|field| PathBuf::from(unescaped(field))).collect();
    points.sort();
    points.dedup();
    points
}

/// Undoes the kernel's `\040` for spaces and the like.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// The path of a part below the root it is shown in.
pub(super) fn inside(path: &Path) -> &OsStr {
    let bytes = path.as_os_str().as_bytes();
    OsStr::from_bytes(bytes.strip_prefix(b"/").unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn shows(parts: &Parts) -> Vec<String> {
        let directories = parts.directories.iter().map(|directory| format!("{}/", directory.path.display()));
        let links = parts.links.iter().map(|(link, to)| format!("{} -> {}", link.display(), to.display()));
        let files = parts.files.iter().map(|file| file.display().to_string());
        directories.chain(files).chain(links).collect()
    }

    #[test]
    fn a_compiler_elsewhere_brings_its_prefix_and_every_link_on_the_way() {
        let home = crate::sys::temp::TempDir::create(&std::env::temp_dir(), "exposure", false).unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        fs::create_dir_all(home.join("store/gcc-14/bin")).unwrap();
        fs::write(home.join("store/gcc-14/bin/gcc"), "").unwrap();
        symlink("store/gcc-14", home.join("gcc")).unwrap();
        symlink(home.join("gcc/bin"), home.join("bin")).unwrap();
        let none = Exposure(Arc::default());
        let place = |name: &str| home.join(name).display().to_string();

        let some = none.with(&[home.join("bin/.."), PathBuf::from("/nonexistent"), PathBuf::from("/")]);
        let prefix = format!("{}/", place("store/gcc-14"));
        let expected = [
            prefix.clone(),
            format!("{} -> {}", place("bin"), place("gcc/bin")),
            format!("{} -> store/gcc-14", place("gcc")),
        ];
        assert_eq!(shows(some.parts()), expected);
        assert!(some.covers(&home.join("bin/gcc")) && some.covers(&home.join("gcc/bin/gcc")));
        assert!(!some.covers(&home.join("store")) && !some.covers(&home.join("gcc/bin/cc1")));
        assert!(!none.covers(&home.join("bin/gcc")));

        // A larger directory takes the place of what lies in it.
        assert_eq!(shows(some.with(std::slice::from_ref(&home)).parts()), [format!("{}/", home.display())]);
        // A single file is shown alone.
        let file = none.with(&[home.join("gcc/bin/gcc")]);
        assert_eq!(shows(file.parts())[0], place("store/gcc-14/bin/gcc"));
    }

    #[test]
    fn this_machine_shows_its_usr_and_not_its_homes() {
        let exposure = Exposure::of_this_machine();
        assert!(exposure.covers(Path::new("/usr/bin")) && exposure.covers(Path::new("/bin/sh")));
        for hidden in ["/home", "/root", "/etc/passwd", "/proc", "/tmp", "/var", "/"] {
            assert!(!exposure.covers(Path::new(hidden)), "{hidden}");
        }
    }

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        let text = b"36 35 98:0 / /opt/my\\040disk rw,noatime - ext4 /dev/root rw\n\
                     35 1 98:0 / /opt rw - ext4 /dev/root rw\n37 1 0:1 / /a\\134b rw - tmpfs none rw\nshort\n";
        let expected = ["/a\\b", "/opt", "/opt/my disk"].map(PathBuf::from);
        assert_eq!(mount_points(text), expected);
    }
}
