//! The files of a job that a server preprocesses, in the order and form in which they are sent. Knows where their
//! bytes are; not who said which files they are, nor to whom they go.

use std::fs::{self, File};
use std::io::{self, Read};
use std::iter::Peekable;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use std::ffi::OsStr;

use crate::protocol::include_query::{Answer, Piece};
use crate::protocol::limits::BODIES_BYTES_MAX;
use crate::protocol::packet::{HEADER_BYTES, Header, Token};
use crate::protocol::request;
use crate::protocol::surroundings;
use crate::sys::mapped_file::MappedFile;

/// How many components of a path in 3.4's mirror lead to the mirror's root.
const ROOT_COMPONENTS: usize = 3;
/// The last component of a name that only makes its directory exist.
const FORCING_NAME: &[u8] = b"/forcing_technique_271828";

/// Files, links and directories for a server.
#[derive(Debug)]
pub struct FileSet {
    answer: Answer,
    bodies: Bodies,
}

/// Where the bodies are.
#[derive(Debug)]
enum Bodies {
    /// In the include server's memory.
    Shared(MappedFile),
    /// In ours.
    Copied(Vec<u8>),
}

/// What an entry is, in the words of `--scan-includes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// A file with its content.
    File,
    /// A symbolic link.
    Symlink,
    /// A directory that must exist.
    Directory,
    /// One of the compiler's own include directories, which a server has.
    SystemDirectory,
}

impl FileSet {
    /// What an include server's direct answer means. `store` holds the bodies; an answer without bodies needs none.
    pub fn from_answer(answer: Answer, store: Option<OwnedFd>) -> Result<FileSet, String> {
        let store = store.map(File::from);
        let has_bodies = answer.pieces.iter().any(|piece| piece.body_bytes > 0);
        let Some(store) = store.filter(|_| has_bodies) else {
            let bodies = Bodies::Copied(Vec::new());
            return if has_bodies {
                Err("no store came with the answer".into())
            } else {
                Ok(FileSet { answer, bodies })
            };
        };
        let cannot = |error: io::Error| format!("read the include server's store: {error}");
        match MappedFile::of_sealed_file(&store).map_err(cannot)? {
            Some(map) => {
                let is_inside = |piece: &Piece| {
                    let end = piece.body_at.checked_add(piece.body_bytes.into());
                    end.is_some_and(|end| end <= map.len() as u64)
                };
                if !answer.pieces.iter().all(is_inside) {
                    return Err("the answer leads beyond the include server's store".into());
                }
                Ok(FileSet { answer, bodies: Bodies::Shared(map) })
            }
            None => FileSet::copied(answer, &store).map_err(cannot),
        }
    }

    /// The bodies read from a store that might shrink while it is mapped.
    fn copied(mut answer: Answer, store: &File) -> io::Result<FileSet> {
        let mut bodies = Vec::new();
        for piece in &mut answer.pieces {
            let start = bodies.len();
            bodies.resize(start + piece.body_bytes as usize, 0);
            store.read_exact_at(&mut bodies[start..], piece.body_at)?;
            piece.body_at = start as u64;
        }
        Ok(FileSet { answer, bodies: Bodies::Copied(bodies) })
    }

    /// What a list of paths in a mirror of 3.4's include server means: compressed files, links, and names that force
    /// directories.
    pub fn from_mirror(paths: &[Vec<u8>]) -> Result<FileSet, String> {
        let mut answer = Answer::default();
        let mut bodies = Vec::new();
        let mut heads_before = 0;
        for mirrored in paths {
            let path = Path::new(OsStr::from_bytes(mirrored));
            let cannot = |error: io::Error| format!("read {}: {error}", path.display());
            let name = client_name(mirrored).ok_or_else(|| format!("{}: not in a mirror", path.display()))?;
            answer.entries += 1;
            if name.ends_with(FORCING_NAME) {
                // The newest include servers only list it.
                request::encode_file_header(name, 0, &mut answer.heads);
                continue;
            }
            if fs::symlink_metadata(path).map_err(cannot)?.is_symlink() {
                let target = fs::read_link(path).map_err(cannot)?;
                request::encode_link(name, target.as_os_str().as_bytes(), &mut answer.heads);
                continue;
            }
            let start = bodies.len();
            let mut file = File::open(path).map_err(cannot)?.take(BODIES_BYTES_MAX - start as u64);
            let bytes = file.read_to_end(&mut bodies).map_err(cannot)?;
            if bodies.len() as u64 == BODIES_BYTES_MAX {
                return Err("the files are more than the protocol carries".into());
            }
            let bytes = u32::try_from(bytes).expect("BUG: the limit fits");
            request::encode_file_header(name, bytes, &mut answer.heads);
            let head_bytes = (answer.heads.len() - heads_before) as u32;
            heads_before = answer.heads.len();
            answer.pieces.push(Piece { head_bytes, body_at: start as u64, body_bytes: bytes });
        }
        let head_bytes = (answer.heads.len() - heads_before) as u32;
        answer.pieces.push(Piece { head_bytes, body_at: 0, body_bytes: 0 });
        Ok(FileSet { answer, bodies: Bodies::Copied(bodies) })
    }

