//! The decision for one command: distribute it, run it here, or only preprocess it here. Knows the table and the
//! names of files; makes no command.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use super::compile::{Compile, Family};
use super::dependency;
use super::gathered::TextForm;
use super::old_server::{asks_assembler_to_write, is_probe};
use super::option_table::{DependencyPart, Role, find};
use super::reason::Reason;
use super::source_file::{SourceKind, is_source, suffix};
use super::words::{Item, Kind, basename, is_option, items, with_suffix};

/// Where a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On another machine, if one is to be had.
    Distribute(Box<Compile>),
    /// On this machine.
    Local(Reason),
    /// On this machine, and it is a preprocessor run (3.4 takes only a preprocessing slot for it).
    Preprocess(Reason),
}

/// Why a command is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// There is no word, or no compiler's name where the first should be.
    Empty,
    /// The compiler's name starts with `-`.
    CompilerIsOption(OsString),
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScanError::Empty => f.write_str("the command is empty"),
            ScanError::CompilerIsOption(word) => {
                write!(f, "{} is an option where the compiler's name should be", word.display())
            }
        }
    }
}

/// Decides about a command, compiler first, response files expanded already.
pub fn scan(argv: &[OsString]) -> Result<Verdict, ScanError> {
    let compiler = argv.first().filter(|compiler| !compiler.is_empty()).ok_or(ScanError::Empty)?;
    if compiler.as_bytes().starts_with(b"-") {
        return Err(ScanError::CompilerIsOption(compiler.clone()));
    }
    let argv = split_wp(argv);
    if let Some(item) = items(&argv).find(|item| item.role() == Role::Preprocess) {
        return Ok(Verdict::Preprocess(Reason::PreprocessOnly(item.word.to_owned())));
    }
    Ok(match distributable(argv) {
        Ok(compile) => Verdict::Distribute(Box::new(compile)),
        Err(reason) => Verdict::Local(reason),
    })
}

/// Whether distcc's first argument begins a command without a compiler's name, so that `cc` is meant (manual,
/// "With implicit compiler").
pub fn is_implicit_compiler_call(first: &OsStr) -> bool {
    first.as_bytes().starts_with(b"-") || is_source(first) || first.as_bytes().ends_with(b".o")
}

/// Divides each `-Wp,A,B` into the words it stands for; `-Wp,-MD,FILE` becomes `-MD -MF FILE`, with the
/// target that the preprocessor would choose, which does not know the output. Local runs use the result too,
/// as in 3.4.
pub fn split_wp(argv: &[OsString]) -> Vec<OsString> {
    let mut out = Vec::with_capacity(argv.len());
    let mut wants_target = false;
    for (at, word) in argv.iter().enumerate() {
        let Some(list) = word.as_bytes().strip_prefix(b"-Wp,").filter(|_| at > 0) else {
            out.push(word.clone());
            continue;
        };
        let mut names_file = false;
        for part in list.split(|byte| *byte == b',').filter(|part| !part.is_empty()) {
            if names_file && !part.starts_with(b"-") {
                out.push("-MF".into());
                wants_target = true;
            }
            names_file = matches!(part, b"-MD" | b"-MMD");
            out.push(OsStr::from_bytes(part).to_owned());
        }
    }
    if wants_target && let Some(target) = preprocessors_target(&out) {
        out.extend(["-MQ".into(), target]);
    }
    out
}

/// What the preprocessor takes for the target of a dependency rule: the source's name as an object, unless
/// the command names targets itself.
fn preprocessors_target(argv: &[OsString]) -> Option<OsString> {
    let mut source = None;
    for item in items(argv) {
        match item.role() {
            Role::Dependency(DependencyPart::Target | DependencyPart::QuotedTarget) => return None,
            _ if matches!(item.kind, Kind::Input) && is_source(item.word) => source = Some(item.word),
            _ => {}
        }
    }
    source.map(|source| with_suffix(basename(source), ".o"))
}

