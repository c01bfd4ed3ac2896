//! One job's conversation with a server: the request, and the reply into its output file.
//!
//! Knows the protocol's order; nothing of hosts, slots or what an outcome means.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IoSlice, Write};
use std::iter;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use crate::client::pace::Pace;
use crate::client::pump::Request;
use crate::client::source::Source;
use crate::client::transport::Connection;
use crate::exit_code::WaitStatus;
use crate::protocol::limits::{self, ResponseLimits};
use crate::protocol::lzo::{self, Compressor, LzoError};
use crate::protocol::packet::HEADER_BYTES;
use crate::protocol::request;
use crate::protocol::response::{BodyKind, ResponseDecoder, ResponseEvent};
use crate::protocol::{ProtocolError, Version};
use crate::sys::net;
use crate::sys::temp::OutputFile;

/// One read of the reply, in bytes.
const READ_BYTES: usize = 64 << 10;
/// One piece of a source that the kernel sends by itself, in bytes: what it moves in one step, each of which may take as
/// long as the socket may stand still. Between two of them the pace is looked at.
const SEND_BYTES: usize = 64 << 10;

/// What went wrong between connecting and the end of the reply.
#[derive(Debug)]
pub enum ConversationError {
    /// The request could not be sent.
    Send(io::Error),
    /// The reply could not be received.
    Receive(io::Error),
    /// The server closed the connection without a word. Servers of 3.4 refuse a job in this way.
    NoAnswer,
    /// It closed the connection in the middle.
    Truncated(&'static str),
    /// It did not follow the protocol.
    Protocol(ProtocolError),
    /// It was silent for too long.
    Silence,
    /// It has taken nothing of the request for too long.
    Unread,
    /// What this is moved, but so slowly that it would hardly end.
    Trickle(&'static str),
    /// A file could not be read or written here: what was attempted on which, and why it failed.
    Here(String),
    /// The source is larger than the protocol can carry.
    TooLarge(u64),
}

impl From<LzoError> for ConversationError {
    fn from(error: LzoError) -> ConversationError {
        match error {
            LzoError::NoMemory { .. } => ConversationError::Here(error.to_string()),
            error => ConversationError::Protocol(ProtocolError::Lzo(error)),
        }
    }
}

impl fmt::Display for ConversationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConversationError::Send(error) => write!(f, "send the request: {error}"),
            ConversationError::Receive(error) => write!(f, "receive the reply: {error}"),
            ConversationError::NoAnswer => f.write_str(
                "server provided no answer: does its access list have this machine (distccd --allow), is the compiler \
                 installed and allowed there, does it want authentication? the server's log says",
            ),
            ConversationError::Truncated(what) => write!(f, "the reply ended before {what} was received"),
            ConversationError::Protocol(error) => write!(f, "{error}"),
            ConversationError::Silence => {
                f.write_str("no byte came for DISTCC_IO_TIMEOUT; if compiling takes so long, raise it")
            }
            ConversationError::Unread => f.write_str("it took no byte of the request for DISTCC_IO_TIMEOUT"),
            ConversationError::Trickle(what) => {
                write!(f, "{what} moved at less than a kilobyte a second for four times DISTCC_IO_TIMEOUT")
            }
            ConversationError::Here(what) => f.write_str(what),
            ConversationError::TooLarge(bytes) => {
                write!(f, "{bytes} bytes of preprocessed source are more than the protocol carries")
            }
        }
    }
}

/// A complete reply. The object is written but not yet in its place.
#[derive(Debug)]
pub struct Reply {
    /// How the remote compiler ended.
    pub status: WaitStatus,
    /// What it said.
    pub stderr: Vec<u8>,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// Its result, if it succeeded.
    pub object: Option<OutputFile>,
    /// The dependency file, if one was wanted and came.
    pub dependencies: Option<OutputFile>,
    /// The protocol version of the conversation.
    pub version: Version,
    /// Bytes of all of that, unpacked.
    pub bytes: u64,
}

impl Reply {
    /// A reply of which nothing has come yet.
    pub fn new(version: Version) -> Reply {
        Reply {
            status: WaitStatus(0),
            stderr: Vec::new(),
            stdout: Vec::new(),
            object: None,
            dependencies: None,
            version,
            bytes: 0,
        }
    }
}

/// Where the results of a job belong.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// The object, or the assembler text.
    pub object: &'a Path,
    /// The dependency file, if the server is to make it.
    pub dependencies: Option<&'a Path>,
}

/// How the request is written.
#[derive(Clone, Copy, Debug)]
pub struct SendOptions {
    /// The protocol version.
    pub version: Version,
    /// DISTCC_TCP_CORK: let the kernel fill its packets.
    pub cork: bool,
}

