//! What a server lets the words of a client's command do. Allow-minded: an option is refused for what it would do, not
//! for being unknown.
//!
//! The option table knows the driver's options. What is judged here are the words that go past it, to clang's parts
//! and to the assembler, and options that the table does not list: those must not name a path. Names without a slash
//! are files in the job's own directory, whatever the option does with them. Knows words only; what a source text may
//! do is the sandbox's matter.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::old_server::is_probe;
use super::option_table::{Role, find};
use super::scan::is_system_directory;
use super::server_args::{Refusal, refuse};
use super::source_file::{SourceKind, is_source};
use super::words::{Item, Kind, basename, is_option};
use crate::exit_code::ExitCode;

const LOADS: &str = "loads code into the compiler";
const WRITES: &str = "names a file to write";
const NAMES_PATH: &str = "names a path to a part of the compiler, which clients have no business with";
const UNKNOWN_PATH: &str = "is not known here and names a path, which may be one of this server's";
const RESPONSE_FILE: &str = "names a response file";
const ASSEMBLER_WRITES: &str = "lets the assembler write files";

/// Words of the names of options of LLVM and of clang's frontend that take files, load code or run a viewer. As whole
/// words: `-x86-lvi-load-...` and `-use-directives` are something else.
const SUSPECT_WORDS: [&[u8]; 12] = [
    b"dir",
    b"dump",
    b"executor",
    b"file",
    b"filename",
    b"output",
    b"path",
    b"plugin",
    b"profile",
    b"report",
    b"show",
    b"view",
];

/// Options of LLVM and clang's frontend that hold such a word and take no file that is opened. Sorted.
const HARMLESS: [&str; 13] = [
    "dfa-max-path-length",
    "disable-sched-critical-path",
    "dse-memoryssa-path-check-limit",
    "enable-vplan-native-path",
    "fcoverage-compilation-dir",
    "fdebug-compilation-dir",
    "ffile-compilation-dir",
    "fno-temp-file",
    "fsanitize-undefined-strip-path-components",
    "main-file-name",
    "new-struct-path-tbaa",
    "no-struct-path-tbaa",
    "profile-guided-section-prefix",
];

/// Options of clang's frontend whose values are paths that are only written down.
const RECORDED_PATHS: [&str; 8] = [
    "-fcoverage-compilation-dir",
    "-fcoverage-prefix-map",
    "-fdebug-compilation-dir",
    "-fdebug-prefix-map",
    "-ffile-compilation-dir",
    "-ffile-prefix-map",
    "-fmacro-prefix-map",
    "-main-file-name",
];

/// Options of all preprocessors whose values are paths, or anything: what they find, the driver's options find as well.
const SEARCHES: [&str; 10] = [
    "-D",
    "-I",
    "-U",
    "-idirafter",
    "-imacros",
    "-include",
    "-iquote",
    "-isysroot",
    "-isystem",
    "-iwithprefix",
];

/// Options of assemblers whose values may hold a slash: directories to search, names to write down, symbols.
const ASSEMBLER_PATHS: [&str; 7] = [
    "--debug-prefix-map",
    "--defsym",
    "-I",
    "-debug-prefix-map",
    "-defsym",
    "-fdebug-compilation-dir",
    "-fdebug-prefix-map",
];

/// Judges the items of one command, in order: some words mean something only after the one before.
#[derive(Default)]
pub(super) struct Judge<'a> {
    /// The word that was passed to clang's frontend before.
    frontend: Option<&'a OsStr>,
    /// The word that was passed to the preprocessor before.
    preprocessor: Option<&'a OsStr>,
    /// The word that was passed to the assembler before.
    assembler: Option<&'a OsStr>,
}