/// What has been seen of a command so far.
#[derive(Default)]
struct Survey {
    compiles: bool,
    assembles: bool,
    source: Option<Source>,
    language: Option<SourceKind>,
    output: Option<OsString>,
    architecture: bool,
    /// The first input that cannot be distributed: it matters less than that the command links.
    input_fault: Option<Reason>,
    /// An option that is harmless if the output is named.
    changes_output_name: Option<Reason>,
    dependencies: dependency::Request,
}

struct Source {
    at: usize,
    word: OsString,
    kind: SourceKind,
    declared: bool,
}

fn distributable(mut argv: Vec<OsString>) -> Result<Compile, Reason> {
    let mut survey = Survey::default();
    for item in items(&argv) {
        survey.note(&item)?;
        survey.dependencies.note(&item);
    }
    if !survey.compiles && !survey.assembles {
        return Err(Reason::Links);
    }
    if let Some(reason) = survey.input_fault {
        return Err(reason);
    }
    let source = survey.source.ok_or(Reason::NoSource)?;
    if is_probe(&source.word) {
        return Err(Reason::Probe(source.word));
    }
    let names_output = survey.output.is_some();
    if let Some(reason) = survey.changes_output_name.filter(|_| !names_output) {
        return Err(reason);
    }
    let output = match survey.output {
        Some(output) => check_output(output)?,
        None => {
            let output = implied_output(&source.word, survey.assembles)?;
            argv.extend(["-o".into(), output.clone()]);
            output
        }
    };
    let compile = Compile {
        argv,
        source: source.at,
        output,
        names_output,
        kind: source.kind,
        declares_language: source.declared,
        dependencies: survey.dependencies,
    };
    match compile.plain_command(Family::Gcc, TextForm::Expanded) {
        Err(reason @ (Reason::OldServer(_) | Reason::Server(_))) => Err(reason),
        _ => Ok(compile),
    }
}

fn check_output(output: OsString) -> Result<OsString, Reason> {
    if output == "-" {
        return Err(Reason::OutputToStdout);
    }
    if output.is_empty() {
        return Err(Reason::option("-o".as_ref(), "names no file"));
    }
    if suffix(&output).is_some_and(|suffix| suffix == ".gch" || suffix == ".pch") {
        return Err(Reason::option(&output, "is a precompiled header"));
    }
    Ok(output)
}

fn implied_output(source: &OsStr, assembles: bool) -> Result<OsString, Reason> {
    let name = basename(source);
    // A name that looks like an option is divided as one, if it begins with `-Wp,`.
    let is_option = name.as_bytes().starts_with(b"-");
    if is_option || name.as_bytes().iter().rposition(|byte| *byte == b'.') == Some(0) {
        return Err(Reason::NoOutputName(source.to_owned()));
    }
    Ok(with_suffix(name, if assembles { ".s" } else { ".o" }))
}

impl Survey {
    fn note(&mut self, item: &Item<'_>) -> Result<(), Reason> {
        let (word, value) = (item.word, item.value());
        match item.kind {
            Kind::MissingValue(_) => return Err(Reason::MissingValue(word.to_owned())),
            _ if item.names_response_file() => return Err(Reason::option(word, "names a response file")),
            Kind::Input => {
                let fault = self.note_input(item).err();
                self.input_fault = self.input_fault.take().or(fault);
                return Ok(());
            }
            Kind::Unknown | Kind::Known(..) => {}
        }
        match item.role() {
            Role::Compile => self.compiles = true,
            Role::Assemble => self.assembles = true,
            Role::Output if self.output.is_some() => return Err(Reason::SeveralOutputs),
            Role::Output => self.output = Some(value.to_owned()),
            Role::Language => {
                let kind =
                    SourceKind::of_language(value).ok_or_else(|| Reason::Language(value.to_owned()))?;
                self.language = Some(kind);
            }
            Role::Architecture if self.architecture => return Err(Reason::SeveralArchitectures),
            Role::Architecture => self.architecture = true,
            Role::ChangesOutputName(why) => self.changes_output_name = Some(Reason::option(word, why)),
            Role::Frontend => check_frontend_word(value)?,
            Role::PassedToPreprocessor => check_preprocessor_word(value)?,
            _ => check_option(item)?,
        }
        Ok(())
    }

