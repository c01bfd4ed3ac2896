//! Names to files, by one search path: which directories are looked in for which kind of include, and what was found
//! last time. Knows no text of files and no macro.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::memo::Memo;
use super::search_path::{CommandText, Directory, SearchPath, absolute};
use super::system_dirs::SystemView;
use super::system_headers::{HeaderId, SystemHeaders, is_below};
use super::tree::{EntryId, Kind, ROOT, Trace, Tree};

/// Where a name is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// `<name>`.
    Angle,
    /// `"name"` in a file of this directory.
    Quote(EntryId),
    /// `#include_next` in a file of this directory: where the file itself was found is not modelled, so every file of
    /// that name counts.
    Next(EntryId),
    /// Bytes: in every directory, and the working directory.
    Embed(EntryId),
    /// Assembler text: likewise.
    Assemble(EntryId),
}

/// A file, reached through a directory: what its own quoted includes mean depends on both.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) file: EntryId,
    pub(super) directory: EntryId,
    /// The path as the compiler writes it, made absolute.
    pub(super) text: Arc<Path>,
    /// It is one of the compiler's own.
    pub(super) system: bool,
    /// It is not read as source.
    pub(super) embedded: bool,
    /// The reading of the file that `references` was made from; 0 before the first.
    pub(super) reading: u64,
    /// It has computed includes.
    pub(super) computes: bool,
    pub(super) references: Vec<LookupId>,
    /// The last query that visited it.
    pub(super) visited: u32,
}

/// A node of one searcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(pub(super) u32);

/// A lookup of one searcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LookupId(u32);

/// A name that was looked for.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) mode: Mode,
    pub(super) name: Box<[u8]>,
    /// The including file's directory, as text.
    base: Arc<Path>,
    /// A precompiled form of the header would be used instead.
    minds_precompiled: bool,
    pub(super) hits: Vec<NodeId>,
    pub(super) trace: Trace,
    /// The names that are looked up in the compiler's own directories.
    pub(super) headers: Vec<HeaderId>,
    /// The precompiled header that was found.
    pub(super) precompiled: Option<EntryId>,
    resolved: u32,
    pub(super) checked: u32,
}

#[derive(Clone, Debug)]
struct Place {
    directory: EntryId,
    text: Arc<Path>,
    framework: bool,
    /// Perhaps it is not searched at this point: what is found later in the path counts too.
    doubtful: bool,
}

type ByName = HashMap<Box<[u8]>, LookupId>;

/// One search path, and all that was found by it.
#[derive(Debug)]
pub(super) struct Searcher {
    pub(super) working: EntryId,
    pub(super) working_text: Arc<Path>,
    quote: Vec<Place>,
    angle: Vec<Place>,
    embed: Vec<Place>,
    /// What the search directories themselves depend on.
    pub(super) trace: Trace,
    built: u32,
    /// The user's search directories that exist.
    pub(super) user_directories: Vec<EntryId>,
    /// The compiler's own that exist.
    pub(super) system_directories: Vec<EntryId>,
    /// What is looked up there.
    pub(super) headers: SystemHeaders,
    /// Directories the compiler would search if they existed.
    pub(super) absent_appeared: bool,
    pub(super) view: Arc<SystemView>,
    pub(super) nodes: Vec<Node>,
    by_place: HashMap<(EntryId, EntryId, bool), NodeId>,
    pub(super) lookups: Vec<Lookup>,
    by_name: HashMap<(Mode, bool), ByName>,
    /// Whole answers, by source and command.
    pub(super) memos: HashMap<(OsString, CommandText), Memo>,
}