impl<'a> Judge<'a> {
    /// Judges the next item of a command.
    pub(super) fn check(&mut self, item: &Item<'a>, argv: &[OsString]) -> Result<(), Refusal> {
        let (word, value) = (item.word, item.value());
        let refused = |why| Err(refuse(word, ExitCode::DistccFailed, why));
        // Drivers look for these before they look at what the words mean.
        if let Some(word) = argv[item.at..item.at + item.len].iter().find(|word| names_response_file(word)) {
            return Err(refuse(word, ExitCode::DistccFailed, RESPONSE_FILE));
        }
        if item.names_response_file() {
            return refused(RESPONSE_FILE);
        }
        let passed = match item.kind {
            Kind::MissingValue(_) => return Err(refuse(word, ExitCode::BadArguments, "lacks its value")),
            Kind::Input => return check_input(word),
            Kind::Unknown => check_unknown(word),
            Kind::Known(..) => match item.role() {
                Role::Backend => check_backend(value),
                Role::Frontend => check_frontend(value, &mut self.frontend),
                Role::Assembler => check_assembler(value, &mut self.assembler),
                Role::PassedToPreprocessor => check_preprocessor(value, &mut self.preprocessor),
                _ => {
                    check_option(item)?;
                    // A compiler may know the option in another form than the table, and then its value is an option.
                    let is_misread = item.len == 2 && value.len() > 1 && is_option(value);
                    if is_misread && word != "-Xlinker" {
                        Err("has a value that looks like an option")
                    } else {
                        Ok(())
                    }
                }
            },
        };
        // What is judged by its value is shown with it, or nobody would know which one it was.
        match passed {
            Err(why) if item.len == 2 => {
                let mut both = word.to_owned();
                both.push(" ");
                both.push(value);
                Err(refuse(&both, ExitCode::DistccFailed, why))
            }
            Err(why) => refused(why),
            Ok(()) => Ok(()),
        }
    }
}

/// Judges an option of the driver that the table lists.
fn check_option(item: &Item<'_>) -> Result<(), Refusal> {
    let (word, value) = (item.word, item.value());
    let refused = |why| Err(refuse(word, ExitCode::DistccFailed, why));
    match item.role() {
        Role::Preprocess => {
            Err(refuse(word, ExitCode::PreprocessLocally, "asks for preprocessing, which clients do"))
        }
        Role::ImpliesPreprocessing => refused("asks for dependencies instead of a compilation"),
        Role::Native => refused("means the client's processor, which is not this one"),
        Role::Profile(why) | Role::Refused(why) => refused(why),
        Role::Language if SourceKind::of_language(value).is_none() => {
            refused("declares a language not served")
        }
        Role::Output if value == "-" => refused("sends the output to standard output"),
        Role::ToolDirectory if !is_system_directory(value) => {
            refused("looks for the compiler's programs outside /usr and /opt")
        }
        _ => Ok(()),
    }
}

fn check_input(word: &OsStr) -> Result<(), Refusal> {
    let refused = |why| Err(refuse(word, ExitCode::DistccFailed, why));
    let bytes = word.as_bytes();
    match bytes {
        b"-" => refused("reads the source from standard input"),
        // gcc hands the name on by itself: `-dumpbase @x.c`.
        _ if names_response_file(basename(word)) => refused("makes gcc look for a response file"),
        _ if bytes.ends_with(b".s") || bytes.ends_with(b".S") => refused("is assembler source"),
        _ if is_source(word) && is_probe(word) => refused("is a configure script's probe"),
        _ => Ok(()),
    }
}

fn names_response_file(word: &OsStr) -> bool {
    word.as_bytes().starts_with(b"@")
}

/// Judges an option that the table does not list.
fn check_unknown(word: &OsStr) -> Result<(), &'static str> {
    if let Some(short) = short_spelling(word) {
        check_by_table(&short)?;
    }
    if holds_slash(word) { Err(UNKNOWN_PATH) } else { Ok(()) }
}

/// Judges a word that reaches a part of the compiler by the row of the driver's option of that name.
fn check_by_table(word: &OsStr) -> Result<(), &'static str> {
    match find(word).filter(|_| is_option(word)).map(|row| row.role) {
        Some(Role::Refused(why) | Role::Profile(why)) => Err(why),
        Some(Role::Native) => Err("means the client's processor, which is not this one"),
        _ => Ok(()),
    }
}

/// What gcc makes of a long option that it does not list either: `--plugin=X` is `-fplugin=X`.
fn short_spelling(word: &OsStr) -> Option<OsString> {
    const BEGINNINGS: [(&str, &str); 5] =
        [("--machine=", "-m"), ("--machine-", "-m"), ("--warn-", "-W"), ("--debug=", "-g"), ("--", "-f")];
    BEGINNINGS.iter().find_map(|(long, short)| {
        let rest = word.as_bytes().strip_prefix(long.as_bytes())?;
        let mut spelled = OsString::from(short);
        spelled.push(OsStr::from_bytes(rest));
        Some(spelled)
    })
}

