//! The file system as it is now, as far as it has been looked at: which names exist, what they are, where links lead.
//! Each name is looked at most once in a query. Knows nothing of C, and reads no file's content.
//!
//! A name that exists is looked at again in every query. A name that does not exist is looked at again only if its
//! directory has changed since, which the directory's own times tell.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// How many links one path may lead through, as in the kernel.
const LINKS_MAX: u32 = 40;
/// A file that changed less than this before it was looked at may change again without a new time: the kernel's
/// clock for file times ticks every 1 to 10 ms. In nanoseconds.
const TICK_NANOSECONDS: i128 = 50_000_000;
/// The same for file systems that keep whole seconds, FAT even two of them. In nanoseconds.
const WHOLE_SECONDS_NANOSECONDS: i128 = 2_100_000_000;

/// A name in the tree, existing or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct EntryId(u32);

impl EntryId {
    /// Its place among all names.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The directory `/`.
pub(super) const ROOT: EntryId = EntryId(0);

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    device: u64,
    inode: u64,
    size: u64,
    modified: Time,
    changed: Time,
}

/// Seconds since 1970 and nanoseconds, as the kernel gives them.
pub(super) type Time = (i64, u32);

impl Signature {
    pub(super) fn of(metadata: &Metadata) -> Signature {
        Signature {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec() as u32),
            changed: (metadata.ctime(), metadata.ctime_nsec() as u32),
        }
    }

    /// When the content was written.
    pub(super) fn modified(&self) -> Time {
        self.modified
    }

    /// Whether a later change must show in the signature: it is older than the clock's tick.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.modified.max(self.changed);
        let newest = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let whole = self.modified.1 == 0 && self.changed.1 == 0;
        let wait = if whole { WHOLE_SECONDS_NANOSECONDS } else { TICK_NANOSECONDS };
        now.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|now| now.as_nanos() as i128 - newest > wait)
    }
}

/// What a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing of that name.
    Missing,
    /// A regular file, or a device, which compilers read as one.
    File,
    /// A directory.
    Directory,
    /// A symbolic link and its text.
    Link(Arc<Path>),
    /// It cannot be looked at, for want of permission or because of an error.
    Unreadable,
}

#[derive(Debug)]
struct Entry {
    path: Arc<Path>,
    parent: EntryId,
    kind: Kind,
    signature: Option<Signature>,
    /// The names looked up in this directory so far.
    children: HashMap<Box<[u8]>, EntryId>,
    /// The number of this directory's state: a new one whenever its names may have changed.
    contents: u32,
    /// The parent's `contents` when this name was looked at.
    seen_in: u32,
    /// The last query that looked, and the last that saw another kind than before.
    checked: u32,
    changed: u32,
    /// Files here are only ever replaced, as package managers do, so that the directory's times tell of it.
    packaged: bool,
}

/// What a path led through: enough to see later whether it still leads to the same place, and to build it elsewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    /// Every name the result depends on.
    pub(super) names: Vec<EntryId>,
    /// The symbolic links.
    pub(super) links: Vec<EntryId>,
    /// The directories that a `..` left: they must exist, though nothing in them may be wanted.
    pub(super) left: Vec<EntryId>,
}

/// The tree.
#[derive(Debug)]
pub(super) struct Tree {
    entries: Vec<Entry>,
    query: u32,
    /// The names this query has looked at or relied on, parents first.
    checked: Vec<EntryId>,
    states: u32,
    now: SystemTime,
    /// How many names were looked at in the file system since the tree was made.
    pub(super) looks: u64,
}

impl Tree {
    pub(super) fn new() -> Tree {
        let mut tree = Tree {
            entries: Vec::new(),
            query: 0,
            checked: Vec::new(),
            states: 1,
            now: SystemTime::UNIX_EPOCH,
            looks: 0,
        };
        tree.add(ROOT, Arc::from(Path::new("/")), false);
        tree
    }

    /// Begins a query: from now on nothing known is believed without another look.
    pub(super) fn begin_query(&mut self, now: SystemTime) {
        self.query += 1;
        self.checked.clear();
        self.now = now;
    }

    /// The number of the query.
    pub(super) fn query(&self) -> u32 {
        self.query
    }

    /// How many names are known.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The path, free of links and `..`.
    pub(super) fn path(&self, id: EntryId) -> &Arc<Path> {
        &self.entry(id).path
    }

    /// What a name was in this query's look, or an earlier one's.
    pub(super) fn kind(&self, id: EntryId) -> &Kind {
        &self.entry(id).kind
    }

