//! Everything in a directory, as a value that can be compared.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Files below a directory with their contents; directories and links with none.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tree(pub BTreeMap<PathBuf, Vec<u8>>);

/// Reads a directory with everything below it.
#[track_caller]
pub fn tree_of(directory: &Path) -> Tree {
    let mut tree = Tree::default();
    collect(directory, Path::new(""), &mut tree);
    tree
}

fn collect(directory: &Path, prefix: &Path, tree: &mut Tree) {
    for entry in
        fs::read_dir(directory).unwrap_or_else(|error| panic!("read {}: {error}", directory.display()))
    {
        let entry = entry.unwrap();
        let name = prefix.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &name, tree);
        } else {
            let content = fs::read(entry.path()).unwrap_or_default();
            tree.0.insert(name, content);
        }
    }
}

impl Tree {
    /// The names only, for messages and for tests that do not care for contents.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().map(|name| name.to_string_lossy().into_owned()).collect()
    }

    /// What differs from another tree, one line a file; empty if nothing does.
    pub fn difference(&self, other: &Tree) -> String {
        let mut lines = String::new();
        for (name, content) in &self.0 {
            match other.0.get(name) {
                None => lines += &format!("only in the first: {}\n", name.display()),
                Some(theirs) if theirs != content => {
                    lines += &format!("different: {}{}\n", name.display(), texts(content, theirs));
                }
                Some(_) => {}
            }
        }
        for name in other.0.keys().filter(|name| !self.0.contains_key(*name)) {
            lines += &format!("only in the second: {}\n", name.display());
        }
        lines
    }
}

/// Both contents, where a person can read them.
fn texts(first: &[u8], second: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 2000;
    match (std::str::from_utf8(first), std::str::from_utf8(second)) {
        (Ok(first), Ok(second)) if first.len().max(second.len()) < SHOWN_BYTES_MAX => {
            format!("\n--- first\n{first}\n--- second\n{second}")
        }
        _ => format!(" ({} and {} bytes)", first.len(), second.len()),
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