impl Searcher {
    /// Finds the directories. `None` if there is no such working directory.
    pub(super) fn new(
        tree: &mut Tree,
        working: &Path,
        path: &SearchPath,
        view: Arc<SystemView>,
    ) -> Option<Searcher> {
        let mut trace = Trace::default();
        let working_id = tree.walk(ROOT, working.as_os_str().as_bytes(), &mut trace)?;
        // Compilers print directories as they are named, or without links: what they are is what counts.
        let found = |tree: &mut Tree, path: &[u8], trace: &mut Trace| {
            tree.walk(ROOT, &absolute(working.as_os_str(), path), trace)
        };
        let mut own_places: Vec<Arc<Path>> = Vec::new();
        for place in path.own_places.iter().filter(|place| !is_shared_place(place)) {
            own_places.extend(found(tree, place, &mut trace).map(|id| Arc::clone(tree.path(id))));
        }
        let own = |directory: &Directory| {
            let id = found(tree, &directory.path, &mut Trace::default());
            id.is_some_and(|id| own_places.iter().any(|place| is_below(tree.path(id), place)))
        };
        let (own_dirs, system): (Vec<_>, Vec<_>) = view.directories.iter().cloned().partition(own);
        let mut builder = Builder { tree, working: working_id, working_text: working, trace };
        // How the compiler's own directories are reached concerns this machine only.
        let marks = (builder.trace.links.len(), builder.trace.left.len());
        let system = builder.places(&system);
        let absent = view.absent.iter().map(|path| (path.as_slice(), false));
        let absent_appeared = !builder.places_of(absent).is_empty();
        builder.trace.links.truncate(marks.0);
        builder.trace.left.truncate(marks.1);
        let among = |places: &[Place], place: &Place| {
            places
                .iter()
                .any(|known| (known.directory, known.framework) == (place.directory, place.framework))
        };
        let mut quote = builder.places(&path.quote);
        let mut angle = builder.places(&path.user);
        let mut before = builder.places(&path.before);
        let mut after = builder.places(&path.after);
        // Given twice, a directory counts where the more special option puts it. gcc does so with -iquote too, clang
        // does not; and what -isystem does to one of the compiler's own is left open.
        after.retain(|place| !among(&before, place) && !among(&system, place));
        let is_special =
            |place: &Place| among(&before, place) || among(&system, place) || among(&after, place);
        angle.retain(|place| !is_special(place));
        quote.iter_mut().for_each(|place| place.doubtful = is_special(place));
        before.iter_mut().for_each(|place| place.doubtful = among(&system, place));
        let mut own_dirs = builder.places(&own_dirs);
        own_dirs.iter_mut().for_each(|place| place.doubtful = true);
        angle.extend(before);
        angle.extend(own_dirs);
        let embed = builder.places(&path.embed);
        let Builder { tree, trace, .. } = builder;
        let users = || quote.iter().chain(&angle).chain(&after).chain(&embed);
        let system_directories = unique(system.iter().map(|place| place.directory));
        let user_directories = unique(users().map(|place| place.directory));
        let headers = SystemHeaders::new(tree, &user_directories, &system_directories);
        angle.extend(system);
        angle.extend(after);
        Some(Searcher {
            working: working_id,
            working_text: Arc::from(working),
            quote,
            angle,
            embed,
            trace,
            built: tree.query(),
            user_directories,
            system_directories,
            headers,
            absent_appeared,
            view,
            nodes: Vec::new(),
            by_place: HashMap::new(),
            lookups: Vec::new(),
            by_name: HashMap::new(),
            memos: HashMap::new(),
        })
    }

    /// How many lookups and files it holds, which is what it takes of memory.
    pub(super) fn size(&self) -> usize {
        1 + self.lookups.len() + self.nodes.len() + self.headers.len()
    }

    /// Whether the search directories are still those that were found.
    pub(super) fn is_current(&self, tree: &mut Tree) -> bool {
        !tree.any_changed_since(self.built, &self.trace.names)
    }

    /// The node of the file a command names: the source.
    pub(super) fn source(&mut self, tree: &mut Tree, name: &[u8], trace: &mut Trace) -> Option<NodeId> {
        let place = Place {
            directory: self.working,
            text: Arc::clone(&self.working_text),
            framework: false,
            doubtful: false,
        };
        let (file, directory, text) = find(tree, &place, name, trace)?;
        Some(self.node(tree, file, directory, text, false))
    }

