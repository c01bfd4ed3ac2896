//! What a client asks an include server, and what it is told. Two languages: the one of distcc 3.4, whose answer is a
//! list of files on disk, and the direct one between two of ours, whose answer is ready to be sent to a server. See
//! "14. Asking an include server" in docs/protocol.md.
//!
//! Knows neither sockets nor files; all messages are decoded from a buffer that holds what has come so far.

use std::path::{Path, PathBuf};

use super::error::ProtocolError;
use super::limits::{
    ARGUMENT_BYTES_MAX, ARGUMENTS_BYTES_MAX, ARGUMENTS_MAX, BODIES_BYTES_MAX, FILES_MAX, PATH_BYTES_MAX,
};
use super::packet::{self, Due, HEADER_BYTES, Token};

/// What is added to the path of an include server's socket to get that of its direct one.
const DIRECT_SUFFIX: &str = ".direct";

/// Most bytes of a direct question: all arguments, and the variables, which reach a process the same way.
const QUESTION_BYTES_MAX: u64 = 2 * ARGUMENTS_BYTES_MAX;
/// Most bytes of a direct answer: the names of [`FILES_MAX`] entries of 256 bytes and what surrounds them.
const ANSWER_BYTES_MAX: u64 = 32 << 20;
/// Most bytes of an answer in 3.4's language: every file with the longest path.
const OLD_ANSWER_BYTES_MAX: u64 = FILES_MAX as u64 * (PATH_BYTES_MAX as u64 + 128);

/// The path of the direct socket beside an include server's socket.
pub fn direct_socket(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(DIRECT_SUFFIX);
    path.into()
}

/// A question in 3.4's language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldQuestion {
    /// The client's working directory.
    pub directory: Vec<u8>,
    /// The command, its compiler first.
    pub argv: Vec<Vec<u8>>,
}

impl OldQuestion {
    /// Appends the question.
    pub fn encode(directory: &[u8], argv: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
        packet::push_string(Token::CDIR, directory, out);
        encode_words(argv, out);
    }

    /// Reads a question from the beginning of a buffer; `None` if it is not complete.
    pub fn decode(input: &[u8]) -> Result<Option<OldQuestion>, ProtocolError> {
        let mut reader = Reader { input };
        let Some(bytes) = reader.header(Due { tokens: &[Token::CDIR], text: "CDIR" })? else {
            return Ok(None);
        };
        packet::check_limit("bytes of the working directory", bytes.into(), PATH_BYTES_MAX.into())?;
        let Some(directory) = reader.text(bytes, "the working directory")? else { return Ok(None) };
        let limits = (ARGUMENTS_MAX, ARGUMENT_BYTES_MAX, ARGUMENTS_BYTES_MAX);
        let Some(argv) = reader.words(limits)? else { return Ok(None) };
        if argv.is_empty() {
            return Err(ProtocolError::NoArguments);
        }
        Ok(Some(OldQuestion { directory, argv }))
    }
}

/// Appends an answer in 3.4's language: paths below the include server's mirror; none if it cannot tell.
pub fn encode_old_answer(paths: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
    encode_words(paths, out);
}

/// Reads such an answer; `None` if it is not complete.
pub fn decode_old_answer(input: &[u8]) -> Result<Option<Vec<Vec<u8>>>, ProtocolError> {
    Reader { input }.words((FILES_MAX, PATH_BYTES_MAX, OLD_ANSWER_BYTES_MAX))
}

/// A question in the direct language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The working directory: absolute, as the compiler would print it.
    pub directory: Vec<u8>,
    /// The compiler's file.
    pub compiler: Vec<u8>,
    /// PATH, for the compiler's own children.
    pub search_path: Vec<u8>,
    /// The variables that add include directories, as `NAME=value`.
    pub variables: Vec<Vec<u8>>,
    /// The command, its compiler first; response files expanded.
    pub argv: Vec<Vec<u8>>,
}

