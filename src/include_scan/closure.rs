//! The walk: from a command to everything its preprocessor could open. Owns all that is remembered between queries.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::answers::{Answers, Definitions};
use super::directives::Directives;
use super::effort::{TOKENS_PER_UNIT_MAX, Unknown};
use super::file_cache::FileCache;
use super::memo::Memo;
use super::reference::{Reference, Target, Use};
use super::resolve::{LookupId, Mode, NodeId, Searcher};
use super::search_path::{self, CommandText, SearchPath};
use super::system_dirs::{Question, SystemViews};
use super::system_headers::HeaderId;
use super::tree::{EntryId, Kind, Trace, Tree};
use super::{CannotAnalyse, Closure, IncludedFile, Link, Query, SystemHeader};
use crate::compiler_args::Language;

/// After so many names everything is forgotten, so that a server that runs for weeks does not grow: about 1 GB.
const NAMES_MAX: usize = 4_000_000;
/// After so many lookups and files, in all search paths, those are forgotten: about 600 MB.
const LOOKUPS_MAX: usize = 3_000_000;
/// After so many names in remembered answers those are forgotten: about 100 MB.
const REMEMBERED_NAMES_MAX: usize = 4_000_000;

/// The work done since the scanner was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Names looked at in the file system.
    pub looks: u64,
    /// Files read.
    pub reads: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SearcherKey {
    compiler: PathBuf,
    directory: PathBuf,
    language: Language,
    path: SearchPath,
}

/// Analyses commands, and remembers what it has seen for the next one.
#[derive(Debug)]
pub struct Scanner {
    tree: Tree,
    files: FileCache,
    views: SystemViews,
    answers: Answers,
    searchers: HashMap<SearcherKey, Searcher>,
    /// How many lookups and files the searchers hold, and how many names their memos. What is dropped in between still
    /// counts.
    held: usize,
    remembered: usize,
}

impl Default for Scanner {
    fn default() -> Scanner {
        Scanner::new()
    }
}

impl Scanner {
    /// A scanner that knows nothing yet.
    pub fn new() -> Scanner {
        Scanner {
            tree: Tree::new(),
            files: FileCache::default(),
            views: SystemViews::default(),
            answers: Answers::default(),
            searchers: HashMap::new(),
            held: 0,
            remembered: 0,
        }
    }

    /// The work done so far.
    pub fn counters(&self) -> Counters {
        Counters { looks: self.tree.looks, reads: self.files.reads }
    }

    /// Finds everything the preprocessor could open for a command. While nothing that matters to it has changed, the
    /// answer to the same command is the same `Arc`.
    pub fn scan(&mut self, query: &Query<'_>) -> Result<Arc<Closure>, CannotAnalyse> {
        if self.tree.len() > NAMES_MAX {
            *self = Scanner { files: FileCache::after(&self.files), ..Scanner::new() };
        }
        if self.held > LOOKUPS_MAX {
            self.searchers.clear();
            (self.held, self.remembered) = (0, 0);
        }
        if query.compile.is_preprocessed() {
            let source = query.compile.source().display();
            return Err(CannotAnalyse::new(format!("{source} is preprocessed already")));
        }
        let now = SystemTime::now();
        self.tree.begin_query(now);
        self.files.begin_query();
        let (path, text) = search_path::read(query.compile, query.variables)?;
        let key = SearcherKey {
            compiler: query.compiler.to_owned(),
            directory: query.directory.to_owned(),
            language: query.compile.language(),
            path,
        };
        let mut searcher = self.searcher(&key, query)?;
        let asked = (query.compile.source().to_owned(), text);
        if let Some(memo) = searcher.memos.get_mut(&asked)
            && let Some(closure) = memo.get(&mut self.tree, &self.files)
        {
            self.searchers.insert(key, searcher);
            return Ok(closure);
        }
        let held = searcher.size();
        let mut walk = Walk {
            tree: &mut self.tree,
            files: &mut self.files,
            answers: &mut self.answers,
            searcher,
            now,
            visited: Vec::new(),
            headers: Vec::new(),
            computed: Vec::new(),
            links: Vec::new(),
            left: Vec::new(),
        };
        let outcome = walk.run(query, &asked.1).map(Arc::new);
        let searcher = walk.searcher;
        self.held += searcher.size() - held;
        self.searchers.insert(key.clone(), searcher);
        if let Ok(closure) = &outcome {
            self.remember(&key, asked, Memo::new(&self.tree, &self.files, Arc::clone(closure)));
        }
        outcome
    }

