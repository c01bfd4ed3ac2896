//! The bodies of all files, each compressed once, in one memory file that clients get a descriptor of. Knows neither
//! who includes a file nor how an answer is written.
//!
//! Bodies are only ever appended, so what was handed out stays true for as long as anybody holds the descriptor. When
//! most of it belongs to contents that are gone a new memory file is begun; the old one lives with its last reader.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::include_scan::{FileState, IncludedFile};
use crate::protocol::limits::BODIES_BYTES_MAX;
use crate::protocol::lzo::Compressor;
use crate::sys::temp;

/// Outdated bytes below which no new file is begun, whatever their share.
const OUTDATED_BYTES_MIN: u64 = 64 << 20;
/// How often a set of files is tried anew because a new file was begun meanwhile.
const ATTEMPTS_MAX: u32 = 3;

/// Where a body is in its arena. An empty file has no bytes of body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) at: u64,
    pub(super) bytes: u32,
}

/// One memory file.
#[derive(Debug)]
pub(super) struct Arena {
    file: File,
    reader: File,
}

impl Arena {
    fn new() -> io::Result<Arena> {
        let file = temp::anonymous_growing("distcc-include-store")?;
        let reader = temp::reopened_for_reading(&file)?;
        Ok(Arena { file, reader })
    }

    /// What clients get: it can be read and mapped, not written.
    pub(super) fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

#[derive(Debug)]
struct Contents {
    arena: Arc<Arena>,
    end: u64,
    /// Bytes of the contents that are current, as far as we were told.
    current: u64,
    known: HashMap<Arc<Path>, (FileState, Body)>,
    bytes_max: u64,
}

/// The store, shared by all who compose answers.
#[derive(Debug)]
pub(super) struct Store(Mutex<Contents>);

/// What became of a set of files.
#[derive(Debug)]
pub(super) enum Stored {
    /// All of them, in their order, in one arena.
    Bodies(Arc<Arena>, Vec<Body>),
    /// One has changed since it was analysed.
    Changed,
}

impl Store {
    /// An empty one.
    pub(super) fn new() -> io::Result<Store> {
        Store::with_limit(BODIES_BYTES_MAX)
    }

    fn with_limit(bytes_max: u64) -> io::Result<Store> {
        let arena = Arc::new(Arena::new()?);
        Ok(Store(Mutex::new(Contents { arena, end: 0, current: 0, known: HashMap::new(), bytes_max })))
    }

    /// The arena that new answers refer to; what was composed for another one is outdated.
    pub(super) fn arena(&self) -> Arc<Arena> {
        Arc::clone(&self.lock().arena)
    }

    /// The bodies of some files; those that are missing are read and compressed. An error names the file.
    pub(super) fn bodies(
        &self,
        files: &[IncludedFile],
        compressor: &mut Compressor,
    ) -> Result<Stored, String> {
        for _ in 0..ATTEMPTS_MAX {
            let (arena, mut bodies) = self.find(files);
            // Read and compressed without the lock: others are answered meanwhile.
            let mut fresh = Vec::new();
            for (index, file) in files.iter().enumerate().filter(|(index, _)| bodies[*index].is_none()) {
                let fault = |error: io::Error| format!("read {}: {error}", file.real.display());
                let Some(content) = file.read().map_err(fault)? else { return Ok(Stored::Changed) };
                let body = if content.is_empty() { Vec::new() } else { compressor.compress(&content) };
                fresh.push((index, body));
            }
            let fault = |error: io::Error| format!("keep the files' contents: {error}");
            let mut contents = self.lock();
            if !contents.has_room(&fresh) {
                contents.begin_anew().map_err(fault)?;
            }
            if !Arc::ptr_eq(&arena, &contents.arena) {
                continue;
            }
            for (index, body) in fresh {
                bodies[index] = Some(contents.add(&files[index], &body).map_err(fault)?);
            }
            return Ok(Stored::Bodies(arena, bodies.into_iter().flatten().collect()));
        }
        Err("the files' contents take more room than there is".into())
    }

