//! Compressed files on disk, for clients of distcc 3.4: below a directory of exactly three components each file, link
//! and directory-forcing name of an answer at its own path (docs/protocol.md, 14). Written only when such a client asks,
//! each content once.
//!
//! What was handed out is never written again, because a client may still be about to open it: a file that has changed,
//! or a directory that has become a link, begins a new generation, in which only what is new is written. An answer's
//! paths may lie in several.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::include_scan::FileState;
use crate::sys::temp;

/// How many components a client of 3.4 takes off each path.
const ROOT_COMPONENTS: usize = 3;
/// What marks the directories of an include server, followed by its process id and the generation.
const MARK: &str = ".include_server-";
/// How long a generation that has been followed by others is kept for clients that were told of it.
const RETIREMENT: Duration = Duration::from_secs(60);
/// Generations at which the retired ones are removed.
const GENERATIONS_MAX: usize = 16;

/// What an entry of the mirror holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// A file's content in one state, perhaps behind a line that tells its name.
    File(FileState, Option<Vec<u8>>),
    /// A symbolic link and its text.
    Link(Vec<u8>),
    /// An empty file that stands for its directory.
    Forcing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    Directory,
    Leaf,
}

#[derive(Debug)]
struct Generation {
    number: u32,
    /// The directory that is removed with all it holds.
    top: PathBuf,
    /// The one of three components: `top`, or below it.
    root: PathBuf,
    /// Everything in it, by client path. Nothing is created below a name that this does not know as a directory: a link
    /// would lead out of the mirror.
    made: HashMap<Box<[u8]>, Made>,
    followed: Option<Instant>,
}

/// The mirror. It is empty, and nothing is on disk, until it is first used; it is removed when dropped.
#[derive(Debug)]
pub(super) struct Mirror {
    place: PathBuf,
    generations: Vec<Generation>,
    begun: u32,
    known: HashMap<Box<[u8]>, (Version, u32)>,
    /// Increases whenever paths that were handed out may have been removed.
    pub(super) removals: u64,
    closed: bool,
}

impl Mirror {
    /// A mirror below `place`, which has at most two components.
    pub(super) fn new(place: PathBuf) -> Mirror {
        Mirror { place, generations: Vec::new(), begun: 0, known: HashMap::new(), removals: 0, closed: false }
    }

    /// Forgets generations that somebody has removed: a cleaner of old files, or of what a user who has logged out left in
    /// memory.
    pub(super) fn refresh(&mut self) {
        let before = self.generations.len();
        self.generations.retain(|generation| fs::symlink_metadata(&generation.root).is_ok());
        if self.generations.len() < before {
            self.removals += 1;
        }
    }

    /// The path of an entry, written if it is not there yet. `content` makes a file's compressed content; the result is
    /// `None` if it can not, because the file has changed.
    pub(super) fn entry(
        &mut self,
        name: &[u8],
        version: &Version,
        content: impl FnOnce() -> io::Result<Option<Vec<u8>>>,
    ) -> io::Result<Option<Vec<u8>>> {
        if let Some((known, number)) = self.known.get(name)
            && known == version
            && let Some(generation) = self.generations.iter().find(|made| made.number == *number)
        {
            return Ok(Some(generation.path(name)));
        }
        let content = match version {
            Version::File(..) => match content()? {
                Some(content) => content,
                None => return Ok(None),
            },
            Version::Link(_) | Version::Forcing => Vec::new(),
        };
        if !self.generations.last().is_some_and(|current| current.has_room(name)) {
            self.begin_generation()?;
        }
        let current = self.generations.last_mut().expect("one was begun");
        let path = current.write(name, version, &content)?;
        self.known.insert(name.into(), (version.clone(), current.number));
        Ok(Some(path))
    }

    /// Removes everything, for good.
    pub(super) fn close(&mut self) {
        self.generations.drain(..).for_each(|generation| generation.remove());
        self.known.clear();
        self.removals += 1;
        self.closed = true;
    }

    fn begin_generation(&mut self) -> io::Result<()> {
        if self.closed {
            return Err(io::Error::other("the include server ends"));
        }
        let now = Instant::now();
        if let Some(current) = self.generations.last_mut() {
            current.followed = Some(now);
        }
        if self.generations.len() >= GENERATIONS_MAX {
            let is_old = |made: &mut Generation| {
                made.followed.is_some_and(|since| now.duration_since(since) >= RETIREMENT)
            };
            let retired: Vec<Generation> = self.generations.extract_if(.., is_old).collect();
            if !retired.is_empty() {
                self.removals += 1;
            }
            retired.iter().for_each(Generation::remove);
        }
        self.begun += 1;
        self.generations.push(Generation::begin(&self.place, self.begun)?);
        Ok(())
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.close();
    }
}

impl Generation {
    fn begin(place: &Path, number: u32) -> io::Result<Generation> {
        let process = std::process::id();
        let top = place.join(format!("tmp{}{MARK}{process}-{number}", temp::random_name()));
        let mut builder = DirBuilder::new();
        builder.mode(0o700).create(&top)?;
        let mut root = top.clone();
        // `/` counts as a component here.
        while root.components().count() < 1 + ROOT_COMPONENTS {
            root.push("padding");
            builder.create(&root)?;
        }
        Ok(Generation { number, top, root, made: HashMap::new(), followed: None })
    }

    fn path(&self, name: &[u8]) -> Vec<u8> {
        [self.root.as_os_str().as_bytes(), name].concat()
    }

