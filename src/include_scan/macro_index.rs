//! Which files define which macro. Keeps hashes of the definitions, so that two sets of them are compared without reading
//! either. Expands nothing.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::directives::Directives;
use super::tree::EntryId;

/// A macro's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MacroId(u32);

impl MacroId {
    /// Its place among all names.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One file's definitions of one macro.
#[derive(Debug)]
pub(super) struct Definer {
    pub(super) file: EntryId,
    pub(super) hashes: Box<[u64]>,
}

/// The names so far.
#[derive(Debug, Default)]
pub(super) struct MacroIndex {
    numbers: HashMap<Arc<[u8]>, MacroId>,
    names: Vec<Arc<[u8]>>,
    definers: Vec<Vec<Definer>>,
    by_file: HashMap<EntryId, Vec<MacroId>>,
}

impl MacroIndex {
    /// The number of a name, which need not be a macro's yet.
    pub(super) fn number(&mut self, name: &[u8]) -> MacroId {
        if let Some(id) = self.numbers.get(name) {
            return *id;
        }
        let id = MacroId(self.names.len() as u32);
        let name: Arc<[u8]> = Arc::from(name);
        self.numbers.insert(Arc::clone(&name), id);
        self.names.push(name);
        self.definers.push(Vec::new());
        id
    }

    pub(super) fn name(&self, id: MacroId) -> &Arc<[u8]> {
        &self.names[id.index()]
    }

    /// The files that define a macro.
    pub(super) fn definers(&self, id: MacroId) -> &[Definer] {
        &self.definers[id.index()]
    }

    /// Takes in what a file says now, in place of what it said before.
    pub(super) fn note(&mut self, file: EntryId, directives: &Directives) {
        for id in self.by_file.remove(&file).unwrap_or_default() {
            self.definers[id.index()].retain(|definer| definer.file != file);
        }
        let mut defined = Vec::new();
        for (name, definitions) in directives.definitions() {
            let id = self.number(name);
            self.definers[id.index()].push(Definer { file, hashes: definitions.map(hash).collect() });
            defined.push(id);
        }
        self.by_file.insert(file, defined);
    }
}

/// The hash of one definition.
pub(super) fn hash(definition: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    definition.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::tree::ROOT;
    use super::*;

    #[test]
    fn a_file_is_known_by_what_it_says_now() {
        let mut index = MacroIndex::default();
        let count = |index: &mut MacroIndex, name: &[u8]| {
            let id = index.number(name);
            index.definers(id).iter().map(|definer| definer.hashes.len()).sum::<usize>()
        };
        index.note(ROOT, &Directives::of(b"#define A 1\n#define B\n#define A 2\n"));
        assert_eq!((count(&mut index, b"A"), count(&mut index, b"B")), (2, 1));
        index.note(ROOT, &Directives::of(b"#define A 1\n"));
        assert_eq!((count(&mut index, b"A"), count(&mut index, b"B")), (1, 0));
    }
}
