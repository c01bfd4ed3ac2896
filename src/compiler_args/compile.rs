//! A compilation that can be distributed, and the commands it becomes: for the preprocessor here, for a server
//! that gets preprocessed text, for a server that preprocesses. Decides nothing; runs nothing.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::dependency::{self, DependencyOutput};
use super::gathered::{TextForm, macro_words};
use super::old_server::refused_word;
use super::option_table::{DependencyPart, Role};
use super::reason::Reason;
use super::server_args::check;
use super::source_file::{Language, SourceKind};
use super::words::{Item, Kind, basename, items};

/// Whose command line it is, where gcc and clang differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// gcc, and whatever else is called by a name without `clang`.
    Gcc,
    /// clang.
    Clang,
}

impl Family {
    /// What the compiler's name says.
    pub fn of_name(compiler: &OsStr) -> Family {
        let is_clang = basename(compiler).as_bytes().windows(5).any(|part| part == b"clang");
        if is_clang { Family::Clang } else { Family::Gcc }
    }
}

/// A compilation of one source file to one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compile {
    /// The command; `-Wp,` divided and `-o` present.
    pub(super) argv: Vec<OsString>,
    /// The source word's index.
    pub(super) source: usize,
    pub(super) output: OsString,
    /// Whether the user named the output.
    pub(super) names_output: bool,
    pub(super) kind: SourceKind,
    /// Whether `-x` declared the language.
    pub(super) declares_language: bool,
    pub(super) dependencies: dependency::Request,
}

/// The processor options that can be `native`.
const PROCESSOR_OPTIONS: [&str; 3] = ["-march=", "-mtune=", "-mcpu="];

/// One option of a command.
#[derive(Clone, Copy, Debug)]
pub struct CompilerOption<'a> {
    /// Its name, without the value, if it is one that distribution cares about; else the whole word.
    pub name: &'a OsStr,
    /// Its value; empty if there is none.
    pub value: &'a OsStr,
    /// The one or two words it is written in.
    pub words: &'a [OsString],
}