    /// Whether nothing is in the way of a new entry.
    fn has_room(&self, name: &[u8]) -> bool {
        !self.made.contains_key(name)
            && parents(name).all(|parent| self.made.get(parent).is_none_or(|made| *made == Made::Directory))
    }

    fn write(&mut self, name: &[u8], version: &Version, content: &[u8]) -> io::Result<Vec<u8>> {
        for parent in parents(name) {
            let path = [self.root.as_os_str().as_bytes(), parent].concat();
            if let Entry::Vacant(place) = self.made.entry(parent.into()) {
                DirBuilder::new().mode(0o700).create(OsStr::from_bytes(&path))?;
                place.insert(Made::Directory);
            }
        }
        let path = self.path(name);
        let file = Path::new(OsStr::from_bytes(&path));
        let written = match version {
            Version::Link(target) => symlink(OsStr::from_bytes(target), file),
            Version::File(..) | Version::Forcing => {
                let created = File::options().write(true).create_new(true).mode(0o600).open(file);
                created.and_then(|mut file| file.write_all(content))
            }
        };
        if let Err(error) = written {
            let _ = fs::remove_file(file);
            return Err(error);
        }
        self.made.insert(name.into(), Made::Leaf);
        Ok(path)
    }

    fn remove(&self) {
        let _ = fs::remove_dir_all(&self.top);
    }
}

/// The directories above a path, the outermost first; not `/`.
fn parents(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = name.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &name[..at])
}

/// Removes what include servers that no longer run have left below `place`.
pub(super) fn remove_stale(place: &Path) {
    let Ok(own) = fs::metadata("/proc/self") else { return };
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(process_of) else { continue };
        let is_ours = entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own.uid());
        if is_ours && !Path::new(&format!("/proc/{process}")).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that a directory of the mirror belongs to.
fn process_of(name: &str) -> Option<u32> {
    let (process, _generation) = name.split_once(MARK)?.1.split_once('-')?;
    process.parse().ok()
}

/// The line that gives a compressed file the name it has on the client, where the compiler of a server of 3.4 would
/// print another one.
pub(super) fn naming_line(path: &Arc<Path>) -> Vec<u8> {
    let mut line = b"#line 1 \"".to_vec();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            line.push(b'\\');
        }
        line.push(*byte);
    }
    line.extend_from_slice(b"\"\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::path::Component;

    fn path(mirror: &mut Mirror, name: &str, version: &Version) -> PathBuf {
        let path = mirror.entry(name.as_bytes(), version, || Ok(None)).unwrap().unwrap();
        PathBuf::from(OsStr::from_bytes(&path))
    }

    #[test]
    fn the_root_has_three_components() {
        let parent = TempDir::create(Path::new("/tmp"), "distcc_test", false).unwrap();
        for place in [Path::new("/tmp"), parent.path()] {
            let mut mirror = Mirror::new(place.to_owned());
            let made = path(&mut mirror, "/p/forcing_technique_271828", &Version::Forcing);
            let name: PathBuf =
                made.components().filter(|part| *part != Component::RootDir).skip(3).collect();
            assert_eq!(name, Path::new("p/forcing_technique_271828"), "{}", made.display());
            drop(mirror);
            assert!(!made.exists());
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_in_the_way_begins_a_generation_and_what_was_told_stays() {
        let parent = TempDir::create(Path::new("/tmp"), "distcc_test", false).unwrap();
        let mut mirror = Mirror::new(parent.path().to_owned());
        let link = |target: &str| Version::Link(target.into());
        let first = path(&mut mirror, "/p/l", &link("one"));
        assert_eq!(path(&mut mirror, "/p/l", &link("one")), first);
        let second = path(&mut mirror, "/p/l", &link("two"));
        let below = path(&mut mirror, "/p/l/forcing_technique_271828", &Version::Forcing);
        let beside = path(&mut mirror, "/p/k", &link("three"));
        assert_eq!(fs::read_link(&first).unwrap(), Path::new("one"));
        assert_eq!(fs::read_link(&second).unwrap(), Path::new("two"));
        assert!(fs::symlink_metadata(below.parent().unwrap()).unwrap().is_dir());
        assert_eq!(beside.parent(), below.parent().and_then(Path::parent), "only what is new is written");
        mirror.close();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        assert!(mirror.entry(b"/p/l", &Version::Forcing, || Ok(None)).is_err(), "closed for good");
    }

    #[test]
    fn old_generations_retire() {
        let parent = TempDir::create(Path::new("/tmp"), "distcc_test", false).unwrap();
        let mut mirror = Mirror::new(parent.path().to_owned());
        let mut text = |number: usize| {
            let path = path(&mut mirror, "/l", &Version::Link(number.to_string().into_bytes()));
            for made in &mut mirror.generations {
                made.followed = made.followed.map(|since| since - RETIREMENT);
            }
            (path, mirror.removals)
        };
        let first = text(0).0;
        for number in 1..GENERATIONS_MAX {
            assert_eq!(text(number).1, 0);
        }
        assert!(fs::symlink_metadata(&first).is_ok());
        assert_eq!(text(GENERATIONS_MAX).1, 1);
        assert!(fs::symlink_metadata(&first).is_err());
        assert!(fs::read_dir(parent.path()).unwrap().count() <= 2);
    }

    #[test]
    fn a_name_with_quotes_is_escaped() {
        let path: Arc<Path> = Arc::from(Path::new("/p/a\"b\\c.h"));
        assert_eq!(naming_line(&path), b"#line 1 \"/p/a\\\"b\\\\c.h\"\n");
    }
}
