//! Soundness of the include analysis: every file that gcc or clang says it read must be in the answer. Trees are made
//! for each case; the compilers' own `-M` is the oracle.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use distcc::compiler_args::{self, Compile, Verdict};
use distcc::include_scan::{CannotAnalyse, Closure, IncludeVariables, Query, Scanner};
use distcc::sys::temp::TempDir;

const SEARCH_PATH: &str = "/usr/bin:/bin";

/// A private tree; gone when dropped.
struct Tree {
    directory: TempDir,
    root: PathBuf,
}

impl Tree {
    /// Each file is `name: text`; `name -> target` makes a link.
    fn new(files: &[(&str, &str)]) -> Tree {
        let directory = TempDir::create(&std::env::temp_dir(), "include_scan", false).unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let tree = Tree { directory, root };
        for (name, text) in files {
            tree.write(name, text);
        }
        tree
    }

    fn write(&self, name: &str, text: &str) {
        let (name, target) = match name.split_once(" -> ") {
            Some((name, target)) => (name, Some(target)),
            None => (name, None),
        };
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match target {
            Some(target) => symlink(target.replace("ROOT", self.root.to_str().unwrap()), path).unwrap(),
            None if name.ends_with('/') => fs::create_dir_all(path).unwrap(),
            None => fs::write(path, text.replace("ROOT", self.root.to_str().unwrap())).unwrap(),
        }
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.root.join(name)).unwrap();
    }

    fn argv(&self, command: &str) -> Vec<OsString> {
        let root = self.directory.path().to_str().unwrap();
        command.split(' ').map(|word| word.replace("ROOT", root).into()).collect()
    }

    fn scan(&self, scanner: &mut Scanner, command: &str) -> Result<Closure, CannotAnalyse> {
        self.scan_with(scanner, command, &IncludeVariables::default())
    }

    fn scan_with(
        &self,
        scanner: &mut Scanner,
        command: &str,
        variables: &IncludeVariables,
    ) -> Result<Closure, CannotAnalyse> {
        let argv = self.argv(command);
        scan(scanner, &argv, &self.root, variables)
    }

    /// The names below the root that are in the answer.
    fn names(&self, closure: &Closure) -> BTreeSet<String> {
        let below = |path: &Path| path.strip_prefix(&self.root).ok()?.to_str().map(str::to_owned);
        closure.files.iter().filter_map(|file| below(&file.real)).collect()
    }

    /// The files below the root that the compiler reads, by their real paths; `None` if it fails.
    fn oracle(&self, command: &str, variables: &[(&str, &str)]) -> Option<BTreeSet<String>> {
        let files = oracle(&self.argv(command), &self.root, variables)?;
        Some(
            files
                .iter()
                .filter_map(|path| path.strip_prefix(&self.root).ok()?.to_str().map(str::to_owned))
                .collect(),
        )
    }
}

fn compile(argv: &[OsString]) -> Compile {
    match compiler_args::scan(argv).unwrap() {
        Verdict::Distribute(compile) => *compile,
        other => panic!("{argv:?}: {other:?}"),
    }
}

fn scan(
    scanner: &mut Scanner,
    argv: &[OsString],
    directory: &Path,
    variables: &IncludeVariables,
) -> Result<Closure, CannotAnalyse> {
    let compiler = Path::new("/usr/bin").join(&argv[0]);
    scanner.scan(&Query {
        compile: &compile(argv),
        compiler: &compiler,
        directory,
        variables,
        search_path: OsStr::new(SEARCH_PATH),
    })
}