    fn note_input(&mut self, item: &Item<'_>) -> Result<(), Reason> {
        let word = item.word;
        if word == "-" {
            return Err(Reason::SourceFromStdin);
        }
        let Some(by_name) = SourceKind::of_name(word) else {
            return Err(Reason::OtherInput(word.to_owned()));
        };
        if basename(word).as_bytes().starts_with(b"@") {
            return Err(Reason::option(word, "makes gcc look for a response file"));
        }
        if let Some(first) = &self.source {
            return Err(Reason::SeveralSources(first.word.clone(), word.to_owned()));
        }
        let kind = self.language.unwrap_or(by_name);
        let declared = self.language.is_some();
        self.source = Some(Source { at: item.at, word: word.to_owned(), kind, declared });
        Ok(())
    }
}

/// The options that are local, or not, by themselves.
fn check_option(item: &Item<'_>) -> Result<(), Reason> {
    let (word, value) = (item.word, item.value());
    match item.role() {
        Role::Local(why) | Role::Profile(why) | Role::Refused(why) => Err(Reason::option(word, why)),
        Role::SideOutput(what) | Role::SideFile(what) => Err(Reason::side_output(word, what)),
        Role::FileAfterEquals(what) if value.as_bytes().contains(&b'=') => {
            Err(Reason::side_output(word, what))
        }
        Role::ImpliesPreprocessing => {
            Err(Reason::option(word, "asks for dependencies instead of a compilation"))
        }
        Role::Dependency(DependencyPart::File) if value == "-" || value == "/dev/stdout" => {
            Err(Reason::option(word, "sends the dependencies to standard output"))
        }
        Role::ToolDirectory if !is_system_directory(value) => {
            Err(Reason::option(word, "names programs of this machine"))
        }
        Role::Assembler if assembler_writes(word, value) => {
            Err(Reason::side_output(word, "a listing or dependencies of the assembler"))
        }
        _ => Ok(()),
    }
}

/// Whether `-Wa,` or `-Xassembler` asks for a listing or a dependency file.
pub(super) fn assembler_writes(word: &OsStr, value: &OsStr) -> bool {
    // It takes long options with one dash or two, and any beginning of their names.
    let names_file = |part: &[u8]| part.starts_with(b"--M") || part.starts_with(b"-MD");
    asks_assembler_to_write(word.as_bytes())
        || value.as_bytes().split(|byte| *byte == b',').any(names_file)
        || word == "-Xassembler" && value.as_bytes().starts_with(b"-a")
}

/// Whether programs in this directory are the system's, on any machine; elsewhere they are someone's own.
pub(super) fn is_system_directory(path: &OsStr) -> bool {
    let bytes = path.as_bytes();
    let below = bytes.starts_with(b"/usr/") || bytes.starts_with(b"/opt/");
    // Some systems have a link /usr/tmp to where everybody may write.
    below && !bytes.split(|byte| *byte == b'/').any(|part| matches!(part, b".." | b"tmp"))
}

/// `-Xclang WORD`: judged as the driver's option of that name. Single letters mean other things there.
fn check_frontend_word(word: &OsStr) -> Result<(), Reason> {
    let row = if is_option(word) { find(word).filter(|row| row.name.len() > 2) } else { None };
    match row.map(|row| row.role) {
        Some(Role::Local(why) | Role::Profile(why) | Role::Refused(why)) => Err(Reason::option(word, why)),
        Some(Role::SideOutput(what) | Role::SideFile(what)) => Err(Reason::side_output(word, what)),
        Some(Role::Preprocessor | Role::PreprocessorHere | Role::Dependency(_)) => {
            Err(Reason::option(word, "is given to clang past its driver"))
        }
        _ => Ok(()),
    }
}

/// `-Xpreprocessor WORD`: used up by preprocessing if the word is, or is the value of the one before it;
/// `-Xpreprocessor -fopenmp` also means the compilation, where no server hears of it.
fn check_preprocessor_word(word: &OsStr) -> Result<(), Reason> {
    let harmless = !is_option(word)
        || matches!(find(word).map(|row| row.role), Some(Role::Preprocessor | Role::Dependency(_)));
    if harmless { Ok(()) } else { Err(Reason::option(word, "is given to the preprocessor past the driver")) }
}