impl Question {
    /// Appends the question.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        packet::push_number(Token::QUES, 0, out);
        let body = out.len();
        let mut push = |kind: u8, text: &[u8]| {
            out.push(kind);
            out.extend_from_slice(text);
            out.push(0);
        };
        push(b'D', &self.directory);
        push(b'C', &self.compiler);
        push(b'P', &self.search_path);
        self.variables.iter().for_each(|variable| push(b'V', variable));
        self.argv.iter().for_each(|word| push(b'A', word));
        seal(Token::QUES, start, body, out);
    }

    /// Reads a question from the beginning of a buffer; `None` if it is not complete.
    pub fn decode(input: &[u8]) -> Result<Option<Question>, ProtocolError> {
        let due = Due { tokens: &[Token::QUES], text: "QUES" };
        let Some(body) = (Reader { input }).body(due, "bytes of a question", QUESTION_BYTES_MAX)? else {
            return Ok(None);
        };
        let mut question = Question::default();
        let Some((0, records)) = body.split_last().map(|(last, rest)| (*last, rest)) else {
            return Err(ProtocolError::Truncated { reading: "a question" });
        };
        for record in records.split(|byte| *byte == 0) {
            let (kind, text) = record.split_first().ok_or_else(|| ProtocolError::BadRecord(Vec::new()))?;
            match kind {
                b'D' => question.directory = text.to_vec(),
                b'C' => question.compiler = text.to_vec(),
                b'P' => question.search_path = text.to_vec(),
                b'V' => question.variables.push(text.to_vec()),
                b'A' => question.argv.push(text.to_vec()),
                // A later client may say more.
                _ => {}
            }
        }
        if question.argv.is_empty() { Err(ProtocolError::NoArguments) } else { Ok(Some(question)) }
    }
}

/// A part of a request to a server: some bytes of the answer's heads, then a body in the shared store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How many more bytes of [`Answer::heads`] come first.
    pub head_bytes: u32,
    /// Where the body is in the store.
    pub body_at: u64,
    /// How long it is; 0 for none.
    pub body_bytes: u32,
}

/// An answer in the direct language: what follows NFIL in a request of version 3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// How many entries the pieces hold, for NFIL.
    pub entries: u32,
    /// Names, links and the headers of bodies, in the order of the request.
    pub heads: Vec<u8>,
    /// How heads and bodies alternate.
    pub pieces: Vec<Piece>,
}

/// Bytes of an encoded piece.
const PIECE_BYTES: usize = 16;

impl Answer {
    /// Appends the answer.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        packet::push_number(Token::ANSW, 0, out);
        let body = out.len();
        let pieces = u32::try_from(self.pieces.len()).expect("BUG: more pieces than a request has files");
        out.extend_from_slice(&self.entries.to_le_bytes());
        out.extend_from_slice(&pieces.to_le_bytes());
        for piece in &self.pieces {
            out.extend_from_slice(&piece.head_bytes.to_le_bytes());
            out.extend_from_slice(&piece.body_bytes.to_le_bytes());
            out.extend_from_slice(&piece.body_at.to_le_bytes());
        }
        out.extend_from_slice(&self.heads);
        seal(Token::ANSW, start, body, out);
    }

    /// Reads an answer from the beginning of a buffer: `None` if it is not complete, else the answer, or why there
    /// is none.
    pub fn decode(input: &[u8]) -> Result<Option<Result<Answer, String>>, ProtocolError> {
        if input.starts_with(b"WHYN") {
            let due = Due { tokens: &[Token::WHYN], text: "WHYN" };
            let reason = (Reader { input }).body(due, "bytes of a reason", u64::from(ARGUMENT_BYTES_MAX))?;
            return Ok(reason.map(|reason| Err(String::from_utf8_lossy(reason).into_owned())));
        }
        let due = Due { tokens: &[Token::ANSW, Token::WHYN], text: "ANSW or WHYN" };
        let Some(body) = (Reader { input }).body(due, "bytes of an answer", ANSWER_BYTES_MAX)? else {
            return Ok(None);
        };
        let bad = || ProtocolError::Truncated { reading: "an answer" };
        let (entries, rest) = body.split_first_chunk().ok_or_else(bad)?;
        let (count, rest) = rest.split_first_chunk().ok_or_else(bad)?;
        let (entries, count) = (u32::from_le_bytes(*entries), u32::from_le_bytes(*count) as usize);
        let (pieces, heads) =
            rest.split_at_checked(count.checked_mul(PIECE_BYTES).ok_or_else(bad)?).ok_or_else(bad)?;
        let pieces: Vec<Piece> = pieces
            .chunks_exact(PIECE_BYTES)
            .map(|bytes| {
                let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
                let body_at = u64::from_le_bytes(bytes[8..].try_into().expect("eight bytes"));
                Piece { head_bytes: word(0), body_bytes: word(4), body_at }
            })
            .collect();
        let sum = |bytes: fn(&Piece) -> u32| pieces.iter().map(|piece| u64::from(bytes(piece))).sum::<u64>();
        packet::check_limit("bytes of all bodies", sum(|piece| piece.body_bytes), BODIES_BYTES_MAX)?;
        if sum(|piece| piece.head_bytes) != heads.len() as u64 {
            return Err(bad());
        }
        Ok(Some(Ok(Answer { entries, heads: heads.to_vec(), pieces })))
    }
}

