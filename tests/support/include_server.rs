//! An include server under test, and questions to it in raw bytes. Knows both languages from their description
//! (docs/protocol.md, 14), not from the code under test (LZO and the receiving of descriptors apart).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use distcc::protocol::lzo;
use distcc::sys::net;

use super::{PATIENCE, Run, Running, Sandbox, wait_until};

/// More than any test's file unpacks to, in bytes.
const CONTENT_BYTES_MAX: usize = 1 << 24;

/// A server that runs in the foreground; killed when dropped.
pub struct IncludeServer {
    running: Running,
    pub socket: PathBuf,
    /// Where its files for clients of 3.4 are.
    pub mirror: PathBuf,
}

/// What stands behind a name in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    File(Vec<u8>),
    Link(String),
}

impl IncludeServer {
    /// The command that starts one, in the foreground.
    pub fn command(sandbox: &Sandbox, options: &[&str]) -> Run {
        fs::create_dir_all(sandbox.path("pump")).unwrap();
        fs::create_dir_all(mirror(sandbox)).unwrap();
        sandbox
            .applet("include_server")
            .args(["--foreground", "--port"])
            .args([sandbox.path("pump/socket")])
            .args(options)
            .env("DISTCC_CLIENT_TMP", mirror(sandbox))
    }

    /// Starts one, and waits until it listens.
    #[track_caller]
    pub fn start(sandbox: &Sandbox, options: &[&str]) -> IncludeServer {
        IncludeServer::of(sandbox, IncludeServer::command(sandbox, options))
    }

    /// The same for a command that was changed.
    #[track_caller]
    pub fn of(sandbox: &Sandbox, command: Run) -> IncludeServer {
        let socket = sandbox.path("pump/socket");
        let running = command.start();
        wait_until("the include server's socket", || UnixStream::connect(&socket).is_ok());
        IncludeServer { running, socket, mirror: mirror(sandbox) }
    }

    /// The path of the direct socket.
    pub fn direct(&self) -> PathBuf {
        direct(&self.socket)
    }

    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Ends it with SIGTERM; what it has said. Fails if it leaves anything.
    #[track_caller]
    pub fn stop(self) -> super::Outcome {
        self.running.signal("TERM");
        self.wait()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(self) -> super::Outcome {
        let outcome = self.running.finish_within(PATIENCE);
        assert_eq!(outcome.code(), 0, "{outcome}");
        let left = |directory: &Path| {
            fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
        };
        assert_eq!(left(&self.mirror), [] as [PathBuf; 0], "{outcome}");
        let _ = fs::remove_dir(&self.mirror);
        outcome
    }

    /// The entries of the answer in the direct language, or the reason for a refusal.
    #[track_caller]
    pub fn ask(&self, directory: &Path, argv: &[&str]) -> Result<Vec<(String, Entry)>, String> {
        ask_direct(&self.direct(), &question(directory, argv)).map(|(count, stream)| entries(count, &stream))
    }

    /// The files of that answer: path and content.
    #[track_caller]
    pub fn files(&self, directory: &Path, argv: &[&str]) -> Vec<(String, String)> {
        let entries = self.ask(directory, argv).unwrap_or_else(|reason| panic!("refused: {reason}"));
        let text = |content: Vec<u8>| String::from_utf8(content).unwrap();
        entries
            .into_iter()
            .filter(|(name, _)| {
                !name.starts_with("/.distcc/") && !name.ends_with("/forcing_technique_271828")
            })
            .filter_map(|(name, entry)| match entry {
                Entry::File(content) => Some((name, text(content))),
                Entry::Link(_) => None,
            })
            .collect()
    }

    /// The paths of the answer in 3.4's language; none is a refusal.
    #[track_caller]
    pub fn ask_as_3_4(&self, directory: &Path, argv: &[&str]) -> Vec<PathBuf> {
        let mut question = body("CDIR", directory.as_os_str().as_bytes());
        question.extend_from_slice(format!("ARGC{:08x}", argv.len()).as_bytes());
        argv.iter().for_each(|word| question.extend(body("ARGV", word.as_bytes())));
        let answer = converse(&self.socket, &question).unwrap();
        let mut rest = answer.as_slice();
        let count = number(&mut rest, "ARGC");
        let paths = (0..count)
            .map(|_| {
                let length = number(&mut rest, "ARGV");
                let path;
                (path, rest) = rest.split_at(length);
                PathBuf::from(std::ffi::OsStr::from_bytes(path))
            })
            .collect();
        assert!(rest.is_empty(), "bytes behind the answer");
        paths
    }
}

/// A directory of two components, as clients of 3.4 need it.
fn mirror(sandbox: &Sandbox) -> PathBuf {
    let name = sandbox.path("").file_name().unwrap().to_string_lossy().into_owned();
    PathBuf::from("/tmp").join(format!("mirror-{name}"))
}

pub fn direct(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".direct");
    path.into()
}