impl Compile {
    /// The options, in order; the source is none.
    pub fn options(&self) -> impl Iterator<Item = CompilerOption<'_>> {
        items(&self.argv).filter(|item| item.at != self.source).map(|item| {
            let name = match item.kind {
                Kind::Known(row, _) => OsStr::new(row.name),
                _ => item.word,
            };
            CompilerOption { name, value: item.value(), words: self.words(&item) }
        })
    }

    /// The whole command: the compiler first, `-Wp,` divided, `-o` present.
    pub fn argv(&self) -> &[OsString] {
        &self.argv
    }

    /// The compiler, as it is called.
    pub fn compiler(&self) -> &OsStr {
        &self.argv[0]
    }

    /// The source file, as it is written.
    pub fn source(&self) -> &OsStr {
        &self.argv[self.source]
    }

    /// The output file: as it is written, or as the compiler names it.
    pub fn output(&self) -> &OsStr {
        &self.output
    }

    /// The source's language.
    pub fn language(&self) -> Language {
        self.kind.language
    }

    /// Whether the source is preprocessed already: it is sent as it is.
    pub fn is_preprocessed(&self) -> bool {
        self.kind.preprocessed
    }

    /// The suffix, with its dot, for a file that holds the preprocessed source.
    pub fn preprocessed_suffix(&self) -> &'static str {
        self.kind.language.preprocessed_suffix()
    }

    /// Whether debug information is asked for, and the directory to be recorded in it is not given.
    pub fn records_directory(&self) -> bool {
        let given = |word: &OsString| {
            let word = word.as_bytes();
            word.starts_with(b"-fdebug-compilation-dir") || word.starts_with(b"-ffile-compilation-dir")
        };
        asks_for_debug_information(&self.argv) && !self.argv.iter().any(given)
    }

    /// Whether the command says itself if diagnostics are to be coloured.
    pub fn chooses_colour(&self) -> bool {
        self.argv.iter().any(|word| {
            let word = word.as_bytes();
            word.starts_with(b"-fdiagnostics-color")
                || matches!(
                    word,
                    b"-fno-diagnostics-color" | b"-fcolor-diagnostics" | b"-fno-color-diagnostics"
                )
                || word.starts_with(b"-fdiagnostics-format")
        })
    }

    /// The dependency file the compiler would write, if the command or `DEPENDENCIES_OUTPUT` (its value is
    /// `environment`) asks for one. Compilers write none for preprocessed text.
    pub fn dependency_output(&self, environment: Option<&OsStr>) -> Option<DependencyOutput> {
        if self.kind.preprocessed {
            return None;
        }
        let output = self.names_output.then_some(self.output.as_os_str());
        self.dependencies.output(self.source(), output, environment)
    }

    /// The command that preprocesses the source here, to standard output in the given form, and writes the
    /// dependency file that the whole compilation would have written.
    pub fn preprocess_command(&self, form: TextForm) -> Vec<OsString> {
        let mut out = vec![self.argv[0].clone()];
        let mut has_mode = false;
        for item in items(&self.argv) {
            match item.role() {
                Role::Output => {}
                Role::Compile | Role::Assemble if has_mode => {}
                Role::Compile | Role::Assemble => {
                    has_mode = true;
                    out.push("-E".into());
                }
                _ => out.extend_from_slice(self.words(&item)),
            }
        }
        // Without -o, compilers name the file and its target after the source.
        if let Some(dependencies) = self.dependency_output(None) {
            if self.dependencies.file.is_none() {
                out.extend(["-MF".into(), dependencies.path]);
            }
            if !dependencies.names_target {
                out.extend(["-MQ".into(), dependencies.default_target]);
            }
        }
        if form == TextForm::Gathered {
            out.push("-frewrite-includes".into());
        }
        out
    }

    /// The command for a server that gets preprocessed text of the given form (protocol versions 1 and 2).
    ///
    /// Fails while `-march=native` is unresolved, and where a server of distcc 3.4 or of ours would refuse the command.
    pub fn plain_command(&self, family: Family, form: TextForm) -> Result<Vec<OsString>, Reason> {
        let mut out = vec![self.argv[0].clone()];
        let language_at = self.language_at();
        for item in items(&self.argv) {
            match item.role() {
                Role::Preprocessor
                | Role::PreprocessorHere
                | Role::PassedToPreprocessor
                | Role::Dependency(_)
                | Role::Linker => {}
                Role::Native => return Err(Reason::UnresolvedNative(item.word.to_owned())),
                Role::Language if Some(item.at) == language_at => {
                    out.extend(["-x".into(), self.kind.language.preprocessed_name().into()]);
                }
                Role::Language => {}
                Role::Lto => out.push(lto_word(family).into()),
                _ => {
                    if item.at == self.source {
                        out.extend(self.language_of_driver(family));
                    }
                    out.extend_from_slice(self.words(&item));
                }
            }
        }
        if form == TextForm::Gathered {
            // At the end: servers of 3.4 put their file in place of the first word that ends like a source file.
            out.extend(items(&self.argv).flat_map(|item| macro_words(&item)));
        }
        accepted_by_servers(out)
    }

    /// The command for a server that preprocesses (protocol version 3). `environment` is the value of
    /// `DEPENDENCIES_OUTPUT`.
    ///
    /// Fails as [`Compile::plain_command`] does, and for options whose preprocessing belongs on this machine.
    pub fn pump_command(&self, family: Family, environment: Option<&OsStr>) -> Result<Vec<OsString>, Reason> {
        let mut out = vec![self.argv[0].clone()];
        for item in items(&self.argv) {
            match item.role() {
                Role::PreprocessorHere | Role::PassedToPreprocessor => {
                    return Err(Reason::option(item.word, "is for the preprocessor of this machine"));
                }
                Role::Native => return Err(Reason::UnresolvedNative(item.word.to_owned())),
                // Servers of 3.4 look at the next word for the language, and know -MT as a word of its own.
                Role::Language => out.extend(["-x".into(), item.value().to_owned()]),
                Role::Dependency(DependencyPart::Target) => {
                    out.extend(["-MT".into(), item.value().to_owned()])
                }
                Role::Lto => out.push(lto_word(family).into()),
                _ => out.extend_from_slice(self.words(&item)),
            }
        }
        if let Some(dependencies) = self.dependency_output(environment).filter(|wanted| !wanted.names_target)
        {
            // Servers of 3.4 know no -MQ: they put the word itself into the file.
            out.extend(["-MT".into(), dependency::quoted_for_make(&dependencies.default_target)]);
        }
        accepted_by_servers(out)
    }

    /// The options that mean this machine's processor and take effect: the last of their kind.
    pub fn native_options(&self) -> Vec<&OsStr> {
        PROCESSOR_OPTIONS
            .iter()
            .filter_map(|option| {
                let of_kind = |item: &Item<'_>| item.word.as_bytes().starts_with(option.as_bytes());
                items(&self.argv).filter(of_kind).last().filter(|item| item.role() == Role::Native)
            })
            .map(|item| item.word)
            .collect()
    }

    /// The same compilation with `resolved` in place of the [`Compile::native_options`]. They come first, where
    /// gcc's driver puts its own answer: the user's other options still overrule them.
    pub fn with_native(&self, resolved: &[OsString]) -> Compile {
        let natives = self.native_options();
        let replaced: Vec<&str> = PROCESSOR_OPTIONS
            .into_iter()
            .filter(|option| natives.iter().any(|word| word.as_bytes().starts_with(option.as_bytes())))
            .collect();
        let mut argv = vec![self.argv[0].clone()];
        argv.extend_from_slice(resolved);
        let mut source = self.source;
        for item in items(&self.argv) {
            let overruled = replaced.iter().any(|option| item.word.as_bytes().starts_with(option.as_bytes()));
            if item.at == self.source {
                source = argv.len();
            }
            if item.role() != Role::Native && !overruled {
                argv.extend_from_slice(self.words(&item));
            }
        }
        Compile { argv, source, ..self.clone() }
    }

    /// Whether a remote compilation's messages are those of the text that was sent, not of the source. Only a
    /// compilation here knows the truth: its messages replace the remote ones.
    ///
    /// gcc's `-Wimplicit-fallthrough` (part of `-Wextra`) is silenced by comments, and preprocessed text has
    /// none. gcc's `-C` would keep the comments, but also puts them into stringified macro arguments, hides
    /// directives and macro calls behind them, and doubles the text to be sent. clang may warn of lines it added
    /// to gathered text itself: `-pedantic` finds more directives in the arguments of a macro than there were.
    pub fn blames_preprocessing(&self, family: Family, stderr: &[u8]) -> bool {
        const OF_GCC: [&[u8]; 3] =
            [b"-Wimplicit-fallthrough", b"-Werror=implicit-fallthrough", b"this statement may fall through"];
        const OF_CLANG: [&[u8]; 2] = [b" by -frewrite-includes */", b"-Wembedded-directive"];
        let signs = match family {
            Family::Gcc => OF_GCC.as_slice(),
            Family::Clang => OF_CLANG.as_slice(),
        };
        let said = |sign: &&[u8]| stderr.windows(sign.len()).any(|window| window == *sign);
        !self.kind.preprocessed && signs.iter().any(said)
    }

    fn words<'a>(&'a self, item: &Item<'_>) -> &'a [OsString] {
        &self.argv[item.at..item.at + item.len]
    }

    /// The `-x` that holds for the source: the last one before it.
    fn language_at(&self) -> Option<usize> {
        items(&self.argv)
            .take_while(|item| item.at < self.source)
            .filter(|item| item.role() == Role::Language)
            .last()
            .map(|item| item.at)
    }

    /// `clang++` takes a C file for C++ and warns. It has warned while preprocessing; told the language, it
    /// does not warn again.
    fn language_of_driver(&self, family: Family) -> Vec<OsString> {
        let name = basename(self.compiler()).as_bytes();
        let is_cxx = family == Family::Clang && name.windows(2).any(|part| part == b"++");
        let language = self.kind.language.with_cxx();
        if !is_cxx || self.declares_language || self.kind.preprocessed || language == self.kind.language {
            return Vec::new();
        }
        vec!["-x".into(), language.preprocessed_name().into()]
    }
}

