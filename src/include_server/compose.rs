//! An answer in the direct language: from a closure to the bytes that a client sends on. Knows the order of a request's
//! entries, and nothing of sockets.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::store::{Arena, Body};
use crate::include_scan::Closure;
use crate::protocol::include_query::{Answer, Piece};
use crate::protocol::limits::{BODIES_BYTES_MAX, FILES_MAX};
use crate::protocol::lzo::Compressor;
use crate::protocol::request::{encode_file_header, encode_link};
use crate::protocol::surroundings::{FILES_NAME, FileTime, encode_directory, encode_header, encode_time};

/// The name of an empty file that makes a server create the directory it is in.
pub(super) const FORCING_NAME: &[u8] = b"forcing_technique_271828";
/// How deep a server of 3.4 may keep its temporary directory: a link to a system directory climbs out of that.
const SERVER_DEPTH_MAX: usize = 20;

/// An answer that can be sent.
#[derive(Debug)]
pub(super) struct Composed {
    /// The encoded answer.
    pub(super) bytes: Vec<u8>,
    /// Where its bodies are.
    pub(super) arena: Arc<Arena>,
}

/// Writes the answer. An error says which limit it exceeds.
pub(super) fn compose(
    closure: &Closure,
    arena: Arc<Arena>,
    bodies: &[Body],
    force_directories: bool,
    compressor: &mut Compressor,
) -> Result<Composed, String> {
    let mut writer = Writer { answer: Answer::default(), noted: 0 };
    writer.surroundings(closure, compressor);
    for (file, body) in closure.files.iter().zip(bodies) {
        encode_file_header(bytes_of(&file.real), body.bytes, &mut writer.answer.heads);
        writer.end_entry(*body);
    }
    for (path, target) in system_links(&closure.system_directories) {
        encode_link(bytes_of(path), &target, &mut writer.answer.heads);
        writer.answer.entries += 1;
    }
    for link in &closure.links {
        encode_link(bytes_of(&link.path), bytes_of(&link.target), &mut writer.answer.heads);
        writer.answer.entries += 1;
    }
    if force_directories {
        for directory in &closure.directories {
            encode_file_header(&forcing_path(directory), 0, &mut writer.answer.heads);
            writer.answer.entries += 1;
        }
    }
    let answer = writer.finish();
    if answer.entries > FILES_MAX {
        return Err(format!("{} files are more than the {FILES_MAX} of one job", answer.entries));
    }
    let together: u64 = bodies.iter().map(|body| u64::from(body.bytes)).sum();
    if together > BODIES_BYTES_MAX {
        return Err(format!("{together} bytes of files are more than the {BODIES_BYTES_MAX} of one job"));
    }
    let mut bytes = Vec::with_capacity(answer.heads.len() + answer.pieces.len() * size_of::<Piece>() + 64);
    answer.encode(&mut bytes);
    Ok(Composed { bytes, arena })
}

struct Writer {
    answer: Answer,
    /// How many bytes of the heads belong to the pieces so far.
    noted: usize,
}

impl Writer {
    /// The entry that travels first: times, and what is checked of the system's headers.
    fn surroundings(&mut self, closure: &Closure, compressor: &mut Compressor) {
        let mut content = Vec::with_capacity(24 * (closure.files.len() + closure.system_headers.len()));
        for file in &closure.files {
            let (seconds, nanoseconds) = file.modified;
            encode_time(FileTime { seconds, nanoseconds }, &mut content);
        }
        for directory in &closure.header_directories {
            encode_directory(bytes_of(directory), &mut content);
        }
        for header in &closure.system_headers {
            encode_header(&header.name, header.fingerprint, &mut content);
        }
        let body = compressor.compress(&content);
        let bytes = u32::try_from(body.len()).expect("BUG: file times of 4 GiB");
        encode_file_header(FILES_NAME, bytes, &mut self.answer.heads);
        self.answer.heads.extend_from_slice(&body);
        self.answer.entries += 1;
    }

    fn end_entry(&mut self, body: Body) {
        self.answer.entries += 1;
        if body.bytes > 0 {
            self.end_piece(body);
        }
    }

    fn end_piece(&mut self, body: Body) {
        let head_bytes = u32::try_from(self.answer.heads.len() - self.noted).expect("BUG: heads of 4 GiB");
        self.noted = self.answer.heads.len();
        self.answer.pieces.push(Piece { head_bytes, body_at: body.at, body_bytes: body.bytes });
    }

    fn finish(mut self) -> Answer {
        if self.answer.heads.len() > self.noted {
            self.end_piece(Body { at: 0, bytes: 0 });
        }
        self.answer
    }
}

/// The links that lead a server of 3.4 to its own system directories, and their texts. Of nested directories the
/// outermost is enough.
pub(super) fn system_links(directories: &[Arc<Path>]) -> impl Iterator<Item = (&Path, Vec<u8>)> {
    let is_covered =
        |inner: &Path| directories.iter().any(|outer| **outer != *inner && inner.starts_with(outer));
    let unique = directories.iter().enumerate().filter(|(at, path)| !directories[..*at].contains(path));
    unique.map(|(_, path)| &**path).filter(move |path| !is_covered(path)).map(|path| {
        let bytes = bytes_of(path);
        let slashes = bytes.iter().filter(|byte| **byte == b'/').count();
        let mut target = b"../".repeat(SERVER_DEPTH_MAX + slashes);
        target.extend_from_slice(bytes.strip_prefix(b"/").unwrap_or(bytes));
        (path, target)
    })
}

/// The empty file that stands for a directory.
pub(super) fn forcing_path(directory: &Path) -> Vec<u8> {
    [bytes_of(directory), b"/", FORCING_NAME].concat()
}

/// A path as it travels.
pub(super) fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_links_climb_out_of_any_server() {
        let directories: Vec<Arc<Path>> =
            ["/usr/include/x86_64-linux-gnu", "/opt/i", "/usr/include", "/opt/i", "/usr/include2"]
                .iter()
                .map(|path| Arc::from(Path::new(path)))
                .collect();
        let links: Vec<(String, String)> = system_links(&directories)
            .map(|(path, target)| (path.display().to_string(), String::from_utf8(target).unwrap()))
            .collect();
        let expected = ["/opt/i", "/usr/include", "/usr/include2"]
            .map(|path| (path.to_owned(), format!("{}{}", "../".repeat(22), &path[1..])));
        assert_eq!(links, expected);
    }
}
