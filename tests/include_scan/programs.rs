//! Boost, whose includes are the hardest, and the client's `--scan-includes`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use distcc::include_scan::Scanner;

use crate::trees::*;

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
