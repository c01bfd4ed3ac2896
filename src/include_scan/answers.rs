//! What computed includes have become before, remembered with the definitions that this depended on. Knows neither
//! files nor how macros are expanded.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};

use super::directives::Target;
use super::effort::Unknown;
use super::macros::Expander;

/// How many answers are kept for one expression: translation units differ in what is defined.
const ANSWERS_PER_EXPRESSION_MAX: usize = 64;

type Outcome = Result<Vec<Target>, Unknown>;

#[derive(Debug)]
struct Answer {
    /// The names that were asked for, and a hash of all definitions of each.
    names: Vec<(Box<[u8]>, u64)>,
    outcome: Outcome,
}

/// Answers by expression.
#[derive(Debug, Default)]
pub(super) struct Answers {
    known: HashMap<Box<[u8]>, Vec<Answer>>,
}

/// One set of definitions: hashes are made once for each name. With it goes the work its translation unit may yet take.
pub(super) struct Definitions<'a> {
    source: &'a mut dyn FnMut(&[u8]) -> BTreeSet<Vec<u8>>,
    hashes: HashMap<Box<[u8]>, u64>,
    pub(super) tokens_left: usize,
}

impl<'a> Definitions<'a> {
    pub(super) fn new(
        source: &'a mut dyn FnMut(&[u8]) -> BTreeSet<Vec<u8>>,
        tokens_left: usize,
    ) -> Definitions<'a> {
        Definitions { source, hashes: HashMap::new(), tokens_left }
    }

    fn of(&mut self, name: &[u8]) -> BTreeSet<Vec<u8>> {
        let found = (self.source)(name);
        let mut hasher = DefaultHasher::new();
        found.hash(&mut hasher);
        self.hashes.insert(name.into(), hasher.finish());
        found
    }

    fn hash(&mut self, name: &[u8]) -> u64 {
        if !self.hashes.contains_key(name) {
            self.of(name);
        }
        self.hashes[name]
    }
}

impl Answers {
    /// The header names that `expression` can become by these definitions.
    pub(super) fn get(&mut self, expression: &[u8], definitions: &mut Definitions<'_>) -> Outcome {
        let known = self.known.entry(expression.into()).or_default();
        let holds = |answer: &&Answer, definitions: &mut Definitions<'_>| {
            answer.names.iter().all(|(name, hash)| definitions.hash(name) == *hash)
        };
        if let Some(answer) = known.iter().rev().find(|answer| holds(answer, definitions)) {
            return answer.outcome.clone();
        }
        let mut asked = Vec::new();
        let mut tokens_left = definitions.tokens_left;
        let outcome = Expander::default().targets(expression, &mut tokens_left, &mut |name| {
            asked.push(Box::<[u8]>::from(name));
            definitions.of(name)
        });
        definitions.tokens_left = tokens_left;
        if outcome == Err(Unknown::Work) {
            return outcome;
        }
        let names = asked.into_iter().map(|name| (name.clone(), definitions.hash(&name))).collect();
        if known.len() == ANSWERS_PER_EXPRESSION_MAX {
            known.remove(0);
        }
        known.push(Answer { names, outcome: outcome.clone() });
        outcome
    }
}
