//! Commands that mean harm, given to real compilers: whatever their options and sources ask for, no file of the
//! server's comes back, none is made, changed or removed, and nothing of the client's choice runs.
//!
//! Each row is tried as preprocessed text and as a pump job, with namespaces and without. The options are judged before
//! there is a sandbox; it must stop what sources do. `{V}` is a directory where
//! anybody may write, `{T}` another; `{V}/secret` may be read by anybody.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use raw::{Daemon, Place, PumpRequest, Reply, ask, request, text};
use support::{require, tree_of, wait_until};

/// What must not leave the server; a word no compiler knows.
const SECRET: &str = "opensesame_7f3a9c1e";
/// Connections at once.
const CONNECTIONS: usize = 4;
/// The client's directory in pump jobs.
const DIRECTORY: &str = "/home/x";

/// Options that are refused: a compiler, the options, and a part of the reason.
const REFUSED: &[(&str, &str, &str)] = &[
    // Code in the compiler.
    ("gcc", "-fplugin={V}/evil.so", "loads code"),
    ("gcc", "--plugin={V}/evil.so", "loads code"),
    ("gcc", "-fplugin=evil -iplugindir={V}", "loads code"),
    ("gcc", "-fplugin-arg-evil-x={V}/new", "loads code"),
    ("gcc", "-Xpreprocessor -fplugin={V}/evil.so", "loads code"),
    ("clang", "-Xpreprocessor -load -Xpreprocessor {V}/evil.so", "loads code"),
    ("clang", "-Xpreprocessor -mllvm -Xpreprocessor -load={V}/evil.so", "loads code"),
    ("clang", "-Xpreprocessor -add-plugin -Xpreprocessor evil", "loads code"),
    ("gcc", "-Xpreprocessor -o -Xpreprocessor {V}/new", "names a file"),
    ("gcc", "-Wp,-fplugin={V}/evil.so", "loads code"),
    ("gcc", "-fcompare-debug=-fplugin={V}/evil.so", "gives options to a second"),
    ("clang", "-fplugin={V}/evil.so", "loads code"),
    ("clang", "-fpass-plugin={V}/evil.so", "loads code"),
    ("clang", "-Xclang -load -Xclang {V}/evil.so", "loads code"),
    ("clang", "-Xclang -fplugin={V}/evil.so", "loads code"),
    ("clang", "-Xclang -fpass-plugin={V}/evil.so", "loads code"),
    ("clang", "-Xclang -add-plugin -Xclang evil", "loads code"),
    ("clang", "-Xclang -plugin -Xclang evil", "loads code"),
    ("clang", "-Xclang=-load -Xclang={V}/evil.so", "loads code"),
    ("clang", "-mllvm -load={V}/evil.so", "loads code"),
    ("clang", "-mllvm --load={V}/evil.so", "loads code"),
    ("clang", "-mllvm -load-pass-plugin={V}/evil.so", "loads code"),
    ("clang", "-mllvm=-load={V}/evil.so", "loads code"),
    ("clang", "-mllvm -x86-lvi-load-opt-plugin={V}/evil.so", "loads code"),
    ("clang", "-Xclang -mllvm -Xclang -load={V}/evil.so", "loads code"),
    ("clang", "--analyze -Xanalyzer -load -Xanalyzer {V}/evil.so", "speaks to a program"),
    ("clang", "-Xarch_host -fplugin={V}/evil.so", "gives an option to one"),
    ("clang", "-Xarch_x86_64 -fplugin={V}/evil.so", "gives an option to one"),
    // Other programs.
    ("gcc", "-B{V}/", "looks for the compiler's programs"),
    ("gcc", "-B {V}/", "looks for the compiler's programs"),
    ("gcc", "--prefix={V}/", "looks for the compiler's programs"),
    ("gcc", "--prefix {V}/", "looks for the compiler's programs"),
    ("gcc", "-B/usr/bin/../..{V}/", "looks for the compiler's programs"),
    ("clang", "--gcc-toolchain={V}", "looks for the compiler's programs"),
    ("clang", "-gcc-toolchain {V}", "looks for the compiler's programs"),
    ("clang", "--gcc-install-dir={V}", "looks for the compiler's programs"),
    ("gcc", "-wrapper {V}/evil", "runs the compiler through"),
    ("gcc", "-wrapper {V}/evil,-c", "runs the compiler through"),
    // Words behind which a compiler may see something else than the table does.
    ("gcc", "-dependency-dot -wrapper {V}/evil,x.py", "looks like an option"),
    ("gcc", "-dsym-dir -wrapper {V}/evil", "looks like an option"),
    ("gcc", "-Wa,-I,-I,{V}/secret", "names a path to the assembler"),
    (
        "clang",
        "-Xclang -main-file-name -Xclang -main-file-name -Xclang /dev/null",
        "stands where a path is recorded",
    ),
    ("clang", "-Xclang -mllvm -Xclang -mllvm -Xclang {V}/evil.so", "names a path"),
    ("clang", "-cc1 -S", "behind the driver"),
    ("clang", "-cc1 -S -stack-usage-file {V}/new", "behind the driver"),
    ("clang", "-cc1as -filetype obj", "behind the driver"),
    ("gcc", "-specs={V}/specs", "replaces the compiler's rules"),
    ("gcc", "--specs={V}/specs", "replaces the compiler's rules"),
    ("gcc", "-specs {V}/specs", "replaces the compiler's rules"),
    ("g++", "-fmodule-mapper=|{V}/evil", "runs a program"),
    ("g++", "--module-mapper=|{V}/evil", "runs a program"),
    ("g++", "-fmodules-ts -fmodule-mapper={V}/new", "uses modules"),
    ("clang", "-ccc-install-dir {V}", "changes how the compiler calls"),
    ("clang", "-ccc-gcc-name {V}/evil", "changes how the compiler calls"),
    ("clang", "--config {V}/words.cfg", "takes options from a file"),
    ("clang", "--config={V}/words.cfg", "takes options from a file"),
    ("clang", "--config-system-dir={V} --config words.cfg", "takes options from a file"),
    ("clang", "--config-user-dir={V} --config words.cfg", "takes options from a file"),
    ("clang", "--driver-mode=cl", "changes what every option means"),
    ("clang", "-mllvm -print-changed=dot-cfg -mllvm -print-changed-dot-path={V}/evil", "names a file"),
    ("clang", "-mllvm -print-changed=diff -mllvm -print-changed-diff-path={V}/evil", "names a file"),
    ("clang", "-mllvm -view-dag-combine1-dags", "names a file"),
    // Words from a file.
    ("gcc", "@{V}/words", "names a response file"),
    ("gcc", "--param @{V}/words", "names a response file"),
    ("gcc", "-D @{V}/words", "names a response file"),
    ("gcc", "-I @{V}/words", "names a response file"),
    ("gcc", "-Wp,@{V}/words", "names a response file"),
    ("gcc", "-Wa,@{V}/words", "names a response file"),
    ("gcc", "-Xassembler @{V}/words", "names a response file"),
    ("clang", "@{V}/words", "names a response file"),
    ("clang", "-Xclang @{V}/words", "names a response file"),
    ("clang", "-mllvm @{V}/words", "names a response file"),
    // Files that are read.
    ("gcc", "-fprofile-use={V}/secret", "reads or writes profile data"),
    ("gcc", "--profile-use={V}/secret", "reads or writes profile data"),
    ("gcc", "-fauto-profile={V}/secret", "reads or writes profile data"),
    ("clang", "-fprofile-instr-use={V}/secret", "reads or writes profile data"),
    ("clang", "-fprofile-sample-use={V}/secret", "reads or writes profile data"),
    ("clang", "-fprofile-list={V}/secret", "reads or writes profile data"),
    ("clang", "-fprofile-remapping-file={V}/secret", "reads or writes profile data"),
    ("clang", "-fmemory-profile-use={V}/secret", "reads a file"),
    ("clang", "-fsanitize=address -fsanitize-blacklist={V}/secret", "reads a file"),
    ("clang", "-fsanitize=address -fsanitize-ignorelist={V}/secret", "reads a file"),
    ("clang", "-fsanitize-coverage-allowlist={V}/secret", "reads a file"),
    ("clang", "-fxray-instrument -fxray-always-instrument={V}/secret", "reads a file"),
    ("clang", "-fxray-instrument -fxray-attr-list={V}/secret", "reads a file"),
    ("clang", "-fthinlto-index={V}/secret", "reads a file"),
    ("clang", "-fbasic-block-sections=list={V}/secret", "reads a file"),
    ("clang", "-Xclang -fembed-offload-object={V}/secret", "reads a file"),
    ("clang", "-Xclang -mlink-bitcode-file -Xclang {V}/secret", "reads a file"),
    ("clang", "-Xclang -foverride-record-layout={V}/secret", "reads a file"),
    ("clang", "-Xclang -chain-include -Xclang {V}/secret", "reads a file"),
    ("clang", "-Xclang -ast-merge -Xclang {V}/secret", "reads a file"),
    ("clang", "-Xclang -include -Xclang {V}/secret", "names a path"),
    ("clang", "-Xclang {V}/secret", "names a path"),
    ("clang", "-mllvm -dfsan-abilist={V}/secret", "names a path"),
    ("clang", "-mllvm -fs-profile-file={V}/secret", "names a file"),
    ("clang", "-mllvm -rewrite-map-file={V}/secret", "names a file"),
    ("clang", "-fmodule-file={V}/secret", "uses modules"),
    ("clang", "-fmodules -fmodule-map-file={V}/secret", "uses modules"),
    ("clang", "-fprebuilt-module-path={V}", "uses modules"),
    ("clang", "-include-pch {V}/secret", "uses a precompiled header"),
    ("clang", "-frandomize-layout-seed-file={V}/secret", "reads a file"),
    ("gcc", "-fself-test={V}", "reads a file"),
    ("gcc", "-fresolution={V}/secret", "reads a file"),
    ("gcc", "-fsomething-new={V}/secret", "is not known here"),
    ("gcc", "-Wa,{V}/secret", "names a path to the assembler"),
    ("gcc", "-Wa,--64,{V}/secret", "names a path to the assembler"),
    ("gcc", "-Xassembler {V}/secret", "names a path to the assembler"),
    ("gcc", "--for-assembler={V}/secret", "names a path to the assembler"),
    ("gcc", "-Wa,--itbl={V}/secret", "lets the assembler read"),
    // Files that are written.
    ("gcc", "-Wa,-o,{V}/new", "lets the assembler write"),
    ("gcc", "-Xassembler -o -Xassembler {V}/new", "lets the assembler write"),
    ("gcc", "-Wa,-a={V}/new", "lets the assembler write"),
    ("gcc", "-Wa,-adhln={V}/old", "lets the assembler write"),
    ("gcc", "-Wa,--MD,{V}/new", "lets the assembler write"),
    ("gcc", "-Wa,-MD,{V}/new", "lets the assembler write"),
    ("gcc", "-Xassembler --MD={V}/new", "lets the assembler write"),
    ("gcc", "--for-assembler --MD={V}/new", "lets the assembler write"),
    ("gcc", "--output={V}/new", "is a long spelling"),
    ("gcc", "--output {V}/old", "is a long spelling"),
    ("gcc", "--output-pch={V}/new", "uses a precompiled header"),
    ("gcc", "--dump-tree-all={V}/new", "is not known here"),
    ("gcc", "-fprofile-dir={V} --coverage", "reads or writes profile data"),
    ("gcc", "-fprofile-note={V}/new -ftest-coverage", "reads or writes profile data"),
    ("gcc", "-ftest-coverage", "writes a coverage notes file"),
    ("clang", "-Xclang -coverage-notes-file={V}/new", "names a file"),
    ("clang", "-Xclang -o -Xclang {V}/new", "names a file"),
    ("clang", "-Xclang -dependency-file -Xclang {V}/new", "names a file"),
    ("clang", "-Xclang -dependency-dot -Xclang {V}/new", "names a file"),
    ("clang", "-Xclang -header-include-file -Xclang {V}/new", "names a file"),
    ("clang", "-Xclang -split-dwarf-output -Xclang {V}/new", "names a file"),
    ("clang", "-Xclang -stats-file={V}/new", "names a file"),
    ("clang", "-Xclang -opt-record-file -Xclang {V}/new", "names a file"),
    ("clang", "-Xclang -diagnostic-log-file -Xclang {V}/new", "names a file"),
    ("clang", "-Xclang -module-dependency-dir -Xclang {V}/d", "names a file"),
    ("clang", "-Xclang -analyzer-dump-egraph={V}/new", "names a file"),
    ("clang", "-mllvm -info-output-file={V}/new", "names a file"),
    ("clang", "-mllvm --info-output-file={V}/new", "names a file"),
    ("clang", "-mllvm -print-changed=dot-cfg -mllvm -dot-cfg-dir={V}/d", "names a file"),
    ("clang", "-mllvm -dot-callgraph -mllvm -callgraph-dot-filename-prefix={V}/new", "names a file"),
    ("clang", "-mllvm -cfg-dot-filename-prefix={V}/new", "names a file"),
    ("clang", "-mllvm -dot-cfg-mssa={V}/new", "names a path"),
    ("clang", "-mllvm -orderfile-write-mapping={V}/new", "names a path"),
    ("clang", "-working-directory={V} -save-temps", "moves the compilation"),
    ("clang", "-working-directory {V} -save-temps", "moves the compilation"),
    ("clang", "-objcmt-migrate-all -ccc-objcmt-migrate {V}/d", "changes what kind of file"),
];

