//! The answer to one request: what is in it, and how far it has been sent.
//!
//! Knows the order of the parts and where they come from; does not know when the socket is ready.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use crate::compiler_args::{clean_dependencies, clean_messages};
use crate::daemon::debug_info::hide_root;
use crate::daemon::refusal::Refusal;
use crate::exit_code::WaitStatus;
use crate::log_info;
use crate::protocol::Version;
use crate::protocol::limits::{DEPENDENCIES_BYTES_MAX, MESSAGES_BYTES_MAX, OBJECT_BYTES_MAX};
use crate::protocol::lzo::Compressor;
use crate::protocol::response::{self, BodyKind};
use crate::sys::net;

/// An object up to this size, in bytes, is copied behind the head so that both leave in one system call; a larger
/// one goes from file to socket inside the kernel.
const INLINE_OBJECT_BYTES_MAX: u64 = 64 * 1024;

/// What a compiler left behind.
#[derive(Debug)]
pub struct Output {
    /// What it wrote to its standard error.
    pub stderr: File,
    /// What it wrote to its standard output.
    pub stdout: File,
    /// The object, if it made one and succeeded. An error is the server's own trouble.
    pub object: io::Result<Option<File>>,
    /// The dependencies, if they were asked for.
    pub dependencies: io::Result<Option<File>>,
    /// A directory of ours that must not be seen in all that, because the client's files were below it.
    pub unpacked: Option<Vec<u8>>,
}

impl Output {
    /// How many bytes there are to work on, to judge whether that should happen beside the event loop.
    pub fn bytes(&self) -> u64 {
        let results = [&self.object, &self.dependencies].into_iter().flatten().flatten();
        [&self.stderr, &self.stdout]
            .into_iter()
            .chain(results)
            .filter_map(|file| file.metadata().ok())
            .map(|metadata| metadata.len())
            .sum()
    }
}

/// A reply on its way.
#[derive(Debug)]
pub struct Reply {
    head: Vec<u8>,
    head_sent: usize,
    file: Option<FileBody>,
}

#[derive(Debug)]
struct FileBody {
    file: File,
    offset: u64,
    end: u64,
}

/// How far sending got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    Everything,
    /// The socket takes no more for now.
    Blocked,
}

impl Reply {
    /// The reply for a compiler that ran. Bodies are compressed where the version asks for it.
    pub fn finished(
        version: Version,
        status: WaitStatus,
        output: Output,
        compressor: &mut Compressor,
    ) -> io::Result<Reply> {
        let mut reply = Reply { head: Vec::with_capacity(1024), head_sent: 0, file: None };
        response::encode_head(version, status, &mut reply.head);
        let mut pack = |kind, file: &File, head: &mut Vec<u8>| -> io::Result<()> {
            let mut body = read_whole(file, checked_length(kind, file)?)?;
            if let Some(root) = &output.unpacked {
                hide(kind, &mut body, root);
            }
            append_body(version, kind, &body, compressor, head)
        };
        pack(BodyKind::Stderr, &output.stderr, &mut reply.head)?;
        pack(BodyKind::Stdout, &output.stdout, &mut reply.head)?;
        match output.object?.filter(|_| status.success()) {
            None => response::encode_body_header(BodyKind::Object, 0, &mut reply.head),
            Some(object) => {
                let bytes = checked_length(BodyKind::Object, &object)?;
                if version.compresses() || bytes <= INLINE_OBJECT_BYTES_MAX {
                    pack(BodyKind::Object, &object, &mut reply.head)?;
                } else {
                    response::encode_body_header(BodyKind::Object, body_length(bytes)?, &mut reply.head);
                    reply.file = Some(FileBody { file: object, offset: 0, end: bytes });
                }
            }
        }
        if version.preprocesses_remotely() && status.success() {
            match output.dependencies? {
                None => response::encode_body_header(BodyKind::Dependencies, 0, &mut reply.head),
                Some(file) => pack(BodyKind::Dependencies, &file, &mut reply.head)?,
            }
        }
        Ok(reply)
    }

    /// The reply for a job that is not done: the reason takes the place of the compiler's diagnostics.
    pub fn refusal(version: Version, refusal: &Refusal, compressor: &mut Compressor) -> Reply {
        let mut head = Vec::new();
        let text = format!("distccd: {}\n", refusal.reason);
        response::encode_head(version, WaitStatus::exited(refusal.code as u8), &mut head);
        append_body(version, BodyKind::Stderr, text.as_bytes(), compressor, &mut head)
            .expect("BUG: a refusal is shorter than 4 GiB");
        response::encode_body_header(BodyKind::Stdout, 0, &mut head);
        response::encode_body_header(BodyKind::Object, 0, &mut head);
        Reply { head, head_sent: 0, file: None }
    }

