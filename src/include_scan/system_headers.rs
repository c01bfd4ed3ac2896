//! The names that a job may look up in the compiler's own directories, and what is there: one number for each name, by
//! which a server can tell whether its files are the same. Knows one search path; sends nothing.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::SystemHeader;
use super::file_cache::FileCache;
use super::tree::{EntryId, Kind, Trace, Tree};
use crate::protocol::surroundings;

/// A name of one search path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeaderId(u32);

#[derive(Debug)]
struct Header {
    name: Arc<[u8]>,
    /// What the directories had under that name, and in which reading.
    found: Vec<Option<(EntryId, u64)>>,
    /// Every name that depends on.
    names: Vec<EntryId>,
    fingerprint: u32,
    resolved: u32,
    /// The last query that asked.
    asked: u32,
}

/// The names so far, and the directories.
#[derive(Debug)]
pub(super) struct SystemHeaders {
    /// In search order: first those of the command that lie below the compiler's own, then these.
    pub(super) directories: Vec<EntryId>,
    by_name: HashMap<Arc<[u8]>, HeaderId>,
    known: Vec<Header>,
}

impl SystemHeaders {
    /// For a command's search directories and the compiler's own.
    pub(super) fn new(tree: &Tree, users: &[EntryId], own: &[EntryId]) -> SystemHeaders {
        let is_inside = |id: &&EntryId| own.iter().any(|root| is_below(tree.path(**id), tree.path(*root)));
        let users = users.iter().filter(|id| !own.contains(*id)).filter(is_inside);
        let directories = users.chain(own).copied().collect();
        SystemHeaders { directories, by_name: HashMap::new(), known: Vec::new() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The header that a name means in a directory, whether it exists or not; `None` if that is no place of the
    /// compiler's.
    pub(super) fn named(&mut self, tree: &Tree, directory: EntryId, name: &[u8]) -> Option<HeaderId> {
        let is_plain =
            |name: &[u8]| name.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."));
        if self.directories.contains(&directory) && is_plain(name) {
            return Some(self.id(name));
        }
        let leads_away = name.first() == Some(&b'/') || name.windows(2).any(|pair| pair == b"..");
        let is_inside =
            || self.directories.iter().any(|root| is_below(tree.path(directory), tree.path(*root)));
        if !leads_away && !is_inside() {
            return None;
        }
        let path = [tree.path(directory).as_os_str().as_bytes(), b"/", name].concat();
        self.at(tree, &without_dots(&path))
    }

    /// The header that a file is, by its own path.
    pub(super) fn of_file(&mut self, tree: &Tree, file: EntryId) -> Option<HeaderId> {
        let path = Arc::clone(tree.path(file));
        self.at(tree, path.as_os_str().as_bytes())
    }

    fn at(&mut self, tree: &Tree, path: &[u8]) -> Option<HeaderId> {
        let below = |directory: &EntryId| {
            let rest = path.strip_prefix(tree.path(*directory).as_os_str().as_bytes())?;
            rest.strip_prefix(b"/").filter(|rest| !rest.is_empty())
        };
        let name = self.directories.iter().filter_map(below).min_by_key(|rest| rest.len())?;
        Some(self.id(name))
    }

    fn id(&mut self, name: &[u8]) -> HeaderId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = HeaderId(self.known.len() as u32);
        let name: Arc<[u8]> = Arc::from(name);
        self.by_name.insert(Arc::clone(&name), id);
        self.known.push(Header {
            name,
            found: Vec::new(),
            names: Vec::new(),
            fingerprint: 0,
            resolved: 0,
            asked: 0,
        });
        id
    }

    /// A header as it is in this query; `None` if this query had it already.
    pub(super) fn check(
        &mut self,
        tree: &mut Tree,
        files: &mut FileCache,
        id: HeaderId,
    ) -> Option<SystemHeader> {
        let query = tree.query();
        let header = &mut self.known[id.0 as usize];
        if header.asked == query {
            return None;
        }
        header.asked = query;
        let moved = header.resolved == 0 || tree.any_changed_since(header.resolved, &header.names);
        if moved {
            let mut trace = Trace::default();
            let mut find = |directory: &EntryId| {
                let file = tree.walk(*directory, &header.name, &mut trace)?;
                (*tree.kind(file) == Kind::File).then_some((file, 0))
            };
            header.found = self.directories.iter().map(&mut find).collect();
            header.names = trace.names;
            header.resolved = query;
        }
        let mut edited = moved;
        for (file, reading) in header.found.iter_mut().flatten() {
            // What cannot be read is as good as absent; a server that can read it will say so.
            let now = files.update(tree, *file).unwrap_or(0);
            edited |= now != *reading;
            *reading = now;
        }
        if edited {
            let sums = header.found.iter().map(|found| found.and_then(|(file, _)| files.crc32(file)));
            header.fingerprint = surroundings::fingerprint(sums);
        }
        Some(SystemHeader { name: Arc::clone(&header.name), fingerprint: header.fingerprint })
    }
}

/// An absolute path without `.`, `..` and double slashes, by its text alone.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
        if part == b".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    [&b"/"[..], &parts.join(&b'/')].concat()
}

/// Whether a path is `place` or below it.
pub(super) fn is_below(path: &Path, place: &Path) -> bool {
    path.as_os_str().as_bytes().starts_with(place.as_os_str().as_bytes()) && path.starts_with(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_taken_out_of_paths() {
        for (path, want) in [
            ("/a/b/../c.h", "/a/c.h"),
            ("/a//./b.h", "/a/b.h"),
            ("/../../x", "/x"),
            ("/a/b/../../..", "/"),
            ("/", "/"),
        ] {
            assert_eq!(without_dots(path.as_bytes()), want.as_bytes(), "{path}");
        }
    }
}
