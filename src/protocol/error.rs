//! How a peer's bytes can be wrong, in words fit for a log line. Knows neither the peer nor what the job does
//! about it.

use std::fmt;

use super::lzo::LzoError;
use super::packet::Token;
use super::version::Version;
use crate::exit_code::ExitCode;

/// How many bytes of the peer's message an error shows, in bytes: a header and a little of what follows it.
pub(super) const CONTEXT_BYTES_MAX: usize = 40;

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// Another packet than the one due.
    UnexpectedToken {
        /// The token or tokens due, as text.
        expected: &'static str,
        /// The beginning of what came instead.
        found: Vec<u8>,
    },
    /// A header whose last eight bytes are not a hexadecimal number.
    BadNumber {
        /// The header's token.
        token: Token,
        /// The eight bytes.
        digits: [u8; 8],
    },
    /// The request is of a version beyond 3.
    UnknownVersion(u32),
    /// The response is of another version than the request.
    OtherVersion {
        /// The request's version.
        asked: Version,
        /// The response's number.
        answered: u32,
    },
    /// A request without even a compiler's name.
    NoArguments,
    /// A token of a handshake without a byte, which no mechanism makes.
    EmptyToken,
    /// In a handshake, a byte where another was due.
    UnexpectedByte {
        /// What was due.
        expected: &'static str,
        /// What came.
        found: u8,
    },
    /// A string with a NUL inside, which no argument and no path can have.
    NulByte {
        /// What the string is.
        what: &'static str,
    },
    /// A count or a length beyond what this program takes.
    LimitExceeded {
        /// What was counted, with its unit.
        what: &'static str,
        /// The peer's number.
        value: u64,
        /// The largest number taken.
        limit: u64,
    },
    /// A compressed body that does not decompress.
    Lzo(LzoError),
    /// The stream ended inside the message.
    Truncated {
        /// What was due, as the decoder's `expecting` says it.
        reading: &'static str,
    },
    /// A record of the surroundings that does not say what it should; its beginning.
    BadRecord(Vec<u8>),
}

impl ProtocolError {
    /// The exit code of 3.4 for this kind of failure: truncated, beyond a limit, a body that does not
    /// decompress, or malformed.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            ProtocolError::Truncated { .. } => ExitCode::Truncated,
            ProtocolError::LimitExceeded { .. }
            | ProtocolError::Lzo(LzoError::TooLong { .. } | LzoError::NoMemory { .. }) => {
                ExitCode::OutOfMemory
            }
            ProtocolError::Lzo(_) => ExitCode::IoError,
            ProtocolError::UnexpectedToken { .. }
            | ProtocolError::BadRecord(_)
            | ProtocolError::BadNumber { .. }
            | ProtocolError::UnknownVersion(_)
            | ProtocolError::OtherVersion { .. }
            | ProtocolError::NoArguments
            | ProtocolError::EmptyToken
            | ProtocolError::UnexpectedByte { .. }
            | ProtocolError::NulByte { .. } => ExitCode::ProtocolError,
        }
    }
}

impl From<LzoError> for ProtocolError {
    fn from(error: LzoError) -> ProtocolError {
        ProtocolError::Lzo(error)
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtocolError::UnexpectedToken { expected, found } => {
                write!(f, "expected token {expected} but got \"{}\"", found.escape_ascii())
            }
            ProtocolError::BadNumber { token, digits } => {
                write!(f, "bad number after token {token}: \"{}\"", digits.escape_ascii())
            }
            ProtocolError::UnknownVersion(number) => write!(f, "unknown protocol version {number}"),
            ProtocolError::OtherVersion { asked, answered } => {
                write!(f, "asked in {asked} but answered in version {answered}")
            }
            ProtocolError::NoArguments => f.write_str("request without arguments"),
            ProtocolError::EmptyToken => f.write_str("a token of the handshake is empty"),
            ProtocolError::UnexpectedByte { expected, found } => {
                write!(f, "expected {expected} but got \"{}\"", found.escape_ascii())
            }
            ProtocolError::NulByte { what } => write!(f, "NUL byte in {what}"),
            ProtocolError::LimitExceeded { what, value, limit } => {
                write!(f, "{what}: {value} is beyond the limit of {limit}")
            }
            ProtocolError::Lzo(error) => write!(f, "compressed body: {error}"),
            ProtocolError::Truncated { reading } => write!(f, "message ended while reading {reading}"),
            ProtocolError::BadRecord(record) => {
                write!(f, "a record of the surroundings makes no sense: \"{}\"", record.escape_ascii())
            }
        }
    }
}

impl std::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_wrong_and_maps_to_an_exit_code() {
        use ExitCode as Code;
        let cases = [
            (
                ProtocolError::UnexpectedToken { expected: "DOTI", found: b"GET / HTTP\r\n\xff".to_vec() },
                "expected token DOTI but got \"GET / HTTP\\r\\n\\xff\"",
                Code::ProtocolError,
            ),
            (
                ProtocolError::BadNumber { token: Token::ARGC, digits: *b"0000000g" },
                "bad number after token ARGC: \"0000000g\"",
                Code::ProtocolError,
            ),
            (ProtocolError::UnknownVersion(4), "unknown protocol version 4", Code::ProtocolError),
            (
                ProtocolError::OtherVersion { asked: Version::LZO, answered: 1 },
                "asked in protocol version 2 but answered in version 1",
                Code::ProtocolError,
            ),
            (ProtocolError::NoArguments, "request without arguments", Code::ProtocolError),
            (
                ProtocolError::BadRecord(b"T1\n".to_vec()),
                "a record of the surroundings makes no sense: \"T1\\n\"",
                Code::ProtocolError,
            ),
            (ProtocolError::NulByte { what: "an argument" }, "NUL byte in an argument", Code::ProtocolError),
            (
                ProtocolError::LimitExceeded { what: "bytes of an argument", value: 9, limit: 8 },
                "bytes of an argument: 9 is beyond the limit of 8",
                Code::OutOfMemory,
            ),
            (
                LzoError::TooLong { limit: 8 }.into(),
                "compressed body: more than 8 bytes when decompressed",
                Code::OutOfMemory,
            ),
            (
                LzoError::NoMemory { bytes: 8 }.into(),
                "compressed body: no memory for 8 bytes of text",
                Code::OutOfMemory,
            ),
            (LzoError::Truncated.into(), "compressed body: LZO stream ends early", Code::IoError),
            (
                ProtocolError::Truncated { reading: "an argument" },
                "message ended while reading an argument",
                Code::Truncated,
            ),
        ];
        for (error, text, code) in cases {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.exit_code(), code, "{text}");
        }
    }
}