/// Sends a preprocessed job (versions 1 and 2).
pub fn send_plain(
    connection: &Connection,
    argv: &[OsString],
    source: &Source,
    options: SendOptions,
) -> Result<(), ConversationError> {
    let words: Vec<&[u8]> = argv.iter().map(|word| word.as_bytes()).collect();
    let mut head = Vec::with_capacity(1024);
    request::encode_head(options.version, None, &words, &mut head);
    let length = |bytes: u64| u32::try_from(bytes).map_err(|_| ConversationError::TooLarge(bytes));
    if source.bytes() > 0 && options.version.compresses() {
        let plain = source
            .map()
            .map_err(|error| ConversationError::Here(format!("map the preprocessed source: {error}")))?;
        let packed = Compressor::new()
            .compress_if_room(&plain)
            .map_err(|error| ConversationError::Here(format!("compress the source: {error}")))?;
        request::encode_source_header(length(packed.len() as u64)?, &mut head);
        return send_parts(connection, &head, Some(&packed), None, options.cork);
    }
    request::encode_source_header(length(source.bytes())?, &mut head);
    send_parts(connection, &head, None, Some(source), options.cork)
}

fn send_parts(
    connection: &Connection,
    head: &[u8],
    packed: Option<&[u8]>,
    source: Option<&Source>,
    cork: bool,
) -> Result<(), ConversationError> {
    let to = connection.output();
    let mut moved = watch_pace(connection);
    let mut send = || {
        send_bytes(to, head, cork, &mut moved)?;
        if let Some(packed) = packed {
            send_bytes(to, packed, false, &mut moved)?;
        }
        source.map_or(Ok(()), |source| send_source(to, source, &mut moved))
    };
    send().map_err(not_sent)
}

/// `more` lets the kernel wait for what follows.
fn send_bytes(
    to: BorrowedFd<'_>,
    mut bytes: &[u8],
    more: bool,
    moved: &mut impl FnMut(usize) -> io::Result<()>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = if more { net::write_more(to, bytes) } else { net::write(to, bytes) }?;
        bytes = &bytes[count..];
        moved(count)?;
    }
    Ok(())
}

fn send_source(
    to: BorrowedFd<'_>,
    source: &Source,
    moved: &mut impl FnMut(usize) -> io::Result<()>,
) -> io::Result<()> {
    let mut offset = 0;
    while offset < source.bytes() {
        let left = usize::try_from(source.bytes() - offset).unwrap_or(usize::MAX);
        match net::send_file(to, source.file(), offset, left.min(SEND_BYTES)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                offset += count as u64;
                moved(count)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Counts what is sent, and ends it if that comes to nothing.
fn watch_pace(connection: &Connection) -> impl FnMut(usize) -> io::Result<()> {
    let mut pace = Pace::new(connection.silence(), Instant::now());
    move |bytes| {
        connection.count_sent(bytes);
        if pace.keeps_up(bytes, Instant::now()) { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }
}

fn not_sent(error: io::Error) -> ConversationError {
    match error.kind() {
        io::ErrorKind::WouldBlock => ConversationError::Unread,
        io::ErrorKind::TimedOut if error.raw_os_error().is_none() => {
            ConversationError::Trickle("the request")
        }
        _ => ConversationError::Send(error),
    }
}

/// Sends a job to be preprocessed there (version 3).
pub fn send_files(connection: &Connection, request: &Request) -> Result<(), ConversationError> {
    let words: Vec<&[u8]> = request.argv.iter().map(|word| word.as_bytes()).collect();
    let directory = request.directory.as_os_str().as_bytes();
    let mut head = Vec::with_capacity(4096);
    request::encode_head(Version::PUMP, Some(directory), &words, &mut head);
    request::encode_file_count(request.files.count() + request.own.len() as u32, &mut head);
    for (name, body) in &request.own {
        let bytes = u32::try_from(body.len()).map_err(|_| ConversationError::TooLarge(body.len() as u64))?;
        request::encode_file_header(name, bytes, &mut head);
        head.extend_from_slice(body);
    }
    let parts = iter::once(head.as_slice()).chain(request.files.parts());
    let mut parts: Vec<IoSlice> = parts.map(IoSlice::new).collect();
    match net::write_parts(connection.output(), &mut parts, watch_pace(connection)) {
        // It closes before it has everything: its reply, or the lack of one, says why.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            Ok(())
        }
        result => result.map_err(not_sent),
    }
}

/// Receives the reply; the results go towards `outputs`. `on_first_byte` is told when the compiler is done.
pub fn receive(
    connection: &Connection,
    version: Version,
    outputs: Outputs<'_>,
    on_first_byte: impl FnOnce(),
) -> Result<Reply, ConversationError> {
    let mut receiver =
        Receiver { version, outputs, packed: Vec::new(), current: None, reply: Reply::new(version) };
    let mut decoder = ResponseDecoder::new(version, ResponseLimits::default());
    let mut buffer = vec![0; READ_BYTES];
    // Bytes of a packet header of which the rest has not come yet.
    let mut kept = 0;
    let mut on_first_byte = Some(on_first_byte);
    // From the first byte: how long the compiler takes is no matter of speed.
    let mut pace = None;
    loop {
        let count = match net::read(connection.input(), &mut buffer[kept..]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(ConversationError::Silence);
            }
            // A server of 3.4 that refuses closes with our request unread, which resets the connection.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && decoder.at_start() => {
                return Err(ConversationError::NoAnswer);
            }
            Err(error) => return Err(ConversationError::Receive(error)),
        };
        if count == 0 {
            return match decoder.at_start() {
                true if kept == 0 => Err(ConversationError::NoAnswer),
                _ if decoder.may_end_here() && kept == 0 => Ok(receiver.reply),
                _ => Err(ConversationError::Truncated(decoder.expecting())),
            };
        }
        connection.count_received(count);
        if let Some(on_first_byte) = on_first_byte.take() {
            on_first_byte();
        }
        let now = Instant::now();
        let pace = pace.get_or_insert_with(|| Pace::new(connection.silence(), now));
        if !pace.keeps_up(count, now) {
            return Err(ConversationError::Trickle("the reply"));
        }
        let filled = kept + count;
        let mut at = 0;
        loop {
            let (used, event) = decoder.next(&buffer[at..filled]).map_err(ConversationError::Protocol)?;
            at += used;
            match event {
                Some(ResponseEvent::End) => return Ok(receiver.reply),
                Some(event) => receiver.on_event(event)?,
                None if used == 0 => break,
                None => {}
            }
        }
        kept = filled - at;
        assert!(kept < HEADER_BYTES, "BUG: the decoder left {kept} bytes unread");
        buffer.copy_within(at..filled, 0);
    }
}

struct Receiver<'a> {
    version: Version,
    outputs: Outputs<'a>,
    /// The body in progress, while it must be collected whole to be unpacked.
    packed: Vec<u8>,
    current: Option<BodyKind>,
    reply: Reply,
}