/// Judges a value of `-mllvm`; LLVM takes one dash or two.
fn check_backend(value: &OsStr) -> Result<(), &'static str> {
    let name = option_name(value);
    if name.starts_with(b"load") {
        return Err(LOADS);
    }
    // Files that LLVM could write come back to nobody.
    if is_suspect(name) {
        return Err(if has_word(name, b"plugin") { LOADS } else { WRITES });
    }
    if holds_slash(value) { Err(NAMES_PATH) } else { Ok(()) }
}

/// Judges a value of `-Xclang`. What is itself the value of the one before leads to nothing behind it.
fn check_frontend<'a>(value: &'a OsStr, before: &mut Option<&'a OsStr>) -> Result<(), &'static str> {
    let bytes = value.as_bytes();
    match before.take() {
        Some(option) if option == "-mllvm" => return check_backend(value),
        Some(option) if RECORDED_PATHS.iter().any(|name| option == *name) => {
            return if is_option(value) { Err("stands where a path is recorded") } else { Ok(()) };
        }
        _ => *before = Some(value),
    }
    // Clients of ours define macros and map names past clang's driver; their values may look like anything.
    let records = |name: &str| bytes.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
    if bytes.starts_with(b"-D") || bytes.starts_with(b"-U") || RECORDED_PATHS.into_iter().any(records) {
        return Ok(());
    }
    if bytes.starts_with(b"-load") {
        return Err(LOADS);
    }
    // Longer names only: what `-d` and the like mean to the driver they do not mean here.
    match find(value).filter(|row| bytes.starts_with(b"-") && row.name.len() > 2).map(|row| row.role) {
        Some(Role::Refused(why) | Role::Profile(why)) => return Err(why),
        Some(Role::SideFile(_)) => return Err(WRITES),
        _ => {}
    }
    if bytes == b"-o" || is_suspect(option_name(value)) {
        return Err(WRITES);
    }
    if holds_slash(value) { Err(NAMES_PATH) } else { Ok(()) }
}

/// Judges a value of `-Xpreprocessor`. To gcc's preprocessor it is what it is to the driver; clang hands it to its frontend,
/// as if it were a value of `-Xclang`. The name of the compiler does not tell which one will run.
fn check_preprocessor<'a>(value: &'a OsStr, before: &mut Option<&'a OsStr>) -> Result<(), &'static str> {
    check_by_table(value)?;
    let bytes = value.as_bytes();
    let is_path =
        !is_option(value) && before.is_some_and(|option| SEARCHES.iter().any(|name| option == *name));
    if is_path || SEARCHES.iter().any(|name| bytes.starts_with(name.as_bytes())) {
        *before = Some(value);
        return Ok(());
    }
    check_frontend(value, before)
}

/// Judges the words of `-Wa,` or `-Xassembler`. Assemblers take long options with one dash or two, and any beginning
/// of their names.
fn check_assembler<'a>(list: &'a OsStr, before: &mut Option<&'a OsStr>) -> Result<(), &'static str> {
    for part in list.as_bytes().split(|byte| *byte == b',') {
        let part = OsStr::from_bytes(part);
        let (bytes, option) = (part.as_bytes(), before.take());
        let begins = |beginnings: &[&str]| beginnings.iter().any(|name| bytes.starts_with(name.as_bytes()));
        if names_response_file(part) {
            return Err(RESPONSE_FILE);
        }
        // Listings, dependencies, the object, and a table of instructions.
        if begins(&["-a", "--M", "-MD", "-o", "--o"]) {
            return Err(ASSEMBLER_WRITES);
        }
        if begins(&["-it", "--it"]) {
            return Err("lets the assembler read a file of this server");
        }
        let may = |word: &OsStr| {
            let name = word.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
            ASSEMBLER_PATHS.iter().any(|path| name == path.as_bytes()) || word.as_bytes().starts_with(b"-I")
        };
        let names_path = Err("names a path to the assembler");
        match option
            .filter(|option| may(option) && (*option == "-I" || !option.as_bytes().starts_with(b"-I")))
        {
            // Its value, which leads to nothing behind it.
            Some(_) if bytes.starts_with(b"-") => return names_path,
            Some(_) => continue,
            None if holds_slash(part) && !may(part) => return names_path,
            None => *before = Some(part),
        }
    }
    Ok(())
}

/// The name of an option, without its dashes and its value.
fn option_name(option: &OsStr) -> &[u8] {
    let bytes = option.as_bytes();
    let start = bytes.iter().take_while(|byte| **byte == b'-').count().min(2);
    bytes[start..].split(|byte| *byte == b'=').next().unwrap_or_default()
}

