//! The response: what a server sends back, and how a client takes it apart as it arrives. Owns the order of
//! its packets; does not know where a body goes.
//!
//! The order is `DONE STAT SERR SOUT DOTO [DOTD]`. After a failed compilation `DOTO` is empty and the last
//! packet; after a successful one of version 3 `DOTD` follows. Bodies of versions 2 and 3 are LZO streams,
//! each by itself, but an empty body is a length of 0.

use super::error::ProtocolError;
use super::limits::ResponseLimits;
use super::packet::{self, Due, HEADER_BYTES, Header, Token};
use super::version::Version;
use crate::exit_code::WaitStatus;

/// What a body of a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// What the compiler wrote to its standard error.
    Stderr,
    /// What the compiler wrote to its standard output.
    Stdout,
    /// The object, or the assembler text of `-S`.
    Object,
    /// The dependency file (version 3).
    Dependencies,
}

impl BodyKind {
    /// The token of its packet.
    pub fn token(self) -> Token {
        match self {
            BodyKind::Stderr => Token::SERR,
            BodyKind::Stdout => Token::SOUT,
            BodyKind::Object => Token::DOTO,
            BodyKind::Dependencies => Token::DOTD,
        }
    }

    fn what(self) -> &'static str {
        match self {
            BodyKind::Stderr => "the compiler's messages",
            BodyKind::Stdout => "the compiler's standard output",
            BodyKind::Object => "the object",
            BodyKind::Dependencies => "the dependency file",
        }
    }
}

/// Appends the beginning of a response: the request's version and how the compiler ended.
pub fn encode_head(version: Version, status: WaitStatus, out: &mut Vec<u8>) {
    packet::push_number(Token::DONE, version.number(), out);
    packet::push_number(Token::STAT, status.0, out);
}

/// Appends the header of a body; `bytes` of body, which the caller sends, follow. All kinds are sent in the
/// order of [`BodyKind`], the last only after a success of version 3; an object after a failure has 0 bytes.
pub fn encode_body_header(kind: BodyKind, bytes: u32, out: &mut Vec<u8>) {
    packet::push_number(kind.token(), bytes, out);
}

/// A piece of a response, in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseEvent<'a> {
    /// How the compiler ended.
    Status(WaitStatus),
    /// A body begins. After a failure there is none for the object.
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
    /// The server announces an object though the compiler failed. Worth a message; it is not read, and the
    /// response ends here.
    ObjectAfterFailure {
        /// Its length as announced.
        bytes: u32,
    },
    /// The response is complete.
    End,
}

/// Takes a response apart. See [`super`] for the contract of [`next`](ResponseDecoder::next).
#[derive(Debug)]
pub struct ResponseDecoder {
    limits: ResponseLimits,
    version: Version,
    status: WaitStatus,
    state: State,
}

/// What comes next on the stream.
#[derive(Clone, Copy, Debug)]
enum State {
    Version,
    Status,
    Header(BodyKind),
    Body { kind: BodyKind, left: u32 },
    End,
    Nothing,
}

impl ResponseDecoder {
    /// A decoder at the start of the response to a request of this version.
    pub fn new(version: Version, limits: ResponseLimits) -> ResponseDecoder {
        ResponseDecoder { limits, version, status: WaitStatus(0), state: State::Version }
    }

    /// Whether not one packet was taken yet: a server that refuses a request closes the stream without an
    /// answer.
    pub fn at_start(&self) -> bool {
        matches!(self.state, State::Version)
    }

    /// Whether the stream may end now, provided that no byte is left over: the response is complete, or lacks
    /// only the dependency file, which servers may leave out.
    pub fn may_end_here(&self) -> bool {
        matches!(self.state, State::Header(BodyKind::Dependencies) | State::End | State::Nothing)
    }