    fn remember(&mut self, key: &SearcherKey, asked: (OsString, CommandText), memo: Memo) {
        self.remembered += memo.size();
        if self.remembered > REMEMBERED_NAMES_MAX {
            self.searchers.values_mut().for_each(|searcher| searcher.memos.clear());
            self.remembered = memo.size();
        }
        if let Some(searcher) = self.searchers.get_mut(key)
            && let Some(before) = searcher.memos.insert(asked, memo)
        {
            self.remembered -= before.size();
        }
    }

    /// The memory for a search path, taken out; a new one if its directories or the compiler have changed.
    fn searcher(&mut self, key: &SearcherKey, query: &Query<'_>) -> Result<Searcher, CannotAnalyse> {
        let question = Question {
            compiler: key.compiler.clone(),
            name: query.compile.compiler().to_owned(),
            options: key.path.probe.clone(),
            language: key.language,
            directory: key.directory.clone(),
        };
        let view = self.views.get(&question, query.search_path)?;
        if let Some(searcher) = self.searchers.remove(key)
            && Arc::ptr_eq(&searcher.view, &view)
            && searcher.is_current(&mut self.tree)
        {
            return Ok(searcher);
        }
        let mut searcher = self.new_searcher(key, view)?;
        if searcher.absent_appeared {
            self.views.forget(&question);
            let view = self.views.get(&question, query.search_path)?;
            searcher = self.new_searcher(key, view)?;
        }
        for directory in searcher.system_directories.clone() {
            self.tree.mark_packaged(directory);
        }
        Ok(searcher)
    }

    fn new_searcher(
        &mut self,
        key: &SearcherKey,
        view: Arc<super::system_dirs::SystemView>,
    ) -> Result<Searcher, CannotAnalyse> {
        Searcher::new(&mut self.tree, &key.directory, &key.path, view)
            .ok_or_else(|| CannotAnalyse::new(format!("no working directory {}", key.directory.display())))
    }
}

/// One query's walk.
struct Walk<'a> {
    tree: &'a mut Tree,
    files: &'a mut FileCache,
    answers: &'a mut Answers,
    searcher: Searcher,
    now: SystemTime,
    visited: Vec<NodeId>,
    headers: Vec<HeaderId>,
    /// Computed includes met: where, what for, and the expression.
    computed: Vec<(NodeId, Use, Box<[u8]>)>,
    links: Vec<EntryId>,
    left: Vec<EntryId>,
}

