//! A shell's quoting, both ways: a text taken apart into words, and a value made a word. Expands nothing.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A quotation that does not end; holds the quotation mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unterminated(char);

impl fmt::Display for Unterminated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a quotation begun by {} does not end", self.0)
    }
}

/// The words of a text as a POSIX shell finds them, with its three ways to quote. Variables, patterns, commands and
/// operators are not looked for: their characters stand for themselves.
pub fn split(text: &OsStr) -> Result<Vec<OsString>, Unterminated> {
    let mut words = Vec::new();
    // None between words: an empty quotation makes an empty word.
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = text.as_bytes().iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\'' => quoted(&mut bytes, b'\'', word.get_or_insert_default())?,
            b'"' => quoted(&mut bytes, b'"', word.get_or_insert_default())?,
            b'\\' => match bytes.next() {
                // A line that goes on in the next one.
                Some(b'\n') => {}
                next => word.get_or_insert_default().push(next.unwrap_or(b'\\')),
            },
            b' ' | b'\t' | b'\n' => words.extend(word.take()),
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word.take());
    Ok(words.into_iter().map(OsString::from_vec).collect())
}

/// Takes the rest of a quotation.
fn quoted(bytes: &mut impl Iterator<Item = u8>, mark: u8, word: &mut Vec<u8>) -> Result<(), Unterminated> {
    let unterminated = Unterminated(char::from(mark));
    loop {
        match bytes.next().ok_or(unterminated)? {
            byte if byte == mark => return Ok(()),
            b'\\' if mark == b'"' => match bytes.next().ok_or(unterminated)? {
                b'\n' => {}
                byte @ (b'"' | b'\\' | b'$' | b'`') => word.push(byte),
                byte => word.extend([b'\\', byte]),
            },
            byte => word.push(byte),
        }
    }
}

/// The words of a text between blanks, where 3.4 quotes nothing either.
pub fn split_at_blanks(text: &OsStr) -> Vec<OsString> {
    text.as_bytes()
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect()
}

/// A value as one word of a shell, in single quotes.
pub fn quote(value: &OsStr) -> OsString {
    let mut word = vec![b'\''];
    for byte in value.as_bytes() {
        match byte {
            b'\'' => word.extend_from_slice(b"'\\''"),
            byte => word.push(*byte),
        }
    }
    word.push(b'\'');
    OsString::from_vec(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const CASES: &[(&str, &[&str])] = &[
        ("", &[]),
        ("  \t\n", &[]),
        ("-s -t", &["-s", "-t"]),
        ("--stat_reset_triggers='a b':*.h", &["--stat_reset_triggers=a b:*.h"]),
        (r#"--x="a \"b\" \$c \d" e"#, &[r#"--x=a "b" $c \d"#, "e"]),
        (r"a\ b \'c", &["a b", "'c"]),
        ("''", &[""]),
        ("a''\"\"b", &["ab"]),
        ("'a\\'", &["a\\"]),
        ("a\\\nb", &["ab"]),
    ];

    #[test]
    fn words_are_found_as_a_shell_finds_them() {
        for (text, words) in CASES {
            assert_eq!(split(OsStr::new(text)).unwrap(), *words, "{text:?}");
            let script = format!("set -f; set -- {text}\nfor word; do printf '%s\\0' \"$word\"; done");
            let shell = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
            let expected: String = words.iter().map(|word| format!("{word}\0")).collect();
            assert_eq!(String::from_utf8_lossy(&shell.stdout), expected, "the shell, {text:?}");
        }
    }

    #[test]
    fn nothing_is_expanded() {
        assert_eq!(split(OsStr::new("$HOME `id` a;b")).unwrap(), ["$HOME", "`id`", "a;b"]);
    }

    #[test]
    fn a_quotation_without_end_is_an_error() {
        for (text, mark) in [("'a", '\''), ("a \"b\\\"", '"')] {
            assert_eq!(split(OsStr::new(text)), Err(Unterminated(mark)), "{text:?}");
        }
    }

    #[test]
    fn a_quoted_value_survives_a_shell() {
        for value in ["", "plain", "it's", "'", "a  b\n$HOME `id` \\ \"", "\u{fc}"] {
            let word = quote(OsStr::new(value));
            assert_eq!(split(&word).unwrap(), [value]);
            let script = format!("printf %s {}", word.to_str().unwrap());
            let shell = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&shell.stdout), value);
        }
    }
}
