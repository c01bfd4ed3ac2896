//! Where a command tells the compiler to look for headers: the options and variables, in the order compilers use
//! them. Knows words only; whether a directory exists is not asked here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::CannotAnalyse;
use crate::compiler_args::{Compile, CompilerOption, Language};

/// The variables of gcc and clang that add search directories; each a list like PATH, an empty part meaning the
/// working directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IncludeVariables {
    /// CPATH: after all `-I`.
    pub all: Option<OsString>,
    /// C_INCLUDE_PATH: after all `-isystem`, for C.
    pub c: Option<OsString>,
    /// CPLUS_INCLUDE_PATH, for C++.
    pub cxx: Option<OsString>,
    /// OBJC_INCLUDE_PATH, for Objective-C.
    pub objective_c: Option<OsString>,
    /// OBJCPLUS_INCLUDE_PATH, which clang knows, for Objective-C++.
    pub objective_cxx: Option<OsString>,
}

/// A directory as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Directory {
    pub(super) path: Vec<u8>,
    /// It holds frameworks: `<X/y.h>` is `X.framework/Headers/y.h` in it.
    pub(super) framework: bool,
}

/// Everything in a command that says where files are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct SearchPath {
    /// `-iquote`.
    pub(super) quote: Vec<Directory>,
    /// `-I`, then CPATH.
    pub(super) user: Vec<Directory>,
    /// `-isystem` and its relatives: before the compiler's own directories.
    pub(super) before: Vec<Directory>,
    /// `-idirafter` and its relatives.
    pub(super) after: Vec<Directory>,
    /// `--embed-dir`, and what the assembler is given.
    pub(super) embed: Vec<Directory>,
    /// The options that decide what the compiler's own directories and macros are, as they are written.
    pub(super) probe: Vec<OsString>,
    /// Places the command names for the compiler's own files: what is there is the user's.
    pub(super) own_places: Vec<Vec<u8>>,
}

/// What else of a command matters to the analysis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct CommandText {
    /// `-include` and `-imacros`.
    pub(super) includes: Vec<Vec<u8>>,
    /// `-D`, each as the text after `#define`.
    pub(super) definitions: Vec<Vec<u8>>,
}

/// Reads a command. Fails for options whose meaning is not modelled.
pub(super) fn read(
    compile: &Compile,
    variables: &IncludeVariables,
) -> Result<(SearchPath, CommandText), CannotAnalyse> {
    let mut reader = Reader { sysroot: sysroot(compile), ..Reader::default() };
    for option in compile.options() {
        reader.note(&option, compile.language())?;
    }
    reader.note_variables(variables, compile.language());
    Ok((reader.path, reader.text))
}

/// `-isysroot` counts for headers, else `--sysroot`; of each the last.
fn sysroot(compile: &Compile) -> Vec<u8> {
    let (mut general, mut for_headers) = (None, None);
    for option in compile.options() {
        match option.name.as_bytes() {
            b"-isysroot" => for_headers = Some(option.value),
            b"--sysroot" | b"--sysroot=" => general = Some(option.value),
            _ => {}
        }
    }
    for_headers.or(general).map_or_else(Vec::new, |value| value.as_bytes().to_vec())
}

#[derive(Default)]
struct Reader {
    path: SearchPath,
    text: CommandText,
    sysroot: Vec<u8>,
    prefix: Option<Vec<u8>>,
    /// The option whose value the next `-Xpreprocessor` gives.
    preprocessor_option: Vec<u8>,
    /// The next word for the assembler is a directory.
    assembler_directory: bool,
}