    /// The lookup of a name by a file in `base`.
    pub(super) fn lookup(
        &mut self,
        mode: Mode,
        name: &[u8],
        base: &Path,
        minds_precompiled: bool,
    ) -> LookupId {
        let names = self.by_name.entry((mode, minds_precompiled)).or_default();
        if let Some(id) = names.get(name) {
            return *id;
        }
        let id = LookupId(self.lookups.len() as u32);
        names.insert(name.into(), id);
        self.lookups.push(Lookup {
            mode,
            name: name.into(),
            base: Arc::from(base),
            minds_precompiled,
            hits: Vec::new(),
            trace: Trace::default(),
            headers: Vec::new(),
            precompiled: None,
            resolved: 0,
            checked: 0,
        });
        id
    }

    /// A lookup, true for this query.
    pub(super) fn answer(&mut self, tree: &mut Tree, id: LookupId) -> &Lookup {
        let query = tree.query();
        let lookup = &mut self.lookups[id.0 as usize];
        if lookup.checked != query {
            lookup.checked = query;
            if lookup.resolved == 0 || tree.any_changed_since(lookup.resolved, &lookup.trace.names) {
                self.resolve(tree, id);
            }
        }
        &self.lookups[id.0 as usize]
    }

    fn resolve(&mut self, tree: &mut Tree, id: LookupId) {
        let lookup = &self.lookups[id.0 as usize];
        let (name, minds_precompiled) = (lookup.name.clone(), lookup.minds_precompiled);
        let places = self.places(lookup.mode, &lookup.base, name.first() == Some(&b'/'));
        let embedded = matches!(lookup.mode, Mode::Embed(_) | Mode::Assemble(_));
        let everywhere = embedded || matches!(lookup.mode, Mode::Next(_));
        let mut trace = Trace::default();
        let mut hits = Vec::new();
        let mut headers = Vec::new();
        let mut precompiled = None;
        for place in places {
            if minds_precompiled && precompiled.is_none() {
                precompiled = [&b".gch"[..], b".pch"]
                    .into_iter()
                    .find_map(|suffix| tree.walk(place.directory, &[&name, suffix].concat(), &mut trace));
            }
            let found = find(tree, &place, &name, &mut trace);
            let mut header = None;
            if !place.framework {
                header = self.headers.named(tree, place.directory, &name);
            }
            if let Some((file, _, _)) = &found
                && header.is_none()
            {
                header = self.headers.of_file(tree, *file);
            }
            headers.extend(header.filter(|header| !headers.contains(header)));
            let Some((file, directory, text)) = found else { continue };
            hits.push(self.node(tree, file, directory, text, embedded));
            if !everywhere && !place.doubtful {
                break;
            }
        }
        let lookup = &mut self.lookups[id.0 as usize];
        (lookup.hits, lookup.trace, lookup.precompiled) = (hits, trace, precompiled);
        lookup.headers = headers;
        lookup.resolved = tree.query();
    }

    fn places(&self, mode: Mode, base: &Arc<Path>, is_absolute: bool) -> Vec<Place> {
        let place = |directory, text: &Arc<Path>| Place {
            directory,
            text: Arc::clone(text),
            framework: false,
            doubtful: false,
        };
        if is_absolute {
            return vec![place(ROOT, &Arc::from(Path::new("/")))];
        }
        let mut places = Vec::with_capacity(1 + self.quote.len() + self.angle.len());
        match mode {
            Mode::Angle => {}
            Mode::Quote(directory) | Mode::Next(directory) => places.push(place(directory, base)),
            Mode::Embed(directory) | Mode::Assemble(directory) => {
                places.extend([place(directory, base), place(self.working, &self.working_text)]);
            }
        }
        if mode != Mode::Angle {
            places.extend_from_slice(&self.quote);
        }
        places.extend_from_slice(&self.angle);
        if let Mode::Embed(_) | Mode::Assemble(_) = mode {
            places.extend_from_slice(&self.embed);
        }
        places
    }