    /// The end of a handshake that failed: what is left of it, the verdict, and the reason, which clients of 3.4 do not read.
    pub fn denial(verdict: &[u8], reason: &str) -> Reply {
        let head = [verdict, reason.as_bytes(), b"\n"].concat();
        Reply { head, head_sent: 0, file: None }
    }

    /// What it holds in memory, in bytes.
    pub fn memory(&self) -> u64 {
        self.head.capacity() as u64
    }

    /// How many bytes of it the descriptor has taken.
    pub fn sent(&self) -> u64 {
        self.head_sent as u64 + self.file.as_ref().map_or(0, |body| body.offset)
    }

    /// Sends as much as the descriptor takes.
    pub fn send(&mut self, to: BorrowedFd<'_>) -> io::Result<Sent> {
        while self.head_sent < self.head.len() {
            let rest = &self.head[self.head_sent..];
            let result = if self.file.is_some() { net::write_more(to, rest) } else { net::write(to, rest) };
            match result {
                Ok(count) => self.head_sent += count,
                Err(error) => return blocked_or_failed(error),
            }
        }
        let Some(body) = &mut self.file else { return Ok(Sent::Everything) };
        while body.offset < body.end {
            let count = usize::try_from(body.end - body.offset).unwrap_or(usize::MAX);
            match net::send_file(to, body.file.as_fd(), body.offset, count) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => body.offset += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return blocked_or_failed(error),
            }
        }
        Ok(Sent::Everything)
    }
}

fn blocked_or_failed(error: io::Error) -> io::Result<Sent> {
    if error.kind() == io::ErrorKind::WouldBlock { Ok(Sent::Blocked) } else { Err(error) }
}

/// Takes the name of a directory of ours out of what a compiler wrote.
fn hide(kind: BodyKind, body: &mut Vec<u8>, root: &[u8]) {
    match kind {
        BodyKind::Stderr | BodyKind::Stdout => *body = clean_messages(body, root),
        BodyKind::Dependencies => *body = clean_dependencies(body, root),
        BodyKind::Object => {
            let patched = hide_root(body, root);
            if patched.remaining > 0 || patched.compressed_skipped {
                log_info!("an object may name {} still", String::from_utf8_lossy(root));
            }
        }
    }
}

fn append_body(
    version: Version,
    kind: BodyKind,
    body: &[u8],
    compressor: &mut Compressor,
    head: &mut Vec<u8>,
) -> io::Result<()> {
    if version.compresses() && !body.is_empty() {
        let no_memory = |error| io::Error::new(io::ErrorKind::OutOfMemory, error);
        let compressed = compressor.compress_if_room(body).map_err(no_memory)?;
        response::encode_body_header(kind, body_length(compressed.len() as u64)?, head);
        head.try_reserve(compressed.len())?;
        head.extend_from_slice(&compressed);
    } else {
        response::encode_body_header(kind, body_length(body.len() as u64)?, head);
        head.try_reserve(body.len())?;
        head.extend_from_slice(body);
    }
    Ok(())
}

/// A body's length as the protocol can say it: 32 bits, never cut short silently.
fn body_length(bytes: u64) -> io::Result<u32> {
    u32::try_from(bytes).map_err(|_| {
        io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{bytes} bytes are more than the protocol can carry (4 GiB)"),
        )
    })
}

