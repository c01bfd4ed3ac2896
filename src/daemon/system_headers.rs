//! Whether this machine's system headers are the client's: fingerprints of what a compiler would find under a name.
//!
//! Knows the file system and what is exposed of it; nothing of connections. What is asked again is answered from
//! memory; the files behind an answer are packaged ones, which are replaced, never edited, so that it holds for as
//! long as their directories stay as they were. Those are looked at again after [`CHECK_INTERVAL`].
//!
//! A peer learns whether its number for a name is ours. It can make a compiler tell it the whole file, and nothing
//! but what that compiler would see is compared.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::checksum::Crc32;
use crate::daemon::patron::Patron;
use crate::daemon::refusal::Refusal;
use crate::exit_code::ExitCode;
use crate::protocol::surroundings::{self, HEADERS_DIFFER, SystemHeader};
use crate::sys::exposure::Exposure;
use crate::sys::open;

/// How long an answer is given without a look at the directories it depends on. A job that starts within this time
/// of an upgrade of packages may well read half of them before and half after.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The largest header that is compared, in bytes: a hundred times the largest there is.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// Most directories of one job, and most files that may have to be looked for in them; clients know fewer than ten
/// directories and some hundreds of names.
const DIRECTORIES_MAX: usize = 64;
const LOOKUPS_MAX: usize = 1 << 16;
/// Most bytes that are read for one job: ten times what the largest C++ programs include of a system.
const READ_BYTES_MAX: u64 = 256 << 20;
/// Memory that a name takes beside its bytes, in bytes: its place in a list, and what the allocator adds.
const HEADER_OVERHEAD_BYTES: usize = 64;
/// What is remembered for all compilers together, in bytes: the names and paths, and [`HEADER_OVERHEAD_BYTES`] for each.
const REMEMBERED_BYTES_MAX: usize = 16 << 20;

/// What a job expects of the system headers.
#[derive(Debug)]
pub struct Question {
    /// The compiler that will look for them; what it sees decides.
    pub program: PathBuf,
    /// Its include directories, in order.
    pub directories: Vec<Vec<u8>>,
    /// The names and what they should stand for.
    pub headers: Vec<SystemHeader>,
    /// Who wants to know.
    pub patron: Patron,
}

impl Question {
    /// Memory it takes, in bytes.
    pub fn memory(&self) -> u64 {
        let names = self.headers.iter().map(|header| &header.name).chain(&self.directories);
        names.map(|name| (name.capacity() + HEADER_OVERHEAD_BYTES) as u64).sum()
    }
}

/// The answers so far.
#[derive(Debug, Default)]
pub struct SystemHeaders(Mutex<HashMap<Place, Known>>);

/// Where headers are looked for, and by which compiler.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    program: PathBuf,
    directories: Vec<Vec<u8>>,
}

/// What is known of a place.
#[derive(Clone, Debug)]
struct Known {
    fingerprints: HashMap<Vec<u8>, u32>,
    /// Each directory in which one of the names could be, and what it looked like.
    watched: HashMap<PathBuf, Option<Signature>>,
    checked_at: Instant,
}

/// What changes when something is put into a directory or taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Signature {
    fn of(path: &Path) -> Option<Signature> {
        let of_metadata = |found: Metadata| Signature {
            device: found.dev(),
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        };
        fs::metadata(path).ok().map(of_metadata)
    }
}

impl SystemHeaders {
    /// Answers from memory, without looking at any file: `None` if that is not possible.
    pub fn recall(&self, question: &Question, now: Instant) -> Option<Result<(), Refusal>> {
        let known = self.lock();
        let place = Place { program: question.program.clone(), directories: question.directories.clone() };
        let known =
            known.get(&place).filter(|known| now.duration_since(known.checked_at) < CHECK_INTERVAL)?;
        let mut differs = None;
        for header in &question.headers {
            if *known.fingerprints.get(&header.name)? != header.fingerprint {
                differs.get_or_insert(header);
            }
        }
        Some(differs.map_or(Ok(()), |header| Err(refusal(&header.name))))
    }

    /// Answers by looking, and remembers. `exposure` is what the compiler will see.
    pub fn compare(&self, question: Question, exposure: &Exposure) -> Result<(), Refusal> {
        let lookups = question.directories.len().saturating_mul(question.headers.len());
        if question.directories.len() > DIRECTORIES_MAX || lookups > LOOKUPS_MAX {
            return Err(too_much());
        }
        let began = Instant::now();
        let Question { program, directories, headers, patron } = question;
        let place = Place { program, directories };
        // Not under the lock: the loop asks for it, too.
        let before = self.lock().get(&place).cloned();
        let mut known = before.filter(Known::is_true).unwrap_or_else(|| Known {
            fingerprints: HashMap::new(),
            watched: HashMap::new(),
            checked_at: began,
        });
        known.checked_at = began;
        let (mut differs, mut left) = (None, READ_BYTES_MAX);
        for header in &headers {
            if patron.has_left() {
                // What was found out until now is true; nobody will ask for the rest.
                differs = Some(refusal(b"nobody waits for the answer"));
                break;
            }
            let fingerprint = match known.fingerprints.get(&header.name) {
                Some(fingerprint) => *fingerprint,
                None => {
                    known.look(&place.directories, &header.name, exposure, &mut left).ok_or_else(too_much)?
                }
            };
            if fingerprint != header.fingerprint {
                differs.get_or_insert_with(|| refusal(&header.name));
            }
        }
        self.remember(place, known);
        differs.map_or(Ok(()), Err)
    }