/// Appends, in place of an answer, why there is none.
pub fn encode_refusal(reason: &str, out: &mut Vec<u8>) {
    let most = reason.len().min(ARGUMENT_BYTES_MAX as usize);
    packet::push_string(Token::WHYN, &reason.as_bytes()[..most], out);
}

/// Writes the length of a body that is now complete into its header.
fn seal(token: Token, start: usize, body: usize, out: &mut [u8]) {
    let length = u32::try_from(out.len() - body).expect("BUG: a message of 4 GiB");
    let mut header = Vec::with_capacity(HEADER_BYTES);
    packet::push_number(token, length, &mut header);
    out[start..start + HEADER_BYTES].copy_from_slice(&header);
}

fn encode_words(words: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
    let count = u32::try_from(words.len()).expect("a process has fewer than 4 Gi arguments");
    packet::push_number(Token::ARGC, count, out);
    for word in words {
        packet::push_string(Token::ARGV, word.as_ref(), out);
    }
}

/// What is left of a buffer. Its methods return `None` where it ends too early.
struct Reader<'a> {
    input: &'a [u8],
}

impl<'a> Reader<'a> {
    fn header(&mut self, due: Due) -> Result<Option<u32>, ProtocolError> {
        let Some(header) = packet::take_header(self.input, due)? else { return Ok(None) };
        self.input = &self.input[HEADER_BYTES..];
        Ok(Some(header.value))
    }