    /// What the next byte belongs to, for "message ended while reading ...".
    pub fn expecting(&self) -> &'static str {
        match self.state {
            State::Version => "the answer's version",
            State::Status => "the compiler's status",
            State::Header(kind) | State::Body { kind, .. } => kind.what(),
            State::End | State::Nothing => "nothing more",
        }
    }

    /// Takes the next packet header or piece of a body from the front of `input`: how many bytes were used
    /// up, and perhaps an event. `(0, None)` means that more bytes are needed, or after
    /// [`ResponseEvent::End`] that the rest is not ours.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<ResponseEvent<'a>>), ProtocolError> {
        let due = match &mut self.state {
            State::Version => Due { tokens: &[Token::DONE], text: "DONE" },
            State::Status => Due { tokens: &[Token::STAT], text: "STAT" },
            State::Header(BodyKind::Stderr) => Due { tokens: &[Token::SERR], text: "SERR" },
            State::Header(BodyKind::Stdout) => Due { tokens: &[Token::SOUT], text: "SOUT" },
            State::Header(BodyKind::Object) => Due { tokens: &[Token::DOTO], text: "DOTO" },
            State::Header(BodyKind::Dependencies) => Due { tokens: &[Token::DOTD], text: "DOTD" },
            State::Body { kind, left: 0 } => {
                self.state = match kind {
                    BodyKind::Stderr => State::Header(BodyKind::Stdout),
                    BodyKind::Stdout => State::Header(BodyKind::Object),
                    BodyKind::Object if self.version.preprocesses_remotely() => {
                        State::Header(BodyKind::Dependencies)
                    }
                    BodyKind::Object | BodyKind::Dependencies => State::End,
                };
                return Ok((0, Some(ResponseEvent::BodyEnd)));
            }
            State::Body { left, .. } => {
                let part = packet::take_body(input, left);
                let event = (!part.is_empty()).then_some(ResponseEvent::BodyPart(part));
                return Ok((part.len(), event));
            }
            State::End => {
                self.state = State::Nothing;
                return Ok((0, Some(ResponseEvent::End)));
            }
            State::Nothing => return Ok((0, None)),
        };
        match packet::take_header(input, due)? {
            Some(header) => Ok((HEADER_BYTES, self.on_header(header)?)),
            None => Ok((0, None)),
        }
    }

    /// Acts on a header whose token is known to be due.
    fn on_header(&mut self, header: Header) -> Result<Option<ResponseEvent<'static>>, ProtocolError> {
        let value = header.value;
        match self.state {
            State::Version => {
                if value != self.version.number() {
                    return Err(ProtocolError::OtherVersion { asked: self.version, answered: value });
                }
                self.state = State::Status;
                Ok(None)
            }
            State::Status => {
                self.status = WaitStatus(value);
                self.state = State::Header(BodyKind::Stderr);
                Ok(Some(ResponseEvent::Status(self.status)))
            }
            State::Header(BodyKind::Object) if !self.status.success() => {
                // Whether empty or not, there is nothing to read: the next call ends the response.
                self.state = State::End;
                Ok((value > 0).then_some(ResponseEvent::ObjectAfterFailure { bytes: value }))
            }
            State::Header(kind) => {
                let (what, limit) = match kind {
                    BodyKind::Stderr => ("bytes of standard error", self.limits.messages_bytes),
                    BodyKind::Stdout => ("bytes of standard output", self.limits.messages_bytes),
                    BodyKind::Object => ("bytes of the object", self.limits.object_bytes),
                    BodyKind::Dependencies => {
                        ("bytes of the dependency file", self.limits.dependencies_bytes)
                    }
                };
                packet::check_limit(what, value.into(), limit.into())?;
                self.state = State::Body { kind, left: value };
                Ok(Some(ResponseEvent::BodyStart { kind, bytes: value }))
            }
            State::Body { .. } | State::End | State::Nothing => {
                unreachable!("no header is due inside a body or after the end")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIGHT: ResponseLimits =
        ResponseLimits { messages_bytes: 4, object_bytes: 5, dependencies_bytes: 6 };

    /// Feeds a message at once and returns the last event before more is needed.
    fn last_event(decoder: &mut ResponseDecoder, input: &[u8]) -> Result<Option<String>, String> {
        let (mut at, mut last) = (0, None);
        loop {
            match decoder.next(&input[at..]).map_err(|error| error.to_string())? {
                (0, None) => return Ok(last),
                (used, event) => {
                    at += used;
                    last = event.map(|event| format!("{event:?}")).or(last);
                }
            }
        }
    }

    #[test]
    fn a_bad_response_is_refused_at_its_first_fault() {
        let cases: [(&[u8], &str); 9] = [
            (b"DIST", "expected token DONE but got \"DIST\""),
            (b"DONE00000001", "asked in protocol version 3 but answered in version 1"),
            (b"DONE00000003SERR", "expected token STAT but got \"SERR\""),
            (b"DONE00000003STAT0000000 ", "bad number after token STAT: \"0000000 \""),
            (&done(b"SERR00000005"), "bytes of standard error: 5 is beyond the limit of 4"),
            (&done(b"SERR00000000DOTO"), "expected token SOUT but got \"DOTO\""),
            (&done(b"SERR00000000SOUT00000005"), "bytes of standard output: 5 is beyond the limit of 4"),
            (
                &done(b"SERR00000000SOUT00000000DOTO00000006"),
                "bytes of the object: 6 is beyond the limit of 5",
            ),
            (
                &done(b"SERR00000000SOUT00000000DOTO00000000DOTD00000007"),
                "bytes of the dependency file: 7 is beyond the limit of 6",
            ),
        ];
        for (input, expected) in cases {
            let answer = last_event(&mut ResponseDecoder::new(Version::PUMP, TIGHT), input);
            assert_eq!(answer, Err(expected.to_owned()));
        }
    }

    fn done(rest: &[u8]) -> Vec<u8> {
        [b"DONE00000003STAT00000000", rest].concat()
    }

    #[test]
    fn an_object_after_a_failure_is_reported_and_not_read() {
        let input = b"DONE00000001STAT00000100SERR00000000SOUT00000000DOTO00000003abc";
        let mut decoder = ResponseDecoder::new(Version::PLAIN, ResponseLimits::default());
        let mut at = 0;
        let mut events = Vec::new();
        loop {
            let (used, event) = decoder.next(&input[at..]).unwrap();
            if (used, &event) == (0, &None) {
                break;
            }
            at += used;
            events.extend(event);
        }
        let expected = [ResponseEvent::ObjectAfterFailure { bytes: 3 }, ResponseEvent::End];
        assert_eq!(events[events.len() - 2..], expected);
        assert_eq!(&input[at..], b"abc");
    }

    #[test]
    fn only_a_complete_response_or_one_without_dependencies_may_end() {
        // (version, bytes, may end, what comes next)
        let stages: [(u32, &[u8], bool, &str); 8] = [
            (3, b"", false, "the answer's version"),
            (3, b"DONE00000003", false, "the compiler's status"),
            (3, b"DONE00000003STAT00000000SERR00000001", false, "the compiler's messages"),
            (3, &done(b"SERR00000000SOUT00000000DOTO00000001"), false, "the object"),
            (3, &done(b"SERR00000000SOUT00000000DOTO00000001o"), true, "the dependency file"),
            (3, &done(b"SERR00000000SOUT00000000DOTO00000001oDOTD00000001"), false, "the dependency file"),
            (3, b"DONE00000003STAT00000100SERR00000000SOUT00000000DOTO00000000", true, "nothing more"),
            (1, b"DONE00000001STAT00000000SERR00000000SOUT00000000DOTO00000001o", true, "nothing more"),
        ];
        for (version, bytes, may_end, expecting) in stages {
            let version = Version::from_wire(version).unwrap();
            let mut decoder = ResponseDecoder::new(version, ResponseLimits::default());
            last_event(&mut decoder, bytes).unwrap();
            assert_eq!(decoder.may_end_here(), may_end, "{}", bytes.escape_ascii());
            assert_eq!(decoder.expecting(), expecting, "{}", bytes.escape_ascii());
            assert_eq!(decoder.at_start(), bytes.is_empty());
        }
    }
}
