//! The command for a server that cannot show a compiler the client's own paths: the job's files lie below a private
//! directory, and the result must still not tell. Touches no file; `unpacked_text` cleans what the compiler writes.
//!
//! Three things hide the directory. Values that name files of the client get it in front. Prefix maps take it away
//! from what is recorded: debug information, `__FILE__`, the assembler's line table. And the words of the user's own
//! maps are made to fit, so that they win where they would have won: gcc and clang since 17 take the last map that
//! fits, older clangs the longest, and ours is both first and shortest. (Clang, given a map of the empty name too,
//! does not apply that one: `-ffile-prefix-map==NEW`.)

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::option_table::{DependencyPart, Names, Role};
use super::server_args::{Refusal, ServerCompile, refuse, writes_to_chosen_place};
use super::words::{Item, Kind, basename, items, with_suffix};
use crate::exit_code::ExitCode;

/// Where a job's files are.
#[derive(Clone, Copy)]
pub struct Unpacked<'a> {
    /// The directory that stands for the client's `/`: absolute, without a slash at the end.
    pub root: &'a OsStr,
    /// Where the object goes.
    pub object: &'a OsStr,
    /// Where the dependency file goes.
    pub dependencies: &'a OsStr,
    /// What the compiler can do about names.
    pub maps: PathMaps,
    /// Whether the job brought files in a directory of the client; asked for values of `--sysroot`, where the
    /// server may have its own directory of that name.
    pub brought: &'a dyn Fn(&OsStr) -> bool,
}

/// Which prefix maps a compiler understands; it refuses those it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMaps {
    /// None: neither gcc nor clang, or an old one.
    Unknown,
    /// `-fdebug-prefix-map=`: gcc since 4.3, clang since 3.8.
    Debug,
    /// And `-fmacro-prefix-map=`: gcc since 8, clang since 10.
    DebugAndMacros,
}

impl PathMaps {
    /// What the compiler understands whose predefined macros are these: the output of `-E -dM -x c /dev/null`.
    pub fn of_macros(macros: &[u8]) -> PathMaps {
        // They say that they are gcc, for the sake of headers, and have options of their own.
        const OTHERS: [&str; 5] = ["__INTEL_COMPILER", "__NVCOMPILER", "__PGI", "__SUNPRO_C", "__TINYC__"];
        if OTHERS.iter().any(|name| macro_number(macros, name).is_some()) {
            return PathMaps::Unknown;
        }
        let number = |name| macro_number(macros, name).unwrap_or_default();
        let (version, debug, both) = match number("__clang_major__") {
            0 => ((number("__GNUC__"), number("__GNUC_MINOR__")), (4, 3), (8, 0)),
            major => ((major, number("__clang_minor__")), (3, 8), (10, 0)),
        };
        match version {
            _ if version >= both => PathMaps::DebugAndMacros,
            _ if version >= debug => PathMaps::Debug,
            _ => PathMaps::Unknown,
        }
    }

    fn options(self) -> &'static [&'static str] {
        // Not -ffile-prefix-map: in gcc it goes before a user's -fmacro-prefix-map wherever it stands.
        match self {
            PathMaps::Unknown => &[],
            PathMaps::Debug => &["-fdebug-prefix-map="],
            PathMaps::DebugAndMacros => &["-fdebug-prefix-map=", "-fmacro-prefix-map="],
        }
    }
}

/// The number a macro is defined as, 0 if it is defined as something else.
fn macro_number(macros: &[u8], name: &str) -> Option<u32> {
    macros.split(|byte| *byte == b'\n').find_map(|line| {
        let mut words = line.split(|byte| *byte == b' ').skip(1);
        let is_it = words.next()? == name.as_bytes();
        let number = || str::from_utf8(words.next()?).ok()?.parse().ok();
        is_it.then(number).map(Option::unwrap_or_default)
    })
}

