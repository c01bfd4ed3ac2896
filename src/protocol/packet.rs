//! The packet: four letters and eight hexadecimal digits, which are a number or the length of the bytes that
//! follow. Knows the tokens but not their order.

use std::fmt;

use super::error::{CONTEXT_BYTES_MAX, ProtocolError};

/// Bytes of a header: token and number.
pub const HEADER_BYTES: usize = TOKEN_BYTES + DIGITS;

/// Bytes of a token.
const TOKEN_BYTES: usize = 4;

/// Bytes of the number: eight digits for 32 bits.
const DIGITS: usize = 8;

/// The four letters that begin a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; TOKEN_BYTES]);

impl Token {
    /// Request: the version.
    pub const DIST: Token = Token(*b"DIST");
    /// Request, version 3: the client's working directory.
    pub const CDIR: Token = Token(*b"CDIR");
    /// Request: how many arguments follow.
    pub const ARGC: Token = Token(*b"ARGC");
    /// Request: one argument.
    pub const ARGV: Token = Token(*b"ARGV");
    /// Request, version 3: how many files and links follow.
    pub const NFIL: Token = Token(*b"NFIL");
    /// Request, version 3: the path of a file or link.
    pub const NAME: Token = Token(*b"NAME");
    /// Request, version 3: the content of a file.
    pub const FILE: Token = Token(*b"FILE");
    /// Request, version 3: the target of a symbolic link.
    pub const LINK: Token = Token(*b"LINK");
    /// Request, versions 1 and 2: the preprocessed source.
    pub const DOTI: Token = Token(*b"DOTI");
    /// To an include server, in its direct language: a question.
    pub const QUES: Token = Token(*b"QUES");
    /// From it: an answer.
    pub const ANSW: Token = Token(*b"ANSW");
    /// From it: why there is none.
    pub const WHYN: Token = Token(*b"WHYN");
    /// Handshake, either way: one token of GSS-API.
    pub const TLEN: Token = Token(*b"TLEN");
    /// Response: the request's version again.
    pub const DONE: Token = Token(*b"DONE");
    /// Response: the compiler's wait status.
    pub const STAT: Token = Token(*b"STAT");
    /// Response: what the compiler wrote to its standard error.
    pub const SERR: Token = Token(*b"SERR");
    /// Response: what the compiler wrote to its standard output.
    pub const SOUT: Token = Token(*b"SOUT");
    /// Response: the object file.
    pub const DOTO: Token = Token(*b"DOTO");
    /// Response, version 3: the dependency file.
    pub const DOTD: Token = Token(*b"DOTD");
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({self})")
    }
}

/// One packet's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the packet is.
    pub token: Token,
    /// A number, or the length of the packet's bytes.
    pub value: u32,
}

impl Header {
    /// The header on the wire: digits are lower case and zero padded.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..TOKEN_BYTES].copy_from_slice(&self.token.0);
        for (index, digit) in bytes[TOKEN_BYTES..].iter_mut().enumerate() {
            let nibble = self.value >> (4 * (DIGITS - 1 - index)) & 0xf;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        bytes
    }

    /// Reads a header, whatever its token. Upper case digits and leading blanks are taken, because 3.4 takes
    /// them; signs and a `0x` are not.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Header, ProtocolError> {
        let [t0, t1, t2, t3, digits @ ..] = *bytes;
        let token = Token([t0, t1, t2, t3]);
        let significant = digits.trim_ascii_start();
        if significant.is_empty() {
            return Err(ProtocolError::BadNumber { token, digits });
        }
        let mut value = 0;
        for digit in significant {
            let Some(nibble) = char::from(*digit).to_digit(16) else {
                return Err(ProtocolError::BadNumber { token, digits });
            };
            value = value << 4 | nibble;
        }
        Ok(Header { token, value })
    }
}

/// Appends a packet that is a number only, or the header of a body that the caller sends.
pub(super) fn push_number(token: Token, value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&Header { token, value }.encode());
}

/// Appends a packet with a short body: an argument or a path.
///
/// # Panics
///
/// If the string has 4 GiB, which no argument or path has.
pub(super) fn push_string(token: Token, string: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(string.len()).expect("an argument or path is shorter than 4 GiB");
    push_number(token, length, out);
    out.extend_from_slice(string);
}

/// Which packets may come next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// Any one of these.
    pub tokens: &'static [Token],
    /// The same as text, for an error.
    pub text: &'static str,
}