/// Options that are left out, or done where they do no harm.
const HARMLESS: &[(&str, &str)] = &[
    ("gcc", "-include {V}/secret"),
    ("gcc", "-include{V}/secret"),
    ("gcc", "--include={V}/secret"),
    ("gcc", "--include {V}/secret"),
    ("gcc", "-imacros {V}/secret"),
    ("gcc", "--imacros={V}/secret"),
    ("gcc", "-Wp,-include,{V}/secret"),
    ("gcc", "-include /etc/passwd"),
    ("gcc", "-include /etc/shadow"),
    ("gcc", "-iprefix {V}/ -iwithprefix x"),
    ("gcc", "--sysroot={V} -isysroot {V}"),
    ("gcc", "-idirafter {V} -isystem {V} -iquote {V} -I{V}"),
    ("gcc", "-imultilib {V} -imultiarch ../../..{V}"),
    ("gcc", "-no-canonical-prefixes"),
    ("gcc", "-no-integrated-cpp"),
    ("gcc", "-fuse-ld={V}/evil -Wl,--plugin,{V}/evil.so -Xlinker {V}/secret"),
    ("gcc", "-T {V}/secret -L{V} -l{V}/secret {V}/secret.o"),
    ("gcc", "-MD -MF {V}/new"),
    ("gcc", "-MMD -MF{V}/new"),
    ("gcc", "-Wp,-MD,{V}/new"),
    ("gcc", "-Wp,-MMD,{V}/old,-MT,x"),
    ("gcc", "-MD -MF {T}/new -MQ {T}/other"),
    ("gcc", "-o {V}/new"),
    ("gcc", "-o{V}/old"),
    ("gcc", "-o={V}/new"),
    ("gcc", "-aux-info {V}/new"),
    ("gcc", "-aux-info={V}/new"),
    ("gcc", "--aux-info {V}/new"),
    ("gcc", "-dumpdir {V}/new -da"),
    ("gcc", "--dumpdir {V}/new -da"),
    ("gcc", "-dumpbase {V}/new -fstack-usage -fcallgraph-info"),
    ("gcc", "-dumpbase ../../../..{V}/new -da"),
    ("gcc", "-dumpbase-ext /../{V}/new -da"),
    ("gcc", "-fdump-tree-all={V}/new"),
    ("gcc", "-fdump-rtl-all={V}/new -fdump-ipa-all={V}/new"),
    ("gcc", "-fdump-final-insns={V}/new"),
    ("gcc", "-fdump-go-spec={V}/new"),
    ("gcc", "-fdump-tree-original=../../../../../..{V}/new"),
    ("gcc", "-fopt-info={V}/new -O2 -fopt-info-vec-all={V}/new"),
    ("gcc", "-fsave-optimization-record -fstack-usage -fcallgraph-info=su,da -save-temps=cwd"),
    ("gcc", "-fdiagnostics-add-output=sarif:file={V}/new"),
    ("gcc", "-fdiagnostics-set-output=text:file={V}/new"),
    ("gcc", "-fdiagnostics-format=sarif-file -fdiagnostics-format=json-file"),
    ("gcc", "-time={V}/new"),
    ("gcc", "-fdeps-file={V}/new -fdeps-format=p1689r5"),
    ("gcc", "-save-temps -gsplit-dwarf -dA -dP"),
    ("gcc", "-v -Q -ftime-report"),
    ("gcc", "--param x={V}/secret"),
    ("gcc", "-frandom-seed={V}/secret -fdebug-prefix-map={V}=x"),
    ("clang", "-serialize-diagnostics {V}/new"),
    ("clang", "--serialize-diagnostics {V}/new"),
    ("clang", "-MJ {V}/new"),
    ("clang", "-MJ{V}/old"),
    ("clang", "-gen-cdb-fragment-path {V}/d"),
    ("clang", "-index-store-path {V}/d"),
    ("clang", "-dependency-file {V}/new"),
    ("clang", "-module-dependency-dir {V}/d"),
    ("clang", "-foptimization-record-file={V}/new -fsave-optimization-record"),
    ("clang", "-ftime-trace={V}/new"),
    ("clang", "-ftime-trace={V}/ -ftime-trace-granularity=1"),
    ("clang", "-fproc-stat-report={V}/new"),
    ("clang", "-fstack-usage-file={V}/new"),
    ("clang", "-fmodules-cache-path={V}/d"),
    ("clang", "-fmodule-output={V}/new"),
    ("clang", "-save-stats={V} -save-stats=obj"),
    ("clang", "-ivfsoverlay {V}/secret"),
    ("clang", "-vfsoverlay {V}/secret"),
    ("clang", "-resource-dir {V}"),
    ("clang", "-resource-dir={V}"),
    ("clang", "-isysroot {V} -cxx-isystem {V} -iframework {V}"),
    ("clang", "-no-canonical-prefixes -no-integrated-cpp -fintegrated-cc1"),
    ("clang", "-include {V}/secret -imacros {V}/secret"),
    ("clang", "-dsym-dir {V} -gsplit-dwarf -save-temps"),
    ("clang", "-Xclang -ast-print -Xclang -fsyntax-only"),
];

