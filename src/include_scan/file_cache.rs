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
    directives: Arc<Directives>,
}

/// Directives by file.
#[derive(Debug, Default)]
pub(super) struct FileCache {
    known: HashMap<EntryId, Known>,
    /// How many files were read.
    pub(super) reads: u64,
}

impl FileCache {
    /// The directives of a file that exists. A file that changes is read again, and gives another `Arc`.
    pub(super) fn get(&mut self, tree: &Tree, file: EntryId) -> io::Result<Arc<Directives>> {
        if let Some(known) = self.known.get(&file)
            && known.settled
            && tree.signature(file) == Some(known.signature)
        {
            return Ok(Arc::clone(&known.directives));
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
            let known = Known { signature, settled, directives: Arc::clone(&directives) };
            self.known.insert(file, known);
            return Ok(directives);
        }
        Err(io::Error::other("it changes while it is read"))
    }
}