fn is_suspect(name: &[u8]) -> bool {
    let harmless = || HARMLESS.iter().any(|known| name == known.as_bytes());
    SUSPECT_WORDS.iter().any(|word| has_word(name, word)) && !harmless()
}

fn has_word(name: &[u8], word: &[u8]) -> bool {
    name.split(|byte| *byte == b'-').any(|part| part == word)
}

fn holds_slash(word: &OsStr) -> bool {
    word.as_bytes().contains(&b'/')
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::option_table::{OPTIONS, Value};
    use super::super::words::argv;
    use super::*;

    #[test]
    fn lists_are_sorted() {
        assert!(SUSPECT_WORDS.is_sorted() && HARMLESS.is_sorted());
        assert!(RECORDED_PATHS.is_sorted() && ASSEMBLER_PATHS.is_sorted() && SEARCHES.is_sorted());
        let suspect = |name: &&&str| SUSPECT_WORDS.iter().any(|word| has_word(name.as_bytes(), word));
        assert_eq!(HARMLESS.iter().find(|name| !suspect(name)), None, "it needs no exception");
    }

    #[test]
    fn what_builds_use_is_served() {
        let linux = "gcc -nostdinc -D__KERNEL__ -fmacro-prefix-map=/build/linux/= -Wall -Wundef \
            -std=gnu11 -fshort-wchar -funsigned-char -fno-common -fno-PIE -fcf-protection=none -m64 \
            -mpreferred-stack-boundary=3 -mskip-rax-setup -march=x86-64 -mtune=generic -mno-red-zone -mcmodel=kernel \
            -mindirect-branch=thunk-extern -mindirect-branch-register -mindirect-branch-cs-prefix \
            -mfunction-return=thunk-extern -fno-jump-tables -mharden-sls=all -fpatchable-function-entry=16,16 \
            -mstack-protector-guard-reg=gs -mstack-protector-guard-symbol=__ref_stack_chk_guard \
            -fno-delete-null-pointer-checks -O2 --param=allow-store-data-races=0 -fstack-protector-strong \
            -fzero-call-used-regs=used-gpr -pg -mrecord-mcount -mfentry -DCC_USING_FENTRY -falign-functions=16 \
            -fconserve-stack -Wframe-larger-than=2048 -Wimplicit-fallthrough=5 -Werror=date-time -g -gdwarf-5 \
            -fsanitize=kernel-address -fasan-shadow-offset=0xdffffc0000000000 --param asan-globals=1 \
            --param asan-instrumentation-with-call-threshold=0 -fsanitize-coverage=trace-pc,trace-cmp \
            -Wa,-mrelax-relocations=no -Wa,--fatal-warnings -Wa,-gdwarf-2 -DMODULE -c -o a.o a.c";
        let options = [
            linux,
            "clang -mllvm -asan-stack=0 -mllvm -hwasan-inline-all-checks=0 -mllvm -import-instr-limit=5 -c a.c",
            "clang -mllvm -tsan-compound-read-before-write=1 -mllvm -msan-disable-checks=1 -c a.c",
            "clang -mllvm -polly -mllvm -polly-run-inliner -mllvm -polly-ast-use-context -c a.c",
            "clang -mllvm -enable-fs-discriminator=true -mllvm -improved-fs-discriminator=true -c a.c",
            "clang -mllvm -x86-slh-loads -mllvm --x86-asm-syntax=intel -mllvm -enable-load-pre=false -c a.c",
            "clang -mllvm -inline-threshold=1000 -mllvm -instcombine-lower-dbg-declare=0 -c a.c",
            "clang -mllvm=-inline-threshold=1000 -Xclang=-fno-pch-timestamp -c a.c",
            "clang -Xclang -fdebug-compilation-dir -Xclang /build/x -Xclang -fcoverage-compilation-dir=/x -c a.c",
            "clang -Xclang -fdebug-compilation-dir -Xclang . -Xclang -fuse-ctor-homing -ftrivial-auto-var-init=zero -c a.c",
            "clang -Xclang -debug-info-kind=constructor -Xclang -mrelax-all -Xclang -disable-O0-optnone -c a.c",
            "clang -Xclang -target-feature -Xclang +avx512f -Xclang -mllvm -Xclang -unroll-threshold=5 -c a.c",
            "clang -Xclang -DDIR=/x/y -Xclang -fmacro-prefix-map=/a=/b -Xclang -fno-temp-file -c a.c",
            "clang --driver-mode=g++ -target aarch64-linux-gnu --sysroot=/opt/sdk -resource-dir /x -c a.c",
            "clang -fcrash-diagnostics-dir=../../crashes -fdiagnostics-absolute-paths -no-canonical-prefixes -c a.c",
            "clang -ffile-compilation-dir=/x -fcoverage-prefix-map=/x=/y -fbasic-block-sections=labels -c a.c",
            "gcc -frandom-seed=bazel-out/k8-opt/bin/a.o -ffile-prefix-map=/x=/y -fdebug-prefix-map=/x=. -c a.c",
            "gcc -finstrument-functions-exclude-file-list=/usr/include,sys/ -fdiagnostics-color=always -c a.c",
            "gcc -Wa,--noexecstack -Wa,-I,/x/y -Wa,-I/x -Wa,--defsym,P=a/b -Wa,--debug-prefix-map=/x=/y -c a.c",
            "gcc -Wa,-march=armv7-a -Wa,-mimplicit-it=always,-mno-warn-deprecated -Wa,-W -Wa,--compress-debug-sections -c a.c",
            "gcc -Xassembler --noexecstack -Xassembler -I -Xassembler /x -Xassembler -mbig-obj -c a.c",
            "gcc -Wl,-rpath,/x/y -L/x -l/y -T/x.ld -fuse-ld=/usr/bin/ld -Xlinker /x --library-directory=/x -c a.c",
            "gcc -I/a -isystem /b -include /c.h -D A=/d -DX=/y -U/z -MD -MF /e.d -MT /f.o --param x=1 -c a.c",
            "gcc -B/usr/lib/gcc-cross -Wp,-MMD,/x/.a.o.d -Wp,-D_FORTIFY_SOURCE=2 -c a.c",
            "clang -Xpreprocessor -DX=/y -Xpreprocessor -I -Xpreprocessor /a -Xpreprocessor -fopenmp -c a.c",
            "gcc -v -Q -ftime-report -fmem-report -Weverything -Wdocumentation -P -C -fdirectives-only -c a.c",
        ];
        for command in options {
            let told = check(&argv(command));
            assert!(told.is_ok(), "{command}: {}", told.unwrap_err());
        }
    }

    #[test]
    fn every_spelling_of_what_is_refused_is_refused() {
        for (options, text) in [
            ("--plugin=/x.so", "--plugin=/x.so loads code"),
            ("--plugin=x", "--plugin=x loads code"),
            ("--profile-use=x", "--profile-use=x reads or writes"),
            ("--module-mapper=|sh", "--module-mapper=|sh runs"),
            ("--machine=arch=native", "--machine=arch=native means"),
            ("--machine-arch=native", "--machine-arch=native means"),
            ("--dump-tree-all=/x", "--dump-tree-all=/x is not known here and names a path"),
            ("-fnew-report=/x", "-fnew-report=/x is not known here"),
            ("-fnew-report=../x", "-fnew-report=../x is not known here"),
            ("--output=x", "--output=x is a long spelling"),
            ("--output-pch=/x", "--output-pch=/x uses a precompiled"),
            ("--language=assembler", "--language=assembler is a long"),
            ("--param @x", "@x names a response file"),
            ("-D @x", "@x names a response file"),
            ("-Wp,@x", "@x names a response file"),
            ("-Wa,--64,@x", "-Wa,--64,@x names a response file"),
            ("-Xassembler @x", "@x names a response file"),
            ("-Xassembler -o", "-Xassembler -o lets the assembler write"),
            ("-Xassembler /etc/passwd", "-Xassembler /etc/passwd names a path"),
            ("-Wa,-o,x", "-Wa,-o,x lets the assembler write"),
            ("-Wa,/etc/passwd", "-Wa,/etc/passwd names a path"),
            ("-Wa,-W,/etc/passwd", "-Wa,-W,/etc/passwd names a path"),
            ("-Wa,--itbl=x", "-Wa,--itbl=x lets the assembler read"),
            ("-Wa,--listing=/x", "-Wa,--listing=/x names a path"),
            ("--for-assembler=-o", "--for-assembler=-o lets"),
            ("--for-assembler --MD", "--for-assembler --MD lets"),
            ("-Xpreprocessor -fplugin=x", "-Xpreprocessor -fplugin=x loads"),
            ("-Xpreprocessor -load -Xpreprocessor x", "-Xpreprocessor -load loads"),
            ("-Xpreprocessor -I -Xpreprocessor -load -Xpreprocessor x", "-Xpreprocessor -load loads"),
            ("-Xpreprocessor -mllvm -Xpreprocessor -load=x", "-Xpreprocessor -load=x loads"),
            ("-Xpreprocessor -add-plugin -Xpreprocessor x", "-Xpreprocessor -add-plugin loads"),
            ("-Xpreprocessor -o -Xpreprocessor x", "-Xpreprocessor -o "),
            ("-Xpreprocessor -Ix -Xpreprocessor /x", "-Xpreprocessor /x "),
            ("-Xpreprocessor -include-pch -Xpreprocessor x", "-Xpreprocessor -include-pch "),
            ("-Xanalyzer -load", "-Xanalyzer speaks"),
            ("-Xarch_host -fplugin=x", "-Xarch_host gives"),
            ("-Xarch_x86_64 -fplugin=x", "-Xarch_x86_64 gives"),
            ("-fcompare-debug=-fplugin=x", "-fcompare-debug=-fplugin=x gives options"),
            ("--driver-mode=cl", "--driver-mode=cl changes what every"),
            ("-Xclang=-load", "-Xclang=-load loads"),
            ("-Xclang -plugin -Xclang x", "-Xclang -plugin loads"),
            ("-Xclang -ast-merge -Xclang x", "-Xclang -ast-merge reads"),
            ("-Xclang -split-dwarf-output -Xclang x", "-Xclang -split-dwarf-output names a file"),
            ("-Xclang -stack-usage-file -Xclang x", "-Xclang -stack-usage-file names a file"),
            ("-Xclang -coverage-notes-file=x", "-Xclang -coverage-notes-file=x names a file"),
            ("-Xclang -fprofile-instrument-use-path=x", "-Xclang -fprofile-instrument-use-path=x reads or"),
            ("-Xclang -include -Xclang /etc/passwd", "-Xclang /etc/passwd names a path"),
            ("-Xclang /etc/passwd", "-Xclang /etc/passwd names a path"),
            ("-Xclang -mllvm -Xclang -load=x", "-Xclang -load=x loads"),
            ("-mllvm=-load=x", "-mllvm=-load=x loads"),
            ("-mllvm --load=x", "-mllvm --load=x loads"),
            ("-mllvm -load-pass-plugin=x", "-mllvm -load-pass-plugin=x loads"),
            ("-mllvm -x86-lvi-load-opt-plugin=x", "-mllvm -x86-lvi-load-opt-plugin=x loads"),
            ("-mllvm -print-changed-dot-path=sh", "-mllvm -print-changed-dot-path=sh names"),
            ("-mllvm -dot-cfg-dir=x", "-mllvm -dot-cfg-dir=x names"),
            ("-mllvm -cfg-dot-filename-prefix=x", "-mllvm -cfg-dot-filename-prefix=x names"),
            ("-mllvm -dfsan-abilist=/x", "-mllvm -dfsan-abilist=/x names a path"),
            ("-mllvm -summary-file=x", "-mllvm -summary-file=x names"),
            ("-mllvm -view-dag-combine1-dags", "-mllvm -view-dag-combine1-dags names"),
            ("-include-pch x", "-include-pch uses a precompiled"),
            ("-fmodule-file=x", "-fmodule-file=x uses modules"),
            ("-fmodules", "-fmodules uses modules"),
            ("-working-directory=/x", "-working-directory=/x moves"),
            ("-fsanitize-ignorelist=x", "-fsanitize-ignorelist=x reads a file"),
            ("-fbasic-block-sections=list=x", "-fbasic-block-sections=list=x reads a file"),
            ("-B/usr/tmp/x", "-B/usr/tmp/x looks"),
        ] {
            let told = check(&argv(&format!("gcc {options} -c a.c")));
            let told = told.expect_err(options).to_string();
            assert!(told.starts_with(text), "{options}: {told}");
        }
    }

    #[test]
    fn every_row_of_the_table_that_is_refused_says_its_name() {
        for row in OPTIONS.iter() {
            let (Role::Refused(why) | Role::Profile(why)) = row.role else { continue };
            let separator = if row.value == Value::Separate { " " } else { "" };
            let value = if row.value == Value::None { "" } else { "!" };
            let told = check(&argv(&format!("gcc {}{separator}{value} -c a.c", row.name)));
            let told = told.expect_err(row.name).to_string();
            assert!(told.starts_with(row.name) && told.contains(why), "{}: {told}", row.name);
        }
    }
}