/// Sources that ask for files: a compiler, its options and the text. Only the sandbox stands in their way.
const SOURCES: &[(&str, &str, &str)] = &[
    ("gcc", "", "__asm__(\".incbin \\\"{V}/secret\\\"\");\n"),
    ("gcc", "", "__asm__(\".incbin \\\"/etc/passwd\\\"\");\n"),
    ("gcc", "", "__asm__(\".include \\\"{V}/secret\\\"\");\n"),
    ("gcc", "-Wa,-I{V}", "__asm__(\".include \\\"secret\\\"\");\n"),
    ("gcc", "-Wa,-I,{T}", "__asm__(\".incbin \\\"secret\\\"\");\n"),
    ("gcc", "-save-temps", "__asm__(\".incbin \\\"{T}/secret\\\"\");\n"),
    ("clang", "", "__asm__(\".incbin \\\"{V}/secret\\\"\");\n"),
    ("clang", "", "__asm__(\".include \\\"{V}/secret\\\"\");\n"),
    ("clang", "-fno-integrated-as", "__asm__(\".incbin \\\"{V}/secret\\\"\");\n"),
    ("gcc", "", "#include \"{V}/secret\"\n"),
    ("gcc", "", "#include \"/etc/passwd\"\n"),
    ("gcc", "-I{V}", "#include <secret>\n"),
    ("gcc", "", "# 1 \"{V}/secret\" 1\nint a = b;\n"),
    ("clang", "", "#include \"{V}/secret\"\n"),
    ("clang", "", "#include \"/etc/passwd\"\n"),
    ("clang", "", "# 1 \"{V}/secret\" 1\nint a = b;\n"),
    ("clang", "", "#embed \"{V}/secret\"\n"),
    ("gcc", "", "#pragma GCC pch_preprocess \"{V}/secret\"\nint a;\n"),
    ("gcc", "", "#pragma GCC dependency \"{V}/secret\"\nint a;\n"),
    ("clang", "", "#pragma clang module load secret\nint a;\n"),
    ("gcc", "", "#if __has_include(\"{V}/secret\")\nint here;\n#endif\nint a;\n"),
    ("clang", "", "#pragma comment(lib, \"{V}/secret\")\nint a;\n"),
    ("clang", "-fcrash-diagnostics-dir={V}/d", "#pragma clang __debug parser_crash\n"),
    ("gcc", "", "#include \"/proc/self/environ\"\n"),
    ("gcc", "", "__asm__(\".include \\\"/proc/self/environ\\\"\");\n"),
    ("clang", "", "#include \"/proc/self/environ\"\n"),
    ("clang", "", "__asm__(\".include \\\"/proc/self/environ\\\"\");\n"),
    ("clang", "", "#include \"/proc/1/environ\"\n"),
    ("clang", "", "#pragma clang __debug llvm_fatal_error\n"),
    (
        "gcc",
        "",
        "#pragma GCC diagnostic push\n__asm__(\".print \\\"x\\\"\");\n__asm__(\".file \\\"{V}/secret\\\"\");\n",
    ),
];