impl<'a> Receiver<'a> {
    /// Takes one event before the end of the reply.
    fn on_event(&mut self, event: ResponseEvent<'_>) -> Result<(), ConversationError> {
        match event {
            ResponseEvent::Status(status) => self.reply.status = status,
            ResponseEvent::BodyStart { kind, .. } => {
                self.current = Some(kind);
                self.packed.clear();
                if let Some(path) = self.path() {
                    let file = OutputFile::create(path).map_err(|error| cannot_write(path, &error))?;
                    *self.file() = Some(file);
                }
            }
            // Made in any case, and not wanted here.
            ResponseEvent::BodyPart(_)
                if self.current == Some(BodyKind::Dependencies) && self.path().is_none() => {}
            ResponseEvent::BodyPart(bytes) if self.version.compresses() => {
                append(&mut self.packed, bytes)?;
            }
            ResponseEvent::BodyPart(bytes) => self.put(bytes)?,
            ResponseEvent::BodyEnd => {
                if !self.packed.is_empty() {
                    let packed = std::mem::take(&mut self.packed);
                    // A body may be as long when unpacked as a plain one may be.
                    let limit = match self.current {
                        Some(BodyKind::Object) => limits::OBJECT_BYTES_MAX,
                        Some(BodyKind::Dependencies) => limits::DEPENDENCIES_BYTES_MAX,
                        _ => limits::MESSAGES_BYTES_MAX,
                    };
                    lzo::decompress_to(&packed, limit as usize, |piece| self.put(piece))?;
                }
                self.current = None;
            }
            ResponseEvent::ObjectAfterFailure { bytes } => {
                crate::log_error!("the server announced an object of {bytes} bytes after a failure");
            }
            ResponseEvent::End => unreachable!("BUG: the loop takes the end itself"),
        }
        Ok(())
    }

    /// The name of the file that the current body belongs into, if it belongs into one.
    fn path(&self) -> Option<&'a Path> {
        match self.current {
            _ if !self.reply.status.success() => None,
            Some(BodyKind::Object) => Some(self.outputs.object),
            Some(BodyKind::Dependencies) => self.outputs.dependencies,
            _ => None,
        }
    }

    /// The place of that file.
    fn file(&mut self) -> &mut Option<OutputFile> {
        match self.current {
            Some(BodyKind::Dependencies) => &mut self.reply.dependencies,
            _ => &mut self.reply.object,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ConversationError> {
        self.reply.bytes += bytes.len() as u64;
        match self.current {
            Some(BodyKind::Stderr) => append(&mut self.reply.stderr, bytes)?,
            Some(BodyKind::Stdout) => append(&mut self.reply.stdout, bytes)?,
            Some(BodyKind::Object | BodyKind::Dependencies) => {
                let Some(path) = self.path() else { return Ok(()) };
                let written = self.file().as_mut().map_or(Ok(()), |file| file.file().write_all(bytes));
                written.map_err(|error| cannot_write(path, &error))?;
            }
            None => {}
        }
        Ok(())
    }
}

/// Appends, or finds that there is no memory for it: the job can still be done here.
fn append(to: &mut Vec<u8>, bytes: &[u8]) -> Result<(), ConversationError> {
    to.try_reserve(bytes.len())
        .map_err(|error| ConversationError::Here(format!("keep the reply in memory: {error}")))?;
    to.extend_from_slice(bytes);
    Ok(())
}

fn cannot_write(path: &Path, error: &io::Error) -> ConversationError {
    ConversationError::Here(format!("write {}: {error}", path.display()))
}
