//! Soundness of the include analysis: every file that gcc or clang says it read must be in the answer. Trees are made
//! for each case; the compilers' own `-M` is the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use distcc::checksum;
use distcc::compiler_args::{self, Compile, Verdict};
use distcc::include_scan::{CannotAnalyse, Closure, IncludeVariables, Query, Scanner};
use distcc::protocol::surroundings::fingerprint;
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

    fn scan(&self, scanner: &mut Scanner, command: &str) -> Result<Arc<Closure>, CannotAnalyse> {
        self.scan_with(scanner, command, &IncludeVariables::default())
    }

    fn scan_with(
        &self,
        scanner: &mut Scanner,
        command: &str,
        variables: &IncludeVariables,
    ) -> Result<Arc<Closure>, CannotAnalyse> {
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
) -> Result<Arc<Closure>, CannotAnalyse> {
    scan_by(scanner, &Path::new("/usr/bin").join(&argv[0]), argv, directory, variables)
}

fn scan_by(
    scanner: &mut Scanner,
    compiler: &Path,
    argv: &[OsString],
    directory: &Path,
    variables: &IncludeVariables,
) -> Result<Arc<Closure>, CannotAnalyse> {
    scanner.scan(&Query {
        compile: &compile(argv),
        compiler,
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
        ("clang -c -Ii -Ij -isystem i a.c", &[("a.c", "#include <b.h>\n"), ("i/b.h", ""), ("j/b.h", "")]),
        (
            "clang -c -iquote i -Ij -isystem i a.c",
            &[("a.c", "#include \"b.h\"\n"), ("i/b.h", ""), ("j/b.h", "")],
        ),
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

#[test]
fn variables_of_the_environment_add_directories() {
    let tree = Tree::new(&[
        ("a.c", "#include <b.h>\n#include <c.h>\n#include <d.h>\n"),
        ("all/b.h", ""),
        ("all/c.h", "#error shadowed by -I\n"),
        ("i/c.h", ""),
        ("own/d.h", ""),
    ]);
    let command = "gcc -c -Ii a.c";
    let variables =
        IncludeVariables { all: Some("all".into()), c: Some("own".into()), ..IncludeVariables::default() };
    let want = tree.oracle(command, &[("CPATH", "all"), ("C_INCLUDE_PATH", "own")]).unwrap();
    let closure = tree.scan_with(&mut Scanner::new(), command, &variables).unwrap();
    assert_eq!(tree.names(&closure), want);
}

#[test]
fn bytes_that_are_taken_in_are_files_too() {
    let tree = Tree::new(&[
        ("a.c", "asm(\".incbin \\\"d/a.bin\\\"\");\n#if 0\n#embed \"b.bin\"\n#endif\n"),
        ("d/a.bin", "#include \"no.h\"\n"),
        ("b.bin", ""),
        ("no.h", ""),
    ]);
    let closure = tree.scan(&mut Scanner::new(), "gcc -c a.c").unwrap();
    assert_eq!(tree.names(&closure), ["a.c", "b.bin", "d/a.bin"].map(String::from).into());
}

#[test]
fn what_cannot_be_analysed_is_said() {
    const PRECOMPILED: &str = "is a precompiled header";
    let cases: [(Case<'_>, &str); 8] = [
        (("gcc -c a.c", &[("a.c", "asm(\".incbin \" NAME);\n")]), "names the file of an .incbin by parts"),
        (("gcc -c -include p.h a.c", &[("a.c", ""), ("p.h", ""), ("p.h.gch", "")]), PRECOMPILED),
        (("clang -c -include p.h a.c", &[("a.c", ""), ("p.h", ""), ("p.h.pch", "")]), PRECOMPILED),
        (("gcc -c a.c", &[("a.c", "#include \"p.h\"\n"), ("p.h.gch/c", "")]), PRECOMPILED),
        (("gcc -c b.c", &[]), "no source file b.c"),
        (("gcc -I- -c a.c", &[("a.c", "")]), "-I- divides"),
        (("clang -Ix.hmap -c a.c", &[("a.c", "")]), "header map"),
        (
            ("gcc -c a.c", &[("a.c", "#define S(x) T(x)\n#define T(x) #x\n#include S(__LINE__)\n")]),
            "macro that changes",
        ),
    ];
    for ((command, files), want) in cases {
        if !has(command.split(' ').next().unwrap()) {
            continue;
        }
        let tree = Tree::new(files);
        let reason = tree.scan(&mut Scanner::new(), command).unwrap_err().to_string();
        assert!(reason.contains(want), "{command}: {reason}");
    }
}

#[test]
fn a_directory_that_holds_nothing_is_listed_if_a_path_leads_through_it() {
    let tree = Tree::new(&[
        ("a.c", "#include \"x/../l/b.h\"\n"),
        ("x/", ""),
        ("l -> d", ""),
        ("d/b.h", ""),
        ("e/", ""),
    ]);
    let closure = tree.scan(&mut Scanner::new(), "gcc -c -Ie a.c").unwrap();
    let below =
        |path: &Path| path.strip_prefix(&tree.root).ok().map(|name| name.to_str().unwrap().to_owned());
    let directories: Vec<String> = closure.directories.iter().filter_map(|path| below(path)).collect();
    assert_eq!(directories, ["", "e", "x"]);
    let links: Vec<_> =
        closure.links.iter().map(|link| (below(&link.path).unwrap(), link.target.to_path_buf())).collect();
    assert_eq!(links, [("l".to_owned(), PathBuf::from("d"))]);
    assert!(closure.system_directories.iter().any(|path| path.as_os_str() == "/usr/include"));
    let file = closure.files.iter().find(|file| file.real.ends_with("d/b.h")).unwrap();
    assert_eq!(*file.path, *tree.root.join("x/../l/b.h"));
}

/// What is done to a tree between two questions.
type Change = fn(&Tree);

#[test]
fn every_change_between_two_questions_is_seen() {
    let command = "gcc -c -Ii -Ij a.c";
    let files = [
        ("a.c", "#include <b.h>\n#include \"c.h\"\n"),
        ("i/x", ""),
        ("j/b.h", ""),
        ("c.h", ""),
        ("d/c.h", ""),
        ("e.h", ""),
    ];
    let changes: [(&str, Change); 10] = [
        ("edited", |tree| tree.write("j/b.h", "#include \"../e.h\"\n")),
        ("edited to the same length", |tree| tree.write("a.c", "#include <b.h>\n#include \"e.h\"\n")),
        ("created earlier in the path", |tree| tree.write("i/b.h", "#include_next <b.h>\n")),
        ("deleted", |tree| {
            tree.write("i/b.h", "");
            tree.remove("j/b.h");
        }),
        ("replaced by a link", |tree| {
            tree.remove("c.h");
            tree.write("c.h -> d/c.h", "");
        }),
        ("a link led elsewhere", |tree| {
            tree.remove("c.h");
            tree.write("c.h -> e.h", "");
        }),
        ("a search directory replaced", |tree| {
            fs::rename(tree.root.join("j"), tree.root.join("k")).unwrap();
            tree.write("j/b.h", "#include \"../e.h\"\n");
        }),
        ("a search directory became a link", |tree| {
            fs::rename(tree.root.join("j"), tree.root.join("k")).unwrap();
            tree.write("j -> k", "");
        }),
        ("a search directory appeared", |tree| {
            fs::remove_dir_all(tree.root.join("i")).unwrap();
            tree.write("i/b.h", "#include <../e.h>\n");
        }),
        ("replaced by rename", |tree| {
            tree.write("new", "#include \"d/c.h\"\n");
            fs::rename(tree.root.join("new"), tree.root.join("c.h")).unwrap();
        }),
    ];
    // Fresh files are not trusted at all; files that have settled are the harder case.
    for settle in [false, true] {
        for (what, change) in &changes {
            let tree = Tree::new(&files);
            let mut scanner = Scanner::new();
            if settle {
                std::thread::sleep(std::time::Duration::from_millis(60));
            }
            tree.scan(&mut scanner, command).unwrap();
            tree.scan(&mut scanner, command).unwrap();
            change(&tree);
            let want = tree.oracle(command, &[]);
            let closure = tree.scan(&mut scanner, command).unwrap();
            let found = tree.names(&closure);
            let want = want.unwrap_or_else(|| panic!("{what}: the compiler fails"));
            assert!(want.is_subset(&found), "{what}: {want:?} is not in {found:?}");
            assert_eq!(found, tree.names(&tree.scan(&mut Scanner::new(), command).unwrap()), "{what}: stale");
        }
    }
}

#[test]
fn nothing_is_read_twice() {
    let tree = Tree::new(&[
        ("a.c", "#include <stdio.h>\n#include \"b.h\"\n"),
        ("b.h", ""),
        ("c.c", "#include \"b.h\"\n"),
    ]);
    std::thread::sleep(std::time::Duration::from_millis(60));
    let mut scanner = Scanner::new();
    tree.scan(&mut scanner, "gcc -c a.c").unwrap();
    let first = scanner.counters();
    tree.scan(&mut scanner, "gcc -c a.c").unwrap();
    assert_eq!(scanner.counters().reads, first.reads);
    tree.scan(&mut scanner, "gcc -c c.c").unwrap();
    assert_eq!(scanner.counters().reads, first.reads + 1);
}

/// A compiler whose own directories are ROOT/sys and ROOT/more, called cc.
fn own_compiler(tree: &Tree) {
    let script = "#!/bin/sh\nexec gcc -nostdinc -isystem ROOT/sys -isystem ROOT/more \"$@\"\n";
    tree.write("cc", script);
    fs::set_permissions(tree.root.join("cc"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// What would be compared with a server, by name: a checksum for each directory, `-` where there is no such file.
fn headers(closure: &Closure) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for header in &closure.system_headers {
        let name = str::from_utf8(&header.name).unwrap();
        let contents = closure.header_directories.iter().map(|directory| fs::read(directory.join(name)).ok());
        let sums: Vec<_> = contents.map(|content| content.map(|bytes| checksum::crc32(&bytes))).collect();
        assert_eq!(header.fingerprint, fingerprint(sums.iter().copied()), "{name}");
        let text = sums.iter().map(|sum| sum.map_or_else(|| "-".to_owned(), |sum| format!("{sum:x}")));
        let known = shown.insert(name.to_owned(), text.collect::<Vec<_>>().join(" "));
        assert_eq!(known, None, "{name} is listed twice");
    }
    shown
}

#[test]
fn names_that_are_looked_up_in_system_directories_are_known() {
    let tree = Tree::new(&[
        (
            "a.c",
            "#include <x.h>\n#ifdef NO\n#include <none.h>\n#endif\n#if __has_include(<asked.h>)\n#endif\n\
             #include \"own.h\"\n#define C <sub/c.h>\n#include C\n#include \"both.h\"\n#include <p.h>\n",
        ),
        ("own.h", ""),
        ("i/both.h", ""),
        ("sys/x.h", "#include \"bits/y.h\"\n#include \"./bits/../z.h\"\n"),
        ("sys/bits/y.h", "#include \"w.h\"\n#include <x.h>\n"),
        ("sys/bits/w.h", ""),
        ("sys/z.h", ""),
        ("sys/pkg/p.h", "#include \"q.h\"\n"),
        ("sys/both.h", ""),
        ("more/x.h", "shadowed"),
        ("more/q.h", ""),
        ("more/sub/c.h", ""),
    ]);
    own_compiler(&tree);
    let mut scanner = Scanner::new();
    let compiler = tree.root.join("cc");
    let argv = tree.argv("cc -c -Ii -Isys/pkg a.c");
    let mut scan =
        || scan_by(&mut scanner, &compiler, &argv, &tree.root, &IncludeVariables::default()).unwrap();
    let closure = scan();
    let below = |path: &Path| path.strip_prefix(&tree.root).unwrap().to_str().unwrap().to_owned();
    let directories: Vec<String> = closure.header_directories.iter().map(|path| below(path)).collect();
    assert_eq!(directories, ["sys/pkg", "sys", "more"]);
    assert_eq!(tree.names(&closure), ["a.c", "i/both.h", "own.h"].map(String::from).into());
    let names = headers(&closure).into_keys().collect::<Vec<_>>();
    // "both.h" is found before the system's.
    let want = ["asked.h", "bits/w.h", "bits/y.h", "none.h", "p.h", "q.h", "sub/c.h", "x.h", "z.h"];
    assert_eq!(names, want);
    // Files that servers have must be found to have changed as all others.
    let changes: [(&str, Change); 4] = [
        ("x.h", |tree| {
            tree.remove("more/x.h");
            tree.write("more/x.h", "other");
        }),
        ("none.h", |tree| tree.write("more/none.h", "")),
        ("asked.h", |tree| tree.write("sys/asked.h", "#include <none.h>\n")),
        ("bits/w.h", |tree| tree.remove("sys/bits/w.h")),
    ];
    for (name, change) in changes {
        std::thread::sleep(std::time::Duration::from_millis(60));
        let before = headers(&scan());
        assert_eq!(before, headers(&scan()));
        change(&tree);
        let after = headers(&scan());
        assert_ne!(before[name], after[name], "{name}");
    }
}

#[test]
fn what_was_read_is_known_by_its_number() {
    let tree = Tree::new(&[
        ("a.c", "#include \"b.h\"\nasm(\".incbin \\\"c.bin\\\"\");\n"),
        ("b.h", ""),
        ("c.bin", "x"),
    ]);
    std::thread::sleep(std::time::Duration::from_millis(60));
    let mut scanner = Scanner::new();
    let mut scan = || tree.scan(&mut scanner, "gcc -c a.c").unwrap();
    let first = scan();
    assert_eq!(first.files, scan().files, "nothing has changed");
    for file in &first.files {
        let metadata = fs::metadata(&file.real).unwrap();
        assert_eq!(file.modified, (metadata.mtime(), metadata.mtime_nsec() as u32));
        assert_eq!(file.read().unwrap(), Some(fs::read(&file.real).unwrap()));
    }
    for name in ["b.h", "c.bin"] {
        let before = scan();
        tree.write(name, "/* y */");
        let of =
            |closure: &Closure| closure.files.iter().find(|file| file.real.ends_with(name)).unwrap().clone();
        assert_eq!(of(&before).read().unwrap(), None, "{name} has changed");
        let after = scan();
        assert_ne!(of(&before).content, of(&after).content, "{name}");
        assert_eq!(of(&after).read().unwrap(), Some(b"/* y */".to_vec()));
        tree.remove(name);
        assert_eq!(of(&after).read().unwrap(), None, "{name} is gone");
        tree.write(name, "");
        std::thread::sleep(std::time::Duration::from_millis(60));
    }
}

/// Marsaglia's generator: the same numbers in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A random file. Every file is guarded, so that circles end, and the guard of a file is a number of inclusions.
fn random_text(numbers: &mut Numbers, name: &str) -> String {
    const NAMES: [&str; 6] = ["a.h", "b.h", "c.h", "s/a.h", "s/b.h", "s/../c.h"];
    let guard = name.replace(|byte: char| !byte.is_ascii_alphanumeric(), "_");
    let mut text = format!("#ifndef G_{guard}\n#define G_{guard}\n");
    for _ in 0..numbers.below(5) {
        let file = numbers.pick(&NAMES);
        let line = match numbers.below(12) {
            0 | 1 => format!("#include <{file}>\n"),
            2 | 3 => format!("  # /* {file} */ include \"{file}\" // c\n"),
            4 => format!("#include_next <{file}>\n"),
            5 => format!("#define M <{file}>\n#include M\n#undef M\n"),
            6 => format!("#define P(x) #x\n#define M P({file})\n#include M\n#undef M\n#undef P\n"),
            7 => format!("#if __has_include(<{file}>)\n#include <{file}>\n#endif\n"),
            8 => format!("#ifdef G_{guard}x\n#include \"none.h\"\n#else\n%:include \"{file}\"\n#endif\n"),
            9 => format!("const char s_{guard}[] = \"/*\\\"\"; /* '\n*/ #inc\\\nlude \"{file}\"\n"),
            10 => format!("#define D_{} <{file}>\n", numbers.below(3)),
            _ => {
                let number = numbers.below(3);
                format!("#ifdef D_{number}\n#include D_{number}\n#endif\n")
            }
        };
        text += &line;
    }
    text + "#endif\n"
}

fn random_tree(numbers: &mut Numbers) -> Tree {
    const PLACES: [&str; 5] = ["", "i/", "j/", "q/", "k/"];
    const NAMES: [&str; 5] = ["a.h", "b.h", "c.h", "s/a.h", "s/b.h"];
    let tree = Tree::new(&[("i/s/", ""), ("j/", ""), ("s/", ""), ("q/s/", ""), ("k/s/", "")]);
    for place in PLACES {
        for name in NAMES {
            let path = format!("{place}{name}");
            match numbers.below(8) {
                0..=3 => tree.write(&path, &random_text(numbers, &path)),
                4 if place != "k/" => tree.write(&format!("{path} -> ROOT/k/{name}"), ""),
                _ => {}
            }
        }
    }
    // Everything can be found at the end of the path, so that most trees compile.
    for name in NAMES {
        tree.write(&format!("last/{name}"), "");
    }
    tree.write("main.c", &random_text(numbers, "main.c"));
    tree
}

#[test]
fn random_trees_are_covered() {
    const TREES: u64 = 200;
    const COMMANDS: [&str; 3] = [
        "gcc -c -Ii -iquote q -isystem j -idirafter last -Ik main.c",
        "gcc -c -Ij -I. -Ilast -include a.h main.c",
        "gcc -c -iquote. -Ii/s/.. -isystem i -Ilast main.c",
    ];
    let mut compiled = 0;
    for seed in 1..=TREES {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let tree = random_tree(&mut numbers);
        let mut scanner = Scanner::new();
        let command = numbers.pick(&COMMANDS);
        let Some(want) = tree.oracle(command, &[]) else { continue };
        compiled += 1;
        let closure = tree.scan(&mut scanner, command).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        let found = tree.names(&closure);
        let missing: Vec<_> = want.difference(&found).collect();
        assert!(missing.is_empty(), "seed {seed}: {command}: {missing:?} missing in {found:?}");
    }
    assert!(compiled > TREES / 3, "only {compiled} trees compile: the generator has lost its use");
}

#[test]
fn boost_is_answered() {
    if !Path::new("/usr/include/boost/preprocessor/iteration/iterate.hpp").exists() {
        println!("skipped: the headers of Boost are not installed");
        return;
    }
    // Through a link Boost is the user's own, and none of it is the compiler's.
    let tree = Tree::new(&[
        (
            "a.cc",
            "#include <boost/mpl/vector.hpp>\n#define BOOST_PP_ITERATION_PARAMS_1 (3, (1, 3, <body.h>))\n\
             #include <boost/preprocessor/iteration/iterate.hpp>\n#include BOOST_PP_ITERATE()\n",
        ),
        ("body.h", "#include \"used.h\"\n"),
        ("used.h", ""),
    ]);
    let copied = Command::new("cp").args(["-r", "/usr/include/boost"]).arg(&tree.root).status().unwrap();
    assert!(copied.success());
    for command in ["g++ -c -I. a.cc", "g++ -c -iquote. -I. -std=c++11 a.cc"] {
        let want = tree.oracle(command, &[]).unwrap();
        let closure = tree.scan(&mut Scanner::new(), command).unwrap();
        let found = tree.names(&closure);
        let missing: Vec<_> = want.difference(&found).collect();
        assert!(missing.is_empty(), "{command}: {missing:?} missing");
        assert!(want.contains("used.h") && want.len() > 100);
    }
}

#[test]
fn the_client_prints_what_would_be_sent() {
    let tree = Tree::new(&[
        ("a.c", "#include \"l.h\"\n#include \"x/../b.h\"\n"),
        ("l.h -> b.h", ""),
        ("b.h", ""),
        ("x/", ""),
    ]);
    let run = |command: &str| {
        let mut distcc = Command::new(env!("CARGO_BIN_EXE_distcc"));
        let output = distcc
            .arg("--scan-includes")
            .args(tree.argv(command))
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .current_dir(&tree.root)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap().replace(tree.root.to_str().unwrap(), "ROOT");
        (output.status.code(), text, String::from_utf8(output.stderr).unwrap())
    };
    let (status, text, _) = run("gcc -c a.c");
    assert_eq!(status, Some(0));
    let (own, system): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| !line.starts_with("SYSTEMDIR"));
    let want = [
        "DIRECTORY ROOT",
        "DIRECTORY ROOT/x",
        "FILE      ROOT/a.c",
        "FILE      ROOT/b.h",
        "SYMLINK   ROOT/l.h",
    ];
    assert_eq!(own.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(want));
    assert!(system.contains(&"SYSTEMDIR /usr/include"));
    for (command, want_status, want_text) in [
        ("gcc a.c", 100, "the command would run locally"),
        ("gcc -c a.c b.c", 100, "two source files"),
        ("gcc -c b.c", 1, "no source file b.c"),
        ("gcc -I- -c a.c", 1, "-I- divides"),
    ] {
        let (status, text, messages) = run(command);
        assert_eq!((status, text.as_str()), (Some(want_status), ""), "{command}: {messages}");
        assert!(messages.contains(want_text), "{command}: {messages}");
    }
}

#[test]
fn a_scanner_can_move_between_threads() {
    fn check<T: Send>(_: &T) {}
    check(&Scanner::new());
}