/// The length of a file that a compiler wrote. A short source can make a file of any size (`.skip 1 << 40`), which
/// neither we have room for nor the client takes.
fn checked_length(kind: BodyKind, file: &File) -> io::Result<u64> {
    let (what, limit) = match kind {
        BodyKind::Stderr => ("the compiler's messages", MESSAGES_BYTES_MAX),
        BodyKind::Stdout => ("the compiler's standard output", MESSAGES_BYTES_MAX),
        BodyKind::Object => ("the object", OBJECT_BYTES_MAX),
        BodyKind::Dependencies => ("the dependency file", DEPENDENCIES_BYTES_MAX),
    };
    let bytes = file.metadata()?.len();
    if bytes > limit.into() {
        let text = format!("{bytes} bytes of {what} are beyond the limit of {limit}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// All of a file that a compiler wrote. Read, not mapped: what the compiler left running could still shrink it.
fn read_whole(file: &File, length: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length)?;
    bytes.resize(length, 0);
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit_code::ExitCode;
    use crate::sys::temp;
    use std::io::{Read, Write};

    fn file(bytes: &[u8]) -> File {
        let mut file = temp::anonymous("test").unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn output(stderr: File, stdout: File, object: Option<File>) -> Output {
        Output { stderr, stdout, object: Ok(object), dependencies: Ok(None), unpacked: None }
    }

    fn sent(mut reply: Reply) -> Vec<u8> {
        let (one, mut other) = net::pair().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            other.read_to_end(&mut bytes).unwrap();
            bytes
        });
        assert_eq!(reply.send(one.as_fd()).unwrap(), Sent::Everything);
        drop(one);
        reader.join().unwrap()
    }

    fn finished(version: Version, status: u32, object: Option<&[u8]>) -> Vec<u8> {
        let output = output(file(b"warning\n"), file(b""), object.map(file));
        let reply = Reply::finished(version, WaitStatus(status), output, &mut Compressor::new());
        sent(reply.unwrap())
    }

    #[test]
    fn success_carries_everything_in_order() {
        let expected = b"DONE00000001STAT00000000SERR00000008warning\nSOUT00000000DOTO00000003obj".as_slice();
        assert_eq!(finished(Version::PLAIN, 0, Some(b"obj")), expected);
    }

    #[test]
    fn failure_carries_no_object() {
        let expected = b"DONE00000001STAT00000100SERR00000008warning\nSOUT00000000DOTO00000000".as_slice();
        assert_eq!(finished(Version::PLAIN, 0x100, Some(b"obj")), expected);
        assert_eq!(finished(Version::PLAIN, 0x100, None), expected);
    }

    #[test]
    fn a_large_object_arrives_whole() {
        let object: Vec<u8> = (0..1_000_000u32).map(|number| (number % 251) as u8).collect();
        let bytes = finished(Version::PLAIN, 0, Some(&object));
        assert!(bytes.ends_with(&object));
        assert!(bytes[..bytes.len() - object.len()].ends_with(b"DOTO000f4240"));
    }

    #[test]
    fn compressed_bodies_are_lzo_streams_and_empty_ones_are_nothing() {
        let bytes = finished(Version::LZO, 0, Some(b"a"));
        assert!(bytes.starts_with(b"DONE00000002STAT00000000SERR0000000c"), "{}", bytes.escape_ascii());
        assert!(bytes.ends_with(b"SOUT00000000DOTO00000005\x12a\x11\0\0"), "{}", bytes.escape_ascii());
    }

    #[test]
    fn dependencies_end_a_success_of_version_3() {
        let answer = |status, dependencies: Option<&[u8]>| {
            let mut output = output(file(b""), file(b""), None);
            output.dependencies = Ok(dependencies.map(file));
            let reply = Reply::finished(Version::PUMP, WaitStatus(status), output, &mut Compressor::new());
            sent(reply.unwrap())
        };
        let head = b"DONE00000003STAT00000000SERR00000000SOUT00000000DOTO00000000".as_slice();
        assert_eq!(answer(0, None), [head, b"DOTD00000000"].concat());
        assert_eq!(answer(0, Some(b"a")), [head, b"DOTD00000005\x12a\x11\0\0"].concat());
        assert!(answer(0x100, Some(b"a")).ends_with(b"DOTO00000000"));
    }

    #[test]
    fn what_is_too_large_is_an_error_before_it_is_read() {
        let huge = |bytes| {
            let file = file(b"");
            file.set_len(bytes).unwrap();
            file
        };
        for version in [Version::PLAIN, Version::LZO] {
            for output in [
                output(huge(1 << 40), file(b""), None),
                output(file(b""), huge((64 << 20) + 1), None),
                output(file(b""), file(b""), Some(huge(1 << 31))),
            ] {
                let reply = Reply::finished(version, WaitStatus(0), output, &mut Compressor::new());
                assert_eq!(reply.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
            }
        }
    }

    #[test]
    fn a_refusal_is_a_reply_that_old_clients_accept() {
        let refusal = Refusal::new(ExitCode::AccessDenied, "go away");
        let reply = Reply::refusal(Version::PLAIN, &refusal, &mut Compressor::new());
        let expected = b"DONE00000001STAT00007100SERR00000011distccd: go away\nSOUT00000000DOTO00000000";
        assert_eq!(sent(reply), expected.as_slice());
    }
}