#[cfg(test)]
mod tests {
    use super::super::option_table::{OPTIONS, Value};
    use super::super::words::argv;
    use super::*;

    /// `D`, `E`, or the beginning of the reason for a local run.
    fn told(command: &str) -> String {
        match scan(&argv(command)).unwrap() {
            Verdict::Distribute(_) => "D".into(),
            Verdict::Preprocess(_) => "E".into(),
            Verdict::Local(reason) => reason.to_string(),
        }
    }

    #[test]
    fn an_output_without_a_name_is_for_the_compiler_to_refuse() {
        let command = ["gcc", "-c", "a.c", "-o", ""].map(OsString::from);
        assert!(matches!(scan(&command), Ok(Verdict::Local(_))));
    }

    #[test]
    fn a_compilers_name_is_needed() {
        assert_eq!(scan(&[]), Err(ScanError::Empty));
        assert_eq!(scan(&["".into(), "-c".into(), "a.c".into()]), Err(ScanError::Empty));
        assert_eq!(scan(&["-c".into()]), Err(ScanError::CompilerIsOption("-c".into())));
    }

    fn check(cases: &[(&str, &str)]) {
        for (command, want) in cases {
            let told = told(command);
            let matches = if *want == "D" || *want == "E" { told == *want } else { told.starts_with(want) };
            assert!(matches, "{command}: {told}");
        }
    }

    #[test]
    fn plain_compilations_are_distributed() {
        check(&[
            ("gcc -c a.c", "D"),
            ("gcc -S a.c", "D"),
            ("gcc -c -S a.c -o x.s", "D"),
            ("gcc -c a.c -oa.o", "D"),
            ("g++ -std=c++20 -O3 -Wall -Wextra -fPIC -pthread -g3 -c src/a.cpp -o obj/a.o", "D"),
            ("gcc -MD -MP -MF a.d -MT a.o -MQ b.o -c a.c", "D"),
            ("gcc -MMD -MFa.d -MTa.o -c a.c", "D"),
            ("gcc -Wp,-MMD,.a.o.d,-DX -c a.c", "D"),
            ("gcc -Wa,--noexecstack,-mrelax-relocations=no -c a.c", "D"),
            ("gcc -c a.c -march=native -mtune=native", "D"),
            ("gcc -c a.c -flto", "D"),
            ("gcc -c a.c -flto=auto", "D"),
            ("gcc -c a.c -Lx -lfoo -Wl,-s -shared -L x -l y", "D"),
            ("gcc -gdwarf-4 -c a.c -fopt-info-vec -dA", "D"),
            ("clang -c a.c -target arm-linux -Xclang -fno-pch-timestamp -mllvm -y", "D"),
            ("clang -c a.c -arch arm64", "D"),
            ("gcc -c a.i", "D"),
            ("gcc -c ~/a.b/.a.c", "D"),
        ]);
    }

    #[test]
    fn values_of_options_are_not_files() {
        check(&[
            ("gcc -include foo.c -c a.c", "D"),
            ("gcc -D a.c -c b.c", "D"),
            ("gcc -MD -MF x.o -c a.c", "D"),
            ("gcc --param max-inline-insns-auto=1 -c a.c", "D"),
            ("clang -Xclang -mllvm -Xclang x -c a.c", "D"),
            // Not a file for us, but a 3.4 server takes it for one.
            ("clang -mllvm foo.c -c a.c", "a.c makes a server of distcc 3.4"),
            ("gcc -c a.c -o a.o --param x.o", "x.o makes a server of distcc 3.4"),
        ]);
    }

    #[test]
    fn the_language_is_looked_at_however_it_is_written() {
        check(&[
            ("gcc -x c -c a.c", "D"),
            ("gcc -xc -c a.c", "D"),
            ("gcc -xc++ -c a.c -O2", "D"),
            ("gcc -x objective-c++ -c a.c", "D"),
            ("gcc -x cpp-output -c a.c", "D"),
            ("gcc -x assembler -c a.c", "-x assembler is compiled locally"),
            ("gcc -xassembler-with-cpp -c a.c", "-x assembler-with-cpp"),
            ("gcc -x none -c a.c", "-x none"),
            ("gcc -x c-header -c a.c", "-x c-header"),
            ("nvcc -x cuda -c a.c", "-x cuda"),
            ("gcc -x go -c a.c", "-x go"),
            ("clang -ObjC -c a.c", "-ObjC changes the language"),
        ]);
    }