/// One command.
struct Row {
    words: Vec<String>,
    source: String,
    reason: Option<&'static str>,
}

/// Directories where all may read and write, with what commands reach for.
struct Bait {
    directories: [PathBuf; 2],
}

/// What is in them: each path with its kind, time of change and content.
type Snapshot = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

impl Bait {
    fn lay(place: &Place, number: usize) -> Bait {
        let own = place.path(&format!("bait-{number}"));
        let sandbox = place.path("");
        let name = sandbox.file_name().unwrap().to_str().unwrap();
        let public = Path::new("/var/tmp").join(format!("{name}-{number}"));
        let bait = Bait { directories: [public, own] };
        for directory in &bait.directories {
            fs::create_dir_all(directory.join("d")).unwrap();
            for directory in [directory.clone(), directory.join("d")] {
                fs::set_permissions(directory, PermissionsExt::from_mode(0o777)).unwrap();
            }
            let at = |name: &str| directory.join(name);
            for (name, content) in [
                ("secret", format!("{SECRET}\n")),
                ("secret.o", format!("{SECRET}\n")),
                ("old", "old\n".into()),
                ("words", format!("-fplugin={}\n{SECRET}\n", at("evil.so").display())),
                ("words.cfg", format!("-fplugin={}\n{SECRET}\n", at("evil.so").display())),
                ("specs", format!("*cc1_options:\n-fplugin={}\n\n", at("evil.so").display())),
            ] {
                fs::write(at(name), content).unwrap();
                fs::set_permissions(at(name), PermissionsExt::from_mode(0o666)).unwrap();
            }
            place.sandbox.script(at("evil"), &format!(": > {}/d/ran\nexec /bin/true\n", directory.display()));
            for tool in ["as", "cc1", "cc1plus", "ld"] {
                symlink("evil", at(tool)).unwrap();
            }
            bait.make_library(directory);
        }
        bait
    }

