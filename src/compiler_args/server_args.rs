//! A client's command as the daemon sees it: whether to run it at all, and the words to run. Trusts nothing in
//! it; knows no directory but those it is given. What single options may do is in `server_policy`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use super::compile::asks_for_debug_information;
use super::dependency::{dependency_file, implies_dependencies};
use super::option_table::Role;
use super::scan::split_wp;
use super::server_policy::Judge;
use super::source_file::SourceKind;
use super::words::{Item, Kind, basename, items, with_suffix};
use crate::exit_code::ExitCode;

/// Why a server does not run a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code the server's log gives: 120 for preprocessing, 101 for what is no command, else 100.
    pub code: ExitCode,
    /// The word it is about, if it is about one.
    pub word: Option<OsString>,
    /// What is wrong with the word, or with the command.
    pub why: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.word {
            Some(word) => write!(f, "{} {}", word.display(), self.why),
            None => f.write_str(self.why),
        }
    }
}

/// A command the daemon may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCompile {
    pub(super) argv: Vec<OsString>,
    pub(super) source: usize,
    kind: SourceKind,
    declares_language: bool,
}

/// Judges a command, the compiler's name first. As in 3.4, `-Wp,` is divided first: what it holds counts too.
pub fn check(argv: &[OsString]) -> Result<ServerCompile, Refusal> {
    let argv = split_wp(argv);
    let compiler = argv.first().ok_or(refuse_command("the command is empty"))?;
    if compiler.is_empty() || compiler.as_bytes().starts_with(b"-") {
        return Err(refuse(compiler, ExitCode::BadArguments, "is no compiler's name"));
    }
    let mut compiles = false;
    let mut source: Option<(usize, SourceKind)> = None;
    let mut declared = None;
    let mut judge = Judge::default();
    for item in items(&argv) {
        judge.check(&item, &argv)?;
        match item.role() {
            Role::Compile | Role::Assemble => compiles = true,
            Role::Language if source.is_none() => declared = SourceKind::of_language(item.value()),
            _ => {}
        }
        let Kind::Input = item.kind else { continue };
        let Some(kind) = SourceKind::of_name(item.word) else { continue };
        if source.is_some() {
            return Err(refuse(item.word, ExitCode::DistccFailed, "is a second source file"));
        }
        source = Some((item.at, declared.unwrap_or(kind)));
    }
    if !compiles {
        return Err(refuse_command("neither -c nor -S is given"));
    }
    let (source, kind) = source.ok_or(refuse_command("no source file is named"))?;
    Ok(ServerCompile { argv, source, kind, declares_language: declared.is_some() })
}

pub(super) fn refuse(word: &OsStr, code: ExitCode, why: &'static str) -> Refusal {
    Refusal { code, word: Some(word.to_owned()), why }
}

fn refuse_command(why: &'static str) -> Refusal {
    Refusal { code: ExitCode::BadArguments, word: None, why }
}

/// Whether an option writes a file whose place the client chose; without it, the object is the same.
pub(super) fn writes_to_chosen_place(item: &Item<'_>) -> bool {
    match item.role() {
        Role::SideFile(_) => true,
        Role::SideOutput(_) | Role::FileAfterEquals(_) => item.value().as_bytes().contains(&b'/'),
        // A source can make clang crash at will.
        _ => item.word.as_bytes().starts_with(b"-fcrash-diagnostics-dir="),
    }
}

impl ServerCompile {
    /// The compiler's name.
    pub fn compiler(&self) -> &OsStr {
        &self.argv[0]
    }

    /// Replaces the compiler's name, from which compilers tell what they are and where their parts lie, by the one
    /// that the server accepts.
    pub fn call(&mut self, name: &OsStr) {
        self.argv[0] = name.to_owned();
    }

    /// The words as the client sent them, with `-Wp,` divided.
    pub fn argv(&self) -> &[OsString] {
        &self.argv
    }

    /// The source file's name at the client.
    pub fn source(&self) -> &OsStr {
        &self.argv[self.source]
    }

    /// The object file's name at the client; empty if the command does not say.
    pub fn output(&self) -> &OsStr {
        let outputs = items(&self.argv).filter(|item| item.role() == Role::Output);
        outputs.last().map(|item| item.value()).unwrap_or_default()
    }

    /// The object file's name, or the one the compiler gives it in its directory.
    pub fn output_or_default(&self) -> OsString {
        let suffix = || {
            let assembles = items(&self.argv).any(|item| item.role() == Role::Assemble);
            if assembles { ".s" } else { ".o" }
        };
        match self.output() {
            output if output.is_empty() => with_suffix(basename(self.source()), suffix()),
            output => output.to_owned(),
        }
    }

    /// Whether the client will want a dependency file.
    pub fn wants_dependencies(&self) -> bool {
        implies_dependencies(&self.argv) || dependency_file(&self.argv, self.source()).is_some()
    }