/// Reads the header at the front of `input`; `None` means that it is not all there yet. A wrong token is
/// reported as soon as a byte of it is there: a stranger may never send twelve.
pub(super) fn take_header(input: &[u8], due: Due) -> Result<Option<Header>, ProtocolError> {
    let letters = &input[..input.len().min(TOKEN_BYTES)];
    if !due.tokens.iter().any(|token| token.0.starts_with(letters)) {
        let found = input[..input.len().min(CONTEXT_BYTES_MAX)].to_vec();
        return Err(ProtocolError::UnexpectedToken { expected: due.text, found });
    }
    input.first_chunk::<HEADER_BYTES>().map(Header::decode).transpose()
}

/// Takes from `input` what belongs to a body that still lacks `left` bytes, and counts it off.
pub(super) fn take_body<'a>(input: &'a [u8], left: &mut u32) -> &'a [u8] {
    let taken = u32::try_from(input.len()).map_or(*left, |length| length.min(*left));
    *left -= taken;
    &input[..taken as usize]
}

/// Refuses a number beyond its limit; `what` names it with its unit.
pub(super) fn check_limit(what: &'static str, value: u64, limit: u64) -> Result<(), ProtocolError> {
    if value > limit {
        return Err(ProtocolError::LimitExceeded { what, value, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_written_lower_case_and_zero_padded() {
        let cases = [
            (Header { token: Token::DIST, value: 1 }, b"DIST00000001"),
            (Header { token: Token::DOTI, value: 0x4fa7 }, b"DOTI00004fa7"),
            (Header { token: Token::STAT, value: 0x100 }, b"STAT00000100"),
            (Header { token: Token::DOTO, value: u32::MAX }, b"DOTOffffffff"),
            (Header { token: Token::NFIL, value: 0 }, b"NFIL00000000"),
        ];
        for (header, bytes) in cases {
            assert_eq!(header.encode(), *bytes);
            assert_eq!(Header::decode(bytes), Ok(header));
        }
    }

    #[test]
    fn foreign_spellings_of_a_number_are_taken_or_refused_as_3_4_does() {
        let cases: [(&[u8; 12], Option<u32>); 12] = [
            (b"ARGC0000001A", Some(0x1a)),
            (b"ARGCFFFFFFFF", Some(u32::MAX)),
            (b"ARGC       7", Some(7)),
            (b"ARGC\t\n    10", Some(0x10)),
            (b"ARGC        ", None),
            (b"ARGC7       ", None),
            (b"ARGC0000 001", None),
            (b"ARGC0000000g", None),
            (b"ARGC-0000001", None),
            (b"ARGC+0000001", None),
            (b"ARGC0x000001", None),
            (b"ARGC\0\0\0\0\0\0\0\x01", None),
        ];
        for (bytes, value) in cases {
            let digits = *bytes.last_chunk().unwrap();
            let expected = value
                .map(|value| Header { token: Token::ARGC, value })
                .ok_or(ProtocolError::BadNumber { token: Token::ARGC, digits });
            assert_eq!(Header::decode(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_wrong_token_is_known_at_once_and_quoted_with_bounded_context() {
        let due = Due { tokens: &[Token::DIST], text: "DIST" };
        for beginning in [b"".as_slice(), b"D", b"DIST", b"DIST0000000"] {
            assert_eq!(take_header(beginning, due), Ok(None));
        }
        for wrong in [b"G".as_slice(), b"GET ", b"DISP"] {
            let expected = ProtocolError::UnexpectedToken { expected: "DIST", found: wrong.to_vec() };
            assert_eq!(take_header(wrong, due), Err(expected));
        }
        let Err(ProtocolError::UnexpectedToken { found, .. }) = take_header(&[b'x'; 5000], due) else {
            panic!("a wrong token was taken");
        };
        assert_eq!(found, [b'x'; CONTEXT_BYTES_MAX]);
    }

    #[test]
    fn a_body_takes_no_more_than_it_lacks() {
        let mut left = 5;
        assert_eq!(take_body(b"abc", &mut left), b"abc");
        assert_eq!(take_body(b"", &mut left), b"");
        assert_eq!(take_body(b"defgh", &mut left), b"de");
        assert_eq!(left, 0);
        assert_eq!(take_body(b"x", &mut left), b"");
    }
}