    /// A library that leaves a mark when it is loaded.
    fn make_library(&self, directory: &Path) {
        let text = format!(
            "#include <fcntl.h>\n__attribute__((constructor)) static void run(void)\n\
             {{ open(\"{}/d/loaded\", O_CREAT | O_WRONLY, 0666); }}\nint plugin_is_GPL_compatible;\n",
            directory.display()
        );
        fs::write(directory.join("evil.c"), text).unwrap();
        let [source, library] = ["evil.c", "evil.so"].map(|name| directory.join(name));
        let status = Command::new("gcc").args(["-shared", "-fPIC", "-o"]).args([library, source]).status();
        assert!(status.unwrap().success());
    }

    fn fill_in(&self, text: &str) -> String {
        let [public, own] = self.directories.each_ref().map(|directory| directory.to_str().unwrap());
        text.replace("{V}", public).replace("{T}", own)
    }

    fn snapshot(&self) -> Snapshot {
        let mut found = Snapshot::new();
        let mut left: Vec<PathBuf> = self.directories.to_vec();
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                if metadata.is_dir() {
                    left.push(path.clone());
                }
                found.insert(path, (metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), content));
            }
        }
        found
    }
}

impl Drop for Bait {
    fn drop(&mut self) {
        for directory in &self.directories {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

fn rows() -> Vec<Row> {
    let words = |compiler: &str, options: &str| {
        let mut words = vec![compiler.to_owned()];
        words.extend(options.split_whitespace().map(str::to_owned));
        let source = if compiler == "g++" { "a.cc" } else { "a.c" };
        words.extend(["-c", source].map(str::to_owned));
        if !options.contains("-o{") && !options.contains("-o {") {
            words.extend(["-o", "a.o"].map(str::to_owned));
        }
        words
    };
    let plain = "int a;\n".to_owned();
    let mut rows = Vec::new();
    for (compiler, options, reason) in REFUSED {
        let (words, source) = (words(compiler, options), plain.clone());
        rows.push(Row { words, source, reason: Some(reason) });
    }
    for (compiler, options) in HARMLESS {
        let (words, source) = (words(compiler, options), plain.clone());
        rows.push(Row { words, source, reason: None });
    }
    for (compiler, options, source) in SOURCES {
        let (words, source) = (words(compiler, options), (*source).to_owned());
        rows.push(Row { words, source, reason: None });
    }
    rows
}

/// How a job travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    Pump,
}

/// Sends one command, and says what it did that it must not.
fn try_row(daemon: &Daemon, row: &Row, way: Way, bait: &Bait, before: &mut Snapshot) -> Result<(), String> {
    let words: Vec<String> = row.words.iter().map(|word| bait.fill_in(word)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let source = bait.fill_in(&row.source);
    let what = format!("{way:?} {words:?} {source:?}");
    let bytes = match way {
        Way::Plain => request(2, &words, source.as_bytes()),
        Way::Pump => {
            let name = format!("{DIRECTORY}/{}", if words[0] == "g++" { "a.cc" } else { "a.c" });
            PumpRequest::new(DIRECTORY, &words).file(&name, source).bytes()
        }
    };
    let reply = ask(daemon.address, &bytes).map_err(|error| format!("{what}: {error}"))?;
    let refused = |reason| reply.refusal().is_some() && reply.stderr.contains(reason);
    if row.reason.is_some_and(|reason| !refused(reason)) {
        return Err(format!("{what} is not refused: {reply:?}"));
    }
    if tells_a_secret(&reply) {
        return Err(format!("{what} tells a secret: {reply:?}"));
    }
    let after = bait.snapshot();
    let changed: Vec<&PathBuf> = after
        .iter()
        .filter(|(path, file)| before.get(*path) != Some(file))
        .map(|(path, _)| path)
        .chain(before.keys().filter(|path| !after.contains_key(*path)))
        .collect();
    let result = match changed.as_slice() {
        [] => Ok(()),
        changed => Err(format!("{what} changed {changed:?}: {reply:?}")),
    };
    *before = after;
    result
}

fn tells_a_secret(reply: &Reply) -> bool {
    let passwords = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwords.lines().next().unwrap();
    [reply.object.as_slice(), &reply.stdout, &reply.dependencies, reply.stderr.as_bytes()]
        .map(text)
        .iter()
        .any(|part| part.contains(SECRET) || part.contains(line))
}

/// Tries all rows on one daemon, as preprocessed text and as pump jobs.
fn try_all(namespaces: &str) {
    for program in ["gcc", "g++", "clang"] {
        require(program);
    }
    let place = Place::new();
    let builder = place.sandbox.daemon().env("DISTCCD_NAMESPACES", namespaces).env("LICENCE", SECRET);
    let daemon = Daemon::start(builder.args(["--jobs", "4"]));
    let rows = rows();
    let faults = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let (place, daemon, rows, faults) = (&place, &daemon, &rows, &faults);
            scope.spawn(move || {
                let bait = Bait::lay(place, number);
                let mut before = bait.snapshot();
                for row in rows.iter().skip(number).step_by(CONNECTIONS) {
                    for way in [Way::Plain, Way::Pump] {
                        if let Err(fault) = try_row(daemon, row, way, &bait, &mut before) {
                            faults.lock().unwrap().push(fault);
                        }
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), rows.len(), faults.join("\n"));
    wait_until("an empty TMPDIR", || tree_of(daemon.guard.temporary()).0.is_empty());
    place.finish(daemon);
}

#[test]
fn no_command_reaches_the_servers_files_from_a_chamber() {
    try_all("1");
}

#[test]
fn no_command_reaches_the_servers_files_without_namespaces() {
    try_all("0");
}

#[test]
fn scripts_and_wrappers_are_no_compilers_unless_they_are_listed() {
    require("ccache");
    let place = Place::new();
    place.sandbox.allow_compiler("own-cc");
    // Beside the sandbox's own scripts, which its daemons accept.
    let directory = place.path("own-bin");
    fs::create_dir(&directory).unwrap();
    let script = directory.join("own-cc");
    fs::write(&script, "#!/bin/sh\nexec /usr/bin/gcc -DOWN=1 \"$@\"\n").unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/lib/ccache:/usr/bin:/bin", directory.display());
    let start =
        |options: &[&str]| Daemon::start(place.sandbox.daemon().args(options).env("DISTCCD_PATH", &path));
    let ask = |daemon: &Daemon, compiler: &str| {
        daemon.ask(&request(1, &[compiler, "-c", "a.c", "-o", "a.o"], b"int a;\n")).unwrap()
    };

    let daemon = start(&[]);
    let reply = ask(&daemon, "own-cc");
    assert_eq!(reply.refusal(), Some(110), "{reply:?}");
    let remedy = format!("distccd --allow-script={}", script.display());
    assert!(reply.stderr.contains(&remedy), "{reply:?}");
    // What the links in ccache's directory are called is found behind it.
    for compiler in ["gcc", "/usr/bin/gcc", "clang"] {
        let reply = ask(&daemon, compiler);
        assert!(reply.status == 0 && reply.object.starts_with(b"\x7fELF"), "{compiler}: {reply:?}");
    }
    drop(daemon);
    for options in [["--allow-script", script.to_str().unwrap()].as_slice(), &["--enable-tcp-insecure"]] {
        let daemon = start(options);
        let reply = ask(&daemon, "own-cc");
        assert!(reply.status == 0 && reply.object.starts_with(b"\x7fELF"), "{options:?}: {reply:?}");
    }
    place.sandbox.finish([]);
}