    fn remember(&self, place: Place, known: Known) {
        let mut all = self.lock();
        let weight = |known: &Known| {
            let names = known.fingerprints.keys().map(Vec::len);
            let lengths = names.chain(known.watched.keys().map(|path| path.as_os_str().len()));
            lengths.map(|bytes| bytes + HEADER_OVERHEAD_BYTES).sum::<usize>()
        };
        let others: usize =
            all.iter().filter(|(key, _)| **key != place).map(|(_, known)| weight(known)).sum();
        if others + weight(&known) > REMEMBERED_BYTES_MAX {
            // Nobody but a peer who invents names comes here; starting anew costs the others one look.
            all.clear();
        }
        if weight(&known) <= REMEMBERED_BYTES_MAX {
            all.insert(place, known);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Known>> {
        // Whatever a panicking thread left is complete: it inserts whole values.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether the directories are as they were.
    fn is_true(&self) -> bool {
        self.watched.iter().all(|(path, before)| Signature::of(path) == *before)
    }

    /// Finds out what a name stands for, and remembers what that depends on. `None` if that would take reading more
    /// than is `left`.
    fn look(
        &mut self,
        directories: &[Vec<u8>],
        name: &[u8],
        exposure: &Exposure,
        left: &mut u64,
    ) -> Option<u32> {
        let mut found = Vec::with_capacity(directories.len());
        for directory in directories {
            let path = Path::new(OsStr::from_bytes(directory)).join(OsStr::from_bytes(name));
            if !directory.starts_with(b"/") || name.starts_with(b"/") {
                found.push(None);
                continue;
            }
            self.watch(path.parent());
            let file = fs::metadata(&path).ok().filter(|found| found.is_file() && exposure.covers(&path));
            let is_seen = file.is_some();
            if let Some(file) = file {
                *left = left.checked_sub(file.len().min(HEADER_BYTES_MAX))?;
                // The file may be a link to another directory.
                self.watch(fs::canonicalize(&path).ok().as_deref().and_then(Path::parent));
            }
            found.push(if is_seen { checksum(&path) } else { None });
        }
        let fingerprint = surroundings::fingerprint(found);
        self.fingerprints.insert(name.to_vec(), fingerprint);
        Some(fingerprint)
    }

    fn watch(&mut self, directory: Option<&Path>) {
        if let Some(directory) = directory
            && !self.watched.contains_key(directory)
        {
            self.watched.insert(directory.to_path_buf(), Signature::of(directory));
        }
    }
}

/// The sum of a file's content; nothing if it is none to be read, or too long.
fn checksum(path: &Path) -> Option<u32> {
    let mut file: File = open::without_waiting(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > HEADER_BYTES_MAX {
        return None;
    }
    let mut content = Vec::with_capacity(metadata.len() as usize + 1);
    (&mut file).take(HEADER_BYTES_MAX).read_to_end(&mut content).ok()?;
    let mut sum = Crc32::new();
    sum.update(&content);
    Some(sum.finish())
}

fn too_much() -> Refusal {
    Refusal::new(ExitCode::DistccFailed, format!("{HEADERS_DIFFER}there are too many to compare"))
}

fn refusal(name: &[u8]) -> Refusal {
    Refusal::new(ExitCode::DistccFailed, format!("{HEADERS_DIFFER}{}", String::from_utf8_lossy(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::crc32;
    use crate::sys::temp::TempDir;

    /// A machine with two include directories.
    struct Machine {
        root: TempDir,
        headers: SystemHeaders,
        exposure: Exposure,
    }

    impl Machine {
        fn new() -> Machine {
            let root = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
            for (name, content) in
                [("a/x.h", "one"), ("b/x.h", "two"), ("b/sub/y.h", "three"), ("secret", "s")]
            {
                let path = root.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            let exposed = ["a", "b"].map(|name| root.path().join(name));
            let exposure = Exposure::of_this_machine().with(&exposed);
            Machine { root, headers: SystemHeaders::default(), exposure }
        }

        fn question(&self, name: &str, contents: [Option<&str>; 2]) -> Question {
            let directories =
                ["a", "b"].map(|name| self.root.path().join(name).into_os_string().into_encoded_bytes());
            let sums = contents.map(|content| content.map(|content| crc32(content.as_bytes())));
            let header = SystemHeader { name: name.into(), fingerprint: surroundings::fingerprint(sums) };
            Question {
                program: "/usr/bin/cc".into(),
                directories: directories.to_vec(),
                headers: vec![header],
                patron: Patron::default(),
            }
        }

        fn is_same(&self, name: &str, contents: [Option<&str>; 2]) -> bool {
            self.headers.compare(self.question(name, contents), &self.exposure).is_ok()
        }

        fn recalls(&self, name: &str, contents: [Option<&str>; 2], now: Instant) -> Option<bool> {
            self.headers.recall(&self.question(name, contents), now).map(|answer| answer.is_ok())
        }
    }

    #[test]
    fn the_content_in_every_directory_counts() {
        let machine = Machine::new();
        for (name, contents, expected) in [
            ("x.h", [Some("one"), Some("two")], true),
            ("x.h", [Some("one"), None], false),
            ("x.h", [Some("two"), Some("one")], false),
            ("sub/y.h", [None, Some("three")], true),
            ("./sub/../sub/y.h", [None, Some("three")], true),
            ("none.h", [None, None], true),
            ("none.h", [Some(""), None], false),
            // A directory is no header.
            ("sub", [None, None], true),
            // What the compiler will not see is not there.
            ("../secret", [Some("s"), Some("s")], false),
            ("../secret", [None, None], true),
            ("../b/x.h", [Some("two"), Some("two")], true),
        ] {
            assert_eq!(machine.is_same(name, contents), expected, "{name} {contents:?}");
        }
        let refusal = machine.headers.compare(machine.question("x.h", [None, None]), &machine.exposure);
        assert_eq!(refusal.unwrap_err().reason, "system headers differ: x.h");
    }

    #[test]
    fn answers_are_remembered_until_a_directory_changes() {
        let machine = Machine::new();
        let same = [Some("one"), Some("two")];
        let now = Instant::now();
        assert_eq!(machine.recalls("x.h", same, now), None);
        assert!(machine.is_same("x.h", same));
        assert_eq!(machine.recalls("x.h", same, now), Some(true));
        assert_eq!(machine.recalls("x.h", [None, None], now), Some(false));
        assert_eq!(machine.recalls("x.h", same, now + 2 * CHECK_INTERVAL), None);
        // As a package manager does it.
        let (path, new) = (machine.root.path().join("a/x.h"), machine.root.path().join("a/x.h.new"));
        fs::write(&new, "1").unwrap();
        fs::rename(&new, &path).unwrap();
        assert!(!machine.is_same("x.h", same));
        assert!(machine.is_same("x.h", [Some("1"), Some("two")]));
        // A header appears in a directory that was not there.
        assert!(machine.is_same("new/z.h", [None, None]));
        fs::create_dir(machine.root.path().join("a/new")).unwrap();
        fs::write(machine.root.path().join("a/new/z.h"), "z").unwrap();
        assert!(machine.is_same("new/z.h", [Some("z"), None]));
    }

    #[test]
    fn nothing_is_looked_up_for_a_client_that_has_left() {
        let machine = Machine::new();
        let question = machine.question("x.h", [Some("one"), Some("two")]);
        question.patron.leave();
        let again = machine.question("x.h", [Some("one"), Some("two")]);
        assert!(machine.headers.compare(question, &machine.exposure).is_err());
        assert!(machine.headers.recall(&again, Instant::now()).is_none());
        assert!(machine.headers.compare(again, &machine.exposure).is_ok());
    }

    #[test]
    fn special_files_are_neither_waited_for_nor_read() {
        let machine = Machine::new();
        let question = Question {
            program: "/usr/bin/cc".into(),
            directories: vec![b"/dev".to_vec(), b"/proc/self".to_vec(), b"relative".to_vec()],
            headers: ["null", "tty", "environ", "fd/0", "x.h"]
                .map(|name| SystemHeader {
                    name: name.into(),
                    fingerprint: surroundings::fingerprint([None, None, None]),
                })
                .to_vec(),
            patron: Patron::default(),
        };
        assert_eq!(machine.headers.compare(question, &machine.exposure), Ok(()));
    }

    #[test]
    fn a_peer_cannot_fill_the_memory_with_names() {
        let machine = Machine::new();
        let mut question = machine.question("x.h", [None, None]);
        question.headers = vec![question.headers[0].clone(); LOOKUPS_MAX];
        let refusal = machine.headers.compare(question, &machine.exposure).unwrap_err();
        assert!(refusal.reason.contains("too many"), "{refusal}");
        for round in 0..4 {
            let mut question = machine.question("x.h", [None, None]);
            question.directories.truncate(1);
            let names = (0..LOOKUPS_MAX / 2).map(|number| format!("{round}/{number}.h").into_bytes());
            question.headers = names.map(|name| SystemHeader { name, fingerprint: 0 }).collect();
            assert!(machine.headers.compare(question, &machine.exposure).is_err());
            let all = machine.headers.lock();
            let names = all.values().flat_map(|known| known.fingerprints.keys());
            let remembered: usize = names.map(|name| name.len() + HEADER_OVERHEAD_BYTES).sum();
            assert!(remembered <= REMEMBERED_BYTES_MAX);
        }
    }
}