    #[test]
    fn what_is_not_one_compilation_is_local() {
        check(&[
            ("gcc -E a.c", "E"),
            ("gcc -save-temps -c -E a.c", "E"),
            ("gcc a.c", "neither -c nor -S"),
            ("gcc a.o -o a", "neither -c nor -S"),
            ("gcc", "neither -c nor -S"),
            ("gcc -c", "no source file"),
            ("gcc -c a.c b.c", "two source files in one command: a.c and b.c"),
            ("gcc -c a.c b.o", "b.o is not a source"),
            ("gcc -c a.s", "a.s is not a source"),
            ("gcc -c a.S", "a.S is not a source"),
            ("gcc -c a.h", "a.h is not a source"),
            ("nvcc -c a.cu", "a.cu is not a source"),
            ("gcc -c -x c -", "the source is read from standard input"),
            ("gcc -c a.c -o -", "the output goes to standard output"),
            ("gcc -c a.c -o a.o -o b.o", "two outputs"),
            ("gcc -c a.c -o", "-o lacks its value"),
            ("gcc -c a.c -MT", "-MT lacks its value"),
            ("gcc -c conftest.c", "conftest.c is a configure script's probe"),
            ("gcc -c x/tmp.conftest.c", "x/tmp.conftest.c is a configure"),
            ("gcc -c .c", "no output is named"),
            ("gcc -c d/-Wp,-o.c", "no output is named"),
            (
                "clang -c a.c -mllvm -info-output-file=x",
                "servers refuse it: -mllvm -info-output-file=x names a file to write",
            ),
            ("gcc -c a.c @x", "@x names a response file"),
            ("gcc -c a.c --param @x", "--param names a response file"),
            ("gcc -c a.c -D@x", "-D@x names a response file"),
            ("gcc -c x/@a.c -o a.o", "x/@a.c makes gcc look for a response file"),
            ("gcc -c x/.c -o y.o", "D"),
            ("gcc -c a.c -o a.gch", "a.gch is a precompiled header"),
            ("gcc -M a.c -c", "-M asks for dependencies"),
            ("gcc -MM a.c -c", "-MM asks for dependencies"),
            ("gcc -MD -MF - -c a.c", "-MF sends the dependencies to standard output"),
            ("clang -arch x86_64 -arch arm64 -c a.c", "several -arch"),
            ("gcc -c a.c -Wa,-adhln=a.lst", "-Wa,-adhln=a.lst writes a listing"),
            ("gcc -c a.c -Wa,--MD,x", "-Wa,--MD,x writes a listing"),
            ("gcc -c a.c -Xassembler -al", "-Xassembler writes a listing"),
            ("gcc -c a.c -fopt-info-vec=x", "-fopt-info-vec=x writes an optimization report"),
            ("gcc -c a.c -B tools", "-B names programs of this machine"),
            ("gcc -c a.c -B/usr/lib/gcc", "D"),
            ("clang -c a.c -emit-llvm", "-emit-llvm changes the name of the output"),
            ("clang -c a.c -emit-llvm -o a.bc", "D"),
            ("clang -c a.c -Xclang -load -Xclang p.so", "-load loads code"),
            ("clang -c a.c -Xclang -include -Xclang p.h", "-include is given to clang past"),
            ("clang -c a.c -Xpreprocessor -fopenmp", "-fopenmp is given to the preprocessor"),
            ("clang -c a.c -Xpreprocessor -DX -Xpreprocessor -I -Xpreprocessor x", "D"),
        ]);
    }