    /// The state of a file that exists.
    pub(super) fn signature(&self, id: EntryId) -> Option<Signature> {
        self.entry(id).signature
    }

    /// Declares that everything below a directory is a package manager's. What administrators install by hand is not.
    pub(super) fn mark_packaged(&mut self, id: EntryId) {
        if self.path(id).starts_with("/usr/local") {
            return;
        }
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let entry = &mut self.entries[id.0 as usize];
            entry.packaged = true;
            open.extend(entry.children.values());
        }
    }

    /// The names this query depends on so far, parents first.
    pub(super) fn checked(&self) -> &[EntryId] {
        &self.checked
    }

    /// Whether a name needs no look while its directory is the same.
    pub(super) fn is_vouched_for(&self, id: EntryId) -> bool {
        let entry = self.entry(id);
        entry.kind == Kind::Missing || entry.packaged && entry.kind == Kind::File
    }

    /// The number of a directory's state: another one whenever its names may have changed.
    pub(super) fn contents(&self, id: EntryId) -> u32 {
        self.entry(id).contents
    }

    /// Whether a name has changed its kind after `query`, as far as was looked.
    pub(super) fn changed_since(&self, query: u32, id: EntryId) -> bool {
        self.entry(id).changed > query
    }

    /// Whether any of the names has changed its kind after `query`. Looks where this query has not yet.
    pub(super) fn any_changed_since(&mut self, query: u32, names: &[EntryId]) -> bool {
        names.iter().any(|id| {
            self.check(*id);
            self.changed_since(query, *id)
        })
    }

    /// Follows a path from a directory, as the kernel does. `None` if it leads nowhere.
    pub(super) fn walk(&mut self, from: EntryId, path: &[u8], trace: &mut Trace) -> Option<EntryId> {
        let mut links = LINKS_MAX;
        self.walk_part(from, path, trace, &mut links)
    }

    fn walk_part(
        &mut self,
        from: EntryId,
        path: &[u8],
        trace: &mut Trace,
        links: &mut u32,
    ) -> Option<EntryId> {
        let mut at = if path.first() == Some(&b'/') { ROOT } else { from };
        for part in path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
            if *self.kind(at) != Kind::Directory {
                return None;
            }
            if part == b".." {
                trace.left.push(at);
                at = self.entry(at).parent;
                continue;
            }
            let child = self.child(at, part);
            trace.names.push(child);
            at = match self.kind(child).clone() {
                Kind::Missing => return None,
                Kind::Link(text) => {
                    *links = links.checked_sub(1)?;
                    trace.links.push(child);
                    self.walk_part(at, text.as_os_str().as_bytes(), trace, links)?
                }
                Kind::File | Kind::Directory | Kind::Unreadable => child,
            };
        }
        let wants_directory = path.last() == Some(&b'/');
        (!wants_directory || *self.kind(at) == Kind::Directory).then_some(at)
    }

    fn child(&mut self, directory: EntryId, name: &[u8]) -> EntryId {
        let id = match self.entry(directory).children.get(name) {
            Some(id) => *id,
            None => {
                let parent = self.entry(directory);
                let path = Arc::from(parent.path.join(std::ffi::OsStr::from_bytes(name)));
                let packaged = parent.packaged;
                let id = self.add(directory, path, packaged);
                self.entries[directory.0 as usize].children.insert(name.into(), id);
                id
            }
        };
        self.check(id);
        id
    }

    fn add(&mut self, parent: EntryId, path: Arc<Path>, packaged: bool) -> EntryId {
        let id = EntryId(u32::try_from(self.entries.len()).expect("fewer names than bytes of memory"));
        let root = path.as_os_str() == "/";
        self.entries.push(Entry {
            path,
            parent,
            kind: if root { Kind::Directory } else { Kind::Missing },
            signature: None,
            children: HashMap::new(),
            contents: 0,
            seen_in: 0,
            checked: 0,
            changed: 0,
            packaged,
        });
        id
    }

    /// Makes sure that this query knows what a name is.
    pub(super) fn check(&mut self, id: EntryId) {
        let entry = self.entry(id);
        if entry.checked == self.query {
            return;
        }
        let parent = entry.parent;
        if parent != id {
            self.check(parent);
        }
        self.checked.push(id);
        let above = self.entry(parent);
        let (seen_in, in_directory) = (above.contents, above.kind == Kind::Directory);
        let query = self.query;
        self.entries[id.0 as usize].checked = query;
        let by_directory = self.is_vouched_for(id);
        let entry = &mut self.entries[id.0 as usize];
        if by_directory && seen_in != 0 && entry.seen_in == seen_in {
            return;
        }
        entry.seen_in = if in_directory { seen_in } else { 0 };
        let (kind, signature) = if in_directory {
            self.looks += 1;
            look(&entry.path)
        } else {
            (Kind::Missing, None)
        };
        let is_steady =
            || signature.is_some_and(|now| entry.signature == Some(now) && now.is_settled(self.now));
        if kind == Kind::Directory && !is_steady() {
            self.states += 1;
            entry.contents = self.states;
        }
        if kind != entry.kind || entry.changed == 0 {
            entry.changed = query;
            entry.kind = kind;
        }
        entry.signature = signature;
    }

    fn entry(&self, id: EntryId) -> &Entry {
        &self.entries[id.0 as usize]
    }
}