    fn bytes(&mut self, count: u32) -> Option<&'a [u8]> {
        let (taken, rest) = self.input.split_at_checked(count as usize)?;
        self.input = rest;
        Some(taken)
    }

    fn text(&mut self, count: u32, what: &'static str) -> Result<Option<Vec<u8>>, ProtocolError> {
        match self.bytes(count) {
            Some(text) if text.contains(&0) => Err(ProtocolError::NulByte { what }),
            text => Ok(text.map(<[u8]>::to_vec)),
        }
    }

    fn body(&mut self, due: Due, what: &'static str, limit: u64) -> Result<Option<&'a [u8]>, ProtocolError> {
        let Some(count) = self.header(due)? else { return Ok(None) };
        packet::check_limit(what, count.into(), limit)?;
        Ok(self.bytes(count))
    }

    /// ARGC and its ARGVs: at most so many, so many bytes each, so many bytes together.
    fn words(&mut self, limits: (u32, u32, u64)) -> Result<Option<Vec<Vec<u8>>>, ProtocolError> {
        let (most, each, together) = limits;
        let Some(count) = self.header(Due { tokens: &[Token::ARGC], text: "ARGC" })? else { return Ok(None) };
        packet::check_limit("number of arguments", count.into(), most.into())?;
        let mut words = Vec::new();
        let mut total = 0;
        for _ in 0..count {
            let due = Due { tokens: &[Token::ARGV], text: "ARGV" };
            let Some(bytes) = self.header(due)? else { return Ok(None) };
            total += u64::from(bytes);
            packet::check_limit("bytes of an argument", bytes.into(), each.into())?;
            packet::check_limit("bytes of all arguments", total, together)?;
            let Some(word) = self.text(bytes, "an argument")? else { return Ok(None) };
            words.push(word);
        }
        Ok(Some(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    fn question() -> Question {
        let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
        Question {
            directory: b"/home/me".to_vec(),
            compiler: b"/usr/bin/gcc".to_vec(),
            search_path: b"/usr/bin".to_vec(),
            variables: words(&["CPATH=/a:/b"]),
            argv: words(&["gcc", "-c", "a b.c", ""]),
        }
    }

    fn answer() -> Answer {
        let piece = |head_bytes, body_at, body_bytes| Piece { head_bytes, body_at, body_bytes };
        Answer {
            entries: 3,
            heads: b"NAMEheadsLINK".to_vec(),
            pieces: vec![piece(9, 1 << 33, 77), piece(4, 0, 0)],
        }
    }

    /// Every message is read when it is complete and not before.
    fn check<T: Debug + PartialEq>(
        message: &[u8],
        decode: impl Fn(&[u8]) -> Result<Option<T>, ProtocolError>,
        want: T,
    ) {
        for end in 0..message.len() {
            assert_eq!(decode(&message[..end]), Ok(None), "{end} of {} bytes", message.len());
        }
        assert_eq!(decode(message), Ok(Some(want)));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        question().encode(&mut out);
        check(&out, Question::decode, question());
        out.clear();
        answer().encode(&mut out);
        check(&out, Answer::decode, Ok(answer()));
        out.clear();
        encode_refusal("a.c includes X, which is odd", &mut out);
        check(&out, Answer::decode, Err("a.c includes X, which is odd".into()));
        let Question { directory, argv, .. } = question();
        out.clear();
        OldQuestion::encode(&directory, &argv, &mut out);
        check(&out, OldQuestion::decode, OldQuestion { directory, argv });
        out.clear();
        let paths = [b"/dev/shm/root/a.c.lzo".to_vec(), b"/dev/shm/root/usr/include".to_vec()];
        encode_old_answer(&paths, &mut out);
        check(&out, decode_old_answer, paths.to_vec());
    }

    #[test]
    fn the_old_language_is_that_of_3_4() {
        let mut out = Vec::new();
        OldQuestion::encode(b"/p", &["cc", "t.c"], &mut out);
        assert_eq!(out, b"CDIR00000002/pARGC00000002ARGV00000002ccARGV00000003t.c");
        assert_eq!(decode_old_answer(b"ARGC00000000"), Ok(Some(Vec::new())));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let old: [&[u8]; 4] =
            [b"ARGC00000001", b"CDIR00001000", b"CDIR00000001/ARGC00000000", b"CDIR00000001/ARGC7fffffff"];
        for bad in old {
            assert!(OldQuestion::decode(bad).is_err(), "{}", bad.escape_ascii());
        }
        let direct: [&[u8]; 4] = [b"QUES00000003D/\0", b"QUES00000000", b"QUES00000002Ax", b"QUES7fffffff"];
        for bad in direct {
            assert!(Question::decode(bad).is_err(), "{}", bad.escape_ascii());
        }
        let mut short = Vec::new();
        Answer { heads: Vec::new(), ..answer() }.encode(&mut short);
        for bad in
            [&short[..], b"ANSW00000004\0\0\0\0", b"ANSW00000008\0\0\0\0\xff\xff\xff\xff", b"DONE00000000"]
        {
            assert!(Answer::decode(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