impl Reader {
    fn note(&mut self, option: &CompilerOption<'_>, language: Language) -> Result<(), CannotAnalyse> {
        let value = option.value.as_bytes();
        let is_cxx = language == language.with_cxx();
        let name = option.name.to_str().unwrap_or_default();
        match name {
            "-I" | "--include-directory" | "--include-directory=" if value == b"-" => {
                return Err(CannotAnalyse::option("-I-", "divides the search path in an old way"));
            }
            "-I" | "-iquote" | "-isystem" if value.ends_with(b".hmap") => {
                return Err(CannotAnalyse::option(name, "names a header map, which is not read"));
            }
            "-I" | "--include-directory" | "--include-directory=" => self.add(List::User, value),
            "-iquote" => self.add(List::Quote, value),
            "-isystem" => self.add(List::Before, value),
            "-cxx-isystem" | "-stdlib++-isystem" if is_cxx => self.add(List::Before, value),
            "-cxx-isystem" | "-stdlib++-isystem" => {}
            "-iwithsysroot" => self.add_in_sysroot(List::Before, value, false),
            "-idirafter" | "-isystem-after" | "--include-directory-after" | "--include-directory-after=" => {
                self.add(List::After, value);
            }
            "-iprefix" | "--include-prefix" | "--include-prefix=" => self.prefix = Some(value.to_vec()),
            "-iwithprefix" | "--include-with-prefix" | "--include-with-prefix=" => {
                self.add_prefixed(List::After, value)?;
            }
            "--include-with-prefix-after" | "--include-with-prefix-after=" => {
                self.add_prefixed(List::After, value)?;
            }
            "-iwithprefixbefore" | "--include-with-prefix-before" | "--include-with-prefix-before=" => {
                self.add_prefixed(List::User, value)?;
            }
            "-F" => self.push(List::User, value.to_vec(), true),
            "-iframework" => self.push(List::Before, value.to_vec(), true),
            "-iframeworkwithsysroot" => self.add_in_sysroot(List::Before, value, true),
            "--embed-dir=" => self.push(List::Embed, value.to_vec(), false),
            "-include" | "--include" | "--include=" | "-imacros" | "--imacros" | "--imacros=" => {
                self.text.includes.push(value.to_vec());
            }
            "-D" | "--define-macro" | "--define-macro=" => self.text.definitions.push(definition(value)),
            "-remap" | "-fms-compatibility" | "-imultilib" | "-Wp," | "-ivfsoverlay" | "-resource-dir"
            | "-resource-dir=" => {
                return Err(CannotAnalyse::option(name, "changes how headers are found"));
            }
            "-Xpreprocessor" => self.note_preprocessor_word(value)?,
            "-Wa," => value.split(|byte| *byte == b',').for_each(|word| self.note_assembler_word(word)),
            "-Xassembler" => self.note_assembler_word(value),
            _ => self.note_probe_option(name, option),
        }
        Ok(())
    }

    /// `-Xpreprocessor WORD`. Where a search directory given like this comes among the others is not known.
    fn note_preprocessor_word(&mut self, word: &[u8]) -> Result<(), CannotAnalyse> {
        let owner = std::mem::take(&mut self.preprocessor_option);
        match (owner.as_slice(), word) {
            (b"-D", value) => self.text.definitions.push(definition(value)),
            (b"-U" | b"-MF" | b"-MT" | b"-MQ", _) => {}
            (_, b"-D" | b"-U" | b"-MF" | b"-MT" | b"-MQ") => self.preprocessor_option = word.to_vec(),
            (_, [b'-', b'D', value @ ..]) => self.text.definitions.push(definition(value)),
            (_, [b'-', b'U' | b'W' | b'M' | b'd', ..]) => {}
            _ => {
                let option = format!("-Xpreprocessor {}", String::from_utf8_lossy(word));
                return Err(CannotAnalyse::option(&option, "may change how headers are found"));
            }
        }
        Ok(())
    }

    /// A word for the assembler: its directories count for `.incbin`.
    fn note_assembler_word(&mut self, word: &[u8]) {
        let expects_directory = std::mem::replace(&mut self.assembler_directory, word == b"-I");
        match word.strip_prefix(b"-I") {
            _ if expects_directory => self.push(List::Embed, word.to_vec(), false),
            Some(directory) if !directory.is_empty() => self.push(List::Embed, directory.to_vec(), false),
            _ => {}
        }
    }

