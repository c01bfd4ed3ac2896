//! What each file says, and its checksum, remembered for as long as the file stays as it was. Knows no search path.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::FileState;
use super::directives::Directives;
use super::macro_index::MacroIndex;
use super::tree::{EntryId, Signature, Tree};
use crate::checksum::crc32;

/// The largest file that is read, in bytes: no source is as large, and a device never ends.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// The most that one query may read, so that it ends within about half a second: a file of 10 kB takes 0.1 ms. The next query
/// goes on from there.
const FILES_PER_QUERY_MAX: u64 = 5_000;
/// Likewise, in bytes.
const BYTES_PER_QUERY_MAX: u64 = 200 << 20;
/// How often a file is read anew because it changed while it was read.
const READS_MAX: u32 = 3;

#[derive(Debug)]
struct Known {
    state: FileState,
    /// A change after the reading must show in the signature.
    settled: bool,
    /// The number of the reading.
    reading: u64,
    /// `None` if the file was only looked at.
    directives: Option<Arc<Directives>>,
    /// The last query that wanted it.
    used: u32,
}

/// Directives by file.
#[derive(Debug, Default)]
pub(super) struct FileCache {
    /// By the number of the file's name.
    known: Vec<Option<Known>>,
    /// How many files were read.
    pub(super) reads: u64,
    /// The number of the last reading.
    readings: u64,
    /// Files and bytes that this query has read.
    query_files: u64,
    query_bytes: u64,
    macros: MacroIndex,
    /// Files that are not in `macros` yet: most commands never ask.
    unindexed: Vec<EntryId>,
}

impl FileCache {
    /// An empty cache, whose readings have other numbers than an earlier one's.
    pub(super) fn after(earlier: &FileCache) -> FileCache {
        FileCache { reads: earlier.reads, readings: earlier.readings, ..FileCache::default() }
    }

    /// Begins a query, which may read so much again.
    pub(super) fn begin_query(&mut self) {
        (self.query_files, self.query_bytes) = (0, 0);
    }

    /// Whether this query has read all it may: then its answer is not whole.
    pub(super) fn is_exhausted(&self) -> bool {
        self.query_files > FILES_PER_QUERY_MAX || self.query_bytes > BYTES_PER_QUERY_MAX
    }

    /// Makes sure that a file that exists is known as it is now. The result is another number for each reading.
    pub(super) fn update(&mut self, tree: &Tree, file: EntryId) -> io::Result<u64> {
        if let Some(known) = self.current(tree, file)
            && known.directives.is_some()
        {
            known.used = tree.query();
            return Ok(known.reading);
        }
        let now = SystemTime::now();
        self.query_files += 1;
        if self.is_exhausted() {
            return Err(io::Error::other("this query has read enough"));
        }
        self.reads += 1;
        let (text, signature) = read(tree.path(file), READS_MAX)?;
        self.query_bytes += text.len() as u64;
        let state = FileState { signature, crc32: Some(crc32(&text)) };
        let directives = Some(Arc::new(Directives::of(&text)));
        self.unindexed.push(file);
        let known =
            Known { state, settled: signature.is_settled(now), reading: 0, directives, used: tree.query() };
        Ok(self.remember(file, known))
    }

    /// The same for a file that is not read as source: only whether it is still the same.
    pub(super) fn look(&mut self, tree: &Tree, file: EntryId, now: SystemTime) -> io::Result<u64> {
        if let Some(known) = self.current(tree, file) {
            known.used = tree.query();
            return Ok(known.reading);
        }
        let signature = tree.signature(file).ok_or(io::ErrorKind::NotFound)?;
        let state = FileState { signature, crc32: None };
        let known = Known {
            state,
            settled: signature.is_settled(now),
            reading: 0,
            directives: None,
            used: tree.query(),
        };
        Ok(self.remember(file, known))
    }

    fn current(&mut self, tree: &Tree, file: EntryId) -> Option<&mut Known> {
        self.reading(tree, file)?;
        self.known.get_mut(file.index())?.as_mut()
    }

    /// The number of the last reading, if the file is still as it was then.
    pub(super) fn reading(&self, tree: &Tree, file: EntryId) -> Option<u64> {
        let known = self.known(file)?;
        let is_same = known.settled && tree.signature(file) == Some(known.state.signature);
        is_same.then_some(known.reading)
    }

    /// The number of the reading that this query has used, if it has used the file.
    pub(super) fn used_in_query(&self, query: u32, file: EntryId) -> Option<u64> {
        self.known(file).filter(|known| known.used == query).map(|known| known.reading)
    }

    fn known(&self, file: EntryId) -> Option<&Known> {
        self.known.get(file.index())?.as_ref()
    }

    /// Keeps a reading and gives it its number.
    fn remember(&mut self, file: EntryId, known: Known) -> u64 {
        if self.known.len() <= file.index() {
            self.known.resize_with(file.index() + 1, || None);
        }
        self.readings += 1;
        self.known[file.index()] = Some(Known { reading: self.readings, ..known });
        self.readings
    }

    /// The state that a file was last seen in, and the number of that reading.
    pub(super) fn state(&self, file: EntryId) -> Option<(FileState, u64)> {
        self.known(file).map(|known| (known.state, known.reading))
    }

    /// The checksum of a file that was read.
    pub(super) fn crc32(&self, file: EntryId) -> Option<u32> {
        self.known(file)?.state.crc32
    }

    /// The directives of a file that was read.
    pub(super) fn directives(&self, file: EntryId) -> Option<&Arc<Directives>> {
        self.known(file)?.directives.as_ref()
    }

    /// Which of the files define which macro.
    pub(super) fn macros(&mut self) -> &mut MacroIndex {
        for file in std::mem::take(&mut self.unindexed) {
            let known = self.known.get(file.index()).and_then(Option::as_ref);
            if let Some(directives) = known.and_then(|known| known.directives.as_ref()) {
                self.macros.note(file, directives);
            }
        }
        &mut self.macros
    }
}

/// A file's content, and its state before and after the reading. Reads anew up to `times` if that differs.
pub(super) fn read(path: &Path, times: u32) -> io::Result<(Vec<u8>, Signature)> {
    for _ in 0..times {
        let mut opened = File::open(path)?;
        let before = opened.metadata()?;
        if !before.is_file() || before.len() > FILE_BYTES_MAX {
            return Err(io::Error::other("it is no regular file, or too large"));
        }
        let mut text = Vec::with_capacity(before.len() as usize + 1);
        (&mut opened).take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        let signature = Signature::of(&before);
        if Signature::of(&opened.metadata()?) == signature && text.len() as u64 == before.len() {
            return Ok((text, signature));
        }
    }
    Err(io::Error::other("it changes while it is read"))
}