/// The real paths of all files the compiler reads.
fn oracle(argv: &[OsString], directory: &Path, variables: &[(&str, &str)]) -> Option<BTreeSet<PathBuf>> {
    let mut command = Command::new(&argv[0]);
    command.env_clear().env("PATH", SEARCH_PATH).envs(variables.iter().copied()).current_dir(directory);
    let mut skip = false;
    for word in &argv[1..] {
        let drop = skip
            || matches!(word.to_str(), Some("-c" | "-o" | "-MMD" | "-MD" | "-MP" | "-MF" | "-MQ" | "-MT"));
        skip = !skip && matches!(word.to_str(), Some("-o" | "-MF" | "-MQ" | "-MT"));
        if !drop {
            command.arg(word);
        }
    }
    let output = command.args(["-M", "-w"]).output().unwrap();
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).unwrap().replace("\\\n", " ").replace("\\ ", "\u{1}");
    let (_, names) = text.split_once(": ")?;
    let real = |name: &str| {
        let name = name.replace('\u{1}', " ").replace("\\#", "#").replace("$$", "$");
        fs::canonicalize(directory.join(name)).unwrap()
    };
    Some(names.split_ascii_whitespace().map(real).collect())
}

fn has(compiler: &str) -> bool {
    let found = Path::new("/usr/bin").join(compiler).exists();
    if !found {
        println!("skipped for {compiler}, which is not installed");
    }
    found
}

/// A command, its files, and names that must be in the answer although a compiler may not need them.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)]);