    fn note_probe_option(&mut self, name: &str, option: &CompilerOption<'_>) {
        /// Options that name a place of the user's, where the compiler then also looks.
        const PLACES: [&str; 9] = [
            "--sysroot",
            "--sysroot=",
            "-isysroot",
            "-B",
            "--prefix",
            "--prefix=",
            "--gcc-toolchain",
            "--gcc-toolchain=",
            "--gcc-install-dir=",
        ];
        /// Other options that change the answer.
        const NAMES: [&str; 13] = [
            "-nostdinc",
            "-nostdinc++",
            "-nostdlibinc",
            "-nobuiltininc",
            "-ibuiltininc",
            "--no-standard-includes",
            "-target",
            "--target",
            "-stdlib",
            "-arch",
            "-ansi",
            "-undef",
            "-pthread",
        ];
        const BEGINNINGS: [&str; 5] = ["--target=", "-m", "-std=", "--std=", "-fms-"];
        let word = option.words[0].to_str().unwrap_or_default();
        let is_place = PLACES.contains(&name);
        let begins = word != "-mllvm" && BEGINNINGS.iter().any(|part| word.starts_with(part));
        if is_place || NAMES.contains(&name) || begins {
            self.path.probe.extend_from_slice(option.words);
        }
        if is_place {
            self.path.own_places.push(option.value.as_bytes().to_vec());
        }
    }

    fn note_variables(&mut self, variables: &IncludeVariables, language: Language) {
        let own = match language {
            Language::C => &variables.c,
            Language::Cxx => &variables.cxx,
            Language::ObjectiveC => &variables.objective_c,
            Language::ObjectiveCxx => &variables.objective_cxx,
        };
        for (list, value) in [(List::User, &variables.all), (List::Before, own)] {
            let Some(value) = value.as_deref().filter(|value| !value.is_empty()) else { continue };
            for part in value.as_bytes().split(|byte| *byte == b':') {
                self.push(list, if part.is_empty() { b".".to_vec() } else { part.to_vec() }, false);
            }
        }
    }

    /// A leading `=` or `$SYSROOT` means the sysroot.
    fn add(&mut self, list: List, value: &[u8]) {
        match value.strip_prefix(b"=").or_else(|| value.strip_prefix(b"$SYSROOT")) {
            Some(rest) => self.push(list, [&self.sysroot, rest].concat(), false),
            None => self.push(list, value.to_vec(), false),
        }
    }

    fn add_in_sysroot(&mut self, list: List, value: &[u8], framework: bool) {
        let absolute = value.starts_with(b"/");
        let root = if absolute { self.sysroot.as_slice() } else { b"" };
        self.push(list, [root, value].concat(), framework);
    }

    fn add_prefixed(&mut self, list: List, value: &[u8]) -> Result<(), CannotAnalyse> {
        let prefix = self.prefix.as_ref().ok_or_else(|| {
            CannotAnalyse::option("-iwithprefix", "without -iprefix means a place inside the compiler")
        })?;
        let path = [prefix, value].concat();
        self.push(list, path, false);
        Ok(())
    }

    fn push(&mut self, list: List, path: Vec<u8>, framework: bool) {
        let list = match list {
            List::Quote => &mut self.path.quote,
            List::User => &mut self.path.user,
            List::Before => &mut self.path.before,
            List::After => &mut self.path.after,
            List::Embed => &mut self.path.embed,
        };
        list.push(Directory { path, framework });
    }
}

#[derive(Clone, Copy)]
enum List {
    Quote,
    User,
    Before,
    After,
    Embed,
}