    fn node(
        &mut self,
        tree: &Tree,
        file: EntryId,
        directory: EntryId,
        text: Arc<Path>,
        embedded: bool,
    ) -> NodeId {
        let nodes = &mut self.nodes;
        let system = &self.system_directories;
        *self.by_place.entry((directory, file, embedded)).or_insert_with(|| {
            let system = system.iter().any(|root| is_below(tree.path(file), tree.path(*root)));
            let node = Node {
                file,
                directory,
                text,
                system,
                embedded,
                reading: 0,
                computes: false,
                references: Vec::new(),
                visited: 0,
            };
            nodes.push(node);
            NodeId(nodes.len() as u32 - 1)
        })
    }
}

/// The file of a name in a place: itself, the directory its path leads through, and its text.
fn find(
    tree: &mut Tree,
    place: &Place,
    name: &[u8],
    trace: &mut Trace,
) -> Option<(EntryId, EntryId, Arc<Path>)> {
    let framed;
    let (name, alternative) = if place.framework {
        let slash = name.iter().position(|byte| *byte == b'/')?;
        let (framework, rest) = name.split_at(slash);
        framed = [framework, b".framework/Headers", rest].concat();
        (framed.as_slice(), Some([framework, b".framework/PrivateHeaders", rest].concat()))
    } else {
        (name, None)
    };
    find_plain(tree, place, name, trace).or_else(|| find_plain(tree, place, &alternative?, trace))
}

fn find_plain(
    tree: &mut Tree,
    place: &Place,
    name: &[u8],
    trace: &mut Trace,
) -> Option<(EntryId, EntryId, Arc<Path>)> {
    let slash = name.iter().rposition(|byte| *byte == b'/');
    let directory = match slash {
        Some(slash) => tree.walk(place.directory, &name[..=slash], trace)?,
        None => place.directory,
    };
    let file = tree.walk(directory, &name[slash.map_or(0, |slash| slash + 1)..], trace)?;
    if !matches!(tree.kind(file), Kind::File | Kind::Unreadable) {
        return None;
    }
    let text = absolute(place.text.as_os_str(), name);
    Some((file, directory, Arc::from(Path::new(OsStr::from_bytes(&text)))))
}

/// Whether a place the command names is one that servers have too, by the rule for `-B`.
fn is_shared_place(path: &[u8]) -> bool {
    path == b"/" || path.is_empty() || path.starts_with(b"/usr/") || path.starts_with(b"/opt/")
}

fn unique(ids: impl Iterator<Item = EntryId>) -> Vec<EntryId> {
    let mut found = Vec::new();
    for id in ids {
        if !found.contains(&id) {
            found.push(id);
        }
    }
    found
}

struct Builder<'a> {
    tree: &'a mut Tree,
    working: EntryId,
    working_text: &'a Path,
    trace: Trace,
}

impl Builder<'_> {
    fn places(&mut self, directories: &[Directory]) -> Vec<Place> {
        self.places_of(directories.iter().map(|directory| (directory.path.as_slice(), directory.framework)))
    }

    fn places_of<'b>(&mut self, paths: impl Iterator<Item = (&'b [u8], bool)>) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        for (path, framework) in paths {
            let Some(directory) = self.tree.walk(self.working, path, &mut self.trace) else { continue };
            let known =
                places.iter().any(|place| (place.directory, place.framework) == (directory, framework));
            if known || *self.tree.kind(directory) != Kind::Directory {
                continue;
            }
            let text = absolute(self.working_text.as_os_str(), path);
            let text = Arc::from(Path::new(OsStr::from_bytes(&text)));
            places.push(Place { directory, text, framework, doubtful: false });
        }
        places
    }
}