fn check(cases: &[Case<'_>]) {
    for (command, files) in cases {
        let tree = Tree::new(files);
        let compiler = command.split(' ').next().unwrap();
        if !has(compiler) {
            continue;
        }
        let want = tree.oracle(command, &[]).unwrap_or_else(|| panic!("{command}: the compiler fails"));
        let mut scanner = Scanner::new();
        for round in ["cold", "warm"] {
            let closure = tree.scan(&mut scanner, command).unwrap_or_else(|why| panic!("{command}: {why}"));
            let found = tree.names(&closure);
            let missing: Vec<_> = want.difference(&found).collect();
            assert!(missing.is_empty(), "{command} ({round}): {missing:?} missing in {found:?}\n{files:?}");
        }
        // The whole view must be enough: the same files are read in a copy of it.
        let closure = tree.scan(&mut scanner, command).unwrap();
        let copy = recreate(&tree, &closure);
        let again =
            copy.oracle(command, &[]).unwrap_or_else(|| panic!("{command}: the copy does not compile"));
        assert_eq!(again, want, "{command}: the copy reads other files");
    }
}

/// What a server would build: the files, links and directories of an answer, below another root.
fn recreate(tree: &Tree, closure: &Closure) -> Tree {
    let copy = Tree::new(&[]);
    let place = |path: &Path| path.strip_prefix(&tree.root).ok().map(|name| copy.root.join(name));
    let make_parent = |path: &Path| fs::create_dir_all(path.parent().unwrap()).unwrap();
    for directory in closure.directories.iter().filter_map(|directory| place(directory)) {
        fs::create_dir_all(directory).unwrap();
    }
    for file in &closure.files {
        let Some(to) = place(&file.real) else { continue };
        make_parent(&to);
        let text = fs::read(&file.real).unwrap();
        let (from_root, to_root) = (tree.root.to_str().unwrap(), copy.root.to_str().unwrap());
        match String::from_utf8(text) {
            Ok(text) => fs::write(to, text.replace(from_root, to_root)).unwrap(),
            Err(bytes) => fs::write(to, bytes.as_bytes()).unwrap(),
        }
    }
    for link in &closure.links {
        let Some(to) = place(&link.path) else { continue };
        make_parent(&to);
        symlink(place(&link.target).unwrap_or_else(|| link.target.to_path_buf()), to).unwrap();
    }
    copy
}

#[test]
fn every_way_to_name_a_file_is_followed() {
    check(&[
        ("gcc -c a.c", &[("a.c", "#include \"h/b.h\"\n"), ("h/b.h", "#include \"c.h\"\n"), ("h/c.h", "")]),
        ("clang -c a.c", &[("a.c", "#include \"h/b.h\"\n"), ("h/b.h", "#include \"c.h\"\n"), ("h/c.h", "")]),
        ("gcc -c -Ii a.c", &[("a.c", "# /*x*/ inc\\\nlude /*\n*/ <b.h>\n"), ("i/b.h", "")]),
        (
            "gcc -trigraphs -c a.c",
            &[("a.c", "??=include \"b.h\"\n%:include \"c.h\"\n"), ("b.h", ""), ("c.h", "")],
        ),
        ("gcc -c a.c", &[("a.c", "#include \"b c&@~.h\"\r\n"), ("b c&@~.h", "")]),
        ("gcc -c a.c", &[("a.c", "#include \"ä.h\""), ("ä.h", "")]),
        (
            "g++ -c a.cc",
            &[("a.cc", "auto s = R\"(\" /* )\";\n#include \"b.h\"\nint i = 1'0; /*'*/\n"), ("b.h", "")],
        ),
        (
            "gcc -c a.c",
            &[("a.c", "#include \"ROOT/x/b.h\"\n"), ("x/b.h", "#include \"c.h\"\n"), ("x/c.h", "")],
        ),
        ("gcc -c ROOT/a.c", &[("a.c", "#include \"b.h\"\n"), ("b.h", "")]),
        (
            "gcc -c -include i/b.h -imacros m.h a.c",
            &[("a.c", ""), ("i/b.h", "#include \"c.h\"\n"), ("i/c.h", ""), ("m.h", "")],
        ),
        ("gcc -c -Ii -include b.h a.c", &[("a.c", ""), ("i/b.h", "")]),
        (
            "gcc -c a.c",
            &[("a.c", "#if __has_include(\"b.h\")\n#include \"c.h\"\n#endif\n"), ("b.h", ""), ("c.h", "")],
        ),
        ("gcc -c a.c", &[("a.c", "#pragma GCC dependency \"b.h\"\n"), ("b.h", "")]),
        ("gcc -c a.c", &[("a.c", "#import \"b.h\"\n#import \"b.h\"\n"), ("b.h", "")]),
    ]);
}

#[test]
fn directories_are_searched_as_compilers_do() {
    let next = "#include_next <b.h>\n";
    check(&[
        (
            "gcc -c -Ii -iquote q a.c",
            &[("a.c", "#include \"b.h\"\n#include <b.h>\n"), ("q/b.h", ""), ("i/b.h", "")],
        ),
        ("gcc -c -isystem s -I i a.c", &[("a.c", "#include <b.h>\n"), ("s/b.h", ""), ("i/b.h", next)]),
        (
            "gcc -c -idirafter d -I i a.c",
            &[
                ("a.c", "#include <b.h>\n#include <stdio.h>\n"),
                ("d/b.h", ""),
                ("i/c.h", ""),
                ("d/stdio.h", ""),
            ],
        ),
        (
            "gcc -c -Ii -Ij -Ik a.c",
            &[("a.c", "#include <b.h>\n"), ("i/b.h", next), ("j/x", ""), ("k/b.h", "")],
        ),
        ("gcc -c -iprefix p -iwithprefixbefore q a.c", &[("a.c", "#include <b.h>\n"), ("pq/b.h", "")]),
        ("gcc -c --sysroot=ROOT/r -I=/i a.c", &[("a.c", "#include <b.h>\n"), ("r/i/b.h", "")]),
        ("gcc -c --sysroot=ROOT/r a.c", &[("a.c", "#include <b.h>\n"), ("r/usr/include/b.h", "")]),
        ("clang -c --sysroot=ROOT/r a.c", &[("a.c", "#include <b.h>\n"), ("r/usr/include/b.h", "")]),
        ("gcc -c -nostdinc -I i a.c", &[("a.c", "#include <stdio.h>\n"), ("i/stdio.h", "")]),
        ("gcc -c -I/usr/include -Ii a.c", &[("a.c", "#include <stdlib.h>\n"), ("i/stdlib.h", "")]),
        // A system header comes back to the user's files.
        (
            "gcc -c -Ii a.c",
            &[("a.c", "#include <stdlib.h>\n"), ("i/alloca.h", "#include \"b.h\"\n"), ("i/b.h", "")],
        ),
        ("clang -c -Ff a.c", &[("a.c", "#include <X/b.h>\n"), ("f/X.framework/Headers/b.h", "")]),
        ("clang -m32 -c -Ii a.c", &[("a.c", "#include <b.h>\n"), ("i/b.h", "")]),
    ]);
}

#[test]
fn links_and_dots_are_followed_as_the_kernel_does() {
    check(&[
        ("gcc -c a.c", &[("a.c", "#include \"x/../b.h\"\n"), ("x/", ""), ("b.h", "")]),
        (
            "gcc -c a.c",
            &[
                ("a.c", "#include \"l/../b.h\"\n"),
                ("l -> d/e", ""),
                ("d/e/f", ""),
                ("d/b.h", ""),
                ("b.h", "#error wrong\n"),
            ],
        ),
        (
            "gcc -c a.c",
            &[
                ("a.c", "#include \"l.h\"\n"),
                ("l.h -> d/b.h", ""),
                ("d/b.h", "#include \"c.h\"\n"),
                ("c.h", ""),
                ("d/c.h", "#error wrong\n"),
            ],
        ),
        ("gcc -c -Il a.c", &[("a.c", "#include <b.h>\n"), ("l -> m", ""), ("m -> d", ""), ("d/b.h", "")]),
        ("gcc -c l/a.c", &[("l -> d", ""), ("d/a.c", "#include \"b.h\"\n"), ("d/b.h", "")]),
        ("gcc -c -Id/../i a.c", &[("a.c", "#include <b.h>\n"), ("d/", ""), ("i/b.h", "")]),
        ("gcc -c a.c", &[("a.c", "#include \"l/b.h\"\n"), ("l -> ROOT/d", ""), ("d/b.h", "")]),
    ]);
}

#[test]
fn computed_includes_are_expanded_in_every_way() {
    check(&[
        (
            "gcc -c -DB=\"b.h\" a.c",
            &[("a.c", "#define S(x) S_(x)\n#define S_(x) #x\n#include S(b.h)\n"), ("b.h", "")],
        ),
        ("gcc -c -DH=<b.h> -Ii a.c", &[("a.c", "#include H\n"), ("i/b.h", "")]),
        (
            "gcc -c a.c",
            &[
                ("a.c", "#include \"d.h\"\n#include H\n"),
                ("d.h", "#define H \"b.h\"\n"),
                ("b.h", "#undef H\n#define H \"c.h\"\n#include H\n"),
                ("c.h", ""),
            ],
        ),
        (
            "gcc -c a.c",
            &[
                (
                    "a.c",
                    "#define J(x) <x/__GNUC__.h>\n#define K(v) K_(v)\n#define K_(v) \"g##v.h\"\n#define S(x) S_(x)\n#define S_(x) #x\n#include S(g__GNUC__.h)\n",
                ),
                ("g__GNUC__.h", ""),
            ],
        ),
        (
            "gcc -c a.c",
            &[
                (
                    "a.c",
                    "#define C(v) C_(v)\n#define C_(v) S(c-gcc##v.h)\n#define S(x) #x\n#include C(__GNUC__)\n",
                ),
                ("c-gcc12.h", ""),
                ("c-gcc13.h", ""),
                ("c-gcc14.h", ""),
            ],
        ),
        ("gcc -c a.c", &[("a.c", "#ifndef N\n#define N\n#include __FILE__\n#endif\n")]),
        (
            "gcc -c -Ii -Ij a.c",
            &[("a.c", "#define N <b.h>\n#include N\n"), ("i/b.h", "#include_next N\n"), ("j/b.h", "")],
        ),
    ]);
}
