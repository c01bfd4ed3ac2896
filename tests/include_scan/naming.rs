//! Every way in which a source names a file, and in which a name leads to one.

use std::path::{Path, PathBuf};

use distcc::include_scan::{IncludeVariables, Scanner};

use crate::trees::*;

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
        ("clang -c --sysroot=r a.c", &[("a.c", "#include <b.h>\n"), ("r/usr/include/b.h", "")]),
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
    let cases: [(Case<'_>, &str); 9] = [
        (("gcc -c a.c", &[("a.c", "asm(\".include \\\"b.s\\\"\");\n"), ("b.s", "")]), "is assembler text"),
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
