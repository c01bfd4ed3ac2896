//! The lowest layer of C text: continuations, blanks, comments and literals, as byte positions. Knows no directive.

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

/// Behind the continuation at `at`, if there is one: a backslash, or its trigraph, at the end of a line. gcc allows
/// blanks behind it.
pub(super) fn splice(text: &[u8], at: usize) -> Option<usize> {
    let length = match text.get(at)? {
        b'\\' => 1,
        b'?' if text[at..].starts_with(b"??/") => 3,
        _ => return None,
    };
    let mut end = at + length;
    while matches!(text.get(end), Some(b' ' | b'\t' | b'\r' | 0x0b | 0x0c)) {
        end += 1;
    }
    (text.get(end) == Some(&b'\n')).then_some(end + 1)
}

/// Behind all continuations at `at`.
pub(super) fn skip_splices(text: &[u8], mut at: usize) -> usize {
    while let Some(end) = splice(text, at) {
        at = end;
    }
    at
}

/// Behind all blanks, comments and continuations at `at`, within the logical line.
pub(super) fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    loop {
        at = match text.get(at) {
            Some(b' ' | b'\t' | b'\r' | 0x0b | 0x0c | 0) => at + 1,
            Some(b'/') => match comment_end(text, at) {
                Some(end) => end,
                None => return at,
            },
            _ => match splice(text, at) {
                Some(end) => end,
                None => return at,
            },
        }
    }
}

/// Behind the comment at `at`, if there is one; a line comment ends before its newline.
pub(super) fn comment_end(text: &[u8], at: usize) -> Option<usize> {
    let next = skip_splices(text, at + 1);
    match text.get(next)? {
        b'*' => Some(block_comment_end(text, next + 1)),
        b'/' => Some(line_comment_end(text, next + 1)),
        _ => None,
    }
}

fn block_comment_end(text: &[u8], mut at: usize) -> usize {
    while let Some(offset) = text[at..].iter().position(|byte| *byte == b'*') {
        at += offset + 1;
        let next = skip_splices(text, at);
        if text.get(next) == Some(&b'/') {
            return next + 1;
        }
    }
    text.len()
}

/// Whether `??/` continues the line depends on the compiler's options. Here it does not: then the next line is taken
/// for code, and at worst a directive too many is found.
fn line_comment_end(text: &[u8], mut at: usize) -> usize {
    while let Some(offset) = text[at..].iter().position(|byte| matches!(byte, b'\n' | b'\\')) {
        at += offset;
        if text[at] == b'\n' {
            return at;
        }
        at = splice(text, at).unwrap_or(at + 1);
    }
    text.len()
}

/// Behind the string or character that begins at `at`; one that is not closed ends before the newline.
pub(super) fn literal_end(text: &[u8], at: usize) -> usize {
    let quote = text[at];
    let mut at = at + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\n' => return at,
            b'\\' => at = splice(text, at).unwrap_or_else(|| (at + 2).min(text.len())),
            byte if *byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Behind the raw string whose quote is at `at`, if it is one and has an end.
pub(super) fn raw_string_end(text: &[u8], at: usize) -> Option<usize> {
    if at == 0 || text[at - 1] != b'R' {
        return None;
    }
    let prefix = text[..at].iter().rposition(|byte| !is_name_byte(*byte)).map_or(0, |before| before + 1);
    if !matches!(&text[prefix..at], b"R" | b"LR" | b"uR" | b"UR" | b"u8R") {
        return None;
    }
    let rest = &text[at + 1..];
    let open = rest.iter().take(RAW_DELIMITER_BYTES_MAX + 1).position(|byte| *byte == b'(')?;
    let mut close = vec![b')'];
    close.extend_from_slice(&rest[..open]);
    close.push(b'"');
    let end = rest[open..].windows(close.len()).position(|window| window == close)?;
    Some(at + 1 + open + end + close.len())
}

/// Whether the quote at `at` is inside a number (`1'000`).
pub(super) fn separates_digits(text: &[u8], at: usize) -> bool {
    let start = text[..at].iter().rposition(|byte| !(is_name_byte(*byte) || matches!(byte, b'\'' | b'.')));
    let run = &text[start.map_or(0, |before| before + 1)..at];
    // A run of quotes and names is looked at from its last closed character on: in `'a'1'` nothing is a number.
    run.first().is_some_and(u8::is_ascii_digit) && text.get(at + 1).is_some_and(u8::is_ascii_alphanumeric)
}

/// Adds text without its continuations.
pub(super) fn append_spliced(text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < text.len() {
        match splice(text, at) {
            Some(end) => at = end,
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
}
