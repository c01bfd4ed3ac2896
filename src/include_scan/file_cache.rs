//! What each file says, remembered for as long as the file stays as it was. Knows no search path.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::SystemTime;

use super::directives::Directives;
use super::tree::{EntryId, Signature, Tree};

/// The largest file that is read, in bytes: no source is as large, and a device never ends.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// How often a file is read anew because it changed while it was read.
const READS_MAX: u32 = 3;

#[derive(Debug)]
struct Known {
    signature: Signature,
    /// A change after the reading must show in the signature.
    settled: bool,
    /// The number of the reading.
    reading: u64,
    directives: Arc<Directives>,
}

/// Directives by file.
#[derive(Debug, Default)]
pub(super) struct FileCache {
    /// By the number of the file's name.
    known: Vec<Option<Known>>,
    /// How many files were read.
    pub(super) reads: u64,
    /// The files that define a macro, or once did.
    definers: HashMap<Box<[u8]>, Vec<EntryId>>,
    /// Files whose macros are not in `definers` yet: most commands never ask.
    unindexed: Vec<EntryId>,
}

impl FileCache {
    /// Makes sure that a file that exists is known as it is now. The result is another number for each reading.
    pub(super) fn update(&mut self, tree: &Tree, file: EntryId) -> io::Result<u64> {
        if let Some(Some(known)) = self.known.get(file.index())
            && known.settled
            && tree.signature(file) == Some(known.signature)
        {
            return Ok(known.reading);
        }
        for _ in 0..READS_MAX {
            self.reads += 1;
            let now = SystemTime::now();
            let mut opened = File::open(tree.path(file))?;
            let before = opened.metadata()?;
            if !before.is_file() || before.len() > FILE_BYTES_MAX {
                return Err(io::Error::other("it is no regular file, or too large"));
            }
            let mut text = Vec::with_capacity(before.len() as usize + 1);
            (&mut opened).take(FILE_BYTES_MAX).read_to_end(&mut text)?;
            let signature = Signature::of(&before);
            if Signature::of(&opened.metadata()?) != signature || text.len() as u64 != before.len() {
                continue;
            }
            let settled = signature.is_settled(now);
            let directives = Arc::new(Directives::of(&text));
            if self.known.len() <= file.index() {
                self.known.resize_with(file.index() + 1, || None);
            }
            self.known[file.index()] = Some(Known { signature, settled, reading: self.reads, directives });
            self.unindexed.push(file);
            return Ok(self.reads);
        }
        Err(io::Error::other("it changes while it is read"))
    }

    /// The directives of a file that was read.
    pub(super) fn directives(&self, file: EntryId) -> Option<&Arc<Directives>> {
        self.known.get(file.index())?.as_ref().map(|known| &known.directives)
    }

    /// The files that may define a macro.
    pub(super) fn definers(&mut self, name: &[u8]) -> &[EntryId] {
        for file in std::mem::take(&mut self.unindexed) {
            let Some(known) = self.known.get(file.index()).and_then(Option::as_ref) else { continue };
            for name in known.directives.defined_names() {
                match self.definers.get_mut(name) {
                    Some(files) if files.contains(&file) => {}
                    Some(files) => files.push(file),
                    None => drop(self.definers.insert(name.into(), vec![file])),
                }
            }
        }
        self.definers.get(name).map_or(&[], Vec::as_slice)
    }
}