impl ServerCompile {
    /// The words to run on the client's own files, which lie below a private directory.
    ///
    /// The compiler must run in the client's directory below the root, with `PWD` naming it. Fails for commands whose
    /// result would show the root all the same, or that could write elsewhere: the client does better with those.
    pub fn pump_command(&self, place: &Unpacked<'_>) -> Result<Vec<OsString>, Refusal> {
        if let Some(item) = items(&self.argv).find(|item| item.role() == Role::PassedToPreprocessor) {
            let why = "speaks to the preprocessor, which could write files";
            return Err(refuse(item.word, ExitCode::DistccFailed, why));
        }
        if let Some(item) = items(&self.argv).find(|item| is_overlay(item)) {
            let why = "shows files under other names, which may be this server's";
            return Err(refuse(item.word, ExitCode::DistccFailed, why));
        }
        if let Some(word) = self.records_paths() {
            let why = "records the names of files in a way that cannot be changed";
            return Err(refuse(word, ExitCode::DistccFailed, why));
        }
        let mut out = vec![self.argv[0].clone()];
        // A map ends its old name at the first equals sign.
        if !place.root.as_bytes().contains(&b'=') {
            out.extend(place.maps.options().iter().map(|option| {
                let mut word = OsString::from(option);
                word.extend([place.root, "=".as_ref()]);
                word
            }));
        }
        let (mut asks, mut names_target) = (false, false);
        for item in items(&self.argv) {
            match item.role() {
                _ if item.at == self.source => out.push(place.below(item.word)),
                Role::Output | Role::Dependency(DependencyPart::File) => {}
                _ if writes_to_chosen_place(&item) => {}
                _ if matches!(item.kind, Kind::Input) => {}
                role => {
                    asks |= role == Role::Dependency(DependencyPart::Request);
                    names_target |= matches!(
                        role,
                        Role::Dependency(DependencyPart::Target | DependencyPart::QuotedTarget)
                    );
                    place.push_option(&item, &self.argv, &mut out);
                }
            }
        }
        if !asks {
            // Clients of 3.4 may want them for a variable that they do not send.
            out.push("-MMD".into());
        }
        if !names_target {
            out.extend(["-MQ".into(), self.default_target()]);
        }
        out.extend(["-MF".into(), place.dependencies.to_owned(), "-o".into(), place.object.to_owned()]);
        Ok(out)
    }

    /// The option because of which the result names files where no map and no patch reaches: in bytecode, in what
    /// sanitizers report, in clang's record of its command line.
    fn records_paths(&self) -> Option<&OsStr> {
        const RECORDING: [(&[&str], &str); 4] = [
            (&["-flto", "--lto", "-emit-llvm"], "-fno-lto"),
            (&["-fsanitize="], "-fno-sanitize=all"),
            (&["-frecord-gcc-switches", "-frecord-command-line"], "-fno-record-gcc-switches"),
            (&["-grecord-command-line"], "-gno-record-command-line"),
        ];
        RECORDING.iter().find_map(|(yes, no)| {
            let begins =
                |word: &&OsString| yes.iter().any(|name| word.as_bytes().starts_with(name.as_bytes()));
            let last = self.argv.iter().rfind(|word| *word == no || begins(word))?;
            (last != no).then_some(last.as_os_str())
        })
    }

    /// What depends, in the dependency file of a command that does not say.
    fn default_target(&self) -> OsString {
        match self.output() {
            output if output.is_empty() => with_suffix(basename(self.source()), ".o"),
            output => output.to_owned(),
        }
    }
}

/// Whether an option names a list of files and where clang finds their content.
fn is_overlay(item: &Item<'_>) -> bool {
    matches!(item.kind, Kind::Known(row, _) if matches!(row.name, "-ivfsoverlay" | "-vfsoverlay"))
}

