//! Texts that are taken apart into words: response files and a shell's quoting. Also how inputs become words.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use distcc::compiler_args;
use distcc::pump::shell_words;

/// The lines of an input as words; none holds a NUL byte, as none on a command line does.
pub fn lines(bytes: &[u8]) -> Vec<OsString> {
    let words = bytes.split(|byte| *byte == b'\n');
    words.map(|word| OsString::from_vec(word.iter().copied().filter(|byte| *byte != 0).collect())).collect()
}

/// The most files one command may read, whatever they name: more than GNU's tools do.
const READS_MAX: u32 = 2000;
/// How many there are to be read in most runs, so that those are quick.
const READABLE: u32 = 50;

/// Files that name each other and themselves end, in few readings; a word that names no file stays; and words in quotes
/// come back as they were.
pub fn response_file(bytes: &[u8]) {
    let files: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    let reads = Cell::new(0);
    let mut read = |name: &OsStr| {
        reads.set(reads.get() + 1);
        assert!(reads.get() <= READS_MAX, "files are read without end");
        if reads.get() > READABLE && !bytes.len().is_multiple_of(64) {
            return None;
        }
        // One digit names a file.
        let [digit @ b'0'..=b'9'] = name.as_bytes() else { return None };
        files.get(usize::from(digit - b'0')).map(|content| content.to_vec())
    };
    let command = ["@0", "@0", "plain", "@none"].map(OsString::from);
    let expanded = compiler_args::expand(&command, &mut read);
    assert_eq!(expanded[0], "@0", "the compiler's name is no response file");
    assert!(expanded.ends_with(&["plain".into(), "@none".into()]));
    assert!(expanded.len() <= (1 << 20) + bytes.len() + 4, "{} words", expanded.len());

    let words = lines(bytes);
    let mut quoted = Vec::new();
    for word in &words {
        quoted.push(b'"');
        for byte in word.as_bytes() {
            quoted.extend_from_slice(if matches!(byte, b'"' | b'\\') { b"\\" } else { b"" });
            quoted.push(*byte);
        }
        quoted.extend_from_slice(b"\"\r\n");
    }
    let command = ["cc".into(), OsString::from("@file")];
    let made = compiler_args::expand(&command, &mut |name| (name == "file").then(|| quoted.clone()));
    let is_plain = words.iter().all(|word| !word.as_bytes().starts_with(b"@file"));
    assert!(!is_plain || made[1..] == words);
}

/// What is quoted is one word again, among others too; words are made of the text's bytes; and where nothing is quoted,
/// the words are those between blanks.
pub fn shell_words(bytes: &[u8]) {
    let text = OsStr::from_bytes(bytes);
    let words = shell_words::split(text);
    let is_plain = !bytes.iter().any(|byte| matches!(byte, b'\'' | b'"' | b'\\' | 0x0b | 0x0c | b'\r'));
    if let Ok(words) = &words {
        assert!(words.iter().map(|word| word.len()).sum::<usize>() <= bytes.len());
        assert!(!is_plain || *words == shell_words::split_at_blanks(text));
    }
    assert!(!is_plain || words.is_ok());
    let quoted = shell_words::quote(text);
    assert_eq!(shell_words::split(&quoted).as_deref(), Ok(&[text.to_owned()][..]));
    let mut joined = OsString::new();
    for word in lines(bytes) {
        joined.push(shell_words::quote(&word));
        joined.push(" ");
    }
    assert_eq!(shell_words::split(&joined), Ok(lines(bytes)));
}