    /// How many entries there are, for NFIL.
    pub fn count(&self) -> u32 {
        self.answer.entries
    }

    /// How many bytes they are on their way.
    pub fn bytes(&self) -> u64 {
        self.parts().map(|part| part.len() as u64).sum()
    }

    /// The bytes to send, in order.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let store: &[u8] = match &self.bodies {
            Bodies::Shared(map) => map,
            Bodies::Copied(bytes) => bytes,
        };
        let mut heads = self.answer.heads.as_slice();
        let parts = self.answer.pieces.iter().flat_map(move |piece| {
            let (head, rest) = heads.split_at(piece.head_bytes as usize);
            heads = rest;
            let body_at = piece.body_at as usize;
            [head, &store[body_at..body_at + piece.body_bytes as usize]]
        });
        parts.filter(|part| !part.is_empty())
    }

    /// What the entries are, and the client's paths of them, in order.
    pub fn entries(&self) -> Vec<(Category, &[u8])> {
        let mut found = Vec::new();
        let mut stored = self.stored_bodies();
        let heads = self.answer.heads.as_slice();
        let mut rest = heads;
        while let Some((name, after)) = take_text(rest, Token::NAME) {
            let category = if let Some((target, after)) = take_text(after, Token::LINK) {
                rest = after;
                if is_system_link(name, target) { Category::SystemDirectory } else { Category::Symlink }
            } else {
                let Some((bytes, after)) = take_number(after, Token::FILE) else { break };
                let body_at = heads.len() - after.len();
                // A body that is not in the store stands among the heads.
                let is_stored = stored.next_if_eq(&body_at).is_some();
                rest = if is_stored { after } else { after.get(bytes as usize..).unwrap_or_default() };
                if name.ends_with(FORCING_NAME) { Category::Directory } else { Category::File }
            };
            if !name.starts_with(surroundings::PREFIX) {
                found.push((category, name.strip_suffix(FORCING_NAME).unwrap_or(name)));
            }
        }
        found
    }

    /// Where among the heads bodies of the store belong.
    fn stored_bodies(&self) -> Peekable<impl Iterator<Item = usize>> {
        let mut at = 0;
        let pieces = self.answer.pieces.iter().filter_map(move |piece| {
            at += piece.head_bytes as usize;
            (piece.body_bytes > 0).then_some(at)
        });
        pieces.peekable()
    }
}

/// A string packet of one kind at the beginning of `input`, and what follows it.
fn take_text(input: &[u8], token: Token) -> Option<(&[u8], &[u8])> {
    let (bytes, rest) = take_number(input, token)?;
    rest.split_at_checked(bytes as usize)
}

/// The number in a packet's header of one kind at the beginning of `input`, and what follows it.
fn take_number(input: &[u8], token: Token) -> Option<(u32, &[u8])> {
    let (header, rest) = input.split_first_chunk::<HEADER_BYTES>()?;
    let header = Header::decode(header).ok().filter(|header| header.token == token)?;
    Some((header.value, rest))
}

/// Whether a link leads out of a server's directory for the job, and back to where it is itself.
fn is_system_link(name: &[u8], target: &[u8]) -> bool {
    let mut rest = target;
    let mut climbs = 0;
    while let Some(after) = rest.strip_prefix(b"../") {
        rest = after;
        climbs += 1;
    }
    climbs > name.iter().filter(|byte| **byte == b'/').count() && name.strip_prefix(b"/") == Some(rest)
}

