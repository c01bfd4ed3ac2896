//! The one table of compiler options that matter to distribution: how each writes its value, and what it means
//! for a compilation elsewhere. Knows gcc and clang; knows nothing of a particular command.
//!
//! An option that is not listed is kept and has no separate value.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use self::DependencyPart::{Detail, File, QuotedTarget, Request, Target};
use self::Names::{PrefixMap, Source, SystemRoot};
use self::Role::*;

/// How an option's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The word is the whole option.
    None,
    /// The value, perhaps empty, follows in the same word.
    Joined,
    /// The value is the next word.
    Separate,
    /// The value follows in the same word if there is more of it, else it is the next word.
    Either,
}

/// The parts of a request for a dependency file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DependencyPart {
    /// Asks for the file.
    Request,
    /// Names the file.
    File,
    /// Names a target, as it is.
    Target,
    /// Names a target, to be quoted for make.
    QuotedTarget,
    /// Changes what is written.
    Detail,
}

/// What an option means for distribution. The texts complete a sentence that begins with the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing: listed because of its value, or to shield it from a shorter row.
    Keep,
    /// `-c`.
    Compile,
    /// `-S`.
    Assemble,
    /// `-E`.
    Preprocess,
    /// Names the output.
    Output,
    /// Declares the language of the sources after it.
    Language,
    /// Chooses one of Apple's architectures; harmless once, several compilations if repeated.
    Architecture,
    /// Part of a request for a dependency file.
    Dependency(DependencyPart),
    /// `-M` and its relatives: dependencies instead of a compilation.
    ImpliesPreprocessing,
    /// Used up by preprocessing: not sent with preprocessed text, where clang would call it unused.
    Preprocessor,
    /// The same, and its effect is on this machine: not sent to a preprocessing server either.
    PreprocessorHere,
    /// `-Xpreprocessor`: the value decides.
    PassedToPreprocessor,
    /// Used up by linking: changes no object, and clang calls it unused.
    Linker,
    /// Where the compiler looks for its tools: distributed if that is the system's own place.
    ToolDirectory,
    /// `-Xclang`: the value decides.
    Frontend,
    /// `-mllvm`: harmless at home; on a server the value decides.
    Backend,
    /// `-Wa,` and `-Xassembler`: local if the assembler is to write a listing or dependencies.
    Assembler,
    /// Means the processor of the machine that runs the compiler.
    Native,
    /// `-flto`, which servers of 3.4 refuse in exactly this spelling.
    Lto,
    /// Compiled locally; a server of 3.4 refuses it too.
    Profile(&'static str),
    /// Compiled locally.
    Local(&'static str),
    /// Compiled locally, because the compiler writes a file beside the object.
    SideOutput(&'static str),
    /// The same, with a name of the user's choice: no server lets a client choose one.
    SideFile(&'static str),
    /// A `SideFile` if the value contains `=`; else output to stderr.
    FileAfterEquals(&'static str),
    /// Compiled locally unless the output is named.
    ChangesOutputName(&'static str),
    /// Compiled locally, and refused by servers: it would run code, or read or write files, of the client's choice.
    Refused(&'static str),
}

/// One option.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OptionRow {
    /// The word, or the part before a joined value.
    pub(super) name: &'static str,
    /// How the value is written.
    pub(super) value: Value,
    /// What it means.
    pub(super) role: Role,
    /// What the value names.
    pub(super) names: Names,
}

/// What an option's value names, so that a server can put it where the client's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Nothing, or a file that is the same on all machines, or one that only other roles speak of.
    Nothing,
    /// A file or directory that preprocessing reads, or the beginning of such names.
    Source,
    /// A directory that takes the place of `/` for the compiler: the client's own, or one that servers have too.
    SystemRoot,
    /// `OLD=NEW`: how to write names that begin with OLD.
    PrefixMap,
}

const fn row(name: &'static str, value: Value, role: Role) -> OptionRow {
    OptionRow { name, value, role, names: Names::Nothing }
}

/// An option of the preprocessor whose value names something.
const fn naming(names: Names, name: &'static str, value: Value) -> OptionRow {
    OptionRow { name, value, role: Preprocessor, names }
}

/// Finds the row for a word that starts with `-`: the longest name that fits.
pub(super) fn find(word: &OsStr) -> Option<&'static OptionRow> {
    let bytes = word.as_bytes();
    let mut key = bytes;
    loop {
        // The names that begin the key are sorted before it, and all begin with each other: the last name up to the
        // key begins it, or shares with it whatever name does.
        let after = OPTIONS.partition_point(|row| row.name.as_bytes() <= key);
        let row = &OPTIONS[after.checked_sub(1)?];
        let shared = row.name.bytes().zip(key).take_while(|(one, other)| one == *other).count();
        let is_beginning = shared == row.name.len();
        let fits = match row.value {
            Value::None | Value::Separate => shared == bytes.len(),
            Value::Joined | Value::Either => true,
        };
        if is_beginning && fits {
            return Some(row);
        }
        key = &key[..if is_beginning { shared.checked_sub(1)? } else { shared }];
    }
}

/// Sorted by name, bytewise.
#[rustfmt::skip]
pub(super) static OPTIONS: &[OptionRow] = &[
    row("-###", Value::None, Local("prints what this machine's compiler does")),
    row("--analyze", Value::None, Local("changes what kind of file is written")),
    row("--assemble", Value::None, Refused("is a long spelling that servers do not understand")),
    row("--assert", Value::Separate, Preprocessor),
    row("--assert=", Value::Joined, Preprocessor),
    row("--aux-info", Value::Separate, SideFile("declarations to a file")),
    row("--comments", Value::None, Local("is meant for preprocessing only")),
    row("--comments-in-macros", Value::None, Local("is meant for preprocessing only")),
    row("--compile", Value::None, Refused("is a long spelling that servers do not understand")),
    row("--config", Value::Separate, Refused("takes options from a file")),
    row("--config-system-dir=", Value::Joined, Refused("takes options from a file")),
    row("--config-user-dir=", Value::Joined, Refused("takes options from a file")),
    row("--config=", Value::Joined, Refused("takes options from a file")),
    row("--coverage", Value::None, Profile("writes a coverage notes file here")),
    row("--cuda-", Value::Joined, Local("compiles for several machines at once")),
    row("--define-macro", Value::Separate, Preprocessor),
    row("--define-macro=", Value::Joined, Preprocessor),
    row("--dependencies", Value::None, ImpliesPreprocessing),
    row("--driver-mode=", Value::Joined, Refused("changes what every option means")),
    row("--driver-mode=g++", Value::None, Keep),
    row("--driver-mode=gcc", Value::None, Keep),
    row("--dump", Value::Separate, SideOutput("dumps of the compiler's passes")),
    row("--dump=", Value::Joined, SideOutput("dumps of the compiler's passes")),
    row("--dumpbase", Value::Separate, SideFile("side files under another name")),
    row("--dumpbase-ext", Value::Separate, SideFile("side files under another name")),
    row("--dumpdir", Value::Separate, SideFile("side files under another name")),
    naming(Source, "--embed-dir=", Value::Joined),
    row("--entry", Value::Separate, Linker),
    row("--entry=", Value::Joined, Linker),
    row("--for-assembler", Value::Separate, Assembler),
    row("--for-assembler=", Value::Joined, Assembler),
    row("--for-linker", Value::Separate, Linker),
    row("--for-linker=", Value::Joined, Linker),
    row("--force-link", Value::Separate, Linker),
    row("--force-link=", Value::Joined, Linker),
    row("--gcc-install-dir=", Value::Joined, ToolDirectory),
    row("--gcc-toolchain", Value::Separate, ToolDirectory),
    row("--gcc-toolchain=", Value::Joined, ToolDirectory),
    row("--help", Value::None, Local("prints what this machine's compiler does")),
    row("--help=", Value::Joined, Local("prints what this machine's compiler does")),
    row("--hip-", Value::Joined, Local("compiles for several machines at once")),
    naming(Source, "--imacros", Value::Separate),
    naming(Source, "--imacros=", Value::Joined),
    naming(Source, "--include", Value::Separate),
    naming(Source, "--include-directory", Value::Separate),
    naming(Source, "--include-directory-after", Value::Separate),
    naming(Source, "--include-directory-after=", Value::Joined),
    naming(Source, "--include-directory=", Value::Joined),
    naming(Source, "--include-prefix", Value::Separate),
    naming(Source, "--include-prefix=", Value::Joined),
    row("--include-with-prefix", Value::Separate, Preprocessor),
    row("--include-with-prefix-after", Value::Separate, Preprocessor),
    row("--include-with-prefix-after=", Value::Joined, Preprocessor),
    row("--include-with-prefix-before", Value::Separate, Preprocessor),
    row("--include-with-prefix-before=", Value::Joined, Preprocessor),
    row("--include-with-prefix=", Value::Joined, Preprocessor),
    naming(Source, "--include=", Value::Joined),
    row("--language", Value::Separate, Refused("is a long spelling that servers do not understand")),
    row("--language=", Value::Joined, Refused("is a long spelling that servers do not understand")),
    row("--ld-path=", Value::Joined, Linker),
    row("--library-directory", Value::Separate, Linker),
    row("--library-directory=", Value::Joined, Linker),
    row("--migrate", Value::None, Refused("changes what kind of file is written")),
    row("--no-line-commands", Value::None, Local("is meant for preprocessing only")),
    row("--no-standard-includes", Value::None, Preprocessor),
    row("--no-system-header-prefix=", Value::Joined, Preprocessor),
    row("--offload-arch=", Value::Joined, Local("compiles for several machines at once")),
    row("--offload=", Value::Joined, Local("compiles for several machines at once")),
    row("--output", Value::Separate, Refused("is a long spelling that servers do not understand")),
    row("--output-pch=", Value::Joined, Refused("uses a precompiled header of this machine")),
    row("--output=", Value::Joined, Refused("is a long spelling that servers do not understand")),
    row("--param", Value::Separate, Keep),
    row("--precompile", Value::None, Refused("uses modules, which are not sent along")),
    row("--prefix", Value::Separate, ToolDirectory),
    row("--prefix=", Value::Joined, ToolDirectory),
    row("--preprocess", Value::None, Preprocess),
    row("--print-", Value::Joined, Local("prints what this machine's compiler does")),
    row("--print-missing-file-dependencies", Value::None, Refused("is a long spelling that servers do not understand")),
    row("--relocatable-pch", Value::None, Local("uses a precompiled header of this machine")),
    row("--rpath", Value::Separate, Linker),
    row("--rsp-quoting=", Value::Joined, Keep),
    row("--save-stats", Value::Joined, SideOutput("statistics")),
    row("--save-temps", Value::Joined, SideOutput("intermediate files")),
    row("--serialize-diagnostics", Value::Separate, SideFile("diagnostics to a file")),
    row("--specs", Value::Separate, Refused("replaces the compiler's rules")),
    row("--specs=", Value::Joined, Refused("replaces the compiler's rules")),
    naming(SystemRoot, "--sysroot", Value::Separate),
    naming(SystemRoot, "--sysroot=", Value::Joined),
    row("--system-header-prefix=", Value::Joined, Preprocessor),
    row("--target", Value::Separate, Keep),
    row("--trace-includes", Value::None, PreprocessorHere),
    row("--traditional", Value::None, Local("preprocesses in a way that cannot be repeated elsewhere")),
    row("--traditional-cpp", Value::None, Local("preprocesses in a way that cannot be repeated elsewhere")),
    row("--undefine-macro", Value::Separate, Preprocessor),
    row("--undefine-macro=", Value::Joined, Preprocessor),
    row("--user-dependencies", Value::None, ImpliesPreprocessing),
    row("--verbose", Value::None, Local("prints what this machine's compiler does")),
    row("--version", Value::None, Local("prints what this machine's compiler does")),
    row("--warning-suppression-mappings=", Value::Joined, Refused("reads a file that is not sent along")),
    row("--write-dependencies", Value::None, Refused("is a long spelling that servers do not understand")),
    row("--write-user-dependencies", Value::None, Refused("is a long spelling that servers do not understand")),
    row("-A", Value::Either, Preprocessor),
    row("-B", Value::Either, ToolDirectory),
    row("-C", Value::None, Local("is meant for preprocessing only")),
    row("-CC", Value::None, Local("is meant for preprocessing only")),
    row("-D", Value::Either, Preprocessor),
    row("-E", Value::None, Preprocess),
    naming(Source, "-F", Value::Either),
    row("-G", Value::Separate, Keep),
    row("-H", Value::None, PreprocessorHere),
    naming(Source, "-I", Value::Either),
    row("-L", Value::Either, Linker),
    row("-M", Value::Joined, ImpliesPreprocessing),
    row("-MD", Value::None, Dependency(Request)),
    row("-MF", Value::Either, Dependency(File)),
    row("-MG", Value::None, Dependency(Detail)),
    row("-MJ", Value::Either, SideFile("a compilation database entry")),
    row("-MMD", Value::None, Dependency(Request)),
    row("-MP", Value::None, Dependency(Detail)),
    row("-MQ", Value::Either, Dependency(QuotedTarget)),
    row("-MT", Value::Either, Dependency(Target)),
    row("-MV", Value::None, Dependency(Detail)),
    row("-ObjC", Value::None, Local("changes the language of every source")),
    row("-ObjC++", Value::None, Local("changes the language of every source")),
    row("-P", Value::None, Local("is meant for preprocessing only")),
    row("-Q", Value::None, Local("prints what this machine's compiler does")),
    row("-S", Value::None, Assemble),
    row("-T", Value::Either, Linker),
    row("-Tbss", Value::Separate, Linker),
    row("-Tdata", Value::Separate, Linker),
    row("-Ttext", Value::Separate, Linker),
    row("-U", Value::Either, Preprocessor),
    row("-Wa,", Value::Joined, Assembler),
    row("-Wdocumentation", Value::None, Local("reads comments, which preprocessing removes")),
    row("-Wdocumentation-pedantic", Value::None, Local("reads comments, which preprocessing removes")),
    row("-Wdocumentation-unknown-command", Value::None, Local("reads comments, which preprocessing removes")),
    row("-Weverything", Value::None, Local("reads comments, which preprocessing removes")),
    row("-Wl,", Value::Joined, Linker),
    // Servers have only the directories that something is found in.
    row("-Wmissing-include-dirs", Value::None, PreprocessorHere),
    row("-Wp,", Value::Joined, PreprocessorHere),
    row("-Xanalyzer", Value::Separate, Refused("speaks to a program the server may not have")),
    row("-Xarch_", Value::Joined, Refused("gives an option to one of several compilations")),
    row("-Xarch_device", Value::Separate, Refused("gives an option to one of several compilations")),
    row("-Xarch_host", Value::Separate, Refused("gives an option to one of several compilations")),
    row("-Xassembler", Value::Separate, Assembler),
    row("-Xclang", Value::Separate, Frontend),
    row("-Xclang=", Value::Joined, Frontend),
    row("-Xcuda-fatbinary", Value::Separate, Refused("speaks to a program the server may not have")),
    row("-Xcuda-ptxas", Value::Separate, Refused("speaks to a program the server may not have")),
    row("-Xlinker", Value::Separate, Linker),
    row("-Xopenmp-target", Value::Separate, Refused("speaks to a program the server may not have")),
    row("-Xopenmp-target=", Value::Joined, Refused("gives an option to one of several compilations")),
    row("-Xpreprocessor", Value::Separate, PassedToPreprocessor),
    row("-add-plugin", Value::Separate, Refused("loads code into the compiler")),
    row("-analyze", Value::None, Local("changes what kind of file is written")),
    row("-arch", Value::Separate, Architecture),
    row("-arcmt-", Value::Joined, Refused("changes what kind of file is written")),
    row("-ast-merge", Value::Separate, Refused("reads a file that is not sent along")),
    row("-aux-info", Value::Separate, SideFile("declarations to a file")),
    row("-aux-info=", Value::Joined, SideFile("declarations to a file")),
    row("-c", Value::None, Compile),
    row("-ccc-", Value::Joined, Refused("changes how the compiler calls its tools")),
    row("-chain-include", Value::Separate, Refused("reads a file that is not sent along")),
    row("-coverage", Value::None, Profile("writes a coverage notes file here")),
    naming(Source, "-cxx-isystem", Value::Either),
    row("-d", Value::Joined, SideOutput("dumps of the compiler's passes")),
    row("-dA", Value::None, Keep),
    row("-dD", Value::None, Local("is meant for preprocessing only")),
    row("-dH", Value::None, Keep),
    row("-dI", Value::None, Local("is meant for preprocessing only")),
    row("-dM", Value::None, Local("is meant for preprocessing only")),
    row("-dN", Value::None, Local("is meant for preprocessing only")),
    row("-dP", Value::None, Keep),
    row("-dU", Value::None, Local("is meant for preprocessing only")),
    row("-da", Value::None, SideOutput("dumps of the compiler's passes")),
    row("-dead_strip", Value::None, Keep),
    row("-dependency-dot", Value::Separate, SideFile("dependencies to a file")),
    row("-dependency-file", Value::Separate, SideFile("dependencies to a file")),
    row("-dp", Value::None, Keep),
    row("-dr", Value::Joined, Profile("writes a dump of the compiler's passes")),
    row("-dsym-dir", Value::Separate, SideFile("debug information to a directory")),
    row("-dumpbase", Value::Separate, SideFile("side files under another name")),
    row("-dumpbase-ext", Value::Separate, SideFile("side files under another name")),
    row("-dumpdir", Value::Separate, SideFile("side files under another name")),
    row("-dumpfullversion", Value::None, Local("only prints what the compiler is")),
    row("-dumpmachine", Value::None, Local("only prints what the compiler is")),
    row("-dumpspecs", Value::None, Local("only prints what the compiler is")),
    row("-dumpversion", Value::None, Local("only prints what the compiler is")),
    row("-dx", Value::None, Local("stops before generating code")),
    row("-dynamic", Value::None, Keep),
    row("-dynamiclib", Value::None, Keep),
    row("-e", Value::Separate, Linker),
    row("-emit-ast", Value::None, Local("changes what kind of file is written")),
    row("-emit-header-unit", Value::None, Refused("uses modules, which are not sent along")),
    row("-emit-interface-stubs", Value::None, Local("changes what kind of file is written")),
    row("-emit-llvm", Value::None, ChangesOutputName("changes the name of the output")),
    row("-emit-module", Value::None, Refused("uses modules, which are not sent along")),
    row("-emit-module-interface", Value::None, Refused("uses modules, which are not sent along")),
    row("-emit-pch", Value::None, Local("uses a precompiled header of this machine")),
    row("-fauto-profile", Value::Joined, Profile("reads or writes profile data of this machine")),
    row("-fbasic-block-sections=list=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fbranch-probabilities", Value::None, Profile("reads or writes profile data of this machine")),
    row("-fbuild-session-file=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fbuiltin-module-map", Value::Joined, Refused("uses modules, which are not sent along")),
    row("-fcallgraph-info", Value::Joined, SideOutput("a call graph")),
    row("-fcompare-debug", Value::None, SideOutput("a second compilation's dump")),
    row("-fcompare-debug-second", Value::None, SideOutput("a second compilation's dump")),
    row("-fcompare-debug=", Value::Joined, Refused("gives options to a second compilation")),
    row("-fcondition-coverage", Value::None, Profile("writes a coverage notes file here")),
    row("-fcoverage-compilation-dir=", Value::Joined, Keep),
    row("-fcoverage-mapping", Value::None, Local("describes the source before preprocessing")),
    row("-fcoverage-prefix-map=", Value::Joined, Keep),
    row("-fcrash-diagnostics-dir=", Value::Joined, Keep),
    row("-fcs-profile-", Value::Joined, Profile("reads or writes profile data of this machine")),
    row("-fcxx-modules", Value::Joined, Refused("uses modules, which are not sent along")),
    row("-fdebug-compilation-dir", Value::Separate, Keep),
    row("-fdebug-compilation-dir=", Value::Joined, Keep),
    row("-fdebug-macro", Value::None, Local("records macros, which preprocessing expands")),
    OptionRow { name: "-fdebug-prefix-map=", value: Value::Joined, role: Keep, names: PrefixMap },
    row("-fdepfile-entry=", Value::Joined, Keep),
    row("-fdeps-", Value::Joined, SideFile("module dependencies to a file")),
    row("-fdiagnostics-add-output=", Value::Joined, SideFile("diagnostics to a file")),
    row("-fdiagnostics-format=json-file", Value::None, SideOutput("diagnostics to a file")),
    row("-fdiagnostics-format=sarif-file", Value::None, SideOutput("diagnostics to a file")),
    row("-fdiagnostics-set-output=", Value::Joined, SideFile("diagnostics to a file")),
    row("-fdirectives-only", Value::None, Local("is meant for preprocessing only")),
    row("-fdoc-inc=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fdump-", Value::Joined, SideOutput("a dump of the compiler's passes")),
    row("-fdump-final-insns=", Value::Joined, SideFile("a dump of the compiler's passes")),
    row("-fembed-offload-object=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-ffile-compilation-dir=", Value::Joined, Keep),
    OptionRow { name: "-ffile-prefix-map=", value: Value::Joined, role: Keep, names: PrefixMap },
    row("-fgo-embedcfg=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fimplicit-module-maps", Value::Joined, Refused("uses modules, which are not sent along")),
    row("-fimplicit-modules", Value::Joined, Refused("uses modules, which are not sent along")),
    row("-finput-charset=", Value::Joined, Preprocessor),
    row("-finstrument-functions-exclude-file-list=", Value::Joined, Keep),
    row("-fintegrated-cc1", Value::None, Keep),
    row("-flto", Value::None, Lto),
    row("-fltrans-output-list=", Value::Joined, Refused("reads a file that is not sent along")),
    naming(PrefixMap, "-fmacro-prefix-map=", Value::Joined),
    row("-fmem-report", Value::None, Local("prints what this machine's compiler does")),
    row("-fmem-report-wpa", Value::None, Local("prints what this machine's compiler does")),
    row("-fmemory-profile-use=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fmemory-profile=", Value::Joined, Keep),
    row("-fminimize-whitespace", Value::None, Local("is meant for preprocessing only")),
    row("-fmodule", Value::Joined, Refused("uses modules, which are not sent along")),
    row("-fmodule-mapper=", Value::Joined, Refused("runs a program of the command's choice")),
    row("-fmodule-output=", Value::Joined, SideFile("a compiled module")),
    row("-fmodules", Value::Joined, Refused("uses modules, which are not sent along")),
    row("-fmodules-cache-path=", Value::Joined, SideFile("compiled modules")),
    row("-fmodules-ts", Value::None, Refused("uses modules, which are not sent along")),
    row("-fmodules-user-build-path", Value::Separate, Refused("uses modules, which are not sent along")),
    row("-fno-cxx-modules", Value::None, Keep),
    row("-fno-implicit-module-maps", Value::None, Keep),
    row("-fno-implicit-modules", Value::None, Keep),
    row("-fno-modules", Value::None, Keep),
    row("-fopenmp-host-ir-file-path", Value::Separate, Refused("reads a file that is not sent along")),
    row("-fopenmp-targets=", Value::Joined, Local("compiles for several machines at once")),
    row("-fopt-info", Value::Joined, FileAfterEquals("an optimization report")),
    row("-foptimization-record-file=", Value::Joined, SideFile("an optimization record")),
    row("-foverride-record-layout=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fparse-all-comments", Value::None, Local("reads comments, which preprocessing removes")),
    row("-fpass-plugin=", Value::Joined, Refused("loads code into the compiler")),
    row("-fpath-coverage", Value::None, Profile("writes a coverage notes file here")),
    row("-fpch-deps", Value::None, Local("uses a precompiled header of this machine")),
    row("-fpch-preprocess", Value::None, Local("uses a precompiled header of this machine")),
    row("-fplugin-arg-", Value::Joined, Refused("loads code into the compiler")),
    row("-fplugin=", Value::Joined, Refused("loads code into the compiler")),
    row("-fpost-ipa-mem-report", Value::None, Local("prints what this machine's compiler does")),
    row("-fpre-ipa-mem-report", Value::None, Local("prints what this machine's compiler does")),
    row("-fprebuilt-", Value::Joined, Refused("uses modules, which are not sent along")),
    row("-fpreprocessed", Value::None, Local("is meant for preprocessing only")),
    row("-fproc-stat-report", Value::None, Local("reports the resources used by the compiler")),
    row("-fproc-stat-report=", Value::Joined, SideFile("a process report")),
    row("-fprofile-", Value::Joined, Profile("reads or writes profile data of this machine")),
    row("-framework", Value::Separate, Linker),
    row("-frandom-seed=", Value::Joined, Keep),
    row("-frandomize-layout-seed-file=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-frecord-command-line", Value::None, Local("records the command as it is written here")),
    row("-frepo", Value::None, Profile("writes a template repository file")),
    row("-fresolution=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-frewrite-imports", Value::None, Local("is meant for preprocessing only")),
    row("-frewrite-includes", Value::None, Local("is meant for preprocessing only")),
    row("-fsanitize-blacklist=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fsanitize-coverage-allowlist=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fsanitize-coverage-blacklist=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fsanitize-coverage-ignorelist=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fsanitize-coverage-whitelist=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fsanitize-ignorelist=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fsanitize-system-ignorelist=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fsave-optimization-record", Value::Joined, SideOutput("an optimization record")),
    row("-fself-test=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fstack-usage", Value::None, SideOutput("a stack usage file")),
    row("-fstack-usage-file=", Value::Joined, SideFile("a stack usage file")),
    row("-fsyntax-only", Value::None, Local("writes no object")),
    row("-ftest-coverage", Value::None, Profile("writes a coverage notes file here")),
    row("-fthinlto-index=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-ftime-report", Value::None, Local("prints what this machine's compiler does")),
    row("-ftime-report-details", Value::None, Local("prints what this machine's compiler does")),
    row("-ftime-report=", Value::Joined, Local("prints what this machine's compiler does")),
    row("-ftime-trace", Value::Joined, SideOutput("a time trace")),
    row("-ftime-trace=", Value::Joined, SideFile("a time trace")),
    row("-fuse-ld=", Value::Joined, Linker),
    row("-fxray-always-instrument=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fxray-attr-list=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-fxray-never-instrument=", Value::Joined, Refused("reads a file that is not sent along")),
    row("-gcc-toolchain", Value::Separate, ToolDirectory),
    row("-gen-cdb-fragment-path", Value::Separate, SideFile("a compilation database entry")),
    row("-grecord-command-line", Value::None, Local("records the command as it is written here")),
    row("-gsplit-dwarf", Value::None, SideOutput("debug information to a .dwo file")),
    row("-gsplit-dwarf=", Value::Joined, SideOutput("debug information to a .dwo file")),
    row("-iapinotes-modules", Value::Separate, Refused("reads a file that is not sent along")),
    row("-ibuiltininc", Value::None, Preprocessor),
    naming(Source, "-idirafter", Value::Either),
    naming(Source, "-iframework", Value::Either),
    row("-iframeworkwithsysroot", Value::Either, Preprocessor),
    naming(Source, "-imacros", Value::Either),
    row("-imultiarch", Value::Separate, Keep),
    row("-imultilib", Value::Either, Preprocessor),
    naming(Source, "-include", Value::Either),
    row("-include-pch", Value::Separate, Refused("uses a precompiled header of this machine")),
    row("-index-store-path", Value::Separate, SideFile("an index")),
    row("-iplugindir=", Value::Joined, Refused("loads code into the compiler")),
    naming(Source, "-iprefix", Value::Either),
    naming(Source, "-iquote", Value::Either),
    naming(SystemRoot, "-isysroot", Value::Either),
    naming(Source, "-isystem", Value::Either),
    naming(Source, "-isystem-after", Value::Either),
    row("-ivfsoverlay", Value::Either, PreprocessorHere),
    row("-iwithprefix", Value::Either, Preprocessor),
    row("-iwithprefixbefore", Value::Either, Preprocessor),
    row("-iwithsysroot", Value::Either, Preprocessor),
    row("-l", Value::Either, Linker),
    row("-load", Value::Separate, Refused("loads code into the compiler")),
    row("-march=native", Value::None, Native),
    row("-mcpu=native", Value::None, Native),
    row("-meabi", Value::Separate, Keep),
    row("-mlink-bitcode-file", Value::Separate, Refused("reads a file that is not sent along")),
    row("-mlink-builtin-bitcode", Value::Separate, Refused("reads a file that is not sent along")),
    row("-mllvm", Value::Separate, Backend),
    row("-mllvm=", Value::Joined, Backend),
    row("-module-dependency-dir", Value::Separate, SideFile("module dependencies to a directory")),
    row("-module-file-info", Value::None, Local("changes what kind of file is written")),
    row("-mthread-model", Value::Separate, Keep),
    row("-mtune=native", Value::None, Native),
    row("-needed_framework", Value::Separate, Linker),
    row("-no-canonical-prefixes", Value::None, Keep),
    row("-no-integrated-cpp", Value::None, Keep),
    row("-no-pie", Value::None, Linker),
    row("-nobuiltininc", Value::None, Preprocessor),
    row("-nodefaultlibs", Value::None, Linker),
    row("-nolibc", Value::None, Linker),
    row("-nostartfiles", Value::None, Linker),
    row("-nostdinc", Value::None, Preprocessor),
    row("-nostdinc++", Value::None, Preprocessor),
    row("-nostdlib", Value::None, Linker),
    row("-nostdlibinc", Value::None, Preprocessor),
    row("-o", Value::Either, Output),
    row("-objcmt-", Value::Joined, Refused("changes what kind of file is written")),
    row("-object-file-name=", Value::Joined, Keep),
    row("-pie", Value::None, Linker),
    row("-plugin", Value::Separate, Refused("loads code into the compiler")),
    row("-plugin-arg-", Value::Joined, Refused("loads code into the compiler")),
    row("-print-", Value::Joined, Local("prints what this machine's compiler does")),
    row("-r", Value::None, Linker),
    row("-rdynamic", Value::None, Linker),
    row("-relocatable-pch", Value::None, Local("uses a precompiled header of this machine")),
    row("-remap", Value::None, Preprocessor),
    row("-remap-file", Value::Separate, Refused("reads a file that is not sent along")),
    row("-resource-dir", Value::Separate, Preprocessor),
    row("-resource-dir=", Value::Joined, Preprocessor),
    row("-rewrite-legacy-objc", Value::None, Local("changes what kind of file is written")),
    row("-rewrite-objc", Value::None, Local("changes what kind of file is written")),
    row("-rpath", Value::Separate, Linker),
    row("-s", Value::None, Linker),
    row("-save-stats", Value::Joined, SideOutput("statistics")),
    row("-save-temps", Value::Joined, SideOutput("intermediate files")),
    row("-serialize-diagnostics", Value::Separate, SideFile("diagnostics to a file")),
    row("-shared", Value::None, Linker),
    row("-specs", Value::Separate, Refused("replaces the compiler's rules")),
    row("-specs=", Value::Joined, Refused("replaces the compiler's rules")),
    row("-static-libgcc", Value::None, Linker),
    row("-static-libstdc++", Value::None, Linker),
    row("-static-pie", Value::None, Linker),
    row("-stdlib", Value::Joined, Preprocessor),
    naming(Source, "-stdlib++-isystem", Value::Either),
    row("-t", Value::None, Linker),
    row("-target", Value::Separate, Keep),
    row("-time=", Value::Joined, SideFile("the time each pass took")),
    row("-traditional", Value::None, Local("preprocesses in a way that cannot be repeated elsewhere")),
    row("-traditional-cpp", Value::None, Local("preprocesses in a way that cannot be repeated elsewhere")),
    row("-u", Value::Separate, Linker),
    row("-undef", Value::None, Preprocessor),
    row("-v", Value::None, Local("prints what this machine's compiler does")),
    row("-verify-pch", Value::None, Local("changes what kind of file is written")),
    row("-vfsoverlay", Value::Either, PreprocessorHere),
    row("-weak_framework", Value::Separate, Linker),
    row("-working-directory", Value::Either, Refused("moves the compilation to another directory")),
    row("-working-directory=", Value::Joined, Refused("moves the compilation to another directory")),
    row("-wrapper", Value::Separate, Refused("runs the compiler through another program")),
    row("-x", Value::Either, Language),
    row("-z", Value::Separate, Linker),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_without_doubles() {
        for pair in OPTIONS.windows(2) {
            assert!(pair[0].name.as_bytes() < pair[1].name.as_bytes(), "{} {}", pair[0].name, pair[1].name);
        }
    }

    #[test]
    fn every_row_is_reached_by_its_own_name() {
        for row in OPTIONS {
            assert_eq!(find(OsStr::new(row.name)), Some(row), "{}", row.name);
            let joined = format!("{}\u{1}", row.name);
            let reaches = matches!(row.value, Value::Joined | Value::Either);
            assert_eq!(find(OsStr::new(&joined)) == Some(row), reaches, "{joined:?}");
        }
    }

    #[test]
    fn the_longest_fitting_name_wins() {
        let cases = [
            ("-MD", Some("-MD")),
            ("-MDx", Some("-M")),
            ("-MFx.d", Some("-MF")),
            ("-includea.h", Some("-include")),
            ("-include-pch", Some("-include-pch")),
            ("-isystem/x", Some("-isystem")),
            ("-dA", Some("-dA")),
            ("-dAx", Some("-d")),
            ("-march=native", Some("-march=native")),
            ("-march=nativex", None),
            ("-flto", Some("-flto")),
            ("-flto=auto", None),
            ("-fmodulo-sched", None),
            ("-fno-modules", Some("-fno-modules")),
            ("-O2", None),
            ("-", None),
        ];
        for (word, want) in cases {
            assert_eq!(find(OsStr::new(word)).map(|row| row.name), want, "{word}");
        }
    }
}