fn look(path: &Path) -> (Kind, Option<Signature>) {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return (Kind::Unreadable, None);
        }
        Err(_) => return (Kind::Missing, None),
    };
    let kind = if metadata.is_dir() {
        Kind::Directory
    } else if metadata.is_symlink() {
        fs::read_link(path).map_or(Kind::Missing, |text| Kind::Link(text.into()))
    } else {
        Kind::File
    };
    (kind, Some(Signature::of(&metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    struct Place {
        directory: TempDir,
        tree: Tree,
    }

    impl Place {
        fn new() -> Place {
            let directory = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
            fs::create_dir_all(directory.path().join("d/e")).unwrap();
            fs::write(directory.path().join("d/f"), "").unwrap();
            symlink("d/e", directory.path().join("l")).unwrap();
            symlink("loop", directory.path().join("loop")).unwrap();
            Place { directory, tree: Tree::new() }
        }

        /// What a path leads to, as a path below the place, in a query of its own.
        fn walk(&mut self, path: &str) -> Option<String> {
            self.tree.begin_query(SystemTime::now());
            let root = fs::canonicalize(self.directory.path()).unwrap();
            let mut trace = Trace::default();
            let from = self.tree.walk(ROOT, root.as_os_str().as_bytes(), &mut trace).unwrap();
            let id = self.tree.walk(from, path.as_bytes(), &mut trace)?;
            let below = self.tree.path(id).strip_prefix(&root).unwrap();
            Some(below.to_str().unwrap().to_owned())
        }
    }

    #[test]
    fn paths_lead_where_the_kernel_says() {
        let mut place = Place::new();
        let cases = [
            ("d/f", Some("d/f")),
            ("./d//e/../f", Some("d/f")),
            ("l/../f", Some("d/f")),
            ("l", Some("d/e")),
            ("d/f/", None),
            ("d/f/x", None),
            ("x/../d/f", None),
            ("loop", None),
        ];
        for (path, want) in cases {
            assert_eq!(place.walk(path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn a_settled_directory_vouches_for_what_is_missing() {
        let mut place = Place::new();
        std::thread::sleep(Duration::from_nanos(TICK_NANOSECONDS as u64) + Duration::from_millis(10));
        assert_eq!(place.walk("d/e/new"), None);
        let looks = place.tree.looks;
        assert_eq!(place.walk("d/e/other"), None);
        let directories = place.tree.looks - looks - 1;
        let looks = place.tree.looks;
        assert_eq!((place.walk("d/e/new"), place.walk("d/e/other")), (None, None));
        assert_eq!(place.tree.looks - looks, 2 * directories);
        fs::write(place.directory.path().join("d/e/new"), "").unwrap();
        assert_eq!(place.walk("d/e/new").as_deref(), Some("d/e/new"));
    }

    #[test]
    fn a_young_directory_vouches_for_nothing() {
        let second = 1_000_000_000;
        let at = |time: i128| {
            let modified = ((time / second) as i64, (time % second) as u32);
            Signature { device: 1, inode: 1, size: 0, modified, changed: modified }
        };
        let now = |nanoseconds: i128| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds as u64);
        let young = 100 * second + 1;
        assert!(!at(young).is_settled(now(young + TICK_NANOSECONDS)));
        assert!(at(young).is_settled(now(young + TICK_NANOSECONDS + 1)));
        assert!(!at(100 * second).is_settled(now(102 * second)), "whole seconds may be all that is kept");
        assert!(at(100 * second).is_settled(now(103 * second)));
    }
}