    /// The suffix, with its dot, that a file with the preprocessed source must have.
    pub fn preprocessed_suffix(&self) -> &'static str {
        let by_name = SourceKind::of_name(self.source()).unwrap_or(self.kind);
        by_name.language.preprocessed_suffix()
    }

    /// Whether the object will name the directory the compiler runs in.
    pub fn records_directory(&self) -> bool {
        asks_for_debug_information(&self.argv)
    }

    /// The words to run on preprocessed text in `source`, with the result in `object`.
    ///
    /// What only concerns preprocessing, and files other than the object, is left out: old clients send some of
    /// it. A declared language becomes its preprocessed form, or the text would be preprocessed twice.
    pub fn command(&self, source: &OsStr, object: &OsStr) -> Vec<OsString> {
        let mut out = vec![self.argv[0].clone()];
        for item in items(&self.argv) {
            match item.role() {
                _ if item.at == self.source => out.push(source.to_owned()),
                Role::Preprocessor
                | Role::PreprocessorHere
                | Role::PassedToPreprocessor
                | Role::Dependency(_)
                | Role::Linker
                | Role::Output => {}
                _ if writes_to_chosen_place(&item) => {}
                Role::Language => self.push_language(&item, &mut out),
                _ if matches!(item.kind, Kind::Input) => {}
                _ => out.extend_from_slice(&self.argv[item.at..item.at + item.len]),
            }
        }
        out.extend(["-o".into(), object.to_owned()]);
        out
    }

    fn push_language(&self, item: &Item<'_>, out: &mut Vec<OsString>) {
        if item.at < self.source && self.declares_language {
            out.extend(["-x".into(), self.kind.language.preprocessed_name().into()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::argv;
    use super::*;

    #[test]
    fn preprocessed_text_is_compiled_as_sent() {
        let cases = [
            ("gcc -O2 -Wall -c t.c -o t.o", "gcc -O2 -Wall -c /s.i -o /o.o"),
            ("gcc -c t.c", "gcc -c /s.i -o /o.o"),
            ("gcc -S x/t.c -ox.s", "gcc -S /s.i -o /o.o"),
            ("gcc -x c++ -c t.c -o t.o", "gcc -x c++-cpp-output -c /s.i -o /o.o"),
            ("gcc -x c++-cpp-output -c t.c -o t.o", "gcc -x c++-cpp-output -c /s.i -o /o.o"),
            ("gcc -iquote d -isysroot y -finput-charset=latin1 -c t.c", "gcc -c /s.i -o /o.o"),
            ("gcc -c t.c foo.o", "gcc -c /s.i -o /o.o"),
            (
                "gcc -flto -fstack-usage -save-temps -c t.c",
                "gcc -flto -fstack-usage -save-temps -c /s.i -o /o.o",
            ),
            ("clang -serialize-diagnostics a.dia -MJ x.json -c t.c", "clang -c /s.i -o /o.o"),
            ("gcc -MD -MF /etc/x -c t.c", "gcc -c /s.i -o /o.o"),
            ("gcc -Wp,-MD,/etc/x,-DA -c t.c", "gcc -c /s.i -o /o.o"),
            ("gcc -fdump-tree-all=/etc/x -fopt-info=/x -c t.c", "gcc -c /s.i -o /o.o"),
            ("gcc --param x.c -c t.c", "gcc --param x.c -c /s.i -o /o.o"),
            ("gcc -B/usr/lib/x -c t.c", "gcc -B/usr/lib/x -c /s.i -o /o.o"),
        ];
        for (command, want) in cases {
            let made = check(&argv(command)).unwrap().command(OsStr::new("/s.i"), OsStr::new("/o.o"));
            assert_eq!(made, argv(want), "{command}");
        }
    }

    #[test]
    fn unacceptable_commands_are_refused_with_the_word() {
        use ExitCode::{BadArguments, DistccFailed, PreprocessLocally};
        let cases = [
            ("", BadArguments, "the command is empty"),
            ("-c a.c", BadArguments, "-c is no compiler's name"),
            ("gcc", BadArguments, "neither -c nor -S"),
            ("gcc -c", BadArguments, "no source file"),
            ("gcc -c a.s", DistccFailed, "a.s is assembler"),
            ("gcc -c a.S", DistccFailed, "a.S is assembler"),
            ("gcc -c a.c b.c", DistccFailed, "b.c is a second"),
            ("gcc -c a.c -o", BadArguments, "-o lacks"),
            ("gcc -c a.c -MT", BadArguments, "-MT lacks"),
            ("gcc -E a.c", PreprocessLocally, "-E asks"),
            ("gcc -M -c a.c", DistccFailed, "-M asks"),
            ("gcc -c a.c -march=native", DistccFailed, "-march=native means"),
            ("gcc -c a.c -mcpu=native", DistccFailed, "-mcpu=native means"),
            ("gcc -c a.c -fplugin=x", DistccFailed, "-fplugin=x loads"),
            ("clang -c a.c -fpass-plugin=x", DistccFailed, "-fpass-plugin=x loads"),
            ("clang -c a.c -Xclang -load -Xclang x", DistccFailed, "-Xclang -load loads"),
            ("clang -c a.c -Xclang -fplugin=x", DistccFailed, "-Xclang -fplugin=x loads"),
            ("clang -c a.c -mllvm -load=x", DistccFailed, "-mllvm -load=x loads"),
            ("clang -c a.c -Xclang -o -Xclang x", DistccFailed, "-Xclang -o names"),
            ("clang -c a.c -mllvm -info-output-file=x", DistccFailed, "-mllvm -info-output-file=x names"),
            ("gcc -c a.c -specs=x", DistccFailed, "-specs=x replaces"),
            ("gcc -c a.c --specs=x", DistccFailed, "--specs=x replaces"),
            ("gcc -c a.c -wrapper sh,-c", DistccFailed, "-wrapper runs"),
            ("gcc -c a.c -Wp,-M,x", DistccFailed, "-M asks"),
            ("gcc -c a.c @x", DistccFailed, "@x names"),
            ("gcc -c a.c --param @x", DistccFailed, "@x names"),
            ("gcc -c a.c -D @x", DistccFailed, "@x names"),
            ("gcc -c a.c -D@x", DistccFailed, "-D@x names"),
            ("gcc -c a.c -imacros@x", DistccFailed, "-imacros@x names"),
            ("gcc -c a.c -Wp,-U,@x", DistccFailed, "@x names"),
            ("clang -c a.c -Xclang @x", DistccFailed, "@x names"),
            ("gcc -c d/@x.c", DistccFailed, "d/@x.c makes"),
            ("gcc -c a.c -Wa,@x", DistccFailed, "-Wa,@x names"),
            ("gcc -c a.c -Wa,-a=x", DistccFailed, "-Wa,-a=x lets"),
            ("gcc -c a.c -Wa,-MD,x", DistccFailed, "-Wa,-MD,x lets"),
            ("gcc -c a.c -Wa,--64,--M,x", DistccFailed, "-Wa,--64,--M,x lets"),
            ("gcc -c a.c -Xassembler --MD=x", DistccFailed, "-Xassembler --MD=x lets"),
            ("g++ -c a.cc -fmodule-mapper=|sh", DistccFailed, "-fmodule-mapper=|sh runs a program"),
            ("clang -c a.c -Xclang -dependency-dot -Xclang x", DistccFailed, "-Xclang -dependency-dot names"),
            (
                "clang -c a.c -Xclang -fmodules-cache-path=x",
                DistccFailed,
                "-Xclang -fmodules-cache-path=x names",
            ),
            (
                "clang -c a.c -Xclang -analyzer-dump-egraph=x",
                DistccFailed,
                "-Xclang -analyzer-dump-egraph=x names",
            ),
            ("gcc -c a.c -B.", DistccFailed, "-B. looks"),
            ("gcc -c a.c -B /usr/../tmp", DistccFailed, "-B looks"),
            ("gcc -c a.c -B/tmp/x", DistccFailed, "-B/tmp/x looks"),
            ("gcc -c a.c --prefix=x", DistccFailed, "--prefix=x looks"),
            ("clang -c a.c --gcc-toolchain=x", DistccFailed, "--gcc-toolchain=x looks"),
            ("clang -c a.c --config x", DistccFailed, "--config takes"),
            ("clang -c a.c -ccc-install-dir x", DistccFailed, "-ccc-install-dir changes"),
            ("gcc -c -x assembler a.c", DistccFailed, "-x declares"),
            ("gcc -c -x c -", DistccFailed, "- reads"),
            ("gcc -c a.c -o -", DistccFailed, "-o sends"),
            ("gcc -c a.c -fprofile-use=x", DistccFailed, "-fprofile-use=x reads"),
            ("gcc -c conftest.c", DistccFailed, "conftest.c is a configure"),
        ];
        for (command, code, text) in cases {
            let refusal = check(&argv(command)).unwrap_err();
            assert_eq!(refusal.code, code, "{command}");
            assert!(refusal.to_string().starts_with(text), "{command}: {refusal}");
        }
    }

    #[test]
    fn the_suffix_follows_the_name() {
        for (command, want) in [("gcc -c a.c", ".i"), ("gcc -c -x c++ a.c", ".i"), ("gcc -S a.M", ".mii")] {
            assert_eq!(check(&argv(command)).unwrap().preprocessed_suffix(), want, "{command}");
        }
    }
}
