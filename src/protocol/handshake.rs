//! What goes before the request where a server authenticates its clients with GSS-API, as bytes. Knows neither GSS-API nor
//! what a token says.
//!
//! ```text
//! client                                     server
//! *
//!                                            *
//! TLEN token
//!                                            TLEN token      (and so on, as the mechanism wants)
//!                                            y or n
//! ```
//!
//! The request follows in the clear, after `y`.

use super::error::ProtocolError;
use super::packet::{self, Due, HEADER_BYTES, Token};

/// What each side sends first: it wants a handshake.
pub const NOTICE: u8 = b'*';
/// The server's verdict: the client may send its request.
pub const GRANTED: u8 = b'y';
/// The server's verdict: it may not.
pub const DENIED: u8 = b'n';

/// The largest token, in bytes: Kerberos tickets of Windows domains have up to 48,000 bytes, the others a kilobyte.
pub const TOKEN_BYTES_MAX: u32 = 64 << 10;
/// Tokens that one side may send: Kerberos needs one, a negotiation before it two more.
pub const TOKENS_MAX: usize = 8;

const TOKEN: Due = Due { tokens: &[Token::TLEN], text: "TLEN" };

/// The packet of one token.
pub fn encode_token(token: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(HEADER_BYTES + token.len());
    packet::push_string(Token::TLEN, token, &mut packet);
    packet
}

/// Reads the other side's tokens, in whatever pieces they come.
#[derive(Debug, Default)]
pub struct TokenDecoder {
    /// The header and bytes of a token that is not complete.
    partial: Vec<u8>,
    /// Tokens that were.
    complete: usize,
}

impl TokenDecoder {
    /// Takes bytes up to the end of a token at most: how many it took, and the token if that is complete.
    pub fn take(&mut self, input: &[u8]) -> Result<(usize, Option<Vec<u8>>), ProtocolError> {
        let missing = HEADER_BYTES.saturating_sub(self.partial.len()).min(input.len());
        self.partial.extend_from_slice(&input[..missing]);
        let Some(header) = packet::take_header(&self.partial, TOKEN)? else { return Ok((missing, None)) };
        if header.value == 0 {
            return Err(ProtocolError::EmptyToken);
        }
        let over = |what, value: u64, limit: u64| Err(ProtocolError::LimitExceeded { what, value, limit });
        if header.value > TOKEN_BYTES_MAX {
            return over("bytes of a token", header.value.into(), TOKEN_BYTES_MAX.into());
        }
        if self.complete >= TOKENS_MAX {
            return over("tokens of a handshake", self.complete as u64 + 1, TOKENS_MAX as u64);
        }
        let end = HEADER_BYTES + header.value as usize;
        let more = (end - self.partial.len()).min(input.len() - missing);
        self.partial.extend_from_slice(&input[missing..missing + more]);
        let is_complete = self.partial.len() == end;
        let token = is_complete.then(|| std::mem::take(&mut self.partial).split_off(HEADER_BYTES));
        self.complete += usize::from(is_complete);
        Ok((missing + more, token))
    }

    /// The memory it holds, in bytes.
    pub fn memory(&self) -> usize {
        self.partial.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens in `input`, given in pieces of so many bytes.
    fn tokens(input: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let (mut decoder, mut found) = (TokenDecoder::default(), Vec::new());
        for mut piece in input.chunks(piece) {
            while !piece.is_empty() {
                let (used, token) = decoder.take(piece)?;
                assert!(used > 0, "no progress");
                found.extend(token);
                piece = &piece[used..];
            }
        }
        Ok(found)
    }

    #[test]
    fn tokens_come_in_pieces_of_any_size() {
        let sent = [b"first".to_vec(), vec![0; TOKEN_BYTES_MAX as usize], vec![7]];
        let stream: Vec<u8> = sent.iter().flat_map(|token| encode_token(token)).collect();
        assert!(stream.starts_with(b"TLEN00000005first"));
        for piece in [1, 2, 11, 12, 13, 17, 4096, stream.len()] {
            assert_eq!(tokens(&stream, piece).unwrap(), sent, "{piece}");
        }
        assert_eq!(tokens(&stream[..16], 3).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn what_is_no_token_is_refused_before_it_is_kept() {
        let many: Vec<u8> = (0..=TOKENS_MAX).flat_map(|_| encode_token(b"x")).collect();
        for (stream, why) in [
            (b"TLEN00000000".as_slice(), "empty"),
            (b"TLEN00010001", "bytes of a token: 65537 is beyond the limit of 65536"),
            (b"TLENffffffff", "4294967295 is beyond"),
            (b"TLEN0000000g", "bad number"),
            (b"DIST00000001", "expected token TLEN but got \"D"),
            (&many, "tokens of a handshake: 9 is beyond the limit of 8"),
        ] {
            for piece in [1, 5, 100] {
                let error = tokens(stream, piece).unwrap_err().to_string();
                assert!(error.contains(why), "{error}");
            }
        }
        let mut decoder = TokenDecoder::default();
        assert!(decoder.take(b"TLEN00010000").unwrap().1.is_none());
        assert!(decoder.memory() < 100, "memory for bytes that have not come");
    }
}