impl Walk<'_> {
    fn run(&mut self, query: &Query<'_>, text: &CommandText) -> Result<Closure, CannotAnalyse> {
        let mut trace = Trace::default();
        let source = query.compile.source();
        let root = self
            .searcher
            .source(self.tree, source.as_bytes(), &mut trace)
            .ok_or_else(|| CannotAnalyse::new(format!("no source file {}", source.display())))?;
        if self.searcher.nodes[root.0 as usize].system {
            let source = source.display();
            return Err(CannotAnalyse::new(format!("{source} is one of the compiler's own files")));
        }
        self.note_trace(&trace);
        let trace = self.searcher.trace.clone();
        self.note_trace(&trace);
        let working = Arc::clone(&self.searcher.working_text);
        let mut open = Vec::new();
        for name in &text.includes {
            let lookup = self.searcher.lookup(Mode::Quote(self.searcher.working), name, &working, true);
            self.follow(lookup, &mut open)?;
        }
        open.push(root);
        self.visit_all(open, root)?;
        if !self.computed.is_empty() {
            self.resolve_computed(root, &text.definitions)?;
        }
        let system_headers = self.system_headers();
        if self.files.is_exhausted() {
            return Err(CannotAnalyse::new("there is more to read than one query may".to_owned()));
        }
        Ok(Closure { system_headers, ..self.closure(root) })
    }

    fn system_headers(&mut self) -> Vec<SystemHeader> {
        let ids = std::mem::take(&mut self.headers);
        let mut headers = Vec::with_capacity(ids.len());
        for id in ids {
            headers.extend(self.searcher.headers.check(self.tree, self.files, id));
        }
        headers
    }

    /// Visits nodes and all they lead to.
    fn visit_all(&mut self, mut open: Vec<NodeId>, root: NodeId) -> Result<(), CannotAnalyse> {
        let query = self.tree.query();
        while let Some(id) = open.pop() {
            let node = &mut self.searcher.nodes[id.0 as usize];
            if node.visited == query {
                continue;
            }
            node.visited = query;
            self.visited.push(id);
            let (file, system, seen) = (node.file, node.system, node.reading);
            let reading = match node.embedded {
                true => self.files.look(self.tree, file, self.now).map(|_| seen),
                false => self.files.update(self.tree, file),
            };
            let reading = match reading {
                Ok(reading) => reading,
                // The server sees its own; if it cannot read it either, that is the compiler's to say.
                Err(_) if system => continue,
                Err(error) => {
                    return Err(CannotAnalyse::new(format!(
                        "read {}: {error}",
                        self.tree.path(file).display()
                    )));
                }
            };
            if reading != seen {
                self.refer(id, reading, id == root);
            }
            if self.searcher.nodes[id.0 as usize].computes {
                self.note_computed(id)?;
            }
            for at in 0..self.searcher.nodes[id.0 as usize].references.len() {
                let lookup = self.searcher.nodes[id.0 as usize].references[at];
                self.follow(lookup, &mut open)?;
            }
        }
        Ok(())
    }

    /// Makes the lookups of a node anew.
    fn refer(&mut self, id: NodeId, reading: u64, is_source: bool) {
        let node = &self.searcher.nodes[id.0 as usize];
        let (directory, text) = (node.directory, Arc::clone(&node.text));
        let Some(directives) = self.files.directives(node.file).map(Arc::clone) else { return };
        let refer = |reference: &Reference| {
            self.refer_to(directory, &text, reference.purpose, &reference.target, is_source)
        };
        let references = directives.references.iter().filter_map(refer).collect();
        let is_computed = |reference: &Reference| matches!(reference.target, Target::Computed(_));
        let node = &mut self.searcher.nodes[id.0 as usize];
        node.references = references;
        node.computes = directives.has_unnamed_incbin || directives.references.iter().any(is_computed);
        node.reading = reading;
    }

    /// Puts a file's computed names aside: they need all definitions.
    fn note_computed(&mut self, id: NodeId) -> Result<(), CannotAnalyse> {
        let node = &self.searcher.nodes[id.0 as usize];
        let Some(directives) = self.files.directives(node.file) else { return Ok(()) };
        if directives.has_unnamed_incbin && !node.system {
            let path = node.text.display();
            return Err(CannotAnalyse::new(format!("{path} names the file of an .incbin by parts")));
        }
        for reference in &directives.references {
            if let Target::Computed(expression) = &reference.target {
                self.computed.push((id, reference.purpose, expression.clone()));
            }
        }
        Ok(())
    }

    fn refer_to(
        &mut self,
        directory: EntryId,
        text: &Path,
        purpose: Use,
        target: &Target,
        is_source: bool,
    ) -> Option<LookupId> {
        let base = text.parent().unwrap_or(text);
        let (mode, name) = match (purpose, target) {
            (_, Target::Computed(_)) => return None,
            (_, Target::Quote(name) | Target::Angle(name)) if name.is_empty() => return None,
            (Use::Embed, Target::Quote(name) | Target::Angle(name)) => (Mode::Embed(directory), name),
            (Use::Assemble, Target::Quote(name) | Target::Angle(name)) => (Mode::Assemble(directory), name),
            (Use::IncludeNext, Target::Quote(name) | Target::Angle(name)) => (Mode::Next(directory), name),
            (Use::Include, Target::Quote(name)) => (Mode::Quote(directory), name),
            (Use::Include, Target::Angle(name)) => (Mode::Angle, name),
        };
        Some(self.searcher.lookup(mode, name, base, is_source && purpose == Use::Include))
    }

    fn follow(&mut self, lookup: LookupId, open: &mut Vec<NodeId>) -> Result<(), CannotAnalyse> {
        let answer = self.searcher.answer(self.tree, lookup);
        if let Some(precompiled) = answer.precompiled {
            let path = self.tree.path(precompiled).display();
            return Err(CannotAnalyse::new(format!("{path} is a precompiled header of this machine")));
        }
        if matches!(answer.mode, Mode::Assemble(_)) && !answer.hits.is_empty() {
            let name = String::from_utf8_lossy(&answer.name);
            return Err(CannotAnalyse::new(format!("{name} is assembler text, which may take in more")));
        }
        open.extend_from_slice(&answer.hits);
        self.headers.extend_from_slice(&answer.headers);
        self.links.extend_from_slice(&answer.trace.links);
        self.left.extend_from_slice(&answer.trace.left);
        Ok(())
    }

    fn note_trace(&mut self, trace: &Trace) {
        self.links.extend_from_slice(&trace.links);
        self.left.extend_from_slice(&trace.left);
    }

    /// Expands computed includes with every definition seen, until that brings no new file.
    fn resolve_computed(&mut self, root: NodeId, command: &[Vec<u8>]) -> Result<(), CannotAnalyse> {
        let command = Directives::of_definitions(command);
        let mut tokens_left = TOKENS_PER_UNIT_MAX;
        loop {
            let before = self.visited.len();
            let nodes = &self.searcher.nodes;
            let read = self.visited.iter().map(|id| nodes[id.0 as usize].file);
            let others = [&command, &self.searcher.view.macros];
            let mut definitions = Definitions::new(self.files, read, others, tokens_left);
            let computed = self.computed.clone();
            let outcomes: Vec<_> = computed
                .iter()
                .map(|(_, _, expression)| self.answers.get(expression, &mut definitions))
                .collect();
            tokens_left = definitions.tokens_left;
            let mut open = Vec::new();
            for ((id, purpose, expression), outcome) in computed.into_iter().zip(outcomes) {
                let node = &self.searcher.nodes[id.0 as usize];
                let (directory, text, system) = (node.directory, Arc::clone(&node.text), node.system);
                let targets = match outcome {
                    Ok(targets) => targets,
                    // The server has the file and what it names; only a way back into the user's files is lost.
                    Err(Unknown::Budget | Unknown::Changing) if system => continue,
                    Err(why) => {
                        let place = text.display();
                        let expression = String::from_utf8_lossy(&expression);
                        return Err(CannotAnalyse::new(format!(
                            "{place} includes {expression}, which {why}"
                        )));
                    }
                };
                for target in targets.iter() {
                    if let Some(lookup) = self.refer_to(directory, &text, purpose, target, id == root) {
                        self.follow(lookup, &mut open)?;
                    }
                }
            }
            self.visit_all(open, root)?;
            if self.visited.len() == before {
                return Ok(());
            }
        }
    }

    fn closure(&self, root: NodeId) -> Closure {
        let searcher = &self.searcher;
        let path = |id: &EntryId| Arc::clone(self.tree.path(*id));
        let mut files = Vec::with_capacity(self.visited.len());
        let mut seen = HashSet::with_capacity(self.visited.len());
        for id in [root].iter().chain(&self.visited) {
            let node = &searcher.nodes[id.0 as usize];
            if !node.system
                && let Some((state, content)) = self.files.state(node.file)
                && seen.insert(node.file)
            {
                let modified = state.signature.modified();
                let (path, real) = (Arc::clone(&node.text), path(&node.file));
                files.push(IncludedFile { path, real, modified, content, state });
            }
        }
        let mut links = Vec::new();
        for id in &self.links {
            if seen.insert(*id)
                && let Kind::Link(target) = self.tree.kind(*id)
            {
                links.push(Link { path: path(id), target: Arc::clone(target) });
            }
        }
        let mut directories = Vec::new();
        for id in [searcher.working].iter().chain(&searcher.user_directories).chain(&self.left) {
            if seen.insert(*id) {
                directories.push(path(id));
            }
        }
        let system_directories: Vec<Arc<Path>> = searcher.system_directories.iter().map(path).collect();
        let is_system = |path: &Path| system_directories.iter().any(|root| path.starts_with(root));
        links.retain(|link| !is_system(&link.path));
        directories.retain(|directory| !is_system(directory) && directory.as_os_str() != "/");
        let header_directories = searcher.headers.directories.iter().map(path).collect();
        let system_headers = Vec::new();
        Closure { files, links, directories, system_directories, header_directories, system_headers }
    }
}
