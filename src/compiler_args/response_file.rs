//! `@file` words: replaced by the words of the file, by GNU's rules. Reads nothing itself; does not know what
//! the words mean.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// How deep response files may name response files: a file that names itself ends here, as in GNU's tools.
const DEPTH_MAX: usize = 64;

/// How many words a command may grow to: far above any real link line, far below the memory of a machine.
const WORDS_MAX: usize = 1 << 20;

/// Replaces every `@file` word but the first word. `read` gives a file's content; where it gives none, or a
/// limit is reached, the word stays as it is and the compiler reports it.
pub fn expand(argv: &[OsString], read: &mut dyn FnMut(&OsStr) -> Option<Vec<u8>>) -> Vec<OsString> {
    let mut out: Vec<OsString> = argv.iter().take(1).cloned().collect();
    for word in argv.iter().skip(1) {
        expand_word(word, DEPTH_MAX, read, &mut out);
    }
    out
}

fn expand_word(
    word: &OsStr,
    depth: usize,
    read: &mut dyn FnMut(&OsStr) -> Option<Vec<u8>>,
    out: &mut Vec<OsString>,
) {
    let name = word.as_bytes().strip_prefix(b"@").filter(|_| depth > 0 && out.len() < WORDS_MAX);
    let Some(content) = name.and_then(|name| read(OsStr::from_bytes(name))) else {
        out.push(word.to_owned());
        return;
    };
    for inner in split(&content) {
        expand_word(&inner, depth - 1, read, out);
    }
}

/// Divides a file's content: blanks separate, quotes of both kinds hold together, a backslash takes the next
/// byte as it is, also within quotes.
fn split(content: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote: Option<u8> = None;
    let mut bytes = content.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', _) => word.get_or_insert_default().extend(bytes.next()),
            (b'\'' | b'"', None) => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (_, Some(open)) if byte == open => quote = None,
            (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words.into_iter().map(OsString::from_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(command: &[&str]) -> Vec<OsString> {
        let argv: Vec<OsString> = command.iter().map(OsString::from).collect();
        expand(&argv, &mut |name| {
            Some(match name.to_str()? {
                "plain" => b" -c  a.c\n-o\ta.o \n".to_vec(),
                "quotes" => br#"-DA='x y' "-DB=\"q\"" -DC=a\ b '' "it's""#.to_vec(),
                "nested" => b"-O2 @plain @missing".to_vec(),
                "loop" => b"-x @loop".to_vec(),
                "bytes" => b"-D\xff\xfe".to_vec(),
                "empty" => Vec::new(),
                _ => return None,
            })
        })
    }

    #[test]
    fn files_become_words() {
        let cases: [(&[&str], &[&str]); 6] = [
            (&["gcc", "@plain", "-g"], &["gcc", "-c", "a.c", "-o", "a.o", "-g"]),
            (&["gcc", "@quotes"], &["gcc", "-DA=x y", "-DB=\"q\"", "-DC=a b", "", "it's"]),
            (&["gcc", "@nested"], &["gcc", "-O2", "-c", "a.c", "-o", "a.o", "@missing"]),
            (&["gcc", "@none", "@"], &["gcc", "@none", "@"]),
            (&["gcc", "@empty", "x"], &["gcc", "x"]),
            (&["@plain"], &["@plain"]),
        ];
        for (command, want) in cases {
            assert_eq!(expanded(command), want, "{command:?}");
        }
    }

    #[test]
    fn words_need_not_be_text() {
        assert_eq!(expanded(&["gcc", "@bytes"])[1].as_bytes(), b"-D\xff\xfe");
    }

    #[test]
    fn a_file_that_names_itself_ends() {
        let words = expanded(&["gcc", "@loop"]);
        assert_eq!(words.len(), 1 + DEPTH_MAX + 1);
        assert_eq!(words.last().unwrap(), "@loop");
    }
}
