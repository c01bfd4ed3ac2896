//! What a server of distcc 3.4 accepts: it scans each command again, by simpler rules than ours, and drops the
//! connection without an answer when it disagrees. Models those rules; decides nothing.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::source_file::is_source;
use super::words::basename;

/// The word because of which a server of distcc 3.4 would drop this command, if there is one. A fault of the
/// command as a whole (no source, neither `-c` nor `-S`) is blamed on its first word.
pub fn refused_word(argv: &[OsString]) -> Option<&OsStr> {
    let compiler = argv.first()?;
    let (mut compiles, mut source, mut output) = (false, false, false);
    let mut words = argv.iter().skip(1).peekable();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        match bytes {
            b"-c" | b"-S" => compiles = true,
            b"-MD" | b"-MMD" | b"-MG" | b"-MP" => {}
            // A missing value makes the old server read beyond its vector.
            b"-MF" | b"-MT" | b"-MQ" => {
                let value = words.next();
                if value.is_none() {
                    return Some(word);
                }
            }
            b"-o" => {
                let value = words.next();
                if output || value.is_none_or(|value| value == "-") {
                    return Some(word);
                }
                output = true;
            }
            _ if starts(bytes, &["-o"]) => {
                if output {
                    return Some(word);
                }
                output = true;
            }
            _ if starts(bytes, &["-x"]) => {
                let accepted =
                    words.peek().is_none_or(|next| starts(next.as_bytes(), &["c", "objective-c", "go"]));
                if !accepted {
                    return Some(word);
                }
            }
            _ if is_refused_option(bytes) => return Some(word),
            _ if bytes.starts_with(b"-") => {}
            _ if is_source(word) => {
                if source || is_probe(word) {
                    return Some(word);
                }
                source = true;
            }
            _ if bytes.ends_with(b".o") => {
                if output {
                    return Some(word);
                }
                output = true;
            }
            _ => {}
        }
    }
    (!(compiles && source)).then_some(compiler)
}

/// Whether the file is one that configure scripts try the compiler on.
pub(super) fn is_probe(source: &OsStr) -> bool {
    starts(basename(source).as_bytes(), &["conftest.", "tmp.conftest."])
}

fn is_refused_option(word: &[u8]) -> bool {
    const WHOLE: [&[u8]; 8] = [
        b"-E",
        b"-march=native",
        b"-mtune=native",
        b"-fprofile-arcs",
        b"-ftest-coverage",
        b"--coverage",
        b"-frepo",
        b"-flto",
    ];
    const BEGINNINGS: [&str; 7] = [
        "-fprofile-generate",
        "-fprofile-use",
        "-fauto-profile",
        "-fprofile-correction",
        "-dr",
        "-specs=",
        "-fplugin=",
    ];
    let dependencies = starts(word, &["-M"]) && !starts(word, &["-MF", "-MT", "-MQ"]);
    WHOLE.contains(&word) || starts(word, &BEGINNINGS) || dependencies || asks_assembler_to_write(word)
}

/// Whether a `-Wa,` word makes the assembler write a listing or a dependency file.
pub(super) fn asks_assembler_to_write(word: &[u8]) -> bool {
    let contains = |part: &[u8]| word.windows(part.len()).any(|window| window == part);
    word.starts_with(b"-Wa,") && (contains(b",-a") || contains(b"--MD"))
}

fn starts(word: &[u8], beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| word.starts_with(beginning.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::words::argv;
    use super::*;

    #[test]
    fn refuses_what_3_4_was_seen_to_refuse() {
        let cases = [
            ("gcc -c a.c -o a.o", None),
            ("gcc -S a.c", None),
            ("gcc -c a.c -flto=auto --lto", None),
            ("gcc -x c++ -c a.c", None),
            ("gcc -x c++-cpp-output -c a.c", None),
            ("gcc -MD -MF a.d -MT a.o -c a.c", None),
            ("gcc -c a.c -flto", Some("-flto")),
            ("gcc -E a.c", Some("-E")),
            ("gcc -M -c a.c", Some("-M")),
            ("gcc -MJ x -c a.c", Some("-MJ")),
            ("gcc -xc++ -c a.c", Some("-xc++")),
            ("gcc -x assembler -c a.c", Some("-x")),
            ("gcc -c a.c b.c", Some("b.c")),
            ("gcc -include b.c -c a.c", Some("a.c")),
            ("gcc -c a.c -o a.o b.o", Some("b.o")),
            ("gcc -c a.c -o", Some("-o")),
            ("gcc -c a.c -MT", Some("-MT")),
            ("gcc -c a.c -o -", Some("-o")),
            ("gcc -c a.c -o a.o -openmp", Some("-openmp")),
            ("gcc -c conftest.c", Some("conftest.c")),
            ("gcc -c a.c -Wa,-adhln=x", Some("-Wa,-adhln=x")),
            ("gcc -c a.c -Wa,--noexecstack", None),
            ("gcc -c a.c -march=native", Some("-march=native")),
            ("gcc -c a.c -fprofile-use=x", Some("-fprofile-use=x")),
            ("gcc -c a.c -fplugin=x", Some("-fplugin=x")),
            ("gcc a.c -o a", Some("gcc")),
            ("gcc -c a.s", Some("gcc")),
        ];
        for (command, want) in cases {
            assert_eq!(refused_word(&argv(command)), want.map(OsStr::new), "{command}");
        }
    }
}
