//! What computed includes have become before, remembered with the definitions that this depended on. Does not know how
//! macros are expanded.

use std::collections::{BTreeSet, HashMap};

use super::directives::Directives;
use super::effort::Unknown;
use super::file_cache::FileCache;
use super::macro_index::{self, MacroId};
use super::macros::Expander;
use super::reference::Target;
use super::tree::EntryId;

/// How many answers are kept for one expression: translation units differ in what is defined.
const ANSWERS_PER_EXPRESSION_MAX: usize = 64;

type Outcome = Result<Vec<Target>, Unknown>;

#[derive(Debug)]
struct Answer {
    /// The names that were asked for, and a hash of all definitions of each.
    names: Vec<(MacroId, u64)>,
    outcome: Outcome,
}

/// Answers by expression.
#[derive(Debug, Default)]
pub(super) struct Answers {
    known: HashMap<Box<[u8]>, Vec<Answer>>,
}

/// The definitions of one translation unit, and the work it may yet take.
pub(super) struct Definitions<'a> {
    files: &'a mut FileCache,
    /// By the number of the file's name: whether it is part of the unit.
    read: Vec<bool>,
    /// Definitions from elsewhere.
    others: [&'a Directives; 2],
    /// Hashes of all definitions of a macro, made once for each.
    hashes: Vec<Option<u64>>,
    pub(super) tokens_left: usize,
}

impl<'a> Definitions<'a> {
    /// The definitions of some files, the command and the compiler.
    pub(super) fn new(
        files: &'a mut FileCache,
        read: impl Iterator<Item = EntryId>,
        others: [&'a Directives; 2],
        tokens_left: usize,
    ) -> Definitions<'a> {
        let mut is_read = Vec::new();
        for file in read {
            if is_read.len() <= file.index() {
                is_read.resize(file.index() + 1, false);
            }
            is_read[file.index()] = true;
        }
        Definitions { files, read: is_read, others, hashes: Vec::new(), tokens_left }
    }

    fn is_read(&self, file: EntryId) -> bool {
        self.read.get(file.index()).is_some_and(|read| *read)
    }

    fn of(&mut self, name: &[u8]) -> (MacroId, BTreeSet<Vec<u8>>) {
        let macros = self.files.macros();
        let id = macros.number(name);
        let definers: Vec<EntryId> = macros.definers(id).iter().map(|definer| definer.file).collect();
        let read = definers.into_iter().filter(|file| self.is_read(*file));
        let said = read.filter_map(|file| self.files.directives(file)).map(|directives| &**directives);
        let found = said.chain(self.others).flat_map(|directives| directives.definitions_of(name));
        (id, found.map(<[u8]>::to_vec).collect())
    }

    /// A hash of all definitions of a macro, whatever their order and number.
    fn hash(&mut self, id: MacroId) -> u64 {
        if let Some(Some(hash)) = self.hashes.get(id.index()) {
            return *hash;
        }
        let macros = self.files.macros();
        let name = std::sync::Arc::clone(macros.name(id));
        let others = self.others.iter().flat_map(|directives| directives.definitions_of(&name));
        let mut all: Vec<u64> = others.map(macro_index::hash).collect();
        for definer in macros.definers(id) {
            if self.read.get(definer.file.index()).is_some_and(|read| *read) {
                all.extend_from_slice(&definer.hashes);
            }
        }
        all.sort_unstable();
        all.dedup();
        let bytes: Vec<u8> = all.into_iter().flat_map(u64::to_le_bytes).collect();
        let hash = macro_index::hash(&bytes);
        if self.hashes.len() <= id.index() {
            self.hashes.resize(id.index() + 1, None);
        }
        self.hashes[id.index()] = Some(hash);
        hash
    }
}

impl Answers {
    /// The header names that `expression` can become by these definitions.
    pub(super) fn get(&mut self, expression: &[u8], definitions: &mut Definitions<'_>) -> Outcome {
        let known = self.known.entry(expression.into()).or_default();
        let holds = |answer: &&Answer, definitions: &mut Definitions<'_>| {
            answer.names.iter().all(|(name, hash)| definitions.hash(*name) == *hash)
        };
        if let Some(answer) = known.iter().rev().find(|answer| holds(answer, definitions)) {
            return answer.outcome.clone();
        }
        let mut asked = Vec::new();
        let mut tokens_left = definitions.tokens_left;
        let outcome = Expander::default().targets(expression, &mut tokens_left, &mut |name| {
            let (id, found) = definitions.of(name);
            asked.push(id);
            found
        });
        definitions.tokens_left = tokens_left;
        // That is no property of the expression.
        if outcome == Err(Unknown::Work) {
            return outcome;
        }
        let names = asked.into_iter().map(|id| (id, definitions.hash(id))).collect();
        if known.len() == ANSWERS_PER_EXPRESSION_MAX {
            known.remove(0);
        }
        known.push(Answer { names, outcome: outcome.clone() });
        outcome
    }
}