    /// The options whose effect would be lost elsewhere, as people write them.
    #[test]
    fn options_that_concern_this_machine_are_local() {
        let rows = "-save-temps -save-temps=obj -fstack-usage -gsplit-dwarf -fcallgraph-info=su -fdump-tree-all \
            -da -dr -dumpdir -aux-info -MJ -ftime-trace -ftime-trace=x -foptimization-record-file=x \
            -fsave-optimization-record=yaml -fdiagnostics-format=sarif-file -fdiagnostics-format=json-file \
            -serialize-diagnostics -fcompare-debug -fprofile-arcs -ftest-coverage --coverage -fprofile-generate \
            -fprofile-use=x -fauto-profile=x -fprofile-correction -fprofile-dir=x -fprofile-instr-generate \
            -fcoverage-mapping -frepo -include-pch -emit-pch -fmodules -fmodules-ts -fmodule-file=x \
            -fmodule-map-file=x -fmodule-header -fplugin=x -fpass-plugin=x -fplugin-arg-x -specs=x --specs=x \
            -wrapper -### -v -fsyntax-only -traditional-cpp -fdirectives-only -P -C -CC -dD -dM --config \
            -fsanitize-blacklist=x -Wdocumentation -working-directory --compile -ftime-report -Q";
        for option in rows.split_whitespace() {
            for position in [format!("gcc {option} x -c a.c"), format!("gcc {option} -c a.c")] {
                assert_ne!(told(&position), "D", "{position}");
            }
            let told = told(&format!("gcc -c a.c {option} x"));
            assert!(told.starts_with(option), "{option}: {told}");
        }
    }

    #[test]
    fn every_local_row_of_the_table_is_local_and_says_its_name() {
        for row in OPTIONS {
            let why = match row.role {
                Role::Local(why) | Role::Profile(why) | Role::Refused(why) => why,
                Role::SideOutput(what) | Role::SideFile(what) => what,
                _ => continue,
            };
            let value = if row.value == Value::None { "" } else { "!" };
            let separator = if row.value == Value::Joined { "" } else { " " };
            let told = told(&format!("gcc {}{separator}{value} -c a.c", row.name));
            assert!(told.starts_with(row.name) && told.contains(why), "{}: {told}", row.name);
        }
    }

    #[test]
    fn a_command_needs_a_compiler() {
        assert_eq!(scan(&[]), Err(ScanError::Empty));
        assert_eq!(scan(&argv("-c a.c")), Err(ScanError::CompilerIsOption("-c".into())));
    }

    #[test]
    fn the_implied_compiler_is_recognised() {
        for (word, want) in [("-c", true), ("a.c", true), ("a.o", true), ("gcc", false), ("a.s", false)] {
            assert_eq!(is_implicit_compiler_call(OsStr::new(word)), want, "{word}");
        }
    }

    #[test]
    fn wp_words_are_divided() {
        let cases = [
            ("gcc -Wp,-MD,x.d -c d/a.c -o b.o", "gcc -MD -MF x.d -c d/a.c -o b.o -MQ a.o"),
            ("gcc -Wp,-MD,x.d,-MT,t -c a.c", "gcc -MD -MF x.d -MT t -c a.c"),
            ("gcc -Wp,-MD,x.d -MQt -c a.c", "gcc -MD -MF x.d -MQt -c a.c"),
            ("gcc -Wp,-MMD,x.d,-DA,-I,b", "gcc -MMD -MF x.d -DA -I b"),
            ("gcc -Wp,-MD,-MF,x.d", "gcc -MD -MF x.d"),
            ("gcc -Wp,-D_FORTIFY_SOURCE=2", "gcc -D_FORTIFY_SOURCE=2"),
            ("gcc -Wp, -c", "gcc -c"),
        ];
        for (command, want) in cases {
            assert_eq!(split_wp(&argv(command)), argv(want), "{command}");
        }
    }

    #[test]
    fn the_output_is_named_as_the_compiler_names_it() {
        let cases = [
            ("gcc -c src/a.b.c", "a.b.o"),
            ("gcc -S src/a.c", "a.s"),
            ("gcc -c -S src/a.c", "a.s"),
            ("gcc -c a.c -o x", "x"),
            ("gcc -c a.c -ox.o", "x.o"),
            ("gcc -c /ab.c++", "ab.o"),
        ];
        for (command, want) in cases {
            let Verdict::Distribute(compile) = scan(&argv(command)).unwrap() else { panic!("{command}") };
            assert_eq!(compile.output(), want, "{command}");
        }
    }
}
