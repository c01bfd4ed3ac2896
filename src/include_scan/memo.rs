//! A whole answer, and all it depends on: to see that it still holds costs one look at each file, link and directory, and
//! nothing at all for the names that their directory vouches for. Knows neither commands nor search paths.

use std::sync::Arc;

use super::Closure;
use super::file_cache::FileCache;
use super::tree::{EntryId, Tree};

/// An answer.
#[derive(Debug)]
pub(super) struct Memo {
    /// The last query in which it was true.
    query: u32,
    /// What is looked at in each query, parents first; of directories the number of their state.
    looked_at: Vec<(EntryId, u32)>,
    /// Names that need no look while their directory is the same.
    vouched_for: Vec<EntryId>,
    /// The files whose content it depends on, and their readings: those that are looked at, and the others.
    read: Vec<(EntryId, u64)>,
    read_there: Vec<(EntryId, u64)>,
    closure: Arc<Closure>,
}

impl Memo {
    /// Remembers the answer of this query.
    pub(super) fn new(tree: &Tree, files: &FileCache, closure: Arc<Closure>) -> Memo {
        let mut memo = Memo {
            query: tree.query(),
            looked_at: Vec::new(),
            vouched_for: Vec::new(),
            read: Vec::new(),
            read_there: Vec::new(),
            closure,
        };
        for id in tree.checked() {
            let reading = files.used_in_query(tree.query(), *id);
            if tree.is_vouched_for(*id) {
                match reading {
                    Some(reading) => memo.read_there.push((*id, reading)),
                    None => memo.vouched_for.push(*id),
                }
            } else {
                memo.looked_at.push((*id, tree.contents(*id)));
                memo.read.extend(reading.map(|reading| (*id, reading)));
            }
        }
        memo
    }

    /// How many names it holds, which is what it takes of memory.
    pub(super) fn size(&self) -> usize {
        let closure = &self.closure;
        let names = self.looked_at.len() + self.vouched_for.len() + self.read.len() + self.read_there.len();
        names + closure.files.len() + closure.links.len() + closure.system_headers.len()
    }

    /// The answer, if it is true in this query too.
    pub(super) fn get(&mut self, tree: &mut Tree, files: &FileCache) -> Option<Arc<Closure>> {
        let is_same = |tree: &mut Tree, id: EntryId| {
            tree.check(id);
            !tree.changed_since(self.query, id)
        };
        let is_read =
            |tree: &Tree, (id, reading): &(EntryId, u64)| files.reading(tree, *id) == Some(*reading);
        let mut directories_changed = false;
        for (id, contents) in &self.looked_at {
            if !is_same(tree, *id) {
                return None;
            }
            directories_changed |= tree.contents(*id) != *contents;
        }
        if !self.read.iter().all(|read| is_read(tree, read)) {
            return None;
        }
        if directories_changed {
            let others_hold = self.vouched_for.iter().all(|id| is_same(tree, *id))
                && self.read_there.iter().all(|read| is_same(tree, read.0) && is_read(tree, read));
            if !others_hold {
                return None;
            }
            for (id, contents) in &mut self.looked_at {
                *contents = tree.contents(*id);
            }
        }
        self.query = tree.query();
        Some(Arc::clone(&self.closure))
    }
}