impl Unpacked<'_> {
    /// The path below the root if it is absolute; else the path.
    fn below(&self, path: &OsStr) -> OsString {
        if !path.as_bytes().starts_with(b"/") {
            return path.to_owned();
        }
        let mut made = self.root.to_owned();
        made.push(path);
        made
    }

    /// Adds an option; a name of the client's gets the root in front.
    ///
    /// A value such as `=/include` is below the system root already, the one the command names or the compiler's
    /// own; so are those of `-iwithprefix`, which only lengthen the prefix.
    fn push_option(&self, item: &Item<'_>, argv: &[OsString], out: &mut Vec<OsString>) {
        let words = &argv[item.at..item.at + item.len];
        let Kind::Known(row, value) = item.kind else { return out.extend_from_slice(words) };
        let value = match row.names {
            Names::Source => self.below(value),
            Names::SystemRoot if (self.brought)(value) => self.below(value),
            Names::PrefixMap => return self.push_map(row.name, value, item.word, out),
            Names::Nothing if row.role == Role::Assembler => self.assembler_words(value),
            Names::Nothing | Names::SystemRoot => return out.extend_from_slice(words),
        };
        if item.len == 2 {
            return out.extend([item.word.to_owned(), value]);
        }
        let mut word = OsString::from(row.name);
        word.push(value);
        out.push(word);
    }

    /// Adds a map of the user's: as it is, for files that are the server's, and for the client's.
    fn push_map(&self, name: &str, value: &OsStr, word: &OsStr, out: &mut Vec<OsString>) {
        let (value, root) = (value.as_bytes(), self.root.as_bytes());
        let old = value.split(|byte| *byte == b'=').next().unwrap_or_default();
        let is_everything = old.is_empty() || old == b"/";
        // One that fits the root's own name would catch all files below it.
        if !root.starts_with(old) || is_everything {
            out.push(word.to_owned());
        }
        if old.starts_with(b"/") || is_everything {
            let mut made = OsString::from(name);
            made.extend([self.root, OsStr::from_bytes(value)]);
            out.push(made);
        }
    }

    /// `-I` among the words for an assembler, which reads files for `.include` and `.incbin`.
    fn assembler_words(&self, list: &OsStr) -> OsString {
        let mut names_directory = false;
        let mut made = OsString::new();
        for (at, part) in list.as_bytes().split(|byte| *byte == b',').enumerate() {
            let directory = if names_directory { Some(part) } else { part.strip_prefix(b"-I") };
            names_directory = part == b"-I";
            if at > 0 {
                made.push(",");
            }
            match directory {
                Some(directory) => {
                    made.push(OsStr::from_bytes(&part[..part.len() - directory.len()]));
                    made.push(self.below(OsStr::from_bytes(directory)));
                }
                None => made.push(OsStr::from_bytes(part)),
            }
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::words::argv;
    use super::*;

    fn unpacked(command: &str, maps: PathMaps) -> Result<Vec<OsString>, Refusal> {
        let brought = |path: &OsStr| path == "/sdk";
        let place = Unpacked {
            root: OsStr::new("/R"),
            object: OsStr::new("/o"),
            dependencies: OsStr::new("/d"),
            maps,
            brought: &brought,
        };
        check(&argv(command)).unwrap().pump_command(&place)
    }

    #[test]
    fn names_of_the_client_are_put_below_the_root() {
        let cases = [
            ("", ""),
            ("-I/a -I b -I. -I- -isystem /c -DX=/y", "-I/R/a -I b -I. -I- -isystem /R/c -DX=/y"),
            ("-include/a.h -imacros /b -idirafter/c", "-include/R/a.h -imacros /R/b -idirafter/R/c"),
            ("-iquote /a -F/b -iframework /c", "-iquote /R/a -F/R/b -iframework /R/c"),
            ("--include-directory=/a --include /b", "--include-directory=/R/a --include /R/b"),
            (
                "-iprefix /a -iwithprefix /b -iwithprefixbefore /c",
                "-iprefix /R/a -iwithprefix /b -iwithprefixbefore /c",
            ),
            ("--sysroot=/sdk -isystem=/b -I=/c", "--sysroot=/R/sdk -isystem=/b -I=/c"),
            ("--sysroot /usr/arm -isysroot /sdk", "--sysroot /usr/arm -isysroot /R/sdk"),
            ("-B/usr/lib/x -L/y -Wl,/z", "-B/usr/lib/x -L/y -Wl,/z"),
            ("-Wa,-I/a,-I,/b,-Ic,--noexecstack", "-Wa,-I/R/a,-I,/R/b,-Ic,--noexecstack"),
            ("-Xassembler -I/a", "-Xassembler -I/R/a"),
            ("x.o -fcallgraph-info -ftime-trace=/etc/x", "-fcallgraph-info"),
            ("-time=/etc/x -fcrash-diagnostics-dir=/etc -fmodules-cache-path=/x", ""),
        ];
        for (options, want) in cases {
            let want = argv(&format!("gcc {want} -c /R/p/m.c -MMD -MQ m.o -MF /d -o /o"));
            assert_eq!(
                unpacked(&format!("gcc {options} -c /p/m.c -o m.o"), PathMaps::Unknown),
                Ok(want),
                "{options}"
            );
        }
    }

    #[test]
    fn dependencies_have_the_clients_targets() {
        let cases = [
            ("-c m.c", "-c m.c -MMD -MQ m.o -MF /d -o /o"),
            ("-S x/m.c", "-S x/m.c -MMD -MQ m.o -MF /d -o /o"),
            ("-Wp,-MD,x -c d/m.c -oy", "-MD -c d/m.c -MQ m.o -MF /d -o /o"),
            ("-MD -MF x -c m.c -oy", "-MD -c m.c -MQ y -MF /d -o /o"),
            ("-MD -MT m.o -MT n.o -c m.c -o y", "-MD -MT m.o -MT n.o -c m.c -MF /d -o /o"),
            ("-MMD -MP -MQ m.o -c m.c", "-MMD -MP -MQ m.o -c m.c -MF /d -o /o"),
        ];
        for (words, want) in cases {
            assert_eq!(
                unpacked(&format!("gcc {words}"), PathMaps::Unknown),
                Ok(argv(&format!("gcc {want}"))),
                "{words}"
            );
        }
    }

    #[test]
    fn maps_of_the_user_follow_ours_and_fit_the_root() {
        let cases = [
            ("-ffile-prefix-map=/p=.", "-ffile-prefix-map=/p=. -ffile-prefix-map=/R/p=."),
            ("-fdebug-prefix-map=/p=a=b", "-fdebug-prefix-map=/p=a=b -fdebug-prefix-map=/R/p=a=b"),
            ("-fmacro-prefix-map=..=x", "-fmacro-prefix-map=..=x"),
            ("-ffile-prefix-map=/=x", "-ffile-prefix-map=/=x -ffile-prefix-map=/R/=x"),
            ("-ffile-prefix-map==x", "-ffile-prefix-map==x -ffile-prefix-map=/R=x"),
            ("-ffile-prefix-map=/R=x", "-ffile-prefix-map=/R/R=x"),
        ];
        for (map, want) in cases {
            let ours = "-fdebug-prefix-map=/R= -fmacro-prefix-map=/R=";
            let want = argv(&format!("gcc {ours} {want} -c m.c -MMD -MQ m.o -MF /d -o /o"));
            assert_eq!(unpacked(&format!("gcc {map} -c m.c"), PathMaps::DebugAndMacros), Ok(want), "{map}");
        }
    }

    #[test]
    fn a_compiler_gets_only_the_maps_it_knows() {
        use PathMaps::{Debug, DebugAndMacros, Unknown};
        let cases = [
            ("#define __GNUC__ 12\n#define __GNUC_MINOR__ 2\n", DebugAndMacros),
            ("#define __GNUC_MINOR__ 5\n#define __GNUC__ 7\n", Debug),
            ("#define __GNUC__ 4\n#define __GNUC_MINOR__ 2\n", Unknown),
            ("#define __GNUC__ 4\n#define __GNUC_MINOR__ 2\n#define __clang_major__ 14\n", DebugAndMacros),
            ("#define __GNUC__ 4\n#define __clang_major__ 3\n#define __clang_minor__ 8\n", Debug),
            ("#define __GNUC__ 12\n#define __TINYC__ 928\n", Unknown),
            ("#define __GNUC__ 12\n#define __PGI\n", Unknown),
            ("#define __GNUC__\n\n#define\nx", Unknown),
            ("", Unknown),
        ];
        for (macros, want) in cases {
            assert_eq!(PathMaps::of_macros(macros.as_bytes()), want, "{macros}");
        }
    }

    #[test]
    fn commands_that_cannot_be_hidden_are_refused() {
        let cases = [
            ("-g -O2 -grecord-gcc-switches", ""),
            ("-flto", "-flto records"),
            ("-flto=auto -O2", "-flto=auto records"),
            ("-flto -fno-lto", ""),
            ("-emit-llvm", "-emit-llvm records"),
            ("-fsanitize=address", "-fsanitize=address records"),
            ("-fsanitize=address -fno-sanitize=all", ""),
            ("-frecord-gcc-switches", "-frecord-gcc-switches records"),
            ("-Xpreprocessor -MD -Xpreprocessor x", "-Xpreprocessor speaks"),
            ("-ivfsoverlay x.yaml", "-ivfsoverlay shows files"),
        ];
        for (options, want) in cases {
            let told = unpacked(&format!("gcc {options} -c a.c"), PathMaps::Unknown);
            let told = told.err().map(|refusal| refusal.to_string()).unwrap_or_default();
            assert!(told.starts_with(want) && told.is_empty() == want.is_empty(), "{options}: {told}");
        }
    }
}