/// `-DX` is `X 1`, `-DX=` is `X`, `-DF(x)=y` is `F(x) y`.
fn definition(value: &[u8]) -> Vec<u8> {
    match value.iter().position(|byte| *byte == b'=') {
        Some(equals) => [&value[..equals], b" ", &value[equals + 1..]].concat(),
        None => [value, b" 1"].concat(),
    }
}

/// A path of the command, made absolute.
pub(super) fn absolute(directory: &OsStr, path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") {
        return path.to_vec();
    }
    let mut made = directory.as_bytes().to_vec();
    for part in path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
        if made.last() != Some(&b'/') {
            made.push(b'/');
        }
        made.extend_from_slice(part);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler_args::{self, Verdict};

    fn read_command(command: &str) -> Result<(SearchPath, CommandText), CannotAnalyse> {
        let argv: Vec<OsString> = command.split(' ').map(OsString::from).collect();
        let Ok(Verdict::Distribute(compile)) = compiler_args::scan(&argv) else { panic!("{command}") };
        let variables = IncludeVariables {
            all: Some("/cpath:".into()),
            c: Some("/c".into()),
            cxx: Some("/cxx".into()),
            ..IncludeVariables::default()
        };
        read(&compile, &variables)
    }

    fn shown(list: &[Directory]) -> String {
        let words = list.iter().map(|directory| String::from_utf8_lossy(&directory.path).into_owned());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn directories_come_in_the_compilers_order() {
        let cases = [
            ("gcc -c a.c -I x -Iy -iquoteq -isystem s", ["q", "x y /cpath .", "s /c", ""]),
            ("g++ -c a.cc -idirafter d", ["", "/cpath .", "/cxx", "d"]),
            (
                "gcc -c a.c -iprefix /p/ -iwithprefix a -iwithprefixbefore b",
                ["", "/p/b /cpath .", "/c", "/p/a"],
            ),
            (
                "gcc -c a.c -I=/i --sysroot=/root -isystem $SYSROOT/s",
                ["", "/root/i /cpath .", "/root/s /c", ""],
            ),
            ("gcc -c a.c -I=/i --sysroot=/root -isysroot /other", ["", "/other/i /cpath .", "/c", ""]),
            ("clang -c a.c --include-directory=x -F f -iframework g", ["", "x f /cpath .", "g /c", ""]),
            (
                "clang++ -c a.cc -cxx-isystem x -iwithsysroot /y -isysroot /r",
                ["", "/cpath .", "x /r/y /cxx", ""],
            ),
        ];
        for (command, want) in cases {
            let (path, _) = read_command(command).unwrap();
            let lists = [&path.quote, &path.user, &path.before, &path.after].map(|list| shown(list));
            assert_eq!(lists, want, "{command}");
        }
    }

    #[test]
    fn what_the_compiler_must_be_asked_with_is_kept() {
        let (path, text) = read_command(
            "gcc -O2 -m32 -std=c99 -nostdinc -c a.c -Dx -DF(x)=y=z -DE= -include i.h -imacros m.h -Wa,-I,p,-Iq,-g \
             -Xassembler -I -Xassembler r -Xpreprocessor -D -Xpreprocessor y=1 -Xpreprocessor -Dz",
        )
        .unwrap();
        assert_eq!(path.probe, ["-m32", "-std=c99", "-nostdinc"]);
        assert_eq!(text.definitions, [&b"x 1"[..], b"F(x) y=z", b"E ", b"y 1", b"z 1"]);
        assert_eq!(shown(&path.embed), "p q r");
        assert_eq!(text.includes, [b"i.h", b"m.h"]);
    }

    #[test]
    fn what_is_not_modelled_is_refused() {
        for command in [
            "gcc -I- -c a.c",
            "gcc -remap -c a.c",
            "gcc -c a.c -iwithprefix x",
            "gcc -c a.c -Xpreprocessor -I -Xpreprocessor x",
        ] {
            assert!(read_command(command).is_err(), "{command}");
        }
    }
}
