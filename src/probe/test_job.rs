//! The test job: the bytes of a small request, and what the bytes of the reply say about the server. Knows neither
//! sockets nor clocks.
//!
//! The request is the one that `lsdistcc` of 3.4 sends: `COMPILER -c hello.c -o hello.o` on one line of C.

use std::fmt;

use crate::exit_code::{ExitCode, WaitStatus};
use crate::protocol::limits::ResponseLimits;
use crate::protocol::packet::HEADER_BYTES;
use crate::protocol::peer_text::one_line;
use crate::protocol::response::{BodyKind, ResponseDecoder, ResponseEvent};
use crate::protocol::{ProtocolError, Version, lzo, request};

/// What is compiled.
const SOURCE: &[u8] = b"int foo(){return 0;}";
/// Its arguments after the compiler's name.
const ARGUMENTS: [&[u8]; 4] = [b"-c", b"hello.c", b"-o", b"hello.o"];
/// Where it is, in version 3.
const DIRECTORY: &[u8] = b"/";
const PATH: &[u8] = b"/hello.c";

/// What a server may send: far more than any compiler makes of one line.
const LIMITS: ResponseLimits =
    ResponseLimits { messages_bytes: 256 << 10, object_bytes: 4 << 20, dependencies_bytes: 64 << 10 };
/// Bytes of the compiler's messages that are looked at.
const MESSAGES_BYTES_MAX: usize = 16 << 10;
/// Characters of them that are told.
const QUOTE_MAX: usize = 400;

/// The whole request. The compiler's name must not be empty, and holds no NUL.
pub fn request(compiler: &[u8], version: Version) -> Vec<u8> {
    let argv: Vec<&[u8]> = [compiler].into_iter().chain(ARGUMENTS).collect();
    let body = if version.compresses() { lzo::store(SOURCE) } else { SOURCE.to_vec() };
    let bytes = u32::try_from(body.len()).expect("one line of C is short");
    let mut out = Vec::new();
    if version.preprocesses_remotely() {
        request::encode_head(version, Some(DIRECTORY), &argv, &mut out);
        request::encode_file_count(1, &mut out);
        request::encode_file_header(PATH, bytes, &mut out);
    } else {
        request::encode_head(version, None, &argv, &mut out);
        request::encode_source_header(bytes, &mut out);
    }
    out.extend_from_slice(&body);
    out
}

/// Why a server is not one that would do a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It closed the connection without a word. Servers of 3.4 refuse in this way.
    NoAnswer,
    /// It answered that the job failed: the status, and the beginning of what was said, on one line.
    Failed {
        /// The compiler's wait status, or one of distcc's own codes as if a compiler had ended with it.
        status: WaitStatus,
        /// Fit for a terminal; empty if nothing was said.
        message: String,
    },
    /// It did not follow the protocol.
    Protocol(ProtocolError),
    /// It went on after the end of its answer.
    Trailing,
}

impl From<ProtocolError> for Fault {
    fn from(error: ProtocolError) -> Fault {
        Fault::Protocol(error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoAnswer => f.write_str(
                "closed the connection without an answer: its access list lacks this machine (distccd --allow), or \
                 the compiler is not installed or not allowed there; its log says which",
            ),
            Fault::Failed { status, message } => {
                let code = status.code().and_then(|code| ExitCode::from_number(code.into()));
                match (code, status.signal(), status.code()) {
                    (Some(code), _, _) => write!(f, "refused the test job ({code})")?,
                    (None, Some(signal), _) => write!(f, "the compiler there died of signal {signal}")?,
                    (None, None, code) => {
                        write!(f, "the compiler there failed with status {}", code.unwrap_or_default())?;
                    }
                }
                if !message.is_empty() {
                    write!(f, ": {message}")?;
                }
                Ok(())
            }
            Fault::Protocol(error) => write!(f, "is no compile server of this protocol: {error}"),
            Fault::Trailing => f.write_str("sent more than an answer"),
        }
    }
}

/// Judges a reply as it arrives. Keeps no more of it than a fault may quote.
#[derive(Debug)]
pub struct Judge {
    version: Version,
    decoder: ResponseDecoder,
    /// The beginning of a packet header of which the rest has not come yet.
    kept: Vec<u8>,
    status: Option<WaitStatus>,
    /// The body in progress.
    body: Option<BodyKind>,
    /// The compiler's messages, as they travel.
    messages: Vec<u8>,
    anything: bool,
    complete: bool,
}

impl Judge {
    /// A judge at the start of the reply to a request of this version.
    pub fn new(version: Version) -> Judge {
        Judge {
            version,
            decoder: ResponseDecoder::new(version, LIMITS),
            kept: Vec::new(),
            status: None,
            body: None,
            messages: Vec::new(),
            anything: false,
            complete: false,
        }
    }

