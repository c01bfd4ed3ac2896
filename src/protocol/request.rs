//! The request: what a client sends, and how a server takes it apart as it arrives. Owns the order of its
//! packets; does not know what an argument means or where a file goes.

use super::error::ProtocolError;
use super::limits::RequestLimits;
use super::packet::{self, Due, HEADER_BYTES, Header, Token};
use super::version::Version;

/// Appends the beginning of a request: the version, for version 3 the working directory (absolute), and the
/// arguments, of which the first names the compiler. Arguments hold no NUL.
pub fn encode_head(version: Version, cwd: Option<&[u8]>, argv: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
    assert_eq!(cwd.is_some(), version.preprocesses_remotely(), "only version 3 tells the working directory");
    assert!(!argv.is_empty(), "a request names at least the compiler");
    packet::push_number(Token::DIST, version.number(), out);
    if let Some(cwd) = cwd {
        packet::push_string(Token::CDIR, cwd, out);
    }
    let count = u32::try_from(argv.len()).expect("a process has fewer than 4 Gi arguments");
    packet::push_number(Token::ARGC, count, out);
    for argument in argv {
        packet::push_string(Token::ARGV, argument.as_ref(), out);
    }
}

/// Appends the header of the preprocessed source (versions 1 and 2); `bytes` of body, which the caller sends,
/// end the request. In version 2 the body is an LZO stream, but an empty one is 0 bytes.
pub fn encode_source_header(bytes: u32, out: &mut Vec<u8>) {
    packet::push_number(Token::DOTI, bytes, out);
}

/// Appends the number of files and links that follow (version 3). After the last of them the request ends.
pub fn encode_file_count(count: u32, out: &mut Vec<u8>) {
    packet::push_number(Token::NFIL, count, out);
}

/// Appends a file's name and the header of its content; the body, which the caller sends, is an LZO stream of
/// `bytes`, or for an empty file nothing at all.
pub fn encode_file_header(name: &[u8], bytes: u32, out: &mut Vec<u8>) {
    packet::push_string(Token::NAME, name, out);
    packet::push_number(Token::FILE, bytes, out);
}

/// Appends a symbolic link. Its target is never compressed. A name must not be sent twice: servers of 3.4
/// then drop the job.
pub fn encode_link(name: &[u8], target: &[u8], out: &mut Vec<u8>) {
    packet::push_string(Token::NAME, name, out);
    packet::push_string(Token::LINK, target, out);
}

/// What a body of a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// The preprocessed source.
    Source,
    /// One file of version 3, with the client's path.
    File {
        /// The path as the peer wrote it: not checked.
        name: Vec<u8>,
    },
}

/// A piece of a request, in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestEvent<'a> {
    /// The version.
    Version(Version),
    /// The client's working directory (version 3), not checked.
    Directory(Vec<u8>),
    /// All arguments; there is at least one, and none holds a NUL.
    Arguments(Vec<Vec<u8>>),
    /// How many files and links follow (version 3).
    FileCount(u32),
    /// A symbolic link (version 3).
    Link {
        /// Its path, not checked.
        name: Vec<u8>,
        /// What it points to, not checked.
        target: Vec<u8>,
    },
    /// A body begins.
    BodyStart {
        /// What it is.
        kind: BodyKind,
        /// Its length as it travels.
        bytes: u32,
    },
    /// Some of the body, as it travels: perhaps compressed.
    BodyPart(&'a [u8]),
    /// The body is complete.
    BodyEnd,
    /// The request is complete.
    End,
}

/// Memory that an argument takes beside its bytes: its place in a list, and what the allocator adds.
const ARGUMENT_OVERHEAD_BYTES: u64 = 56;

/// Takes a request apart. See [`super`] for the contract of [`next`](RequestDecoder::next).
#[derive(Debug)]
pub struct RequestDecoder {
    limits: RequestLimits,
    version: Version,
    state: State,
    arguments: Vec<Vec<u8>>,
    arguments_left: u32,
    arguments_count: u32,
    arguments_bytes: u64,
    files_left: u32,
    bodies_bytes: u64,
}

/// What comes next on the stream.
#[derive(Debug)]
enum State {
    Version,
    Directory,
    ArgumentCount,
    Argument,
    Source,
    FileCount,
    Name,
    Content {
        name: Vec<u8>,
    },
    /// `left` bytes of a string, of which `bytes` have come; never 0 left.
    Text {
        field: Field,
        bytes: Vec<u8>,
        left: u32,
    },
    Body {
        left: u32,
    },
    End,
    Nothing,
}

/// What a string is.
#[derive(Debug)]
enum Field {
    Directory,
    Argument,
    Name,
    Target { name: Vec<u8> },
}