/// A packet with its body.
pub fn body(token: &str, bytes: &[u8]) -> Vec<u8> {
    [format!("{token}{:08x}", bytes.len()).as_bytes(), bytes].concat()
}

/// A question in the direct language.
pub fn question(directory: &Path, argv: &[&str]) -> Vec<u8> {
    let compiler = if argv[0].starts_with('/') { argv[0].into() } else { format!("/usr/bin/{}", argv[0]) };
    let mut records = Vec::new();
    let mut push = |kind: u8, text: &[u8]| {
        records.push(kind);
        records.extend_from_slice(text);
        records.push(0);
    };
    push(b'D', directory.as_os_str().as_bytes());
    push(b'C', compiler.as_bytes());
    push(b'P', b"/usr/bin:/bin");
    argv.iter().for_each(|word| push(b'A', word.as_bytes()));
    body("QUES", &records)
}

/// Sends bytes and reads until the other side closes.
pub fn converse(socket: &Path, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(question)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Asks in the direct language: the number of entries, and the bytes that a server would be sent.
#[track_caller]
pub fn ask_direct(socket: &Path, question: &[u8]) -> Result<(usize, Vec<u8>), String> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(question).unwrap();
    let mut first = [0; 64];
    let (count, descriptor): (usize, Option<OwnedFd>) =
        net::recv_with_descriptor(stream.as_fd(), &mut first).unwrap();
    let mut answer = first[..count].to_vec();
    stream.read_to_end(&mut answer).unwrap();
    let mut rest = answer.as_slice();
    if rest.starts_with(b"WHYN") {
        let length = number(&mut rest, "WHYN");
        assert_eq!(length, rest.len());
        return Err(String::from_utf8(rest.to_vec()).unwrap());
    }
    let length = number(&mut rest, "ANSW");
    assert_eq!(length, rest.len());
    let store = File::from(descriptor.expect("the store comes with the first byte"));
    let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
    let (entries, pieces) = (word(0), word(4));
    let mut heads = &rest[8 + 16 * pieces..];
    let mut sent = Vec::new();
    for piece in 0..pieces {
        let at = 8 + 16 * piece;
        let head;
        (head, heads) = heads.split_at(word(at));
        sent.extend_from_slice(head);
        let mut body = vec![0; word(at + 4)];
        let offset = u64::from_le_bytes(rest[at + 8..at + 16].try_into().unwrap());
        store.read_exact_at(&mut body, offset).unwrap();
        sent.extend_from_slice(&body);
    }
    assert!(heads.is_empty(), "heads without a piece");
    Ok((entries, sent))
}

/// The entries of a request, unpacked.
#[track_caller]
fn entries(count: usize, mut stream: &[u8]) -> Vec<(String, Entry)> {
    let entries = (0..count)
        .map(|_| {
            let name = text(&mut stream, "NAME");
            let name = String::from_utf8(name).unwrap();
            let entry = if stream.starts_with(b"LINK") {
                Entry::Link(String::from_utf8(text(&mut stream, "LINK")).unwrap())
            } else {
                Entry::File(unpacked(&text(&mut stream, "FILE")))
            };
            (name, entry)
        })
        .collect();
    assert!(stream.is_empty(), "bytes behind the last entry");
    entries
}

/// The content of a file's body.
#[track_caller]
pub fn unpacked(body: &[u8]) -> Vec<u8> {
    if body.is_empty() { Vec::new() } else { lzo::decompress(body, CONTENT_BYTES_MAX).unwrap() }
}

#[track_caller]
fn text(stream: &mut &[u8], token: &str) -> Vec<u8> {
    let length = number(stream, token);
    let text;
    (text, *stream) = stream.split_at(length);
    text.to_vec()
}

#[track_caller]
fn number(stream: &mut &[u8], token: &str) -> usize {
    let (header, rest) = stream.split_at(12);
    assert_eq!(&header[..4], token.as_bytes(), "{}", header.escape_ascii());
    *stream = rest;
    usize::from_str_radix(std::str::from_utf8(&header[4..]).unwrap(), 16).unwrap()
}

/// What a file's times need to be told from those of a file written at once before it.
pub fn let_the_clock_tick() {
    std::thread::sleep(Duration::from_millis(60));
}