    /// Takes the next bytes, however they were cut; a fault as soon as it is certain.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.anything |= !bytes.is_empty();
        let mut bytes = bytes;
        // A header that came in pieces is put together first. Whatever it lacks, it takes no body along.
        while !self.kept.is_empty() && !bytes.is_empty() {
            let lacking = (HEADER_BYTES - self.kept.len()).min(bytes.len());
            let (piece, rest) = bytes.split_at(lacking);
            let whole = [self.kept.as_slice(), piece].concat();
            self.kept.clear();
            let used = self.advance(&whole)?;
            assert!(used == whole.len() || used == 0, "BUG: a part of a header was used");
            self.kept.extend_from_slice(&whole[used..]);
            bytes = rest;
        }
        let used = self.advance(bytes)?;
        self.kept.extend_from_slice(&bytes[used..]);
        if !self.complete {
            return Ok(());
        }
        // Servers that refuse may wait for us to close the connection.
        match self.failure() {
            Some(failure) => Err(failure),
            None if self.kept.is_empty() => Ok(()),
            None => Err(Fault::Trailing),
        }
    }

    /// Whether nothing was sent yet.
    pub fn is_at_start(&self) -> bool {
        !self.anything
    }

    /// The server has closed the connection: whether the job was done.
    pub fn end(&self) -> Result<(), Fault> {
        if !self.anything {
            return Err(Fault::NoAnswer);
        }
        if !self.decoder.may_end_here() || !self.kept.is_empty() {
            return Err(ProtocolError::Truncated { reading: self.decoder.expecting() }.into());
        }
        self.failure().map_or(Ok(()), Err)
    }

    /// That the job failed, if the status has come and says so.
    fn failure(&self) -> Option<Fault> {
        let status = self.status.filter(|status| !status.success())?;
        Some(Fault::Failed { status, message: self.message() })
    }

    /// Hands bytes to the decoder; how many it used.
    fn advance(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        loop {
            let (used, event) = self.decoder.next(&bytes[at..])?;
            at += used;
            match event {
                None if used == 0 => return Ok(at),
                None | Some(ResponseEvent::ObjectAfterFailure { .. }) => {}
                Some(ResponseEvent::Status(status)) => self.status = Some(status),
                Some(ResponseEvent::BodyStart { kind, .. }) => self.body = Some(kind),
                Some(ResponseEvent::BodyPart(part)) => {
                    if self.body == Some(BodyKind::Stderr) {
                        let room = LIMITS.messages_bytes as usize - self.messages.len();
                        self.messages.extend_from_slice(&part[..part.len().min(room)]);
                    }
                }
                Some(ResponseEvent::BodyEnd) => self.body = None,
                Some(ResponseEvent::End) => self.complete = true,
            }
        }
    }

    /// What the server said, as one line.
    fn message(&self) -> String {
        let mut text = self.messages.clone();
        if self.version.compresses() && !text.is_empty() {
            match lzo::decompress(&text, LIMITS.messages_bytes as usize) {
                Ok(plain) => text = plain,
                Err(error) => return format!("(its messages are broken: {error})"),
            }
        }
        text.truncate(MESSAGES_BYTES_MAX);
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        one_line(&lines.join("; ")).chars().take(QUOTE_MAX).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u32) -> Version {
        Version::from_wire(number).unwrap()
    }

    #[test]
    fn the_request_is_that_of_3_4() {
        let words =
            "ARGC00000005ARGV00000003gccARGV00000002-cARGV00000007hello.cARGV00000002-oARGV00000007hello.o";
        let lzo = [b"\x25".as_slice(), SOURCE, b"\x11\0\0"].concat();
        let cases: [(u32, String, &[u8]); 3] = [
            (1, format!("DIST00000001{words}DOTI00000014"), SOURCE),
            (2, format!("DIST00000002{words}DOTI00000018"), &lzo),
            (
                3,
                format!("DIST00000003CDIR00000001/{words}NFIL00000001NAME00000008/hello.cFILE00000018"),
                &lzo,
            ),
        ];
        for (number, head, body) in cases {
            let want = [head.as_bytes(), body].concat();
            assert_eq!(request(b"gcc", version(number)), want, "version {number}");
        }
    }

    /// What a judge says of a reply that comes in pieces of so many bytes.
    fn judged(number: u32, reply: &[u8], piece: usize) -> Result<(), Fault> {
        let mut judge = Judge::new(version(number));
        for bytes in reply.chunks(piece) {
            judge.take(bytes)?;
        }
        judge.end()
    }

    #[test]
    fn replies_are_judged_however_they_are_cut() {
        let failed = |number: u32, status: u32, text: &[u8]| {
            let body = if number > 1 { lzo::store(text) } else { text.to_vec() };
            let head = format!("DONE{number:08x}STAT{status:08x}SERR{:08x}", body.len());
            [head.as_bytes(), &body, b"SOUT00000000DOTO00000000"].concat()
        };
        let done = |number: u32, rest: &str| {
            format!("DONE{number:08x}STAT00000000SERR00000002abSOUT00000000DOTO00000003obj{rest}")
                .into_bytes()
        };
        let cases: [(u32, Vec<u8>, &str); 20] = [
            (1, done(1, ""), "up"),
            (2, done(2, ""), "up"),
            (3, done(3, "DOTD00000001d"), "up"),
            (3, done(3, ""), "up"),
            (1, b"DONE00000001STAT00000000SERR00000000SOUT00000000DOTO00000000".to_vec(), "up"),
            (1, done(1, "x"), "sent more than an answer"),
            (1, b"".to_vec(), "closed the connection without an answer"),
            (1, b"DON".to_vec(), "ended while reading the answer's version"),
            (1, b"DONE00000001STAT".to_vec(), "ended while reading the compiler's status"),
            (2, done(1, ""), "asked in protocol version 2 but answered in version 1"),
            (1, b"HTTP/1.1 400 Bad Request".to_vec(), "is no compile server"),
            (1, b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "expected token DONE but got \"S"),
            (1, b"DONE00000001STAT00000000SERRffffffff".to_vec(), "is beyond the limit"),
            (1, b"DONE00000001STAT00000000SERR00000000SOUT00000000DOTO7fffffff".to_vec(), "of the object"),
            (
                1,
                failed(1, 0x7100, b"not on the list\n"),
                "refused the test job (access denied): not on the list",
            ),
            (3, failed(3, 0x6e00, b"no gcc-9 here\n"), "(compiler missing): no gcc-9 here"),
            (
                1,
                failed(1, 0x100, b"hello.c:1\x1b[31m\n\nbad\n"),
                "failed with status 1: hello.c:1\\u{1b}[31m; bad",
            ),
            (1, failed(1, 11, b""), "the compiler there died of signal 11"),
            (
                2,
                b"DONE00000002STAT00000100SERR00000003\xff\xff\xffSOUT00000000DOTO00000000".to_vec(),
                "messages are broken",
            ),
            (
                1,
                b"DONE00000001STAT00000100SERR00000000SOUT00000000DOTO00000003abc".to_vec(),
                "there failed with status 1",
            ),
        ];
        for (number, reply, want) in cases {
            for piece in [1, 2, 7, 12, 13, 4096] {
                let said = match judged(number, &reply, piece) {
                    Ok(()) => "up".to_owned(),
                    Err(fault) => fault.to_string(),
                };
                assert!(said.contains(want), "{} in pieces of {piece}: {said}", reply.escape_ascii());
            }
        }
    }

    #[test]
    fn no_reply_breaks_a_judge() {
        let replies: [(u32, &[u8]); 3] = [
            (1, b"DONE00000001STAT00000000SERR00000002abSOUT00000000DOTO00000003obj"),
            (2, b"DONE00000002STAT00000100SERR00000005\x12a\x11\0\0SOUT00000000DOTO00000000"),
            (3, b"DONE00000003STAT00000000SERR00000000SOUT00000000DOTO00000001oDOTD00000001d"),
        ];
        for (number, reply) in replies {
            for at in 0..reply.len() {
                for flipped in [1, 2, 8, 0x20, 0x80] {
                    let mut changed = reply.to_vec();
                    changed[at] ^= flipped;
                    for piece in [1, 11, 4096] {
                        // However the reply was cut the judgment is the same, and fit for a terminal. (How much
                        // of it is quoted may differ.)
                        let said = judged(number, &changed, piece);
                        let other = judged(number, &changed, 5);
                        assert_eq!(said.is_ok(), other.is_ok(), "{}", changed.escape_ascii());
                        if let Err(fault) = said {
                            assert!(!fault.to_string().contains(char::is_control), "{fault:?}");
                        }
                    }
                    let _ = judged(number, &changed[..at], 3);
                }
            }
        }
    }

    #[test]
    fn a_judge_keeps_little_of_what_it_is_sent() {
        let mut judge = Judge::new(version(1));
        judge.take(b"DONE00000001STAT00000100SERR00040000").unwrap();
        judge.take(&[b'a'; 256 << 10]).unwrap();
        judge.take(b"SOUT00040000").unwrap();
        for _ in 0..64 {
            judge.take(&[b'b'; 4096]).unwrap();
        }
        let Err(Fault::Failed { message, .. }) = judge.take(b"DOTO00000000") else { panic!("it failed") };
        assert_eq!(judge.messages.len(), 256 << 10);
        assert_eq!(message.len(), QUOTE_MAX);
    }
}