/// The client's name of a path in a mirror: without the mirror's root and the suffixes of compressed files.
fn client_name(mirrored: &[u8]) -> Option<&[u8]> {
    let mut slashes = mirrored.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let name = &mirrored[slashes.nth(ROOT_COMPONENTS)?..];
    let name = name.strip_suffix(b".abs").unwrap_or(name);
    Some(name.strip_suffix(b".lzo").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp;
    use std::io::Write;

    #[test]
    fn names_in_a_mirror_are_those_of_the_client() {
        let cases = [
            ("/dev/shm/root-1/home/me/a.c.lzo", Some("/home/me/a.c")),
            ("/dev/shm/root-1/home/me/a.c.lzo.abs", Some("/home/me/a.c")),
            ("/dev/shm/root-1/home/me/a.lzo.lzo", Some("/home/me/a.lzo")),
            ("/dev/shm/root-1/usr/include", Some("/usr/include")),
            ("/dev/shm/root-1", None),
        ];
        for (path, want) in cases {
            assert_eq!(client_name(path.as_bytes()), want.map(str::as_bytes), "{path}");
        }
    }

    #[test]
    fn system_directories_are_links_to_themselves() {
        let climb = |count, rest: &str| "../".repeat(count) + rest;
        let cases = [
            ("/usr/include", climb(22, "usr/include"), true),
            ("/usr/include", climb(2, "usr/include"), false),
            ("/usr/include", climb(22, "usr/local"), false),
            ("/home/me/link.h", "/home/me/real.h".into(), false),
        ];
        for (name, target, want) in cases {
            assert_eq!(is_system_link(name.as_bytes(), target.as_bytes()), want, "{name} {target}");
        }
    }

    /// An answer of one file of four bytes and one forced directory.
    fn answer(body_at: u64) -> Answer {
        let mut heads = Vec::new();
        // This one's body is the answer's own, and not in the store.
        request::encode_file_header(surroundings::FILES_NAME, 2, &mut heads);
        heads.extend_from_slice(b"hi");
        request::encode_file_header(b"/p/a.c", 4, &mut heads);
        let second = heads.len() as u32;
        request::encode_link(b"/usr/include", &[&b"../".repeat(22)[..], b"usr/include"].concat(), &mut heads);
        request::encode_file_header(b"/p/forcing_technique_271828", 0, &mut heads);
        let third = heads.len() as u32;
        let piece = |head_bytes, body_at, body_bytes| Piece { head_bytes, body_at, body_bytes };
        let pieces = vec![piece(second, body_at, 4), piece(third - second, 0, 0)];
        Answer { entries: 4, heads, pieces }
    }

    #[test]
    fn a_store_is_read_where_the_answer_says_and_no_further() {
        for sealed in [true, false] {
            let store = || {
                let make = if sealed { temp::anonymous_growing } else { temp::anonymous };
                let mut file = make("store").unwrap();
                file.write_all(b"hi.body").unwrap();
                Some(OwnedFd::from(file))
            };
            let files = FileSet::from_answer(answer(3), store()).unwrap();
            let sent = files.parts().collect::<Vec<_>>().concat();
            let text = String::from_utf8_lossy(&sent);
            assert!(text.contains("FILE00000002hiNAME"), "{text}");
            assert!(text.contains("/p/a.cFILE00000004bodyNAME0000000c/usr/include"), "{text}");
            assert_eq!((files.count(), files.bytes()), (4, sent.len() as u64));
            for beyond in [4, u64::MAX - 1] {
                assert!(FileSet::from_answer(answer(beyond), store()).is_err(), "{beyond}");
            }
            assert!(FileSet::from_answer(answer(3), None).is_err());
            let entries: Vec<_> = files
                .entries()
                .into_iter()
                .map(|(kind, name)| (kind, String::from_utf8_lossy(name)))
                .collect();
            let want = [
                (Category::File, "/p/a.c"),
                (Category::SystemDirectory, "/usr/include"),
                (Category::Directory, "/p"),
            ];
            assert_eq!(entries, want.map(|(kind, name)| (kind, name.into())));
        }
    }
}