impl Field {
    fn what(&self) -> &'static str {
        match self {
            Field::Directory => "the working directory",
            Field::Argument => "an argument",
            Field::Name => "a file name",
            Field::Target { .. } => "a link target",
        }
    }
}

impl RequestDecoder {
    /// A decoder at the start of a request.
    pub fn new(limits: RequestLimits) -> RequestDecoder {
        RequestDecoder {
            limits,
            version: Version::PLAIN,
            state: State::Version,
            arguments: Vec::new(),
            arguments_left: 0,
            arguments_count: 0,
            arguments_bytes: 0,
            files_left: 0,
            bodies_bytes: 0,
        }
    }

    /// Memory for the arguments as far as announced, in bytes.
    pub fn arguments_memory(&self) -> u64 {
        self.arguments_bytes + u64::from(self.arguments_count) * ARGUMENT_OVERHEAD_BYTES
    }

    /// Whether not one packet was taken yet.
    pub fn at_start(&self) -> bool {
        matches!(self.state, State::Version)
    }

    /// What the next byte belongs to, for "message ended while reading ...".
    pub fn expecting(&self) -> &'static str {
        match &self.state {
            State::Version => "the version",
            State::Directory => "the working directory",
            State::ArgumentCount => "the number of arguments",
            State::Argument => "an argument",
            State::FileCount => "the number of files",
            State::Name => "a file name",
            State::Content { .. } => "a file or link",
            State::Text { field, .. } => field.what(),
            State::Source => "the source",
            State::Body { .. } if self.version.preprocesses_remotely() => "a file",
            State::Body { .. } => "the source",
            State::End | State::Nothing => "nothing more",
        }
    }

    /// Takes the next packet header or piece of a body from the front of `input`: how many bytes were used
    /// up, and perhaps an event. `(0, None)` means that more bytes are needed, or after [`RequestEvent::End`]
    /// that the rest is not ours.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<RequestEvent<'a>>), ProtocolError> {
        let due = match &mut self.state {
            State::Version => Due { tokens: &[Token::DIST], text: "DIST" },
            State::Directory => Due { tokens: &[Token::CDIR], text: "CDIR" },
            State::ArgumentCount => Due { tokens: &[Token::ARGC], text: "ARGC" },
            State::Argument => Due { tokens: &[Token::ARGV], text: "ARGV" },
            State::Source => Due { tokens: &[Token::DOTI], text: "DOTI" },
            State::FileCount => Due { tokens: &[Token::NFIL], text: "NFIL" },
            State::Name => Due { tokens: &[Token::NAME], text: "NAME" },
            State::Content { .. } => Due { tokens: &[Token::FILE, Token::LINK], text: "FILE or LINK" },
            State::Text { .. } => return self.take_text(input),
            State::Body { left: 0 } => {
                self.expect_name_or_end();
                return Ok((0, Some(RequestEvent::BodyEnd)));
            }
            State::Body { left } => {
                let part = packet::take_body(input, left);
                let event = (!part.is_empty()).then_some(RequestEvent::BodyPart(part));
                return Ok((part.len(), event));
            }
            State::End => {
                self.state = State::Nothing;
                return Ok((0, Some(RequestEvent::End)));
            }
            State::Nothing => return Ok((0, None)),
        };
        match packet::take_header(input, due)? {
            Some(header) => Ok((HEADER_BYTES, self.on_header(header)?)),
            None => Ok((0, None)),
        }
    }

    /// Acts on a header whose token is known to be due.
    fn on_header(&mut self, header: Header) -> Result<Option<RequestEvent<'static>>, ProtocolError> {
        let Header { token, value } = header;
        match &mut self.state {
            State::Version => {
                let version = Version::from_wire(value).ok_or(ProtocolError::UnknownVersion(value))?;
                self.version = version;
                let remote = version.preprocesses_remotely();
                self.state = if remote { State::Directory } else { State::ArgumentCount };
                Ok(Some(RequestEvent::Version(version)))
            }
            State::Directory => self.expect_path(Field::Directory, value),
            State::ArgumentCount => {
                if value == 0 {
                    return Err(ProtocolError::NoArguments);
                }
                packet::check_limit("number of arguments", value.into(), self.limits.arguments.into())?;
                (self.arguments_left, self.arguments_count) = (value, value);
                self.state = State::Argument;
                Ok(None)
            }
            State::Argument => {
                let total = self.arguments_bytes + u64::from(value);
                packet::check_limit("bytes of an argument", value.into(), self.limits.argument_bytes.into())?;
                packet::check_limit("bytes of all arguments", total, self.limits.arguments_bytes)?;
                self.arguments_bytes = total;
                Ok(self.expect_text(Field::Argument, value))
            }
            State::Source => self.expect_body(BodyKind::Source, value),
            State::FileCount => {
                packet::check_limit("number of files", value.into(), self.limits.files.into())?;
                self.files_left = value;
                self.expect_name_or_end();
                Ok(Some(RequestEvent::FileCount(value)))
            }
            State::Name => self.expect_path(Field::Name, value),
            State::Content { name } => {
                let name = name.clone();
                if token == Token::FILE {
                    self.expect_body(BodyKind::File { name }, value)
                } else {
                    self.expect_path(Field::Target { name }, value)
                }
            }
            State::Text { .. } | State::Body { .. } | State::End | State::Nothing => {
                unreachable!("no header is due inside a body or after the end")
            }
        }
    }

    fn expect_path(
        &mut self,
        field: Field,
        bytes: u32,
    ) -> Result<Option<RequestEvent<'static>>, ProtocolError> {
        let what = match field {
            Field::Directory => "bytes of the working directory",
            Field::Argument | Field::Name => "bytes of a file name",
            Field::Target { .. } => "bytes of a link target",
        };
        packet::check_limit(what, bytes.into(), self.limits.path_bytes.into())?;
        Ok(self.expect_text(field, bytes))
    }

    fn expect_text(&mut self, field: Field, bytes: u32) -> Option<RequestEvent<'static>> {
        if bytes == 0 {
            return self.on_text(field, Vec::new());
        }
        self.state = State::Text { field, bytes: Vec::new(), left: bytes };
        None
    }

    fn expect_body(
        &mut self,
        kind: BodyKind,
        bytes: u32,
    ) -> Result<Option<RequestEvent<'static>>, ProtocolError> {
        let total = self.bodies_bytes + u64::from(bytes);
        packet::check_limit("bytes of all bodies", total, self.limits.bodies_bytes)?;
        self.bodies_bytes = total;
        self.files_left = self.files_left.saturating_sub(1);
        self.state = State::Body { left: bytes };
        Ok(Some(RequestEvent::BodyStart { kind, bytes }))
    }

    fn expect_name_or_end(&mut self) {
        self.state = if self.files_left > 0 { State::Name } else { State::End };
    }

    fn take_text(&mut self, input: &[u8]) -> Result<(usize, Option<RequestEvent<'static>>), ProtocolError> {
        let State::Text { field, bytes, left } = &mut self.state else {
            unreachable!("called inside a string only")
        };
        let mut still = *left;
        let part = packet::take_body(input, &mut still);
        if part.contains(&0) {
            return Err(ProtocolError::NulByte { what: field.what() });
        }
        bytes.extend_from_slice(part);
        *left = still;
        if still > 0 {
            return Ok((part.len(), None));
        }
        let used = part.len();
        let State::Text { field, bytes, .. } = std::mem::replace(&mut self.state, State::Nothing) else {
            unreachable!("the state was just matched")
        };
        Ok((used, self.on_text(field, bytes)))
    }

    /// Acts on a complete string.
    fn on_text(&mut self, field: Field, bytes: Vec<u8>) -> Option<RequestEvent<'static>> {
        match field {
            Field::Directory => {
                self.state = State::ArgumentCount;
                Some(RequestEvent::Directory(bytes))
            }
            Field::Argument => {
                self.arguments.push(bytes);
                self.arguments_left -= 1;
                if self.arguments_left > 0 {
                    self.state = State::Argument;
                    return None;
                }
                let remote = self.version.preprocesses_remotely();
                self.state = if remote { State::FileCount } else { State::Source };
                Some(RequestEvent::Arguments(std::mem::take(&mut self.arguments)))
            }
            Field::Name => {
                self.state = State::Content { name: bytes };
                None
            }
            Field::Target { name } => {
                self.files_left -= 1;
                self.expect_name_or_end();
                Some(RequestEvent::Link { name, target: bytes })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small enough to be passed by short messages.
    const TIGHT: RequestLimits = RequestLimits {
        arguments: 3,
        argument_bytes: 4,
        arguments_bytes: 9,
        files: 2,
        path_bytes: 5,
        bodies_bytes: 20,
    };

    /// Feeds a message at once; the error it ends in, and what was not taken until then.
    fn refusal<'a>(decoder: &mut RequestDecoder, mut input: &'a [u8]) -> Option<(ProtocolError, &'a [u8])> {
        loop {
            match decoder.next(input) {
                Ok((0, None)) => return None,
                Ok((used, _)) => input = &input[used..],
                Err(error) => return Some((error, input)),
            }
        }
    }

    #[test]
    fn a_bad_request_is_refused_at_its_first_fault_and_stays_refused() {
        let cases: [(&[u8], &str); 24] = [
            (b"GET ", "expected token DIST but got \"GET \""),
            (b"dist00000001", "expected token DIST but got \"dist00000001\""),
            (b"DIST0000000z", "bad number after token DIST: \"0000000z\""),
            (b"DIST00000004", "unknown protocol version 4"),
            (b"DISTffffffff", "unknown protocol version 4294967295"),
            (b"DIST00000001CDIR", "expected token ARGC but got \"CDIR\""),
            (b"DIST00000003ARGC", "expected token CDIR but got \"ARGC\""),
            (b"DIST00000001ARGC00000000", "request without arguments"),
            (b"DIST00000001ARGC00000004", "number of arguments: 4 is beyond the limit of 3"),
            (b"DIST00000001ARGCffffffff", "number of arguments: 4294967295 is beyond the limit of 3"),
            (b"DIST00000001ARGC00000001ARGV00000005", "bytes of an argument: 5 is beyond the limit of 4"),
            (
                b"DIST00000001ARGC00000003ARGV00000004aaaaARGV00000004bbbbARGV00000002",
                "bytes of all arguments: 10 is beyond the limit of 9",
            ),
            (b"DIST00000001ARGC00000001ARGV00000002c\0", "NUL byte in an argument"),
            (b"DIST00000001ARGC00000001ARGV00000002ccNFIL", "expected token DOTI but got \"NFIL\""),
            (
                b"DIST00000001ARGC00000001ARGV00000002ccDOTI00000015",
                "bytes of all bodies: 21 is beyond the limit of 20",
            ),
            (b"DIST00000003CDIR00000006", "bytes of the working directory: 6 is beyond the limit of 5"),
            (b"DIST00000003CDIR00000001\0", "NUL byte in the working directory"),
            (&pump(b"DOTI"), "expected token NFIL but got \"DOTI\""),
            (&pump(b"NFIL00000003"), "number of files: 3 is beyond the limit of 2"),
            (&pump(b"NFIL00000001NAME00000006"), "bytes of a file name: 6 is beyond the limit of 5"),
            (&pump(b"NFIL00000001NAME00000002/\0"), "NUL byte in a file name"),
            (&pump(b"NFIL00000001NAME00000002/aNAME"), "expected token FILE or LINK but got \"NAME\""),
            (
                &pump(b"NFIL00000001NAME00000002/aLINK00000006"),
                "bytes of a link target: 6 is beyond the limit of 5",
            ),
            (
                &pump(b"NFIL00000002NAME00000002/aFILE0000000f123456789012345NAME00000002/bFILE00000006"),
                "bytes of all bodies: 21 is beyond the limit of 20",
            ),
        ];
        for (input, expected) in cases {
            let mut decoder = RequestDecoder::new(TIGHT);
            let (error, rest) = refusal(&mut decoder, input).expect("the message is bad");
            assert_eq!(error.to_string(), expected);
            assert_eq!(decoder.next(rest), Err(error));
        }
    }

    fn pump(rest: &[u8]) -> Vec<u8> {
        [b"DIST00000003CDIR00000001/ARGC00000001ARGV00000002cc", rest].concat()
    }

    #[test]
    fn a_message_just_within_the_limits_is_taken() {
        let messages: [&[u8]; 2] = [
            b"DIST00000001ARGC00000003ARGV00000004aaaaARGV00000004bbbbARGV00000001cDOTI00000014",
            &pump(b"NFIL00000002NAME00000005/aaaaLINK00000005bbbbbNAME00000001/FILE00000014"),
        ];
        for message in messages {
            assert_eq!(refusal(&mut RequestDecoder::new(TIGHT), message), None);
        }
    }

    #[test]
    fn an_announced_length_reserves_no_memory() {
        let mut decoder = RequestDecoder::new(RequestLimits::default());
        let head = b"DIST00000001ARGC00010000ARGV0001ffff";
        assert_eq!(refusal(&mut decoder, head), None);
        let State::Text { bytes, .. } = &decoder.state else { panic!("{decoder:?}") };
        assert_eq!((bytes.capacity(), decoder.arguments.capacity()), (0, 0));
    }

    #[test]
    fn a_decoder_says_what_it_is_waiting_for() {
        let stages: [(&[u8], &str); 13] = [
            (b"", "the version"),
            (b"DIST00000003", "the working directory"),
            (b"CDIR00000001", "the working directory"),
            (b"/", "the number of arguments"),
            (b"ARGC00000001", "an argument"),
            (b"ARGV00000001", "an argument"),
            (b"c", "the number of files"),
            (b"NFIL00000002", "a file name"),
            (b"NAME00000001a", "a file or link"),
            (b"LINK00000001", "a link target"),
            (b"b", "a file name"),
            (b"NAME00000001cFILE00000001", "a file"),
            (b"x", "nothing more"),
        ];
        let mut decoder = RequestDecoder::new(RequestLimits::default());
        for (bytes, expected) in stages {
            assert_eq!(refusal(&mut decoder, bytes), None);
            assert_eq!(decoder.expecting(), expected, "after {}", bytes.escape_ascii());
            assert_eq!(decoder.at_start(), expected == "the version");
        }
    }
}
