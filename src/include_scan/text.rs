//! The lowest layer of C text: continuations, blanks, comments and literals, as byte positions. Knows no directive.
//!
//! What begins a comment or a string depends on the language and its version, which a file does not tell.

use std::ops::Range;

/// The longest delimiter a raw string can have, in bytes ([lex.string]).
const RAW_DELIMITER_BYTES_MAX: usize = 16;

const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    table[b'\n' as usize] = true;
    table[b'"' as usize] = true;
    table[b'\'' as usize] = true;
    table[b'/' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Whether a byte of ordinary text needs a second look.
pub(super) fn is_special(byte: u8) -> bool {
    SPECIAL[usize::from(byte)]
}

/// Whether a byte can be part of a name. Bytes above 127 can: names may be UTF-8.
pub(super) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// What a version of a language knows of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// `??/` is a backslash: in strict standard modes before C23 and C++17.
    pub(super) trigraphs: bool,
    /// `R"(...)"`: in C++11, and in GNU C.
    pub(super) raw_strings: bool,
    /// `1'000` is one number: in C++14 and C23.
    pub(super) digit_quotes: bool,
}

impl Rules {
    /// All there are.
    pub(super) fn all() -> impl Iterator<Item = Rules> {
        (0..8_u8).map(|bits| Rules {
            trigraphs: bits & 1 != 0,
            raw_strings: bits & 2 != 0,
            digit_quotes: bits & 4 != 0,
        })
    }

    /// Whether these know of nothing that the others do not.
    pub(super) fn are_within(self, others: Rules) -> bool {
        (!self.trigraphs || others.trigraphs)
            && (!self.raw_strings || others.raw_strings)
            && (!self.digit_quotes || others.digit_quotes)
    }
}

/// Text, and how it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) rules: Rules,
}

impl Text<'_> {
    /// The length of the backslash at `at`, or of its trigraph; 0 if there is none.
    fn backslash(self, at: usize) -> usize {
        match self.bytes.get(at) {
            Some(b'\\') => 1,
            Some(b'?') if self.rules.trigraphs && self.bytes[at..].starts_with(b"??/") => 3,
            _ => 0,
        }
    }

    /// Behind the continuation at `at`, if there is one: a backslash at the end of a line. gcc allows blanks behind it.
    pub(super) fn splice(self, at: usize) -> Option<usize> {
        let length = self.backslash(at);
        if length == 0 {
            return None;
        }
        let text = self.bytes;
        let mut end = at + length;
        while matches!(text.get(end), Some(b' ' | b'\t' | b'\r' | 0x0b | 0x0c)) {
            end += 1;
        }
        (text.get(end) == Some(&b'\n')).then_some(end + 1)
    }

    /// Behind all continuations at `at`.
    pub(super) fn skip_splices(self, mut at: usize) -> usize {
        while let Some(end) = self.splice(at) {
            at = end;
        }
        at
    }

    /// Behind all blanks, comments and continuations at `at`, within the logical line.
    pub(super) fn skip_blanks(self, mut at: usize) -> usize {
        let text = self.bytes;
        loop {
            at = match text.get(at) {
                Some(b' ' | b'\t' | b'\r' | 0x0b | 0x0c | 0) => at + 1,
                Some(b'/') => match self.comment_end(at) {
                    Some(end) => end,
                    None => return at,
                },
                _ => match self.splice(at) {
                    Some(end) => end,
                    None => return at,
                },
            }
        }
    }

    /// Behind the comment at `at`, if there is one; a line comment ends before its newline.
    pub(super) fn comment_end(self, at: usize) -> Option<usize> {
        let text = self.bytes;
        let next = self.skip_splices(at + 1);
        match text.get(next)? {
            b'*' => Some(self.block_comment_end(next + 1)),
            b'/' => Some(self.line_comment_end(next + 1)),
            _ => None,
        }
    }

    fn block_comment_end(self, mut at: usize) -> usize {
        let text = self.bytes;
        while let Some(offset) = text[at..].iter().position(|byte| *byte == b'*') {
            at += offset + 1;
            let next = self.skip_splices(at);
            if text.get(next) == Some(&b'/') {
                return next + 1;
            }
        }
        text.len()
    }

    fn line_comment_end(self, mut at: usize) -> usize {
        let text = self.bytes;
        while let Some(offset) = text[at..].iter().position(|byte| matches!(byte, b'\n' | b'\\' | b'?')) {
            at += offset;
            if text[at] == b'\n' {
                return at;
            }
            at = self.splice(at).unwrap_or(at + 1);
        }
        text.len()
    }

    /// Behind the string or character that begins at `at`; one that is not closed ends before the newline.
    pub(super) fn literal_end(self, at: usize) -> usize {
        let text = self.bytes;
        let quote = text[at];
        let mut at = at + 1;
        while let Some(byte) = text.get(at) {
            match byte {
                b'\n' => return at,
                byte if *byte == quote => return at + 1,
                b'\\' | b'?' => {
                    at = self.splice(at).unwrap_or_else(|| match self.backslash(at) {
                        0 => at + 1,
                        length => (self.skip_splices(at + length) + 1).min(text.len()),
                    });
                }
                _ => at += 1,
            }
        }
        text.len()
    }

    /// What ends the raw string whose quote is at `at`, if it is one by some rules, and where its content begins.
    pub(super) fn raw_string(self, at: usize) -> Option<(Vec<u8>, usize)> {
        let text = self.bytes;
        if at == 0 || text[at - 1] != b'R' {
            return None;
        }
        let prefix = text[..at].iter().rposition(|byte| !is_name_byte(*byte)).map_or(0, |before| before + 1);
        if !matches!(&text[prefix..at], b"R" | b"LR" | b"uR" | b"UR" | b"u8R") {
            return None;
        }
        let rest = &text[at + 1..];
        let open = rest.iter().take(RAW_DELIMITER_BYTES_MAX + 1).position(|byte| *byte == b'(')?;
        Some(([b")", &rest[..open], b"\""].concat(), at + 1 + open))
    }

    /// Whether the quote at `at` is inside a number (`1'000`), by some rules.
    pub(super) fn separates_digits(self, at: usize) -> bool {
        let text = self.bytes;
        let start =
            text[..at].iter().rposition(|byte| !(is_name_byte(*byte) || matches!(byte, b'\'' | b'.')));
        let run = &text[start.map_or(0, |before| before + 1)..at];
        // A run of quotes and names is looked at from its last closed character on: in `'a'1'` nothing is a number.
        run.first().is_some_and(u8::is_ascii_digit) && text.get(at + 1).is_some_and(u8::is_ascii_alphanumeric)
    }

    /// Adds text without its continuations.
    pub(super) fn append_spliced(self, range: Range<usize>, out: &mut Vec<u8>) {
        let mut at = range.start;
        while at < range.end {
            match self.splice(at) {
                Some(end) => at = end,
                None => {
                    out.push(self.bytes[at]);
                    at += 1;
                }
            }
        }
    }
}
