//! `@file` words: replaced by the words of the file, by GNU's rules. Reads nothing itself; does not know what
//! the words mean.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// How deep response files may name response files: a file that names itself ends here, as in GNU's tools.
const DEPTH_MAX: usize = 64;

/// How many files one command may have read, those named twice counted twice: files that name each other twice would
/// double the work with each level, without adding a word. GNU's tools end there too.
const FILES_MAX: usize = 2000;

/// How many words a command may grow to: far above any real link line, far below the memory of a machine.
const WORDS_MAX: usize = 1 << 20;

/// Replaces every `@file` word but the first word. `read` gives a file's content; where it gives none, or a
/// limit is reached, the word stays as it is and the compiler reports it.
pub fn expand(argv: &[OsString], read: &mut dyn FnMut(&OsStr) -> Option<Vec<u8>>) -> Vec<OsString> {
    let out = argv.iter().take(1).cloned().collect();
    let mut expansion = Expansion { read, files_left: FILES_MAX, out };
    for word in argv.iter().skip(1) {
        expansion.add(word, DEPTH_MAX);
    }
    expansion.out
}

/// A command as far as it is expanded.
struct Expansion<'a> {
    read: &'a mut dyn FnMut(&OsStr) -> Option<Vec<u8>>,
    files_left: usize,
    out: Vec<OsString>,
}

impl Expansion<'_> {
    fn add(&mut self, word: &OsStr, depth: usize) {
        let Some(content) = self.content(word, depth) else { return self.out.push(word.to_owned()) };
        for inner in split(&content) {
            self.add(&inner, depth - 1);
        }
    }

    /// What is in the file that a word names, if it names one and no limit is reached.
    fn content(&mut self, word: &OsStr, depth: usize) -> Option<Vec<u8>> {
        let name = word.as_bytes().strip_prefix(b"@")?;
        if depth == 0 || self.out.len() >= WORDS_MAX {
            return None;
        }
        self.files_left = self.files_left.checked_sub(1)?;
        (self.read)(OsStr::from_bytes(name))
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

    #[test]
    fn files_that_name_each_other_twice_end_soon() {
        // Each reads the next twice, and the last is empty: 2 to the power of 60 readings without a word.
        let mut reads = 0;
        let words = expand(&["gcc".into(), "@0".into()], &mut |name| {
            reads += 1;
            let level: u32 = name.to_str()?.parse().ok()?;
            Some(if level == 60 { String::new() } else { format!("@{0} @{0}", level + 1) }.into_bytes())
        });
        assert_eq!(reads, FILES_MAX);
        assert!(words.len() < 100 && words[1..].iter().all(|word| word.as_bytes()[0] == b'@'), "{words:?}");
    }
}