/// Whether a command asks for information for a debugger.
pub(super) fn asks_for_debug_information(argv: &[OsString]) -> bool {
    argv.iter().skip(1).any(|word| word.as_bytes().starts_with(b"-g") && word != "-g0")
}

/// `-flto` in a spelling that servers of 3.4 let pass and that makes the same object.
fn lto_word(family: Family) -> &'static str {
    match family {
        Family::Gcc => "--lto",
        Family::Clang => "-flto=full",
    }
}

/// A server that refuses a command costs the job its time and the server its good name, so nothing is sent that one of
/// 3.4 or of ours would refuse.
fn accepted_by_servers(argv: Vec<OsString>) -> Result<Vec<OsString>, Reason> {
    if let Some(word) = refused_word(&argv) {
        return Err(Reason::OldServer(word.to_owned()));
    }
    check(&argv).map_err(Reason::Server)?;
    Ok(argv)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::scan::{Verdict, scan};
    use super::super::words::argv;
    use super::*;

    /// The compilation that a command is; it must be one that can be distributed.
    pub(in super::super) fn compile(command: &str) -> Compile {
        match scan(&argv(command)).unwrap() {
            Verdict::Distribute(compile) => *compile,
            other => panic!("{command}: {other:?}"),
        }
    }

    #[test]
    fn a_server_of_preprocessed_text_gets_what_is_left_to_do() {
        use Family::{Clang, Gcc};
        let cases = [
            // As captured from a client of distcc 3.4.
            (
                Gcc,
                "x86_64-linux-gnu-gcc -O2 -DX=1 -I/foo -MD -MF t.d -Wall -include stdio.h -c t.c -o t.o",
                "x86_64-linux-gnu-gcc -O2 -Wall -c t.c -o t.o",
            ),
            (Gcc, "x86_64-linux-gnu-gcc -c t.c", "x86_64-linux-gnu-gcc -c t.c -o t.o"),
            (Gcc, "gcc -S t.c", "gcc -S t.c -o t.s"),
            (Gcc, "gcc -x c++ -c t.c", "gcc -x c++-cpp-output -c t.c -o t.o"),
            (Gcc, "gcc -xc -c t.cc -x c++", "gcc -x cpp-output -c t.cc -o t.o"),
            (Gcc, "gcc -c t.c -x c++", "gcc -c t.c -o t.o"),
            (Gcc, "gcc -x c -xobjective-c -c t.c", "gcc -x objective-c-cpp-output -c t.c -o t.o"),
            (Gcc, "gcc -c t.c -flto", "gcc -c t.c --lto -o t.o"),
            (Clang, "clang -c t.c -flto", "clang -c t.c -flto=full -o t.o"),
            (Gcc, "gcc -c t.c -Lx -L x -lm -l m -Wl,-s -shared -s", "gcc -c t.c -o t.o"),
            (Gcc, "gcc -c t.c -iquote x -isysroot y --sysroot=z -includew -H", "gcc -c t.c -o t.o"),
            (Gcc, "gcc -finput-charset=latin1 -fexec-charset=x -c t.c", "gcc -fexec-charset=x -c t.c -o t.o"),
            (Gcc, "gcc -Wp,-MMD,t.d -c t.c -oy.o", "gcc -c t.c -oy.o"),
            (Gcc, "gcc -c t.c -Xpreprocessor -DX", "gcc -c t.c -o t.o"),
            (Clang, "clang++-14 -c t.c", "clang++-14 -c -x c++-cpp-output t.c -o t.o"),
            (Clang, "clang++ -c t.i", "clang++ -c t.i -o t.o"),
            (Clang, "clang++ -c t.cc", "clang++ -c t.cc -o t.o"),
            (Gcc, "g++ -c t.c", "g++ -c t.c -o t.o"),
        ];
        for (family, command, want) in cases {
            assert_eq!(
                compile(command).plain_command(family, TextForm::Expanded),
                Ok(argv(want)),
                "{command}"
            );
        }
    }

    #[test]
    fn a_preprocessing_server_gets_everything() {
        let cases = [
            ("gcc -DX=1 -Iabs -c m.c -o m.o", "gcc -DX=1 -Iabs -c m.c -o m.o"),
            ("gcc -MD -c m.c", "gcc -MD -c m.c -o m.o -MT m.o"),
            ("gcc -MD -S m.c", "gcc -MD -S m.c -o m.s -MT m.o"),
            ("gcc -MD -MF x -c m.c -o o/m.o", "gcc -MD -MF x -c m.c -o o/m.o -MT o/m.o"),
            ("gcc -MD -c m.c -o m$.o", "gcc -MD -c m.c -o m$.o -MT m$$.o"),
            ("gcc -MD -MTx -c m.c", "gcc -MD -MT x -c m.c -o m.o"),
            ("gcc -MD -MQ x -c m.c", "gcc -MD -MQ x -c m.c -o m.o"),
            ("gcc -xc++ -c m.c -flto", "gcc -x c++ -c m.c --lto -o m.o"),
        ];
        for (command, want) in cases {
            assert_eq!(compile(command).pump_command(Family::Gcc, None), Ok(argv(want)), "{command}");
        }
        let target = compile("gcc -c m.c").pump_command(Family::Gcc, Some(OsStr::new("f.d the.o")));
        assert_eq!(target, Ok(argv("gcc -c m.c -o m.o -MT the.o")));
        for command in ["gcc -H -c m.c", "gcc -include x.c -c m.c", "gcc -c m.c -march=native"] {
            assert!(compile(command).pump_command(Family::Gcc, None).is_err(), "{command}");
        }
    }

    #[test]
    fn the_preprocessor_writes_the_dependencies_of_the_compilation() {
        let cases = [
            ("gcc -DX -O2 -c t.c -o t.o", "gcc -DX -O2 -E t.c"),
            ("gcc -S -c t.c -ot.s", "gcc -E t.c"),
            ("gcc -MD -c t.c -o obj/x.o", "gcc -MD -E t.c -MF obj/x.d -MQ obj/x.o"),
            ("gcc -MMD -MF y -c t.c", "gcc -MMD -MF y -E t.c -MQ t.o"),
            ("gcc -MD -MT y -c t.c", "gcc -MD -MT y -E t.c -MF t.d"),
            ("gcc -xc++ -H -c t.c", "gcc -xc++ -H -E t.c"),
        ];
        for (command, want) in cases {
            assert_eq!(compile(command).preprocess_command(TextForm::Expanded), argv(want), "{command}");
        }
    }

    /// Names and targets as gcc 12 and clang 14 were seen to choose them.
    #[test]
    fn dependency_files_are_named_as_compilers_name_them() {
        let cases = [
            ("gcc -c -MD b.c", "b.d", "b.o"),
            ("gcc -c -MD src/a.c", "a.d", "a.o"),
            ("gcc -c -MD src/a.c -o obj/x.o", "obj/x.d", "obj/x.o"),
            ("gcc -c -MD src/a.c -oobj/x.o", "obj/x.d", "obj/x.o"),
            ("gcc -c -MD b.c -o obj/x", "obj/x.d", "obj/x"),
            ("gcc -c -MD b.c -o obj/x.y.o", "obj/x.y.d", "obj/x.y.o"),
            ("gcc -c -MD d.e.c", "d.e.d", "d.e.o"),
            ("gcc -S -MD b.c", "b.d", "b.o"),
            ("gcc -S -MD b.c -o obj/x.s", "obj/x.d", "obj/x.s"),
            ("gcc -c -MD b.c -o x.obj -MF f.dep", "f.dep", "x.obj"),
            ("gcc -c -MD -MF f1 -MFf2 b.c", "f2", "b.o"),
            ("gcc -c -MD b.c -o ./.hid", "./.d", "./.hid"),
            ("gcc -c -MD b.c -o obj.d/x", "obj.d/x.d", "obj.d/x"),
            ("gcc -c -MD b.c -o /dev/null", "/dev/null.d", "/dev/null"),
        ];
        for (command, path, target) in cases {
            let found = compile(command).dependency_output(None).unwrap();
            assert_eq!((found.path, found.default_target), (path.into(), target.into()), "{command}");
        }
        let by_environment = [("f.d", "f.d", "b.o"), ("f.d t.o", "f.d", "t.o")];
        for (value, path, target) in by_environment {
            let found = compile("gcc -c b.c").dependency_output(Some(OsStr::new(value))).unwrap();
            assert_eq!((found.path, found.default_target), (path.into(), target.into()), "{value}");
        }
        assert_eq!(compile("gcc -c b.c -MF x").dependency_output(None), None);
        assert_eq!(compile("gcc -c b.i -MD").dependency_output(None), None);
    }

    #[test]
    fn native_options_are_replaced_where_they_count() {
        let resolved = argv("-march=skylake -mtune=skylake");
        let cases = [
            ("gcc -O2 -march=native -c t.c", "-march=native", "-O2 -c t.c -o t.o"),
            ("gcc -march=x86-64 -c t.c -march=native", "-march=native", "-c t.c -o t.o"),
            (
                "gcc -mtune=native -march=native -mno-avx -c t.c",
                "-march=native -mtune=native",
                "-mno-avx -c t.c -o t.o",
            ),
            ("gcc -mtune=generic -march=native -c t.c", "-march=native", "-mtune=generic -c t.c -o t.o"),
        ];
        for (command, natives, rest) in cases {
            let compile = compile(command);
            assert_eq!(compile.native_options(), argv(natives), "{command}");
            assert!(matches!(
                compile.plain_command(Family::Gcc, TextForm::Expanded),
                Err(Reason::UnresolvedNative(_))
            ));
            let sent = compile.with_native(&resolved);
            assert_eq!(sent.source(), "t.c");
            let want = format!("gcc -march=skylake -mtune=skylake {rest}");
            assert_eq!(sent.plain_command(Family::Gcc, TextForm::Expanded), Ok(argv(&want)), "{command}");
        }
        let overruled = compile("gcc -march=native -march=x86-64 -c t.c");
        assert!(overruled.native_options().is_empty());
        let sent = overruled.with_native(&[]).plain_command(Family::Gcc, TextForm::Expanded);
        assert_eq!(sent, Ok(argv("gcc -march=x86-64 -c t.c -o t.o")));
    }

    #[test]
    fn messages_about_what_preprocessing_did_are_noticed() {
        let warning = "f.c:16:10: warning: this statement may fall through [-Wimplicit-fallthrough=]";
        let cases = [
            ("gcc -Wextra -c t.c", Family::Gcc, warning, true),
            (
                "gcc -Wextra -c t.c",
                Family::Gcc,
                "t.c:1: error: x [\u{1b}[01m-Werror=implicit-fallthrough=\u{1b}[m",
                true,
            ),
            (
                "gcc -fno-diagnostics-show-option -c t.c",
                Family::Gcc,
                "t.c:1: this statement may fall through",
                true,
            ),
            ("gcc -Wextra -c t.c", Family::Gcc, "t.c:1:1: warning: unused [-Wunused]", false),
            ("gcc -Wextra -c t.c", Family::Gcc, "", false),
            ("gcc -Wextra -c t.i", Family::Gcc, warning, false),
            ("clang -Wextra -c t.c", Family::Clang, warning, false),
            ("clang -pedantic -c t.c", Family::Clang, "#if 0 /* disabled by -frewrite-includes */", true),
        ];
        for (command, family, stderr, want) in cases {
            let blames = compile(command).blames_preprocessing(family, stderr.as_bytes());
            assert_eq!(blames, want, "{command}: {stderr}");
        }
    }

    #[test]
    fn what_is_sent_is_what_servers_accept() {
        let cases = [
            "gcc -O2 -g -Wall -DX -Iy -MD -MF z -c t.c -o t.o",
            "g++ -xc++ -c t.c -flto",
            "clang++ -c t.c -flto -Wl,-x -Xpreprocessor -DX",
            "gcc -S t.m -B/usr/lib/x --sysroot=/y",
        ];
        for command in cases {
            for family in [Family::Gcc, Family::Clang] {
                let sent = compile(command).plain_command(family, TextForm::Expanded).unwrap();
                assert_eq!(refused_word(&sent), None, "{command}");
                super::super::server_args::check(&sent).unwrap();
            }
        }
    }

    #[test]
    fn the_name_tells_the_family() {
        let cases = [
            ("clang", true),
            ("/x/clang++-14", true),
            ("arm-clang", true),
            ("gcc", false),
            ("/clang/cc", false),
        ];
        for (name, clang) in cases {
            assert_eq!(Family::of_name(OsStr::new(name)) == Family::Clang, clang, "{name}");
        }
    }
}