    fn find(&self, files: &[IncludedFile]) -> (Arc<Arena>, Vec<Option<Body>>) {
        let contents = self.lock();
        let bodies = files.iter().map(|file| contents.find(file)).collect();
        (Arc::clone(&contents.arena), bodies)
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn find(&self, file: &IncludedFile) -> Option<Body> {
        let (state, body) = self.known.get(&file.real)?;
        (*state == file.state).then_some(*body)
    }

    fn has_room(&self, fresh: &[(usize, Vec<u8>)]) -> bool {
        let bytes: u64 = fresh.iter().map(|(_, body)| body.len() as u64).sum();
        let outdated = self.end - self.current;
        let is_mostly_outdated = outdated > OUTDATED_BYTES_MIN && outdated > self.current;
        self.end == 0 || bytes == 0 || (self.end + bytes <= self.bytes_max && !is_mostly_outdated)
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        self.arena = Arc::new(Arena::new()?);
        (self.end, self.current) = (0, 0);
        self.known.clear();
        Ok(())
    }

    fn add(&mut self, file: &IncludedFile, body: &[u8]) -> io::Result<Body> {
        // Another thread may have read the same file meanwhile.
        if let Some(known) = self.find(file) {
            return Ok(known);
        }
        let too_long = |_| io::Error::other("a file of 4 GiB");
        let place = Body { at: self.end, bytes: u32::try_from(body.len()).map_err(too_long)? };
        self.arena.file.write_all_at(body, place.at)?;
        self.end += body.len() as u64;
        self.current += body.len() as u64;
        if let Some((_, old)) = self.known.insert(Arc::clone(&file.real), (file.state, place)) {
            self.current -= u64::from(old.bytes);
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler_args::{self, Verdict};
    use crate::include_scan::{Closure, IncludeVariables, Query, Scanner};
    use crate::protocol::lzo;
    use crate::sys::temp::TempDir;
    use std::ffi::OsString;
    use std::fs;

    struct Place {
        directory: TempDir,
        scanner: Scanner,
        compressor: Compressor,
    }

    impl Place {
        fn new() -> Place {
            let directory = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
            Place { directory, scanner: Scanner::new(), compressor: Compressor::new() }
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.directory.path().join(name), text).unwrap();
        }

        /// What the source `a.c` includes.
        fn closure(&mut self) -> Arc<Closure> {
            let argv = ["gcc", "-nostdinc", "-c", "a.c"].map(OsString::from);
            let Ok(Verdict::Distribute(compile)) = compiler_args::scan(&argv) else { panic!("{argv:?}") };
            let query = Query {
                compile: &compile,
                compiler: Path::new("/usr/bin/gcc"),
                directory: self.directory.path(),
                variables: &IncludeVariables::default(),
                search_path: "/usr/bin:/bin".as_ref(),
            };
            self.scanner.scan(&query).unwrap()
        }

        fn texts(&mut self, store: &Store, closure: &Closure) -> Option<Vec<String>> {
            let stored = store.bodies(&closure.files, &mut self.compressor).unwrap();
            let Stored::Bodies(arena, bodies) = stored else { return None };
            let text = |body: &Body| {
                let mut bytes = vec![0; body.bytes as usize];
                arena.reader.read_exact_at(&mut bytes, body.at).unwrap();
                let bytes = if bytes.is_empty() { bytes } else { lzo::decompress(&bytes, 1 << 20).unwrap() };
                String::from_utf8(bytes).unwrap()
            };
            Some(bodies.iter().map(text).collect())
        }
    }

    #[test]
    fn each_content_is_kept_once() {
        let mut place = Place::new();
        let store = Store::new().unwrap();
        place.write("a.c", "#include \"b.h\"\n");
        place.write("b.h", "");
        let closure = place.closure();
        for _ in 0..2 {
            assert_eq!(place.texts(&store, &closure).unwrap(), ["#include \"b.h\"\n", ""]);
        }
        let end = store.lock().end;
        place.write("b.h", "int b;\n");
        let closure = place.closure();
        assert_eq!(place.texts(&store, &closure).unwrap()[1], "int b;\n");
        assert!(store.lock().end > end);
    }

    #[test]
    fn a_file_that_changes_after_its_analysis_is_noticed() {
        let mut place = Place::new();
        let store = Store::new().unwrap();
        place.write("a.c", "int a;\n");
        let closure = place.closure();
        place.write("a.c", "int b;\n");
        assert_eq!(place.texts(&store, &closure), None);
        let closure = place.closure();
        assert_eq!(place.texts(&store, &closure).unwrap(), ["int b;\n"]);
    }

    #[test]
    fn a_full_store_is_begun_anew_and_the_old_one_stays_true() {
        let mut place = Place::new();
        let store = Store::with_limit(40).unwrap();
        let text = |number: u32| format!("int a{number};\n");
        place.write("a.c", &text(0));
        let first = place.closure();
        let Stored::Bodies(old, bodies) = store.bodies(&first.files, &mut place.compressor).unwrap() else {
            panic!("the file has not changed")
        };
        for number in 1..10 {
            place.write("a.c", &text(number));
            let closure = place.closure();
            assert_eq!(place.texts(&store, &closure).unwrap(), [text(number)]);
        }
        assert!(!Arc::ptr_eq(&old, &store.arena()));
        let mut bytes = vec![0; bodies[0].bytes as usize];
        old.reader.read_exact_at(&mut bytes, bodies[0].at).unwrap();
        assert_eq!(lzo::decompress(&bytes, 100).unwrap(), text(0).as_bytes());
    }
}
